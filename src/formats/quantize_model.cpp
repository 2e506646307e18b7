// SPDX-License-Identifier: Apache-2.0
// The walk over a float model: plans every layer, quantises one after another, remembers what is done.
#include "formats/quantize_model.hpp"

#include <sys/stat.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <set>

#include "core/half.hpp"
#include "formats/calibration.hpp"
#include "formats/digest.hpp"
#include "formats/float_weights.hpp"
#include "formats/folds.hpp"
#include "formats/packed_metadata.hpp"
#include "formats/quantize_layer.hpp"
#include "formats/rewrite.hpp"
#include "formats/text.hpp"
#include "formats/transcode.hpp"
#include "formats/unfinished.hpp"

namespace billfish::formats {
namespace {

namespace fs = std::filesystem;

// With fewer tokens than this GPTQ fits what they happen to be. Measured on the true second moments (AR(1), rho 0.9, channels of lognormal
// size, 4 bits, groups of 128; error of outputs, nearest / GPTQ from that many tokens): k = 512: 0.1076 / 0.1121 from 16, 0.1072 from 32,
// 0.0939 from 64; k = 1024: 0.1058 / 0.1106 from 32, 0.1038 from 64, 0.0955 from 128.
std::int64_t fewest_tokens(QuantizeMethod method, std::int64_t k) {
  constexpr std::int64_t kFew = 32;
  return method == QuantizeMethod::gptq ? std::max(kFew, k / 16) : kFew;
}

std::string hex_digits(std::uint64_t value) {
  std::string out;
  for (int shift = 60; shift >= 0; shift -= 4) out.push_back("0123456789abcdef"[(value >> shift) & 15]);
  return out;
}

// Files as far as their names, sizes, times and headers tell them apart from others.
void add_files(const Model& model, Digest& digest) {
  for (const Shard& shard : model.shards) {
    digest.add(shard.name);
    digest.add(header_text(shard));
    struct stat facts {};
    if (::stat(shard.map.path().c_str(), &facts) != 0) continue;
    const std::int64_t numbers[] = {facts.st_size, facts.st_mtim.tv_sec, facts.st_mtim.tv_nsec};
    digest.add(numbers, sizeof numbers);
  }
  digest.add(model.config.json);
}

// The same weights in other clothes, which do not belong into a quantised checkpoint.
bool is_other_weights(const std::string& path) {
  const std::string name = fs::path(path).filename().string();
  const auto has = [&](std::string_view begin, std::string_view end) { return name.starts_with(begin) && name.ends_with(end); };
  return has("pytorch_model", ".bin") || has("pytorch_model", ".index.json") || has("consolidated.", ".pth") ||
         has("consolidated", ".safetensors") || has("tf_model", ".h5") || has("flax_model", ".msgpack") || has("", ".gguf");
}

class Quantizing final : public Rewrite {
 public:
  Quantizing(const OpenCheckpoint& checkpoint, const QuantizeOptions& options, Format format, std::unique_ptr<Calibration> calibration)
      : Rewrite(checkpoint, options.convert),
        quantize_(options),
        format_(format),
        calibration_(std::move(calibration)),
        quantizer_(checkpoint.model, calibration_.get(), options, format) {}

  Status plan() {
    layers_ = find_linear_layers(model_, {quantize_.convert.want_layer, quantize_.convert.user});
    for (LinearLayer& layer : layers_) {
      if (layer.left.empty()) BILLFISH_RETURN_IF_ERROR(about_layer(check_format(layer), layer.name));
    }
    if (calibration_) BILLFISH_RETURN_IF_ERROR(calibration_->check_covers(layers_));
    tasks_.resize(layers_.size());
    for (std::size_t i = 0; i < layers_.size(); ++i) {
      if (layers_[i].left.empty()) BILLFISH_RETURN_IF_ERROR(about_layer(plan_layer(layers_[i], tasks_[i]), layers_[i].name));
    }
    if (quantize_.planned) {
      for (const LinearLayer& layer : layers_)
        quantize_.planned(quantize_.convert.user, layer.name.c_str(), layer.n, layer.k, layer.left.c_str());
    }
    BILLFISH_RETURN_IF_ERROR(check_any());
    if (quantize_.method == QuantizeMethod::awq) BILLFISH_RETURN_IF_ERROR(plan_folds());
    return plan_config();
  }

  // All or nothing, but for the finished layers that an interruption leaves to the next run.
  Status run(const std::string& out) {
    std::string name;
    BILLFISH_RETURN_IF_ERROR(StagedOutput::check_target(out, true, name));
    BILLFISH_RETURN_IF_ERROR(unfinished_.begin(out, identity(), quantize_.resume));
    Status status = write(out);
    const bool worth_keeping = status.code() == Code::cancelled || status.code() == Code::io_error || status.code() == Code::out_of_memory;
    if (status.ok() || !worth_keeping || unfinished_.layers() == 0) {
      unfinished_.remove();
      return status;
    }
    const std::string what = status.code() == Code::cancelled ? "stopped by the progress callback" : status.message();
    return {status.code(), text(what, "; ", unfinished_.layers(), " finished layers are kept in ", quote(unfinished_.folder()),
                                ", resume (--resume) goes on with them")};
  }

 private:
  Status check_format(LinearLayer& layer) const {
    const MatrixShape shape = shape_of(layer);
    const std::string reason = why_not_new(format_, shape, quantize_.group);
    if (reason.empty()) return {};
    if (!quantize_.convert.skip_unsupported)
      return unsupported(text(reason, " (skip_unsupported, --skip-unsupported, leaves it as it is)"));
    layer.left = reason;
    return {};
  }

  MatrixShape shape_of(const LinearLayer& layer) const {
    return {quantize_.type, quantize_.scale_type, layer.n, layer.k, resolve_group(quantize_.group, layer.k)};
  }

  // What is copied through beside the weight must not keep the quantised layer from being read.
  Status check_beside(const LinearLayer& layer) const {
    constexpr const char* kParts[] = {
        "qweight",           "qzeros",       "scales",        "g_idx", "perm", "weight_shape",       "weight_scale",
        "weight_zero_point", "weight_g_idx", "weight_packed", "meta",  "B_24", "weight_global_scale"};
    for (const char* part : kParts) {
      if (const TensorPlace* place = model_.find(tensor_name(layer.name, part))) {
        return bad_input(text(model_.label(*place), " would count as a part of the quantised layer: rename or remove it"));
      }
    }
    const TensorPlace* bias = model_.find(tensor_name(layer.name, "bias"));
    if (bias == nullptr) return {};
    const Tensor& tensor = *bias->tensor;
    if (!element_type(tensor.dtype)) return bad_input(text(model_.label(*bias), " is ", tensor.dtype, ": F32, F16 and BF16 are supported"));
    return model_.expect_shape(*bias, {layer.n}, "one for every output");
  }

  Status plan_layer(const LinearLayer& layer, LayerTask& task) {
    BILLFISH_RETURN_IF_ERROR(check_beside(layer));
    task.layer = &layer;
    task.shape = shape_of(layer);
    task.method = quantize_.method;
    QuantizedMatrix raw;
    static_cast<MatrixShape&>(raw) = task.shape;
    raw.format = Format::raw;
    Result<PackedBytes> bytes = quantize_.convert.functions.sizes(raw);
    if (!bytes.ok()) return bytes.status();
    task.packed = *bytes;
    task.parts = new_parts(format_, task.shape, false, false, ElementType::f16);
    take(layer.weight.tensor, nullptr);
    if (!calibration_) return {};
    Result<LayerInputs> inputs = calibration_->find(layer.name, layer.k);
    if (!inputs.ok()) return inputs.status();
    task.inputs = std::move(*inputs);
    const std::int64_t known = task.inputs.known(), needed = fewest_tokens(task.method, layer.k);
    if (task.method == QuantizeMethod::nearest) return {};
    if (known < needed) {
      task.note = text("too few tokens (", known, ", ", needed, " are needed): round to nearest");
      task.method = QuantizeMethod::nearest;
    } else if (known < layer.k && task.method == QuantizeMethod::gptq) {
      task.note = text("fewer tokens (", known, ") than inputs (", layer.k, ")");
    }
    return {};
  }

  Status check_any() const {
    std::size_t wanted = 0;
    for (const LinearLayer& layer : layers_) wanted += layer.left.empty();
    if (wanted > 0) return {};
    if (layers_.empty())
      return unsupported(text(quote(model_.path), " has no matrices ('*.weight' of two dimensions in F32, F16 or BF16)"));
    const LinearLayer* example = &layers_.front();
    for (const LinearLayer& layer : layers_) {
      if (example->left == kNotAsked) example = &layer;
    }
    return unsupported(text(quote(model_.path), ": none of its ", layers_.size(), " matrices is a layer to quantise (",
                            quote(example->name), ": ", example->left, ")"));
  }

  Status plan_folds() {
    folds_ = find_folds(model_, layers_);
    for (std::size_t f = 0; f < folds_.size(); ++f) {
      const Fold& fold = folds_[f];
      const LayerTask& first = tasks_[fold.layers.front()];
      if (fold.into.empty()) {
        if (fold.refused && !quantize_.no_fold) {
          return unsupported(text("layer ", quote(first.layer->name), ": AWQ's scales have no place to go: ", fold.why_not,
                                  " (no_fold, --no-fold, quantises such layers without scales)"));
        }
        for (const std::size_t layer : fold.layers) add_note(tasks_[layer], text("no scales: ", fold.why_not));
        continue;
      }
      bool enough = true;
      for (const std::size_t layer : fold.layers) enough = enough && tasks_[layer].method == QuantizeMethod::awq;
      if (!enough) {
        for (const std::size_t layer : fold.layers) {
          if (tasks_[layer].method == QuantizeMethod::awq)
            add_note(tasks_[layer], "no scales: too few tokens of a layer that shares its input");
        }
        continue;
      }
      for (const std::size_t layer : fold.layers) columns_[layer] = f;
      BILLFISH_RETURN_IF_ERROR(plan_divided(f));
    }
    return {};
  }

  // The tensors that divide by the scales of a fold.
  Status plan_divided(std::size_t f) {
    const Fold& fold = folds_[f];
    for (std::size_t i = 0; i < layers_.size(); ++i) {
      if (layers_[i].name == fold.into && layers_[i].left.empty()) rows_[i] = f;
    }
    for (const char* suffix : {"weight", "bias"}) {
      const TensorPlace* place = model_.find(tensor_name(fold.into, suffix));
      if (!place || is_taken(*place->tensor)) continue;
      take(place->tensor, nullptr);
      divided_.emplace_back(*place, f);
    }
    return {};
  }

  static void add_note(LayerTask& task, const std::string& note) { task.note += text(task.note.empty() ? "" : "; ", note); }

  Status plan_config() {
    std::vector<LayerNumbers> numbers;
    std::vector<std::string> left;
    for (std::size_t i = 0; i < layers_.size(); ++i) {
      const LinearLayer& layer = layers_[i];
      if (layer.left.empty()) {
        numbers.push_back({layer.name, tasks_[i].shape, quantize_.group <= 0 ? -1 : quantize_.group, false});
      } else if (layer.linear) {
        left.push_back(layer.name);
      }
    }
    // A head that is tied to the embeddings has no tensor, but it is a module that "Linear" would take.
    const bool generates = model_.config.json.find("ForCausalLM") != std::string::npos ||
                           model_.config.json.find("ForConditionalGeneration") != std::string::npos;
    if (format_ == Format::compressed_tensors && generates && !model_.find("lm_head.weight")) left.emplace_back("lm_head");
    Result<std::string> config = make_quant_config(format_, numbers, left);
    if (!config.ok()) return config.status();
    config_ = std::move(*config);
    return {};
  }

  // What decides the bytes of the result.
  std::string identity() const {
    Digest digest;
    add_files(model_, digest);
    if (calibration_) add_files(calibration_->model, digest);
    for (const LinearLayer& layer : layers_) digest.add(layer.left.empty() ? layer.name : "");
    return text("format=", quantize_.format, " method=", static_cast<int>(quantize_.method), " type=", name_of(quantize_.type),
                " group=", quantize_.group, " scales=", name_of(quantize_.scale_type), " no_fold=", quantize_.no_fold ? 1 : 0, ' ',
                quantize_.identity, " files=", hex_digits(digest.value()));
  }

  Status begin(StagedOutput& output, const std::string& out) override {
    BILLFISH_RETURN_IF_ERROR(output.begin_kept(out, unfinished_.checkpoint()));
    std::set<std::string> shards;
    for (std::size_t s = 0; s < model_.shards.size(); ++s) shards.insert(file_name(s));
    std::error_code error;
    std::vector<fs::path> others;
    for (const auto& entry : fs::directory_iterator(unfinished_.checkpoint(), error)) {
      if (!shards.contains(entry.path().filename().string())) others.push_back(entry.path());
    }
    for (const fs::path& path : others) fs::remove_all(path, error);
    return {};
  }

  std::string file_name(std::size_t shard) const { return model_.is_directory ? model_.shards[shard].name : "model.safetensors"; }

  Status plan_file(std::size_t s, TensorWriter& writer) override {
    const Shard& shard = model_.shards[s];
    std::map<const Tensor*, const LayerTask*> here;
    for (const LayerTask& task : tasks_) {
      if (task.layer && task.layer->weight.shard == s) here[task.layer->weight.tensor] = &task;
    }
    NewFile file;
    file.name = file_name(s);
    for (const Tensor& tensor : shard.header.tensors) {
      const auto found = here.find(&tensor);
      if (found == here.end()) {
        file.tensors.push_back(tensor);
        continue;
      }
      for (const FormatPart& part : found->second->parts)
        file.tensors.push_back({tensor_name(found->second->layer->name, part.suffix), part.dtype, part.shape, part.bytes});
    }
    for (const auto& [key, value] : shard.header.metadata) {
      if (!is_packed_key(key) && key != "quantization_config") file.metadata.emplace_back(key, value);
    }
    if (!shard.header.find_metadata("format")) file.metadata.emplace_back("format", "pt");
    file.metadata.emplace_back("quantization_config", config_);
    return writer.add(std::move(file));
  }

  static std::vector<std::string> tensors_of(const LayerTask& task) {
    std::vector<std::string> out;
    for (const FormatPart& part : task.parts) out.push_back(tensor_name(task.layer->name, part.suffix));
    return out;
  }

  Status take_up(TensorWriter& writer, Progress& progress) override {
    for (const LayerTask& task : tasks_) {
      if (!task.layer) continue;
      const UnfinishedWork::DoneLayer* done = unfinished_.find_layer(task.layer->name);
      if (!done || !writer.take_written(tensors_of(task), done->digest)) continue;
      taken_up_.insert(&task);
      if (quantize_.layer_done) {
        QuantizedLayer layer = done->facts;
        layer.shape = task.shape;
        quantize_.layer_done(quantize_.convert.user, layer, quantize_.api);
      }
      BILLFISH_RETURN_IF_ERROR(progress.advance(task.layer->name, task.layer->weight.tensor->bytes));
    }
    return {};
  }

  // The layers of a shard, those that share an input one after another: what is made of its samples serves all of them.
  Status write_first(std::size_t s, TensorWriter& writer, Progress& progress) override {
    std::vector<std::size_t> order;
    for (std::size_t i = 0; i < tasks_.size(); ++i) {
      if (tasks_[i].layer && tasks_[i].layer->weight.shard == s && !taken_up_.contains(&tasks_[i])) order.push_back(i);
    }
    std::map<std::string, std::size_t> first;  // layer of every input
    for (const std::size_t i : order) first.try_emplace(tasks_[i].inputs.source, i);
    std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
      const auto key = [&](std::size_t i) { return tasks_[i].inputs.source.empty() ? i : first.at(tasks_[i].inputs.source); };
      return key(a) < key(b);
    });
    for (const std::size_t i : order) {
      const std::string& name = tasks_[i].layer->name;
      BILLFISH_RETURN_IF_ERROR(progress.advance(name, 0));
      BILLFISH_RETURN_IF_ERROR(about_layer(quantize_layer(i, writer), name));
      BILLFISH_RETURN_IF_ERROR(progress.advance(name, tasks_[i].layer->weight.tensor->bytes));
    }
    for (const auto& [place, fold] : divided_) {
      if (place.shard == s) BILLFISH_RETURN_IF_ERROR(write_divided(place, fold, writer, progress));
    }
    return {};
  }

  Status quantize_layer(std::size_t index, TensorWriter& writer) {
    const LayerTask& task = tasks_[index];
    LayerScaling scaling;
    if (const auto found = columns_.find(index); found != columns_.end()) {
      Result<const ChannelScales*> scales = scales_of(found->second);
      if (!scales.ok()) return scales.status();
      scaling.columns = *scales;
    }
    if (const auto found = rows_.find(index); found != rows_.end()) {
      Result<const ChannelScales*> scales = scales_of(found->second);
      if (!scales.ok()) return scales.status();
      scaling.rows = &(*scales)->scales;
    }
    QuantizedLayer layer;
    (void)writer.take_digest();
    BILLFISH_RETURN_IF_ERROR(quantizer_.run(task, scaling, writer, layer));
    BILLFISH_RETURN_IF_ERROR(unfinished_.add_layer(writer.take_digest(), layer));
    if (quantize_.layer_done) quantize_.layer_done(quantize_.convert.user, layer, quantize_.api);
    return {};
  }

  // Made when first asked for, and remembered.
  Result<const ChannelScales*> scales_of(std::size_t f) {
    const Fold& fold = folds_[f];
    const std::string& name = layers_[fold.layers.front()].name;
    if (const ChannelScales* known = unfinished_.find_scales(name)) return known;
    std::vector<const LayerTask*> tasks;
    for (const std::size_t layer : fold.layers) tasks.push_back(&tasks_[layer]);
    Result<ChannelScales> chosen = quantizer_.choose_scales(tasks);
    if (!chosen.ok()) return about_layer(chosen.status(), name);
    BILLFISH_RETURN_IF_ERROR(unfinished_.add_scales(name, *chosen));
    return unfinished_.find_scales(name);
  }

  Status write_divided(const TensorPlace& place, std::size_t f, TensorWriter& writer, Progress& progress) {
    Result<const ChannelScales*> scales = scales_of(f);
    if (!scales.ok()) return scales.status();
    const Tensor& tensor = *place.tensor;
    const std::optional<ElementType> type = element_type(tensor.dtype);
    if (!type) return unsupported(text(model_.label(place), " is ", tensor.dtype, "; AWQ's scales fold into F32, F16 and BF16"));
    const std::int64_t count = tensor.bytes / bytes_of(*type);
    std::vector<float> values(static_cast<std::size_t>(count));
    BILLFISH_RETURN_IF_ERROR(load_floats(model_, place, values.data(), quantize_.convert.parallel));
    const bool plus_one = folds_[f].plus_one && tensor.name.ends_with(".weight");
    divide_by((*scales)->scales, plus_one, values.data(), count);
    std::vector<std::byte> bytes(static_cast<std::size_t>(tensor.bytes));
    for (std::int64_t i = 0; i < count; ++i) {
      store_element(bytes.data(), *type, i, values[static_cast<std::size_t>(i)]);
      if (std::isfinite(load_element(bytes.data(), *type, i))) continue;
      return bad_input(text(model_.label(place), ": divided by AWQ's scales, element ", i, " leaves the range of ", tensor.dtype));
    }
    BILLFISH_RETURN_IF_ERROR(writer.write(tensor.name, bytes.data(), tensor.bytes));
    return progress.advance(tensor.name, tensor.bytes);
  }

  std::vector<WrittenConfig> new_configs() const override { return replace_configs(model_, config_, format_); }
  std::vector<std::string> outdated_configs() const override {
    std::vector<std::string> out;
    for (const ConfigText& config : model_.quant_configs) out.push_back(config.name);
    if (!model_.is_directory) return out;
    std::error_code error;
    const fs::path root = model_.directory.empty() ? "." : model_.directory;
    for (fs::recursive_directory_iterator entry(root, error), end; !error && entry != end; entry.increment(error)) {
      if (is_other_weights(entry->path().string())) out.push_back(entry->path().lexically_relative(root).string());
    }
    return out;
  }

  const QuantizeOptions& quantize_;
  Format format_;
  std::unique_ptr<Calibration> calibration_;
  LayerQuantizer quantizer_;
  std::vector<LinearLayer> layers_;
  std::vector<LayerTask> tasks_;  // by index of layers_; those that stay as they are have no layer
  std::vector<Fold> folds_;
  std::map<std::size_t, std::size_t> columns_, rows_;         // layer -> the fold whose scales multiply, or divide
  std::vector<std::pair<TensorPlace, std::size_t>> divided_;  // tensors that are not quantised, and the fold that they divide by
  std::string config_;
  UnfinishedWork unfinished_;
  std::set<const LayerTask*> taken_up_;
};

}  // namespace

Status quantize_model(const std::string& in, const std::string& out, const QuantizeOptions& options) {
  const std::optional<Format> format = format_of(options.format);
  if (!format || *format == Format::raw) {
    return invalid_argument(text("format is ", quote(options.format), "; supported are gptq, gptq_v2, awq, compressed-tensors and marlin"));
  }
  Result<std::unique_ptr<OpenCheckpoint>> opened = OpenCheckpoint::open(in);
  if (!opened.ok()) return opened.status();
  const OpenCheckpoint& checkpoint = **opened;
  if (!checkpoint.recognised.layers.empty()) {
    return unsupported(text(quote(in), " is quantised already (", checkpoint.why(), "): a model in f32, f16 or bf16 is needed"));
  }
  if (!options.dry_run) BILLFISH_RETURN_IF_ERROR(check_paths(checkpoint.model, out));
  std::unique_ptr<Calibration> calibration;
  if (!options.calibration.empty()) {
    Result<std::unique_ptr<Calibration>> samples = Calibration::open(options.calibration);
    if (!samples.ok()) return samples.status();
    calibration = std::move(*samples);
  } else if (options.method != QuantizeMethod::nearest) {
    return invalid_argument(text(options.method == QuantizeMethod::gptq ? "GPTQ" : "AWQ", " needs samples: calibration is not set"));
  }
  Quantizing quantizing(checkpoint, options, *format, std::move(calibration));
  BILLFISH_RETURN_IF_ERROR(quantizing.plan());
  return options.dry_run ? Status() : quantizing.run(out);
}

}  // namespace billfish::formats
