// SPDX-License-Identifier: Apache-2.0
// What AWQ's search knows of a layer's inputs: how large each channel is, and some rows that stand for all tokens when errors are
// multiplied by them. Called by awq.cpp; calls hessian.cpp and linear_algebra.hpp.
#pragma once

#include <cstdint>
#include <vector>

#include "core/status.hpp"
#include "core/threads.hpp"
#include "quantize/quantize.hpp"

namespace billfish::quantize {

struct AwqInputs {
  std::vector<float> magnitudes;  // [k]: mean |x|, or the root of H's diagonal where only H is known
  std::vector<float> squares;     // [k]: mean x^2
  std::vector<float> rows;        // [count, k]: |rows d|^2 stands for |X d|^2, but for one factor
  std::int64_t count = 0;
};

// As many tokens are taken as they are, and as many channels through the whole factor of H: exact. Beyond both, kAwqSummedRows sums of
// all tokens with random signs stand for them: the mean of |sum d|^2 is |X d|^2, and over the errors d of a whole layer's outputs it has
// settled to well below the differences between ratios. (As many picked tokens would miss rare large ones.)
inline constexpr std::int64_t kAwqWholeRows = 1024;
inline constexpr std::int64_t kAwqSummedRows = 512;

// k: channels. Samples that are not finite are refused.
Result<AwqInputs> awq_inputs(const Samples& samples, std::int64_t k, std::uint64_t seed, const Parallel& parallel);

}  // namespace billfish::quantize
