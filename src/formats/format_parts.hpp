// SPDX-License-Identifier: Apache-2.0
// A packed matrix as the tensors of a checkpoint format: which there are, how large they are, and their contents, made by the packer's way
// back. Called by unpack_checkpoint.cpp, transcode.cpp and raw.cpp.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/matrix.hpp"
#include "core/status.hpp"
#include "formats/convert_steps.hpp"
#include "formats/recognise.hpp"

namespace billfish::formats {

struct FormatPart {
  Role role = Role::other;
  std::string suffix, dtype;
  std::vector<std::int64_t> shape;
  std::int64_t bytes = 0;
};

// All tensors that a matrix of this format may have; a caller leaves out those that it does not want.
std::vector<FormatPart> format_parts(Format format, const MatrixShape& shape, ElementType bias_type);
// What a suffix means in a format; other if nothing.
Role role_of(Format format, std::string_view suffix);
// Why the format cannot hold it; "" if it can.
std::string why_not(Format format, const MatrixShape& shape, bool act_order);

// Those that a new file of the format has: g_idx in GPTQ always, elsewhere only with an activation order; zeros where readers
// look for them.
std::vector<FormatPart> new_parts(Format format, const MatrixShape& shape, bool act_order, bool bias, ElementType bias_type);

PackedMatrix packed_view(const QuantizedMatrix& marlin);

class Unpacked {
 public:
  // Contents of codes, scales, zeros (constant ones for a symmetric type) and g_idx.
  Status make(const PackFunctions& functions, const PackedMatrix& source, Format format, const Parallel& parallel);
  std::byte* part(Role role) const;
  // The new parts of a layer to their tensors; call after make.
  Status write_new(const std::string& layer, const std::vector<FormatPart>& parts, const MatrixShape& shape, const void* bias,
                   TensorWriter& writer) const;

 private:
  Buffer buffer_;
  std::byte* parts_[4] = {};
};

}  // namespace billfish::formats
