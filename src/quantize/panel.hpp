// SPDX-License-Identifier: Apache-2.0
// How a matrix [n,k] is cut for the lanes: blocks of rows, each a panel at a time, transposed. Called by nearest.cpp, gptq.cpp, errors.cpp.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>
#include <utility>
#include <vector>

#include "core/integers.hpp"
#include "quantize/lanes.hpp"
#include "quantize/quantize.hpp"

namespace billfish::quantize {

// Memory for vectors, not initialised: 64 bytes aligned. Throws bad_alloc.
template <class T>
class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(std::int64_t count)
      : data_(static_cast<T*>(::operator new(static_cast<std::size_t>(std::max<std::int64_t>(count, 1)) * sizeof(T), kAlignment))) {}
  T* get() const { return data_.get(); }
  T& operator[](std::int64_t i) const { return data_.get()[i]; }

 private:
  static constexpr std::align_val_t kAlignment{64};
  struct Release {
    void operator()(T* pointer) const { ::operator delete(pointer, kAlignment); }
  };
  std::unique_ptr<T, Release> data_;
};

// panel [count, ld]: column i is column order[begin + i] of the weights (order null: begin + i), lane r row first + r, times `factor`.
// `rows` lanes are written, those behind the last row of the matrix with 0.
void gather_panel(const Weights& weights, std::int64_t first, std::int64_t rows, const std::int32_t* order, std::int64_t begin,
                  std::int64_t count, float factor, float* panel, std::int64_t ld);

// Refuses the first weight that is not finite; else the largest magnitude.
Result<float> largest_weight(const Weights& weights, const Parallel& parallel);

// Runs body(i), which returns a Status and may throw bad_alloc, for every i; the failure of the least i is returned.
template <class Body>
Status run_all(const Parallel& parallel, std::int64_t count, Body&& body) {
  std::vector<Status> failures(static_cast<std::size_t>(count));
  parallel.run(count, [&](std::int64_t i) {
    try {
      failures[static_cast<std::size_t>(i)] = body(i);
    } catch (const std::bad_alloc&) {
      failures[static_cast<std::size_t>(i)] = Status(Code::out_of_memory, "out of memory");
    }
  });
  for (Status& failure : failures) {
    if (!failure.ok()) return std::move(failure);
  }
  return {};
}

}  // namespace billfish::quantize
