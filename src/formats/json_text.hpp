// SPDX-License-Identifier: Apache-2.0
// JSON as text: where a member's value lies, how deep it nests, how a string is written. Configs are edited by replacing one value's
// characters, so that everything else in them stays as its author wrote it (also where it is not quite JSON: Infinity, for one).
// Nothing here recurses on its input. Called by the readers and writers of configs; calls nothing.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "core/status.hpp"

namespace billfish::formats {

inline constexpr int kDeepestJson = 64;

// bad_input, naming `where`, if there is a byte of 0. JSON has none; nlohmann-json takes one for the end of the text and never looks at
// what comes after, which would then be copied along unread.
Status check_json_bytes(std::string_view where, std::string_view json);

// The same, and if brackets are unbalanced or nest deeper than kDeepestJson, or a string does not end.
Status check_json_depth(std::string_view where, std::string_view json);

// The characters of a member's value, white space around it excluded. Empty if `json` is no object or has no such member.
// Only for text that passed check_json_depth; a key counts as it is written, so an escaped spelling of it is not found.
std::string_view json_member(std::string_view json, std::string_view key);

// `json` with the value (a view into it, from json_member) replaced.
std::string replace_member(std::string_view json, std::string_view value, std::string_view replacement);

// A string literal, quotes included. `value` is UTF-8.
void append_json_string(std::string& to, std::string_view value);
std::string json_string(std::string_view value);

}  // namespace billfish::formats
