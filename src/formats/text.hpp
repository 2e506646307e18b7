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

// Bytes of the UTF-8 character that `text` begins with; 0 if it begins with none, or with part of one.
inline std::size_t utf8_length(std::string_view text) {
  const auto byte = static_cast<unsigned char>(text.front());
  const std::size_t length = byte < 0x80                   ? 1
                             : byte >= 0xc2 && byte < 0xe0 ? 2
                             : byte >= 0xe0 && byte < 0xf0 ? 3
                             : byte >= 0xf0 && byte < 0xf5 ? 4
                                                           : 0;
  if (length == 0 || length > text.size()) return 0;
  for (std::size_t i = 1; i < length; ++i) {
    if ((static_cast<unsigned char>(text[i]) & 0xc0u) != 0x80u) return 0;
  }
  return length;
}

// What a file says as it may stand in a message: one line, printable, UTF-8, not endless.
inline std::string printable(std::string_view words, std::size_t longest = 200) {
  std::string out;
  while (!words.empty()) {
    const std::size_t length = utf8_length(words);
    if (out.size() + (length == 0 ? 1 : length) > longest) return out + "...";
    const auto byte = static_cast<unsigned char>(words.front());
    if (length == 0 || byte < 0x20 || byte == 0x7f) {
      out.push_back('?');
    } else {
      out.append(words.substr(0, length));
    }
    words.remove_prefix(length == 0 ? 1 : length);
  }
  return out;
}

inline std::string quote(std::string_view name) { return text('\'', printable(name), '\''); }

inline std::string reason_of(int error_number) { return std::generic_category().message(error_number); }

}  // namespace billfish::formats
