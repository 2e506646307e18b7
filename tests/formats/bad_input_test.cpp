// SPDX-License-Identifier: Apache-2.0
// Bad checkpoints beyond those of the other tests: dtypes and shapes that no writer should write, packed files that somebody has changed,
// and conversions that cannot be carried out. Each is refused with a message that says where and what, and leaves nothing behind.
#include <gtest/gtest.h>

#include "formats/cases.hpp"
#include "formats/convert.hpp"
#include "formats/packer.hpp"
#include "formats/text.hpp"
#include "reference/reference.hpp"

namespace billfish {
namespace {

namespace fs = std::filesystem;
using test::Case;
using test::expect_bad;
using test::expect_refused;
using test::expect_unsupported;
using test::gptq;
using test::kGptq4;
using test::Plain;
using test::random_plain;
using test::TestTensor;

std::vector<TestTensor> compressed(const test::PlainOptions& options = {}, std::int64_t k = 64) {
  return test::compressed_tensors(random_plain(k, 64, 32, options, 1), "m", options.symmetric, options.act_order);
}

TEST(BadInput, DtypesThatNoReaderKnows) {
  auto tensors = gptq();
  tensors[3] = test::tensor("m.g_idx", "I64", {128}, std::vector<std::int64_t>(128));
  Case order(tensors, kGptq4);
  expect_unsupported(order, "g_idx of dtype I64 is not supported: I32 is");
  tensors = gptq();
  tensors[0].dtype = "U32";
  Case codes(tensors, kGptq4);
  expect_unsupported(codes, "qweight of dtype U32 is not supported: I32 is");
  tensors = compressed({4, false, false, true, 0});
  tensors[3] = test::tensor("m.weight_zero_point", "I8", {64, 2}, std::vector<std::int8_t>(128));
  Case zeros(tensors, "");
  expect_unsupported(zeros, "weight_zero_point of dtype I8 is not supported: packed I32 is");
  tensors = compressed();
  tensors[0] = test::tensor("m.weight_shape", "F32", {2}, std::vector<float>{64, 64});
  expect_bad(Case(tensors, ""), "'m.weight_shape' is F32, not I64");
}

TEST(BadInput, ShapesOfCompressedTensors) {
  auto tensors = compressed();
  tensors[1].shape = {8, 8, 8};
  Case experts(tensors, "");
  expect_unsupported(experts, "weight_packed of shape [8,8,8] (fused experts) is not supported");
  tensors = compressed();
  tensors[1].shape = {512};
  expect_bad(Case(tensors, ""), "'m.weight_packed' has shape [512], expected two dimensions");
  tensors = compressed();
  tensors[2] = test::tensor("m.weight_scale", "BF16", {1}, std::vector<std::uint16_t>{0x3f80});
  Case one_scale(tensors, "");
  expect_unsupported(one_scale, "one scale for the whole matrix (strategy tensor) is not supported");
  tensors[2] = test::random_f16("m.weight_scale", {65, 2}, 1);
  expect_bad(Case(tensors, ""), "'m.weight_scale' has shape [65,2], expected [64,groups]");
  tensors[2] = test::random_f16("m.weight_scale", {64, 0}, 1);
  expect_bad(Case(tensors, ""), "is empty: n = 64, k = 64, groups = 0");
  Case two(compressed({2, true, false, true, 0}),
           R"({"quant_method":"compressed-tensors","config_groups":{"g":{"weights":{"num_bits":2}}}})");
  expect_unsupported(two, "2-bit codes are not supported: 4 and 8 are");
}

TEST(BadInput, AwqWithOtherBits) {
  const std::vector<TestTensor> tensors = {test::tensor("m.qweight", "I32", {64, 16}, std::vector<std::int32_t>(1024, 7)),
                                           test::tensor("m.qzeros", "I32", {2, 16}, std::vector<std::int32_t>(32, 7)),
                                           test::random_f16("m.scales", {2, 64}, 1)};
  Case eight(tensors, R"({"quant_method":"awq","bits":8,"group_size":32})");
  expect_unsupported(eight, "AWQ with 8 bits is not supported: 4 are");
}

TEST(BadInput, ConfigsInUnusualPlaces) {
  // In the metadata of the file itself.
  const std::vector<TestTensor> tensors = gptq({}, 256, 64, 64);
  Case inside(tensors, "", R"({"quantization_config":"{\"quant_method\":\"gptq\",\"bits\":4,\"group_size\":64,\"sym\":true}"})");
  ASSERT_TRUE(inside.opened.ok()) << inside.opened.status().message();
  EXPECT_NE((*inside.opened)->why().find("__metadata__.quantization_config"), std::string::npos) << (*inside.opened)->why();
  expect_bad(Case(tensors, "", "{\"quantization_config\":\"" + std::string(100, '[') + "\"}"),
             "__metadata__.quantization_config: JSON nested deeper than 64");
  std::string rules;
  for (int i = 0; i <= 10000; ++i) rules += (i > 0 ? ",\"+:" : "\"+:") + std::to_string(i) + "\":{\"bits\":4}";
  expect_bad(Case(tensors, "{\"quant_method\":\"gptq\",\"dynamic\":{" + rules + "}}"),
             "10001 per-layer rules; at most 10000 are supported");
  Case other({test::random_f16("w.weight", {8, 8}, 1)}, R"({"quant_method":"exotic"})");
  ASSERT_TRUE(other.opened.ok());
  EXPECT_EQ((*other.opened)->format(), "none");
  EXPECT_NE((*other.opened)->why().find("exotic"), std::string::npos) << (*other.opened)->why();
  test::Folder folder;
  test::write_file(folder / "model.safetensors", test::safetensors_file(tensors));
  test::write_file(folder / "config.json", "{");
  fs::resize_file(folder / "config.json", 100'000'001);
  expect_refused(formats::open_checkpoint(folder.path()).status(), Code::bad_input, "has 100000001 bytes; at most 100000000 are read");
}

TEST(BadInput, LayersThatDoNotExist) {
  Case made(gptq(), kGptq4);
  ASSERT_TRUE(made.opened.ok());
  for (const std::int64_t layer : {std::int64_t{-1}, std::int64_t{1}, std::int64_t{1} << 40})
    expect_refused((*made.opened)->load(layer).status(), Code::invalid_argument, "there are 1 layers");
}

// Names come from files: a message stays one line of UTF-8 whatever they are.
TEST(BadInput, NamesThatDoNotFitAMessage) {
  EXPECT_EQ(formats::quote("a\nb\x7f\x1b["), "'a?b??['");
  EXPECT_EQ(formats::quote("\xc3\xa9 \xe2\x82\xac \xf0\x9f\x90\x9f"), "'\xc3\xa9 \xe2\x82\xac \xf0\x9f\x90\x9f'");
  EXPECT_EQ(formats::quote("\xc3( \xa0 \xff \xe2\x82"),
            "'?( ? ? ?"
            "?'");
  for (std::size_t cut = 0; cut < 3; ++cut) {  // the limit may fall within a character
    std::string name(cut, 'x');
    for (int i = 0; i < 100; ++i) name += "\xe2\x82\xac";
    const std::string quoted = formats::quote(name);
    EXPECT_LE(quoted.size(), 205u);
    EXPECT_EQ(quoted.substr(quoted.size() - 7), "\xe2\x82\xac...'") << cut;
  }
}

TEST(BadInput, ShardsWithoutAnIndexAreReadTogether) {
  test::Folder folder;
  const std::vector<TestTensor> tensors = gptq();
  test::write_file(folder / "model-00001-of-00002.safetensors", test::safetensors_file({tensors[0], tensors[3]}));
  test::write_file(folder / "model-00002-of-00002.safetensors", test::safetensors_file({tensors[1], tensors[2]}));
  const auto opened = formats::open_checkpoint(folder.path());
  ASSERT_TRUE(opened.ok()) << opened.status().message();
  EXPECT_EQ((*opened)->layers().size(), 1u);
  const auto alone = formats::open_checkpoint(folder / "model-00001-of-00002.safetensors");
  expect_refused(alone.status(), Code::bad_input, "has qweight but no scales (if it lies in another shard, name the directory)");
}

// --- packed files that somebody has changed

// A packed file whose bytes are changed in place. Lengths must stay, or offsets would move.
class Packed {
 public:
  explicit Packed(const std::vector<TestTensor>& tensors) {
    test::write_file(folder_ / "in.safetensors", test::safetensors_file(tensors));
    const Status status = formats::pack_checkpoint(folder_ / "in.safetensors", folder_ / "p.safetensors", test::options());
    EXPECT_TRUE(status.ok()) << status.message();
    bytes_ = test::read_file(folder_ / "p.safetensors");
  }
  void change(const std::string& from, const std::string& to) {
    ASSERT_EQ(from.size(), to.size());
    const std::size_t at = bytes_.find(from);
    ASSERT_NE(at, std::string::npos) << from;
    bytes_.replace(at, to.size(), to);
    test::write_file(folder_ / "p.safetensors", bytes_);
  }
  Status open() const { return formats::open_checkpoint(folder_ / "p.safetensors").status(); }
  Status load() const {
    const auto opened = formats::open_checkpoint(folder_ / "p.safetensors");
    return opened.ok() ? (*opened)->load(0).status() : opened.status();
  }
  Status unpack(const std::string& format = "") const {
    const Status status = formats::unpack_checkpoint(folder_ / "p.safetensors", folder_ / "u.safetensors", format, test::options());
    EXPECT_EQ(folder_.names().size(), status.ok() ? 3u : 2u) << "something was left behind";
    return status;
  }
  bool came_back() const { return test::read_file(folder_ / "u.safetensors") == test::read_file(folder_ / "in.safetensors"); }

 private:
  test::Folder folder_;
  std::string bytes_;
};

std::string words(const std::vector<std::int64_t>& values) { return test::bytes_of_vector(values); }
std::string words(const std::vector<std::int32_t>& values) { return test::bytes_of_vector(values); }

TEST(BadInput, PackedTensorsOfOtherTypesAndValues) {
  const std::vector<TestTensor> ordered = gptq({4, true, true, false, 0});
  Packed untouched(ordered);
  ASSERT_TRUE(untouched.unpack().ok());
  EXPECT_TRUE(untouched.came_back());
  Packed perm(ordered);
  perm.change(R"("m.perm":{"dtype":"I32")", R"("m.perm":{"dtype":"F32")");
  expect_refused(perm.open(), Code::bad_input, "'m.perm' is F32, not I32");
  Packed size(ordered);
  size.change(words(std::vector<std::int64_t>{64, 128}), words(std::vector<std::int64_t>{-64, 128}));
  expect_refused(size.open(), Code::bad_input, "'m.weight_shape' says n = -64, k = 128");
  Plain uneven = random_plain(64, 64, 32, {}, 3);
  for (std::size_t row = 0; row < 64; ++row) uneven.g_idx[row] = row < 20 ? 0 : 1;
  std::vector<std::int32_t> sorted(uneven.g_idx), unsorted(uneven.g_idx);
  unsorted[30] = 0;
  Packed groups(test::gptq_tensors(uneven, "m", true, true));
  groups.change(words(sorted), words(unsorted));
  expect_refused(groups.load(), Code::bad_input, "'m.g_idx': not sorted at element 30");
}

TEST(BadInput, LayersDescribedInTwoFiles) {
  test::Folder folder;
  const std::string metadata = R"({"billfish":"{\"version\":1,\"layers\":{\"m\":{\"source\":\"gptq\",\"group\":32}}}"})";
  test::write_file(folder / "m-1-of-2.safetensors", test::safetensors_file(gptq(), metadata));
  test::write_file(folder / "m-2-of-2.safetensors", test::safetensors_file({test::random_bytes("x", 4)}, metadata));
  expect_refused(formats::open_checkpoint(folder.path()).status(), Code::bad_input, "layer 'm' is described in two files");
}

TEST(BadInput, RememberedHeadersThatAreGone) {
  Packed packed(gptq());
  packed.change("billfish.source_header", "billfish.source_headex");
  expect_refused(packed.unpack(), Code::bad_input, "does not remember its source's header (billfish.source_header): name a --format");
  EXPECT_TRUE(packed.unpack("gptq").ok());
}

TEST(BadInput, RememberedHeadersThatLie) {
  auto tensors = gptq();
  tensors.push_back(test::random_f16("embed.weight", {8, 8}, 3));
  Packed absent(tensors);
  absent.change(R"(\"embed.weight\")", R"(\"embed.height\")");
  expect_refused(absent.unpack(), Code::bad_input, "names the tensor 'embed.height' (F16 [8,8]), which the packed file does not hold");
  Packed shape(tensors);
  shape.change(R"(\"m.qweight\":{\"dtype\":\"I32\",\"shape\":[16,64])", R"(\"m.qweight\":{\"dtype\":\"I32\",\"shape\":[64,16])");
  expect_refused(shape.unpack(), Code::bad_input, "'m.qweight' is I32 [64,16], but the packed layer gives I32 [16,64]");
  Packed broken(tensors);
  broken.change(R"({\"m.qweight\":{)", R"([\"m.qweight\":{)");
  expect_refused(broken.unpack(), Code::bad_input, "billfish.source_header: ");
  Packed kept(gptq({4, false, false, false, 0}, 128, 61, 32));  // 61 zeros do not fill their words
  kept.change(R"("m.source_qzeros":{"dtype":"I32")", R"("m.source_qzeros":{"dtype":"F32")");
  expect_refused(kept.unpack(), Code::bad_input, "'m.source_qzeros' is F32 [4,8], expected I32 [4,8]");
  Packed twice({test::tensor("m.B", "I32", {8, 256}, std::vector<std::int32_t>(2048, 0x12345678)), test::random_f16("m.s", {1, 128}, 1),
                test::random_f16("m.zweight", {4}, 1)});
  twice.change(R"(\"m.zweight\")", R"(\"m.qweight\")");
  expect_refused(twice.unpack(), Code::bad_input, "names two tensors that are");
}

// --- conversions that cannot be carried out

TEST(BadInput, TensorsInTheWayOfNewOnes) {
  test::Folder folder;
  auto tensors = gptq();
  tensors.push_back(test::random_f16("m.weight_packed", {4}, 1));  // means nothing to GPTQ
  test::write_file(folder / "in.safetensors", test::safetensors_file(tensors));
  expect_refused(formats::unpack_checkpoint(folder / "in.safetensors", folder / "out.safetensors", "compressed-tensors", test::options()),
                 Code::bad_input, "the tensor 'm.weight_packed' would be written twice");
  EXPECT_EQ(folder.names().size(), 1u);
}

TEST(BadInput, TensorsThatOnePackedLayerHasNoPlaceFor) {
  test::Folder folder;
  const std::vector<TestTensor> tensors = {test::tensor("m.B", "I32", {8, 256}, std::vector<std::int32_t>(2048, 0x12345678)),
                                           test::random_f16("m.s", {1, 128}, 1), test::random_f16("m.scales", {4}, 1)};
  test::write_file(folder / "in.safetensors", test::safetensors_file(tensors));
  expect_refused(formats::pack_checkpoint(folder / "in.safetensors", folder / "out.safetensors", test::options()), Code::bad_input,
                 "'m.scales' is one tensor too many for a layer in marlin storage");
}

TEST(BadInput, GroupsThatAwqCannotHoldTogether) {
  test::Folder folder;
  std::vector<TestTensor> tensors = test::awq_tensors(random_plain(128, 64, 32, {4, false, false, false, 0}, 1), "a");
  test::append(tensors, test::awq_tensors(random_plain(128, 64, 64, {4, false, false, false, 0}, 2), "b"));
  test::write_file(folder / "in.safetensors", test::safetensors_file(tensors));
  expect_refused(formats::unpack_checkpoint(folder / "in.safetensors", folder / "out.safetensors", "awq", test::options()),
                 Code::unsupported,
                 "AWQ has one group size for all layers, but 'a' has 32 and 'b' has 64: gptq and compressed-tensors can hold both");
  EXPECT_TRUE(
      formats::unpack_checkpoint(folder / "in.safetensors", folder / "out.safetensors", "compressed-tensors", test::options()).ok());
}

TEST(BadInput, HeadersThatGrowTooLong) {
  test::Folder folder;
  auto tensors = gptq();
  tensors.push_back({std::string(60'000'000, 'x'), "U8", {0}, ""});  // remembered as well, it is there twice
  test::write_file(folder / "in.safetensors", test::safetensors_file(tensors));
  expect_refused(formats::pack_checkpoint(folder / "in.safetensors", folder / "out.safetensors", test::options()), Code::unsupported,
                 "bytes; safetensors allows 100000000");
  EXPECT_EQ(folder.names().size(), 1u);
}

TEST(BadInput, FilesInFoldersThatDoNotExist) {
  test::Folder folder;
  test::write_file(folder / "in.safetensors", test::safetensors_file(gptq()));
  expect_refused(formats::pack_checkpoint(folder / "in.safetensors", folder / "no/such.safetensors", test::options()), Code::io_error,
                 "No such file or directory");
}

// --- unusual, and right

TEST(Unusual, NamesThatNeedEscapes) {
  test::Folder folder;
  std::vector<TestTensor> tensors = test::gptq_tensors(random_plain(64, 64, 32, {}, 1), R"(m\t\u0001\"\\)", true, true);
  test::write_file(folder / "in.safetensors", test::safetensors_file(tensors));
  ASSERT_TRUE(formats::pack_checkpoint(folder / "in.safetensors", folder / "p.safetensors", test::options()).ok());
  const auto opened = formats::open_checkpoint(folder / "p.safetensors");
  ASSERT_TRUE(opened.ok()) << opened.status().message();
  EXPECT_EQ((*opened)->layers()[0].name, "m\t\x01\"\\");
  ASSERT_TRUE(formats::unpack_checkpoint(folder / "p.safetensors", folder / "u.safetensors", "", test::options()).ok());
  EXPECT_TRUE(test::read_file(folder / "in.safetensors") == test::read_file(folder / "u.safetensors"));
}

TEST(Unusual, ConfigsWithoutAQuantisationPartGetOne) {
  for (const auto& [before, rest] : {std::pair<std::string, std::string>{"{}", "}"}, {"{ \"a\": 1}", "\"a\": 1"}}) {
    test::Folder folder;
    fs::create_directory(folder / "in");
    test::write_file(folder / "in/model.safetensors", test::safetensors_file(gptq()));
    test::write_file(folder / "in/config.json", before);
    test::write_file(folder / "in/quantize_config.json", R"({"bits":4,"group_size":32,"sym":true})");
    ASSERT_TRUE(formats::unpack_checkpoint(folder / "in", folder / "out", "compressed-tensors", test::options()).ok());
    const auto opened = formats::open_checkpoint(folder / "out");
    ASSERT_TRUE(opened.ok()) << opened.status().message();
    EXPECT_NE((*opened)->why().find("quant_method is compressed-tensors"), std::string::npos) << (*opened)->why();
    EXPECT_NE(test::read_file(folder / "out/config.json").find(rest), std::string::npos);
    EXPECT_FALSE(fs::exists(folder / "out/quantize_config.json"));
  }
}

// The source's index comes back as it was, unless it would not be true.
TEST(Unusual, IndexesThatAreSpelledOddlyLostOrWrong) {
  test::Folder source, out;
  const std::vector<TestTensor> tensors = gptq();
  test::write_file(source / "a.safetensors", test::safetensors_file({tensors[0], tensors[1], tensors[2]}));
  test::write_file(source / "b.safetensors", test::safetensors_file({tensors[3], test::random_f16("embed.weight", {8, 8}, 3)}));
  const std::string index = R"({"weight\u005fmap":{"m.qweight":"a.safetensors","m.qzeros":"a.safetensors","m.scales":"a.safetensors",)"
                            R"("m.g_idx":"b.safetensors","embed.weight":"b.safetensors"},"metadata":{"total_size":1}})";
  test::write_file(source / "model.safetensors.index.json", index);
  ASSERT_TRUE(formats::pack_checkpoint(source.path(), out / "packed", test::options()).ok());
  ASSERT_TRUE(formats::open_checkpoint(out / "packed").ok());
  ASSERT_TRUE(formats::unpack_checkpoint(out / "packed", out / "back", "", test::options()).ok());
  EXPECT_EQ(test::read_file(out / "back/model.safetensors.index.json"), index);
  const std::string bytes = test::read_file(out / "packed/a.safetensors");
  int number = 0;
  for (const auto& [from, to] : {std::pair<std::string, std::string>{"billfish.source_index", "billfish.source_indox"},
                                 {R"(\"m.g_idx\":\"b.safe)", R"(\"m.g_idx\":\"a.safe)"}}) {
    std::string changed = bytes;
    const std::size_t at = changed.find(from);
    ASSERT_NE(at, std::string::npos) << from;
    ASSERT_EQ(from.size(), to.size());
    test::write_file(out / "packed/a.safetensors", changed.replace(at, to.size(), to));
    const std::string back = out / ("back-" + std::to_string(number++));
    ASSERT_TRUE(formats::unpack_checkpoint(out / "packed", back, "", test::options()).ok());
    EXPECT_NE(test::read_file(back + "/model.safetensors.index.json"), index);
    const auto opened = formats::open_checkpoint(back);
    ASSERT_TRUE(opened.ok()) << opened.status().message();
    EXPECT_TRUE(test::read_file(back + "/b.safetensors") == test::read_file(source / "b.safetensors"));
  }
}

}  // namespace
}  // namespace billfish
