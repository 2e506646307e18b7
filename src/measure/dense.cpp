// SPDX-License-Identifier: Apache-2.0
// See dense.hpp. The loops are the usual ones: a stretch of K whose b panel stays in L1, a block of rows whose packed a stays in L2.
#include "measure/dense.hpp"

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "core/half.hpp"
#include "core/integers.hpp"
#include "measure/cpu_loops.hpp"
#include "measure/dense_kernels.hpp"

namespace billfish::measure {
namespace {

constexpr std::int64_t kPanelBytes = 24 * 1024;      // of b in L1
constexpr std::int64_t kRowBlockBytes = 192 * 1024;  // of packed a in L2
constexpr std::int64_t kMostPanels = 16;             // of one task

const DenseKernel& choose(Precision precision) {
  const CpuFeatures& features = cpu_features();
  if (precision == Precision::full) {
    if (features.avx512 && dense_avx512_f32.rows > 0) return dense_avx512_f32;
    return features.avx2 && dense_avx2_f32.rows > 0 ? dense_avx2_f32 : dense_scalar_f32;
  }
  if (features.amx) return dense_amx_bf16;
  if (features.avx512_bf16 && dense_avx512_bf16.rows > 0) return dense_avx512_bf16;
  return features.avx2 && dense_avx2_bf16.rows > 0 ? dense_avx2_bf16 : dense_scalar_bf16;
}

std::int64_t units_of(const DenseKernel& kernel, std::int64_t k) { return round_up(ceil_div(k, kernel.k_unit), kernel.line); }

// One element of one unit, as its 4 bytes: an f32, a rounded f32, or a bf16 pair (k, k + 1).
float pack_a_unit(const DenseKernel& kernel, const float* a, std::int64_t k, std::int64_t size) {
  if (k >= size) return 0;
  if (!kernel.bf16) return a[k];
  if (kernel.k_unit == 1) return bf16_to_f32(f32_to_bf16(a[k]));
  const std::uint32_t low = f32_to_bf16(a[k]);
  const std::uint32_t high = k + 1 < size ? f32_to_bf16(a[k + 1]) : 0;
  return std::bit_cast<float>(low | (high << 16));
}

// Rows [0, m) cut into panels of nearly equal height, none higher than the kernel allows.
struct RowPanels {
  std::int64_t m, count;
  RowPanels(std::int64_t rows, int most) : m(rows), count(ceil_div(rows, most)) {}
  std::int64_t begin(std::int64_t panel) const { return m * panel / count; }
  int height(std::int64_t panel) const { return static_cast<int>(begin(panel + 1) - begin(panel)); }
};

// [stretch of K][row panel][line of units][row][unit], so that what one pass needs lies together.
struct PackedA {
  const float* data;
  std::int64_t units, stretch, m;
  const float* at(std::int64_t first_unit, std::int64_t first_row) const {
    const std::int64_t length = std::min(stretch, units - first_unit);
    return data + first_unit * m + first_row * length;
  }
};

}  // namespace

Result<std::unique_ptr<Dense>> Dense::create(const float* b, std::int64_t k, std::int64_t n, Precision precision) {
  if (b == nullptr || k < 1 || n < 1) {
    return invalid_argument("dense: b must be given, and k = " + std::to_string(k) + ", n = " + std::to_string(n) + " positive");
  }
  if (precision == Precision::int8) return unsupported("dense: precision int8 has no unquantised product; full and bf16 have");
  std::unique_ptr<Dense> dense(new Dense);
  const DenseKernel& kernel = choose(precision);
  dense->kernel_ = &kernel;
  dense->k_ = k;
  dense->n_ = n;
  const std::int64_t units = units_of(kernel, k), panels = ceil_div(n, kernel.columns);
  const std::int64_t panel_bytes = units * kernel.columns * kernel.b_bytes;
  dense->packed_ = std::aligned_alloc(64, static_cast<std::size_t>(round_up(panels * panel_bytes, 64)));
  if (dense->packed_ == nullptr) {
    return Status(Code::out_of_memory, "dense: no memory for " + std::to_string(panels * panel_bytes) + " bytes");
  }
  for (std::int64_t p = 0; p < panels; ++p) {
    unsigned char* out = static_cast<unsigned char*>(dense->packed_) + p * panel_bytes;
    const std::int64_t width = std::min<std::int64_t>(kernel.columns, n - p * kernel.columns);
    for (std::int64_t u = 0; u < units; ++u) {
      for (std::int64_t j = 0; j < kernel.columns; ++j, out += kernel.b_bytes) {
        const auto value = [&](std::int64_t row) { return row < k && j < width ? b[row * n + p * kernel.columns + j] : 0.0f; };
        if (!kernel.bf16) {
          const float whole = value(u);
          std::memcpy(out, &whole, 4);
        } else {
          for (int i = 0; i < kernel.k_unit; ++i) {
            const std::uint16_t half = f32_to_bf16(value(u * kernel.k_unit + i));
            std::memcpy(out + 2 * i, &half, 2);
          }
        }
      }
    }
  }
  return dense;
}

Dense::~Dense() { std::free(packed_); }

const char* Dense::name() const { return kernel_->name; }

std::int64_t Dense::bytes() const { return ceil_div(n_, kernel_->columns) * units_of(*kernel_, k_) * kernel_->columns * kernel_->b_bytes; }

void Dense::multiply(const float* a, std::int64_t m, float* c, const Parallel& parallel) const {
  if (m <= 0) return;
  const DenseKernel& kernel = *kernel_;
  const std::int64_t units = units_of(kernel, k_), panels = ceil_div(n_, kernel.columns);
  const RowPanels rows(m, kernel.rows);
  // A single row panel reads every b panel once: no reason to cut K, and long reads suit the prefetchers.
  const std::int64_t stretch = rows.count == 1 ? units : std::max<std::int64_t>(64, kPanelBytes / (kernel.columns * kernel.b_bytes));
  const std::int64_t block = std::max<std::int64_t>(1, kRowBlockBytes / (stretch * 4 * kernel.rows));

  // Kept between calls: a fresh large allocation would pay page faults inside every timing.
  thread_local std::vector<float> scratch;
  scratch.resize(static_cast<std::size_t>(units * m));
  float* packed_a = scratch.data();
  parallel.run(rows.count, [&](std::int64_t panel) {
    const std::int64_t begin = rows.begin(panel);
    const int height = rows.height(panel);
    for (std::int64_t first = 0; first < units; first += stretch) {
      const std::int64_t length = std::min(stretch, units - first);
      float* out = packed_a + first * m + begin * length;
      for (int r = 0; r < height; ++r) {
        const float* row = a + (begin + r) * k_;
        for (std::int64_t u = 0; u < length; ++u) {
          const std::int64_t place = (u / kernel.line * height + r) * kernel.line + u % kernel.line;
          out[place] = pack_a_unit(kernel, row, (first + u) * kernel.k_unit, k_);
        }
      }
    }
  });

  const PackedA a_view = {packed_a, units, stretch, m};
  const std::int64_t per_task = std::clamp<std::int64_t>(panels / (parallel.threads() * 8), 1, kMostPanels);
  const std::int64_t panel_bytes = units * kernel.columns * kernel.b_bytes;
  parallel.run(ceil_div(panels, per_task), [&](std::int64_t task) {
    float edge[kMaxDenseRows * 64];
    for (std::int64_t first = 0; first < units; first += stretch) {
      const std::int64_t length = std::min(stretch, units - first);
      for (std::int64_t row_block = 0; row_block < rows.count; row_block += block) {
        for (std::int64_t p = task * per_task; p < std::min(panels, (task + 1) * per_task); ++p) {
          const unsigned char* b = static_cast<const unsigned char*>(packed_) + p * panel_bytes + first * kernel.columns * kernel.b_bytes;
          const std::int64_t column = p * kernel.columns;
          const std::int64_t width = std::min<std::int64_t>(kernel.columns, n_ - column);
          for (std::int64_t panel = row_block; panel < std::min(rows.count, row_block + block); ++panel) {
            const std::int64_t begin = rows.begin(panel);
            const int height = rows.height(panel);
            const auto multiply = kernel.multiply[height - 1];
            float* out = c + begin * n_ + column;
            if (width == kernel.columns) {
              multiply(a_view.at(first, begin), b, length, out, n_, first > 0);
              continue;
            }
            multiply(a_view.at(first, begin), b, length, edge, kernel.columns, false);
            for (int r = 0; r < height; ++r) {
              for (std::int64_t j = 0; j < width; ++j) {
                out[r * n_ + j] = edge[r * kernel.columns + j] + (first > 0 ? out[r * n_ + j] : 0.0f);
              }
            }
          }
        }
      }
    }
  });
}

}  // namespace billfish::measure
