// SPDX-License-Identifier: Apache-2.0
// The headerless dumps of one GPTQ layer that `check`, `extract` and `percolumn` exchange: codes int32 [K*bits/32, N], scales f16
// [groups, N], and scales f16 [N] averaged over the groups.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace billfish::cli {

struct RawNames {
  std::string qweight, scales, percolumn;
};
// "model.layers.0.mlp.up_proj" -> up_proj_qweight.bin, up_proj_scales.bin, up_proj_scales_percolumn.bin
RawNames raw_names(const std::string& layer);

// The file's bytes, exactly `expected` of them; else a Failure that says where the number comes from (`shape`) and adds `hint`.
std::vector<std::byte> read_exactly(const std::string& path, std::int64_t expected, const std::string& shape, const std::string& hint);

// f16 [groups, n] of `path`: a Failure names the first that is not finite.
void refuse_not_finite(const std::string& path, const std::vector<std::byte>& scales, std::int64_t n);

// f16 [groups, n] -> f16 [n]: the mean of every column, rounded once.
std::vector<std::uint16_t> mean_scales(const std::uint16_t* scales, std::int64_t groups, std::int64_t n);

}  // namespace billfish::cli
