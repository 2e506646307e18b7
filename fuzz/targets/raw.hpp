// SPDX-License-Identifier: Apache-2.0
// "k n group\n", then the bytes of a raw qweight and a raw scales file; the first two bytes after the line say where the second begins.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>

#include "../../fuzz/targets/files.hpp"
#include "formats/raw.hpp"

namespace billfish::fuzz {

// Whether the files were accepted.
inline bool raw(const std::uint8_t* data, std::size_t size) {
  static const Folder folder;
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const std::size_t line = input.find('\n');
  if (line == std::string_view::npos || line > 64 || size < line + 3) return false;
  long long k = 0, n = 0, group = 0;
  if (std::sscanf(std::string(input.substr(0, line)).c_str(), "%lld %lld %lld", &k, &n, &group) != 3) return false;
  const std::string_view bytes = input.substr(line + 3);
  const std::size_t split = std::min<std::size_t>(data[line + 1] | data[line + 2] << 8, bytes.size());
  folder.write("q", bytes.substr(0, split));
  folder.write("s", bytes.substr(split));
  const auto opened = formats::open_raw(folder / "q", folder / "s", k, n, group);
  if (!opened.ok()) return false;
  const std::size_t words = static_cast<std::size_t>(ceil_div(k, 8) * n) * 4,
                    scales = static_cast<std::size_t>(opened->matrix.groups() * n) * 2;
  if (words != split || scales != bytes.size() - split) __builtin_trap();
  return true;
}

}  // namespace billfish::fuzz
