// SPDX-License-Identifier: Apache-2.0
// Just enough JSON to write one object by hand: commas and escapes in one place. Used by explain.cpp.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace billfish::gemm {

class JsonText {
 public:
  void open(char bracket) {
    separate();
    text_ += bracket;
    first_ = true;
  }
  void close(char bracket) {
    text_ += bracket;
    first_ = false;
  }
  void key(std::string_view name) {
    separate();
    quote(name);
    text_ += ':';
    first_ = true;  // the value that follows takes no comma
  }
  void value(std::string_view string) {
    separate();
    quote(string);
  }
  void value(const char* string) { value(std::string_view(string)); }
  void value(std::int64_t number) {
    separate();
    text_ += std::to_string(number);
  }
  void value(int number) { value(static_cast<std::int64_t>(number)); }
  void value(bool truth) {
    separate();
    text_ += truth ? "true" : "false";
  }
  void null() {
    separate();
    text_ += "null";
  }
  template <class Value>
  void member(std::string_view name, Value held) {
    key(name);
    value(held);
  }
  std::string take() { return std::move(text_); }

 private:
  void separate() {
    if (!first_) text_ += ',';
    first_ = false;
  }
  void quote(std::string_view string) {
    constexpr char kHex[] = "0123456789abcdef";
    text_ += '"';
    for (const char c : string) {
      const auto byte = static_cast<unsigned char>(c);
      if (c == '"' || c == '\\') {
        text_ += '\\';
        text_ += c;
      } else if (byte < 0x20) {
        text_ += "\\u00";
        text_ += kHex[byte >> 4];
        text_ += kHex[byte & 15];
      } else {
        text_ += c;
      }
    }
    text_ += '"';
  }

  std::string text_;
  bool first_ = true;
};

}  // namespace billfish::gemm
