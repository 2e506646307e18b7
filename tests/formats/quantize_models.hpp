// SPDX-License-Identifier: Apache-2.0
// Small transformer blocks as tensors, and what they compute, in double: made for tests that change weights and must not change results.
#pragma once

#include <cmath>
#include <cstdint>
#include <map>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "formats/files.hpp"

namespace billfish::test {

struct NetTensor {
  std::vector<std::int64_t> shape;
  std::vector<float> values;
};

// One block of a model in f32: tensors by name, and the block's function. Names begin with "model.layers.0.".
class Net {
 public:
  enum class Kind { llama, gemma, gemma2, opt };
  using Rows = std::vector<std::vector<double>>;

  Net(Kind kind, std::int64_t hidden, std::int64_t inner, std::int64_t kv, unsigned seed)
      : kind_(kind), hidden_(hidden), kv_(kv), random_(seed) {
    const bool opt = kind == Kind::opt;
    linear("self_attn.q_proj", hidden, hidden, true);
    linear("self_attn.k_proj", kv, hidden, true);
    linear("self_attn.v_proj", kv, hidden, true);
    linear(opt ? "self_attn.out_proj" : "self_attn.o_proj", hidden, hidden, opt);
    if (opt) {
      linear("fc1", inner, hidden, true);
      linear("fc2", hidden, inner, true);
      norm("self_attn_layer_norm", true);
      norm("final_layer_norm", true);
      return;
    }
    linear("mlp.gate_proj", inner, hidden, false);
    linear("mlp.up_proj", inner, hidden, false);
    linear("mlp.down_proj", hidden, inner, false);
    norm("input_layernorm", false);
    norm("post_attention_layernorm", false);
    if (kind == Kind::gemma2) {
      norm("pre_feedforward_layernorm", false);
      norm("post_feedforward_layernorm", false);
    }
  }

  static std::string name(const std::string& part) { return "model.layers.0." + part; }
  const char* model_type() const {
    return kind_ == Kind::opt ? "opt" : kind_ == Kind::gemma ? "gemma" : kind_ == Kind::gemma2 ? "gemma2" : "llama";
  }
  std::string config() const {
    return std::string("{\"model_type\": \"") + model_type() + "\", \"activation_function\": \"relu\", \"do_layer_norm_before\": true}";
  }

  std::map<std::string, NetTensor> tensors;

  std::vector<TestTensor> file_tensors() const {
    std::vector<TestTensor> out;
    for (const auto& [tensor_name, t] : tensors) out.push_back(tensor(tensor_name, "F32", t.shape, t.values));
    return out;
  }

  Rows random_rows(std::int64_t rows, std::int64_t columns) {
    std::normal_distribution<double> normal;
    Rows out(static_cast<std::size_t>(rows), std::vector<double>(static_cast<std::size_t>(columns)));
    for (auto& row : out) {
      for (std::size_t i = 0; i < row.size(); ++i) row[i] = normal(random_) * (i % 7 == 3 ? 6.0 : 1.0);  // some channels are larger
    }
    return out;
  }

  // inputs: if not null, what went into every linear layer, by its whole name.
  Rows run(const Rows& x, std::map<std::string, Rows>* inputs = nullptr) const {
    const bool opt = kind_ == Kind::opt;
    const auto apply = [&](const std::string& part, const Rows& in) {
      if (inputs) (*inputs)[name(part)] = in;
      return multiply(part, in);
    };
    Rows a = normed(opt ? "self_attn_layer_norm" : "input_layernorm", x);
    const Rows q = apply("self_attn.q_proj", a), k = apply("self_attn.k_proj", a), v = apply("self_attn.v_proj", a);
    Rows h = apply(opt ? "self_attn.out_proj" : "self_attn.o_proj", attention(q, k, v));
    if (kind_ == Kind::gemma2) h = normed("post_attention_layernorm", h);
    add(h, x);
    Rows m = normed(opt ? "final_layer_norm" : kind_ == Kind::gemma2 ? "pre_feedforward_layernorm" : "post_attention_layernorm", h);
    if (opt) {
      m = apply("fc1", m);
      for (auto& row : m) {
        for (double& value : row) value = value > 0 ? value : 0;
      }
      m = apply("fc2", m);
    } else {
      const Rows gate = apply("mlp.gate_proj", m), up = apply("mlp.up_proj", m);
      for (std::size_t t = 0; t < gate.size(); ++t) {
        m[t].resize(gate[t].size());
        for (std::size_t i = 0; i < gate[t].size(); ++i) m[t][i] = gate[t][i] / (1 + std::exp(-gate[t][i])) * up[t][i];
      }
      m = apply("mlp.down_proj", m);
      if (kind_ == Kind::gemma2) m = normed("post_feedforward_layernorm", m);
    }
    add(m, h);
    return m;
  }

  static double relative_difference(const Rows& a, const Rows& b) {
    double difference = 0, all = 0;
    for (std::size_t t = 0; t < a.size(); ++t) {
      for (std::size_t i = 0; i < a[t].size(); ++i) {
        difference += (a[t][i] - b[t][i]) * (a[t][i] - b[t][i]);
        all += a[t][i] * a[t][i];
      }
    }
    return std::sqrt(difference / all);
  }

 private:
  void fill(const std::string& tensor_name, std::vector<std::int64_t> shape, float mean, float spread) {
    std::normal_distribution<float> normal(mean, spread);
    std::int64_t count = 1;
    for (const std::int64_t extent : shape) count *= extent;
    NetTensor& t = tensors[tensor_name];
    t.shape = std::move(shape);
    for (std::int64_t i = 0; i < count; ++i) t.values.push_back(normal(random_));
  }
  void linear(const std::string& part, std::int64_t n, std::int64_t k, bool bias) {
    fill(name(part) + ".weight", {n, k}, 0, 1.0f / std::sqrt(static_cast<float>(k)));
    if (bias) fill(name(part) + ".bias", {n}, 0, 0.3f);
  }
  void norm(const std::string& part, bool bias) {
    const bool plus_one = kind_ == Kind::gemma || kind_ == Kind::gemma2;
    fill(name(part) + ".weight", {hidden_}, plus_one ? 0.0f : 1.0f, 0.3f);
    if (bias) fill(name(part) + ".bias", {hidden_}, 0, 0.3f);
  }
  const NetTensor& get(const std::string& part) const { return tensors.at(name(part)); }
  bool has(const std::string& part) const { return tensors.contains(name(part)); }

  Rows multiply(const std::string& part, const Rows& x) const {
    const NetTensor& w = get(part + ".weight");
    const std::size_t n = static_cast<std::size_t>(w.shape[0]), k = static_cast<std::size_t>(w.shape[1]);
    Rows out(x.size(), std::vector<double>(n));
    for (std::size_t t = 0; t < x.size(); ++t) {
      for (std::size_t j = 0; j < n; ++j) {
        double sum = has(part + ".bias") ? get(part + ".bias").values[j] : 0.0;
        for (std::size_t i = 0; i < k; ++i) sum += x[t][i] * w.values[j * k + i];
        out[t][j] = sum;
      }
    }
    return out;
  }

  Rows normed(const std::string& part, const Rows& x) const {
    const NetTensor& w = get(part + ".weight");
    const bool layer_norm = kind_ == Kind::opt, plus_one = kind_ == Kind::gemma || kind_ == Kind::gemma2;
    Rows out = x;
    for (auto& row : out) {
      double mean = 0, square = 0;
      for (const double value : row) mean += layer_norm ? value / static_cast<double>(row.size()) : 0.0;
      for (const double value : row) square += (value - mean) * (value - mean) / static_cast<double>(row.size());
      for (std::size_t i = 0; i < row.size(); ++i) {
        row[i] = (row[i] - mean) / std::sqrt(square + 1e-6) * ((plus_one ? 1.0 : 0.0) + w.values[i]);
        if (layer_norm) row[i] += get(part + ".bias").values[i];
      }
    }
    return out;
  }

  // Heads of 8 channels; several heads of q share one of k and v where these are fewer.
  Rows attention(const Rows& q, const Rows& k, const Rows& v) const {
    constexpr std::size_t kHead = 8;
    const std::size_t heads = static_cast<std::size_t>(hidden_) / kHead, share = static_cast<std::size_t>(hidden_ / kv_);
    Rows out(q.size(), std::vector<double>(static_cast<std::size_t>(hidden_)));
    for (std::size_t head = 0; head < heads; ++head) {
      const std::size_t from = head / share * kHead;
      for (std::size_t t = 0; t < q.size(); ++t) {
        std::vector<double> weights(q.size());
        double total = 0;
        for (std::size_t s = 0; s < q.size(); ++s) {
          double dot = 0;
          for (std::size_t i = 0; i < kHead; ++i) dot += q[t][head * kHead + i] * k[s][from + i];
          total += weights[s] = std::exp(dot / std::sqrt(8.0));
        }
        for (std::size_t s = 0; s < q.size(); ++s) {
          for (std::size_t i = 0; i < kHead; ++i) out[t][head * kHead + i] += weights[s] / total * v[s][from + i];
        }
      }
    }
    return out;
  }

  static void add(Rows& to, const Rows& more) {
    for (std::size_t t = 0; t < to.size(); ++t) {
      for (std::size_t i = 0; i < to[t].size(); ++i) to[t][i] += more[t][i];
    }
  }

  Kind kind_;
  std::int64_t hidden_, kv_;
  std::mt19937 random_;
};

}  // namespace billfish::test
