// SPDX-License-Identifier: Apache-2.0
// billfish_tools_now, _summarize, _cpu_ceilings, _dot_rate, _read_seconds, _dense_*: measure/ behind the ABI.
#include <memory>
#include <span>
#include <string>

#include "api/arguments.hpp"
#include "billfish/billfish_tools.h"
#include "measure/ceilings.hpp"
#include "measure/dense.hpp"
#include "measure/statistics.hpp"

struct billfish_dense {
  std::unique_ptr<billfish::measure::Dense> product;
  std::int64_t k, n;
};

namespace billfish::api {
namespace {

Status create_dense(const float* b, std::int64_t k, std::int64_t n, const billfish_precision& given, billfish_dense** out) {
  if (out == nullptr) return null_argument("out");
  *out = nullptr;
  Precision precision = Precision::full;
  BILLFISH_RETURN_IF_ERROR(read_enum("precision", given, 2, "0 (full) and 1 (bf16)", precision));
  if (k <= 0 || n <= 0 || !checked_multiply(k, n).has_value() || !checked_multiply(k * n, 8).has_value()) {
    return invalid_argument("k is " + std::to_string(k) + " and n is " + std::to_string(n) +
                            "; both must be positive, and their product countable in bytes");
  }
  if (b == nullptr) return null_argument("b");
  Result<std::unique_ptr<measure::Dense>> product = measure::Dense::create(b, k, n, precision);
  if (!product.ok()) return product.status();
  *out = new billfish_dense{std::move(product).value(), k, n};
  return {};
}

Status multiply_dense(const billfish_dense* dense, const float* a, std::int64_t m, float* c, const billfish_parallel* given) {
  if (dense == nullptr) return null_argument("dense");
  if (m < 0) return invalid_argument("m is " + std::to_string(m) + "; it must be 0 or more");
  Parallel parallel;
  BILLFISH_RETURN_IF_ERROR(read_parallel(given, parallel));
  if (m == 0) return {};
  if (a == nullptr) return null_argument("a");
  if (c == nullptr) return null_argument("c");
  dense->product->multiply(a, m, c, parallel);
  return {};
}

}  // namespace
}  // namespace billfish::api

extern "C" {

double billfish_tools_now(void) { return billfish::measure::now(); }

void billfish_tools_summarize(double* values, int64_t count, billfish_summary* out) {
  using namespace billfish;
  (void)api::guarded([&]() -> Status {
    BILLFISH_RETURN_IF_ERROR(api::check_size(out, "out"));
    const bool any = values != nullptr && count > 0;
    const measure::Summary s = measure::summarize(any ? std::span<double>(values, static_cast<std::size_t>(count)) : std::span<double>());
    const billfish_summary filled = {sizeof filled, s.median, s.p10, s.p90, s.min, s.max, s.samples};
    api::write_struct(filled, out);
    return {};
  });
}

billfish_status billfish_tools_cpu_ceilings(const billfish_parallel* parallel, billfish_cpu_ceilings* out) {
  using namespace billfish;
  return api::guarded([&]() -> Status {
    BILLFISH_RETURN_IF_ERROR(api::check_size(out, "out"));
    Parallel workers;
    BILLFISH_RETURN_IF_ERROR(api::read_parallel(parallel, workers));
    const measure::CpuCeilings ceilings = measure::cpu_ceilings(workers);
    // Reading is a matter of the buffer: billfish_tools_read_seconds measures that.
    const billfish_cpu_ceilings filled = {sizeof filled, 0.0, ceilings.f32_gflops, ceilings.bf16_gflops, ceilings.int8_gops};
    api::write_struct(filled, out);
    return {};
  });
}

double billfish_tools_dot_rate(billfish_precision precision, double operations, const billfish_parallel* parallel) {
  using namespace billfish;
  double rate = 0;
  const billfish_status status = api::guarded([&]() -> Status {
    Precision read = Precision::full;
    BILLFISH_RETURN_IF_ERROR(api::read_enum("precision", precision, 3, "0 (full), 1 (bf16), 2 (int8)", read));
    if (!(operations >= 0 && operations <= 1e15)) return invalid_argument("operations is out of range; it must be from 0 to 1e15");
    Parallel workers;
    BILLFISH_RETURN_IF_ERROR(api::read_parallel(parallel, workers));
    rate = measure::dot_rate(read, operations, workers);
    return {};
  });
  return status == BILLFISH_OK ? rate : -1.0;
}

double billfish_tools_read_seconds(const void* buffer, int64_t bytes, const billfish_parallel* parallel) {
  using namespace billfish;
  double seconds = 0;
  const billfish_status status = api::guarded([&]() -> Status {
    if (bytes < 0) return invalid_argument("bytes is " + std::to_string(bytes) + "; it must be 0 or more");
    if (buffer == nullptr && bytes > 0) return api::null_argument("buffer");
    Parallel workers;
    BILLFISH_RETURN_IF_ERROR(api::read_parallel(parallel, workers));
    seconds = measure::read_seconds(buffer, bytes, workers);
    return {};
  });
  return status == BILLFISH_OK ? seconds : -1.0;
}

billfish_status billfish_tools_dense_create(const float* b, int64_t k, int64_t n, billfish_precision precision, billfish_dense** out) {
  return billfish::api::guarded([&] { return billfish::api::create_dense(b, k, n, precision, out); });
}

billfish_status billfish_tools_dense_multiply(const billfish_dense* dense, const float* a, int64_t m, float* c,
                                              const billfish_parallel* parallel) {
  return billfish::api::guarded([&] { return billfish::api::multiply_dense(dense, a, m, c, parallel); });
}

void billfish_tools_dense_free(billfish_dense* dense) { delete dense; }

int64_t billfish_tools_dense_bytes(const billfish_dense* dense) { return dense != nullptr ? dense->product->bytes() : 0; }

const char* billfish_tools_dense_name(const billfish_dense* dense) { return dense != nullptr ? dense->product->name() : ""; }

}  // extern "C"
