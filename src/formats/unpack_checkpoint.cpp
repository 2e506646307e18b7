// SPDX-License-Identifier: Apache-2.0
// A packed checkpoint -> the one it was made from: the remembered headers are written again, character by character, and every tensor is
// made or copied into its old place.
#include <algorithm>
#include <cstring>
#include <map>
#include <optional>

#include "formats/convert.hpp"
#include "formats/convert_steps.hpp"
#include "formats/format_parts.hpp"
#include "formats/kept_parts.hpp"
#include "formats/load.hpp"
#include "formats/open_checkpoint.hpp"
#include "formats/packed_metadata.hpp"
#include "formats/rewrite.hpp"
#include "formats/tensor_writer.hpp"
#include "formats/text.hpp"
#include "formats/transcode.hpp"

namespace billfish::formats {
namespace {

// One tensor of the source that belongs to a packed layer.
struct SourcePart {
  Role role = Role::other;
  std::string suffix;
  Tensor tensor;
  const TensorPlace* kept = nullptr;  // the whole tensor, or the tail of codes, as it was
};

struct LayerJob {
  const Layer* layer = nullptr;
  std::vector<SourcePart> parts;
  bool has(Role role) const {
    for (const SourcePart& part : parts) {
      if (part.role == role) return true;
    }
    return false;
  }
};

class Restoring final : public Rewrite {
 public:
  Restoring(const OpenCheckpoint& checkpoint, const ConvertOptions& options) : Rewrite(checkpoint, options) {
    for (const Layer& layer : recognised_.layers) {
      if (!layer.packed || !layer.info.supported) continue;
      jobs_[layer.info.name].layer = &layer;
      for (const Part& part : layer.parts) {
        if (part.role != Role::other) belongs_.insert(part.place.tensor);
      }
    }
  }

  // What the remembered headers name is copied or made; the rest came into being when the model was packed.
  Status plan() {
    for (const auto& [name, job] : jobs_) {
      const Shard& shard = model_.shards[job.layer->part(Role::codes)->place.shard];
      if (!shard.header.find_metadata(kSourceHeaderKey)) return not_remembered(name);
    }
    for (const Shard& shard : model_.shards) {
      const Remembered was = remembered(shard);
      Result<Header> header = parse_header(was.where, was.json, -1);
      if (!header.ok()) return header.status();
      for (const Tensor& tensor : header->tensors) BILLFISH_RETURN_IF_ERROR(plan_tensor(was.where, tensor));
      headers_.push_back(std::move(*header));
    }
    for (const auto& [name, job] : jobs_) {
      if (!job.has(Role::codes) || !job.has(Role::scales)) return not_remembered(name);
      for (const Part& part : job.layer->parts) {
        if (!copied_.contains(part.place.tensor)) take(part.place.tensor, job.layer);
      }
    }
    for (const Shard& shard : model_.shards) {
      for (const Tensor& tensor : shard.header.tensors) {
        if (!copied_.contains(&tensor) && !is_taken(tensor)) take(&tensor, nullptr);
      }
    }
    return {};
  }

 private:
  Status not_remembered(std::string_view layer) const {
    return bad_input(text(quote(model_.path), ": layer ", quote(layer), " is packed, but its file does not remember its source's header (",
                          kSourceHeaderKey, "): name a --format to make a new one"));
  }

  struct Remembered {
    std::string where;
    std::string_view json;
  };
  // The header of the source, character by character; of a shard that packing left alone, its own.
  static Remembered remembered(const Shard& shard) {
    if (const std::string* json = shard.header.find_metadata(kSourceHeaderKey))
      return {text(shard.map.path(), ": __metadata__.", kSourceHeaderKey), *json};
    return {shard.map.path(), header_text(shard)};
  }

  Status plan_file(std::size_t s, TensorWriter& writer) override {
    return writer.add_with_header(model_.shards[s].name, remembered(model_.shards[s]).json, headers_[s]);
  }

  Status plan_tensor(const std::string& where, const Tensor& tensor) {
    bool made = false;
    BILLFISH_RETURN_IF_ERROR(plan_part(where, tensor, made));
    if (made) return {};
    const TensorPlace* place = model_.find(tensor.name);
    if (!place || belongs_.contains(place->tensor) || place->tensor->dtype != tensor.dtype || place->tensor->shape != tensor.shape) {
      return bad_input(text(where, " names the tensor ", quote(tensor.name), " (", tensor.dtype, ' ', tensor.shape,
                            "), which the packed file does not hold"));
    }
    copied_.insert(place->tensor);
    return {};
  }

  Status plan_part(const std::string& where, const Tensor& tensor, bool& made) {
    const std::size_t dot = tensor.name.rfind('.');
    const std::string prefix = dot == std::string::npos ? "" : tensor.name.substr(0, dot);
    const std::string suffix = dot == std::string::npos ? tensor.name : tensor.name.substr(dot + 1);
    const auto found = jobs_.find(prefix);
    if (found == jobs_.end()) return {};
    LayerJob& job = found->second;
    const Role role = role_of(job.layer->source, suffix);
    const TensorPlace* kept = model_.find(source_tensor_name(prefix, suffix));
    if (role == Role::other && !kept) return {};
    const Part* bias = job.layer->part(Role::bias);
    if (role == Role::bias && !bias) return {};
    SourcePart part{role, suffix, tensor, kept};
    if (role != Role::other && job.has(role))
      return bad_input(text(where, " names two tensors that are ", quote(suffix), " of layer ", quote(prefix)));
    BILLFISH_RETURN_IF_ERROR(check_part(where, *job.layer, part));
    job.parts.push_back(std::move(part));
    made = true;
    return {};
  }

  Status check_part(const std::string& where, const Layer& layer, const SourcePart& part) const {
    for (const FormatPart& expected : format_parts(layer.source, layer.shape, ElementType::f16)) {
      if (expected.role != part.role) continue;
      const bool any_dtype = part.role == Role::weight_shape && part.tensor.dtype == "I32";
      const std::string dtype = part.role == Role::bias ? layer.part(Role::bias)->place.tensor->dtype : expected.dtype;
      if (part.tensor.shape != expected.shape || (part.tensor.dtype != dtype && !any_dtype)) {
        return bad_input(text(where, ": ", quote(part.tensor.name), " is ", part.tensor.dtype, ' ', part.tensor.shape,
                              ", but the packed layer gives ", dtype, ' ', expected.shape));
      }
    }
    if (!part.kept) return {};
    const Tensor& kept = *part.kept->tensor;
    const std::vector<std::int64_t> shape = part.role == Role::codes ? std::vector<std::int64_t>{layer.shape.n} : part.tensor.shape;
    if (kept.dtype != part.tensor.dtype || kept.shape != shape) {
      return bad_input(text(model_.label(*part.kept), " is ", kept.dtype, ' ', kept.shape, ", expected ", part.tensor.dtype, ' ', shape));
    }
    return {};
  }

  Status write_layer(const Layer& layer, TensorWriter& writer) override {
    const LayerJob& job = jobs_.at(layer.info.name);
    Copies copies;
    Result<QuantizedMatrix> matrix = load_layer(model_, layer, copies, 1);
    if (!matrix.ok()) return matrix.status();
    BILLFISH_RETURN_IF_ERROR(unpacked_.make(options_.functions, packed_view(*matrix), layer.source, options_.parallel));
    for (const SourcePart& part : job.parts) {
      const void* data = part.role == Role::bias ? model_.data(layer.part(Role::bias)->place) : unpacked_.part(part.role);
      const std::int64_t wide[2] = {layer.shape.n, layer.shape.k};
      const std::int32_t narrow[2] = {static_cast<std::int32_t>(wide[0]), static_cast<std::int32_t>(wide[1])};
      if (part.role == Role::weight_shape) data = part.tensor.dtype == "I64" ? static_cast<const void*>(wide) : narrow;
      if (part.kept && part.role == Role::codes) {
        std::vector<std::uint32_t> tail(static_cast<std::size_t>(layer.shape.n));
        std::memcpy(tail.data(), model_.data(*part.kept), tail.size() * 4);
        write_tail(layer.shape, layer.source, tail, unpacked_.part(Role::codes));
      } else if (part.kept) {
        data = model_.data(*part.kept);
      }
      BILLFISH_RETURN_IF_ERROR(writer.write(part.tensor.name, data, part.tensor.bytes));
    }
    return {};
  }

  std::vector<WrittenConfig> new_configs() const override { return unwrap_configs(model_); }

  // The source's, if it is true of what was written.
  std::string new_index(const TensorWriter& writer) const override {
    for (const Shard& shard : model_.shards) {
      const std::string* const was = shard.header.find_metadata(kSourceIndexKey);
      if (!was) continue;
      const Result<Index> index = parse_index(kSourceIndexKey, *was);
      const auto written = writer.weight_map();
      const auto holds = [&](const auto& entry) {
        return std::binary_search(written.begin(), written.end(), std::pair(entry.first, index->shards[entry.second]));
      };
      if (index.ok() && std::all_of(index->tensors.begin(), index->tensors.end(), holds)) return *was;
    }
    return rewrite_index(model_, writer);
  }

  std::map<std::string, LayerJob, std::less<>> jobs_;
  std::set<const Tensor*> belongs_, copied_;
  std::vector<Header> headers_;  // of every shard, as it was
  Unpacked unpacked_;
};

}  // namespace

Status unpack_checkpoint(const std::string& in, const std::string& out, const std::string& format, const ConvertOptions& options) {
  Result<std::unique_ptr<OpenCheckpoint>> opened = OpenCheckpoint::open(in);
  if (!opened.ok()) return opened.status();
  const OpenCheckpoint& checkpoint = **opened;
  BILLFISH_RETURN_IF_ERROR(check_paths(checkpoint.model, out));
  std::optional<Format> wanted;
  if (!format.empty()) {
    wanted = format_of(format);
    if (!wanted || *wanted == Format::raw) {
      return invalid_argument(text("format is ", quote(format), "; supported are gptq, gptq_v2, awq, compressed-tensors and marlin"));
    }
  }
  bool packed = false, same = true, remembered = true;
  for (const Layer& layer : checkpoint.recognised.layers) {
    packed = packed || layer.packed;
    same = same && (!wanted || (layer.packed && layer.source == *wanted));
    if (!layer.packed) continue;
    const std::size_t shard = layer.part(Role::codes)->place.shard;
    remembered = remembered && checkpoint.model.shards[shard].header.find_metadata(kSourceHeaderKey) != nullptr;
  }
  if (checkpoint.recognised.layers.empty()) return unsupported(text(quote(in), " has no quantised layers (", checkpoint.why(), ")"));
  if (!packed && !wanted)
    return unsupported(text(quote(in), " is not packed (", checkpoint.why(), "): name the format that it shall become"));
  if (packed && same && (remembered || !wanted)) {
    Restoring restoring(checkpoint, options);
    BILLFISH_RETURN_IF_ERROR(restoring.plan());
    return restoring.write(out);
  }
  return transcode(checkpoint, out, *wanted, options);
}

}  // namespace billfish::formats
