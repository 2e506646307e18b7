// SPDX-License-Identifier: Apache-2.0
// The checkpoint behind the Checkpoint interface, with what the converters need beyond it.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "formats/checkpoint.hpp"
#include "formats/load.hpp"
#include "formats/recognise.hpp"

namespace billfish::formats {

class OpenCheckpoint final : public Checkpoint {
 public:
  static Result<std::unique_ptr<OpenCheckpoint>> open(const std::string& path);

  const std::string& format() const override { return format_; }
  const std::string& why() const override { return why_; }
  const std::string& config() const override { return recognised.config.json; }
  const std::vector<LayerInfo>& layers() const override { return layers_; }
  const std::vector<TensorInfo>& unquantized() const override { return unquantized_; }
  Result<QuantizedMatrix> load(std::int64_t layer) const override;

  Model model;
  Recognised recognised;

 private:
  void decide_format();
  std::string format_, why_;
  std::vector<LayerInfo> layers_;
  std::vector<TensorInfo> unquantized_;
  struct Loaded {
    QuantizedMatrix matrix;
    Copies copies;
  };
  mutable std::mutex mutex_;
  mutable std::map<std::int64_t, Loaded> copied_;  // layers some of whose tensors had to be copied to be aligned
};

}  // namespace billfish::formats
