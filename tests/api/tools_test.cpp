// SPDX-License-Identifier: Apache-2.0
// The tools ABI: quantising, comparing with planted faults, repacking, writing a checkpoint and reading it back to a product.
#include <gtest/gtest.h>

#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <string>
#include <vector>

#include "api/sample.hpp"

namespace billfish::api_test {
namespace {

class ScratchFolder {
 public:
  ScratchFolder() : path_(std::filesystem::temp_directory_path() / ("billfish-api-" + std::to_string(getpid()))) {
    std::filesystem::remove_all(path_);
    std::filesystem::create_directories(path_);
  }
  ~ScratchFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  std::string operator/(const char* name) const { return (path_ / name).string(); }

 private:
  std::filesystem::path path_;
};

// Types with stored zeros too: what a CUDA kernel sums are codes minus zeros, so y and magnitude say all.
TEST(Bounds, FromMagnitudesAreTheOraclesOnDevicesThatSumDifferences) {
  for (int type = 0; type < 4; ++type) {
    const Sample sample({static_cast<billfish_weight_type>(type)});
    const PackedSample packed(sample);
    Product product(packed.weights, 3, BILLFISH_F16, BILLFISH_F16);
    const std::int64_t n = packed.weights.n, k = packed.weights.k, count = 3 * n;
    std::vector<double> y(static_cast<std::size_t>(count)), bound(y.size()), probable(y.size()), magnitude(y.size()), again(y.size());
    ASSERT_EQ(billfish_tools_oracle_bounds(&packed.weights, &product.args, 0, n, BILLFISH_CUDA, y.data(), bound.data(), probable.data()),
              BILLFISH_OK)
        << billfish_last_error();
    std::vector<float> weights(static_cast<std::size_t>(k * n)), a(static_cast<std::size_t>(3 * k));
    ASSERT_EQ(billfish_dequantize(&packed.weights, weights.data(), n, nullptr), BILLFISH_OK) << billfish_last_error();
    billfish_tools_to_f32(product.a.data(), BILLFISH_F16, a.data(), 3 * k);
    for (std::int64_t i = 0; i < count; ++i) {
      for (std::int64_t row = 0; row < k; ++row) {
        magnitude[i] += std::abs(static_cast<double>(a[i / n * k + row]) * static_cast<double>(weights[row * n + i % n]));
      }
    }
    ASSERT_EQ(billfish_tools_bound(&packed.weights, &product.args, BILLFISH_CUDA, y.data(), magnitude.data(), count, again.data()),
              BILLFISH_OK)
        << billfish_last_error();
    for (std::int64_t i = 0; i < count; ++i) {
      ASSERT_NEAR(again[i], bound[i], 1e-6 * bound[i]) << "type " << type << ", element " << i;
      ASSERT_GT(probable[i], 0);
      ASSERT_LE(probable[i], bound[i]);
    }
    product.args.precision = BILLFISH_PRECISION_INT8;
    EXPECT_EQ(billfish_tools_bound(&packed.weights, &product.args, BILLFISH_CPU, y.data(), magnitude.data(), count, again.data()),
              BILLFISH_UNSUPPORTED);
  }
}

TEST(Quantize, EveryWeightIsWithinHalfAStep) {
  constexpr std::int64_t k = 96, n = 24, group = 32;
  std::vector<float> weights = random_floats(k * n, -0.7f, 0.5f, 3);
  for (std::int64_t row = 0; row < group; ++row) weights[row * n + 5] = 0.0f;                            // a group of zeros: scale 0
  for (std::int64_t row = 0; row < group; ++row) weights[row * n + 6] = std::abs(weights[row * n + 6]);  // all on one side
  for (int type = 0; type < 4; ++type) {
    Sample sample({static_cast<billfish_weight_type>(type), n, k, group, BILLFISH_F16});
    ASSERT_EQ(billfish_tools_quantize(weights.data(), k, n, group, static_cast<billfish_weight_type>(type), BILLFISH_F16,
                                      sample.codes.data(), sample.zeros.empty() ? nullptr : sample.zeros.data(), sample.scales.data()),
              BILLFISH_OK)
        << billfish_last_error();
    PackedSample packed(sample);
    std::vector<float> back(k * n);
    ASSERT_EQ(billfish_dequantize(&packed.weights, back.data(), n, nullptr), BILLFISH_OK) << billfish_last_error();
    std::vector<float> scales(sample.scales.size() / 2);
    billfish_tools_to_f32(sample.scales.data(), BILLFISH_F16, scales.data(), static_cast<std::int64_t>(scales.size()));
    for (std::int64_t i = 0; i < k * n; ++i) {
      const float scale = scales[static_cast<std::size_t>(i / n / group * n + i % n)];
      // Half a step, another half where the zero was rounded or the symmetric range ends, and the rounding of the scale over 2^bits steps.
      const float steps = type >= 2 ? 255.0f : 15.0f;
      ASSERT_LE(std::abs(back[static_cast<std::size_t>(i)] - weights[static_cast<std::size_t>(i)]),
                scale * (1.0f + steps * 0x1p-11f) + 1e-7f)
          << "type " << type << ", element " << i;
    }
    for (std::int64_t row = 0; row < group; ++row) ASSERT_EQ(back[row * n + 5], 0.0f);
  }
}

TEST(Elements, ConversionsGoThereAndBack) {
  const std::vector<float> values = {0.0f, -0.0f, 1.0f, -2.5f, 65504.0f, 6.1e-5f, 5.9e-8f, INFINITY, -INFINITY};
  std::vector<float> back(values.size());
  for (const auto type : {BILLFISH_F32, BILLFISH_F16}) {
    const std::vector<std::uint8_t> bytes = as_type(values, type);
    billfish_tools_to_f32(bytes.data(), type, back.data(), static_cast<std::int64_t>(back.size()));
    for (std::size_t i = 0; i < values.size(); ++i) EXPECT_NEAR(back[i] == values[i] ? 0 : back[i] - values[i], 0, 3e-8) << i;
  }
}

struct Difference {
  std::int64_t codes = -1, zeros = -1, scales = -1;
  char first[256] = "?";
};
Difference compare(const billfish_matrix& left, const billfish_matrix& right) {
  Difference found;
  EXPECT_EQ(billfish_tools_compare(&left, &right, &found.codes, &found.zeros, &found.scales, found.first, sizeof found.first), BILLFISH_OK)
      << billfish_last_error();
  return found;
}

TEST(Compare, PlantedFaultsAreCountedAndTheFirstIsNamed) {
  const SampleOptions options = {BILLFISH_U4, 72, 160, 32, BILLFISH_F16, false, true, 9};
  const Sample good(options);
  Sample bad(options);
  Difference found = compare(good.matrix, bad.matrix);
  EXPECT_EQ(found.codes + found.zeros + found.scales, 0);
  EXPECT_STREQ(found.first, "");
  bad.codes[7 * 72 + 11] ^= 1;
  bad.codes[150 * 72 + 3] ^= 8;
  found = compare(good.matrix, bad.matrix);
  EXPECT_EQ(found.codes, 2);
  EXPECT_EQ(found.zeros, 0);
  EXPECT_EQ(found.scales, 0);
  EXPECT_NE(std::string(found.first).find("row 7, column 11"), std::string::npos) << found.first;
  bad.codes = good.codes;
  bad.matrix.codes = bad.codes.data();
  bad.zeros[2 * 72 + 40] ^= 4;
  found = compare(good.matrix, bad.matrix);
  EXPECT_EQ(found.codes, 0);
  EXPECT_EQ(found.zeros, 1);
  EXPECT_NE(std::string(found.first).find("group 2, column 40"), std::string::npos) << found.first;
  bad.zeros = good.zeros;
  bad.matrix.zeros = bad.zeros.data();
  std::swap(bad.scales[0], bad.scales[2]);
  std::swap(bad.scales[1], bad.scales[3]);
  found = compare(good.matrix, bad.matrix);
  EXPECT_EQ(found.scales, 2);
}

TEST(Compare, PackedAndCheckpointOrderOfTheSameMatrixAgree) {
  const Sample sample({BILLFISH_U8, 72, 160, 32, BILLFISH_BF16, false, true, 10});
  PackedSample packed(sample);
  billfish_matrix marlin = BILLFISH_MATRIX_INIT;
  marlin.format = BILLFISH_FORMAT_MARLIN;
  marlin.type = packed.weights.type;
  marlin.n = 72;
  marlin.k = 160;
  marlin.group = 32;
  marlin.codes = packed.weights.codes;
  marlin.zeros = packed.weights.zeros;
  marlin.scales = packed.weights.scales;
  marlin.perm = packed.weights.perm;
  marlin.g_idx = packed.weights.g_idx;
  marlin.scale_type = BILLFISH_BF16;
  const Difference found = compare(sample.matrix, marlin);
  EXPECT_EQ(found.codes + found.zeros + found.scales, 0) << found.first;
  billfish_weights borrowed = BILLFISH_WEIGHTS_INIT;
  ASSERT_EQ(billfish_weights_of_matrix(&marlin, &borrowed), BILLFISH_OK) << billfish_last_error();
  Product own(packed.weights, 3, BILLFISH_BF16, BILLFISH_F32), in_place(borrowed, 3, BILLFISH_BF16, BILLFISH_F32);
  ASSERT_EQ(own.run(), BILLFISH_OK) << billfish_last_error();
  ASSERT_EQ(in_place.run(), BILLFISH_OK) << billfish_last_error();
  EXPECT_EQ(own.result(), in_place.result());
}

// What callers of Marlin write by hand must give the bytes that the packer gives.
TEST(Repack, GivesThePackersBytes) {
  for (const int bits : {4, 8}) {
    constexpr std::int64_t k = 64, n = 128;
    for (const std::int64_t group : {16, 64, -1}) {
      const Sample sample({bits == 4 ? BILLFISH_U4B8 : BILLFISH_U8B128, n, k, group});
      PackedSample packed(sample);
      std::vector<std::int32_t> words(k * n * bits / 32, 0);
      for (std::int64_t row = 0; row < k; ++row) {
        for (std::int64_t column = 0; column < n; ++column) {
          const std::int64_t fields = 32 / bits;
          words[row / fields * n + column] |=
              static_cast<std::int32_t>(static_cast<std::uint32_t>(sample.codes[row * n + column]) << (row % fields * bits));
        }
      }
      Guarded codes(words.size() * 4), scales(sample.scales.size());
      ASSERT_EQ(billfish_repack_gptq_to_marlin(words.data(), codes.as<std::int32_t>(), k, n, bits), BILLFISH_OK) << billfish_last_error();
      ASSERT_EQ(billfish_repack_scales_to_marlin(reinterpret_cast<const std::uint16_t*>(sample.scales.data()), scales.as<std::uint16_t>(),
                                                 k, n, group),
                BILLFISH_OK)
          << billfish_last_error();
      EXPECT_EQ(std::memcmp(codes.data(), packed.weights.codes, words.size() * 4), 0) << bits << " bits";
      EXPECT_EQ(std::memcmp(scales.data(), packed.weights.scales, sample.scales.size()), 0) << bits << " bits, group " << group;
      EXPECT_TRUE(codes.guards_intact() && scales.guards_intact());
    }
  }
}

TEST(Checkpoint, WrittenPackedUnpackedAndMultiplied) {
  const ScratchFolder folder;
  const Sample up({BILLFISH_U4B8, 128, 256, 64, BILLFISH_F16, true, false, 21}),
      down({BILLFISH_U4B8, 64, 128, 64, BILLFISH_F16, false, false, 22});
  const billfish_named_matrix layers[] = {{"model.layers.0.mlp.up_proj", &up.matrix}, {"model.layers.0.mlp.down_proj", &down.matrix}};
  ASSERT_EQ(billfish_tools_write_checkpoint((folder / "gptq").c_str(), "gptq", layers, 2), BILLFISH_OK) << billfish_last_error();
  int calls = 0;
  billfish_convert_options options = BILLFISH_CONVERT_OPTIONS_INIT;
  options.user = &calls;
  options.progress = [](void* user, const char*, int64_t, int64_t) { return ++*static_cast<int*>(user) < 0 ? 1 : 0; };
  ASSERT_EQ(billfish_tools_pack_checkpoint((folder / "gptq").c_str(), (folder / "marlin").c_str(), &options), BILLFISH_OK)
      << billfish_last_error();
  EXPECT_GT(calls, 0);
  ASSERT_EQ(billfish_tools_unpack_checkpoint((folder / "marlin").c_str(), (folder / "back").c_str(), nullptr, nullptr), BILLFISH_OK)
      << billfish_last_error();
  for (const char* name : {"gptq", "marlin", "back"}) {
    SCOPED_TRACE(name);
    billfish_checkpoint* opened = nullptr;
    ASSERT_EQ(billfish_checkpoint_open((folder / name).c_str(), &opened), BILLFISH_OK) << billfish_last_error();
    EXPECT_NE(std::string(billfish_checkpoint_why(opened)), "");
    EXPECT_EQ(std::string(billfish_checkpoint_format(opened)), std::string(name) == "marlin" ? "marlin" : "gptq");
    ASSERT_EQ(billfish_checkpoint_layers(opened), 2);
    std::int64_t index = -1;
    ASSERT_EQ(billfish_checkpoint_find(opened, "model.layers.0.mlp.up_proj", &index), BILLFISH_OK) << billfish_last_error();
    billfish_layer_info info = BILLFISH_LAYER_INFO_INIT;
    ASSERT_EQ(billfish_checkpoint_layer(opened, index, &info), BILLFISH_OK);
    EXPECT_STREQ(info.name, "model.layers.0.mlp.up_proj");
    EXPECT_EQ(info.n, 128);
    EXPECT_EQ(info.k, 256);
    EXPECT_EQ(info.supported, 1) << info.reason;
    EXPECT_EQ(info.bias, 1);
    billfish_matrix matrix = BILLFISH_MATRIX_INIT;
    ASSERT_EQ(billfish_checkpoint_load(opened, index, &matrix), BILLFISH_OK) << billfish_last_error();
    const Difference found = compare(up.matrix, matrix);
    EXPECT_EQ(found.codes + found.zeros + found.scales, 0) << found.first;
    PackedSample packed(matrix);
    Product product(packed.weights, 2, BILLFISH_F16, BILLFISH_F32);
    ASSERT_EQ(product.run(), BILLFISH_OK) << billfish_last_error();
    EXPECT_EQ(product.compare_with_oracle(), "");
    billfish_checkpoint_close(opened);
  }
}

TEST(Checkpoint, MessagesNameWhatIsWrong) {
  const ScratchFolder folder;
  billfish_checkpoint* opened = nullptr;
  EXPECT_EQ(billfish_checkpoint_open(nullptr, &opened), BILLFISH_INVALID_ARGUMENT);
  EXPECT_STREQ(billfish_last_error(), "path is NULL");
  EXPECT_EQ(billfish_checkpoint_open("x", nullptr), BILLFISH_INVALID_ARGUMENT);
  EXPECT_EQ(billfish_checkpoint_open((folder / "missing").c_str(), &opened), BILLFISH_BAD_INPUT);
  EXPECT_NE(std::string(billfish_last_error()).find("missing"), std::string::npos) << billfish_last_error();
  EXPECT_EQ(opened, nullptr);
  const Sample up({BILLFISH_U4B8, 128, 256, 64});
  const billfish_named_matrix layers[] = {{"model.layers.0.mlp.up_proj", &up.matrix}};
  ASSERT_EQ(billfish_tools_write_checkpoint((folder / "gptq").c_str(), "gptq", layers, 1), BILLFISH_OK) << billfish_last_error();
  ASSERT_EQ(billfish_checkpoint_open((folder / "gptq").c_str(), &opened), BILLFISH_OK) << billfish_last_error();
  std::int64_t index = 5;
  EXPECT_EQ(billfish_checkpoint_find(opened, "model.layers.0.mlp.up_prj", &index), BILLFISH_BAD_INPUT);
  EXPECT_EQ(index, -1);
  EXPECT_NE(std::string(billfish_last_error()).find("model.layers.0.mlp.up_proj"), std::string::npos) << billfish_last_error();
  billfish_layer_info info = BILLFISH_LAYER_INFO_INIT;
  EXPECT_EQ(billfish_checkpoint_layer(opened, 1, &info), BILLFISH_INVALID_ARGUMENT);
  EXPECT_NE(std::string(billfish_last_error()).find("index is 1; this checkpoint has 1"), std::string::npos) << billfish_last_error();
  billfish_matrix matrix = BILLFISH_MATRIX_INIT;
  EXPECT_EQ(billfish_checkpoint_load(opened, -1, &matrix), BILLFISH_INVALID_ARGUMENT);
  billfish_tensor_info tensor = BILLFISH_TENSOR_INFO_INIT;
  EXPECT_EQ(billfish_checkpoint_tensor(opened, billfish_checkpoint_tensors(opened), &tensor), BILLFISH_INVALID_ARGUMENT);
  EXPECT_EQ(billfish_checkpoint_layer(nullptr, 0, &info), BILLFISH_INVALID_ARGUMENT);
  EXPECT_STREQ(billfish_last_error(), "checkpoint is NULL");
  EXPECT_EQ(billfish_checkpoint_layers(nullptr), 0);
  EXPECT_STREQ(billfish_checkpoint_format(nullptr), "");
  EXPECT_STREQ(billfish_checkpoint_config(nullptr), "{}");
  billfish_checkpoint_close(opened);
  billfish_checkpoint_close(nullptr);
  EXPECT_EQ(billfish_tools_write_checkpoint((folder / "no").c_str(), "gguf", layers, 1), BILLFISH_INVALID_ARGUMENT)
      << billfish_last_error();
  EXPECT_NE(std::string(billfish_last_error()).find("gguf"), std::string::npos) << billfish_last_error();
  EXPECT_EQ(billfish_tools_pack_checkpoint(nullptr, "x", nullptr), BILLFISH_INVALID_ARGUMENT);
  EXPECT_EQ(billfish_tools_unpack_checkpoint("x", nullptr, nullptr, nullptr), BILLFISH_INVALID_ARGUMENT);
}

// A caller who asks to stop must find nothing at the target.
TEST(Checkpoint, ACancelledConversionLeavesNothing) {
  const ScratchFolder folder;
  const Sample up({BILLFISH_U4B8, 128, 256, 64});
  const billfish_named_matrix layers[] = {{"model.layers.0.mlp.up_proj", &up.matrix}};
  ASSERT_EQ(billfish_tools_write_checkpoint((folder / "gptq").c_str(), "gptq", layers, 1), BILLFISH_OK) << billfish_last_error();
  billfish_convert_options options = BILLFISH_CONVERT_OPTIONS_INIT;
  options.progress = [](void*, const char*, int64_t, int64_t) { return 1; };
  EXPECT_EQ(billfish_tools_pack_checkpoint((folder / "gptq").c_str(), (folder / "marlin").c_str(), &options), BILLFISH_CANCELLED);
  EXPECT_FALSE(std::filesystem::exists(folder / "marlin"));
  std::size_t entries = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder / ".")) entries += entry.path().filename() != "";
  EXPECT_EQ(entries, 1u) << "something was left beside the target";
}

}  // namespace
}  // namespace billfish::api_test
