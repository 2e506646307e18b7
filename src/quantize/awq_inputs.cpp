// SPDX-License-Identifier: Apache-2.0
// Magnitudes of channels and the rows that stand for tokens, cut into tiles by shape alone.
#include "quantize/awq_inputs.hpp"

#include <algorithm>
#include <cmath>
#include <string>

#include "core/integers.hpp"
#include "quantize/hessian.hpp"
#include "quantize/linear_algebra.hpp"

namespace billfish::quantize {
namespace {

constexpr std::int64_t kColumns = 256;  // of a tile: a task reads its columns of every token
constexpr std::int64_t kTokens = 256;   // summed up at a time

struct SplitMix {
  std::uint64_t state;
  std::uint64_t next() {
    std::uint64_t z = state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
};

// Mean |x| and mean x^2 of every channel.
void average(const Samples& samples, std::int64_t k, const Parallel& parallel, AwqInputs& inputs) {
  std::vector<double> sums(static_cast<std::size_t>(k), 0.0), squares(static_cast<std::size_t>(k), 0.0);
  Buffer<float> space(samples.x_type == ElementType::f32 ? 0 : kTokens * k);
  for (std::int64_t token = 0; token < samples.tokens; token += kTokens) {
    const std::int64_t count = std::min(kTokens, samples.tokens - token);
    const SampleRows rows = sample_rows(samples, k, token, count, space, parallel);
    parallel.run(ceil_div(k, kColumns), [&](std::int64_t tile) {
      for (std::int64_t t = 0; t < count; ++t) {
        for (std::int64_t c = tile * kColumns; c < std::min(k, (tile + 1) * kColumns); ++c) {
          const double x = static_cast<double>(rows.data[t * rows.ld + c]);
          sums[static_cast<std::size_t>(c)] += std::fabs(x);
          squares[static_cast<std::size_t>(c)] += x * x;
        }
      }
    });
  }
  for (const double sum : sums) inputs.magnitudes.push_back(static_cast<float>(sum / static_cast<double>(samples.tokens)));
  for (const double sum : squares) inputs.squares.push_back(static_cast<float>(sum / static_cast<double>(samples.tokens)));
}

// Upper triangular rows [k, k] with rows^T rows = h, but for as little on the diagonal as the factorisation of a singular h needs.
Result<std::vector<float>> factor_rows(const LinearAlgebra& algebra, const float* h, std::int64_t k) {
  const auto size = static_cast<std::size_t>(k * k);
  double mean = 0;
  for (std::int64_t i = 0; i < k; ++i) mean += h[i * k + i] / static_cast<double>(k);
  std::vector<float> lower(size);
  const LinearAlgebra::OneThread one(algebra);
  for (double part = 1e-6; part < 2; part *= 10) {
    std::copy(h, h + size, lower.begin());
    for (std::int64_t i = 0; i < k; ++i) lower[static_cast<std::size_t>(i * k + i)] += static_cast<float>(part * mean);
    if (mean > 0 && algebra.factor_lower(k, lower.data(), k) != 0) continue;
    std::vector<float> rows(size, 0.0f);
    for (std::int64_t i = 0; mean > 0 && i < k; ++i) {
      for (std::int64_t j = 0; j <= i; ++j) rows[static_cast<std::size_t>(j * k + i)] = lower[static_cast<std::size_t>(i * k + j)];
    }
    return rows;
  }
  return bad_input("hessian is not positive semidefinite, as second moments are");
}

// Sums up samples with random signs: rows [kAwqSummedRows, k] = signs [kAwqSummedRows, tokens] * x [tokens, k].
std::vector<float> sum_up(const LinearAlgebra& algebra, const Samples& samples, std::int64_t k, std::uint64_t seed,
                          const Parallel& parallel) {
  std::vector<float> rows(static_cast<std::size_t>(kAwqSummedRows * k)), signs(static_cast<std::size_t>(kAwqSummedRows * kTokens));
  Buffer<float> space(samples.x_type == ElementType::f32 ? 0 : kTokens * k);
  SplitMix random{seed};
  const LinearAlgebra::OneThread one(algebra);
  for (std::int64_t token = 0; token < samples.tokens; token += kTokens) {
    const std::int64_t count = std::min(kTokens, samples.tokens - token);
    for (std::int64_t at = 0; at < count * kAwqSummedRows; at += 64) {
      const std::uint64_t bits = random.next();
      for (int i = 0; i < 64; ++i) signs[static_cast<std::size_t>(at + i)] = (bits >> i & 1u) != 0 ? 1.0f : -1.0f;
    }
    const SampleRows x = sample_rows(samples, k, token, count, space, parallel);
    parallel.run(ceil_div(k, kColumns), [&](std::int64_t tile) {
      const std::int64_t begin = tile * kColumns;
      algebra.multiply(LinearAlgebra::Op::transposed, LinearAlgebra::Op::plain, kAwqSummedRows, std::min(kColumns, k - begin), count, 1.0f,
                       signs.data(), kAwqSummedRows, x.data + begin, x.ld, token == 0 ? 0.0f : 1.0f, rows.data() + begin, k);
    });
  }
  return rows;
}

}  // namespace

Result<AwqInputs> awq_inputs(const Samples& samples, std::int64_t k, std::uint64_t seed, const Parallel& parallel) {
  const Result<const LinearAlgebra*> found = LinearAlgebra::get();
  if (!found.ok()) return found.status();
  const LinearAlgebra& algebra = **found;
  AwqInputs inputs;
  const bool have_x = samples.x != nullptr && samples.tokens > 0;
  if (have_x) {
    BILLFISH_RETURN_IF_ERROR(check_samples(samples, k, parallel));
    average(samples, k, parallel, inputs);
  }
  if (samples.hessian != nullptr) BILLFISH_RETURN_IF_ERROR(check_hessian(samples.hessian, k, parallel));
  for (std::int64_t i = 0; !have_x && i < k; ++i) {
    inputs.squares.push_back(samples.hessian[i * k + i] / 2);
    inputs.magnitudes.push_back(std::sqrt(inputs.squares.back()));
  }

  const bool take_x = have_x && (samples.hessian == nullptr || samples.count <= samples.tokens);
  if (take_x && samples.tokens <= kAwqWholeRows) {
    inputs.count = samples.tokens;
    inputs.rows.resize(static_cast<std::size_t>(inputs.count * k));
    Buffer<float> space(samples.x_type == ElementType::f32 ? 0 : inputs.count * k);
    const SampleRows x = sample_rows(samples, k, 0, inputs.count, space, parallel);
    parallel.run(inputs.count, [&](std::int64_t t) { std::copy(x.data + t * x.ld, x.data + t * x.ld + k, inputs.rows.data() + t * k); });
    return inputs;
  }
  if (take_x && k > kAwqWholeRows) {
    inputs.count = kAwqSummedRows;
    inputs.rows = sum_up(algebra, samples, k, seed, parallel);
    return inputs;
  }
  std::vector<float> own(samples.hessian == nullptr ? static_cast<std::size_t>(k * k) : 0);
  if (samples.hessian == nullptr) {
    std::int64_t count = 0;
    BILLFISH_RETURN_IF_ERROR(hessian_add(samples.x, samples.x_type, samples.tokens, k, samples.ld, own.data(), count, parallel));
  }
  Result<std::vector<float>> factor = factor_rows(algebra, samples.hessian != nullptr ? samples.hessian : own.data(), k);
  if (!factor.ok()) return factor.status();
  inputs.count = k <= kAwqWholeRows ? k : kAwqSummedRows;
  if (k <= kAwqWholeRows) {
    inputs.rows = std::move(*factor);
  } else {
    inputs.rows = sum_up(algebra, {factor->data(), ElementType::f32, k, k, nullptr, 0}, k, seed, parallel);
  }
  return inputs;
}

}  // namespace billfish::quantize
