// SPDX-License-Identifier: Apache-2.0
// Ctrl-C, Ctrl-\, SIGTERM and SIGHUP: what the tool was writing disappears, and the process returns 128 and the signal's
// number (130 for Ctrl-C). One thread waits for the signals,
// so that cleaning up may do anything that ordinary code may.
#pragma once

#include <cstdio>
#include <optional>
#include <string>

namespace billfish::cli {

// Before any other thread is made. Signals that the parent ignores (nohup) stay ignored.
void start_interrupt_watch();

// What is said on stderr when the process is interrupted: how to go on. "": that nothing is left half-written.
void set_last_words(std::string words);

// A file or folder that exists only while this object does; also removed when the process is interrupted.
class Temporary {
 public:
  explicit Temporary(std::string path);
  Temporary(const Temporary&) = delete;
  Temporary& operator=(const Temporary&) = delete;
  ~Temporary();
  const std::string& path() const { return path_; }
  // Makes it as a file, which must not be there yet, to be written; none after an interruption has begun to clear up. Null: errno says why.
  std::FILE* make_file() const;
  // Renames it to where it belongs: nothing to remove any more. The last words, if any are given, change in the same step, so that what is
  // said about an interruption is true of what it found. False: errno says why.
  bool keep_as(const std::string& target, std::optional<std::string> words);

 private:
  std::string path_;
  bool kept_ = false;
};

}  // namespace billfish::cli
