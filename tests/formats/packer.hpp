// SPDX-License-Identifier: Apache-2.0
// The packer as the converters are handed it, as api/ does it.
#pragma once

#include "formats/convert.hpp"
#include "pack/pack.hpp"

namespace billfish::test {

inline formats::PackFunctions packer() {
  formats::PackFunctions out;
  out.sizes = [](const QuantizedMatrix& matrix) -> Result<formats::PackedBytes> {
    const Result<pack::PackedSizes> sizes = pack::packed_sizes(matrix);
    if (!sizes.ok()) return sizes.status();
    return formats::PackedBytes{sizes->codes, sizes->scales, sizes->zeros, sizes->perm, sizes->g_idx, sizes->bias};
  };
  out.pack = pack::pack;
  out.unpack = pack::unpack;
  return out;
}

inline formats::ConvertOptions options() {
  formats::ConvertOptions out;
  out.functions = packer();
  return out;
}

}  // namespace billfish::test
