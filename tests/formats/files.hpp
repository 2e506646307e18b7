// SPDX-License-Identifier: Apache-2.0
// Files made for tests: a folder that removes itself, safetensors files written byte by byte, and .npy arrays read back.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "core/half.hpp"

namespace billfish::test {

class Folder {
 public:
  Folder() {
    std::string name = (std::filesystem::temp_directory_path() / "billfish-test-XXXXXX").string();
    if (!::mkdtemp(name.data())) throw std::runtime_error("no temporary folder");
    path_ = name;
  }
  ~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  std::string operator/(const std::string& name) const { return (path_ / name).string(); }
  std::string path() const { return path_.string(); }
  std::vector<std::string> names() const {
    std::vector<std::string> out;
    for (const auto& entry : std::filesystem::directory_iterator(path_)) out.push_back(entry.path().filename().string());
    return out;
  }

 private:
  std::filesystem::path path_;
};

inline void write_file(const std::string& path, const std::string& bytes) {
  std::ofstream out(path, std::ios::binary);
  out.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  ASSERT_TRUE(out.good()) << path;
}

inline std::string read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  EXPECT_TRUE(in.good()) << path;
  return {std::istreambuf_iterator<char>(in), {}};
}

// A file with any header, right or wrong.
inline std::string safetensors_file(const std::string& header, const std::string& data) {
  std::string out(8, '\0');
  const std::uint64_t length = header.size();
  for (int i = 0; i < 8; ++i) out[static_cast<std::size_t>(i)] = static_cast<char>(length >> (8 * i));
  return out + header + data;
}

struct TestTensor {
  std::string name, dtype;
  std::vector<std::int64_t> shape;
  std::string bytes;
};

template <class T>
std::string bytes_of_vector(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

template <class T>
TestTensor tensor(std::string name, std::string dtype, std::vector<std::int64_t> shape, const std::vector<T>& values) {
  std::int64_t count = 1;
  for (const std::int64_t extent : shape) count *= extent;
  EXPECT_EQ(count, static_cast<std::int64_t>(values.size())) << name;
  return {std::move(name), std::move(dtype), std::move(shape), bytes_of_vector(values)};
}

inline TestTensor random_bytes(std::string name, std::int64_t count) {
  std::mt19937 random(static_cast<unsigned>(count));
  std::vector<std::uint8_t> values(static_cast<std::size_t>(count));
  for (std::uint8_t& value : values) value = static_cast<std::uint8_t>(random());
  return tensor(std::move(name), "U8", {count}, values);
}

// Tensors in the order given; `pad` spaces after the header's JSON shift the alignment of everything.
inline std::string safetensors_file(const std::vector<TestTensor>& tensors, const std::string& metadata = "", int pad = 0) {
  std::string header = "{", data;
  if (!metadata.empty()) header += "\"__metadata__\":" + metadata;
  for (const TestTensor& t : tensors) {
    if (header.size() > 1) header += ",";
    header += "\"" + t.name + "\":{\"dtype\":\"" + t.dtype + "\",\"shape\":[";
    for (std::size_t i = 0; i < t.shape.size(); ++i) {
      if (i > 0) header += ',';
      header += std::to_string(t.shape[i]);
    }
    header += "],\"data_offsets\":[" + std::to_string(data.size()) + "," + std::to_string(data.size() + t.bytes.size()) + "]}";
    data += t.bytes;
  }
  header += "}";
  while (header.size() % 8 != 0) header += " ";
  header.append(static_cast<std::size_t>(pad), ' ');
  return safetensors_file(header, data);
}

// The checkpoints that other people's tools wrote, by folder name.
inline std::string fixture(const std::string& name) { return BILLFISH_SOURCE_DIR "/tests/fixtures/" + name; }
inline std::vector<std::string> fixture_names() {
  std::vector<std::string> out;
  for (const auto& entry : std::filesystem::directory_iterator(fixture(""))) {
    if (std::filesystem::exists(entry.path() / "ref/meta.json")) out.push_back(entry.path().filename().string());
  }
  std::sort(out.begin(), out.end());
  return out;
}

// A little-endian C-order f32 or f16 array of two dimensions, as NumPy writes it.
struct NpyArray {
  std::int64_t rows = 0, columns = 0;
  std::vector<float> values;
};
inline NpyArray read_npy(const std::string& path) {
  const std::string bytes = read_file(path);
  NpyArray out;
  if (bytes.size() < 10 || bytes.compare(1, 5, "NUMPY") != 0) {
    ADD_FAILURE() << path << " is not a .npy file";
    return out;
  }
  const std::size_t length = static_cast<unsigned char>(bytes[8]) | static_cast<std::size_t>(static_cast<unsigned char>(bytes[9])) << 8;
  const std::string header = bytes.substr(10, length);
  const std::size_t item = header.find("'<f4'") != std::string::npos ? 4 : 2;
  EXPECT_NE(header.find(item == 4 ? "'<f4'" : "'<f2'"), std::string::npos) << header;
  EXPECT_NE(header.find("'fortran_order': False"), std::string::npos) << header;
  const std::size_t shape = header.find('(');
  std::size_t used = 0;
  out.rows = std::stoll(header.substr(shape + 1), &used);
  out.columns = std::stoll(header.substr(shape + 1 + used + 1));
  out.values.resize(static_cast<std::size_t>(out.rows * out.columns));
  EXPECT_EQ(bytes.size(), 10 + length + out.values.size() * item);
  const char* const data = bytes.data() + 10 + length;
  for (std::size_t i = 0; i < out.values.size(); ++i) {
    std::uint16_t half = 0;
    if (item == 4) {
      std::memcpy(&out.values[i], data + i * 4, 4);
    } else {
      std::memcpy(&half, data + i * 2, 2);
      out.values[i] = f16_to_f32(half);
    }
  }
  return out;
}

}  // namespace billfish::test
