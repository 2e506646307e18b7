// SPDX-License-Identifier: Apache-2.0
// How a function below the ABI says that it could not: a code and a sentence that names the argument, its value and what is supported.
// A good Status holds no heap memory, so the hot path never allocates.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <variant>

namespace billfish {

// The values are those of billfish_status; api/ asserts it.
enum class Code : std::uint8_t {
  ok = 0,
  invalid_argument = 1,
  bad_input = 2,
  unsupported = 3,
  device_error = 4,
  out_of_memory = 5,
  workspace_too_small = 6,
  io_error = 7,
  cancelled = 8,
  internal = 9,
};

class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(Code code, std::string message) : code_(code), message_(std::move(message)) {}
  bool ok() const { return code_ == Code::ok; }
  Code code() const { return code_; }
  const std::string& message() const { return message_; }

 private:
  Code code_ = Code::ok;
  std::string message_;
};

inline Status invalid_argument(std::string message) { return {Code::invalid_argument, std::move(message)}; }
inline Status bad_input(std::string message) { return {Code::bad_input, std::move(message)}; }
inline Status unsupported(std::string message) { return {Code::unsupported, std::move(message)}; }
inline Status device_error(std::string message) { return {Code::device_error, std::move(message)}; }
inline Status io_error(std::string message) { return {Code::io_error, std::move(message)}; }

// A value, or why there is none.
template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : held_(std::in_place_index<0>, std::move(value)) {}
  Result(Status status) : held_(std::in_place_index<1>, std::move(status)) {}
  bool ok() const { return held_.index() == 0; }
  T& value() & { return std::get<0>(held_); }
  const T& value() const& { return std::get<0>(held_); }
  T&& value() && { return std::get<0>(std::move(held_)); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  Status status() const { return ok() ? Status() : std::get<1>(held_); }

 private:
  std::variant<T, Status> held_;
};

#define BILLFISH_RETURN_IF_ERROR(expression)                       \
  do {                                                             \
    if (::billfish::Status s_ = (expression); !s_.ok()) return s_; \
  } while (0)

}  // namespace billfish
