// SPDX-License-Identifier: Apache-2.0
// A regular expression from a file or a user, matched in time linear in the text whatever it says: the expression becomes a small
// program that is run on all of its states at once, so nothing backtracks and nothing recurses. Called by the config readers
// (`dynamic`) and by api/ (billfish_tools_match). Calls nothing.
//
// Bytes, not characters: '.' is any one byte. Supported: literals . [a-z] [^...] * + ? {m,n} | ( ) (?: ) ^ $ and the escapes
// \d \D \w \W \s \S \t \n \r and \ before punctuation. Anything else (look-around, back references, flags) is refused.
#pragma once

#include <bitset>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/status.hpp"

namespace billfish::formats {

class Pattern {
 public:
  // invalid_argument, with the position, if the expression is not valid, not supported or too large.
  static Result<Pattern> compile(std::string_view expression);

  bool search(std::string_view text) const { return run(text, false, false); }  // anywhere, unless anchored
  bool starts(std::string_view text) const { return run(text, true, false); }   // from the first byte
  bool whole(std::string_view text) const { return run(text, true, true); }     // all of it

  enum class Op : std::uint8_t { bytes, jump, split, text_begin, text_end, accept };
  struct Instruction {
    Op op = Op::accept;
    std::int32_t to = 0;    // relative: jump, split (which also goes on to the next one)
    std::uint32_t set = 0;  // bytes: index into sets
  };

 private:
  bool run(std::string_view text, bool from_start, bool to_end) const;
  std::vector<Instruction> program_;
  std::vector<std::bitset<256>> sets_;
};

}  // namespace billfish::formats
