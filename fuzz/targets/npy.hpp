// SPDX-License-Identifier: Apache-2.0
// Any bytes as a NumPy file: refused with a message, or an array whose elements are the end of the file, as many as its shape says; written
// by the tool and read again, it is the same array.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "../../fuzz/targets/files.hpp"
#include "../../fuzz/targets/refused.hpp"
#include "../../tools/billfish/npy.hpp"

namespace billfish::fuzz {

// Whether the input was accepted. Traps on a broken promise.
inline bool npy(const std::uint8_t* data, std::size_t size) {
  const auto file = std::as_bytes(std::span(data, size));
  cli::NpyArray array;
  if (refused([&] { array = cli::parse_npy({file.begin(), file.end()}, "fuzz"); })) return false;

  if (array.type != BILLFISH_F32 && array.type != BILLFISH_F16) __builtin_trap();
  const std::size_t element = array.type == BILLFISH_F32 ? 4 : 2;
  std::int64_t count = 1;
  for (const std::int64_t extent : array.shape) {
    if (extent < 0 || __builtin_mul_overflow(count, extent, &count)) __builtin_trap();
  }
  if (count != array.count() || array.bytes.size() % element != 0 || array.bytes.size() / element != static_cast<std::size_t>(count))
    __builtin_trap();
  if (array.bytes.size() > size || !std::ranges::equal(array.bytes, file.last(array.bytes.size()))) __builtin_trap();

  static const Folder folder;
  const std::string path = folder / "again.npy";
  cli::NpyArray again;
  if (refused([&] {
        cli::write_npy(path, array.type, array.shape, array.bytes.data());
        again = cli::read_npy(path);
      }))
    __builtin_trap();
  if (again.type != array.type || again.shape != array.shape || again.bytes != array.bytes) __builtin_trap();
  return true;
}

}  // namespace billfish::fuzz
