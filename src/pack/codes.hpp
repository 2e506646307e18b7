// SPDX-License-Identifier: Apache-2.0
// Codes into Marlin tiles and back: the part of packing that moves the bytes. Called by pack.cpp and unpack.cpp, and by tests with either
// table of kernels.
#pragma once

#include "core/matrix.hpp"
#include "core/status.hpp"
#include "core/threads.hpp"
#include "pack/tile_kernels.hpp"

namespace billfish::pack {

// Needs target.perm and target.zeros filled: padding rows hold the zeros of the last group. bad_input names a raw code that its type cannot
// hold.
Status pack_codes(const QuantizedMatrix& source, PackedMatrix& target, const TileKernels&, const Parallel&);
Status unpack_codes(const PackedMatrix& source, const QuantizedMatrix& target, const TileKernels&, const Parallel&);

}  // namespace billfish::pack
