// SPDX-License-Identifier: Apache-2.0
// Scales and zeros, into Marlin order and back. Called by pack.cpp and unpack.cpp; calls layout/ for every position.
#pragma once

#include "core/matrix.hpp"
#include "core/status.hpp"
#include "core/threads.hpp"

namespace billfish::pack {

// Fills target.scales, 0 in padded columns. bad_input names the first scale (by group, then column) that is not finite.
Status pack_scales(const QuantizedMatrix& source, PackedMatrix& target, const Parallel&);
void unpack_scales(const PackedMatrix& source, const QuantizedMatrix& target, const Parallel&);

// Fills target.zeros (u4, u8; the type's implicit zero, 0, in padded columns), or checks that the stored zeros of a symmetric type are the
// implicit one. bad_input names the first that is not.
Status pack_zeros(const QuantizedMatrix& source, PackedMatrix& target, const Parallel&);
// Symmetric types write their constant zeros where the target has a buffer for them.
void unpack_zeros(const PackedMatrix& source, const QuantizedMatrix& target, const Parallel&);

// Does a scale leave what an f16 weight can hold (docs/tolerance.md, "Wide scales")? Needs packed scales and zeros.
bool has_wide_scales(const PackedMatrix&, const Parallel&);

}  // namespace billfish::pack
