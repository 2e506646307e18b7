// SPDX-License-Identifier: Apache-2.0
// X -> pack -> unpack must give X back byte for byte: whole files, headers included, with padding, borrows, odd shapes and
// constant tensors.
#include <gtest/gtest.h>

#include "formats/checkpoint.hpp"
#include "formats/convert.hpp"
#include "formats/files.hpp"
#include "formats/generated.hpp"
#include "formats/packer.hpp"
#include "reference/reference.hpp"

namespace billfish {
namespace {

namespace fs = std::filesystem;
using test::Plain;
using test::PlainOptions;
using test::TestTensor;

void expect_same_codes(const std::string& left_path, const std::string& right_path) {
  const auto left = formats::open_checkpoint(left_path);
  const auto right = formats::open_checkpoint(right_path);
  ASSERT_TRUE(left.ok()) << left.status().message();
  ASSERT_TRUE(right.ok()) << right.status().message();
  ASSERT_EQ((*left)->layers().size(), (*right)->layers().size());
  for (std::size_t i = 0; i < (*left)->layers().size(); ++i) {
    const auto a = (*left)->load(static_cast<std::int64_t>(i));
    const auto b = (*right)->load(static_cast<std::int64_t>(i));
    ASSERT_TRUE(a.ok()) << a.status().message();
    ASSERT_TRUE(b.ok()) << b.status().message();
    ASSERT_EQ(static_cast<const MatrixShape&>(*a), static_cast<const MatrixShape&>(*b)) << (*left)->layers()[i].name;
    std::int64_t wrong = 0;
    for (std::int64_t k = 0; k < a->k; ++k) {
      for (std::int64_t n = 0; n < a->n; n += 1 + k % 3) {
        wrong += reference::code_at(*a, k, n) != reference::code_at(*b, k, n);
        wrong += reference::zero_at(*a, k, n) != reference::zero_at(*b, k, n);
        wrong += reference::scale_at(*a, k, n) != reference::scale_at(*b, k, n);
      }
    }
    EXPECT_EQ(wrong, 0) << (*left)->layers()[i].name;
  }
}

// Packs and unpacks a folder; every file must come back as it was, and the packed one must hold the same codes.
void expect_round_trip(const std::string& source) {
  test::Folder out;
  const Status packed = formats::pack_checkpoint(source, out / "packed", test::options());
  ASSERT_TRUE(packed.ok()) << packed.message();
  expect_same_codes(source, out / "packed");
  const auto opened = formats::open_checkpoint(out / "packed");
  ASSERT_TRUE(opened.ok()) << opened.status().message();
  EXPECT_EQ((*opened)->format(), "marlin");
  EXPECT_NE((*opened)->why().find("billfish packed it"), std::string::npos) << (*opened)->why();
  const Status unpacked = formats::unpack_checkpoint(out / "packed", out / "back", "", test::options());
  ASSERT_TRUE(unpacked.ok()) << unpacked.message();
  std::size_t compared = 0;
  for (const auto& entry : fs::recursive_directory_iterator(source)) {
    if (!entry.is_regular_file()) continue;
    const std::string name = fs::relative(entry.path(), source).string();
    EXPECT_TRUE(test::read_file(entry.path().string()) == test::read_file(out / ("back/" + name))) << name << " differs";
    ++compared;
  }
  EXPECT_GE(compared, 2u);
  EXPECT_EQ(out.names().size(), 2u) << "something was left beside the outputs";
}

struct Folders {
  test::Folder root;
  std::string make(const std::vector<TestTensor>& tensors, const std::string& config) {
    test::write_file(root / "model.safetensors", test::safetensors_file(tensors, R"({"format":"pt"})"));
    // Infinity is what Python writes, and nobody's business but its author's.
    test::write_file(root / "config.json",
                     "{\n  \"steps\": [0.0, Infinity],\n  \"quantization_config\": " + config + ",\n  \"x\": 1e-06\n}\n");
    return root.path();
  }
};

std::string gptq_config(const std::string& more) { return "{\"quant_method\":\"gptq\"," + more + "}"; }

TEST(RoundTrip, FixturesOfOtherPeoplesTools) {
  for (const std::string& name : test::fixture_names()) {
    SCOPED_TRACE(name);
    expect_round_trip(test::fixture(name));
  }
}

TEST(RoundTrip, ZeroPointsOfZeroBorrowFromTheirNeighbour) {
  for (const int bits : {4, 8}) {
    for (const bool v1 : {true, false}) {
      const Plain plain = test::random_plain(256, 72, 64, {bits, false, false, false, 0}, 11);
      std::vector<TestTensor> tensors = test::gptq_tensors(plain, "a.b", v1, true);
      Folders folders;
      const std::string path = folders.make(
          tensors, gptq_config("\"bits\":" + std::to_string(bits) + ",\"group_size\":64,\"sym\":false,\"checkpoint_format\":\"" +
                               (v1 ? "gptq" : "gptq_v2") + "\""));
      expect_round_trip(path);
      const auto opened = formats::open_checkpoint(path);
      const auto matrix = (*opened)->load(0);
      ASSERT_TRUE(matrix.ok());
      for (std::int64_t g = 0; g < plain.groups(); ++g) {
        for (std::int64_t n = 0; n < plain.n; ++n) {
          ASSERT_EQ(reference::zero_at(*matrix, g * 64, n), plain.zeros[static_cast<std::size_t>(g * plain.n + n)]) << g << ' ' << n;
        }
      }
    }
  }
}

TEST(RoundTrip, ShapesThatFitNoTile) {
  for (const auto& [k, n, group] : {std::tuple{90, 5, 32}, {304, 48, 128}, {17, 1, -1}, {64, 65, 128}, {1408, 3, 32}, {250, 137, 100}}) {
    for (const bool symmetric : {true, false}) {
      for (const int bits : {4, 8}) {
        SCOPED_TRACE(std::to_string(k) + "x" + std::to_string(n) + " group " + std::to_string(group) + " bits " + std::to_string(bits));
        const Plain plain = test::random_plain(k, n, group, {bits, symmetric, false, false, 0}, static_cast<unsigned>(k * n));
        const std::string numbers = "\"bits\":" + std::to_string(bits) + ",\"group_size\":" + std::to_string(group);
        Folders gptq, compressed;
        expect_round_trip(gptq.make(test::gptq_tensors(plain, "m", true, true), gptq_config(numbers + ",\"sym\":true")));
        expect_round_trip(compressed.make(
            test::compressed_tensors(plain, "m", symmetric, false),
            "{\"quant_method\":\"compressed-tensors\",\"config_groups\":{\"group_0\":{\"weights\":{\"num_bits\":" + std::to_string(bits) +
                ",\"group_size\":" + (group < 0 ? "null" : std::to_string(group)) + "}}}}"));
      }
    }
  }
}

TEST(RoundTrip, ActivationOrder) {
  for (const auto& [k, n, group] : {std::tuple{256, 96, 32}, {176, 256, 32}, {90, 10, 16}}) {
    const Plain plain = test::random_plain(k, n, group, {4, false, true, false, 0}, 5);
    Folders gptq, compressed;
    const std::string numbers = "\"bits\":4,\"group_size\":" + std::to_string(group);
    expect_round_trip(gptq.make(test::gptq_tensors(plain, "m", true, true), gptq_config(numbers + ",\"desc_act\":true")));
    expect_round_trip(compressed.make(test::compressed_tensors(plain, "m", false, true), "{\"quant_method\":\"compressed-tensors\"}"));
  }
}

TEST(RoundTrip, AwqWithBf16BiasAndUnquantisedTensors) {
  const Plain plain = test::random_plain(200, 40, 64, {4, false, false, false, 0}, 3);
  std::vector<TestTensor> tensors = {test::random_f16("embed.weight", {33, 7}, 1)};
  test::append(tensors, test::awq_tensors(plain, "layers.0.q"));
  tensors.push_back(test::random_f16("layers.0.q.bias", {40}, 2, "BF16"));
  tensors.push_back(test::random_f16("layers.0.q.weight_norm", {3}, 2, "BF16"));
  tensors.push_back(test::tensor<std::uint8_t>("flags", "BOOL", {3}, {1, 0, 1}));
  Folders folders;
  expect_round_trip(folders.make(tensors, R"({"quant_method":"awq","w_bit":4,"q_group_size":64,"zero_point":true,"version":"GEMM"})"));
}

TEST(RoundTrip, UnusualPaddingAndGIdxAreKeptAsTheyWere) {
  const Plain plain = test::random_plain(90, 10, 32, {4, true, false, true, 0}, 8);
  std::vector<TestTensor> compressed = test::compressed_tensors(plain, "m", true, false);
  for (std::size_t i = 0; i < compressed[1].bytes.size(); i += 12 * 4) compressed[1].bytes[i + 11 * 4 + 3] = 0x5a;  // beyond row 90
  compressed.push_back(test::tensor("m.weight_g_idx", "I32", {90}, std::vector<std::int32_t>(90, -1)));             // "not initialised"
  Folders first;
  expect_round_trip(first.make(compressed, R"({"quant_method":"compressed-tensors"})"));
  std::vector<TestTensor> gptq = test::gptq_tensors(plain, "m", true, true);
  gptq[0].bytes[static_cast<std::size_t>(11 * 10 * 4 + 3)] = 0x77;
  gptq[1].bytes[7] = 0x12;  // a field beyond column 10
  Folders second;
  expect_round_trip(second.make(gptq, gptq_config("\"bits\":4,\"group_size\":32,\"sym\":true")));
}

TEST(RoundTrip, StrayTensorsWithNamesOfThePackedForm) {
  const Plain plain = test::random_plain(64, 64, 32, {4, false, false, false, 0}, 8);
  std::vector<TestTensor> tensors = test::awq_tensors(plain, "m");
  tensors.push_back(test::tensor("m.g_idx", "I32", {64}, std::vector<std::int32_t>(64, 1)));
  tensors.push_back(test::tensor("m.perm", "I32", {3}, std::vector<std::int32_t>{2, 1, 0}));
  tensors.push_back(test::tensor("m.weight_shape", "I64", {1}, std::vector<std::int64_t>{7}));
  Folders folders;
  expect_round_trip(folders.make(tensors, R"({"quant_method":"awq","bits":4,"group_size":32})"));
  tensors.push_back(test::tensor("m.source_qweight", "I32", {1}, std::vector<std::int32_t>{7}));
  Folders reserved;
  const Status status = formats::pack_checkpoint(reserved.make(tensors, R"({"quant_method":"awq","bits":4,"group_size":32})"),
                                                 reserved.root / "../x-packed", test::options());
  EXPECT_EQ(status.code(), Code::bad_input);
  EXPECT_NE(status.message().find("are taken by what packing keeps"), std::string::npos) << status.message();
}

TEST(RoundTrip, AutoRoundTellsV1FromV2ByTheStoredZeros) {
  for (const bool v1 : {true, false}) {
    const Plain plain = test::random_plain(128, 64, 32, {4, true, false, false, 0}, 21);
    Folders folders;
    const std::string path =
        folders.make(test::gptq_tensors(plain, "m", v1, false),
                     R"({"quant_method":"auto-round","bits":4,"group_size":32,"sym":true,"packing_format":"auto_round:auto_gptq"})");
    const auto opened = formats::open_checkpoint(path);
    ASSERT_TRUE(opened.ok()) << opened.status().message();
    const auto matrix = (*opened)->load(0);
    ASSERT_TRUE(matrix.ok());
    EXPECT_EQ(matrix->type, WeightType::u4b8);
    EXPECT_EQ(matrix->format, v1 ? Format::gptq_v1 : Format::gptq_v2);
    expect_round_trip(path);
  }
}

TEST(RoundTrip, ShardsWhoseLayersStraddleFiles) {
  test::Folder source;
  std::vector<TestTensor> first = {test::random_f16("embed.weight", {9, 8}, 4)}, second;
  const Plain a = test::random_plain(128, 64, 32, {4, true, false, false, 0}, 31),
              b = test::random_plain(64, 24, 32, {4, false, true, false, 0}, 32);
  std::vector<TestTensor> layer = test::gptq_tensors(a, "x.a", true, true);
  first.push_back(layer[0]);  // qweight here, the rest there
  second = {layer[1], layer[2], layer[3]};
  test::append(second, test::gptq_tensors(b, "x.b", true, true));
  std::string map;
  for (const TestTensor& t : first) map += (map.empty() ? "" : ",\n    ") + ("\"" + t.name + "\": \"model-00001-of-00002.safetensors\"");
  for (const TestTensor& t : second) map += ",\n    \"" + t.name + "\": \"model-00002-of-00002.safetensors\"";
  test::write_file(source / "model-00001-of-00002.safetensors", test::safetensors_file(first, R"({"format":"pt"})"));
  test::write_file(source / "model-00002-of-00002.safetensors", test::safetensors_file(second, R"({"format":"pt"})"));
  test::write_file(source / "quantize_config.json", R"({"bits":4,"group_size":32,"desc_act":true,"sym":false})");
  test::write_file(source / "tokenizer.json", "{}");
  fs::create_directory(source / "extra");
  test::write_file(source / "extra/notes.txt", "kept");
  test::write_file(source / "model.safetensors.index.json", "{\"metadata\": {\"total_size\": 12}, \"weight_map\": {" + map + "}}");
  test::Folder out;
  ASSERT_TRUE(formats::pack_checkpoint(source.path(), out / "packed", test::options()).ok());
  const auto opened = formats::open_checkpoint(out / "packed");
  ASSERT_TRUE(opened.ok()) << opened.status().message();
  EXPECT_EQ((*opened)->layers().size(), 2u);
  ASSERT_TRUE(formats::unpack_checkpoint(out / "packed", out / "back", "", test::options()).ok());
  for (const char* name : {"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "quantize_config.json", "tokenizer.json",
                           "extra/notes.txt", "model.safetensors.index.json"}) {
    EXPECT_TRUE(test::read_file(source / name) == test::read_file(out / (std::string("back/") + name))) << name;
  }
  expect_same_codes(source.path(), out / "back");
}

TEST(RoundTrip, ShardsThatPackingEmpties) {
  test::Folder source, out;
  const std::vector<TestTensor> layer =
      test::gptq_tensors(test::random_plain(128, 64, 32, {4, true, false, false, 0}, 31), "m", true, true);
  test::write_file(source / "a.safetensors", test::safetensors_file({layer[0]}));
  test::write_file(source / "b.safetensors", test::safetensors_file({layer[1], layer[3]}));
  test::write_file(source / "c.safetensors", test::safetensors_file({layer[2]}));
  test::write_file(
      source / "model.safetensors.index.json",
      R"({"weight_map":{"m.qweight":"a.safetensors","m.qzeros":"b.safetensors","m.g_idx":"b.safetensors","m.scales":"c.safetensors"}})");
  ASSERT_TRUE(formats::pack_checkpoint(source.path(), out / "packed", test::options()).ok());
  const Status status = formats::unpack_checkpoint(out / "packed", out / "back", "", test::options());
  ASSERT_TRUE(status.ok()) << status.message();
  for (const char* name : {"a.safetensors", "b.safetensors", "c.safetensors"}) {
    EXPECT_TRUE(test::read_file(source / name) == test::read_file(out / (std::string("back/") + name))) << name;
  }
  ASSERT_TRUE(formats::unpack_checkpoint(out / "packed", out / "awq", "awq", test::options()).ok());
  expect_same_codes(source.path(), out / "awq");
  EXPECT_TRUE((*formats::open_checkpoint(out / "awq"))->unquantized().empty());
}

TEST(RoundTrip, OneFileWithoutAnyConfig) {
  test::Folder folder;
  const Plain plain = test::random_plain(304, 64, 128, {4, true, false, false, 0}, 77);
  test::write_file(folder / "in.safetensors", test::safetensors_file(test::gptq_tensors(plain, "m", true, true)));
  ASSERT_TRUE(formats::pack_checkpoint(folder / "in.safetensors", folder / "packed.safetensors", test::options()).ok());
  const auto opened = formats::open_checkpoint(folder / "packed.safetensors");
  ASSERT_TRUE(opened.ok()) << opened.status().message();
  EXPECT_EQ((*opened)->layers()[0].group, 128);
  EXPECT_EQ((*opened)->layers()[0].type, WeightType::u4b8);
  ASSERT_TRUE(formats::unpack_checkpoint(folder / "packed.safetensors", folder / "back.safetensors", "gptq", test::options()).ok());
  EXPECT_TRUE(test::read_file(folder / "in.safetensors") == test::read_file(folder / "back.safetensors"));
  expect_same_codes(folder / "in.safetensors", folder / "packed.safetensors");
}

TEST(RoundTrip, LayersLeftOutArePackedLater) {
  test::Folder folder;
  std::vector<TestTensor> tensors = test::gptq_tensors(test::random_plain(128, 64, 32, {4, false, false, false, 0}, 1), "a", true, true);
  test::append(tensors, test::gptq_tensors(test::random_plain(64, 64, 32, {4, false, false, false, 0}, 2), "b", true, true));
  fs::create_directory(folder / "in");
  test::write_file(folder / "in/model.safetensors", test::safetensors_file(tensors));
  test::write_file(folder / "in/config.json", R"({"quantization_config":{"quant_method":"gptq","bits":4,"group_size":32,"sym":false}})");
  formats::ConvertOptions only_a = test::options();
  only_a.want_layer = [](void*, const char* layer) { return static_cast<int>(std::string(layer) == "a"); };
  ASSERT_TRUE(formats::pack_checkpoint(folder / "in", folder / "half", only_a).ok());
  expect_same_codes(folder / "in", folder / "half");
  ASSERT_TRUE(formats::pack_checkpoint(folder / "half", folder / "whole", test::options()).ok());
  expect_same_codes(folder / "in", folder / "whole");
  const Status again = formats::pack_checkpoint(folder / "whole", folder / "more", test::options());
  EXPECT_EQ(again.code(), Code::unsupported);
  EXPECT_NE(again.message().find("packed already"), std::string::npos) << again.message();
  ASSERT_TRUE(formats::unpack_checkpoint(folder / "whole", folder / "back", "", test::options()).ok());
  EXPECT_TRUE(test::read_file(folder / "in/model.safetensors") == test::read_file(folder / "back/model.safetensors"));
  EXPECT_EQ(test::read_file(folder / "in/config.json"), test::read_file(folder / "back/config.json"));
}

}  // namespace
}  // namespace billfish
