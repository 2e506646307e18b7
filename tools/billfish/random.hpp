// SPDX-License-Identifier: Apache-2.0
// Random numbers that are the same on every machine: the value at an index is a function of the seed and the index.
#pragma once

#include <cstdint>
#include <vector>

namespace billfish::cli {

class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15u + 0x632be59bd9b4e019u) {}
  std::uint64_t bits() {  // splitmix64
    std::uint64_t x = state_ += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
  }
  float uniform(float low, float high) { return low + (high - low) * static_cast<float>(bits() >> 40) * 0x1p-24f; }
  // Nearly normal with variance 1: the sum of four uniforms, from one draw.
  float normal() {
    const std::uint64_t draw = bits();
    float sum = 0;
    for (int i = 0; i < 4; ++i) sum += static_cast<float>((draw >> (16 * i)) & 0xffffu);
    return (sum - 131070.0f) * (1.7320508f / 65536.0f);
  }

 private:
  std::uint64_t state_;
};

inline std::vector<float> random_normal(std::int64_t count, std::uint64_t seed) {
  Random random(seed);
  std::vector<float> values(static_cast<std::size_t>(count));
  for (float& value : values) value = random.normal();
  return values;
}

}  // namespace billfish::cli
