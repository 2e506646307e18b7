// SPDX-License-Identifier: Apache-2.0
// The device's reference product, and the check that it is right: the CPU oracle on small matrices of every kind.
#include "device_reference.hpp"

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cmath>

#include "layout/marlin_scales.hpp"
#include "layout/marlin_weights.hpp"
#include "layout/marlin_zeros.hpp"
#include "support.hpp"

namespace billfish::cuda_test {
namespace {

__device__ float element(const void* base, ElementType type, std::int64_t index) {
  if (type == ElementType::f32) return static_cast<const float*>(base)[index];
  const unsigned short bits = static_cast<const unsigned short*>(base)[index];
  return type == ElementType::f16 ? __half2float(__ushort_as_half(bits)) : __bfloat162float(__ushort_as_bfloat16(bits));
}

__global__ void dequantize(PackedMatrix w, float* dense) {
  const std::int64_t n = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  const std::int64_t k = blockIdx.y;
  if (n >= w.n) return;
  const int bits = bits_of(w.type);
  const layout::Place code = layout::marlin_code(bits, k, n, w.padded_n());
  const std::int64_t group = k / w.group;
  int zero = implicit_zero(w.type);
  if (has_zeros(w.type)) {
    const layout::Place place = layout::marlin_zero(bits, group, n, w.padded_n());
    zero = static_cast<int>(layout::field_of(w.zeros[place.word], place.shift, bits));
  }
  const float scale = element(w.scales, w.scale_type, group * w.padded_n() + layout::marlin_scale(w.per_column(), n));
  const int value = static_cast<int>(layout::field_of(w.codes[code.word], code.shift, bits)) - zero;
  const std::int64_t row = w.perm != nullptr ? w.perm[k] : k;
  dense[row * w.n + n] = scale * static_cast<float>(value);
}

// A 32 x 32 tile of C a block of 16 x 16 threads, 2 x 2 elements a thread, 16 of K at a time.
__global__ void multiply(PackedMatrix w, const float* dense, const void* a, ElementType a_type, std::int64_t m, std::int64_t lda, bool bias,
                         double* y, double* magnitude) {
  __shared__ float rows[32][17];
  __shared__ float columns[16][33];
  const std::int64_t m0 = std::int64_t{blockIdx.y} * 32;
  const std::int64_t n0 = std::int64_t{blockIdx.x} * 32;
  const int thread = threadIdx.y * 16 + threadIdx.x;
  double sum[2][2] = {}, size[2][2] = {};
  for (std::int64_t k0 = 0; k0 < w.k; k0 += 16) {
    for (int i = thread; i < 512; i += 256) {
      const std::int64_t row = m0 + i / 16, k = k0 + i % 16;
      rows[i / 16][i % 16] = row < m && k < w.k ? element(a, a_type, row * lda + k) : 0.0f;
      const std::int64_t kk = k0 + i / 32, n = n0 + i % 32;
      columns[i / 32][i % 32] = kk < w.k && n < w.n ? dense[kk * w.n + n] : 0.0f;
    }
    __syncthreads();
    for (int k = 0; k < 16; ++k) {
      for (int i = 0; i < 2; ++i) {
        for (int j = 0; j < 2; ++j) {
          const double product = static_cast<double>(rows[threadIdx.y + 16 * i][k]) * columns[k][threadIdx.x + 16 * j];
          sum[i][j] += product;
          size[i][j] += fabs(product);
        }
      }
    }
    __syncthreads();
  }
  for (int i = 0; i < 2; ++i) {
    for (int j = 0; j < 2; ++j) {
      const std::int64_t row = m0 + threadIdx.y + 16 * i, n = n0 + threadIdx.x + 16 * j;
      if (row >= m || n >= w.n) continue;
      const double b = bias ? element(w.bias, w.bias_type, w.bias_permuted ? layout::marlin_column_scale(n) : n) : 0.0;
      y[row * w.n + n] = sum[i][j] + b;
      magnitude[row * w.n + n] = size[i][j] + fabs(b);
    }
  }
}

__global__ void compare(const void* c, ElementType c_type, std::int64_t m, std::int64_t n, std::int64_t ldc, const double* y,
                        const double* magnitude, Tolerance tolerance, Comparison* out) {
  double difference = 0, reference = 0;
  for (std::int64_t i = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < m * n; i += std::int64_t{gridDim.x} * blockDim.x) {
    const double got = element(c, c_type, i / n * ldc + i % n);
    const double want = y[i];
    const double limit = tolerance.relative_y * fabs(want) + tolerance.relative_magnitude * magnitude[i] + tolerance.absolute;
    const bool right = isfinite(want) ? fabs(got - want) <= limit : !isfinite(got);
    if (!right) {
      atomicAdd(&out->wrong, 1ull);
      atomicMin(reinterpret_cast<unsigned long long*>(&out->first), static_cast<unsigned long long>(i));
    }
    if (isfinite(want) && isfinite(got)) difference += fabs(got - want), reference += fabs(want);
  }
  atomicAdd(&out->difference, difference);
  atomicAdd(&out->reference, reference);
}

}  // namespace

void dequantize_on_device(const PackedMatrix& weights, float* dense) {
  if (weights.k == 0 || weights.n == 0) return;
  const dim3 grid(static_cast<unsigned>(ceil_div(weights.n, 128)), static_cast<unsigned>(weights.k));
  dequantize<<<grid, 128>>>(weights, dense);
  require(cudaGetLastError(), "the reference's dequantisation");
}

void multiply_in_double(const PackedMatrix& weights, const float* dense, const void* a, ElementType a_type, std::int64_t m,
                        std::int64_t lda, bool bias, double* y, double* magnitude) {
  const dim3 grid(static_cast<unsigned>(ceil_div(weights.n, 32)), static_cast<unsigned>(ceil_div(m, 32)));
  multiply<<<grid, dim3(16, 16)>>>(weights, dense, a, a_type, m, lda, bias, y, magnitude);
  require(cudaGetLastError(), "the reference's product");
}

Comparison compare_on_device(const void* c, ElementType c_type, std::int64_t m, std::int64_t n, std::int64_t ldc, const double* y,
                             const double* magnitude, const Tolerance& tolerance) {
  Comparison result;
  Comparison* out = nullptr;
  require(cudaMalloc(&out, sizeof(result)), "allocating");
  require(cudaMemcpy(out, &result, sizeof(result), cudaMemcpyHostToDevice), "copying");  // first = -1 is the largest unsigned
  compare<<<264, 256>>>(c, c_type, m, n, ldc, y, magnitude, tolerance, out);
  require(cudaGetLastError(), "the comparison");
  require(cudaMemcpy(&result, out, sizeof(result), cudaMemcpyDeviceToHost), "copying");
  require(cudaFree(out), "freeing");
  return result;
}

// The oracle has checked the reference if both agree to double's rounding on every kind of matrix.
TEST(SmallReference, AgreesWithTheOracle) {
  std::uint64_t seed = 1;
  for (const WeightType type : {WeightType::u4b8, WeightType::u4, WeightType::u8b128, WeightType::u8}) {
    for (const std::int64_t group : {16, 48, 4096}) {
      for (const bool act_order : {false, true}) {
        MatrixOptions options;
        options.type = type, options.n = 72, options.k = 90, options.group = group, options.seed = ++seed;
        options.act_order = act_order, options.bias = true, options.bias_permuted = false;
        options.scale_type = act_order ? ElementType::bf16 : ElementType::f16;
        const Matrix matrix = make_matrix(options);
        ProductOptions product;
        product.m = 5, product.extra_lda = 3;
        const Product p = make_product(matrix, product);
        ASSERT_EQ(p.refusal, "");
        Buffer dense(static_cast<std::size_t>(options.n * options.k) * 4), y(5 * 72 * 8), magnitude(5 * 72 * 8);
        dequantize_on_device(matrix.on_device, dense.as<float>());
        multiply_in_double(matrix.on_device, dense.as<float>(), p.a.data(), product.a, 5, p.call.lda, true, y.as<double>(),
                           magnitude.as<double>());
        const std::vector<double> got_y = y.download<double>(), got_magnitude = magnitude.download<double>();
        std::vector<reference::Sums> want(5 * 72);
        reference::multiply(matrix.on_host, p.host_a.data(), product.a, 5, p.call.lda, true, 0, 72, want.data(), {});
        for (std::size_t i = 0; i < want.size(); ++i) {
          // f32 products of scale and code are exact to 2^-24 each.
          ASSERT_NEAR(got_y[i], want[i].y, 0x1p-22 * want[i].magnitude) << name_of(type) << " group " << group << " element " << i;
          ASSERT_NEAR(got_magnitude[i], want[i].magnitude, 0x1p-22 * want[i].magnitude);
        }
      }
    }
  }
}

}  // namespace billfish::cuda_test
