// SPDX-License-Identifier: Apache-2.0
// AWQ's scales multiply what layers hold and divide what makes their inputs: a model must compute the same as before.
#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "billfish/billfish_quantize.h"
#include "formats/files.hpp"
#include "formats/folds.hpp"
#include "formats/quantize_models.hpp"

namespace billfish::test {
namespace {

using formats::find_folds;
using formats::find_linear_layers;
using formats::Fold;
using formats::LinearLayer;

struct Case {
  Net::Kind kind;
  std::int64_t kv;
  int folds;  // groups of layers that have scales
};
const Case kCases[] = {
    {Net::Kind::llama, 32, 4}, {Net::Kind::llama, 16, 3}, {Net::Kind::gemma, 32, 4}, {Net::Kind::gemma2, 32, 4}, {Net::Kind::opt, 32, 4}};

formats::Model write_model(const Folder& folder, const Net& net, const std::string& config) {
  write_file(folder / "model.safetensors", safetensors_file(net.file_tensors()));
  write_file(folder / "config.json", config);
  Result<formats::Model> model = formats::open_model(folder.path());
  EXPECT_TRUE(model.ok()) << model.status().message();
  return std::move(*model);
}

TEST(Folds, AModelComputesTheSameWithScalesFoldedInto) {
  for (const Case& given : kCases) {
    Net net(given.kind, 32, 48, given.kv, 1);
    const Net::Rows x = net.random_rows(5, 32), before = net.run(x);
    Folder folder;
    const formats::Model model = write_model(folder, net, net.config());
    const std::vector<LinearLayer> layers = find_linear_layers(model, {});
    std::mt19937 random(3);
    int folded = 0;
    for (const Fold& fold : find_folds(model, layers)) {
      if (fold.into.empty()) {
        EXPECT_FALSE(fold.refused) << net.model_type() << ": " << fold.why_not;
        continue;
      }
      ++folded;
      std::vector<float> scales;
      for (std::int64_t i = 0; i < layers[fold.layers.front()].k; ++i)
        scales.push_back(std::exp2(static_cast<float>(random() % 64) / 16.0f - 2.0f));
      for (const std::size_t layer : fold.layers) {
        std::vector<float>& weights = net.tensors.at(layers[layer].name + ".weight").values;
        for (std::size_t i = 0; i < weights.size(); ++i) weights[i] *= scales[i % scales.size()];
      }
      for (const char* suffix : {".weight", ".bias"}) {
        const auto found = net.tensors.find(fold.into + suffix);
        if (found == net.tensors.end()) continue;
        std::vector<float>& values = found->second.values;
        formats::divide_by(scales, fold.plus_one && std::string(suffix) == ".weight", values.data(),
                           static_cast<std::int64_t>(values.size()));
      }
    }
    EXPECT_EQ(folded, given.folds) << net.model_type();
    // Rounding to f32 of every tensor twice, at most: far below a wrong fold, which moves results by whole factors.
    EXPECT_LT(Net::relative_difference(before, net.run(x)), 1e-5) << net.model_type();
  }
}

TEST(Folds, GroupedQueriesAndUnknownModelsSayWhy) {
  Net net(Net::Kind::llama, 32, 48, 16, 1);
  Folder folder;
  const formats::Model model = write_model(folder, net, net.config());
  const std::vector<LinearLayer> layers = find_linear_layers(model, {});
  for (const Fold& fold : find_folds(model, layers)) {
    if (!layers[fold.layers.front()].name.ends_with("o_proj")) continue;
    EXPECT_TRUE(fold.into.empty());
    EXPECT_FALSE(fold.refused);
    EXPECT_NE(fold.why_not.find("grouped queries"), std::string::npos) << fold.why_not;
  }
  Folder other;
  const formats::Model unknown = write_model(other, net, "{\"model_type\": \"nobody\"}");
  for (const Fold& fold : find_folds(unknown, find_linear_layers(unknown, {}))) {
    EXPECT_TRUE(fold.refused && fold.into.empty());
    EXPECT_NE(fold.why_not.find("'nobody'"), std::string::npos) << fold.why_not;
  }
}

TEST(Folds, ALayerThatStaysKeepsItsNeighboursFromScales) {
  Net net(Net::Kind::llama, 32, 48, 32, 1);
  Folder folder;
  const formats::Model model = write_model(folder, net, net.config());
  const auto want = [](void*, const char* layer) { return std::string(layer).ends_with("k_proj") ? 0 : 1; };
  const std::vector<LinearLayer> layers = find_linear_layers(model, {want, nullptr});
  bool seen = false;
  for (const Fold& fold : find_folds(model, layers)) {
    if (!layers[fold.layers.front()].name.ends_with("q_proj")) continue;
    seen = true;
    EXPECT_TRUE(fold.refused);
    EXPECT_NE(fold.why_not.find("k_proj"), std::string::npos) << fold.why_not;
  }
  EXPECT_TRUE(seen);
}

// The whole way: a model quantised by AWQ to 8 bits and read back computes nearly what it computed before. A scale that is folded wrongly,
// or not at all, moves results by its whole factor.
TEST(Folds, AQuantisedModelComputesNearlyTheSame) {
  for (const Case& given : kCases) {
    Net net(given.kind, 32, 64, given.kv, 2);
    const Net::Rows x = net.random_rows(160, 32);
    std::map<std::string, Net::Rows> inputs;
    const Net::Rows before = net.run(x, &inputs);
    Folder folder;
    std::filesystem::create_directory(folder / "model");
    write_file(folder / "model/model.safetensors", safetensors_file(net.file_tensors()));
    write_file(folder / "model/config.json", net.config());
    std::vector<TestTensor> samples;
    for (const auto& [layer, rows] : inputs) {
      std::vector<float> flat;
      for (const auto& row : rows) flat.insert(flat.end(), row.begin(), row.end());
      samples.push_back(
          tensor(layer + ".X", "F32", {static_cast<std::int64_t>(rows.size()), static_cast<std::int64_t>(rows[0].size())}, flat));
    }
    write_file(folder / "samples.safetensors", safetensors_file(samples));
    billfish_quantize_model_options options = BILLFISH_QUANTIZE_MODEL_OPTIONS_INIT;
    options.matrix.method = BILLFISH_QUANTIZE_AWQ;
    options.matrix.type = BILLFISH_U8;
    options.matrix.group = 32;
    options.matrix.scale_type = BILLFISH_F32;
    options.format = "compressed-tensors";
    const std::string calibration = folder / "samples.safetensors";
    options.calibration = calibration.c_str();
    int scaled = 0;
    options.user = &scaled;
    options.layer_done = [](void* user, const billfish_quantize_layer* layer) {
      bool any = false;
      for (std::int64_t i = 0; layer->awq_scales && i < layer->k; ++i) any = any || layer->awq_scales[i] != 1.0f;
      *static_cast<int*>(user) += any;
    };
    ASSERT_EQ(billfish_quantize_model((folder / "model").c_str(), (folder / "out").c_str(), &options), BILLFISH_OK)
        << billfish_last_error();
    EXPECT_GT(scaled, 2) << net.model_type();  // else nothing was tested

    billfish_checkpoint* raw = nullptr;
    ASSERT_EQ(billfish_checkpoint_open((folder / "out").c_str(), &raw), BILLFISH_OK) << billfish_last_error();
    const std::unique_ptr<billfish_checkpoint, decltype(&billfish_checkpoint_close)> checkpoint(raw, billfish_checkpoint_close);
    Result<formats::Model> written = formats::open_model(folder / "out");
    ASSERT_TRUE(written.ok());
    for (auto& [name, t] : net.tensors) {  // norms and biases as they are now
      const formats::TensorPlace* place = written->find(name);
      if (!place) continue;
      ASSERT_EQ(place->tensor->shape, t.shape) << name;
      std::memcpy(t.values.data(), written->data(*place), t.values.size() * 4);
    }
    for (std::int64_t i = 0; i < billfish_checkpoint_layers(raw); ++i) {
      billfish_layer_info info = BILLFISH_LAYER_INFO_INIT;
      billfish_matrix matrix = BILLFISH_MATRIX_INIT;
      billfish_packed_sizes sizes = BILLFISH_PACKED_SIZES_INIT;
      billfish_weights weights = BILLFISH_WEIGHTS_INIT;
      ASSERT_EQ(billfish_checkpoint_layer(raw, i, &info), BILLFISH_OK);
      ASSERT_EQ(billfish_checkpoint_load(raw, i, &matrix), BILLFISH_OK) << billfish_last_error();
      matrix.bias = nullptr;
      ASSERT_EQ(billfish_packed_sizes_of(&matrix, &sizes), BILLFISH_OK);
      struct alignas(16) Block {
        char bytes[16];
      };
      std::vector<Block> codes(static_cast<std::size_t>(sizes.codes / 16 + 1)), scales(static_cast<std::size_t>(sizes.scales / 16 + 1)),
          zeros(static_cast<std::size_t>(sizes.zeros / 16 + 1));
      weights.codes = codes.data();
      weights.scales = scales.data();
      weights.zeros = zeros.data();
      ASSERT_EQ(billfish_pack(&matrix, &weights, nullptr, nullptr), BILLFISH_OK) << billfish_last_error();
      std::vector<float> values(static_cast<std::size_t>(info.n * info.k));
      ASSERT_EQ(billfish_dequantize(&weights, values.data(), info.n, nullptr), BILLFISH_OK) << billfish_last_error();
      NetTensor& t = net.tensors.at(std::string(info.name) + ".weight");
      for (std::int64_t k = 0; k < info.k; ++k) {
        for (std::int64_t n = 0; n < info.n; ++n)
          t.values[static_cast<std::size_t>(n * info.k + k)] = values[static_cast<std::size_t>(k * info.n + n)];
      }
    }
    // 8 bits: steps of 1/255 of a group's range, about 1 % of a weight; layers add up.
    EXPECT_LT(Net::relative_difference(before, net.run(x)), 0.03) << net.model_type();
  }
}

}  // namespace
}  // namespace billfish::test
