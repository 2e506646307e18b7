// SPDX-License-Identifier: Apache-2.0
#include "quantize/form.hpp"

#include <vector>

#include "quantize/grid.hpp"
#include "quantize/panel.hpp"

namespace billfish::quantize {

Status store_form(Engine& engine, const Matrix& matrix, const Form& form, const Parallel& parallel, Quantized& out) {
  form.codes.to_host(engine, out.codes, matrix.k * matrix.n);
  const std::int64_t groups = matrix.groups(), parts = matrix.parts();
  const Buffer<Grid> grids(groups * parts);
  form.grids.to_host(engine, grids.get(), groups * parts);
  BILLFISH_RETURN_IF_ERROR(engine.finish());
  return run_all(parallel, groups, [&](std::int64_t group) -> Status {
    for (std::int64_t part = 0; part < parts; ++part) {
      const std::int64_t first = part * kLanes;
      const int lanes = static_cast<int>(std::min<std::int64_t>(kLanes, matrix.n - first));
      BILLFISH_RETURN_IF_ERROR(
          store_grid(matrix.scheme, grids[group * parts + part], lanes, matrix.n, group, first, out.scales, out.zeros));
    }
    return {};
  });
}

}  // namespace billfish::quantize
