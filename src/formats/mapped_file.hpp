// SPDX-License-Identifier: Apache-2.0
// A whole file as read-only memory. Owns the map; called by every reader of this room.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>

#include "core/status.hpp"

namespace billfish::formats {

class MappedFile {
 public:
  // bad_input if there is no such regular file, io_error if the system refuses.
  static Result<MappedFile> open(const std::string& path);

  MappedFile() = default;
  MappedFile(MappedFile&& other) noexcept { *this = std::move(other); }
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  const std::string& path() const { return path_; }
  std::span<const std::byte> bytes() const { return {static_cast<const std::byte*>(base_), size_}; }
  // Gives the pages of this range back: they no longer count as this process's memory and are read again if touched again.
  void drop(const void* begin, std::int64_t bytes) const;

 private:
  std::string path_;
  void* base_ = nullptr;
  std::size_t size_ = 0;
};

// A small file as text: configs and indexes. bad_input if it is larger than `limit`.
Result<std::string> read_text(const std::string& path, std::int64_t limit);

}  // namespace billfish::formats
