// SPDX-License-Identifier: Apache-2.0
// Whole files in, whole files out: an output is written beside its target and renamed when it is complete.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <initializer_list>
#include <optional>
#include <string>
#include <vector>

#include "interrupt.hpp"

namespace billfish::cli {

std::int64_t file_size(const std::string& path);  // Failure(kBadInput) if it is no readable file
std::vector<std::byte> read_file(const std::string& path);

// Failure(kUsage) if `out` is the same file as an input, or as one directly in an input that is a folder, by whatever name.
void keep_inputs(const std::string& out, const std::string& option, std::initializer_list<std::string> inputs);

void make_folder(const std::string& folder);  // with those above it; Failure(kBadInput) if that cannot be

class OutputFile {
 public:
  explicit OutputFile(const std::string& path);
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;
  ~OutputFile();
  void write(const void* data, std::size_t bytes);
  // Nothing is at the target before this, and everything after it; what an interruption says from then on may change with it.
  void commit(std::optional<std::string> last_words = {});

 private:
  [[noreturn]] void fail_writing();
  std::string target_;
  Temporary temporary_;
  std::FILE* file_ = nullptr;
};

// A fresh folder under TMPDIR (or /tmp); gone when the object is.
class TemporaryFolder {
 public:
  TemporaryFolder();
  const std::string& path() const { return temporary_.path(); }

 private:
  Temporary temporary_;
};

}  // namespace billfish::cli
