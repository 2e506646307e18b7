// SPDX-License-Identifier: Apache-2.0
// The edge of the library: what every entry point of the C ABI goes through. Turns a Status or an exception into a code and this
// thread's message, reads versioned structs, and reads enums without trusting them. Used by every file of api/, by nothing below.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <exception>
#include <new>
#include <stdexcept>
#include <string>
#include <string_view>

#include "billfish/billfish.h"
#include "core/status.hpp"

namespace billfish::api {

// Keep the message for billfish_last_error and return the code. Never throw: a message that cannot be kept becomes a shorter one.
billfish_status fail(const Status& status) noexcept;
billfish_status fail(Code code, const char* message) noexcept;
const char* last_error() noexcept;

// Runs an entry point's body, a callable that returns a Status. Nothing it throws gets out.
template <class Body>
billfish_status guarded(Body&& body) noexcept {
  try {
    const Status status = body();
    if (status.ok()) [[likely]] {
      return BILLFISH_OK;
    }
    return fail(status);
  } catch (const std::bad_alloc&) {
    return fail(Code::out_of_memory, "out of memory");
  } catch (const std::length_error&) {
    return fail(Code::out_of_memory, "out of memory: a size is larger than any container can hold");
  } catch (const std::exception& error) {
    return fail(Code::internal, error.what());
  } catch (...) {
    return fail(Code::internal, "an exception of unknown type");
  }
}

// A log line, if somebody listens. `logging` is one relaxed load, so that callers can skip the making of the text.
bool logging() noexcept;
void log(billfish_log_level level, const std::string& message) noexcept;

// ---- enums. A caller can put any integer there, and loading such an enum is undefined: read its bytes.

template <class Enum>
int raw(const Enum& value) {
  static_assert(sizeof(Enum) == sizeof(int));
  int integer = 0;
  std::memcpy(&integer, &value, sizeof integer);
  return integer;
}
Status unknown_enum(const char* name, int value, const char* known);
// `known` lists the values for the message: "0 (cpu), 1 (cuda)".
template <class To, class Enum>
Status read_enum(const char* name, const Enum& value, int count, const char* known, To& out) {
  const int integer = raw(value);
  if (integer < 0 || integer >= count) return unknown_enum(name, integer, known);
  out = static_cast<To>(integer);
  return {};
}

// ---- versioned structs: a size_t first. Smaller: what is missing is zero. Larger: what we do not know must be zero.

constexpr std::size_t kLargestStruct = 4096;  // a size beyond it is not a newer version but uninitialised memory
Status read_other_size(const void* given, const char* name, std::size_t known, void* out);
Status check_size(const void* given, const char* name);

template <class Struct>
Status read_struct(const Struct* given, const char* name, Struct& out) {
  if (given != nullptr && given->size == sizeof(Struct)) [[likely]] {
    out = *given;
    return {};
  }
  return read_other_size(given, name, sizeof(Struct), &out);
}

// Results go out the same way: as much as the caller's struct holds, its size kept, its unknown tail zeroed.
template <class Struct>
void write_struct(const Struct& filled, Struct* out) {
  const std::size_t size = out->size;
  auto* bytes = reinterpret_cast<unsigned char*>(out);
  std::memcpy(bytes + sizeof size, reinterpret_cast<const unsigned char*>(&filled) + sizeof size,
              (size < sizeof(Struct) ? size : sizeof(Struct)) - sizeof size);
  if (size > sizeof(Struct)) std::memset(bytes + sizeof(Struct), 0, size - sizeof(Struct));
}

Status null_argument(const char* name);
Status reserved_not_zero(const char* name, int index, std::int64_t value);
template <std::size_t count>
Status check_reserved(const char* name, const std::int64_t (&reserved)[count]) {
  std::int64_t any = 0;
  for (const std::int64_t value : reserved) any |= value;
  if (any == 0) [[likely]] {
    return {};
  }
  int index = 0;
  while (reserved[index] == 0) ++index;
  return reserved_not_zero(name, index, reserved[index]);
}

// Copies a text to a caller's buffer: at most capacity bytes with the NUL; the full length goes to *length if that is not null.
void write_text(std::string_view text, char* buffer, std::size_t capacity, std::size_t* length);

}  // namespace billfish::api
