// SPDX-License-Identifier: Apache-2.0
// QuantizedMatrix <-> PackedMatrix on the CPU, fast. Called by api/; calls layout/ for where every code goes.
//
//   packed_sizes -> pack:  order.cpp (perm, g_idx) -> scales.cpp, zeros.cpp -> codes.cpp -> tile_kernels_*.cpp
//   unpack:                the same files' ways back; codes_back.cpp for the codes
#pragma once

#include <cstdint>

#include "core/matrix.hpp"
#include "core/status.hpp"
#include "core/threads.hpp"

namespace billfish::pack {

struct TileKernels;

struct PackedSizes {  // bytes; 0 where the matrix has no such part
  std::int64_t codes = 0, scales = 0, zeros = 0, perm = 0, g_idx = 0, bias = 0;
};

// Negative or overflowing sizes, a group that no matrix has, or a shape that the format cannot hold.
Status check_shape(const MatrixShape&, Format);

// Checks shapes for overflow; reads g_idx (a trivial one, k / group, needs no perm) and nothing else.
Result<PackedSizes> packed_sizes(const QuantizedMatrix&);

// Writes codes, scales, zeros, perm, g_idx and bias into the memory that `target` points to; fills its shape and flags.
// bad_input for non-finite scales, zeros that contradict the type, g_idx or perm out of range.
// Source pointers need no alignment: a file's tensors lie where its writer put them (g_idx and perm: 4 bytes).
Status pack(const QuantizedMatrix& source, PackedMatrix& target, const Parallel&);

// Back into the format, pointers of `target` (const cast away by contract: they are the caller's output buffers).
Status unpack(const PackedMatrix& source, const QuantizedMatrix& target, const Parallel&);

// The same with the kernels that a test names.
Status pack_with(const TileKernels&, const QuantizedMatrix& source, PackedMatrix& target, const Parallel&);
Status unpack_with(const TileKernels&, const PackedMatrix& source, const QuantizedMatrix& target, const Parallel&);

// A matrix of Format::marlin as packed, in place. On the CPU its scales are looked at, to know whether they are wide.
PackedMatrix view_marlin(const QuantizedMatrix&);

}  // namespace billfish::pack
