// SPDX-License-Identifier: Apache-2.0
// Conversions between formats, and what is left behind when one fails, is stopped or is killed: nothing.
#include "formats/convert.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "formats/cases.hpp"
#include "formats/checkpoint.hpp"
#include "formats/files.hpp"
#include "formats/generated.hpp"
#include "formats/packer.hpp"
#include "reference/reference.hpp"

namespace billfish {
namespace {

namespace fs = std::filesystem;
using test::expect_refused;
using test::Plain;
using test::TestTensor;

std::string gptq_folder(const test::Folder& folder, const Plain& plain, const std::string& more = "") {
  const std::string path = folder / "in";
  fs::create_directory(path);
  std::vector<TestTensor> tensors = test::gptq_tensors(plain, "l.0.a", true, true);
  tensors.push_back(test::random_f16("l.0.a.bias", {plain.n}, 2));
  tensors.push_back(test::random_f16("embed.weight", {64, 64}, 3));
  test::write_file(path + "/model.safetensors", test::safetensors_file(tensors, R"({"format":"pt"})"));
  test::write_file(path + "/config.json", "{\"a\": 1, \"quantization_config\": {\"quant_method\":\"gptq\",\"bits\":" +
                                              std::to_string(plain.bits) + ",\"group_size\":" + std::to_string(plain.group) + more + "}}");
  return path;
}

void expect_plain(const std::string& path, const Plain& plain) {
  const auto opened = formats::open_checkpoint(path);
  ASSERT_TRUE(opened.ok()) << opened.status().message();
  const auto matrix = (*opened)->load(0);
  ASSERT_TRUE(matrix.ok()) << matrix.status().message();
  ASSERT_EQ(matrix->n, plain.n);
  ASSERT_EQ(matrix->k, plain.k);
  std::int64_t wrong = 0;
  for (std::int64_t k = 0; k < plain.k; ++k) {
    for (std::int64_t n = 0; n < plain.n; ++n) {
      const std::size_t at = static_cast<std::size_t>(plain.g_idx[static_cast<std::size_t>(k)] * plain.n + n);
      wrong += reference::code_at(*matrix, k, n) != plain.codes[static_cast<std::size_t>(k * plain.n + n)];
      wrong += reference::zero_at(*matrix, k, n) != plain.zeros[at];
      wrong += reference::scale_at(*matrix, k, n) != f16_to_f32(plain.scales[at]);
    }
  }
  EXPECT_EQ(wrong, 0);
  ASSERT_NE(matrix->bias, nullptr);
  EXPECT_EQ(std::memcmp(matrix->bias, test::random_f16("", {plain.n}, 2).bytes.data(), static_cast<std::size_t>(plain.n * 2)), 0);
}

TEST(Convert, FromEveryFormatToEveryOther) {
  const Plain plain = test::random_plain(176, 72, 32, {4, false, false, false, 0}, 4);
  test::Folder folder;
  std::string from = gptq_folder(folder, plain);
  ASSERT_TRUE(formats::pack_checkpoint(from, folder / "packed", test::options()).ok());
  for (const std::string format : {"gptq", "gptq_v2", "awq", "compressed-tensors"}) {
    SCOPED_TRACE(format);
    const Status status = formats::unpack_checkpoint(folder / "packed", folder / format, format, test::options());
    ASSERT_TRUE(status.ok()) << status.message();
    expect_plain(folder / format, plain);
    const auto opened = formats::open_checkpoint(folder / format);
    EXPECT_EQ((*opened)->format(), format) << (*opened)->why();
    EXPECT_EQ((*opened)->unquantized().size(), 1u);
    // A plain checkpoint needs no packed one in between.
    ASSERT_TRUE(formats::unpack_checkpoint(folder / format, folder / ("again-" + format), "gptq_v2", test::options()).ok());
    expect_plain(folder / ("again-" + format), plain);
    ASSERT_TRUE(formats::pack_checkpoint(folder / format, folder / ("packed-" + format), test::options()).ok());
    expect_plain(folder / ("packed-" + format), plain);
    EXPECT_NE(test::read_file(folder / ("packed-" + format + "/config.json")).find("\"a\": 1"), std::string::npos);
  }
}

TEST(Convert, FormatsThatCannotHoldALayer) {
  test::Folder ordered, wide, odd;
  gptq_folder(ordered, test::random_plain(128, 64, 32, {4, true, true, false, 0}, 1));
  ASSERT_TRUE(formats::pack_checkpoint(ordered / "in", ordered / "packed", test::options()).ok());
  expect_refused(formats::unpack_checkpoint(ordered / "packed", ordered / "out", "awq", test::options()), Code::unsupported,
                 "AWQ cannot hold an activation order");
  gptq_folder(wide, test::random_plain(128, 64, 32, {8, true, false, false, 0}, 1));
  ASSERT_TRUE(formats::pack_checkpoint(wide / "in", wide / "packed", test::options()).ok());
  expect_refused(formats::unpack_checkpoint(wide / "packed", wide / "out", "awq", test::options()), Code::unsupported,
                 "AWQ holds 4-bit codes, not 8-bit ones");
  gptq_folder(odd, test::random_plain(128, 63, 32, {}, 1));
  ASSERT_TRUE(formats::pack_checkpoint(odd / "in", odd / "packed", test::options()).ok());
  expect_refused(formats::unpack_checkpoint(odd / "packed", odd / "out", "awq", test::options()), Code::unsupported,
                 "n to be a multiple of 8, not 63");
  expect_refused(formats::unpack_checkpoint(odd / "packed", odd / "out", "marlin", test::options()), Code::unsupported, "whole tiles");
  expect_refused(formats::unpack_checkpoint(odd / "packed", odd / "out", "exl2", test::options()), Code::invalid_argument,
                 "format is 'exl2'");
  expect_refused(formats::unpack_checkpoint(odd / "in", odd / "out", "", test::options()), Code::unsupported, "is not packed");
  for (const test::Folder* folder : {&ordered, &wide, &odd}) EXPECT_EQ(folder->names().size(), 2u);
}

TEST(Convert, LayersThatCannotBePackedAreNamedOrSkipped) {
  test::Folder folder;
  std::vector<TestTensor> tensors = test::gptq_tensors(test::random_plain(64, 64, 32, {}, 1), "good", true, true);
  tensors.push_back(test::tensor("bad.weight", "F8_E4M3", {8, 8}, std::vector<std::uint8_t>(64, 3)));
  tensors.push_back(test::random_f16("bad.weight_scale", {8, 1}, 1));
  test::write_file(folder / "in.safetensors", test::safetensors_file(tensors));
  expect_refused(formats::pack_checkpoint(folder / "in.safetensors", folder / "out.safetensors", test::options()), Code::unsupported,
                 "layer 'bad': weights of dtype F8_E4M3");
  EXPECT_EQ(folder.names().size(), 1u);
  formats::ConvertOptions skip = test::options();
  skip.skip_unsupported = true;
  ASSERT_TRUE(formats::pack_checkpoint(folder / "in.safetensors", folder / "out.safetensors", skip).ok());
  const auto opened = formats::open_checkpoint(folder / "out.safetensors");
  ASSERT_EQ((*opened)->layers().size(), 2u);
  EXPECT_FALSE((*opened)->layers()[0].supported);
  EXPECT_EQ((*opened)->layers()[1].format, Format::marlin);
  skip.want_layer = [](void*, const char*) { return 0; };
  expect_refused(formats::pack_checkpoint(folder / "in.safetensors", folder / "x.safetensors", skip), Code::bad_input,
                 "none of its 2 layers");
  test::write_file(folder / "plain.safetensors", test::safetensors_file({test::random_f16("w", {4, 4}, 1)}));
  expect_refused(formats::pack_checkpoint(folder / "plain.safetensors", folder / "x.safetensors", test::options()), Code::unsupported,
                 "has no quantised layers");
}

TEST(Convert, PackedTensorsAreAlignedAndNamedAsDocumented) {
  test::Folder folder;
  gptq_folder(folder, test::random_plain(90, 40, 32, {4, false, true, false, 0}, 1));
  ASSERT_TRUE(formats::pack_checkpoint(folder / "in", folder / "packed", test::options()).ok());
  const auto opened = formats::open_checkpoint(folder / "packed");
  ASSERT_TRUE(opened.ok());
  const auto matrix = (*opened)->load(0);
  ASSERT_TRUE(matrix.ok());
  EXPECT_EQ(matrix->format, Format::marlin);
  for (const void* part : {matrix->codes, matrix->scales, matrix->zeros}) EXPECT_EQ(reinterpret_cast<std::uintptr_t>(part) % 16, 0u);
  EXPECT_NE(matrix->perm, nullptr);
  const std::string file = test::read_file(folder / "packed/model.safetensors"), config = test::read_file(folder / "packed/config.json");
  for (const char* words :
       {"l.0.a.qweight", "l.0.a.scales", "l.0.a.qzeros", "l.0.a.perm", "l.0.a.weight_shape", "billfish.source_header"}) {
    EXPECT_NE(file.find(words), std::string::npos) << words;
  }
  EXPECT_NE(config.find("{\"a\": 1, \"quantization_config\": {\"quant_method\": \"billfish\""), std::string::npos) << config;
  EXPECT_NE(config.find("\"packed_from\": \"gptq\""), std::string::npos) << config;
}

TEST(Convert, PlantedPermutationFaultsAreRefused) {
  test::Folder folder;
  gptq_folder(folder, test::random_plain(128, 64, 32, {4, true, true, false, 0}, 1));
  ASSERT_TRUE(formats::pack_checkpoint(folder / "in/model.safetensors", folder / "p.safetensors", test::options()).ok());
  const std::string bytes = test::read_file(folder / "p.safetensors");
  const auto opened = formats::open_checkpoint(folder / "p.safetensors");
  const auto matrix = (*opened)->load(0);
  ASSERT_TRUE(matrix.ok());
  const std::string perm(reinterpret_cast<const char*>(matrix->perm), 128 * 4);
  const std::size_t at = bytes.find(perm);
  ASSERT_NE(at, std::string::npos);
  std::string twice = bytes, beyond = bytes;
  std::memcpy(twice.data() + at, twice.data() + at + 4, 4);
  test::write_file(folder / "twice.safetensors", twice);
  expect_refused((*formats::open_checkpoint(folder / "twice.safetensors"))->load(0).status(), Code::bad_input, "occurs twice");
  beyond[at + 1] = 1;
  test::write_file(folder / "beyond.safetensors", beyond);
  expect_refused((*formats::open_checkpoint(folder / "beyond.safetensors"))->load(0).status(), Code::bad_input, "but k is 128");
}

TEST(Convert, WritesCheckpointsFromMatricesInMemory) {
  const Plain plain = test::random_plain(128, 64, 32, {4, false, false, false, 0}, 6),
              other = test::random_plain(96, 48, 16, {8, true, false, false, 0}, 7);
  std::vector<std::uint8_t> codes(plain.codes.begin(), plain.codes.end()), zeros(plain.zeros.begin(), plain.zeros.end());
  std::vector<std::uint8_t> other_codes(other.codes.begin(), other.codes.end());
  const TestTensor bias = test::random_f16("", {64}, 2);
  std::vector<formats::NamedMatrix> layers(2);
  layers[0].name = "m.a";
  layers[0].matrix.type = WeightType::u4;
  layers[0].matrix.n = 64, layers[0].matrix.k = 128, layers[0].matrix.group = 32;
  layers[0].matrix.format = Format::raw;
  layers[0].matrix.codes = codes.data(), layers[0].matrix.zeros = zeros.data(), layers[0].matrix.scales = plain.scales.data();
  layers[0].matrix.bias = bias.bytes.data();
  layers[1].name = "m.b";
  layers[1].matrix.type = WeightType::u8b128;
  layers[1].matrix.n = 48, layers[1].matrix.k = 96, layers[1].matrix.group = 16;
  layers[1].matrix.format = Format::raw;
  layers[1].matrix.codes = other_codes.data(), layers[1].matrix.scales = other.scales.data();
  test::Folder folder;
  for (const std::string format : {"gptq", "gptq_v2", "compressed-tensors"}) {
    const Status status = formats::write_checkpoint(folder / format, format, layers, test::packer(), Parallel());
    ASSERT_TRUE(status.ok()) << status.message();
    expect_plain(folder / format, plain);
    const auto opened = formats::open_checkpoint(folder / format);
    EXPECT_EQ((*opened)->format(), format) << (*opened)->why();
    const auto second = (*opened)->load(1);
    EXPECT_EQ(second->type, WeightType::u8b128);
    EXPECT_EQ(second->group, 16);
    EXPECT_EQ(reference::code_at(*second, 95, 47), other.codes.back());
  }
  expect_refused(formats::write_checkpoint(folder / "awq", "awq", layers, test::packer(), Parallel()), Code::unsupported,
                 "layer 'm.b': AWQ holds 4-bit codes");
  expect_refused(formats::write_checkpoint(folder / "x", "raw", layers, test::packer(), Parallel()), Code::invalid_argument,
                 "format is 'raw'");
  expect_refused(formats::write_checkpoint(folder / "gptq", "gptq", layers, test::packer(), Parallel()), Code::io_error,
                 "the directory is not empty");
}

// --- what is left behind

TEST(Output, PathsThatCannotBeWritten) {
  test::Folder folder;
  const std::string in = gptq_folder(folder, test::random_plain(64, 64, 32, {}, 1));
  const auto pack = [&](const std::string& out) { return formats::pack_checkpoint(in, out, test::options()); };
  expect_refused(pack(in), Code::io_error, "it is the input");
  expect_refused(pack(in + "/../in/"), Code::io_error, "it is the input");
  expect_refused(pack(in + "/packed"), Code::io_error, "it lies within the input");
  expect_refused(pack(folder / "no/such/place"), Code::io_error, "No such file or directory");
  expect_refused(pack("/proc/packed"), Code::io_error, "cannot write '/proc/packed'");
  test::write_file(folder / "file", "precious");
  expect_refused(pack(folder / "file"), Code::io_error, "a file is in the way");
  fs::create_directory(folder / "full");
  test::write_file(folder / "full/x", "precious");
  expect_refused(pack(folder / "full"), Code::io_error, "the directory is not empty");
  expect_refused(formats::pack_checkpoint(in + "/model.safetensors", folder / "full", test::options()), Code::io_error,
                 "a directory is in the way");
  expect_refused(formats::pack_checkpoint(in + "/model.safetensors", "/dev/null", test::options()), Code::io_error,
                 "it is not a regular file");
  fs::create_directory(folder / "empty");
  EXPECT_TRUE(pack(folder / "empty/").ok());
  EXPECT_EQ(folder.names().size(), 4u);
}

TEST(Output, BadLayersLeaveNothing) {
  test::Folder folder;
  Plain plain = test::random_plain(64, 64, 32, {}, 1);
  plain.scales[70] = 0x7c00;
  const std::string in = gptq_folder(folder, plain);
  expect_refused(formats::pack_checkpoint(in, folder / "out", test::options()), Code::bad_input, "layer 'l.0.a': ");
  EXPECT_EQ(folder.names().size(), 1u);
}

TEST(Output, ProgressMayStopAtAnyTime) {
  test::Folder folder;
  const std::string in = gptq_folder(folder, test::random_plain(64, 64, 32, {}, 1));
  for (int stop_at = 1; stop_at < 10; ++stop_at) {
    int calls = stop_at;
    formats::ConvertOptions options = test::options();
    options.user = &calls;
    options.progress = [](void* user, const char* layer, std::int64_t done, std::int64_t total) {
      EXPECT_NE(layer, nullptr);
      EXPECT_LE(done, total);
      return static_cast<int>(--*static_cast<int*>(user) == 0);
    };
    const Status status = formats::pack_checkpoint(in, folder / "out", options);
    if (status.ok()) {
      EXPECT_GT(stop_at, 2);
      EXPECT_EQ(folder.names().size(), 2u);
      return;
    }
    EXPECT_EQ(status.code(), Code::cancelled);
    EXPECT_EQ(folder.names().size(), 1u) << "left behind after " << stop_at;
  }
  ADD_FAILURE() << "never finished";
}

TEST(Output, FullDiskIsAnErrorAndLeavesNothing) {
  test::Folder folder;
  const std::string in = gptq_folder(folder, test::random_plain(512, 512, 32, {}, 1));
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {  // a limit on the size of files stands for a disk that is full
    ::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{20000, 20000};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    const Status status = formats::pack_checkpoint(in, folder / "out", test::options());
    ::_exit(status.code() == Code::io_error && status.message().find("cannot write") != std::string::npos ? 0 : 1);
  }
  int result = 0;
  ::waitpid(child, &result, 0);
  EXPECT_EQ(result, 0);
  EXPECT_EQ(folder.names().size(), 1u);
}

TEST(Output, AbandonedOutputsAreRemoved) {
  test::Folder folder;
  const std::string in = gptq_folder(folder, test::random_plain(64, 64, 32, {}, 1));
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    ::signal(SIGINT, [](int) {
      formats::abandon_outputs();
      ::_exit(130);
    });
    formats::ConvertOptions options = test::options();
    options.progress = [](void*, const char*, std::int64_t, std::int64_t) { return ::raise(SIGINT); };
    formats::pack_checkpoint(in, folder / "out", options).ok();
    ::_exit(0);
  }
  int result = 0;
  ::waitpid(child, &result, 0);
  ASSERT_TRUE(WIFEXITED(result));
  EXPECT_EQ(WEXITSTATUS(result), 130);
  EXPECT_EQ(folder.names().size(), 1u);
}

// Killed at every step that is told of, packing and unpacking: the target is whole or not there, the input is untouched, and the next
// conversion removes what was left.
TEST(Output, WhatAKilledConversionLeftIsRemovedByTheNext) {
  using Convert = Status (*)(const std::string& in, const std::string& out, const formats::ConvertOptions&);
  const Convert pack = formats::pack_checkpoint;
  const Convert unpack = [](const std::string& in, const std::string& out, const formats::ConvertOptions& options) {
    return formats::unpack_checkpoint(in, out, "", options);
  };
  test::Folder inputs;
  const std::string plain = gptq_folder(inputs, test::random_plain(64, 64, 32, {}, 1)), packed = inputs / "packed";
  ASSERT_TRUE(pack(plain, packed, test::options()).ok());
  for (const auto& [convert, in] : {std::pair(pack, plain), std::pair(unpack, packed)}) {
    const std::string before = test::read_file(in + "/model.safetensors");
    int killed = 0;
    for (bool done = false; !done;) {
      test::Folder folder;
      const pid_t child = ::fork();
      ASSERT_GE(child, 0);
      if (child == 0) {
        int left = killed;
        formats::ConvertOptions options = test::options();
        options.user = &left;
        options.progress = [](void* user, const char*, std::int64_t, std::int64_t) {
          return (*static_cast<int*>(user))-- == 0 ? ::raise(SIGKILL) : 0;
        };
        ::_exit(convert(in, folder / "out", options).ok() ? 0 : 1);
      }
      int result = 0;
      ::waitpid(child, &result, 0);
      done = WIFEXITED(result);
      ASSERT_EQ(done ? WEXITSTATUS(result) : 0, 0);
      EXPECT_EQ(fs::exists(folder / "out"), done) << killed;
      EXPECT_EQ(folder.names().size(), 1u) << "the leftover under its own name, or the output";
      if (!done) {
        ++killed;
        ASSERT_TRUE(convert(in, folder / "out", test::options()).ok());
        EXPECT_EQ(folder.names().size(), 1u) << "the leftover is gone";
      }
    }
    EXPECT_GE(killed, 2);
    EXPECT_TRUE(test::read_file(in + "/model.safetensors") == before);
  }
}

// Peak of this process's resident memory, in bytes.
std::int64_t peak_memory() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("VmHWM:")) return std::stoll(line.substr(6)) * 1024;
  }
  return -1;
}

TEST(Output, MemoryIsThatOfTheLargestLayerNotOfTheModel) {
  constexpr std::int64_t kLayers = 12, kK = 4096, kN = 2048;  // 4 MiB of codes each, 48 MiB of them in all, and as much that is copied
  test::Folder folder;
  std::string header = "{";
  std::int64_t end = 0;
  for (std::int64_t i = 0; i < kLayers; ++i) {
    const auto add = [&](const char* name, const char* dtype, std::int64_t rows, std::int64_t columns, std::int64_t item) {
      header += (header.size() > 1 ? ",\"l" : "\"l") + std::to_string(i) + "." + name + "\":{\"dtype\":\"" + dtype + "\",\"shape\":[" +
                std::to_string(rows) + "," + std::to_string(columns) + "],\"data_offsets\":[" + std::to_string(end) + "," +
                std::to_string(end + rows * columns * item) + "]}";
      end += rows * columns * item;
    };
    add("qweight", "I32", kK / 8, kN, 4);
    add("qzeros", "I32", kK / 128, kN / 8, 4);
    add("scales", "F16", kK / 128, kN, 2);
    add("weight", "F16", 2048, 1024, 2);  // not quantised, copied through
  }
  test::write_file(folder / "in.safetensors", test::safetensors_file(header + "}", ""));
  fs::resize_file(folder / "in.safetensors",
                  fs::file_size(folder / "in.safetensors") + static_cast<std::uintmax_t>(end));  // zeros, without disk space
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    const std::int64_t before = peak_memory();
    const bool packed = formats::pack_checkpoint(folder / "in.safetensors", folder / "p.safetensors", test::options()).ok();
    const bool unpacked =
        packed && formats::unpack_checkpoint(folder / "p.safetensors", folder / "u.safetensors", "", test::options()).ok();
    // A layer in, a layer out (4.3 MiB each), a piece of 16 MiB that is copied, and room for the program itself.
    ::_exit(!unpacked ? 1 : peak_memory() - before > (std::int64_t{40} << 20) ? 2 : 0);
  }
  int result = 0;
  ::waitpid(child, &result, 0);
  EXPECT_EQ(result, 0) << "2: too much memory, 1: failed";
  EXPECT_TRUE(test::read_file(folder / "in.safetensors") == test::read_file(folder / "u.safetensors"));
}

}  // namespace
}  // namespace billfish
