// SPDX-License-Identifier: Apache-2.0
// The safetensors header: what tensors a file holds and where. Every way in which a header can be wrong has its own message; sizes are
// compared with the file before anything is allocated. Called by model.cpp; calls nlohmann-json's event parser.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/status.hpp"
#include "formats/checkpoint.hpp"

namespace billfish::formats {

inline constexpr std::int64_t kLargestHeader = 100'000'000;  // bytes, the limit of the reference implementation

struct Tensor : TensorInfo {
  std::int64_t begin = 0;  // of its bytes, counted from the end of the header
};

struct Header {
  std::vector<Tensor> tensors;  // in the order of their bytes, which they tile exactly
  std::vector<std::pair<std::string, std::string>> metadata;
  std::int64_t data_begin = 0;  // of the first tensor's bytes, counted from the start of the file

  const std::string* find_metadata(std::string_view key) const;
};

// Bits of one element; 0 if there is no such dtype.
int dtype_bits(std::string_view dtype);

// `where` stands first in every message. `file` is the whole file.
Result<Header> parse_safetensors(std::string_view where, std::span<const std::byte> file);

// The JSON of a header alone; its tensors must tile `data_bytes` (-1: whatever they end at).
Result<Header> parse_header(std::string_view where, std::string_view json, std::int64_t data_bytes);

}  // namespace billfish::formats
