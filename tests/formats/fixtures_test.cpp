// SPDX-License-Identifier: Apache-2.0
// Checkpoints written by other people's tools must be recognised, dequantise to what those tools say they do, survive packing, unpacking
// and every other format, and multiply rightly with every CPU implementation: nothing of ours made these numbers.
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <nlohmann/json.hpp>

#include "billfish/billfish.h"
#include "core/half.hpp"
#include "formats/checkpoint.hpp"
#include "formats/convert.hpp"
#include "formats/files.hpp"
#include "formats/packer.hpp"
#include "reference/reference.hpp"

namespace billfish {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using test::fixture;

struct Words {
  const char *format, *why;
};
// How each one is recognised.
const std::map<std::string, Words> kRecognised = {
    {"autoround_awq_asym_g32", {"awq", "packing_format is auto_round:auto_awq"}},
    {"autoround_gptq_sym_g32", {"gptq", "quant_method is auto-round"}},
    {"awq_gemm_g128", {"awq", "quant_method is awq, version is gemm"}},
    {"awq_marlin_g128", {"marlin", "version is marlin"}},
    {"awq_marlin_g64", {"marlin", "version is marlin"}},
    {"ct_w4a16_actorder_group", {"compressed-tensors", "format is pack-quantized"}},
    {"ct_w4a16_asym_channel", {"compressed-tensors", "format is pack-quantized"}},
    {"ct_w4a16_asym_g32", {"compressed-tensors", "format is pack-quantized"}},
    {"ct_w4a16_sym_g128", {"compressed-tensors", "format is pack-quantized"}},
    {"ct_w8a16_asym_g16", {"compressed-tensors", "format is pack-quantized"}},
    {"ct_w8a16_sym_channel", {"compressed-tensors", "format is pack-quantized"}},
    {"gptq_dynamic_sharded", {"gptq", "checkpoint_format is gptq"}},
    {"gptq_v1_g128_sym", {"gptq", "quant_method is gptq, checkpoint_format is gptq"}},
    {"gptq_v1_g32_desc_act", {"gptq", "quant_method is gptq"}},
    {"gptq_v1_g32_asym", {"gptq", "checkpoint_format is gptq"}},
    {"gptq_v1_sym_channel", {"gptq", "checkpoint_format is gptq"}},
    {"gptq_v1_w8_asym_g32", {"gptq", "checkpoint_format is gptq"}},
    {"gptq_v1_w8_sym_channel", {"gptq", "checkpoint_format is gptq"}},
    {"gptq_v2_g32_asym", {"gptq_v2", "checkpoint_format is gptq_v2"}},
    {"marlin_autogptq_g128", {"marlin", "quant_method is gptq"}},
};

// What its maker wrote down, by layer.
std::map<std::string, json> facts_of(const std::string& name) {
  const json meta = json::parse(test::read_file(fixture(name) + "/ref/meta.json"));
  std::map<std::string, json> out;
  for (const json& layer : meta["layers"]) out[layer["name"]] = layer;
  return out;
}

ElementType element_type(const std::string& dtype) {
  return dtype == "float32" ? ElementType::f32 : dtype == "bfloat16" ? ElementType::bf16 : ElementType::f16;
}

class FixtureTest : public testing::TestWithParam<std::string> {};

TEST_P(FixtureTest, IsRecognised) {
  ASSERT_TRUE(kRecognised.contains(GetParam())) << "say here how it is recognised";
  const auto opened = formats::open_checkpoint(fixture(GetParam()));
  ASSERT_TRUE(opened.ok()) << opened.status().message();
  const formats::Checkpoint& checkpoint = **opened;
  EXPECT_EQ(checkpoint.format(), kRecognised.at(GetParam()).format);
  EXPECT_NE(checkpoint.why().find(kRecognised.at(GetParam()).why), std::string::npos) << checkpoint.why();
  const std::map<std::string, json> facts = facts_of(GetParam());
  EXPECT_EQ(checkpoint.layers().size(), facts.size());
  for (std::size_t i = 0; i < checkpoint.layers().size(); ++i) {
    const formats::LayerInfo& layer = checkpoint.layers()[i];
    SCOPED_TRACE(layer.name);
    ASSERT_TRUE(facts.contains(layer.name));
    const json& fact = facts.at(layer.name);
    EXPECT_TRUE(layer.supported) << layer.reason;
    EXPECT_EQ(layer.k, fact["K"]);
    EXPECT_EQ(layer.n, fact["N"]);
    EXPECT_EQ(bits_of(layer.type), fact["bits"]);
    EXPECT_EQ(layer.zero_points, fact["zero_points"]);
    EXPECT_EQ(layer.scale_type, element_type(fact["dtype_of_scales"]));
    EXPECT_EQ(layer.act_order, fact["act_order"]);
    EXPECT_EQ(layer.bias, fact["bias"]);
    EXPECT_GT(layer.bytes, layer.n * layer.k * bits_of(layer.type) / 8);
    const auto loaded = checkpoint.load(static_cast<std::int64_t>(i));
    ASSERT_TRUE(loaded.ok()) << loaded.status().message();
    EXPECT_EQ(has_zeros(loaded->type), fact["zero_points"]);
    const std::int64_t group = fact["group_size"];
    EXPECT_EQ(loaded->group, group <= 0 ? layer.k : std::min(group, layer.k));
  }
  for (const formats::TensorInfo& tensor : checkpoint.unquantized()) EXPECT_EQ(tensor.name.find("zeros"), std::string::npos);
}

std::size_t references(const std::string& name) {
  std::size_t out = 0;
  for (const auto& entry : fs::directory_iterator(fixture(name) + "/ref")) out += entry.path().extension() == ".npy";
  return out;
}

TEST_P(FixtureTest, DequantisesToWhatItsWriterSays) {
  const auto opened = formats::open_checkpoint(fixture(GetParam()));
  ASSERT_TRUE(opened.ok()) << opened.status().message();
  const formats::Checkpoint& checkpoint = **opened;
  std::size_t compared = 0;
  for (std::size_t i = 0; i < checkpoint.layers().size(); ++i) {
    const std::string path = fixture(GetParam()) + "/ref/" + checkpoint.layers()[i].name + ".npy";
    if (!fs::exists(path)) continue;
    const test::NpyArray expected = test::read_npy(path);
    const auto loaded = checkpoint.load(static_cast<std::int64_t>(i));
    ASSERT_TRUE(loaded.ok()) << loaded.status().message();
    const QuantizedMatrix& matrix = *loaded;
    ASSERT_EQ(matrix.k, expected.rows);
    ASSERT_EQ(matrix.n, expected.columns);
    std::int64_t wrong = 0;
    for (std::int64_t k = 0; k < matrix.k; ++k) {
      for (std::int64_t n = 0; n < matrix.n; ++n) {
        const int distance = reference::code_at(matrix, k, n) - reference::zero_at(matrix, k, n);
        const float product = reference::scale_at(matrix, k, n) * static_cast<float>(distance);
        const float theirs = expected.values[static_cast<std::size_t>(k * matrix.n + n)];
        // The tools round the product to f16; 0 may come with either sign.
        wrong += f16_to_f32(f32_to_f16(product)) != f16_to_f32(f32_to_f16(theirs));
      }
    }
    EXPECT_EQ(wrong, 0) << checkpoint.layers()[i].name;
    ++compared;
  }
  EXPECT_EQ(compared, references(GetParam()));
  EXPECT_GE(compared, 1u);
}

bool same_matrices(const formats::Checkpoint& left, const formats::Checkpoint& right) {
  if (left.layers().size() != right.layers().size()) return false;
  for (std::size_t i = 0; i < left.layers().size(); ++i) {
    const auto a = left.load(static_cast<std::int64_t>(i)), b = right.load(static_cast<std::int64_t>(i));
    if (!a.ok() || !b.ok() || a->n != b->n || a->k != b->k || left.layers()[i].name != right.layers()[i].name) return false;
    for (std::int64_t k = 0; k < a->k; ++k) {
      for (std::int64_t n = 0; n < a->n; ++n) {
        if (reference::code_at(*a, k, n) != reference::code_at(*b, k, n) || reference::zero_at(*a, k, n) != reference::zero_at(*b, k, n) ||
            reference::scale_at(*a, k, n) != reference::scale_at(*b, k, n))
          return false;
      }
    }
  }
  return true;
}

// Every format either holds all of it, code for code, or says why not.
TEST_P(FixtureTest, BecomesAnyFormatThatCanHoldIt) {
  test::Folder out;
  ASSERT_TRUE(formats::pack_checkpoint(fixture(GetParam()), out / "packed", test::options()).ok());
  const auto source = formats::open_checkpoint(fixture(GetParam()));
  int held = 0;
  for (const std::string format : {"gptq", "gptq_v2", "awq", "compressed-tensors", "marlin"}) {
    SCOPED_TRACE(format);
    const Status status = formats::unpack_checkpoint(out / "packed", out / format, format, test::options());
    if (!status.ok()) {
      EXPECT_EQ(status.code(), Code::unsupported) << status.message();
      EXPECT_NE(status.message().find("layer '"), std::string::npos) << status.message();
      continue;
    }
    const auto opened = formats::open_checkpoint(out / format);
    ASSERT_TRUE(opened.ok()) << opened.status().message();
    EXPECT_TRUE(same_matrices(**source, **opened));
    ++held;
  }
  EXPECT_GE(held, 3) << "the two GPTQ versions and compressed-tensors hold anything";
}

// Packed, and multiplied by their values: y = x W within what rounding W to f16 and x to 16 bits, and f32 sums, allow.
TEST_P(FixtureTest, MultipliesRightlyWithEveryCpuImplementation) {
  constexpr std::int64_t kRows = 3;
  test::Folder out;
  ASSERT_TRUE(formats::pack_checkpoint(fixture(GetParam()), out / "packed", test::options()).ok());
  billfish_checkpoint* checkpoint = nullptr;
  ASSERT_EQ(billfish_checkpoint_open((out / "packed").c_str(), &checkpoint), BILLFISH_OK) << billfish_last_error();
  std::mt19937 random(5);
  std::normal_distribution<float> normal;
  std::size_t compared = 0;
  for (std::int64_t i = 0; i < billfish_checkpoint_layers(checkpoint); ++i) {
    billfish_layer_info info = BILLFISH_LAYER_INFO_INIT;
    ASSERT_EQ(billfish_checkpoint_layer(checkpoint, i, &info), BILLFISH_OK);
    const std::string path = fixture(GetParam()) + "/ref/" + info.name + ".npy";
    if (!fs::exists(path)) continue;
    SCOPED_TRACE(info.name);
    const test::NpyArray weight = test::read_npy(path);
    billfish_matrix matrix = BILLFISH_MATRIX_INIT;
    billfish_weights weights = BILLFISH_WEIGHTS_INIT;
    ASSERT_EQ(billfish_checkpoint_load(checkpoint, i, &matrix), BILLFISH_OK) << billfish_last_error();
    ASSERT_EQ(billfish_weights_of_matrix(&matrix, &weights), BILLFISH_OK) << billfish_last_error();
    const std::int64_t k = weight.rows, n = weight.columns;
    std::vector<float> x(static_cast<std::size_t>(kRows * k));
    for (float& value : x) value = normal(random);
    for (int j = 0; j < billfish_implementation_count(); ++j) {
      billfish_implementation_info implementation = BILLFISH_IMPLEMENTATION_INFO_INIT;
      ASSERT_EQ(billfish_implementation(j, &implementation), BILLFISH_OK);
      if (implementation.device_kind != BILLFISH_CPU || !implementation.available) continue;
      std::vector<float> y(static_cast<std::size_t>(kRows * n), std::nanf(""));
      billfish_gemm_args args = BILLFISH_GEMM_ARGS_INIT;
      args.m = kRows, args.a = x.data(), args.lda = k, args.c = y.data(), args.ldc = n;
      args.flags = BILLFISH_GEMM_NO_BIAS;
      args.implementation = implementation.name;
      ASSERT_EQ(billfish_gemm_workspace(&weights, &args, &args.workspace_bytes), BILLFISH_OK) << billfish_last_error();
      std::vector<std::byte> workspace(args.workspace_bytes);
      args.workspace = workspace.data();
      ASSERT_EQ(billfish_gemm(&weights, &args, nullptr), BILLFISH_OK) << billfish_last_error();
      std::int64_t wrong = 0;
      for (std::int64_t row = 0; row < kRows; ++row) {
        for (std::int64_t column = 0; column < n; ++column) {
          double sum = 0, magnitude = 0, total = 0;
          for (std::int64_t r = 0; r < k; ++r) {
            const double product = static_cast<double>(x[static_cast<std::size_t>(row * k + r)]) *
                                   static_cast<double>(weight.values[static_cast<std::size_t>(r * n + column)]);
            sum += product;
            magnitude += std::fabs(product);
            total += std::fabs(static_cast<double>(x[static_cast<std::size_t>(row * k + r)]));
          }
          const double bound = magnitude * (0x1p-11 + 0x1p-15 + static_cast<double>(k) * 0x1p-24) + total * 0x1p-25;
          wrong += !(std::fabs(static_cast<double>(y[static_cast<std::size_t>(row * n + column)]) - sum) <= bound);
        }
      }
      EXPECT_EQ(wrong, 0) << implementation.name;
    }
    ++compared;
  }
  billfish_checkpoint_close(checkpoint);
  EXPECT_EQ(compared, references(GetParam()));
}

INSTANTIATE_TEST_SUITE_P(, FixtureTest, testing::ValuesIn(test::fixture_names()), [](const auto& name) { return name.param; });

TEST(Fixtures, NoneIsMissing) { EXPECT_EQ(test::fixture_names().size(), kRecognised.size()); }

}  // namespace
}  // namespace billfish
