// SPDX-License-Identifier: Apache-2.0
// Steps that all conversions share: names, buffers, configs and the files that are not tensors. Called by pack_checkpoint.cpp,
// unpack_checkpoint.cpp and write_checkpoint.cpp.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "core/matrix.hpp"
#include "core/status.hpp"
#include "formats/convert.hpp"
#include "formats/model.hpp"
#include "formats/output.hpp"
#include "formats/recognise.hpp"
#include "formats/tensor_writer.hpp"

namespace billfish::formats {

std::string tensor_name(std::string_view layer, std::string_view suffix);
std::string source_tensor_name(std::string_view layer, std::string_view suffix);  // of a part kept as the source had it
std::string_view dtype_name(ElementType type);

// One block of memory, used for one layer after another; it grows to the largest.
class Buffer {
 public:
  Status reserve(std::int64_t bytes);
  std::byte* data() const { return block_.get(); }

 private:
  struct Free {
    void operator()(std::byte* memory) const { std::free(memory); }
  };
  std::unique_ptr<std::byte, Free> block_;
  std::int64_t capacity_ = 0;
};

// The parts of one matrix, one after another in a buffer, each aligned to 64 bytes.
std::int64_t with_gap(std::int64_t bytes);
Status place_packed(Buffer& buffer, const PackedBytes& bytes, PackedMatrix& target);

// Prefixes a message with the layer that it is about.
Status about_layer(const Status& status, std::string_view layer);

// Refuses an output that is the input or lies within it.
Status check_paths(const Model& model, const std::string& out);

// Every regular file of the model's directory that is not named in `written`, directories within it included, hidden ones excluded.
Status copy_other_files(const Model& model, StagedOutput& output, const std::set<std::string>& written, Progress& progress);

// The model's index with new places and a new size; "" if it had none.
std::string rewrite_index(const Model& model, const TensorWriter& writer);
// An index made from nothing.
std::string make_index(const TensorWriter& writer);

struct WrittenConfig {
  std::string name, content;
};
// Every config with its quantisation part wrapped ("quant_method":"billfish", "source": what it was).
std::vector<WrittenConfig> wrap_configs(const Model& model, std::string_view packed_from);
// The way back; configs that are not wrapped stay as they are.
std::vector<WrittenConfig> unwrap_configs(const Model& model);
// With the quantisation part replaced by `config` in config.json and, for GPTQ and AWQ, in quantize_config.json; others are left out.
std::vector<WrittenConfig> replace_configs(const Model& model, std::string_view config, Format format);

std::int64_t total_bytes(const Model& model);

}  // namespace billfish::formats
