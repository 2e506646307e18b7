// SPDX-License-Identifier: Apache-2.0
// safetensors files written tensor by tensor, in any order, with their headers planned beforehand. Called by the converters; calls
// output.cpp.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "core/status.hpp"
#include "formats/digest.hpp"
#include "formats/model.hpp"
#include "formats/output.hpp"
#include "formats/safetensors.hpp"

namespace billfish::formats {

// How far a conversion is, told to whoever asked.
struct Progress {
  int (*tell)(void* user, const char* layer, std::int64_t done, std::int64_t total) = nullptr;
  void* user = nullptr;
  std::int64_t done = 0, total = 0;

  Status advance(const std::string& layer, std::int64_t bytes);  // cancelled if the listener says so
};

struct NewFile {
  std::string name;
  std::vector<TensorInfo> tensors;
  std::vector<std::pair<std::string, std::string>> metadata;
};

class TensorWriter {
 public:
  explicit TensorWriter(StagedOutput& output) : output_(output) {}

  // Plans a file. Tensors are sorted so that each begins at a multiple of the largest power of two (up to 512) that divides its bytes.
  Status add(NewFile file);
  // Plans a file whose header is given, character by character.
  Status add_with_header(const std::string& name, std::string_view json, const Header& header);

  bool plans(const std::string& tensor) const { return places_.contains(tensor); }

  Status create_all();  // after the last add
  // Whether these tensors lie in the files that create_all found, written one after another with this digest; then they count as written.
  bool take_written(const std::vector<std::string>& tensors, std::uint64_t digest);
  Status write(std::string_view tensor, const void* data, std::int64_t bytes);
  // A tensor of `model`, in pieces whose pages are given back.
  Status copy(std::string_view tensor, const Model& model, const TensorPlace& place, Progress& progress);
  Status finish();  // internal error if some tensor was never written

  // What was written (not copied) since the last call.
  std::uint64_t take_digest();

  // Tensor name -> file name, and the bytes of all: what an index says.
  std::vector<std::pair<std::string, std::string>> weight_map() const;
  std::int64_t total_bytes() const { return total_bytes_; }

 private:
  struct File {
    std::string name, header;
    std::int64_t data_begin = 0, data_bytes = 0;
    std::size_t remaining = 0;  // tensors not yet written
    OutputFile output;
  };
  struct Place {
    std::size_t file = 0;
    std::int64_t begin = 0, bytes = 0;
    bool written = false;
  };
  Status plan(std::size_t file, const std::string& tensor, std::int64_t begin, std::int64_t bytes);
  Status begin_tensor(std::string_view tensor, std::int64_t bytes, Place*& place);
  Status end_tensor(const Place& place);
  StagedOutput& output_;
  std::vector<File> files_;
  std::unordered_map<std::string, Place> places_;
  std::int64_t total_bytes_ = 0;
  Digest digest_;
};

}  // namespace billfish::formats
