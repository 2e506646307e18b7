// SPDX-License-Identifier: Apache-2.0
// The packer as formats/, which knows bytes on disk but no layouts, is handed it. Called by the entry points that write checkpoints.
#pragma once

#include "formats/convert.hpp"
#include "pack/pack.hpp"

namespace billfish::api {

inline formats::PackFunctions pack_functions() {
  formats::PackFunctions functions;
  functions.sizes = [](const QuantizedMatrix& matrix) -> Result<formats::PackedBytes> {
    const Result<pack::PackedSizes> sizes = pack::packed_sizes(matrix);
    if (!sizes.ok()) return sizes.status();
    return formats::PackedBytes{sizes->codes, sizes->scales, sizes->zeros, sizes->perm, sizes->g_idx, sizes->bias};
  };
  functions.pack = pack::pack;
  functions.unpack = pack::unpack;
  return functions;
}

}  // namespace billfish::api
