// SPDX-License-Identifier: Apache-2.0
// The kernels behind cuda::pack (pack.cu), one function each that enqueues on a stream. All pointers are device memory. `findings` may be
// null: data is not looked at.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "core/matrix.hpp"

namespace billfish::cuda::repack {

// Whether the codes can be read in strips: GPTQ, AWQ or raw, rows of whole 16-byte units, no g_idx.
bool has_strips(const QuantizedMatrix& source);
// Everything in one launch (and a small one for rows beyond a multiple of 16), where has_strips.
void strips(const QuantizedMatrix& source, const PackedMatrix& target, std::uint32_t* findings, cudaStream_t stream);

// Codes of `source` -> `target.codes`, one by one, any format; rows in the order of `perm` unless it is null. Reads zeros of `source` where
// K is padded.
void codes(const QuantizedMatrix& source, const PackedMatrix& target, const std::int32_t* perm, std::uint32_t* findings,
           cudaStream_t stream);
// The same where target.codes is source.codes: GPTQ and AWQ, whole tiles, no perm. Every 16 rows pass through the shared memory of a block.
constexpr std::int64_t in_place_bytes(const MatrixShape& shape) { return shape.padded_n() * bits_of(shape.type) * 2; }
cudaError_t codes_in_place(const QuantizedMatrix& source, const PackedMatrix& target, cudaStream_t stream);

// Scales, zeros and bias.
void tables(const QuantizedMatrix& source, const PackedMatrix& target, std::uint32_t* findings, cudaStream_t stream);
// target.perm = the stable order of rows by group. Groups that do not come out as even ones get NaN for scales; run it after tables.
void order(const QuantizedMatrix& source, const PackedMatrix& target, std::uint32_t* findings, cudaStream_t stream);

}  // namespace billfish::cuda::repack
