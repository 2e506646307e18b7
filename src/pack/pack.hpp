// SPDX-License-Identifier: Apache-2.0
// QuantizedMatrix <-> PackedMatrix on the CPU, fast. Called by api/; calls layout/ for where every code goes.
#pragma once

#include <cstdint>

#include "core/matrix.hpp"
#include "core/status.hpp"
#include "core/threads.hpp"

namespace billfish::pack {

struct PackedSizes {  // bytes; 0 where the matrix has no such part
  std::int64_t codes = 0, scales = 0, zeros = 0, perm = 0, g_idx = 0, bias = 0;
};

// Checks shapes for overflow; reads g_idx (a trivial one, k / group, needs no perm) and nothing else.
Result<PackedSizes> packed_sizes(const QuantizedMatrix&);

// Writes codes, scales, zeros, perm, g_idx and bias into the memory that `target` points to; fills its shape and flags.
// bad_input for non-finite scales, zeros that contradict the type, g_idx or perm out of range.
Status pack(const QuantizedMatrix& source, PackedMatrix& target, const Parallel&);

// Back into the format, pointers of `target` (const cast away by contract: they are the caller's output buffers).
Status unpack(const PackedMatrix& source, const QuantizedMatrix& target, const Parallel&);

// A matrix of Format::marlin as packed, in place.
PackedMatrix view_marlin(const QuantizedMatrix&);

}  // namespace billfish::pack
