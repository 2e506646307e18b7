// SPDX-License-Identifier: Apache-2.0
// C structs -> the library's own types, every field checked. Called by the entry points of api/; calls core/ only.
#pragma once

#include <cstdint>

#include "api/boundary.hpp"
#include "core/matrix.hpp"
#include "core/threads.hpp"

namespace billfish::api {

// Opaque handles that more than one file opens.
Status read_pool(const billfish_pool* pool, ThreadPool*& out);

// NULL is the calling thread alone.
Status read_parallel(const billfish_parallel* given, Parallel& out);

Status read_device(const char* kind_name, const char* index_name, const billfish_device_kind& kind, int index, Device& out);

// For the functions that only work on CPU memory.
Status require_cpu(const char* name, const Device& device);

enum class Pointers { required, ignored };
// A matrix in checkpoint order. Byte sizes that the caller gave are compared with what the shape needs.
Status read_matrix(const billfish_matrix* given, const char* name, Pointers pointers, QuantizedMatrix& out);
// The same checks on the buffers that billfish_unpack writes, whose shape comes from the weights.
Status check_matrix_bytes(const char* name, const billfish_matrix& given, const QuantizedMatrix& matrix);
void write_matrix(const QuantizedMatrix& matrix, billfish_matrix& out);

Status read_weights(const billfish_weights* given, Pointers pointers, PackedMatrix& out);
void write_weights(const PackedMatrix& matrix, billfish_weights& out);

inline bool is_aligned(const void* pointer, std::uintptr_t to) { return (reinterpret_cast<std::uintptr_t>(pointer) & (to - 1)) == 0; }

}  // namespace billfish::api
