// SPDX-License-Identifier: Apache-2.0
// The arithmetic that quantising is made of, as gptq.cpp, refine.cpp, nearest.cpp, errors.cpp and hessian.cpp ask for it. They say what is
// done to which columns; an engine does it to all rows at once: on the CPU (cpu_engine.hpp) or on a CUDA device (cuda/quantize/).
//
// Matrices [n,k] go through in panels [columns, rows], transposed: a column after another, the rows side by side, in whole parts of
// kLanes. Row-major throughout. Pointers are an engine's own memory (Held) unless a comment says host. Work is done in the order in which
// it is asked for; what fails on a device is remembered, and finish() tells.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>

#include "core/status.hpp"
#include "core/types.hpp"
#include "quantize/grid_search.hpp"
#include "quantize/lanes.hpp"

namespace billfish::quantize {

// Rows [first, first + rows) of weights [n, ld], columns order[begin ...] (null: begin ...), times `factor`, to panel [count, ld_panel].
// Rows behind the last and columns that `dead` (by column of W; null: none) marks become 0.
struct GatherJob {
  const float* weights = nullptr;
  std::int64_t n = 0, ld = 0;
  std::int64_t first = 0, rows = 0;
  const std::int32_t* order = nullptr;
  const std::uint8_t* dead = nullptr;
  std::int64_t begin = 0, count = 0;
  float factor = 1.0f;
  float* panel = nullptr;
  std::int64_t ld_panel = 0;
};

// Grids [groups, parts]: that of row r of group g is lane r % kLanes of grids[g * parts + r / kLanes].
struct ChooseJob {
  const Scheme* scheme = nullptr;
  const float* panel = nullptr;  // [columns, ld]; every `group` columns of it are a group
  std::int64_t ld = 0, rows = 0, columns = 0, group = 0;
  const float* importance = nullptr;  // [columns], or null
  const float* moments = nullptr;     // of all these columns [columns, ld_moments], or null; what lies between groups is not looked at
  std::int64_t ld_moments = 0;
  Grid* grids = nullptr;
  std::int64_t parts = 0;
  std::uint8_t* clipped = nullptr;  // [groups, ld_clipped]: 1 where the range is smaller than the values'
  std::int64_t ld_clipped = 0;
};

// The nearest codes, and what values differ from what codes mean.
struct CodesJob {
  const Scheme* scheme = nullptr;
  const float* panel = nullptr;  // [columns, ld]
  std::int64_t ld = 0, rows = 0, columns = 0, group = 0;
  const Grid* grids = nullptr;
  std::int64_t parts = 0;
  std::uint8_t* codes = nullptr;  // [columns, ld_codes]
  std::int64_t ld_codes = 0;
  std::int64_t there = 0;   // rows that codes have; of those behind, nothing is read or written
  float* errors = nullptr;  // [columns, ld]
};

// At most kMostWidth columns, one after another, whose errors come to bear on those behind (lanes.hpp: feed_back).
struct FeedBackJob {
  const Scheme* scheme = nullptr;
  std::int64_t rows = 0, width = 0;
  const float* targets = nullptr;  // [width, rows]; know of everything before these columns
  const float* weights = nullptr;  // [width, rows]
  const float* links = nullptr;    // [width, ld_links]: row j holds U[j][i] for i > j
  std::int64_t ld_links = 0;
  const float* pivots = nullptr;  // [width]
  const Grid* grids = nullptr;    // [groups, parts]
  std::int64_t parts = 0;
  const std::int32_t* group_of = nullptr;  // [width]
  float* errors = nullptr;                 // [width, rows]
  std::uint8_t* codes = nullptr;           // [width, rows]
  double* cost = nullptr;                  // [rows]: grows
};

// Groups of columns whose codes, or whose scale, become better ones (lanes.hpp: improve; refine.cpp).
struct ImproveJob {
  const Scheme* scheme = nullptr;
  std::int64_t rows = 0, width = 0;
  std::int64_t first = 0, group = 0;  // column of W that the first one is; its group is first / group
  float* gradients = nullptr;         // [width, rows]
  const float* moments = nullptr;     // [width, ld_moments]: of these columns with each other, not yet in units of their mean
  std::int64_t ld_moments = 0;
  float down = 1.0f, damping = 0.0f;  // in units of the mean: moments * down, and damping on the diagonal
  Grid* grids = nullptr;              // [groups, parts], of all groups
  std::int64_t parts = 0;
  float* errors = nullptr;        // [width, rows]
  std::uint8_t* codes = nullptr;  // [width, rows]
  const float* steps = nullptr;   // fit_scales: [width, rows], codes - zeros, and moments times these
  const float* pushes = nullptr;
  double* cost = nullptr;  // [rows]: falls
};

// Rows whose mark is set go over from one form to the other: codes [k, ld], grids [groups, parts].
struct TakeRowsJob {
  const std::uint8_t* marks = nullptr;  // [rows]
  std::int64_t rows = 0, k = 0, groups = 0, parts = 0, ld = 0;
  const std::uint8_t* from_codes = nullptr;
  const Grid* from_grids = nullptr;
  std::uint8_t* codes = nullptr;
  Grid* grids = nullptr;
};

// Tokens of any element type, in host memory.
struct TokenBlock {
  const void* x = nullptr;
  ElementType type = ElementType::f32;
  std::int64_t tokens = 0, k = 0, ld = 0;
};
struct FloatRows {  // an engine's memory
  const float* data = nullptr;
  std::int64_t ld = 0;
};

// a [k,k], lower triangle, in reverse order: a[r][s] = h[column(r)][column(s)] * down, dead columns 1 on the diagonal and 0 elsewhere.
struct BuildJob {
  const float* h = nullptr;
  std::int64_t k = 0;
  const std::int32_t* order = nullptr;
  const std::uint8_t* dead = nullptr;
  double down = 1, damping = 0;
  float* a = nullptr;
};

class Engine {
 public:
  enum class Op : std::uint8_t { plain, transposed };

  Engine() = default;
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;
  virtual ~Engine() = default;

  virtual Status can_multiply() const = 0;  // or what to install
  virtual Status finish() = 0;              // waits for all work; what was the first to fail

  // How much is given to it at once: rows of a task, of n that take so many bytes each, in whole parts; columns of GPTQ's outer blocks, a
  // multiple of kMostWidth; tokens; whether all columns of W, or those of a group, are rounded at once.
  virtual std::int64_t rows_at_once(std::int64_t n, std::int64_t bytes) const = 0;
  virtual std::int64_t columns_at_once() const = 0;
  virtual std::int64_t tokens_at_once() const = 0;
  virtual bool all_groups_at_once() const = 0;
  // Tasks that do not know of each other, side by side where that helps; the failure of the least one is returned. They may throw
  // bad_alloc.
  virtual Status run(std::int64_t tasks, const std::function<Status(std::int64_t)>& task) = 0;

  // Memory, not initialised; throws bad_alloc.
  virtual void* allocate(std::size_t bytes) = 0;
  virtual void release(void* memory) = 0;
  virtual bool shares_memory() const = 0;  // with the host: then nothing needs copying
  virtual void upload(void* to, const void* host, std::size_t bytes) = 0;
  virtual void download(void* host, const void* from, std::size_t bytes) = 0;  // waits
  virtual void copy_rows(void* to, std::size_t ld_to, const void* from, std::size_t ld_from, std::size_t bytes, std::int64_t rows) = 0;
  virtual void fill_zero(void* at, std::size_t bytes) = 0;

  // Linear algebra, as in linear_algebra.hpp.
  virtual void multiply(Op op_a, Op op_b, std::int64_t m, std::int64_t n, std::int64_t k, float alpha, const float* a, std::int64_t lda,
                        const float* b, std::int64_t ldb, float beta, float* c, std::int64_t ldc) = 0;
  virtual void solve_unit_upper_transposed(std::int64_t n, std::int64_t m, const float* u, std::int64_t ldu, float* b,
                                           std::int64_t ldb) = 0;
  virtual void add(std::int64_t count, float alpha, const float* x, float* y) = 0;  // y += alpha * x

  // The factor (factor.hpp), all of it at once.
  virtual void build(const BuildJob& job) = 0;
  virtual bool factor_lower(std::int64_t k, float* a) = 0;  // waits; false if a pivot is not positive
  // The lower factor, read backwards, becomes the upper one; pivots [k]: squares of what was on its diagonal, which columns are divided by.
  virtual void turn(std::int64_t k, float* a, float* pivots) = 0;

  // Second moments: h *= keep (0: h may hold anything), then the lower triangle += factor * x^T x; what is above it last.
  virtual FloatRows float_rows(const TokenBlock& block, float* space) = 0;  // space [tokens, k]; not used if the block can be used as it is
  virtual bool needs_space(ElementType type) const = 0;
  virtual void add_moments(const FloatRows& x, std::int64_t tokens, std::int64_t k, float keep, float factor, float* h) = 0;
  virtual void mirror(std::int64_t k, float* h) = 0;
  virtual void diagonal(std::int64_t k, const float* h, float* to) = 0;

  // Panels.
  virtual void gather(const GatherJob& job) = 0;
  virtual void choose(const ChooseJob& job) = 0;
  virtual void encode(const CodesJob& job) = 0;
  virtual void subtract(const CodesJob& job) = 0;
  virtual void feed_back(const FeedBackJob& job) = 0;
  virtual void improve(const ImproveJob& job) = 0;
  virtual void make_steps(const ImproveJob& job, float* steps) = 0;
  virtual void fit_scales(const ImproveJob& job) = 0;
  virtual void take_rows(const TakeRowsJob& job) = 0;
  // sums [width] += alpha * the sums over columns of a * b, both [columns, width].
  virtual void add_dots(double alpha, const float* a, const float* b, std::int64_t columns, std::int64_t width, double* sums) = 0;
  // to[order[place]] = from[place], rows of `bytes`.
  virtual void scatter_rows(void* to, const void* from, std::size_t bytes, const std::int32_t* order, std::int64_t count) = 0;
};

// Memory of an engine; or somebody else's, where the engine can use that as it is.
template <class T>
class Held {
 public:
  Held() = default;
  Held(Engine& engine, std::int64_t count)
      : engine_(&engine), data_(static_cast<T*>(engine.allocate(static_cast<std::size_t>(count > 0 ? count : 1) * sizeof(T)))) {}
  // What the host holds: as it is, or a copy.
  static Held of(Engine& engine, const T* host, std::int64_t count) {
    if (engine.shares_memory()) return borrowed(const_cast<T*>(host));
    Held held(engine, count);
    engine.upload(held.data_, host, static_cast<std::size_t>(count) * sizeof(T));
    return held;
  }
  // Where results for the host are made; to_host brings them there.
  static Held for_host(Engine& engine, T* host, std::int64_t count) {
    return engine.shares_memory() ? borrowed(host) : Held(engine, count);
  }
  Held(Held&& other) noexcept : engine_(other.engine_), data_(other.data_) { other.engine_ = nullptr, other.data_ = nullptr; }
  Held& operator=(Held&& other) noexcept {
    if (this != &other) {
      if (engine_ != nullptr) engine_->release(data_);
      engine_ = other.engine_, data_ = other.data_;
      other.engine_ = nullptr, other.data_ = nullptr;
    }
    return *this;
  }
  ~Held() {
    if (engine_ != nullptr) engine_->release(data_);
  }
  T* get() const { return data_; }
  void to_host(Engine& engine, T* host, std::int64_t count) const {
    if (data_ != host) engine.download(host, data_, static_cast<std::size_t>(count) * sizeof(T));
  }

 private:
  static Held borrowed(T* host) {
    Held held;
    held.data_ = host;
    return held;
  }
  Engine* engine_ = nullptr;  // null: not ours
  T* data_ = nullptr;
};

}  // namespace billfish::quantize
