// SPDX-License-Identifier: Apache-2.0
// What libFuzzer calls. Which target, the build says (CMakeLists.txt beside this file).
#include BILLFISH_FUZZ_HEADER

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  billfish::fuzz::BILLFISH_FUZZ_TARGET(data, size);
  return 0;
}
