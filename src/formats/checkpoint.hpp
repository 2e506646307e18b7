// SPDX-License-Identifier: Apache-2.0
// A checkpoint on disk as a list of layers and tensors. Opens through memory maps; reads headers, configs and g_idx only.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/matrix.hpp"
#include "core/status.hpp"

namespace billfish::formats {

struct LayerInfo {
  std::string name;
  Format format = Format::gptq_v1;
  WeightType type = WeightType::u4b8;
  bool type_from_config = false;  // symmetry not yet looked at in the zeros themselves
  std::int64_t n = 0, k = 0;
  std::int64_t group = -1;  // as the config says; -1 per column
  bool act_order = false, zero_points = false, bias = false;
  ElementType scale_type = ElementType::f16;
  std::int64_t bytes = 0;
  bool supported = true;
  std::string reason;
};

struct TensorInfo {
  std::string name;
  std::string dtype;  // as safetensors spells it
  std::vector<std::int64_t> shape;
  std::int64_t bytes = 0;
};

class Checkpoint {
 public:
  virtual ~Checkpoint() = default;
  virtual const std::string& format() const = 0;  // "gptq", "awq", "compressed-tensors", "marlin", "none"
  virtual const std::string& why() const = 0;
  virtual const std::string& config() const = 0;  // JSON text
  virtual const std::vector<LayerInfo>& layers() const = 0;
  virtual const std::vector<TensorInfo>& unquantized() const = 0;
  // A view into the map; looks at the zeros to decide the type. `type_from_config` of its layer plays no part.
  virtual Result<QuantizedMatrix> load(std::int64_t layer) const = 0;
};

Result<std::unique_ptr<Checkpoint>> open_checkpoint(const std::string& path);

}  // namespace billfish::formats
