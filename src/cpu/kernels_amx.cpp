// SPDX-License-Identifier: Apache-2.0
// The kernels for AMX, beside AVX-512. Compiled with that one's flags, with nothing else of the library in it: see CMakeLists.txt.
#include "cpu/kernels.hpp"

#if defined(__AVX512BF16__) && defined(__x86_64__)
#include "cpu/kernel/amx.hpp"
#include "cpu/kernel/table_amx.hpp"

namespace billfish::cpu {
namespace {
// In f32, any activation: AVX-512's.
constexpr const Kernels* kRest = &kAvx512Arithmetic[4].tile;
using Arithmetics = ArithmeticsAmx<Amx, kRest>;
}  // namespace

constinit const Arithmetic kAmxOwnArithmetic[kAmxArithmetics] = {Arithmetics::kTable[0], Arithmetics::kTable[1], Arithmetics::kTable[2]};

}  // namespace billfish::cpu

#else

namespace billfish::cpu {
constinit const Arithmetic kAmxOwnArithmetic[kAmxArithmetics] = {};  // not an x86 machine: facts() never offers it
}  // namespace billfish::cpu

#endif
