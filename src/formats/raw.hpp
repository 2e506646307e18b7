// SPDX-License-Identifier: Apache-2.0
// Headerless arrays of one 4-bit layer, as weight-testing guides pass them around: <name>_qweight.bin (int32 [k / 8, n], GPTQ order),
// <name>_scales.bin (f16 [groups, n]) and <name>_scales_percolumn.bin (f16 [n], the mean of each column's scales). Called by api/.
#pragma once

#include <cstdint>
#include <string>

#include "core/matrix.hpp"
#include "core/status.hpp"
#include "formats/mapped_file.hpp"

namespace billfish::formats {

struct RawLayer {
  MappedFile codes, scales;
  QuantizedMatrix matrix;  // points into the maps
};

// group: -1 for per column. bad_input that says how many bytes k, n and group need if a file has another size.
Result<RawLayer> open_raw(const std::string& qweight, const std::string& scales, std::int64_t k, std::int64_t n, std::int64_t group);

}  // namespace billfish::formats
