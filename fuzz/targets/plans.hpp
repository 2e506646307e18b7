// SPDX-License-Identifier: Apache-2.0
// Any text as a file of tuned plans: accepted, every number in it is one that a problem may have.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "formats/plan_file.hpp"

namespace billfish::fuzz {

inline bool plans(const std::uint8_t* data, std::size_t size) {
  const auto file = formats::parse_plan_file("fuzz", std::string_view(reinterpret_cast<const char*>(data), size));
  if (!file.ok()) return false;
  for (const formats::FilePlan& plan : file->plans) {
    if (plan.n < 1 || plan.k < 1 || plan.group < 1 || plan.group > plan.k || plan.m_from < 1 || plan.m_to < plan.m_from) __builtin_trap();
  }
  return true;
}

}  // namespace billfish::fuzz
