// SPDX-License-Identifier: Apache-2.0
// NumPy array files: f32 and f16, little-endian, C order, header versions 1 and 2. Nothing in a file is trusted.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "billfish/billfish.h"

namespace billfish::cli {

struct NpyArray {
  billfish_element_type type = BILLFISH_F32;  // f32 or f16
  std::vector<std::int64_t> shape;
  std::vector<std::byte> bytes;  // the elements

  std::int64_t count() const;
};

NpyArray read_npy(const std::string& path);
// Throws a Failure that says what is wrong; `name` stands for the file in its message.
NpyArray parse_npy(std::vector<std::byte> file, const std::string& name);

// Written whole or not at all. bf16, which NumPy has no name for, is not for this function.
void write_npy(const std::string& path, billfish_element_type type, const std::vector<std::int64_t>& shape, const void* elements);

}  // namespace billfish::cli
