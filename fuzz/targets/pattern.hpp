// SPDX-License-Identifier: Apache-2.0
// First line: an expression; the rest: a text to match.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "formats/pattern.hpp"

namespace billfish::fuzz {

// Whether the expression was accepted.
inline bool pattern(const std::uint8_t* data, std::size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const std::size_t line = std::min(input.find('\n'), input.size());
  const std::string_view text = line < size ? input.substr(line + 1, 2048) : std::string_view();
  const auto compiled = formats::Pattern::compile(input.substr(0, line));
  if (!compiled.ok()) return false;
  const bool whole = compiled->whole(text), starts = compiled->starts(text), found = compiled->search(text);
  if ((whole && !starts) || (starts && !found)) __builtin_trap();
  return true;
}

}  // namespace billfish::fuzz
