// SPDX-License-Identifier: Apache-2.0
// Files that come into being whole or not at all: written as "<target>.partial-<process>", renamed at the end, removed on failure, on
// abandon_outputs() and, after a kill, by the next conversion to the same target. Called by the converters; quantising, which takes long,
// keeps its files in a folder of its own instead (unfinished.hpp).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/status.hpp"

namespace billfish::formats {

// A new file, written at any position. Removed by its StagedOutput unless that is committed.
class OutputFile {
 public:
  OutputFile() = default;
  OutputFile(OutputFile&& other) noexcept { *this = std::move(other); }
  OutputFile& operator=(OutputFile&& other) noexcept;
  ~OutputFile();

  // Reserves `bytes` at once where the file system can, so that a full disk is noticed before any work is done.
  static Result<OutputFile> create(const std::string& path, std::int64_t bytes);
  Status write_at(std::int64_t offset, const void* data, std::int64_t bytes);
  Status finish();  // on the disk, and closed
  bool is_open() const { return fd_ >= 0; }

 private:
  std::string path_;
  int fd_ = -1;
};

class StagedOutput {
 public:
  // Refuses a directory that is not empty, and anything that is neither a regular file nor a directory. `target` may be missing.
  // name: the target without a slash at its end.
  static Status check_target(const std::string& target, bool directory, std::string& name);
  // Checks, then makes the place where files lie until commit.
  Status begin(const std::string& target, bool directory);
  StagedOutput() = default;
  StagedOutput(const StagedOutput&) = delete;
  StagedOutput& operator=(const StagedOutput&) = delete;
  ~StagedOutput();

  // A directory whose files lie in `staging` until it is committed, and stay there if it is not: they are another one's to remove. What
  // lies there already may be written again.
  Status begin_kept(const std::string& target, const std::string& staging);

  // name: within the directory (its own directories must have been made); ignored where the target is a file.
  Result<OutputFile> create(const std::string& name, std::int64_t bytes);
  Status make_directory(const std::string& name);
  Status write_text(const std::string& name, const std::string& content);
  Status commit();
  const std::string& target() const { return target_; }
  bool is_directory() const { return directory_; }
  std::string path_of(const std::string& name) const;  // while it is being written

 private:
  void remove_all();
  Status enter(const std::string& path, bool directory);
  std::string target_, staging_;
  bool directory_ = false, kept_ = false;
  int lock_ = -1;               // held while this process lives: what has no holder is a leftover
  std::vector<void*> entries_;  // of the list that abandon_outputs walks
};

}  // namespace billfish::formats
