// SPDX-License-Identifier: Apache-2.0
// One walk over a checkpoint that all conversions share: plan every shard, then go through its tensors, copy what stays, write a layer
// where its codes lie, and put configs, index and other files beside it. Called by pack_checkpoint.cpp, unpack_checkpoint.cpp and
// transcode.cpp, which say what becomes of layers; calls tensor_writer.cpp and output.cpp.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "core/status.hpp"
#include "formats/convert.hpp"
#include "formats/convert_steps.hpp"
#include "formats/open_checkpoint.hpp"
#include "formats/output.hpp"
#include "formats/tensor_writer.hpp"

namespace billfish::formats {

// The JSON header of a shard, as it lies in the file.
inline std::string_view header_text(const Shard& shard) {
  const char* const file = reinterpret_cast<const char*>(shard.map.bytes().data());
  return {file + 8, static_cast<std::size_t>(shard.header.data_begin - 8)};
}

class Rewrite {
 public:
  Rewrite(const OpenCheckpoint& checkpoint, const ConvertOptions& options)
      : model_(checkpoint.model), recognised_(checkpoint.recognised), options_(options) {}
  virtual ~Rewrite() = default;
  Rewrite(const Rewrite&) = delete;
  Rewrite& operator=(const Rewrite&) = delete;

  // All or nothing, at `out`.
  Status write(const std::string& out);

 protected:
  // Tensors pass through unless they are taken: by the layer that is written in their place, or, with null, by nobody.
  void take(const Tensor* tensor, const Layer* by) { taken_[tensor] = by; }
  bool is_taken(const Tensor& tensor) const { return taken_.contains(&tensor); }
  // The layer that is written where `tensor` lies: only the codes have one.
  const Layer* layer_at(const Tensor& tensor) const;

  virtual Status plan_file(std::size_t shard, TensorWriter& writer) = 0;
  virtual Status write_layer(const Layer& layer, TensorWriter& writer);  // one that was given to take()
  // Before the tensors of a shard are gone through: those that belong to no layer and to no source, or that want another order.
  virtual Status write_first(std::size_t, TensorWriter&, Progress&) { return {}; }
  virtual Status begin(StagedOutput& output, const std::string& out) { return output.begin(out, model_.is_directory); }
  // What an earlier run has written already.
  virtual Status take_up(TensorWriter&, Progress&) { return {}; }
  // Configs to write. Those of the model that are neither here nor in outdated_configs() are copied.
  virtual std::vector<WrittenConfig> new_configs() const = 0;
  virtual std::vector<std::string> outdated_configs() const { return {}; }
  // Of a model that has one.
  virtual std::string new_index(const TensorWriter& writer) const { return rewrite_index(model_, writer); }
  // A shard as it is, header and all.
  Status plan_copy(std::size_t shard, TensorWriter& writer) const {
    return writer.add_with_header(model_.shards[shard].name, header_text(model_.shards[shard]), model_.shards[shard].header);
  }

  const Model& model_;
  const Recognised& recognised_;
  const ConvertOptions& options_;

 private:
  Status write_shard(std::size_t shard, TensorWriter& writer, Progress& progress);
  Status write_texts(StagedOutput& output, const TensorWriter& writer, Progress& progress) const;
  std::map<const Tensor*, const Layer*> taken_;
};

}  // namespace billfish::formats
