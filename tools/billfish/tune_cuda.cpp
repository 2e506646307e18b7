// SPDX-License-Identifier: Apache-2.0
// Candidates on a CUDA device, checked and timed as bench_cuda.cpp does it: graphs of calls over distinct weights.
#include <algorithm>
#include <memory>
#include <optional>

#include "bench_cuda_layer.hpp"
#include "bench_graph.hpp"
#include "bench_watchdog.hpp"
#include "errors.hpp"
#include "tune.hpp"
#include "types.hpp"

namespace billfish::cli {
namespace {

constexpr std::int64_t kCheckedWhole = 32;  // rows up to which every element is compared
constexpr double kQuickSeconds = 0.004;
constexpr std::int64_t kQuickRounds = 15, kRounds = 3;

class CudaTuneDevice : public TuneDevice {
 public:
  explicit CudaTuneDevice(const TuneOptions& options) : options_(options) {
    cli::check(billfish_prepare(BILLFISH_CUDA, options.bench.device.index));
  }
  std::string name() const override { return fmt::format("cuda:{}", options_.bench.device.index); }

  void begin(const BenchShape& shape) override {
    shape_ = shape;
    layer_.reset();
  }

  void make_weights() override {
    const std::vector<std::int64_t>& m = options_.bench.m;
    layer_ = std::make_unique<CudaLayer>(options_.bench, shape_, *std::max_element(m.begin(), m.end()), false);
  }

  billfish_problem problem(std::int64_t m) const override {
    const BenchOptions& bench = options_.bench;
    billfish_problem problem = BILLFISH_PROBLEM_INIT;
    problem.m = m;
    problem.n = shape_.n;
    problem.k = shape_.k;
    problem.group = bench.group;
    problem.type = bench.type;
    problem.a_type = problem.c_type = bench.act;
    problem.scale_type = bench.act == BILLFISH_BF16 ? BILLFISH_BF16 : BILLFISH_F16;
    const bool zeroed = !bench.plain_workspace && bench.implementation != "sm80";  // as CudaLayer::args
    problem.flags = (options_.dependent ? std::uint32_t{BILLFISH_GEMM_DEPENDENT_LAUNCH} : 0u) |
                    (zeroed ? std::uint32_t{BILLFISH_GEMM_ZEROED_WORKSPACE} : 0u);
    return problem;
  }

  std::string check(std::int64_t m, const std::string& plan) override {
    const Watchdog watchdog(kHangSeconds, fmt::format("checking {} at m={} n={} k={}", plan, m, shape_.n, shape_.k));
    BenchRow row;
    row.plan = plan;
    layer_->check_product(args(m), row, kCheckedWhole);
    return row.correct ? "" : fmt::format("error {:.3g} where the bound is {:.3g}", row.worst_error, row.bound);
  }

  double glance(std::int64_t m) override {
    OurCalls calls = {layer_.get(), args(m)};
    const Graph graph(options_.bench.device.index, 2, enqueue_ours, &calls, shape_.label);
    return replay({&graph}, 1)[0][0];
  }

  double quick(std::int64_t m) override {
    OurCalls calls = {layer_.get(), args(m)};
    const Graph graph(options_.bench.device.index, calls_for(layer_->copies()), enqueue_ours, &calls, shape_.label);
    const double first = replay({&graph}, 1)[0][0] * static_cast<double>(graph.calls()) * 1e-6;
    return summary_of(replay({&graph}, rounds_for(kQuickSeconds, first, 2, kQuickRounds))[0]).median;
  }

  std::vector<double> take_turns(std::int64_t m, std::size_t count, const std::function<void(std::size_t)>& use) override {
    // The largest workspace first: a graph keeps the pointer that it was made with.
    for (std::size_t i = 0; i < count; ++i) {
      use(i);
      (void)args(m);
    }
    std::vector<OurCalls> calls(count);
    std::vector<std::unique_ptr<Graph>> graphs;
    for (std::size_t i = 0; i < count; ++i) {
      use(i);
      calls[i] = {layer_.get(), args(m)};
      graphs.push_back(
          std::make_unique<Graph>(options_.bench.device.index, calls_for(layer_->copies()), enqueue_ours, &calls[i], shape_.label));
    }
    // Each in a steady state of its own, like the benchmark: replay by replay a plan would have the clock that the others leave it.
    std::vector<std::vector<double>> us(count);
    for (std::int64_t round = 0; round < kRounds; ++round) {
      for (std::size_t i = 0; i < count; ++i) {
        const std::size_t at = round % 2 == 0 ? i : count - 1 - i;
        us[at].push_back(time_alone(*graphs[at], kWarmSeconds, options_.bench.seconds, options_.bench.device.index, nullptr).median);
      }
    }
    std::vector<double> medians;
    for (std::vector<double>& one : us) medians.push_back(summary_of(std::move(one)).median);
    return medians;
  }

 private:
  billfish_gemm_args args(std::int64_t m) { return layer_->args(m, options_.dependent, options_.bench.implementation); }

  const TuneOptions& options_;
  BenchShape shape_;
  std::unique_ptr<CudaLayer> layer_;
};

}  // namespace

std::unique_ptr<TuneDevice> tune_on_cuda(const TuneOptions& options) { return std::make_unique<CudaTuneDevice>(options); }

}  // namespace billfish::cli
