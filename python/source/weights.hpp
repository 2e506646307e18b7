// SPDX-License-Identifier: Apache-2.0
// Packed weights as a Python object: Marlin bytes that it owns, or borrows from arrays or an open checkpoint that it keeps alive.
// Made by weights.cpp (pack, from_marlin) and checkpoint.cpp (a layer); used by functions.cpp (bench).
#pragma once

#include "common.hpp"

namespace billfish_python {

class Weights {
 public:
  billfish_weights weights = BILLFISH_WEIGHTS_INIT;
  Memory codes, scales, zeros, perm, g_idx, bias;  // what it owns
  std::vector<nb::object> arrays;                  // what it borrows from
  std::shared_ptr<CheckpointHandle> checkpoint;    // likewise

  // Packs; the GIL may be released. `matrix` must stay valid until it returns.
  static std::unique_ptr<Weights> pack(const billfish_matrix& matrix);
};

}  // namespace billfish_python
