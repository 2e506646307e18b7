// SPDX-License-Identifier: Apache-2.0
// The kernels for AVX-512 F, BW, VL, VBMI, VNNI and BF16. Compiled with those flags, with nothing else of the library in it: see
// CMakeLists.txt.
#include "cpu/kernels.hpp"

#if defined(__AVX512BF16__)
#include "cpu/kernel/avx512.hpp"
#include "cpu/kernel/table_avx512.hpp"

namespace billfish::cpu {

constinit const Arithmetic kAvx512Arithmetic[kAvx512Arithmetics] = {
    Arithmetics512<Avx512>::kTable[0], Arithmetics512<Avx512>::kTable[1], Arithmetics512<Avx512>::kTable[2],
    Arithmetics512<Avx512>::kTable[3], Arithmetics512<Avx512>::kTable[4], Arithmetics512<Avx512>::kTable[5],
    Arithmetics512<Avx512>::kTable[6],
};

}  // namespace billfish::cpu

#else

namespace billfish::cpu {
constinit const Arithmetic kAvx512Arithmetic[kAvx512Arithmetics] = {};  // not an x86 machine: facts() never offers it
}  // namespace billfish::cpu

#endif
