// SPDX-License-Identifier: Apache-2.0
// The words of the library as C++ types. Depends on nothing; everything else builds on it.
#pragma once

#include <cstdint>
#include <string_view>

namespace billfish {

enum class WeightType : std::uint8_t { u4b8, u4, u8b128, u8 };
enum class ElementType : std::uint8_t { f32, f16, bf16 };
enum class DeviceKind : std::uint8_t { cpu, cuda };
enum class Precision : std::uint8_t { full, bf16, int8 };

struct Device {
  DeviceKind kind = DeviceKind::cpu;
  int index = 0;
  bool operator==(const Device&) const = default;
};

constexpr int bits_of(WeightType type) { return type == WeightType::u4b8 || type == WeightType::u4 ? 4 : 8; }
constexpr int codes_per_word(WeightType type) { return 32 / bits_of(type); }
constexpr bool has_zeros(WeightType type) { return type == WeightType::u4 || type == WeightType::u8; }
// The zero that a type without stored zeros implies; also the code that padding holds.
constexpr int implicit_zero(WeightType type) { return type == WeightType::u4b8 ? 8 : type == WeightType::u8b128 ? 128 : 0; }
constexpr int bytes_of(ElementType type) { return type == ElementType::f32 ? 4 : 2; }

constexpr std::string_view name_of(WeightType type) {
  constexpr std::string_view names[] = {"u4b8", "u4", "u8b128", "u8"};
  return names[static_cast<int>(type)];
}
constexpr std::string_view name_of(ElementType type) {
  constexpr std::string_view names[] = {"f32", "f16", "bf16"};
  return names[static_cast<int>(type)];
}
constexpr std::string_view name_of(DeviceKind kind) { return kind == DeviceKind::cpu ? "cpu" : "cuda"; }
constexpr std::string_view name_of(Precision precision) {
  constexpr std::string_view names[] = {"full", "bf16", "int8"};
  return names[static_cast<int>(precision)];
}

}  // namespace billfish
