// SPDX-License-Identifier: Apache-2.0
// Any bytes as a safetensors file: refused with a message, or a list of tensors that lie within the file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>

#include "formats/safetensors.hpp"

namespace billfish::fuzz {

// Whether the input was accepted. Traps on a broken promise.
inline bool safetensors(const std::uint8_t* data, std::size_t size) {
  const auto header = formats::parse_safetensors("fuzz", std::as_bytes(std::span(data, size)));
  if (!header.ok()) {
    if (header.status().message().empty() || header.status().code() != Code::bad_input) __builtin_trap();
    return false;
  }
  std::int64_t end = 0;
  for (const formats::Tensor& tensor : header->tensors) {
    if (tensor.begin != end || tensor.bytes < 0) __builtin_trap();
    end += tensor.bytes;
  }
  if (header->data_begin + end != static_cast<std::int64_t>(size)) __builtin_trap();
  return true;
}

}  // namespace billfish::fuzz
