// SPDX-License-Identifier: Apache-2.0
// Sentences out of pieces: what the messages of this room are made with.
#pragma once

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <vector>

namespace billfish::formats {

inline void append_piece(std::string& to, std::string_view piece) { to.append(piece); }
inline void append_piece(std::string& to, char piece) { to.push_back(piece); }
template <class Integer>
requires std::is_integral_v<Integer>
void append_piece(std::string& to, Integer piece) { to.append(std::to_string(piece)); }
inline void append_piece(std::string& to, const std::vector<std::int64_t>& shape) {
  to.push_back('[');
  for (std::size_t i = 0; i < shape.size(); ++i) {
    if (i > 0) to.push_back(',');
    to.append(std::to_string(shape[i]));
  }
  to.push_back(']');
}

template <class... Pieces>
std::string text(const Pieces&... pieces) {
  std::string out;
  (append_piece(out, pieces), ...);
  return out;
}

// A name from a file as it may stand in a message: one line, printable, not endless.
inline std::string quote(std::string_view name) {
  constexpr std::size_t kLongest = 200;
  std::string out = "'";
  for (const char c : name.substr(0, kLongest)) out.push_back(static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? '?' : c);
  if (name.size() > kLongest) out.append("...");
  out.push_back('\'');
  return out;
}

inline std::string reason_of(int error_number) { return std::generic_category().message(error_number); }

}  // namespace billfish::formats
