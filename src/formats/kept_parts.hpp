// SPDX-License-Identifier: Apache-2.0
// What of a source layer its packed form cannot give back, and is therefore kept beside it; and the parts that unpacking makes again.
// Called by pack_checkpoint.cpp and unpack_checkpoint.cpp, which must agree.
#pragma once

#include <cstdint>
#include <vector>

#include "core/matrix.hpp"
#include "formats/model.hpp"
#include "formats/recognise.hpp"

namespace billfish::formats {

struct Kept {
  bool zeros = false;  // the whole tensor: padding or a constant that cannot be known
  bool g_idx = false;  // the whole tensor: neither k / group nor an activation order
  bool tail = false;   // the words of `codes` that hold both rows and padding, where the padding is not 0
};

// `matrix` is the loaded layer.
Kept parts_to_keep(const Model& model, const Layer& layer, const QuantizedMatrix& matrix);

// The words at the end of K, one for every column: [n] of them.
std::vector<std::uint32_t> read_tail(const MatrixShape& shape, Format format, const void* codes);
void write_tail(const MatrixShape& shape, Format format, const std::vector<std::uint32_t>& tail, void* codes);

}  // namespace billfish::formats
