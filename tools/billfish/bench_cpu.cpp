// SPDX-License-Identifier: Apache-2.0
// The CPU benchmark: packs random layers (timed), checks every product against the oracle before it is timed, then times it on weights
// that no cache holds, taking turns with a read loop over the same memory and with the unquantised product.
#include "bench_cpu.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <map>
#include <memory>
#include <utility>

#include "bench_data.hpp"
#include "bench_plan.hpp"
#include "errors.hpp"
#include "product.hpp"
#include "random.hpp"
#include "types.hpp"

namespace billfish::cli {
namespace {

constexpr double kTouchBytes = 165e6;  // of weights that one round of calls goes through: five times the largest cache we met
constexpr std::size_t kFewestSamples = 7;
constexpr double kSlowSeconds = 0.5;  // calls that take longer are sampled
constexpr std::size_t kFewestSlowSamples = 3;
constexpr std::int64_t kCheckedRows = 64;   // all of them up to here, else so many of them
constexpr std::int64_t kCheckedBlock = 64;  // columns: the first, the last and one random block of so many

struct DenseFree {
  void operator()(billfish_dense* dense) const { billfish_tools_dense_free(dense); }
};
using Dense = std::unique_ptr<billfish_dense, DenseFree>;

constexpr double kMostCopies = 256;  // tiny layers stay in a cache, as they would in use

std::int64_t copies_for(double bytes, bool hot) {
  if (hot) return 1;
  return static_cast<std::int64_t>(std::clamp(std::ceil(kTouchBytes / bytes), 1.0, kMostCopies));
}

struct Layer {
  BenchShape shape;
  std::vector<PackedLayer> copies;
  std::vector<Dense> dense[2];  // f32, bf16; of copy 0
};

class CpuBench {
 public:
  CpuBench(const BenchOptions& options, BenchReport& report) : options_(options), report_(report), pool_(options.threads) {
    measure_ceilings();
    for (const BenchShape& shape : options.shapes) {
      if (report.out_of_time()) break;
      if (options.act_order && options.group >= shape.k) {
        report.skip(fmt::format("act order with one group: K = {} and the group is {}", shape.k, options.group));
        report.advance(static_cast<std::int64_t>(options.m.size()), "");
        continue;
      }
      run(shape);
      report.save();
    }
  }

 private:
  void measure_ceilings();
  void run(const BenchShape& shape);
  void pack(Layer& layer);
  void make_dense(Layer& layer, int precision);
  void check_row(const Layer& layer, const billfish_gemm_args& args, BenchRow& row);
  void time_row(Layer& layer, const billfish_gemm_args& args, BenchRow& row);
  BenchRow row_of(const Layer& layer, std::int64_t m, billfish_precision precision, const std::string& implementation) const;
  void run_cell(Layer& layer, std::int64_t m, billfish_precision precision, const std::string& implementation);

  const BenchOptions& options_;
  BenchReport& report_;
  Pool pool_;
  billfish_cpu_ceilings ceilings_ = BILLFISH_CPU_CEILINGS_INIT;
  std::map<std::string, std::pair<double, double>> last_;  // implementation and precision -> seconds and operations of its last call
};

void CpuBench::measure_ceilings() {
  if (report_.cpu_ceilings.f32_gflops > 0) {  // by an earlier part of this run
    ceilings_ = report_.cpu_ceilings;
    return;
  }
  check(billfish_tools_cpu_ceilings(pool_.parallel(), &ceilings_));
  const Buffer buffer(std::int64_t{256} << 20);
  std::memset(buffer.data(), 1, static_cast<std::size_t>(buffer.bytes()));
  std::vector<double> seconds;
  for (int i = 0; i < 7; ++i) seconds.push_back(billfish_tools_read_seconds(buffer.data(), buffer.bytes(), pool_.parallel()));
  billfish_summary summary = BILLFISH_SUMMARY_INIT;
  billfish_tools_summarize(seconds.data(), static_cast<std::int64_t>(seconds.size()), &summary);
  ceilings_.read_gbps = static_cast<double>(buffer.bytes()) / summary.median * 1e-9;
  report_.ceilings = {{"read_gbps", ceilings_.read_gbps},
                      {"f32_gflops", ceilings_.f32_gflops},
                      {"bf16_gflops", ceilings_.bf16_gflops},
                      {"int8_gops", ceilings_.int8_gops}};
  report_.cpu_ceilings = ceilings_;
  report_.conditions["threads"] = pool_.threads();
  if (!options_.json) {
    fmt::print(
        "ceilings, {} threads: read {:.1f} GB/s, f32 {:.0f} GFLOP/s, bf16 {:.0f} GFLOP/s, int8 {:.0f} GOP/s; each row has its own, met "
        "between its calls\n",
        pool_.threads(), ceilings_.read_gbps, ceilings_.f32_gflops, ceilings_.bf16_gflops, ceilings_.int8_gops);
  }
}

BenchRow CpuBench::row_of(const Layer& layer, std::int64_t m, billfish_precision precision, const std::string& implementation) const {
  BenchRow row;
  row.m = m;
  row.n = layer.shape.n;
  row.k = layer.shape.k;
  row.type = name_of(options_.type);
  row.group = options_.group;
  row.act = name_of(options_.act);
  row.precision = name_of(precision);
  if (m > 0) row.implementation = chosen_plan(options_, implementation, m, row.n, row.k, precision, BILLFISH_F32, false).implementation;
  row.act_order = options_.act_order;
  row.threads = pool_.threads();
  const double size = bytes_of(options_.act);
  if (!layer.copies.empty()) row.bytes = static_cast<double>(bytes_read(layer.copies[0].weights()));
  if (row.bytes > 0) row.memory_saved = static_cast<double>(row.k) * static_cast<double>(row.n) * 2 / row.bytes;
  row.bytes += static_cast<double>(m) * (static_cast<double>(row.k) * size + static_cast<double>(row.n) * 4);  // C is f32
  row.operations = 2.0 * static_cast<double>(m) * static_cast<double>(row.n) * static_cast<double>(row.k);
  // The fastest dot product that the precision allows, where the machine has it.
  const double wide = ceilings_.bf16_gflops > 0 ? ceilings_.bf16_gflops : ceilings_.f32_gflops;
  row.rate_gflops = precision == BILLFISH_PRECISION_INT8 && ceilings_.int8_gops > 0 ? ceilings_.int8_gops : wide;
  return row;
}

void CpuBench::pack(Layer& layer) {
  const BenchShape& shape = layer.shape;
  RandomMatrix matrix(shape.k, shape.n, options_.group, options_.type, BILLFISH_F16, options_.seed, options_.act_order);
  const std::int64_t count =
      copies_for(static_cast<double>(shape.k) * static_cast<double>(shape.n) * bits_of(options_.type) / 8, options_.hot);
  std::vector<double> us;
  for (std::int64_t i = 0; i < count; ++i) {
    matrix.draw_again(options_.seed + static_cast<std::uint64_t>(i));
    const double start = billfish_tools_now();
    layer.copies.emplace_back(matrix.matrix(), pool_.parallel(), shape.label);
    us.push_back((billfish_tools_now() - start) * 1e6);
  }
  // Once more into memory that is there already: what packing costs without the page faults of fresh memory.
  us.clear();
  const PackedLayer& target = layer.copies.back();
  for (std::size_t i = 0; i < kFewestSamples; ++i) {
    billfish_weights weights = target.weights();
    const double start = billfish_tools_now();
    check(billfish_pack(&matrix.matrix(), &weights, pool_.parallel(), nullptr), shape.label);
    us.push_back((billfish_tools_now() - start) * 1e6);
  }
  BenchRow row = row_of(layer, 0, BILLFISH_PRECISION_FULL, "");
  row.kind = "pack";
  row.implementation = matrix.matrix().format == BILLFISH_FORMAT_GPTQ ? "gptq" : "raw";
  row.act = row.precision = "";
  row.bytes = static_cast<double>(matrix.bytes());  // of the checkpoint
  row.operations = row.rate_gflops = 0;
  row.read_gbps = ceilings_.read_gbps;
  row.checked = false;
  billfish_tools_summarize(us.data(), static_cast<std::int64_t>(us.size()), &row.us);
  if (!report_.has(row)) report_.add(row);
}

void CpuBench::make_dense(Layer& layer, int precision) {
  std::vector<Dense>& list = layer.dense[precision];
  if (!list.empty()) return;
  const std::int64_t k = layer.shape.k, n = layer.shape.n;
  const Buffer values(k * n * 4);
  check(billfish_dequantize(&layer.copies[0].weights(), values.as<float>(), n, pool_.parallel()), layer.shape.label);
  std::int64_t count = 1;
  for (std::int64_t i = 0; i < count; ++i) {
    billfish_dense* dense = nullptr;
    check(billfish_tools_dense_create(values.as<float>(), k, n, static_cast<billfish_precision>(precision), &dense), layer.shape.label);
    list.emplace_back(dense);
    count = copies_for(static_cast<double>(billfish_tools_dense_bytes(dense)), options_.hot);
  }
}

// Rows (all, or a sample with the first and the last) times three blocks of columns, against the oracle; and no element unwritten.
void CpuBench::check_row(const Layer& layer, const billfish_gemm_args& args, BenchRow& row) {
  const billfish_weights& weights = layer.copies[0].weights();
  const std::int64_t m = args.m, n = weights.n, k = weights.k;
  auto* c = static_cast<float*>(args.c);
  std::fill(c, c + m * n, std::numeric_limits<float>::quiet_NaN());
  check(billfish_gemm(&weights, &args, nullptr), layer.shape.label);

  Random random(options_.seed + static_cast<std::uint64_t>(m));
  std::vector<std::int64_t> rows;
  for (std::int64_t i = 0; i < std::min(m, kCheckedRows); ++i) {
    const std::int64_t low = m * i / std::min(m, kCheckedRows), high = m * (i + 1) / std::min(m, kCheckedRows);
    rows.push_back(i == 0      ? 0
                   : high == m ? m - 1
                               : low + static_cast<std::int64_t>(random.bits() % static_cast<std::uint64_t>(high - low)));
  }
  const std::int64_t size = bytes_of(args.a_type);
  const Buffer a(static_cast<std::int64_t>(rows.size()) * k * size);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    std::memcpy(a.as<char>() + static_cast<std::int64_t>(i) * k * size, static_cast<const char*>(args.a) + rows[i] * k * size,
                static_cast<std::size_t>(k * size));
  }
  billfish_gemm_args some = args;
  some.m = static_cast<std::int64_t>(rows.size());
  some.a = a.data();
  const std::int64_t block = std::min(kCheckedBlock, n), last = n - block;
  std::vector<std::int64_t> begins = {0, last, static_cast<std::int64_t>(random.bits() % static_cast<std::uint64_t>(last + 1))};
  std::sort(begins.begin(), begins.end());
  begins.erase(std::unique(begins.begin(), begins.end()), begins.end());
  std::vector<double> y(rows.size() * static_cast<std::size_t>(block)), bound(y.size());
  double worst = -1;
  for (const std::int64_t begin : begins) {
    check(billfish_tools_oracle(&weights, &some, begin, begin + block, BILLFISH_CPU, y.data(), bound.data()), layer.shape.label);
    for (std::size_t i = 0; i < y.size(); ++i) {
      const std::int64_t r = rows[i / static_cast<std::size_t>(block)], j = begin + static_cast<std::int64_t>(i) % block;
      const double error = std::abs(static_cast<double>(c[r * n + j]) - y[i]);
      if (!(error <= bound[i])) row.correct = false;  // NaN too
      const double share = bound[i] > 0 ? error / bound[i] : error > 0 ? 2 : 0;
      if (share > worst || std::isnan(error)) {
        worst = share;
        row.worst_error = error;
        row.bound = bound[i];
      }
    }
  }
  for (std::int64_t i = 0; i < m * n; ++i) row.correct = row.correct && std::isfinite(c[i]);
  row.checked = true;
}

void CpuBench::time_row(Layer& layer, const billfish_gemm_args& args, BenchRow& row) {
  const int dense_kind = args.precision == BILLFISH_PRECISION_FULL ? 0 : 1;
  make_dense(layer, dense_kind);
  const std::vector<Dense>& dense = layer.dense[dense_kind];
  std::vector<float> a_f32(static_cast<std::size_t>(args.m * row.k));
  billfish_tools_to_f32(args.a, args.a_type, a_f32.data(), args.m * row.k);
  auto* c = static_cast<float*>(args.c);
  const std::size_t copies = layer.copies.size();
  const std::int64_t codes_bytes = layer.copies[0].sizes().codes;
  std::vector<double> ours, theirs, read, rate;
  const double start = billfish_tools_now();
  for (std::size_t i = 0;; ++i) {
    const PackedLayer& layer_now = layer.copies[i % copies];
    const double t0 = billfish_tools_now();
    check(billfish_gemm(&layer_now.weights(), &args, nullptr), layer.shape.label);
    const double t1 = billfish_tools_now();
    // Half a turn away, so that neither loop finds what the other left in a cache.
    const PackedLayer& layer_read = layer.copies[(i + copies / 2 + 1) % copies];
    const double seconds = billfish_tools_read_seconds(layer_read.weights().codes, codes_bytes, pool_.parallel());
    const double t2 = billfish_tools_now();
    check(billfish_tools_dense_multiply(dense[i % dense.size()].get(), a_f32.data(), args.m, c, pool_.parallel()));
    const double t3 = billfish_tools_now();
    const double operations = std::clamp(row.operations, row.rate_gflops * 1e5, row.rate_gflops * 1e6);  // of 0.1 to 1 ms
    const double dots = billfish_tools_dot_rate(args.precision, operations, pool_.parallel());
    if (i == 0) continue;  // the first turn warms threads, pages and scratch memory
    ours.push_back((t1 - t0) * 1e6);
    read.push_back(seconds);
    rate.push_back(dots);
    theirs.push_back((t3 - t2) * 1e6);
    const std::size_t fewest = t1 - t0 > kSlowSeconds ? kFewestSlowSamples : kFewestSamples;
    if (t3 - start > options_.seconds && ours.size() >= fewest) break;
  }
  const auto count = static_cast<std::int64_t>(ours.size());
  billfish_summary read_summary = BILLFISH_SUMMARY_INIT, rate_summary = BILLFISH_SUMMARY_INIT, dense_summary = BILLFISH_SUMMARY_INIT;
  billfish_tools_summarize(ours.data(), count, &row.us);
  billfish_tools_summarize(read.data(), count, &read_summary);
  billfish_tools_summarize(rate.data(), count, &rate_summary);
  billfish_tools_summarize(theirs.data(), count, &dense_summary);
  row.read_gbps = static_cast<double>(codes_bytes) / read_summary.median * 1e-9;
  row.rate_gflops = rate_summary.median;
  row.vs_baseline = dense_summary.median / row.us.median;

  BenchRow baseline = row;
  baseline.kind = "baseline";
  baseline.implementation = std::string("dense ") + billfish_tools_dense_name(dense[0].get());
  baseline.us = dense_summary;
  baseline.type = "";
  baseline.group = 0;
  baseline.act = "f32";
  baseline.precision = dense_kind == 0 ? "full" : "bf16";
  baseline.bytes = static_cast<double>(billfish_tools_dense_bytes(dense[0].get())) + static_cast<double>(args.m * (row.k + row.n)) * 4;
  baseline.rate_gflops = dense_kind == 1 && ceilings_.bf16_gflops > 0 ? ceilings_.bf16_gflops : ceilings_.f32_gflops;
  baseline.vs_baseline = 0;
  baseline.memory_saved = 0;
  baseline.act_order = false;
  baseline.checked = false;
  baseline.correct = true;
  if (!report_.has(baseline)) report_.add(baseline);
}

void CpuBench::run(const BenchShape& shape) {
  Layer layer;
  layer.shape = shape;
  const std::vector<std::string> implementations = implementations_for(options_);
  for (const std::int64_t m : options_.m) {
    for (const billfish_precision precision : options_.precisions) {
      for (const std::string& implementation : implementations) {
        if (report_.out_of_time()) return;
        run_cell(layer, m, precision, implementation);
      }
    }
    report_.advance(1, fmt::format("{} M={}", shape.label, m));
  }
}

void CpuBench::run_cell(Layer& layer, std::int64_t m, billfish_precision precision, const std::string& implementation) {
  const BenchShape& shape = layer.shape;
  BenchRow row;
  try {
    row = row_of(layer, m, precision, implementation);
  } catch (const Failure& refused) {
    if (!options_.every_implementation) throw;
    report_.skip(implementation + ": " + refused.what());
    return;
  }
  if (report_.has(row)) return;
  // From some M on, time grows in proportion to the operations: what the last call took says what this one will take at most.
  const double operations = static_cast<double>(m) * static_cast<double>(shape.n) * static_cast<double>(shape.k);
  const std::string key = row.implementation + " " + row.precision;
  if (const auto last = last_.find(key); options_.most_seconds > 0 && last != last_.end()) {
    const auto [seconds, of] = last->second;
    if (seconds > options_.most_seconds / 100 && seconds * operations / of > options_.most_seconds) {
      report_.skip(fmt::format("{}: calls of more than {:g} s (--most-seconds): {} x {} from M={} on", key, options_.most_seconds, shape.k,
                               shape.n, m),
                   fmt::format("{} {} {}", key, shape.k, shape.n));
      return;
    }
  }
  if (layer.copies.empty()) pack(layer);
  row = row_of(layer, m, precision, implementation);
  const std::vector<std::byte> a = random_activations(m, shape.k, options_.act, options_.seed);
  const Buffer c(m * shape.n * 4);
  billfish_gemm_args args = BILLFISH_GEMM_ARGS_INIT;
  args.m = m;
  args.a = a.data();
  args.lda = shape.k;
  args.c = c.data();
  args.ldc = shape.n;
  args.a_type = options_.act;
  args.c_type = BILLFISH_F32;
  args.precision = precision;
  args.implementation = row.implementation.c_str();
  args.parallel = pool_.parallel();
  std::size_t bytes = 0;
  check(billfish_gemm_workspace(&layer.copies[0].weights(), &args, &bytes), shape.label);
  const Buffer workspace(static_cast<std::int64_t>(bytes));
  args.workspace = workspace.data();
  args.workspace_bytes = bytes;
  check_row(layer, args, row);
  if (row.correct) time_row(layer, args, row);  // what is wrong is not timed
  if (row.correct) last_[key] = {row.us.median * 1e-6, operations};
  report_.add(row);
}

}  // namespace

void bench_cpu(const BenchOptions& options, BenchReport& report) { CpuBench(options, report); }

}  // namespace billfish::cli
