// SPDX-License-Identifier: Apache-2.0
// Messages, the log, and the slow sides of boundary.hpp.
#include "api/boundary.hpp"

#include <algorithm>
#include <atomic>
#include <mutex>

namespace billfish::api {
namespace {

thread_local std::string last_message;
thread_local const char* static_message = "";  // what last_error says when the text itself could not be kept

struct LogSink {
  std::mutex mutex;
  billfish_log_fn function = nullptr;
  void* user = nullptr;
};
constinit LogSink log_sink;
constinit std::atomic<bool> log_wanted{false};

billfish_status abi_status(Code code) { return static_cast<billfish_status>(code); }

}  // namespace

static_assert(static_cast<int>(Code::ok) == BILLFISH_OK);
static_assert(static_cast<int>(Code::invalid_argument) == BILLFISH_INVALID_ARGUMENT);
static_assert(static_cast<int>(Code::bad_input) == BILLFISH_BAD_INPUT);
static_assert(static_cast<int>(Code::unsupported) == BILLFISH_UNSUPPORTED);
static_assert(static_cast<int>(Code::device_error) == BILLFISH_DEVICE_ERROR);
static_assert(static_cast<int>(Code::out_of_memory) == BILLFISH_OUT_OF_MEMORY);
static_assert(static_cast<int>(Code::workspace_too_small) == BILLFISH_WORKSPACE_TOO_SMALL);
static_assert(static_cast<int>(Code::io_error) == BILLFISH_IO_ERROR);
static_assert(static_cast<int>(Code::cancelled) == BILLFISH_CANCELLED);
static_assert(static_cast<int>(Code::internal) == BILLFISH_INTERNAL);

billfish_status fail(const Status& status) noexcept {
  try {
    last_message = status.message();
    static_message = nullptr;
  } catch (...) {
    static_message = "out of memory while keeping an error message";
  }
  return abi_status(status.code());
}

billfish_status fail(Code code, const char* message) noexcept {
  try {
    last_message = message;
    static_message = nullptr;
  } catch (...) {
    static_message = "out of memory while keeping an error message";
  }
  return abi_status(code);
}

const char* last_error() noexcept { return static_message != nullptr ? static_message : last_message.c_str(); }

bool logging() noexcept { return log_wanted.load(std::memory_order_relaxed); }

void log(billfish_log_level level, const std::string& message) noexcept {
  billfish_log_fn function = nullptr;
  void* user = nullptr;
  {
    const std::lock_guard lock(log_sink.mutex);
    function = log_sink.function;
    user = log_sink.user;
  }
  // Called without the lock, so that a callback may itself call the library.
  if (function != nullptr) function(user, level, message.c_str());
}

Status unknown_enum(const char* name, int value, const char* known) {
  return invalid_argument(std::string(name) + " is " + std::to_string(value) + "; known are " + known);
}

Status null_argument(const char* name) { return invalid_argument(std::string(name) + " is NULL"); }

Status reserved_not_zero(const char* name, int index, std::int64_t value) {
  return invalid_argument(std::string(name) + "[" + std::to_string(index) + "] is " + std::to_string(value) +
                          "; reserved fields must be 0");
}

Status check_size(const void* given, const char* name) {
  if (given == nullptr) return null_argument(name);
  std::size_t size = 0;
  std::memcpy(&size, given, sizeof size);
  if (size >= sizeof size && size <= kLargestStruct) return {};
  return invalid_argument(std::string(name) + "->size is " + std::to_string(size) +
                          "; start from the struct's _INIT macro, which sets it to the struct's own size");
}

Status read_other_size(const void* given, const char* name, std::size_t known, void* out) {
  BILLFISH_RETURN_IF_ERROR(check_size(given, name));
  std::size_t size = 0;
  std::memcpy(&size, given, sizeof size);
  const auto* bytes = static_cast<const unsigned char*>(given);
  for (std::size_t i = known; i < size; ++i) {
    if (bytes[i] != 0) {
      return invalid_argument(std::string(name) + " has " + std::to_string(size) + " bytes, and byte " + std::to_string(i) +
                              " is not 0; this version of the library, " + billfish_version_string() + ", knows the first " +
                              std::to_string(known));
    }
  }
  std::memset(out, 0, known);
  std::memcpy(out, given, std::min(size, known));
  return {};
}

void write_text(std::string_view text, char* buffer, std::size_t capacity, std::size_t* length) {
  if (length != nullptr) *length = text.size();
  if (buffer == nullptr || capacity == 0) return;
  const std::size_t copied = std::min(text.size(), capacity - 1);
  std::memcpy(buffer, text.data(), copied);
  buffer[copied] = '\0';
}

}  // namespace billfish::api

extern "C" {

const char* billfish_last_error(void) { return billfish::api::last_error(); }

void billfish_set_log(billfish_log_fn log, void* user) {
  const std::lock_guard lock(billfish::api::log_sink.mutex);
  billfish::api::log_sink.function = log;
  billfish::api::log_sink.user = user;
  billfish::api::log_wanted.store(log != nullptr, std::memory_order_relaxed);
}

}  // extern "C"
