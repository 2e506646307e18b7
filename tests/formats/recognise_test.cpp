// SPDX-License-Identifier: Apache-2.0
// What checkpoints claim against what their tensors say: shapes decide, zeros decide, and contradictions are refused with their reason.
#include <gtest/gtest.h>

#include "formats/cases.hpp"
#include "formats/checkpoint.hpp"
#include "formats/files.hpp"
#include "formats/generated.hpp"
#include "reference/reference.hpp"

namespace billfish {
namespace {

using test::Plain;
using test::TestTensor;

using test::Case;
using test::expect_bad;
using test::expect_unsupported;
using test::gptq;
using test::kGptq4;
using test::without;

TEST(Recognise, SymTrueWithOtherZerosIsNotSymmetric) {
  Case made(gptq({4, false, false, false, 1}), kGptq4);
  EXPECT_EQ(made.layer().type, WeightType::u4b8);  // from the config, and marked so
  EXPECT_TRUE(made.layer().type_from_config);
  const auto matrix = (*made.opened)->load(0);
  ASSERT_TRUE(matrix.ok()) << matrix.status().message();
  EXPECT_EQ(matrix->type, WeightType::u4);
  EXPECT_NE(matrix->zeros, nullptr);
}

TEST(Recognise, SymFalseWithConstantZerosIsSymmetric) {
  Case made(gptq(), R"({"quant_method":"gptq","bits":4,"group_size":32,"sym":false})");
  EXPECT_EQ(made.layer().type, WeightType::u4);
  const auto matrix = (*made.opened)->load(0);
  ASSERT_TRUE(matrix.ok());
  EXPECT_EQ(matrix->type, WeightType::u4b8);
}

TEST(Recognise, SymFalseWithoutZerosIsNotTakenAsSymmetric) {
  const std::string asymmetric = R"({"quant_method":"gptq","bits":4,"group_size":32,"sym":false})";
  expect_bad(Case(without(gptq(), "m.qzeros"), asymmetric), "layer 'm' has qweight but no qzeros");
  expect_bad(Case(without(gptq(), "m.qzeros"), asymmetric), "sym is false: zero points are missing");
  const auto awq = test::awq_tensors(test::random_plain(128, 64, 32, {4, false, false, false, 0}, 1), "m");
  expect_bad(Case(without(awq, "m.qzeros"), R"({"quant_method":"auto-round","bits":4,"group_size":32,"sym":false})"), "no qzeros");
  for (const char* config :
       {R"({"quant_method":"gptq","bits":4,"group_size":32,"sym":true})", R"({"quant_method":"gptq","bits":4,"group_size":32})"}) {
    Case made(without(gptq(), "m.qzeros"), config);
    EXPECT_EQ(made.layer().type, WeightType::u4b8) << config;
  }
}

TEST(Recognise, OneDifferentZeroInTheLastWordIsSeen) {
  Plain plain = test::random_plain(128, 61, 32, {}, 9);
  plain.zeros.back() = 9;
  Case made(test::gptq_tensors(plain, "m", true, true), kGptq4);
  const auto matrix = (*made.opened)->load(0);
  ASSERT_TRUE(matrix.ok());
  EXPECT_EQ(matrix->type, WeightType::u4);
  EXPECT_EQ(reference::zero_at(*matrix, 127, 60), 9);
}

TEST(Recognise, TensorsOutweighTheConfigsNumbers) {
  Case bits(gptq({8, true, false, false, 0}), kGptq4);
  EXPECT_EQ(bits.layer().type, WeightType::u8b128);
  Case group(gptq({}, 256, 64, 64), R"({"quant_method":"gptq","bits":4,"group_size":128,"sym":true})");
  EXPECT_EQ(group.layer().group, 64);
  EXPECT_FALSE(group.layer().act_order);
  // And it is said.
  EXPECT_NE((*bits.opened)->why().find("it says 4 bits and groups of 32, but by its tensors layer 'm' has 8 bits and groups of 32"),
            std::string::npos)
      << (*bits.opened)->why();
  EXPECT_NE((*group.opened)->why().find("4 bits and groups of 128, but by its tensors layer 'm' has 4 bits and groups of 64"),
            std::string::npos)
      << (*group.opened)->why();
  for (const char* agreeing :
       {R"({"quant_method":"gptq","bits":4,"group_size":64,"sym":true})", R"({"quant_method":"gptq","bits":4,"sym":true})"}) {
    Case same(gptq({}, 256, 64, 64), agreeing);
    EXPECT_EQ((*same.opened)->why().find("it says"), std::string::npos) << (*same.opened)->why();
  }
  Case method(test::awq_tensors(test::random_plain(128, 64, 32, {4, false, false, false, 0}, 1), "m"), kGptq4);
  EXPECT_EQ(method.layer().format, Format::awq);
  EXPECT_EQ((*method.opened)->format(), "awq");
}

TEST(Recognise, DescActWithATrivialGIdxHasNoActivationOrder) {
  Case made(gptq(), R"({"quant_method":"gptq","bits":4,"group_size":32,"desc_act":true,"sym":true})");
  EXPECT_FALSE(made.layer().act_order);
  Case ordered(gptq({4, true, true, false, 0}), kGptq4);
  EXPECT_TRUE(ordered.layer().act_order);
}

TEST(Recognise, DynamicRulesAndExtraConfig) {
  std::vector<TestTensor> tensors = test::gptq_tensors(test::random_plain(256, 64, 128, {}, 1), "model.layers.1.a", true, false);
  test::append(tensors,
               test::gptq_tensors(test::random_plain(256, 64, 16, {8, true, false, false, 0}, 2), "model.layers.10.a", true, false));
  tensors.push_back(test::random_f16("model.layers.2.a.weight", {8, 8}, 3));
  Case rules(tensors,
             R"json({"quant_method":"gptq","bits":4,"group_size":128,
             "dynamic":{"+:.*\\.10\\..*":{"bits":8,"group_size":16},"-:.*\\.2\\..*":{}, "(?!x)":{"bits":2}}})json");
  EXPECT_EQ(rules.layer(0).group, 128);
  EXPECT_EQ(rules.layer(1).type, WeightType::u8b128);
  EXPECT_EQ(rules.layer(1).group, 16);
  EXPECT_EQ((*rules.opened)->unquantized().size(), 1u);
  Case extra(tensors,
             R"({"quant_method":"auto-round","bits":4,"group_size":128,"extra_config":{"model.layers.10.a":{"bits":8,"group_size":16}}})");
  EXPECT_EQ(extra.layer(1).group, 16);
}

TEST(Recognise, LayersComeInNaturalOrder) {
  std::vector<TestTensor> tensors;
  for (const char* name : {"l.10.a", "l.9.a", "l.09.a", "l.9.b"})
    test::append(tensors, test::gptq_tensors(test::random_plain(32, 64, 32, {}, 1), name, true, false));
  Case made(tensors, kGptq4);
  EXPECT_EQ(made.layer(0).name, "l.09.a");
  EXPECT_EQ(made.layer(1).name, "l.9.a");
  EXPECT_EQ(made.layer(3).name, "l.10.a");
}

TEST(Recognise, TensorsThatAreNotAlignedInTheirFile) {
  for (const int pad : {1, 2, 3, 4}) {
    const Plain plain = test::random_plain(128, 64, 32, {4, false, true, false, 0}, 9);
    Case made(test::gptq_tensors(plain, "m", true, true), kGptq4, "", pad);
    ASSERT_TRUE(made.opened.ok()) << made.opened.status().message();
    const auto matrix = (*made.opened)->load(0);
    ASSERT_TRUE(matrix.ok()) << matrix.status().message();
    for (std::int64_t k = 0; k < plain.k; ++k)
      EXPECT_EQ(reference::code_at(*matrix, k, 7), plain.codes[static_cast<std::size_t>(k * 64 + 7)]);
    EXPECT_EQ((*made.opened)->load(0)->codes, matrix->codes) << "loading again must give the same memory";
  }
}

TEST(Recognise, MatricesBeyond2To31Elements) {
  constexpr std::int64_t kK = 65536, kN = 40000;  // 2.6e9 codes in a file that is almost all hole
  const std::int64_t code_bytes = kK / 8 * kN * 4, scale_bytes = kK / 4096 * kN * 2;
  std::string header = "{\"m.qweight\":{\"dtype\":\"I32\",\"shape\":[8192,40000],\"data_offsets\":[0," + std::to_string(code_bytes) +
                       "]},\"m.scales\":{\"dtype\":\"F16\",\"shape\":[16,40000],\"data_offsets\":[" + std::to_string(code_bytes) + "," +
                       std::to_string(code_bytes + scale_bytes) + "]}}";
  while (header.size() % 8 != 0) header += " ";  // what is not aligned would be copied
  test::Folder folder;
  const std::string path = folder / "large.safetensors";
  test::write_file(path, test::safetensors_file(header, ""));
  const std::uintmax_t begin = std::filesystem::file_size(path);
  std::filesystem::resize_file(path, begin + static_cast<std::uintmax_t>(code_bytes + scale_bytes));
  {
    std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
    file.seekp(static_cast<std::streamoff>(begin) + code_bytes - 1);
    file.put('\x5c');  // rows K - 1 and K - 2 of the last column
  }
  const auto opened = formats::open_checkpoint(path);
  ASSERT_TRUE(opened.ok()) << opened.status().message();
  const auto matrix = (*opened)->load(0);
  ASSERT_TRUE(matrix.ok()) << matrix.status().message();
  EXPECT_EQ(matrix->k, kK);
  EXPECT_EQ(matrix->n, kN);
  EXPECT_EQ(matrix->group, 4096);
  EXPECT_EQ(reference::code_at(*matrix, kK - 1, kN - 1), 5);
  EXPECT_EQ(reference::code_at(*matrix, kK - 2, kN - 1), 12);
  EXPECT_EQ(reference::code_at(*matrix, kK - 3, kN - 1), 0);
}

TEST(Recognise, MissingTensors) {
  expect_bad(Case(without(gptq(), "m.scales"), kGptq4), "layer 'm' has qweight but no scales");
  const auto compressed = test::compressed_tensors(test::random_plain(64, 64, 32, {}, 1), "m", true, false);
  expect_bad(Case(without(compressed, "m.weight_scale"), ""), "layer 'm' has weight_packed but no weight_scale");
  expect_bad(Case(without(compressed, "m.weight_shape"), ""), "layer 'm' has weight_packed but no weight_shape");
}

TEST(Recognise, ShapesThatContradictEachOther) {
  auto tensors = gptq();
  tensors[2] = test::random_f16("m.scales", {4, 63}, 1);
  expect_bad(Case(tensors, kGptq4), "the shapes do not fit any known storage: qweight [16,64], qzeros [4,8], scales [4,63]");
  tensors = gptq();
  tensors[1] = test::tensor("m.qzeros", "I32", {4, 7}, std::vector<std::int32_t>(28));
  expect_bad(Case(tensors, kGptq4), "the shapes do not fit any known storage");
  tensors = gptq();
  tensors[3] = test::tensor("m.g_idx", "I32", {127}, std::vector<std::int32_t>(127));  // 127 rows fit 16 words of 8: K is not whole words
  EXPECT_TRUE(Case(tensors, kGptq4).opened.ok());
  tensors[3] = test::tensor("m.g_idx", "I32", {200}, std::vector<std::int32_t>(200));
  expect_bad(Case(tensors, kGptq4), "the shapes do not fit any known storage");
  tensors = gptq();
  tensors.push_back(test::random_f16("m.bias", {63}, 1));
  expect_bad(Case(tensors, kGptq4), "'m.bias' has shape [63], expected [64] (one for every output)");
  tensors = gptq({}, 128, 64, 32);
  tensors[2] = test::random_f16("m.scales", {3, 64}, 1);
  tensors[1] = test::tensor("m.qzeros", "I32", {3, 8}, std::vector<std::int32_t>(24, 0x77777777));
  expect_bad(Case(without(tensors, "m.g_idx"), R"({"quant_method":"gptq","bits":4,"group_size":5,"sym":true})"),
             "scales have 3 groups, but no group size cuts k = 128");
  tensors = gptq();
  tensors[0].shape = {16, 8, 8};
  Case experts(tensors, kGptq4);
  expect_unsupported(experts, "qweight of shape [16,8,8] (fused experts) is not supported");
  tensors[0].shape = {1024};
  expect_bad(Case(tensors, kGptq4), "'m.qweight' has shape [1024], expected two dimensions");
  auto compressed = test::compressed_tensors(test::random_plain(64, 64, 32, {}, 1), "m", true, false);
  compressed[0] = test::tensor<std::int64_t>("m.weight_shape", "I64", {2}, {64, 65});
  expect_bad(Case(compressed, ""), "'m.weight_packed' has shape [64,8], which does not fit weight_shape (n = 64, k = 65)");
  compressed[0] = test::tensor<std::int64_t>("m.weight_shape", "I64", {2}, {64, -64});
  expect_bad(Case(compressed, ""), "says n = 64, k = -64");
  compressed[0] = test::tensor<std::int64_t>("m.weight_shape", "I64", {2}, {std::int64_t{1} << 62, std::int64_t{1} << 62});
  expect_bad(Case(compressed, ""), "says n = 4611686018427387904");
}

TEST(Recognise, EmptyMatrices) {
  auto tensors = gptq();
  tensors[0] = test::tensor("m.qweight", "I32", {std::int64_t{1} << 50, 0}, std::vector<std::int32_t>());
  tensors[2] = test::tensor("m.scales", "F16", {std::int64_t{1} << 50, 0}, std::vector<std::uint16_t>());
  expect_bad(Case(tensors, kGptq4), "'m.qweight' is empty: shape [1125899906842624,0]");
}

TEST(Recognise, GroupsThatDoNotExist) {
  auto tensors = gptq({4, true, true, false, 0});
  const std::int32_t wrong = 4;
  std::memcpy(tensors[3].bytes.data() + 5 * 4, &wrong, 4);
  expect_bad(Case(tensors, kGptq4), "'m.g_idx': element 5 is 4, but there are 4 groups");
  const std::int32_t unset = -1;
  std::memcpy(tensors[3].bytes.data() + 5 * 4, &unset, 4);
  expect_bad(Case(tensors, kGptq4), "1 of 128 elements are -1");
}

TEST(Recognise, ScalesThatAreNotFinite) {
  for (const auto& [bits, word] : {std::pair<std::uint16_t, const char*>{0x7c00, "infinite"}, {0xfc00, "infinite"}, {0x7e01, "NaN"}}) {
    auto tensors = gptq();
    std::memcpy(tensors[2].bytes.data() + (2 * 64 + 5) * 2, &bits, 2);
    Case made(tensors, kGptq4);
    ASSERT_TRUE(made.opened.ok()) << made.opened.status().message();
    const Status status = (*made.opened)->load(0).status();
    EXPECT_EQ(status.code(), Code::bad_input);
    EXPECT_NE(status.message().find(std::string("'m.scales': the scale at [2,5] is ") + word), std::string::npos) << status.message();
  }
}

TEST(Recognise, WhatIsNotSupportedSaysWhy) {
  Case three(test::gptq_tensors(test::random_plain(128, 64, 32, {2, true, false, false, 0}, 1), "m", true, true),
             R"({"quant_method":"gptq","bits":2,"group_size":32})");
  expect_unsupported(three, "2-bit codes are not supported: 4 and 8 are");
  Case gemv(gptq(), R"({"quant_method":"awq","bits":4,"group_size":32,"version":"gemv_fast"})");
  expect_unsupported(gemv, "AWQ version gemv_fast is not supported: gemm and marlin are");
  Case other_spelling(gptq(), R"({"quant_method":"awq","bits":4,"group_size":32,"format":"gemv","checkpoint_format":"gemv"})");
  expect_unsupported(other_spelling, "AWQ version gemv is not supported");
  Case version(gptq(), R"({"quant_method":"gptq","bits":4,"group_size":32,"checkpoint_format":"gptq_v3"})");
  expect_unsupported(version, "checkpoint_format gptq_v3 is not supported: gptq, gptq_v2 and marlin are");
  auto wide = gptq();
  wide[2] = test::tensor("m.scales", "F64", {4, 64}, std::vector<double>(256, 1.0));
  Case scales(wide, kGptq4);
  expect_unsupported(scales, "scales of dtype F64 are not supported");
  auto biased = gptq();
  biased.push_back(test::tensor("m.bias", "F64", {64}, std::vector<double>(64, 1.0)));
  Case bias(biased, kGptq4);
  expect_unsupported(bias, "a bias of dtype F64 is not supported");
  Case fp8({test::tensor("m.weight", "F8_E4M3", {8, 8}, std::vector<std::uint8_t>(64)), test::random_f16("m.weight_scale", {8, 1}, 1)}, "");
  expect_unsupported(fp8, "weights of dtype F8_E4M3 are not supported");
  Case fp4({test::tensor("m.weight_packed", "U8", {8, 4}, std::vector<std::uint8_t>(32)), test::random_f16("m.weight_scale", {8, 1}, 1)},
           "");
  expect_unsupported(fp4, "weight_packed of dtype U8 (4-bit floats) is not supported");
  Case sparse({test::tensor("m.B_24", "I32", {8, 4}, std::vector<std::int32_t>(32)), test::random_f16("m.s", {1, 8}, 1)}, "");
  expect_unsupported(sparse, "2:4 sparse weights are not supported");
}

TEST(Recognise, MarlinBytesOfAwqAndOfAutoGptq) {
  const auto marlin = [](const std::string& codes, const std::string& scales) {
    return std::vector<TestTensor>{test::tensor(codes, "I32", {8, 256}, std::vector<std::int32_t>(2048, 0x12345678)),
                                   test::random_f16(scales, {1, 128}, 1)};
  };
  Case awq(marlin("m.qweight", "m.scales"), R"({"quant_method":"awq","bits":4,"group_size":-1,"version":"marlin","zero_point":false})");
  EXPECT_EQ(awq.layer().format, Format::marlin);
  EXPECT_EQ(awq.layer().n, 128);
  EXPECT_EQ(awq.layer().k, 128);
  EXPECT_EQ(awq.layer().group, -1);
  EXPECT_EQ((*awq.opened)->format(), "marlin");
  Case gptq_marlin(marlin("m.B", "m.s"), R"({"quant_method":"gptq","bits":4,"group_size":128,"is_marlin_format":true})");
  EXPECT_EQ(gptq_marlin.layer().format, Format::marlin);
  const auto matrix = (*gptq_marlin.opened)->load(0);
  ASSERT_TRUE(matrix.ok());
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(matrix->codes) % 16, 0u);
  auto odd = marlin("m.B", "m.s");
  odd.push_back(test::tensor("m.qzeros", "I32", {1, 16}, std::vector<std::int32_t>(16)));
  Case zeros(odd, "");
  expect_unsupported(zeros, "that billfish did not write");
}

TEST(Recognise, ConfigsOfTheWrongKind) {
  const std::pair<const char*, const char*> cases[] = {
      {R"({"quant_method":"gptq","bits":"four"})", "quantization_config: bits is \"four\", but must be a whole number"},
      {R"({"quant_method":"gptq","bits":99})", "bits is 99, but must be a number of bits from 1 to 16"},
      {R"({"quant_method":"gptq","group_size":0})", "group_size is 0, but must be -1 or a positive group size"},
      {R"({"quant_method":"gptq","group_size":18446744073709551615})", "must be a number in range"},
      {R"({"quant_method":7})", "quant_method is 7, but must be a string"},
      {R"({"quant_method":"gptq","sym":"yes"})", "sym is \"yes\", but must be true or false"},
      {R"({"quant_method":"gptq","dynamic":[1]})", "dynamic is [1], but must be an object"},
      {R"({"quant_method":"gptq","dynamic":{"+:a":{"bits":0}}})", "rule '+:a': bits is 0"},
      {R"({"quant_method":"compressed-tensors","config_groups":{"g":{"weights":[]}}})", "config_groups.g.weights is not an object"},
      {R"({"quant_method":"billfish"})", "quant_method is billfish, but there is no source"},
      {R"({"quant_method":"billfish","source":{"quant_method":"billfish"}})", "source is itself billfish"},
      {R"([1])", "not an object"},
      {R"({"quant_method":nonsense})", "not valid JSON"}};
  for (const auto& [config, words] : cases) expect_bad(Case(gptq(), config), words);
  expect_bad(Case(gptq(), std::string(100, '[')), "JSON nested deeper than 64");
  expect_bad(Case(gptq(), "{\"a\":"), "'}' is missing at the end (truncated?)");
  expect_bad(Case(gptq(), std::string("{\"bits\":4}\0left", 15)), "is 0; there may be spaces after the text");
}

TEST(Recognise, MetadataOfPackedFilesIsChecked) {
  const auto with = [&](const std::string& json) { return "{\"billfish\":\"" + json + "\"}"; };
  expect_bad(Case(gptq(), "", with("nonsense")), "__metadata__.billfish: not a JSON object");
  expect_bad(Case(gptq(), "", with("{\\\"version\\\":2}")), "version is not 1");
  expect_bad(Case(gptq(), "", with("{\\\"version\\\":1}")), "there is no object layers");
  expect_bad(Case(gptq(), "", with("{\\\"version\\\":1,\\\"layers\\\":{\\\"m\\\":{}}}")),
             "layer 'm' needs a string source and a number group");
  expect_bad(Case(gptq(), "", with("{\\\"version\\\":1,\\\"layers\\\":{\\\"m\\\":{\\\"source\\\":\\\"x\\\",\\\"group\\\":1}}}")),
             "unknown source 'x'");
  expect_bad(Case(gptq(), "", with("{\\\"version\\\":1,\\\"layers\\\":{\\\"m\\\":{\\\"source\\\":\\\"gptq\\\",\\\"group\\\":0}}}")),
             "has the group 0");
  expect_bad(Case(gptq(), "", with("{\\\"version\\\":1,\\\"layers\\\":{\\\"x\\\":{\\\"source\\\":\\\"gptq\\\",\\\"group\\\":32}}}")),
             "describes layer 'x', which has no qweight");
  expect_bad(Case(gptq(), "", with("{\\\"version\\\":1,\\\"layers\\\":{\\\"m\\\":{\\\"source\\\":\\\"gptq\\\",\\\"group\\\":32}}}")),
             "layer 'm' is packed, but has no I64 weight_shape");
}

}  // namespace
}  // namespace billfish
