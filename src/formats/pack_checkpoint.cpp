// SPDX-License-Identifier: Apache-2.0
// Any readable checkpoint -> the same one with its layers in Marlin bytes. packed_metadata.hpp says what the result looks like.
#include <algorithm>
#include <map>

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

namespace billfish::formats {
namespace {

struct LayerPlan {
  const Layer* layer = nullptr;
  PackedBytes bytes;
  Kept kept;
  MatrixShape shape;  // with the type that the zeros decided
  Format format = Format::gptq_v1;
};

// A tensor of a layer that its format does not speak of, but whose name means something once the layer is packed: kept under another one.
bool is_stray(const Part& part) {
  constexpr std::string_view kTaken[] = {"qweight", "scales", "qzeros", "perm", "g_idx", "bias", "weight_shape"};
  return part.role == Role::other && std::find(std::begin(kTaken), std::end(kTaken), part.suffix) != std::end(kTaken);
}

std::string empty_shard_name(std::size_t shard) { return text(kEmptyShardPrefix, shard); }

class Packing final : public Rewrite {
 public:
  using Rewrite::Rewrite;

  Status choose_layers(const std::string& why) {
    std::size_t packed = 0;
    for (const Layer& layer : recognised_.layers) {
      packed += layer.packed;
      if (layer.packed || (options_.want_layer && options_.want_layer(options_.user, layer.info.name.c_str()) == 0)) continue;
      if (!layer.info.supported) {
        if (options_.skip_unsupported) continue;
        return unsupported(text("layer ", quote(layer.info.name), ": ", layer.info.reason));
      }
      BILLFISH_RETURN_IF_ERROR(about_layer(plan_layer(layer), layer.info.name));
    }
    if (!plans_.empty()) return {};
    if (recognised_.layers.empty()) return unsupported(text(quote(model_.path), " has no quantised layers (", why, ")"));
    if (packed == recognised_.layers.size()) return unsupported(text(quote(model_.path), " is packed already"));
    return bad_input(text(quote(model_.path), ": none of its ", recognised_.layers.size(), " layers is both wanted and supported"));
  }

 private:
  Status plan_layer(const Layer& layer) {
    for (const Part& part : layer.parts) {
      if (!part.suffix.starts_with(kSourcePrefix)) continue;
      return bad_input(text(model_.label(part.place), ": names like this one are taken by what packing keeps of its source"));
    }
    Copies copies;
    Result<QuantizedMatrix> matrix = load_layer(model_, layer, copies, 1);
    if (!matrix.ok()) return matrix.status();
    Result<PackedBytes> bytes = options_.functions.sizes(*matrix);
    if (!bytes.ok()) return bytes.status();
    for (const Part& part : layer.parts) {
      if (part.role == Role::other && !is_stray(part)) continue;
      if (part.role == Role::other && role_of(matrix->format, part.suffix) != Role::other) {
        return bad_input(
            text(model_.label(part.place), " is one tensor too many for a layer in ", format_name(matrix->format), " storage"));
      }
      take(part.place.tensor, &layer);
    }
    plans_[&layer] = {&layer, *bytes, parts_to_keep(model_, layer, *matrix), *matrix, matrix->format};
    for (const Part& part : layer.parts) model_.drop(part.place);
    return {};
  }

  // The tensors that a layer becomes.
  static void add_tensors(const LayerPlan& plan, std::vector<TensorInfo>& tensors) {
    const std::string& name = plan.layer->info.name;
    const MatrixShape& shape = plan.shape;
    const int bits = bits_of(shape.type);
    const auto add = [&](std::string_view suffix, std::string_view dtype, std::vector<std::int64_t> extents, std::int64_t bytes) {
      if (bytes > 0) tensors.push_back({tensor_name(name, suffix), std::string(dtype), std::move(extents), bytes});
    };
    add("qweight", "I32", {shape.padded_k() / 16, shape.padded_n() * bits / 2}, plan.bytes.codes);
    add("scales", dtype_name(shape.scale_type), {shape.groups(), shape.padded_n()}, plan.bytes.scales);
    add("qzeros", "I32", {shape.groups(), shape.padded_n() * bits / 32}, plan.bytes.zeros);
    add("perm", "I32", {shape.k}, plan.bytes.perm);
    add("g_idx", "I32", {shape.k}, plan.bytes.g_idx);
    if (const Part* bias = plan.layer->part(Role::bias)) add("bias", bias->place.tensor->dtype, {shape.n}, bias->place.tensor->bytes);
    add("weight_shape", "I64", {2}, 16);
    const auto keep = [&](bool kept, Role role) {
      if (!kept) return;
      const Part& part = *plan.layer->part(role);
      tensors.push_back(*part.place.tensor);
      tensors.back().name = source_tensor_name(name, part.suffix);
    };
    keep(plan.kept.zeros, Role::zeros);
    keep(plan.kept.g_idx, Role::g_idx);
    for (const Part& part : plan.layer->parts) {
      if (!is_stray(part)) continue;
      tensors.push_back(*part.place.tensor);
      tensors.back().name = source_tensor_name(name, part.suffix);
    }
    if (plan.kept.tail) {
      tensors.push_back({source_tensor_name(name, plan.layer->part(Role::codes)->suffix), "I32", {shape.n}, shape.n * 4});
    }
  }

  Status plan_file(std::size_t s, TensorWriter& writer) override {
    const Shard& shard = model_.shards[s];
    NewFile file;
    file.name = shard.name;
    PackedLayers layers;
    bool changed = false;
    for (const Tensor& tensor : shard.header.tensors) {
      if (!is_taken(tensor)) {
        file.tensors.push_back(tensor);
        continue;
      }
      changed = true;
      const Layer* const layer = layer_at(tensor);
      if (!layer) continue;
      const LayerPlan& plan = plans_.at(layer);
      add_tensors(plan, file.tensors);
      layers[layer->info.name] = {plan.format, layer->info.group};
    }
    // An index names only files that hold tensors, and this one must be found again for the header that it remembers.
    if (file.tensors.empty() && changed && !model_.index_name.empty()) file.tensors.push_back({empty_shard_name(s), "U8", {0}, 0});
    for (const Layer& layer : recognised_.layers) {
      if (layer.packed && layer.part(Role::codes)->place.shard == s)
        layers[layer.info.name] = recognised_.packed.find(layer.info.name)->second;
    }
    const bool first = recognised_.packed.empty();  // nothing was packed before: keys of packing mean nothing
    const bool stale = first && std::any_of(shard.header.metadata.begin(), shard.header.metadata.end(),
                                            [](const auto& entry) { return is_packed_key(entry.first); });
    if (!changed && !stale) return plan_copy(s, writer);
    // What an earlier packing remembered is what to keep.
    for (const auto& [key, value] : shard.header.metadata) {
      if (key != kPackedKey && !(first && is_packed_key(key))) file.metadata.emplace_back(key, value);
    }
    if (!layers.empty()) file.metadata.emplace_back(kPackedKey, write_packed_metadata(layers));
    if (changed && (first || !shard.header.find_metadata(kSourceHeaderKey)))
      file.metadata.emplace_back(kSourceHeaderKey, header_text(shard));
    if (changed && first && !model_.index_name.empty() && !index_kept_) {
      file.metadata.emplace_back(kSourceIndexKey, model_.index_json);
      index_kept_ = true;
    }
    return writer.add(std::move(file));
  }

  Status write_first(std::size_t s, TensorWriter& writer, Progress&) override {
    const std::string name = empty_shard_name(s);
    return writer.plans(name) && !model_.find(name) ? writer.write(name, nullptr, 0) : Status();
  }

  Status write_layer(const Layer& layer, TensorWriter& writer) override {
    const LayerPlan& plan = plans_.at(&layer);
    const std::string& name = layer.info.name;
    Copies copies;
    Result<QuantizedMatrix> matrix = load_layer(model_, layer, copies, 1);
    if (!matrix.ok()) return matrix.status();
    PackedMatrix packed;
    BILLFISH_RETURN_IF_ERROR(place_packed(buffer_, plan.bytes, packed));
    const PackedMatrix placed = packed;
    BILLFISH_RETURN_IF_ERROR(options_.functions.pack(*matrix, packed, options_.parallel));
    const auto put = [&](std::string_view suffix, const void* data, std::int64_t bytes) {
      return bytes > 0 ? writer.write(tensor_name(name, suffix), data, bytes) : Status();
    };
    BILLFISH_RETURN_IF_ERROR(put("qweight", placed.codes, plan.bytes.codes));
    BILLFISH_RETURN_IF_ERROR(put("scales", placed.scales, plan.bytes.scales));
    BILLFISH_RETURN_IF_ERROR(put("qzeros", placed.zeros, plan.bytes.zeros));
    BILLFISH_RETURN_IF_ERROR(put("perm", placed.perm, plan.bytes.perm));
    BILLFISH_RETURN_IF_ERROR(put("g_idx", placed.g_idx, plan.bytes.g_idx));
    if (const Part* bias = layer.part(Role::bias))
      BILLFISH_RETURN_IF_ERROR(put("bias", model_.data(bias->place), bias->place.tensor->bytes));
    const std::int64_t numbers[2] = {matrix->n, matrix->k};
    BILLFISH_RETURN_IF_ERROR(put("weight_shape", numbers, 16));
    const auto keep = [&](bool kept, Role role) {
      if (!kept) return Status();
      const Part& part = *layer.part(role);
      return writer.write(source_tensor_name(name, part.suffix), model_.data(part.place), part.place.tensor->bytes);
    };
    BILLFISH_RETURN_IF_ERROR(keep(plan.kept.zeros, Role::zeros));
    BILLFISH_RETURN_IF_ERROR(keep(plan.kept.g_idx, Role::g_idx));
    if (plan.kept.tail) {
      const std::vector<std::uint32_t> tail = read_tail(*matrix, matrix->format, matrix->codes);
      BILLFISH_RETURN_IF_ERROR(writer.write(source_tensor_name(name, layer.part(Role::codes)->suffix), tail.data(), matrix->n * 4));
    }
    for (const Part& part : layer.parts) {
      if (!is_stray(part)) continue;
      const Status written = writer.write(source_tensor_name(name, part.suffix), model_.data(part.place), part.place.tensor->bytes);
      BILLFISH_RETURN_IF_ERROR(written);
    }
    return {};
  }

  std::vector<WrittenConfig> new_configs() const override { return wrap_configs(model_, format_name(plans_.begin()->second.format)); }

  std::map<const Layer*, LayerPlan> plans_;
  bool index_kept_ = false;
  Buffer buffer_;
};

}  // namespace

Status pack_checkpoint(const std::string& in, const std::string& out, const ConvertOptions& options) {
  Result<std::unique_ptr<OpenCheckpoint>> checkpoint = OpenCheckpoint::open(in);
  if (!checkpoint.ok()) return checkpoint.status();
  BILLFISH_RETURN_IF_ERROR(check_paths((*checkpoint)->model, out));
  Packing packing(**checkpoint, options);
  BILLFISH_RETURN_IF_ERROR(packing.choose_layers((*checkpoint)->why()));
  return packing.write(out);
}

}  // namespace billfish::formats
