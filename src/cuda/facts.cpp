// SPDX-License-Identifier: Apache-2.0
// Devices that need not be here: what `explain` and plan tests take for "an sm_86". Plain C++, in every build.
#include "cuda/cuda.hpp"

namespace billfish::cuda {
namespace {

struct Typical {
  int architecture;
  int multiprocessors;
  int shared_bytes;  // that a block may ask for
};

// One product each: T4, A100, RTX 3090, L40S, H200, B200, RTX PRO 6000.
constexpr Typical kTypical[] = {
    {75, 40, 64 * 1024},   {80, 108, 163 * 1024},  {86, 82, 99 * 1024},   {89, 142, 99 * 1024},
    {90, 132, 227 * 1024}, {100, 148, 227 * 1024}, {120, 188, 99 * 1024},
};

}  // namespace

gemm::DeviceFacts typical_facts(int architecture) {
  Typical found = kTypical[0];
  for (const Typical& typical : kTypical) {
    if (typical.architecture <= architecture) found = typical;
  }
  gemm::DeviceFacts facts;
  facts.kind = DeviceKind::cuda;
  facts.architecture = architecture;
  facts.multiprocessors = found.multiprocessors;
  facts.shared_bytes_per_block = found.shared_bytes;
  return facts;
}

}  // namespace billfish::cuda
