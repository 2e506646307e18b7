// SPDX-License-Identifier: Apache-2.0
// The list of paths that are being written, kept so that a signal handler may walk it. Called by output.cpp.
#pragma once

#include <string>

namespace billfish::formats {

// An entry that stays at its address; null if there is no memory.
void* enter_output(const std::string& path, bool directory);
void leave_output(void* entry);
// Whether abandon_outputs() was called: nothing may be created or renamed any more.
bool outputs_abandoned();

}  // namespace billfish::formats
