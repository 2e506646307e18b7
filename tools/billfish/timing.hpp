// SPDX-License-Identifier: Apache-2.0
// How long a call takes when its weights are not in any cache: calls rotate over copies, the median counts. Called by demo.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "billfish/billfish_tools.h"
#include "product.hpp"

namespace billfish::cli {

// At least 2 copies of so many bytes, and so many that no cache of the device holds them all: twice the CPU's last-level cache within
// [64, 256] MB, or 320 MB on CUDA.
std::int64_t rotation_copies(Device device, std::int64_t bytes);

// Median seconds of call(index), index = 0 1 2 ..., after one call to warm up: at least 5 calls and 0.1 s of them.
double median_seconds(const std::function<void(std::int64_t)>& call);

// Median seconds of one call of a CUDA graph of at least `copies` of them.
double graph_seconds(Device device, std::int64_t copies, billfish_enqueue_fn enqueue, void* user);

// Median seconds of one product of m rows: the calling thread's clock on the CPU, a replayed graph and its events on CUDA.
double product_seconds(const PackedLayer& layer, const ProductOptions& options, std::int64_t m);

}  // namespace billfish::cli
