// SPDX-License-Identifier: Apache-2.0
// What files of measurements say of where and when they were made. Called by bench_report.cpp and tune_file.cpp.
#pragma once

#include <string>

#include "device.hpp"

namespace billfish::cli {

std::string now_text();  // "2026-11-21T12:00:00Z"
// "NVIDIA H200", or the processor's own words.
std::string machine_name(Device device);

}  // namespace billfish::cli
