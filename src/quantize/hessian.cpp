// SPDX-License-Identifier: Apache-2.0
// See hessian.hpp and quantize.hpp. The lower triangle is made tile by tile, tokens in chunks, and mirrored last: sums run over tokens
// in f32 within a chunk and from chunk to chunk, in an order that depends on sizes alone.
#include "quantize/hessian.hpp"

#include <bit>
#include <cmath>
#include <cstring>
#include <string>

#include "core/half.hpp"
#include "quantize/linear_algebra.hpp"

namespace billfish::quantize {
namespace {

constexpr std::int64_t kTile = 256;         // columns
constexpr std::int64_t kChunkTokens = 512;  // tokens: converted samples of a chunk stay in the last cache
constexpr std::int64_t kScan = 16;          // tokens or rows that a scanning task looks at

const char* at_token(const Samples& samples, std::int64_t token) {
  return static_cast<const char*>(samples.x) + token * samples.ld * bytes_of(samples.x_type);
}

bool in_range(float value) { return std::fabs(value) <= kLargestSample; }

// The column of the first element out of range, or k. Magnitudes of bit patterns sort like values: most rows are seen through at once.
std::int64_t first_bad(const Samples& samples, std::int64_t k, std::int64_t token) {
  const char* const row = at_token(samples, token);
  if (samples.x_type == ElementType::f32) {
    bool fine = true;
    for (std::int64_t i = 0; i < k; ++i) fine &= in_range(load_element(row, ElementType::f32, i));
    if (fine) return k;
  } else {
    const std::uint16_t limit = samples.x_type == ElementType::f16 ? 0x7bffu : f32_to_bf16(kLargestSample);
    std::uint16_t most = 0;
    for (std::int64_t i = 0; i < k; ++i) {
      std::uint16_t bits = 0;
      std::memcpy(&bits, row + 2 * i, sizeof bits);
      most = std::max<std::uint16_t>(most, bits & 0x7fffu);
    }
    if (most < limit) return k;
  }
  for (std::int64_t i = 0; i < k; ++i) {
    if (!in_range(load_element(row, samples.x_type, i))) return i;
  }
  return k;
}

// Finite values alone: so an f16 is its exponent and mantissa moved to their places in f32, times 2^112, subnormal or not.
void widen(const char* row, ElementType type, std::int64_t k, float* target) {
  const bool half = type == ElementType::f16;
  for (std::int64_t i = 0; i < k; ++i) {
    std::uint16_t bits = 0;
    std::memcpy(&bits, row + 2 * i, sizeof bits);
    const std::uint32_t wide = bits;
    const std::uint32_t sign = (wide & 0x8000u) << 16, magnitude = (wide & 0x7fffu) << 13;
    const std::uint32_t of_half = sign | std::bit_cast<std::uint32_t>(std::bit_cast<float>(magnitude) * 0x1p112f);
    target[i] = std::bit_cast<float>(half ? of_half : wide << 16);
  }
}

// h += factor * x^T x for one tile of the lower triangle; h *= keep first.
void add_tile(const LinearAlgebra& algebra, const SampleRows& x, std::int64_t tokens, std::int64_t k, std::int64_t row, std::int64_t column,
              float keep, float factor, float* h) {
  const std::int64_t rows = std::min(kTile, k - row), columns = std::min(kTile, k - column);
  float* const target = h + row * k + column;
  if (keep == 0.0f) {  // what is there may be anything
    for (std::int64_t i = 0; i < rows; ++i) std::fill(target + i * k, target + i * k + columns, 0.0f);
  }
  using Op = LinearAlgebra::Op;
  if (row == column) {
    algebra.multiply_by_own_transpose(Op::transposed, rows, tokens, factor, x.data + row, x.ld, keep, target, k);
  } else {
    algebra.multiply(Op::transposed, Op::plain, rows, columns, tokens, factor, x.data + row, x.ld, x.data + column, x.ld, keep, target, k);
  }
}

// Tile (t) of the lower triangle of tiles, row by row.
struct Place {
  std::int64_t row, column;
};
std::vector<Place> lower_tiles(std::int64_t k) {
  std::vector<Place> places;
  for (std::int64_t row = 0; row < k; row += kTile) {
    for (std::int64_t column = 0; column <= row; column += kTile) places.push_back({row, column});
  }
  return places;
}

void mirror(float* h, std::int64_t k, Place tile) {
  for (std::int64_t i = tile.row; i < std::min(k, tile.row + kTile); ++i) {
    const std::int64_t end = std::min({k, tile.column + kTile, i});
    for (std::int64_t j = tile.column; j < end; ++j) h[j * k + i] = h[i * k + j];
  }
}

}  // namespace

Status check_samples(const Samples& samples, std::int64_t k, const Parallel& parallel) {
  return run_all(parallel, ceil_div(samples.tokens, kScan), [&](std::int64_t task) -> Status {
    for (std::int64_t token = task * kScan; token < std::min(samples.tokens, (task + 1) * kScan); ++token) {
      const std::int64_t bad = first_bad(samples, k, token);
      if (bad == k) continue;
      const bool finite = std::isfinite(load_element(at_token(samples, token), samples.x_type, bad));
      return bad_input("sample " + std::to_string(token) + ", input " + std::to_string(bad) +
                       (finite ? " is beyond 1e17: sums of its square leave f32" : " is not finite"));
    }
    return {};
  });
}

SampleRows sample_rows(const Samples& samples, std::int64_t k, std::int64_t first, std::int64_t count, Buffer<float>& space,
                       const Parallel& parallel) {
  if (samples.x_type == ElementType::f32) return {reinterpret_cast<const float*>(at_token(samples, first)), samples.ld};
  parallel.run(count, [&](std::int64_t i) { widen(at_token(samples, first + i), samples.x_type, k, space.get() + i * k); });
  return {space.get(), k};
}

Status check_hessian(const float* h, std::int64_t k, const Parallel& parallel) {
  return run_all(parallel, ceil_div(k, kScan), [&](std::int64_t task) -> Status {
    for (std::int64_t row = task * kScan; row < std::min(k, (task + 1) * kScan); ++row) {
      for (std::int64_t column = 0; column < k; ++column) {
        const float value = h[row * k + column];
        if (std::isfinite(value) && (column != row || value >= 0.0f)) continue;
        return bad_input("hessian[" + std::to_string(row) + ", " + std::to_string(column) + "] is " +
                         (std::isfinite(value) ? "negative: no sum of squares is" : "not finite"));
      }
    }
    return {};
  });
}

std::vector<float> hessian_diagonal(const Samples& samples, std::int64_t k, const Parallel& parallel) {
  constexpr std::int64_t kColumns = 64;
  std::vector<float> diagonal(static_cast<std::size_t>(k));
  parallel.run(ceil_div(k, kColumns), [&](std::int64_t task) {
    const std::int64_t begin = task * kColumns, columns = std::min(kColumns, k - begin);
    double sums[kColumns] = {};
    for (std::int64_t token = 0; token < samples.tokens; ++token) {
      for (std::int64_t i = 0; i < columns; ++i) {
        const double value = load_element(at_token(samples, token), samples.x_type, begin + i);
        sums[i] += value * value;
      }
    }
    for (std::int64_t i = 0; i < columns; ++i) {
      diagonal[static_cast<std::size_t>(begin + i)] = static_cast<float>(2.0 * sums[i] / static_cast<double>(samples.tokens));
    }
  });
  return diagonal;
}

Status hessian_add(const void* x, ElementType type, std::int64_t tokens, std::int64_t k, std::int64_t ld, float* h, std::int64_t& count,
                   const Parallel& parallel) {
  const Samples samples = {x, type, tokens, ld, nullptr, 0};
  const Result<const LinearAlgebra*> found = LinearAlgebra::get();
  if (!found.ok()) return found.status();
  const LinearAlgebra& algebra = **found;
  if (!LinearAlgebra::fits(tokens, ld) || !LinearAlgebra::fits(k, k)) {
    return unsupported("ldx is " + std::to_string(ld) + " and k is " + std::to_string(k) + "; linear algebra counts in 31 bits");
  }
  BILLFISH_RETURN_IF_ERROR(check_samples(samples, k, parallel));
  if (count > 0) BILLFISH_RETURN_IF_ERROR(check_hessian(h, k, parallel));

  const double total = static_cast<double>(count) + static_cast<double>(tokens);
  const std::vector<Place> tiles = lower_tiles(k);
  Buffer<float> space(type == ElementType::f32 ? 0 : std::min(tokens, kChunkTokens) * k);
  const LinearAlgebra::OneThread alone(algebra);
  for (std::int64_t first = 0; first < tokens; first += kChunkTokens) {
    const std::int64_t here = std::min(kChunkTokens, tokens - first);
    const SampleRows rows = sample_rows(samples, k, first, here, space, parallel);
    const float keep = first > 0 ? 1.0f : static_cast<float>(static_cast<double>(count) / total);
    const auto factor = static_cast<float>(2.0 / total);
    parallel.run(static_cast<std::int64_t>(tiles.size()), [&](std::int64_t t) {
      const Place tile = tiles[static_cast<std::size_t>(t)];
      add_tile(algebra, rows, here, k, tile.row, tile.column, keep, factor, h);
    });
  }
  parallel.run(static_cast<std::int64_t>(tiles.size()), [&](std::int64_t t) { mirror(h, k, tiles[static_cast<std::size_t>(t)]); });
  count += tokens;
  return {};
}

}  // namespace billfish::quantize
