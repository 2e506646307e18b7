// SPDX-License-Identifier: Apache-2.0
// Checkpoints written by other people's tools must dequantise to what those tools say they do: nothing of ours made these numbers.
#include <gtest/gtest.h>

#include "core/half.hpp"
#include "formats/checkpoint.hpp"
#include "formats/files.hpp"
#include "reference/reference.hpp"

namespace billfish {
namespace {

struct Fixture {
  const char* folder;
  const char* format;
  const char* why;
  std::size_t layers;
  WeightType type;
  ElementType scale_type;
  std::int64_t group;
  bool act_order, bias;
};

std::string folder(const Fixture& fixture) { return std::string(BILLFISH_SOURCE_DIR "/tests/fixtures/") + fixture.folder; }

class FixtureTest : public testing::TestWithParam<Fixture> {};

TEST_P(FixtureTest, IsRecognised) {
  const auto opened = formats::open_checkpoint(folder(GetParam()));
  ASSERT_TRUE(opened.ok()) << opened.status().message();
  const formats::Checkpoint& checkpoint = **opened;
  EXPECT_EQ(checkpoint.format(), GetParam().format);
  EXPECT_NE(checkpoint.why().find(GetParam().why), std::string::npos) << checkpoint.why();
  ASSERT_EQ(checkpoint.layers().size(), GetParam().layers);
  for (const formats::LayerInfo& layer : checkpoint.layers()) {
    EXPECT_TRUE(layer.supported) << layer.name << ": " << layer.reason;
    EXPECT_EQ(layer.type, GetParam().type) << layer.name;
    EXPECT_EQ(layer.scale_type, GetParam().scale_type);
    EXPECT_EQ(layer.group, GetParam().group);
    EXPECT_EQ(layer.act_order, GetParam().act_order);
    EXPECT_EQ(layer.bias, GetParam().bias);
    EXPECT_GT(layer.bytes, layer.n * layer.k * bits_of(layer.type) / 8);
  }
  for (const formats::TensorInfo& tensor : checkpoint.unquantized()) EXPECT_EQ(tensor.name.find("zeros"), std::string::npos);
}

TEST_P(FixtureTest, DequantisesToWhatItsWriterSays) {
  const auto opened = formats::open_checkpoint(folder(GetParam()));
  ASSERT_TRUE(opened.ok()) << opened.status().message();
  const formats::Checkpoint& checkpoint = **opened;
  std::size_t compared = 0;
  for (std::size_t i = 0; i < checkpoint.layers().size(); ++i) {
    const std::string path = folder(GetParam()) + "/ref/" + checkpoint.layers()[i].name + ".npy";
    if (!std::filesystem::exists(path)) continue;
    const test::NpyArray expected = test::read_npy(path);
    const auto loaded = checkpoint.load(static_cast<std::int64_t>(i));
    ASSERT_TRUE(loaded.ok()) << loaded.status().message();
    const QuantizedMatrix& matrix = *loaded;
    EXPECT_EQ(matrix.type, GetParam().type);
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
  EXPECT_GE(compared, 1u);
}

INSTANTIATE_TEST_SUITE_P(, FixtureTest,
                         testing::Values(Fixture{"gptq_v1_g128_sym", "gptq", "quant_method is gptq, checkpoint_format is gptq", 7,
                                                 WeightType::u4b8, ElementType::f16, 128, false, false},
                                         Fixture{"gptq_v1_g32_desc_act", "gptq", "quant_method is gptq", 7, WeightType::u4b8,
                                                 ElementType::f16, 32, true, false},
                                         Fixture{"awq_gemm_g128", "awq", "quant_method is awq, version is gemm", 7, WeightType::u4,
                                                 ElementType::f16, 128, false, false},
                                         Fixture{"ct_w4a16_sym_g128", "compressed-tensors", "format is pack-quantized", 7, WeightType::u4b8,
                                                 ElementType::bf16, 128, false, false},
                                         Fixture{"marlin_autogptq_g128", "marlin", "quant_method is gptq", 2, WeightType::u4b8,
                                                 ElementType::f16, 128, false, true}),
                         [](const auto& parameters) { return std::string(parameters.param.folder); });

}  // namespace
}  // namespace billfish
