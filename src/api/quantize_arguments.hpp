// SPDX-License-Identifier: Apache-2.0
// How a matrix is to be quantised, from C to quantize/. Implemented by quantize.cpp, also called by quantize_model.cpp.
#pragma once

#include <cstdint>
#include <memory>

#include "billfish/billfish_quantize.h"
#include "core/status.hpp"
#include "quantize/engine.hpp"
#include "quantize/quantize.hpp"

namespace billfish::api {

// k: of the matrix, for its group; 0 where it is not known yet. All but the device.
Status read_quantize_options(const billfish_quantize_options* given, std::int64_t k, quantize::Options& out);

// The device that the options name, ready, is `engine` (null: the CPU), and out.engine points to it.
Status read_quantize_device(const billfish_quantize_options* given, std::unique_ptr<quantize::Engine>& engine, quantize::Options& out);

}  // namespace billfish::api
