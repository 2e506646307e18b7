// SPDX-License-Identifier: Apache-2.0
// billfish_version, billfish_version_string, billfish_status_name.
#include "api/boundary.hpp"

// Two steps, so that the macros are replaced by their values before they become text.
#define BILLFISH_TEXT_OF(value) #value
#define BILLFISH_TEXT(value) BILLFISH_TEXT_OF(value)

extern "C" {

int billfish_version(void) { return BILLFISH_VERSION_MAJOR * 10000 + BILLFISH_VERSION_MINOR * 100 + BILLFISH_VERSION_PATCH; }

const char* billfish_version_string(void) {
  return BILLFISH_TEXT(BILLFISH_VERSION_MAJOR) "." BILLFISH_TEXT(BILLFISH_VERSION_MINOR) "." BILLFISH_TEXT(BILLFISH_VERSION_PATCH);
}

const char* billfish_status_name(billfish_status status) {
  constexpr const char* kNames[] = {"ok",           "invalid argument", "bad input",           "unsupported",
                                    "device error", "out of memory",    "workspace too small", "input/output",
                                    "cancelled",    "internal"};
  static_assert(sizeof(kNames) / sizeof(kNames[0]) == BILLFISH_INTERNAL + 1);
  // A caller's integer can be anything, and so can what it becomes as an enum.
  const int index = billfish::api::raw(status);
  return index >= 0 && index <= BILLFISH_INTERNAL ? kNames[index] : "unknown status";
}

}  // extern "C"
