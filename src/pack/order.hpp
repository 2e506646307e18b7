// SPDX-License-Identifier: Apache-2.0
// Activation order: which original row every packed row is. Called by sizes.cpp, pack.cpp and unpack.cpp.
#pragma once

#include "core/matrix.hpp"
#include "core/status.hpp"

namespace billfish::pack {

// What a g_idx asks for. A stable sort by group makes the packed order; a g_idx that is sorted already needs no perm, and one that says
// k / group after sorting needs no g_idx beside it.
struct RowOrder {
  bool permuted = false;
  bool uneven = false;
};

// bad_input if g_idx leaves [0, groups). A matrix of Format::marlin brings its own perm, and its g_idx is by packed row.
Result<RowOrder> order_of(const QuantizedMatrix&);

// Fills target.perm and target.g_idx, as far as `order` asks for them; null the others. bad_input if a perm that the matrix brings is not
// a permutation of its rows.
Status pack_order(const QuantizedMatrix& source, const RowOrder& order, PackedMatrix& target);

// The way back: original g_idx (and perm, for Format::marlin) into the target's buffers where it has them.
Status unpack_order(const PackedMatrix& source, const QuantizedMatrix& target);

}  // namespace billfish::pack
