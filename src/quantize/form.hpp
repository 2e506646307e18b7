// SPDX-License-Identifier: Apache-2.0
// A matrix as an engine has it, and a quantised form of it: codes and grids, before scales are stored in their type. Called by
// quantize.cpp, nearest.cpp, gptq.cpp and errors.cpp.
#pragma once

#include <cstdint>

#include "core/integers.hpp"
#include "quantize/engine.hpp"
#include "quantize/quantize.hpp"

namespace billfish::quantize {

struct Matrix {  // [n, k]
  const float* weights = nullptr;
  std::int64_t n = 0, k = 0, ld = 0;
  std::int64_t group = 0;
  Scheme scheme;

  std::int64_t groups() const { return ceil_div(k, group); }
  std::int64_t parts() const { return ceil_div(n, kLanes); }
};

struct Form {
  // host_codes: where the codes are wanted in the end (to_host of codes brings them there), or null.
  Form(Engine& engine, const Matrix& matrix, std::uint8_t* host_codes)
      : codes(host_codes != nullptr ? Held<std::uint8_t>::for_host(engine, host_codes, matrix.k * matrix.n)
                                    : Held<std::uint8_t>(engine, matrix.k * matrix.n)),
        grids(engine, matrix.groups() * matrix.parts()) {}
  Held<std::uint8_t> codes;  // [k, n]
  Held<Grid> grids;          // [groups, parts]
};

// Codes, scales and zeros of `out`. Refuses scales that their type cannot hold.
Status store_form(Engine& engine, const Matrix& matrix, const Form& form, const Parallel& parallel, Quantized& out);

}  // namespace billfish::quantize
