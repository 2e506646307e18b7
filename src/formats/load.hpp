// SPDX-License-Identifier: Apache-2.0
// A recognised layer as a QuantizedMatrix: looks at what headers cannot tell (zeros, scales, permutations) and points into the map.
// Called by checkpoint.cpp and the converters.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "core/matrix.hpp"
#include "core/status.hpp"
#include "formats/recognise.hpp"

namespace billfish::formats {

// Memory for the rare tensor that is not aligned to its elements (or, for Marlin bytes, to 16) in its file.
class Copies {
 public:
  bool empty() const { return blocks_.empty(); }
  void* take(std::int64_t bytes);  // aligned to 64; null if there is not enough memory

 private:
  struct Free {
    void operator()(void* memory) const;
  };
  std::vector<std::unique_ptr<void, Free>> blocks_;
};

// `copies` must outlive the matrix. The type is decided by the zeros themselves. bad_input for non-finite scales and for a permutation
// that is none.
// codes_alignment: 16 where Marlin bytes are to be multiplied in place; 1 for the packer, which reads codes at any address.
Result<QuantizedMatrix> load_layer(const Model& model, const Layer& layer, Copies& copies, std::int64_t codes_alignment = 16);

// The word that holds only zeros of a symmetric type: 0x77777777 for 4-bit GPTQ v1, 0x88888888 elsewhere.
std::uint32_t symmetric_word(Format format, int bits);
// Whether every zero (padding aside) is that of the symmetric type.
bool zeros_are_symmetric(Format format, int bits, const std::byte* zeros, std::int64_t groups, std::int64_t n);

}  // namespace billfish::formats
