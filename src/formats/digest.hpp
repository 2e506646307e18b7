// SPDX-License-Identifier: Apache-2.0
// A checksum that notices damage, not malice: FNV-1a over words of eight bytes. Called by tensor_writer.cpp and unfinished.cpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace billfish::formats {

class Digest {
 public:
  void add(const void* data, std::size_t bytes) {
    const char* at = static_cast<const char*>(data);
    add_word(bytes);
    for (; bytes >= 8; bytes -= 8, at += 8) {
      std::uint64_t word = 0;
      std::memcpy(&word, at, 8);
      add_word(word);
    }
    std::uint64_t rest = 0;
    if (bytes > 0) std::memcpy(&rest, at, bytes);  // an empty tensor may have no address
    add_word(rest);
  }
  void add(std::string_view words) { add(words.data(), words.size()); }
  std::uint64_t value() const { return state_; }

 private:
  void add_word(std::uint64_t word) {
    state_ = (state_ ^ word) * 0x100000001b3u;
    state_ ^= state_ >> 29;  // FNV's high bits never reach its low ones
  }
  std::uint64_t state_ = 0xcbf29ce484222325u;
};

}  // namespace billfish::formats
