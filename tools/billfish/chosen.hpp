// SPDX-License-Identifier: Apache-2.0
// Which implementation runs a product, asked of the library's own explanation.
#pragma once

#include <cstdint>
#include <string>

#include "billfish/billfish.h"
#include "product.hpp"

namespace billfish::cli {

// "cpu_avx2"; "" if nobody can run it (the product itself then says why).
std::string chosen_implementation(const billfish_weights& weights, const ProductOptions& options, std::int64_t m);

}  // namespace billfish::cli
