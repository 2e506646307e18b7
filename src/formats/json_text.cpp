// SPDX-License-Identifier: Apache-2.0
// One pass over JSON text that knows strings from brackets and nothing else.
#include "formats/json_text.hpp"

#include <vector>

#include "formats/text.hpp"

namespace billfish::formats {
namespace {

bool is_space(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

// The position after the string that begins at `at` (a quote), or npos if it does not end.
std::size_t skip_string(std::string_view json, std::size_t at) {
  for (++at; at < json.size(); ++at) {
    if (json[at] == '\\') {
      ++at;
    } else if (json[at] == '"') {
      return at + 1;
    }
  }
  return std::string_view::npos;
}

std::size_t skip_spaces(std::string_view json, std::size_t at) {
  while (at < json.size() && is_space(json[at])) ++at;
  return at;
}

// The position after the value that begins at `at`: a string, a bracketed value, or a run of other characters.
std::size_t skip_value(std::string_view json, std::size_t at) {
  std::size_t depth = 0;
  while (at < json.size()) {
    const char c = json[at];
    if (c == '"') {
      at = skip_string(json, at);
      if (at == std::string_view::npos) return json.size();
      if (depth == 0) return at;
      continue;
    }
    if (c == '{' || c == '[') {
      ++depth;
    } else if (c == '}' || c == ']') {
      if (depth == 0) return at;
      if (--depth == 0) return at + 1;
    } else if (depth == 0 && (c == ',' || is_space(c))) {
      return at;
    }
    ++at;
  }
  return at;
}

}  // namespace

Status check_json_bytes(std::string_view where, std::string_view json) {
  const std::size_t at = json.find('\0');
  if (at == std::string_view::npos) return {};
  return bad_input(text(where, ": not valid JSON: byte ", at, " is 0; there may be spaces after the text, and nothing else"));
}

Status check_json_depth(std::string_view where, std::string_view json) {
  BILLFISH_RETURN_IF_ERROR(check_json_bytes(where, json));
  std::vector<char> open;
  std::size_t at = 0;
  while (at < json.size()) {
    const char c = json[at];
    if (c == '"') {
      const std::size_t next = skip_string(json, at);
      if (next == std::string_view::npos) return bad_input(text(where, ": not valid JSON: the string at byte ", at, " does not end"));
      at = next;
      continue;
    }
    if (c == '{' || c == '[') {
      if (static_cast<int>(open.size()) == kDeepestJson) {
        return bad_input(text(where, ": JSON nested deeper than ", kDeepestJson, " at byte ", at));
      }
      open.push_back(c == '{' ? '}' : ']');
    } else if (c == '}' || c == ']') {
      if (open.empty() || open.back() != c) return bad_input(text(where, ": not valid JSON: unexpected '", c, "' at byte ", at));
      open.pop_back();
    }
    ++at;
  }
  if (!open.empty()) return bad_input(text(where, ": not valid JSON: '", open.back(), "' is missing at the end (truncated?)"));
  return {};
}

std::string_view json_member(std::string_view json, std::string_view key) {
  std::size_t at = skip_spaces(json, 0);
  if (at >= json.size() || json[at] != '{') return {};
  ++at;
  while (true) {
    at = skip_spaces(json, at);
    if (at >= json.size() || json[at] != '"') return {};
    const std::size_t after = skip_string(json, at);
    if (after == std::string_view::npos) return {};
    const std::string_view name = json.substr(at + 1, after - at - 2);
    at = skip_spaces(json, after);
    if (at >= json.size() || json[at] != ':') return {};
    at = skip_spaces(json, at + 1);
    const std::size_t end = skip_value(json, at);
    if (name == key) return json.substr(at, end - at);
    at = skip_spaces(json, end);
    if (at >= json.size() || json[at] != ',') return {};
    ++at;
  }
}

std::string replace_member(std::string_view json, std::string_view value, std::string_view replacement) {
  const std::size_t begin = static_cast<std::size_t>(value.data() - json.data());
  return text(json.substr(0, begin), replacement, json.substr(begin + value.size()));
}

void append_json_string(std::string& to, std::string_view value) {
  static constexpr char kHex[] = "0123456789abcdef";
  to.push_back('"');
  for (const char c : value) {
    const unsigned char byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      to.push_back('\\');
      to.push_back(c);
    } else if (c == '\n') {
      to.append("\\n");
    } else if (c == '\t') {
      to.append("\\t");
    } else if (byte < 0x20) {
      to.append("\\u00");
      to.push_back(kHex[byte >> 4]);
      to.push_back(kHex[byte & 15]);
    } else {
      to.push_back(c);
    }
  }
  to.push_back('"');
}

std::string json_string(std::string_view value) {
  std::string out;
  append_json_string(out, value);
  return out;
}

}  // namespace billfish::formats
