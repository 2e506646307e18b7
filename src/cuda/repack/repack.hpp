// SPDX-License-Identifier: Apache-2.0
// The kernels behind cuda::pack (pack.cu), one function each that enqueues on a stream. All pointers are device memory.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "core/matrix.hpp"

namespace billfish::cuda::repack {

// Codes of `source` -> `target.codes`; rows in the order of `perm` unless it is null. Reads zeros of `source` where K is padded.
void codes(const QuantizedMatrix& source, const PackedMatrix& target, const std::int32_t* perm, cudaStream_t stream);
// The same where target.codes is source.codes: GPTQ and AWQ, whole tiles, no perm. Every 16 rows pass through the shared memory of a block.
constexpr std::int64_t in_place_bytes(const MatrixShape& shape) { return shape.padded_n() * bits_of(shape.type) * 2; }
cudaError_t codes_in_place(const QuantizedMatrix& source, const PackedMatrix& target, cudaStream_t stream);

void scales(const QuantizedMatrix& source, const PackedMatrix& target, cudaStream_t stream);
void zeros(const QuantizedMatrix& source, const PackedMatrix& target, cudaStream_t stream);
// perm = the stable order of rows by group.
void order(const std::int32_t* g_idx, std::int64_t k, std::int64_t groups, std::int32_t* perm, cudaStream_t stream);
void bias(const QuantizedMatrix& source, const PackedMatrix& target, cudaStream_t stream);

}  // namespace billfish::cuda::repack
