// SPDX-License-Identifier: Apache-2.0
#include "formats/folds.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <string_view>

#include "core/integers.hpp"
#include "formats/text.hpp"

namespace billfish::formats {
namespace {

// Layers of one block that share an input, and what makes it. Names are relative to the block. A norm that a block does not have is no
// match, so that a row with another norm can follow.
struct Row {
  std::vector<std::string_view> layers;
  std::vector<std::string_view> into;  // the first that the model has; empty: nothing can
  bool norm = true;                    // else a linear layer, whose n must be the k of the layers
};

struct Layout {
  std::vector<std::string_view> models;  // model_type of config.json
  std::vector<Row> rows;
  bool plus_one = false;  // norms multiply by 1 + weight
};

const std::vector<Layout>& layouts() {
  static const std::vector<Row> llama = {
      {{"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"}, {"input_layernorm"}},
      {{"self_attn.o_proj"}, {"self_attn.v_proj"}, false},
      // Gemma 2 and 3 have a norm of their own before the MLP; their post_attention_layernorm comes before the sum.
      {{"mlp.gate_proj", "mlp.up_proj"}, {"pre_feedforward_layernorm", "post_attention_layernorm"}},
      {{"mlp.down_proj"}, {"mlp.up_proj"}, false},
  };
  static const std::vector<Layout> all = {
      {{"llama", "mistral", "qwen2", "qwen3"}, llama, false},
      {{"gemma", "gemma2", "gemma3", "gemma3_text"}, llama, true},
      {{"opt"},
       {
           {{"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"}, {"self_attn_layer_norm"}},
           {{"self_attn.out_proj"}, {"self_attn.v_proj"}, false},
           {{"fc1"}, {"final_layer_norm"}},
           {{"fc2"}, {"fc1"}, false},  // a ReLU between them: relu(x / s) = relu(x) / s
       },
       false},
  };
  return all;
}

struct Place {
  std::string block;      // "model.layers.3."
  std::string_view rest;  // "mlp.up_proj"
};

// "model.layers.3.mlp.up_proj" -> its block; no block where no part of the name is a number.
Place place_of(std::string_view name) {
  std::size_t begin = 0;
  while (true) {
    const std::size_t dot = name.find('.', begin);
    if (dot == std::string_view::npos) return {"", name};
    const std::string_view part = name.substr(begin, dot - begin);
    const bool number = !part.empty() && part.find_first_not_of("0123456789") == std::string_view::npos;
    if (number) return {std::string(name.substr(0, dot + 1)), name.substr(dot + 1)};
    begin = dot + 1;
  }
}

class Finder {
 public:
  Finder(const Model& model, const std::vector<LinearLayer>& layers) : model_(model), layers_(layers) {
    for (std::size_t i = 0; i < layers.size(); ++i) index_[layers[i].name] = i;
    const std::string type = config_word(model, "model_type");
    for (const Layout& layout : layouts()) {
      if (std::find(layout.models.begin(), layout.models.end(), type) != layout.models.end()) layout_ = &layout;
    }
    if (type.empty()) {
      unknown_ = "config.json names no model_type, so nobody knows what comes before it";
    } else if (!layout_) {
      unknown_ = text("how a model of type ", quote(type),
                      " is wired is not known here (llama, mistral, qwen2, qwen3, gemma, gemma2, gemma3 and opt are)");
    } else if (type == "opt") {
      const std::string activation = config_word(model, "activation_function");
      if (!activation.empty() && activation != "relu") wired_otherwise_ = text("its activation is ", activation, ", not relu");
      if (config_word(model, "do_layer_norm_before") == "false")
        norms_otherwise_ = "its norms come after the sums (do_layer_norm_before is false)";
    }
  }

  std::vector<Fold> find() {
    std::vector<Fold> out;
    std::vector<bool> seen(layers_.size(), false);
    for (std::size_t i = 0; i < layers_.size(); ++i) {
      if (!layers_[i].left.empty() || seen[i]) continue;
      Fold fold = layout_ ? fold_of(layers_[i]) : Fold{{}, "", false, unknown_, true};
      if (fold.into.empty()) fold.layers = {i};
      for (const std::size_t layer : fold.layers) seen[layer] = true;
      out.push_back(std::move(fold));
    }
    return out;
  }

 private:
  static Fold none(std::string why, bool refused) { return {{}, "", false, std::move(why), refused}; }

  Fold fold_of(const LinearLayer& layer) const {
    const Place place = place_of(layer.name);
    for (const Row& row : layout_->rows) {
      if (std::find(row.layers.begin(), row.layers.end(), place.rest) == row.layers.end()) continue;
      return row_fold(row, place, layer);
    }
    return none("nothing is known of what comes before a layer of this name", true);
  }

  Fold row_fold(const Row& row, const Place& place, const LinearLayer& layer) const {
    Fold out;
    for (const std::string_view rest : row.layers) {
      const std::string name = text(place.block, rest);
      const auto found = index_.find(name);
      if (found == index_.end()) return none(text("the model has no ", quote(name), ", which shares its input"), true);
      const LinearLayer& member = layers_[found->second];
      if (!member.left.empty()) return none(text(quote(name), " shares its input and stays as it is (", member.left, ")"), true);
      if (member.k != layer.k)
        return none(text(quote(name), " has k = ", member.k, ", not ", layer.k, ", and cannot share its input"), true);
      out.layers.push_back(found->second);
    }
    for (const std::string_view rest : row.into) {
      const std::string name = text(place.block, rest);
      const TensorPlace* weight = model_.find(text(name, ".weight"));
      if (!weight) continue;
      return row.norm ? into_norm(std::move(out), name, *weight, layer) : into_linear(std::move(out), name, layer);
    }
    return none(text("the model has no ", quote(text(place.block, row.into.back())), ".weight"), true);
  }

  Fold into_norm(Fold out, const std::string& name, const TensorPlace& weight, const LinearLayer& layer) const {
    if (!norms_otherwise_.empty()) return none(norms_otherwise_, true);
    if (weight.tensor->shape != std::vector<std::int64_t>{layer.k})
      return none(text(quote(name), " has shape ", weight.tensor->shape, ", not [", layer.k, ']'), true);
    out.into = name;
    out.plus_one = layout_->plus_one;
    return out;
  }

  Fold into_linear(Fold out, const std::string& name, const LinearLayer& layer) const {
    const auto found = index_.find(name);
    if (found == index_.end()) return none(text(quote(name), " is no linear layer"), true);
    const LinearLayer& before = layers_[found->second];
    if (!wired_otherwise_.empty() && before.name.ends_with("fc1")) return none(wired_otherwise_, true);
    // Grouped queries: every output of v serves several inputs of o, which want different scales. As everywhere, such layers have none.
    if (before.n != layer.k) return none(text(quote(name), " has n = ", before.n, ", not ", layer.k, " (grouped queries)"), false);
    out.into = name;
    return out;
  }

  const Model& model_;
  const std::vector<LinearLayer>& layers_;
  std::map<std::string, std::size_t, std::less<>> index_;
  const Layout* layout_ = nullptr;
  std::string unknown_, wired_otherwise_, norms_otherwise_;
};

}  // namespace

std::vector<Fold> find_folds(const Model& model, const std::vector<LinearLayer>& layers) { return Finder(model, layers).find(); }

void divide_by(const std::vector<float>& scales, bool plus_one, float* values, std::int64_t count) {
  const std::int64_t rows = static_cast<std::int64_t>(scales.size()), columns = count / rows;
  for (std::int64_t row = 0; row < rows; ++row) {
    const float scale = scales[static_cast<std::size_t>(row)];
    for (std::int64_t i = row * columns; i < (row + 1) * columns; ++i)
      values[i] = plus_one ? (1.0f + values[i]) / scale - 1.0f : values[i] / scale;
  }
}

}  // namespace billfish::formats
