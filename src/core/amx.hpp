// SPDX-License-Identifier: Apache-2.0
// Whether this process may use registers that hold matrices: a fact of the processor and of the system. Used by cpu/ and measure/.
#pragma once

namespace billfish {

// AMX with bf16 and int8, asked for once. False on every other processor. Asking lasts: from then on Linux refuses the process stacks for
// signals (sigaltstack) that have no room for these registers, 11 KB.
bool amx_usable();

}  // namespace billfish
