// SPDX-License-Identifier: Apache-2.0
// What a file in Marlin bytes remembers of itself, as two strings in its __metadata__. Written by pack_checkpoint.cpp, read by
// recognise.cpp and unpack_checkpoint.cpp.
//
// A packed layer L consists of
//   L.qweight  I32 [padded_k / 16, padded_n * bits / 2]   Marlin bytes; padded_n: n up to a multiple of 64, padded_k: k up to one of 16
//   L.scales   F16|BF16|F32 [groups, padded_n]            permuted; the per-column order if there is one group
//   L.qzeros   I32 [groups, padded_n * bits / 32]         permuted; only with stored zero points (u4, u8)
//   L.perm     I32 [k]   L.g_idx I32 [k]                  only with activation order; g_idx is sorted, and absent where it is k / group
//   L.bias     [n]                                        as in the source
//   L.weight_shape I64 [2]                                n, k
//   L.source_<part>                                       a tensor of the source (or the words of it that hold padding) that cannot be
//                                                         made again from the above: unusual padding, zeros or g_idx
// and of an entry in __metadata__.billfish: {"version":1,"layers":{"L":{"source":"gptq","group":128},...}}.
// __metadata__["billfish.source_header"] is the JSON header of the file that was packed, so that unpack can write it again.
// __metadata__["billfish.source_index"], in one of the shards, is the text of its index, for the same reason. Shards in which nothing is
// packed stay as they are, byte for byte.
// A shard all of whose tensors went into layers of other shards holds one without elements, billfish.empty_shard.<number>.
// The configs beside it (quantization_config in config.json; quantize_config.json) become
//   {"quant_method":"billfish","billfish_version":1,"checkpoint_format":"marlin","packed_from":"gptq","source":<the config as it was>}.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "core/matrix.hpp"
#include "core/status.hpp"

namespace billfish::formats {

inline constexpr std::string_view kPackedKey = "billfish";
inline constexpr std::string_view kSourceHeaderKey = "billfish.source_header";
inline constexpr std::string_view kSourceIndexKey = "billfish.source_index";
inline constexpr std::string_view kEmptyShardPrefix = "billfish.empty_shard.";  // of a tensor without elements
inline constexpr std::string_view kSourcePrefix = "source_";                    // of a suffix

struct PackedLayer {
  Format source = Format::gptq_v1;
  std::int64_t group = -1;
};
using PackedLayers = std::map<std::string, PackedLayer, std::less<>>;

// What packing adds to __metadata__. Without packed layers such keys mean nothing.
inline bool is_packed_key(std::string_view key) { return key == kPackedKey || key == kSourceHeaderKey || key == kSourceIndexKey; }

// "gptq", "gptq_v2", "awq", "compressed-tensors", "raw", "marlin": the names of --format.
std::string_view format_name(Format format);
std::optional<Format> format_of(std::string_view name);

std::string write_packed_metadata(const PackedLayers& layers);
// Adds to `layers`. bad_input naming `where`.
Status read_packed_metadata(std::string_view where, std::string_view json, PackedLayers& layers);

}  // namespace billfish::formats
