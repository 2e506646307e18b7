// SPDX-License-Identifier: Apache-2.0
#include "formats/calibration.hpp"

#include <cstring>
#include <nlohmann/json.hpp>

#include "formats/json_text.hpp"
#include "formats/recognise.hpp"
#include "formats/text.hpp"

namespace billfish::formats {
namespace {

constexpr std::string_view kSameInput = "same_input";
constexpr std::int64_t kHeldOutPart = 8;  // the last eighth of the tokens

}  // namespace

Result<std::unique_ptr<Calibration>> Calibration::open(const std::string& path) {
  auto out = std::make_unique<Calibration>();
  Result<Model> model = open_model(path);
  if (!model.ok()) return model.status();
  out->model = std::move(*model);
  BILLFISH_RETURN_IF_ERROR(out->read_metadata());
  return Result<std::unique_ptr<Calibration>>(std::move(out));
}

Status Calibration::read_metadata() {
  for (const Shard& shard : model.shards) {
    const std::string* const json = shard.header.find_metadata(kSameInput);
    if (!json) continue;
    const std::string where = text(shard.map.path(), ": __metadata__.", kSameInput);
    BILLFISH_RETURN_IF_ERROR(check_json_depth(where, *json));
    const nlohmann::json root = nlohmann::json::parse(*json, nullptr, false);
    if (!root.is_object()) return bad_input(text(where, ": a JSON object of layer names is needed"));
    for (const auto& [layer, source] : root.items()) {
      if (!source.is_string()) return bad_input(text(where, ": the value of ", quote(layer), " is no string"));
      same_input_[layer] = source.get_ref<const std::string&>();
    }
  }
  return {};
}

const std::string& Calibration::source_of(const std::string& layer) const {
  const auto found = same_input_.find(layer);
  return found == same_input_.end() ? layer : found->second;
}

Result<LayerInputs> Calibration::find(const std::string& layer, std::int64_t k) const {
  LayerInputs out;
  out.source = source_of(layer);
  out.x = model.find(text(out.source, ".X"));
  out.hessian = model.find(text(out.source, ".H"));
  const TensorPlace* const count = model.find(text(out.source, ".count"));
  if (out.x) {
    const Tensor& x = *out.x->tensor;
    if (!element_type(x.dtype)) return bad_input(text(model.label(*out.x), " is ", x.dtype, "; samples are F32, F16 or BF16"));
    if (x.shape.size() != 2 || x.shape[1] != k)
      return bad_input(
          text(model.label(*out.x), " has shape ", x.shape, ", but layer ", quote(layer), " has k = ", k, ": [tokens,", k, "] is needed"));
    out.tokens = x.shape[0];
    out.used = out.tokens - out.tokens / kHeldOutPart;
    if (out.tokens == 0) out.x = nullptr;
  }
  if (out.hessian) {
    const Tensor& h = *out.hessian->tensor;
    if (h.dtype != "F32" || h.shape != std::vector<std::int64_t>{k, k})
      return bad_input(text(model.label(*out.hessian), " is ", h.dtype, ' ', h.shape, ", but layer ", quote(layer), " has k = ", k,
                            ": F32 [", k, ',', k, "] is needed"));
    if (!count) return bad_input(text(model.label(*out.hessian), " comes without ", quote(text(out.source, ".count"))));
    if (count->tensor->dtype != "I64" || count->tensor->bytes != 8)
      return bad_input(text(model.label(*count), " is ", count->tensor->dtype, ' ', count->tensor->shape, "; one I64 is needed"));
    out.count = read_i64(model.data(*count), 0);
    if (out.count < 0) return bad_input(text(model.label(*count), " is ", out.count, ": a number of tokens is needed"));
    if (out.count == 0) out.hessian = nullptr;
  }
  return out;
}

Status Calibration::check_covers(const std::vector<LinearLayer>& layers) const {
  std::size_t wanted = 0, missing = 0;
  const LinearLayer* first = nullptr;
  for (const LinearLayer& layer : layers) {
    if (!layer.left.empty()) continue;
    ++wanted;
    const std::string& source = source_of(layer.name);
    if (model.find(text(source, ".X")) || model.find(text(source, ".H"))) continue;
    if (is_expert(layer.name)) continue;  // one that no token was sent to
    ++missing;
    if (!first) first = &layer;
  }
  if (missing == 0) return {};
  const std::string some = model.places.empty() ? "nothing" : quote(model.shards.front().header.tensors.front().name);
  if (missing == wanted) {
    return bad_input(text(quote(model.path), " is of another model: it holds neither ", quote(text(first->name, ".X")), " nor ",
                          quote(text(first->name, ".H")), ", nor samples of any other of the ", wanted, " layers (it holds ", some, ")"));
  }
  return bad_input(text(quote(model.path), " holds no samples of layer ", quote(first->name), " (", missing, " of ", wanted,
                        " layers have none): ", quote(text(first->name, ".X")), " or ", quote(text(first->name, ".H")), " is needed"));
}

}  // namespace billfish::formats
