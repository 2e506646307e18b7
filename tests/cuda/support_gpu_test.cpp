// SPDX-License-Identifier: Apache-2.0
// Implementation of support.hpp.
#include "support.hpp"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <numeric>

#include "core/half.hpp"
#include "cuda/cuda.hpp"
#include "cuda/sm90/shares_plan.hpp"
#include "cuda/sm90/wgmma_policy.hpp"
#include "device_reference.hpp"
#include "layout/marlin_scales.hpp"
#include "layout/marlin_weights.hpp"
#include "layout/marlin_zeros.hpp"

namespace billfish::cuda_test {
namespace {

constexpr std::size_t kGuard = 256;
constexpr unsigned char kGuardByte = 0x5a;

double unit_of(ElementType type) { return type == ElementType::f32 ? 0x1p-24 : type == ElementType::f16 ? 0x1p-11 : 0x1p-8; }

std::uint16_t to_16(float value, ElementType type) { return type == ElementType::bf16 ? f32_to_bf16(value) : f32_to_f16(value); }

void set_field(std::vector<std::uint32_t>& words, layout::Place place, int bits, std::uint32_t value) {
  std::uint32_t& word = words[static_cast<std::size_t>(place.word)];
  word = (word & ~(layout::field_mask(bits) << place.shift)) | value << place.shift;
}

}  // namespace

void require(cudaError_t error, const char* what) { ASSERT_EQ(error, cudaSuccess) << what << ": " << cudaGetErrorString(error); }

Buffer::Buffer(std::size_t bytes, std::size_t shift) : bytes_(bytes), shift_(shift) {
  require(cudaMalloc(reinterpret_cast<void**>(&base_), bytes + shift + 2 * kGuard), "allocating");
  data_ = base_ + kGuard + shift;
  require(cudaMemset(base_, kGuardByte, bytes + shift + 2 * kGuard), "filling");
  poison();
}
Buffer::~Buffer() { (void)cudaFree(base_); }
Buffer& Buffer::operator=(Buffer&& other) noexcept {
  std::swap(base_, other.base_), std::swap(data_, other.data_), std::swap(bytes_, other.bytes_), std::swap(shift_, other.shift_);
  return *this;
}
void Buffer::poison() {
  if (bytes_ > 0) require(cudaMemset(data_, 0xff, bytes_), "poisoning");
}
void Buffer::upload(const void* host) {
  if (bytes_ > 0) require(cudaMemcpy(data_, host, bytes_, cudaMemcpyHostToDevice), "copying to the device");
}
void Buffer::download_to(void* host) const {
  if (bytes_ > 0) require(cudaMemcpy(host, data_, bytes_, cudaMemcpyDeviceToHost), "copying from the device");
}
bool Buffer::guards_intact() const {
  if (base_ == nullptr) return true;
  std::vector<unsigned char> before(kGuard + shift_), after(kGuard);
  require(cudaMemcpy(before.data(), base_, before.size(), cudaMemcpyDeviceToHost), "copying guards");
  require(cudaMemcpy(after.data(), data_ + bytes_, kGuard, cudaMemcpyDeviceToHost), "copying guards");
  const auto intact = [](unsigned char byte) { return byte == kGuardByte; };
  return std::all_of(before.begin(), before.end(), intact) && std::all_of(after.begin(), after.end(), intact);
}

bool Matrix::guards_intact() const {
  return codes.guards_intact() && zeros.guards_intact() && scales.guards_intact() && perm.guards_intact() && bias.guards_intact();
}

Matrix make_matrix(const MatrixOptions& options) {
  Random random(options.seed);
  Matrix matrix;
  PackedMatrix shape;
  shape.type = options.type;
  shape.scale_type = options.scale_type;
  shape.n = options.n;
  shape.k = options.k;
  shape.group = resolve_group(options.group, options.k);
  const int bits = bits_of(options.type);

  matrix.host_codes.resize(static_cast<std::size_t>(shape.packed_code_words()));
  for (std::uint32_t& word : matrix.host_codes) word = static_cast<std::uint32_t>(random.next() >> 32);
  matrix.host_zeros.resize(static_cast<std::size_t>(shape.packed_zero_words()));
  for (std::uint32_t& word : matrix.host_zeros) word = static_cast<std::uint32_t>(random.next() >> 32);
  matrix.host_scales.resize(static_cast<std::size_t>(shape.packed_scales()));
  // Weights of about unit output for unit activations; a tenth of the scales are negative, which is legal.
  const float size = 4.0f / std::sqrt(static_cast<float>(options.k) + 1.0f) / static_cast<float>(1 << bits);
  for (std::uint16_t& scale : matrix.host_scales) {
    const float value = options.exact ? std::ldexp(1.0f, static_cast<int>(random.below(3)) - 1) : size * random.uniform(0.5f, 1.5f);
    scale = to_16(random.below(10) == 0 ? -value : value, options.scale_type);
  }
  // Padding: rows of codes at the zero point, columns of scale 0.
  for (std::int64_t k = options.k; k < shape.padded_k(); ++k) {
    for (std::int64_t n = 0; n < shape.padded_n(); ++n) {
      std::uint32_t zero = static_cast<std::uint32_t>(implicit_zero(options.type));
      if (has_zeros(options.type)) {
        const layout::Place place = layout::marlin_zero(bits, shape.groups() - 1, n, shape.padded_n());
        zero = layout::field_of(matrix.host_zeros[static_cast<std::size_t>(place.word)], place.shift, bits);
      }
      set_field(matrix.host_codes, layout::marlin_code(bits, k, n, shape.padded_n()), bits, zero);
    }
  }
  for (std::int64_t group = 0; group < shape.groups(); ++group) {
    for (std::int64_t n = options.n; n < shape.padded_n(); ++n) {
      matrix.host_scales[static_cast<std::size_t>(group * shape.padded_n() + layout::marlin_scale(shape.per_column(), n))] = 0;
    }
  }
  if (options.act_order) {
    matrix.host_perm.resize(static_cast<std::size_t>(options.k));
    std::iota(matrix.host_perm.begin(), matrix.host_perm.end(), 0);
    for (std::int64_t i = options.k - 1; i > 0; --i) {
      std::swap(matrix.host_perm[static_cast<std::size_t>(i)], matrix.host_perm[static_cast<std::size_t>(random.below(i + 1))]);
    }
  }
  if (options.bias) {  // long enough for either order
    matrix.host_bias.resize(static_cast<std::size_t>(shape.padded_n()));
    for (std::uint16_t& value : matrix.host_bias) {
      value = to_16(options.exact ? static_cast<float>(random.below(9)) - 4.0f : random.uniform(-2.0f, 2.0f), options.bias_type);
    }
  }
  matrix.codes = Buffer(matrix.host_codes);
  matrix.zeros = Buffer(matrix.host_zeros);
  matrix.scales = Buffer(matrix.host_scales);
  matrix.perm = Buffer(matrix.host_perm);
  matrix.bias = Buffer(matrix.host_bias);

  shape.bias_type = options.bias_type;
  shape.bias_permuted = options.bias_permuted;
  matrix.on_host = matrix.on_device = shape;
  matrix.on_host.codes = matrix.host_codes.data();
  matrix.on_host.scales = matrix.host_scales.data();
  if (has_zeros(options.type)) matrix.on_host.zeros = matrix.host_zeros.data();
  if (options.act_order) matrix.on_host.perm = matrix.host_perm.data();
  if (options.bias) matrix.on_host.bias = matrix.host_bias.data();
  matrix.on_device.device = {DeviceKind::cuda, 0};
  matrix.on_device.codes = matrix.codes.as<std::uint32_t>();
  matrix.on_device.scales = matrix.scales.data();
  if (has_zeros(options.type)) matrix.on_device.zeros = matrix.zeros.as<std::uint32_t>();
  if (options.act_order) matrix.on_device.perm = matrix.perm.as<std::int32_t>();
  if (options.bias) matrix.on_device.bias = matrix.bias.data();
  return matrix;
}

billfish_weights weights_of(const Matrix& matrix) {
  const PackedMatrix& packed = matrix.on_device;
  billfish_weights weights = BILLFISH_WEIGHTS_INIT;
  weights.type = static_cast<billfish_weight_type>(packed.type);
  weights.scale_type = static_cast<billfish_element_type>(packed.scale_type);
  weights.bias_type = static_cast<billfish_element_type>(packed.bias_type);
  weights.n = packed.n, weights.k = packed.k, weights.group = packed.group;
  weights.codes = packed.codes, weights.scales = packed.scales, weights.zeros = packed.zeros;
  weights.perm = packed.perm, weights.bias = packed.bias;
  weights.flags = packed.bias_permuted ? std::uint32_t{BILLFISH_WEIGHTS_BIAS_PERMUTED} : 0u;
  weights.device_kind = BILLFISH_CUDA;
  return weights;
}

const gemm::DeviceFacts& device() {
  static const gemm::DeviceFacts facts = [] {
    const Result<gemm::DeviceFacts> here = cuda::facts(0);
    EXPECT_TRUE(here.ok()) << here.status().message();
    return here.ok() ? *here : gemm::DeviceFacts();
  }();
  return facts;
}

bool runs_here(const char* implementation) {
  // Where the driver is told to compile PTX, sm90 cannot load: it is machine code for one architecture.
  const char* from_ptx = std::getenv("CUDA_FORCE_PTX_JIT");
  if (from_ptx != nullptr && std::strcmp(from_ptx, "1") == 0 && std::strcmp(implementation, "sm90") == 0) return false;
  gemm::Problem plain;
  plain.m = 1, plain.n = 4096, plain.k = 4096, plain.group = 128;
  return gemm::refusal(*gemm::find_implementation(implementation), plain, device()).empty();
}

Product make_product(const Matrix& matrix, const ProductOptions& options) {
  const PackedMatrix& weights = matrix.on_device;
  Product product;
  product.matrix = &matrix;
  product.options = options;
  const std::int64_t lda = weights.k + options.extra_lda;
  const std::int64_t ldc = weights.n + options.extra_ldc;
  gemm::Problem& problem = product.problem;
  problem.m = options.m, problem.n = weights.n, problem.k = weights.k, problem.group = weights.group;
  problem.weight = weights.type;
  problem.a = options.a, problem.c = options.c, problem.scale = weights.scale_type;
  problem.act_order = weights.perm != nullptr;
  problem.bias = weights.bias != nullptr;
  problem.wide_scales = weights.wide_scales;
  problem.batch_invariant = options.batch_invariant;
  problem.dependent_launch = options.dependent_launch;
  problem.zeroed_workspace = options.zeroed_workspace;
  problem.aligned_a = options.shift_a % 16 == 0 && lda % 8 == 0;
  problem.aligned_c = options.shift_c % 16 == 0 && ldc * bytes_of(options.c) % 16 == 0;
  if (options.no_workspace) problem.workspace_bytes = 0;
  const gemm::Implementation& implementation = *gemm::find_implementation(options.implementation);
  product.refusal = gemm::refusal(implementation, problem, device());
  if (!product.refusal.empty()) return product;
  product.plan = implementation.plan(problem, device());

  Random random(options.seed);
  const std::int64_t elements = options.m == 0 ? 0 : (options.m - 1) * lda + weights.k;
  product.host_a.assign(static_cast<std::size_t>(elements), 0xffff);  // NaN between the rows
  for (std::int64_t m = 0; m < options.m; ++m) {
    for (std::int64_t k = 0; k < weights.k; ++k) {
      const float value = options.exact ? static_cast<float>(random.below(7)) - 3.0f
                                        : random.uniform(-1.0f, 1.0f) + random.uniform(-1.0f, 1.0f) + random.uniform(-1.0f, 1.0f);
      product.host_a[static_cast<std::size_t>(m * lda + k)] = to_16(value, options.a);
    }
  }
  product.a = Buffer(product.host_a, options.shift_a);
  product.c =
      Buffer(static_cast<std::size_t>(options.m == 0 ? 0 : (options.m - 1) * ldc + weights.n) * bytes_of(options.c), options.shift_c);
  gemm::Call& call = product.call;
  call.weights = &matrix.on_device;
  call.m = options.m;
  call.a = product.a.data();
  call.lda = lda;
  call.c = product.c.data();
  call.ldc = ldc;
  call.bias = problem.bias;
  take_plan(product, gemm::Plan(product.plan));
  return product;
}

std::size_t zero_bytes(const Product& product) {
  // A copy of A lies behind the zeros, and so do slots whose sums have flags.
  const auto all = static_cast<std::size_t>(product.plan.gather_offset < 0 ? product.plan.workspace_bytes : product.plan.gather_offset);
  const bool has_slots = product.plan.implementation == &cuda::sm90 && product.plan.policy < sm90::kPolicies;
  return has_slots ? std::min(all, static_cast<std::size_t>(cuda::zeros_bytes(product.plan.detail[3]))) : all;
}

void clear_workspace(Product& product) {
  const std::size_t bytes = zero_bytes(product);
  if (bytes > 0) require(cudaMemset(product.workspace.data(), 0, bytes), "clearing the workspace");
}

void take_plan(Product& product, const gemm::Plan& plan) {
  product.plan = plan;
  product.workspace = Buffer(static_cast<std::size_t>(plan.workspace_bytes));
  if (product.problem.zeroed_workspace) clear_workspace(product);
  product.call.workspace = plan.workspace_bytes > 0 ? product.workspace.data() : nullptr;
  product.call.workspace_bytes = plan.workspace_bytes;
}

Status run(Product& product, cudaStream_t stream) {
  if (product.options.m == 0) return {};
  product.call.weights = &product.matrix->on_device;
  product.call.stream = stream;
  return product.plan.implementation->run(product.plan, product.problem, product.call);
}

void run_and_wait(Product& product, const char* what) {
  const Status status = run(product);
  EXPECT_TRUE(status.ok()) << what << ": " << status.message();
  require(cudaDeviceSynchronize(), what);
}

std::vector<unsigned char> bits_of(Product& product, const char* what) {
  product.c.poison();
  run_and_wait(product, what);
  return output_of(product);
}

std::vector<unsigned char> output_of(const Product& product) {
  const std::vector<unsigned char> all = product.c.download<unsigned char>();
  const std::size_t row = static_cast<std::size_t>(product.problem.n * bytes_of(product.problem.c));
  const std::size_t stride = static_cast<std::size_t>(product.call.ldc * bytes_of(product.problem.c));
  std::vector<unsigned char> packed;
  for (std::int64_t m = 0; m < product.problem.m; ++m) {
    const auto begin = all.begin() + static_cast<std::ptrdiff_t>(static_cast<std::size_t>(m) * stride);
    packed.insert(packed.end(), begin, begin + static_cast<std::ptrdiff_t>(row));
  }
  return packed;
}

double expect_right(Product& product, const char* what) {
  const gemm::Problem& problem = product.problem;
  product.c.poison();
  product.workspace.poison();
  if (problem.zeroed_workspace) clear_workspace(product);
  run_and_wait(product, what);
  if (problem.m == 0 || problem.n == 0) return 0;

  // The bound is linear in y, in the magnitude and in 1: its three coefficients, from three evaluations.
  reference::Rounding rounding = reference::rounding_of(problem, product.plan);
  rounding.zeros_after_sum = false;
  if (std::string_view(product.options.implementation) == "sm80") rounding.weights_rounded = rounding.scales_rounded = false;
  reference::Sums none, unit_magnitude;
  unit_magnitude.magnitude = unit_magnitude.unzeroed = 1;
  Tolerance tolerance;
  tolerance.absolute = reference::bound(rounding, problem.k, none);
  tolerance.relative_magnitude = reference::bound(rounding, problem.k, unit_magnitude) - tolerance.absolute;
  tolerance.relative_y = unit_of(problem.c);
  tolerance.relative_magnitude += 0x1p-23;  // the reference's own weights are f32

  const std::size_t elements = static_cast<std::size_t>(problem.m * problem.n);
  Buffer dense(static_cast<std::size_t>(problem.k * problem.n) * 4), y(elements * 8), magnitude(elements * 8);
  dequantize_on_device(product.matrix->on_device, dense.as<float>());
  multiply_in_double(product.matrix->on_device, dense.as<float>(), product.call.a, problem.a, problem.m, product.call.lda, problem.bias,
                     y.as<double>(), magnitude.as<double>());
  const Comparison result = compare_on_device(product.call.c, problem.c, problem.m, problem.n, product.call.ldc, y.as<double>(),
                                              magnitude.as<double>(), tolerance);
  if (result.wrong != 0) {
    const std::vector<double> want = y.download<double>(), sizes = magnitude.download<double>();
    const std::size_t first = static_cast<std::size_t>(result.first);
    const std::vector<unsigned char> bytes = output_of(product);
    ADD_FAILURE() << what << ": " << gemm::describe(problem) << " on " << product.options.implementation << " " << product.plan.policy_name
                  << " splits " << product.plan.splits << ": " << result.wrong << " of " << elements << " wrong, the first at row "
                  << result.first / problem.n << " column " << result.first % problem.n << ": "
                  << load_element(bytes.data(), problem.c, result.first) << " for " << want[first] << ", magnitude " << sizes[first]
                  << "; metric " << result.difference / result.reference;
  }
  // Nothing outside of C's rows: between them the poison stays.
  if (product.call.ldc > problem.n && problem.m > 1) {
    const std::vector<unsigned char> all = product.c.download<unsigned char>();
    const std::size_t row = static_cast<std::size_t>(problem.n * bytes_of(problem.c));
    const std::size_t stride = static_cast<std::size_t>(product.call.ldc * bytes_of(problem.c));
    std::size_t written = 0;
    for (std::size_t i = 0; i < all.size(); ++i) written += i % stride >= row && all[i] != 0xff;
    EXPECT_EQ(written, 0u) << what << ": bytes between C's rows";
  }
  EXPECT_TRUE(product.a.guards_intact()) << what << ": memory around A";
  EXPECT_TRUE(product.c.guards_intact()) << what << ": memory around C";
  if (problem.zeroed_workspace) {
    const std::vector<unsigned char> workspace = product.workspace.download<unsigned char>();
    std::size_t left = 0;
    for (std::size_t i = 0; i < zero_bytes(product); ++i) left += workspace[i] != 0;
    EXPECT_EQ(left, 0u) << what << ": bytes left in the workspace";
  }
  EXPECT_TRUE(product.workspace.guards_intact()) << what << ": memory around the workspace";
  EXPECT_TRUE(product.matrix->guards_intact()) << what << ": memory around the weights";
  return result.reference > 0 ? result.difference / result.reference : 0;
}

}  // namespace billfish::cuda_test
