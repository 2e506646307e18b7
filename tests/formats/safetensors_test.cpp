// SPDX-License-Identifier: Apache-2.0
// Every way in which a safetensors header can be wrong is refused with a message that says where and what.
#include "formats/safetensors.hpp"

#include <gtest/gtest.h>

#include "formats/files.hpp"
#include "formats/model.hpp"

namespace billfish::formats {
namespace {

Result<Header> parse(const std::string& bytes) {
  return parse_safetensors("f.safetensors", std::as_bytes(std::span(bytes.data(), bytes.size())));
}

void expect_refused(const std::string& bytes, const std::string& words) {
  const Result<Header> header = parse(bytes);
  ASSERT_FALSE(header.ok()) << words;
  EXPECT_EQ(header.status().code(), Code::bad_input);
  EXPECT_EQ(header.status().message().rfind("f.safetensors: ", 0), 0u) << header.status().message();
  EXPECT_NE(header.status().message().find(words), std::string::npos) << header.status().message() << "\n  lacks: " << words;
}

std::string entry(const std::string& name, const std::string& dtype, const std::string& shape, const std::string& offsets) {
  return "\"" + name + "\":{\"dtype\":\"" + dtype + "\",\"shape\":[" + shape + "],\"data_offsets\":[" + offsets + "]}";
}

TEST(Safetensors, ReadsWhatIsRight) {
  const auto header =
      parse(test::safetensors_file("{\"__metadata__\":{\"format\":\"pt\",\"a\\\"b\":\"\"}," + entry("b", "F16", "2,3", "4,16") + "," +
                                       entry("a", "I32", "", "0,4") + "," + entry("e", "F32", "0,7", "4,4") + "}  ",
                                   std::string(16, 'x')));
  ASSERT_TRUE(header.ok()) << header.status().message();
  ASSERT_EQ(header->tensors.size(), 3u);
  EXPECT_EQ(header->tensors[0].name, "a");
  EXPECT_EQ(header->tensors[1].name, "e");
  EXPECT_EQ(header->tensors[2].shape, (std::vector<std::int64_t>{2, 3}));
  EXPECT_EQ(*header->find_metadata("format"), "pt");
  EXPECT_EQ(header->find_metadata("a\"b")->size(), 0u);
  EXPECT_TRUE(parse(test::safetensors_file("{}", "")).ok());
}

TEST(Safetensors, LengthsThatTheFileDoesNotHave) {
  expect_refused("", "0 bytes are too few");
  expect_refused("1234567", "7 bytes are too few");
  std::string huge(16, '\0');
  huge[7] = 0x10;  // 2^60
  expect_refused(huge, "the header claims 1152921504606846976 bytes; the limit is 100000000");
  std::string just_over(16, '\0');
  const std::uint64_t length = 100'000'001;
  for (int i = 0; i < 8; ++i) just_over[static_cast<std::size_t>(i)] = static_cast<char>(length >> (8 * i));
  expect_refused(just_over, "the header claims 100000001 bytes; the limit is 100000000");
  expect_refused(test::safetensors_file("{}", "").substr(0, 9), "the header claims 2 bytes, but only 1 follow (truncated?)");
}

TEST(Safetensors, TruncatedData) {
  const std::string whole = test::safetensors_file("{" + entry("w", "F32", "4", "0,16") + "}", std::string(16, 'x'));
  ASSERT_TRUE(parse(whole).ok());
  expect_refused(whole.substr(0, whole.size() - 1), "tensor 'w' ends at byte 16 of the data, but the file holds only 15 (truncated?)");
}

TEST(Safetensors, HolesOverlapsAndLeftovers) {
  expect_refused(test::safetensors_file("{" + entry("a", "U8", "2", "0,2") + "," + entry("b", "U8", "2", "3,5") + "}", "12345"),
                 "a hole of 1 bytes before tensor 'b' at byte 3");
  expect_refused(test::safetensors_file("{" + entry("a", "U8", "1", "1,2") + "}", "12"), "a hole of 1 bytes before tensor 'a'");
  expect_refused(test::safetensors_file("{" + entry("a", "U8", "3", "0,3") + "," + entry("b", "U8", "2", "2,4") + "}", "1234"),
                 "tensor 'b' begins at byte 2 and overlaps 'a', which ends at 3");
  expect_refused(test::safetensors_file("{" + entry("a", "U8", "3", "0,3") + "}", "1234"), "1 bytes after the last tensor belong to none");
}

TEST(Safetensors, SizesThatContradictEachOther) {
  expect_refused(test::safetensors_file("{" + entry("a", "F16", "3", "0,5") + "}", "12345"), "span 5 bytes, but F16 [3] needs 6");
  expect_refused(test::safetensors_file("{" + entry("a", "U8", "4294967296,4294967296", "0,0") + "}", ""),
                 "the product of shape [4294967296,4294967296] overflows");
  expect_refused(test::safetensors_file("{" + entry("a", "I64", "9223372036854775807", "0,8") + "}", "12345678"), "overflows");
  expect_refused(test::safetensors_file("{" + entry("a", "U8", "2", "4,2") + "}", "1234"), "data_offsets [4,2] end before they begin");
  expect_refused(test::safetensors_file("{" + entry("a", "F4", "3", "0,2") + "}", "12"), "is no whole number of bytes");
}

TEST(Safetensors, NegativeAndOutOfRangeNumbers) {
  expect_refused(test::safetensors_file("{" + entry("a", "U8", "-2", "0,2") + "}", "12"), "tensor 'a': shape holds the negative number -2");
  expect_refused(test::safetensors_file("{" + entry("a", "U8", "2", "-1,2") + "}", "12"), "data_offsets holds the negative number -1");
  expect_refused(test::safetensors_file("{" + entry("a", "U8", "18446744073709551615", "0,2") + "}", "12"), "too large");
  expect_refused(test::safetensors_file("{" + entry("a", "U8", "99999999999999999999", "0,2") + "}", "12"), "not a whole number in range");
  expect_refused(test::safetensors_file("{" + entry("a", "U8", "1.5", "0,2") + "}", "12"),
                 "holds 1.5, which is not a whole number in range");
  expect_refused(test::safetensors_file("{" + entry("a", "U8", "2", "0,9223372036854775807") + "}", "12"),
                 "span 9223372036854775807 bytes");
}

TEST(Safetensors, UnknownDtypesAndKeys) {
  expect_refused(test::safetensors_file("{" + entry("a", "F13", "2", "0,2") + "}", "12"), "tensor 'a' has the unknown dtype 'F13'");
  expect_refused(test::safetensors_file(R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2],"x":1}})", "12"),
                 "tensor 'a' has an unknown key 'x'");
  expect_refused(test::safetensors_file(R"({"a":{"dtype":"U8","data_offsets":[0,2]}})", "12"), "tensor 'a' has no shape");
  expect_refused(test::safetensors_file(R"({"a":{"shape":[2],"data_offsets":[0,2]}})", "12"), "tensor 'a' has no dtype");
  expect_refused(test::safetensors_file(R"({"a":{"dtype":"U8","shape":[2]}})", "12"), "tensor 'a' has no data_offsets");
  expect_refused(test::safetensors_file(R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0]}})", "12"),
                 "data_offsets needs 2 numbers, has 1");
  expect_refused(test::safetensors_file(R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,1,2]}})", "12"),
                 "data_offsets has more than 2 numbers");
}

TEST(Safetensors, DuplicateKeys) {
  expect_refused(test::safetensors_file("{" + entry("a", "U8", "1", "0,1") + "," + entry("a", "U8", "1", "1,2") + "}", "12"),
                 "the tensor 'a' occurs twice");
  expect_refused(test::safetensors_file("{" + entry("a", "U8", "1", "0,1") + "," + entry("\\u0061", "U8", "1", "1,2") + "}", "12"),
                 "the tensor 'a' occurs twice");
  expect_refused(test::safetensors_file(R"({"a":{"dtype":"U8","dtype":"U8","shape":[2],"data_offsets":[0,2]}})", "12"),
                 "has the key 'dtype' twice");
  expect_refused(test::safetensors_file(R"({"__metadata__":{"k":"1","k":"2"}})", ""), "the key 'k' occurs twice in __metadata__");
  expect_refused(test::safetensors_file(R"({"__metadata__":{},"__metadata__":{}})", ""), "the key '__metadata__' occurs twice");
}

TEST(Safetensors, JsonThatIsNoHeader) {
  expect_refused(test::safetensors_file("", ""), "does not begin with '{'");
  expect_refused(test::safetensors_file("[1,2]", ""), "does not begin with '{'");
  expect_refused(test::safetensors_file("{\"a\":", ""), "not valid JSON at byte");
  expect_refused(test::safetensors_file("{} trailing", ""), "not valid JSON at byte");
  expect_refused(test::safetensors_file(std::string("{}\0{}", 5), ""), "not valid JSON: byte 2 is 0");
  expect_refused(test::safetensors_file("{\"a\":\"\xff\"}", ""), "not valid JSON at byte");
  expect_refused(test::safetensors_file("{\"ab\xa0", ""), "last read: '\"ab?'");  // what is not UTF-8 stays out of the message
  expect_refused(test::safetensors_file(R"({"a":7})", ""), "the entry of 'a' is a number, not an object");
  expect_refused(test::safetensors_file(R"({"a":[7]})", ""), "the entry of 'a' is an array, not an object");
  expect_refused(test::safetensors_file(R"({"a":{"dtype":7}})", ""), "tensor 'a': dtype holds a number");
  expect_refused(test::safetensors_file(R"({"a":{"shape":null}})", ""), "tensor 'a': shape holds null");
  expect_refused(test::safetensors_file(R"({"a":{"shape":true}})", ""), "tensor 'a': shape holds a boolean");
  expect_refused(test::safetensors_file(R"({"a":{"shape":["x"]}})", ""), "tensor 'a': shape holds a string");
  expect_refused(test::safetensors_file(R"({"__metadata__":{"a":7}})", ""), "__metadata__ value of 'a' is a number, not a string");
  expect_refused(test::safetensors_file(R"({"__metadata__":"x"})", ""), "the entry of '__metadata__' is a string, not an object");
}

TEST(Safetensors, NestedBombs) {
  expect_refused(test::safetensors_file(R"({"a":{"shape":[[1]]}})", ""), "nests deeper than a header can");
  expect_refused(test::safetensors_file(R"({"a":{"dtype":{"x":1}}})", ""), "nests deeper than a header can");
  expect_refused(test::safetensors_file("{\"a\":{\"shape\":" + std::string(1 << 20, '['), ""), "nests deeper than a header can");
  std::string objects;
  for (int i = 0; i < 100000; ++i) objects += "{\"a\":";
  expect_refused(test::safetensors_file(objects, ""), "unknown key 'a'");
  expect_refused(test::safetensors_file("{\"__metadata__\":" + objects, ""), "nests deeper than a header can");
}

// --- several files

void expect_model_refused(const std::string& path, Code code, const std::string& words) {
  const Result<Model> model = open_model(path);
  ASSERT_FALSE(model.ok()) << words;
  EXPECT_EQ(model.status().code(), code);
  EXPECT_NE(model.status().message().find(words), std::string::npos) << model.status().message() << "\n  lacks: " << words;
}

TEST(Models, PathsThatHoldNothing) {
  test::Folder folder;
  expect_model_refused(folder / "missing", Code::bad_input, "No such file or directory");
  expect_model_refused(folder.path(), Code::bad_input, "holds no .safetensors file");
  expect_model_refused("", Code::bad_input, "is not a path");
  expect_model_refused("/dev/null", Code::bad_input, "it is not a regular file");
  test::write_file(folder / "a.safetensors", test::safetensors_file("{}", ""));
  test::write_file(folder / "b.safetensors", test::safetensors_file("{}", ""));
  expect_model_refused(folder.path(), Code::bad_input, "holds 2 .safetensors files ('a.safetensors', 'b.safetensors', ...) and no index");
}

TEST(Models, ShardNamesThatLeaveTheDirectory) {
  for (const std::string name : {"../x.safetensors", "/etc/passwd", "a/b.safetensors", "..", ".", "", "a\\\\b", "a\\u0000b"}) {
    test::Folder folder;
    test::write_file(folder / "model.safetensors.index.json", "{\"weight_map\":{\"w\":\"" + name + "\"}}");
    expect_model_refused(folder.path(), Code::bad_input, "leaves the directory: a plain file name is needed");
  }
}

TEST(Models, IndexesThatContradictTheirShards) {
  test::Folder folder;
  const std::string index = folder / "model.safetensors.index.json";
  const auto write_index = [&](const std::string& json) { test::write_file(index, json); };
  write_index("{\"weight_map\":{\"w\":\"s1.safetensors\"}}");
  expect_model_refused(folder.path(), Code::bad_input, "the shard 's1.safetensors' is missing");
  test::write_file(folder / "s1.safetensors", test::safetensors_file({test::random_bytes("v", 4)}));
  expect_model_refused(folder.path(), Code::bad_input, "the tensor 'w' is not in the shard 's1.safetensors'");
  write_index("{\"weight_map\":{\"v\":\"s1.safetensors\"}}");
  EXPECT_TRUE(open_model(folder.path()).ok());
  EXPECT_TRUE(open_model(index).ok());
  test::write_file(folder / "s2.safetensors", test::safetensors_file({test::random_bytes("v", 4), test::random_bytes("u", 4)}));
  write_index("{\"weight_map\":{\"v\":\"s1.safetensors\",\"u\":\"s2.safetensors\"}}");
  expect_model_refused(folder.path(), Code::bad_input, "the tensor 'v' is in both 's1.safetensors' and 's2.safetensors'");
  test::write_file(folder / "s2.safetensors", test::safetensors_file({test::random_bytes("u", 4)}) + "more");
  expect_model_refused(folder.path(), Code::bad_input, "s2.safetensors: 4 bytes after the last tensor belong to none");
  for (const char* json : {"{\"weight_map\":[]}", "[]", "{}", "{\"weight_map\":{\"v\":1}}", "{\"weight_map\":", "nonsense"}) {
    write_index(json);
    EXPECT_FALSE(open_model(folder.path()).ok()) << json;
  }
  write_index("{\"weight_map\":" + std::string(100, '['));
  expect_model_refused(folder.path(), Code::bad_input, "JSON nested deeper than 64");
}

}  // namespace
}  // namespace billfish::formats
