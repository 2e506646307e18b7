// SPDX-License-Identifier: Apache-2.0
// See hessian.hpp and quantize.hpp. Tokens are taken in chunks: sums run over tokens in f32 within a chunk and from chunk to chunk, in an
// order that depends on sizes alone. The lower triangle is made, and mirrored last.
#include "quantize/hessian.hpp"

#include <bit>
#include <cmath>
#include <cstring>
#include <string>

#include "core/half.hpp"
#include "quantize/linear_algebra.hpp"
#include "quantize/with_engine.hpp"

namespace billfish::quantize {
namespace {

constexpr std::int64_t kScan = 16;  // tokens or rows that a scanning task looks at

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
  widen_rows({at_token(samples, first), samples.x_type, count, k, samples.ld}, space.get(), parallel);
  return {space.get(), k};
}

void widen_rows(const TokenBlock& block, float* to, const Parallel& parallel) {
  const char* const from = static_cast<const char*>(block.x);
  parallel.run(block.tokens,
               [&](std::int64_t i) { widen(from + i * block.ld * bytes_of(block.type), block.type, block.k, to + i * block.k); });
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

Status add_samples(Engine& engine, const Samples& samples, std::int64_t k, float* h, std::int64_t count) {
  if (!LinearAlgebra::fits(samples.tokens, samples.ld) || !LinearAlgebra::fits(k, k)) {
    return unsupported("ldx is " + std::to_string(samples.ld) + " and k is " + std::to_string(k) + "; linear algebra counts in 31 bits");
  }
  const double total = static_cast<double>(count) + static_cast<double>(samples.tokens);
  const std::int64_t chunk = std::min(samples.tokens, engine.tokens_at_once());
  const Held<float> space(engine, engine.needs_space(samples.x_type) ? chunk * k : 0);
  for (std::int64_t first = 0; first < samples.tokens; first += chunk) {
    const std::int64_t here = std::min(chunk, samples.tokens - first);
    const FloatRows rows = engine.float_rows({at_token(samples, first), samples.x_type, here, k, samples.ld}, space.get());
    const float keep = first > 0 ? 1.0f : static_cast<float>(static_cast<double>(count) / total);
    engine.add_moments(rows, here, k, keep, static_cast<float>(2.0 / total), h);
  }
  engine.mirror(k, h);
  return engine.finish();
}

Status hessian_add(const void* x, ElementType type, std::int64_t tokens, std::int64_t k, std::int64_t ld, float* h, std::int64_t& count,
                   const Parallel& parallel, Engine* engine_or_null) {
  const Samples samples = {x, type, tokens, ld, nullptr, 0};
  return with_engine(engine_or_null, parallel, [&](Engine& engine) -> Status {
    BILLFISH_RETURN_IF_ERROR(engine.can_multiply());
    BILLFISH_RETURN_IF_ERROR(check_samples(samples, k, parallel));
    if (count > 0) BILLFISH_RETURN_IF_ERROR(check_hessian(h, k, parallel));
    const Held<float> sums = Held<float>::for_host(engine, h, k * k);
    if (count > 0 && sums.get() != h) engine.upload(sums.get(), h, static_cast<std::size_t>(k * k) * sizeof(float));
    BILLFISH_RETURN_IF_ERROR(add_samples(engine, samples, k, sums.get(), count));
    sums.to_host(engine, h, k * k);
    BILLFISH_RETURN_IF_ERROR(engine.finish());
    count += tokens;
    return {};
  });
}

}  // namespace billfish::quantize
