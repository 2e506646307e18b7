// SPDX-License-Identifier: Apache-2.0
// The kernels for AMX, beside AVX-512. Compiled with that one's flags, with nothing else of the library in it: see CMakeLists.txt.
#include "cpu/kernels.hpp"

#if defined(__AVX512BF16__) && defined(__x86_64__)
#include "cpu/kernel/amx.hpp"
#include "cpu/kernel/table_amx.hpp"

namespace billfish::cpu {
namespace {
using Arithmetics = ArithmeticsAmx<Amx, kAvx512Arithmetic>;
}  // namespace

constinit const Arithmetic kAmxOwnArithmetic[kAmxArithmetics] = {Arithmetics::kTable[0], Arithmetics::kTable[1], Arithmetics::kTable[2]};

}  // namespace billfish::cpu

#else

namespace billfish::cpu {
constinit const Arithmetic kAmxOwnArithmetic[kAmxArithmetics] = {};  // not an x86 machine: facts() never offers it
}  // namespace billfish::cpu

#endif
