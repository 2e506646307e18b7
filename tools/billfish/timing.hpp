// SPDX-License-Identifier: Apache-2.0
// How long a call takes when its weights are not in any cache: calls rotate over copies, the median counts. Called by demo.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "product.hpp"

namespace billfish::cli {

// Memory over which calls must rotate so that no cache holds it: twice the last-level cache, within [64, 256] MB.
std::int64_t rotation_bytes();
// At least 2 copies, so many that together they have rotation_bytes().
std::int64_t rotation_copies(std::int64_t bytes);

// Median seconds of call(index), index = 0 1 2 ..., after one call to warm up: at least 5 calls and 0.1 s of them.
double median_seconds(const std::function<void(std::int64_t)>& call);

// Median seconds of one product of m rows: the calling thread's clock on the CPU, a replayed graph and its events on CUDA.
double product_seconds(const PackedLayer& layer, const ProductOptions& options, std::int64_t m);

}  // namespace billfish::cli
