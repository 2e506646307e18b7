// SPDX-License-Identifier: Apache-2.0
// How far long work is: on a terminal a bar with layer, rate and time left (on stderr), otherwise a plain line a layer (on stdout).
#pragma once

#include <cstdint>
#include <string>

namespace billfish::cli {

class Progress {
 public:
  // verb: "packing". quiet: nothing at all is shown (--json, when stderr is no terminal).
  Progress(std::string verb, bool quiet);
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  ~Progress();
  void update(const std::string& layer, std::int64_t bytes_done, std::int64_t bytes_total);
  // Removes the bar, so that other text can be printed.
  void clear();
  double seconds() const;  // since it was made

  // For billfish_convert_options.progress; `user` is a Progress*.
  static int callback(void* user, const char* layer, std::int64_t bytes_done, std::int64_t bytes_total);

 private:
  void draw(std::int64_t bytes_done, std::int64_t bytes_total, double now);

  std::string verb_, layer_;
  bool bar_ = false, lines_ = false, drawn_ = false;
  double start_ = 0, last_drawn_ = 0;
};

}  // namespace billfish::cli
