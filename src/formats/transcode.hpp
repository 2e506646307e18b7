// SPDX-License-Identifier: Apache-2.0
// A checkpoint written anew in another format. Called by unpack_checkpoint.cpp.
#pragma once

#include <string>
#include <vector>

#include "core/matrix.hpp"
#include "core/status.hpp"
#include "formats/convert.hpp"
#include "formats/open_checkpoint.hpp"

namespace billfish::formats {

Status transcode(const OpenCheckpoint& checkpoint, const std::string& out, Format format, const ConvertOptions& options);

// The quantisation config of layers written in a format, as its readers expect it. unsupported where it cannot be said.
struct LayerNumbers {
  std::string name;
  MatrixShape shape;
  std::int64_t group = -1;
  bool act_order = false;
};
// left: other linear layers of the model, for readers that have to be told which ones are not quantised.
Result<std::string> make_quant_config(Format format, const std::vector<LayerNumbers>& layers, const std::vector<std::string>& left = {});

}  // namespace billfish::formats
