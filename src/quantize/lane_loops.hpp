// SPDX-License-Identifier: Apache-2.0
// The loops of lanes.hpp over the compiler's own vectors, whose width is that of the instruction set a unit is compiled for. No fused
// arithmetic and one order of additions per lane: every width gives the same bits. Included by lanes_scalar.cpp and lanes_avx2.cpp alone;
// internal linkage, so that the linker never takes one unit's function for the other.
#pragma once

#include <cstring>

#include "quantize/lanes.hpp"

namespace billfish::quantize {
namespace {

#if defined(__AVX2__)
constexpr int kWidth = 8;
#else
constexpr int kWidth = 4;
#endif
constexpr int kVectors = kLanes / kWidth;
typedef float Floats __attribute__((vector_size(kWidth * sizeof(float))));

inline Floats load(const float* at) {
  Floats v;
  std::memcpy(&v, at, sizeof v);
  return v;
}
inline void store(float* at, Floats v) { std::memcpy(at, &v, sizeof v); }
inline Floats splat(float value) { return value - Floats{}; }
inline Floats least(Floats a, Floats b) { return a < b ? a : b; }
inline Floats largest(Floats a, Floats b) { return a > b ? a : b; }

// The code nearest to `value`, as a float. Adding 1.5 * 2^23 leaves no room for a fraction: rounds to nearest even, up to 2^22.
inline Floats code_of(Floats value, Floats inverse, Floats zero, Floats largest_code) {
  const Floats magic = splat(12582912.0f);
  const Floats within = least(largest(value * inverse + zero, Floats{}), largest_code);
  return (within + magic) - magic;
}

inline void store_codes(std::uint8_t* at, const float* codes) {
  for (int lane = 0; lane < kLanes; ++lane) at[lane] = static_cast<std::uint8_t>(static_cast<int>(codes[lane]));
}

void range_loop(const float* panel, std::int64_t ld, std::int64_t columns, float* low, float* high) {
  for (int v = 0; v < kLanes; v += kWidth) {
    Floats lowest = {}, highest = {};
    for (std::int64_t c = 0; c < columns; ++c) {
      const Floats value = load(panel + c * ld + v);
      lowest = least(value, lowest);
      highest = largest(value, highest);
    }
    store(low + v, lowest);
    store(high + v, highest);
  }
}

template <bool kWeighted>
inline void nearest_error_loop(const float* panel, std::int64_t ld, std::int64_t columns, const float* importance, const Grid& grid,
                               float largest_code, float* error) {
  const Floats most = splat(largest_code);
  for (int v = 0; v < kLanes; v += 2 * kWidth) {
    const Floats scale0 = load(grid.scale + v), scale1 = load(grid.scale + v + kWidth);
    const Floats inverse0 = load(grid.inverse + v), inverse1 = load(grid.inverse + v + kWidth);
    const Floats zero0 = load(grid.zero + v), zero1 = load(grid.zero + v + kWidth);
    Floats sum0 = {}, sum1 = {};
    for (std::int64_t c = 0; c < columns; ++c) {
      const Floats value0 = load(panel + c * ld + v), value1 = load(panel + c * ld + v + kWidth);
      const Floats off0 = value0 - (code_of(value0, inverse0, zero0, most) - zero0) * scale0;
      const Floats off1 = value1 - (code_of(value1, inverse1, zero1, most) - zero1) * scale1;
      if constexpr (kWeighted) {
        const Floats weight = splat(importance[c]);
        sum0 += off0 * off0 * weight;
        sum1 += off1 * off1 * weight;
      } else {
        sum0 += off0 * off0;
        sum1 += off1 * off1;
      }
    }
    store(error + v, sum0);
    store(error + v + kWidth, sum1);
  }
}

void nearest_error(const float* panel, std::int64_t ld, std::int64_t columns, const float* importance, const Grid& grid, float largest_code,
                   float* error) {
  if (importance != nullptr) {
    nearest_error_loop<true>(panel, ld, columns, importance, grid, largest_code, error);
  } else {
    nearest_error_loop<false>(panel, ld, columns, nullptr, grid, largest_code, error);
  }
}

void fit_loop(const float* panel, std::int64_t ld, std::int64_t columns, const float* importance, const Grid& grid, float largest_code,
              float* over, float* under) {
  const Floats most = splat(largest_code);
  for (int v = 0; v < kLanes; v += kWidth) {
    const Floats inverse = load(grid.inverse + v), zero = load(grid.zero + v);
    Floats sum_over = {}, sum_under = {};
    for (std::int64_t c = 0; c < columns; ++c) {
      const Floats value = load(panel + c * ld + v), step = code_of(value, inverse, zero, most) - zero;
      const Floats weighted = step * splat(importance != nullptr ? importance[c] : 1.0f);
      sum_over += weighted * value;
      sum_under += weighted * step;
    }
    store(over + v, sum_over);
    store(under + v, sum_under);
  }
}

void split_loop(const float* panel, std::int64_t ld, std::int64_t columns, const Grid& grid, float largest_code, float* steps,
                float* residuals) {
  const Floats most = splat(largest_code);
  for (int v = 0; v < kLanes; v += kWidth) {
    const Floats scale = load(grid.scale + v), inverse = load(grid.inverse + v), zero = load(grid.zero + v);
    for (std::int64_t c = 0; c < columns; ++c) {
      const Floats value = load(panel + c * ld + v), step = code_of(value, inverse, zero, most) - zero;
      store(steps + c * kLanes + v, step);
      store(residuals + c * kLanes + v, value - step * scale);
    }
  }
}

void encode_loop(const float* panel, std::int64_t ld, std::int64_t columns, const Grid& grid, float largest_code, std::uint8_t* codes,
                 std::int64_t ld_codes) {
  const Floats most = splat(largest_code);
  alignas(64) float found[kLanes];
  for (std::int64_t c = 0; c < columns; ++c) {
    for (int v = 0; v < kLanes; v += kWidth) {
      store(found + v, code_of(load(panel + c * ld + v), load(grid.inverse + v), load(grid.zero + v), most));
    }
    store_codes(codes + c * ld_codes, found);
  }
}

void subtract_loop(const float* panel, std::int64_t ld, std::int64_t columns, const Grid& grid, const std::uint8_t* codes,
                   std::int64_t ld_codes, float* errors) {
  for (std::int64_t c = 0; c < columns; ++c) {
    for (int lane = 0; lane < kLanes; ++lane) {
      const float code = static_cast<float>(codes[c * ld_codes + lane]);
      errors[c * ld + lane] = panel[c * ld + lane] - (code - grid.zero[lane]) * grid.scale[lane];
    }
  }
}

void dot_loop(const float* a, const float* b, std::int64_t ld, std::int64_t columns, float* sum) {
  for (int v = 0; v < kLanes; v += kWidth) {
    Floats total = {};
    for (std::int64_t c = 0; c < columns; ++c) total += load(a + c * ld + v) * load(b + c * ld + v);
    store(sum + v, total);
  }
}

// Column after column: what the earlier ones left is added to the target, the sum is rounded, and the column leaves its own error.
// The errors of the block stay in 16 KiB, within reach of the first cache.
void feed_back_loop(const FeedBack& block) {
  alignas(64) float left[kMostWidth][kLanes];
  alignas(64) float found[kLanes];
  const Floats most = splat(block.largest_code);
  for (int k = 0; k < block.width; ++k) {
    Floats target[kVectors];
    for (int v = 0; v < kVectors; ++v) target[v] = load(block.targets + k * block.ld + v * kWidth);
    const float* const links = block.links + k * kMostWidth;
    for (int j = 0; j < k; ++j) {
      const Floats link = splat(links[j]);
      for (int v = 0; v < kVectors; ++v) target[v] += load(left[j] + v * kWidth) * link;
    }
    const Grid& grid = *block.grids[k];
    const Floats pivot = splat(block.pivots[k]);
    for (int v = 0; v < kVectors; ++v) {
      const Floats zero = load(grid.zero + v * kWidth);
      const Floats code = code_of(target[v], load(grid.inverse + v * kWidth), zero, most);
      const Floats value = (code - zero) * load(grid.scale + v * kWidth);
      const Floats missed = target[v] - value;
      store(block.cost + v * kWidth, load(block.cost + v * kWidth) + missed * missed * pivot);
      const Floats error = load(block.weights + k * block.ld + v * kWidth) - value;
      store(left[k] + v * kWidth, error);
      store(block.errors + k * block.ld + v * kWidth, error);
      store(found + v * kWidth, code);
    }
    store_codes(block.codes + k * block.ld_codes, found);
  }
}

inline void load_codes(const std::uint8_t* at, float* codes) {
  for (int lane = 0; lane < kLanes; ++lane) codes[lane] = static_cast<float>(at[lane]);
}

// With all other errors fixed the sum is a parabola in what a code means, least at value + gradient / moment: the nearest code to that.
void improve_loop(const Improve& block) {
  alignas(64) float change[kMostWidth][kLanes];
  alignas(64) float found[kLanes];
  const Floats most = splat(block.largest_code);
  for (int k = 0; k < block.width; ++k) {
    Floats gradient[kVectors];
    for (int v = 0; v < kVectors; ++v) gradient[v] = load(block.gradients + k * block.ld + v * kWidth);
    const float* const links = block.links + k * kMostWidth;
    for (int j = 0; j < k; ++j) {
      const Floats link = splat(links[j]);
      for (int v = 0; v < kVectors; ++v) gradient[v] += load(change[j] + v * kWidth) * link;
    }
    const Grid& grid = *block.grids[k];
    const float moment = block.moments[k];
    const Floats steepness = splat(moment), flatness = splat(moment > 0.0f ? 1.0f / moment : 0.0f);
    load_codes(block.codes + k * block.ld_codes, found);
    for (int v = 0; v < kVectors; ++v) {
      const Floats zero = load(grid.zero + v * kWidth), scale = load(grid.scale + v * kWidth);
      const Floats value = (load(found + v * kWidth) - zero) * scale;
      const Floats code = code_of(value + gradient[v] * flatness, load(grid.inverse + v * kWidth), zero, most);
      const Floats change_here = value - (code - zero) * scale;
      store(block.gain + v * kWidth, load(block.gain + v * kWidth) - change_here * (gradient[v] + gradient[v] + change_here * steepness));
      store(change[k] + v * kWidth, change_here);
      float* const error = block.errors + k * block.ld + v * kWidth;
      store(error, load(error) + change_here);
      store(found + v * kWidth, code);
    }
    store_codes(block.codes + k * block.ld_codes, found);
  }
}

constexpr LaneKernels kernels_named(const char* name) {
  return {name, range_loop, nearest_error, fit_loop, split_loop, encode_loop, subtract_loop, dot_loop, feed_back_loop, improve_loop};
}

}  // namespace
}  // namespace billfish::quantize
