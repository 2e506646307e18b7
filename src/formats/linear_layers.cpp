// SPDX-License-Identifier: Apache-2.0
#include "formats/linear_layers.hpp"

#include <algorithm>
#include <array>
#include <set>

#include "formats/format_parts.hpp"
#include "formats/json_text.hpp"
#include "formats/recognise.hpp"
#include "formats/text.hpp"

namespace billfish::formats {
namespace {

constexpr std::string_view kWeight = ".weight";

std::vector<std::string_view> parts_of(std::string_view name) {
  std::vector<std::string_view> out;
  while (true) {
    const std::size_t dot = name.find('.');
    out.push_back(name.substr(0, dot));
    if (dot == std::string_view::npos) return out;
    name.remove_prefix(dot + 1);
  }
}

template <std::size_t count>
bool is_one_of(std::string_view word, const std::string_view (&words)[count]) {
  return std::find(std::begin(words), std::end(words), word) != std::end(words);
}

bool is_embedding(std::string_view name) {
  constexpr std::string_view kWords[] = {"wte", "wpe", "relative_attention_bias"};
  if (name == "shared") return true;
  const std::vector<std::string_view> parts = parts_of(name);
  return std::any_of(parts.begin(), parts.end(), [&](std::string_view part) {
    return (part.find("embed") != std::string_view::npos && part != "embed_out") || is_one_of(part, kWords);
  });
}

bool is_norm(std::string_view name) {
  const std::string_view leaf = parts_of(name).back();
  return leaf.find("norm") != std::string_view::npos || leaf.find("Norm") != std::string_view::npos || leaf.starts_with("ln_");
}

bool is_head(std::string_view name) {
  constexpr std::string_view kWords[] = {"lm_head", "embed_out", "classifier", "score", "pooler", "qa_outputs", "cls", "head", "lm_heads"};
  if (name == "output") return true;  // of the models that Meta published; elsewhere a word for ordinary layers
  const std::vector<std::string_view> parts = parts_of(name);
  return std::any_of(parts.begin(), parts.end(), [&](std::string_view part) { return is_one_of(part, kWords); });
}

bool is_router(std::string_view name) {
  const std::vector<std::string_view> parts = parts_of(name);
  return parts.back() == "gate" || parts.back() == "shared_expert_gate" || std::find(parts.begin(), parts.end(), "router") != parts.end();
}

bool is_conv1d_name(std::string_view leaf) { return leaf == "c_attn" || leaf == "q_attn" || leaf == "c_proj" || leaf == "c_fc"; }

// GPT-2's Conv1D stores [k, n]: the length of a bias says so, or the model's own name where it cannot.
bool has_conv1d(const Model& model) {
  const std::string type = config_word(model, "model_type");
  if (type == "gpt2" || type == "openai-gpt" || type == "imagegpt" || type == "decision_transformer") return true;
  for (const auto& [name, place] : model.places) {
    if (!name.ends_with(kWeight) || place.tensor->shape.size() != 2) continue;
    const std::string_view layer = name.substr(0, name.size() - kWeight.size());
    const std::vector<std::int64_t>& shape = place.tensor->shape;
    const TensorPlace* bias = model.find(text(layer, ".bias"));
    if (!is_conv1d_name(parts_of(layer).back()) || !bias || bias->tensor->shape.size() != 1) continue;
    if (bias->tensor->shape[0] == shape[1] && shape[1] != shape[0]) return true;
  }
  return false;
}

}  // namespace

bool is_expert(std::string_view layer) { return layer.find(".experts.") != std::string_view::npos; }

std::string config_word(const Model& model, std::string_view member) {
  const auto word = [&](std::string_view json) {
    std::string_view value = json_member(json, member);
    if (value.size() >= 2 && value.front() == '"') value = value.substr(1, value.size() - 2);
    return value;
  };
  if (model.config.json.empty()) return "";
  const std::string_view inner = json_member(model.config.json, "text_config");
  const std::string_view found = inner.empty() ? std::string_view() : word(inner);
  return std::string(found.empty() ? word(model.config.json) : found);
}

std::vector<LinearLayer> find_linear_layers(const Model& model, const LayerChoice& choice) {
  std::vector<LinearLayer> out;
  const bool conv1d = has_conv1d(model);
  const bool tied = config_word(model, "tie_word_embeddings") == "true";
  for (std::size_t s = 0; s < model.shards.size(); ++s) {
    for (const Tensor& tensor : model.shards[s].header.tensors) {
      const std::size_t rank = tensor.shape.size();
      const bool weight = tensor.name.size() > kWeight.size() && tensor.name.ends_with(kWeight);
      if (!element_type(tensor.dtype)) continue;
      const bool experts = rank == 3 && tensor.name.find("experts") != std::string::npos && !tensor.name.ends_with("bias");
      if (!experts && (!weight || rank != 2)) continue;
      LinearLayer layer;
      layer.name = weight ? tensor.name.substr(0, tensor.name.size() - kWeight.size()) : tensor.name;
      layer.weight = {s, &tensor};
      layer.n = tensor.shape[rank - 2];
      layer.k = tensor.shape[rank - 1];
      const std::string_view leaf = parts_of(layer.name).back();
      if (experts) {
        layer.left = "fused experts in one tensor of three dimensions: no format here holds them";
      } else if (is_embedding(layer.name)) {
        layer.left = "an embedding";
      } else if (is_norm(layer.name)) {
        layer.left = "a norm";
      } else if (layer.n == 0 || layer.k == 0) {
        layer.left = "empty";
      }
      layer.linear = layer.left.empty();
      if (layer.linear) {
        if (conv1d && is_conv1d_name(leaf)) {
          layer.left = "GPT-2's Conv1D, stored [k,n]: models with nn.Linear layers, stored [n,k], are supported";
        } else if (choice.want && choice.want(choice.user, layer.name.c_str()) == 0) {
          layer.left = kNotAsked;
        } else if (tied && is_head(layer.name)) {
          layer.left = "tied to the embeddings";
        } else if (!choice.want && is_head(layer.name)) {
          layer.left = "a head";
        } else if (!choice.want && is_router(layer.name)) {
          layer.left = "a router";
        }
      }
      out.push_back(std::move(layer));
    }
  }
  std::sort(out.begin(), out.end(), [](const LinearLayer& a, const LinearLayer& b) { return natural_less(a.name, b.name); });
  return out;
}

std::string why_not_new(Format format, const MatrixShape& shape, std::int64_t group) {
  if (std::string reason = why_not(format, shape, false); !reason.empty()) return reason;
  const std::int64_t fields = codes_per_word(shape.type);
  if (format == Format::gptq_v1 || format == Format::gptq_v2) {
    if (shape.k % fields != 0 || shape.n % fields != 0) {
      return text("GPTQ needs n and k to be multiples of ", fields, ", not n = ", shape.n, ", k = ", shape.k,
                  ": compressed-tensors can hold it");
    }
  }
  if (group > 0 && shape.k % group != 0) {
    std::string fits;
    for (const std::int64_t some : {128, 64, 32}) {
      if (some < group && shape.k % some == 0) fits += text(some, " or ");
    }
    return text("k = ", shape.k, " is no multiple of the group of ", group, ", which readers of such files want: group ", fits,
                "-1 would do");
  }
  return "";
}

}  // namespace billfish::formats
