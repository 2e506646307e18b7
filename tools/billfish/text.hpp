// SPDX-License-Identifier: Apache-2.0
// Numbers for people: sizes, times, and tables whose columns line up.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace billfish::cli {

std::string bytes_text(double bytes);                            // "22.5 MB": powers of 1000
std::string seconds_text(double seconds);                        // "83.1 us", "1.24 s"
std::string shape_text(const std::vector<std::int64_t>& shape);  // "[128, 304]"

// Columns as wide as their widest cell; a column whose cells all begin with a digit, sign or dash is aligned to the right.
class Table {
 public:
  explicit Table(std::vector<std::string> header) : rows_{std::move(header)} {}
  void add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }
  std::string text() const;

 private:
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace billfish::cli
