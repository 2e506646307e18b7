// SPDX-License-Identifier: Apache-2.0
// The CUDA benchmark (method: bench/README.md): every product is checked, then a graph of at least 20 calls over at least 320 MB of
// distinct weights is warmed up for 50 ms and replayed; cuBLAS gets the same, and both take turns.
#include "bench_cuda.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <memory>

#include "bench_cublas.hpp"
#include "bench_cuda_layer.hpp"
#include "bench_graph.hpp"
#include "bench_monitor.hpp"
#include "bench_peers.hpp"
#include "bench_plan.hpp"
#include "bench_watchdog.hpp"
#include "errors.hpp"
#include "random.hpp"
#include "types.hpp"

namespace billfish::cli {
namespace {

constexpr double kCliffWarmSeconds = 0.01;  // neighbours along M draw the same power
constexpr double kTurnSeconds = 0.03;       // for alternating replays
constexpr std::int64_t kTurns = 5;          // at least
constexpr std::int64_t kReadBytes = 4'000'000'000;
constexpr std::int64_t kSquare = 8192;  // of the product whose sustained rate is the arithmetic ceiling

// Measured on a cool card that nobody shared (2026-11): the larger of these and the run's own is what rows are held against.
struct ReferenceCeiling {
  const char* device;
  double read_gbps, f16_gflops;
};
constexpr ReferenceCeiling kReferences[] = {{"NVIDIA H200", 4700, 650e3}};

struct CublasCalls {
  const Cublas* cublas;
  const CudaLayer* layer;
  std::int64_t m, n, k;
  billfish_element_type type;
};
billfish_status enqueue_cublas(void* user, std::int64_t index, void* stream) {
  const auto& calls = *static_cast<CublasCalls*>(user);
  const void* w = calls.layer->dense(index % calls.layer->dense_copies());
  return calls.cublas->multiply(calls.layer->a(), w, calls.layer->c(), calls.m, calls.n, calls.k, calls.type, stream)
             ? BILLFISH_OK
             : BILLFISH_DEVICE_ERROR;
}

class CudaBench {
 public:
  CudaBench(const BenchOptions& options, BenchReport& report)
      : options_(options), report_(report), cublas_(options.device), peers_(options.peers) {
    measure_ceilings();
    ways_ = implementations_for(options);
    if (options.random > 0) {
      run_random();
    } else {
      for (const BenchShape& shape : options.shapes) {
        if (report.out_of_time()) break;
        if (options.act_order && options.group >= shape.k) {
          report.skip(fmt::format("act order with one group: K = {} and the group is {}", shape.k, options.group));
          report.advance(static_cast<std::int64_t>(options.m.size()), "");
          continue;
        }
        options.cliff ? run_cliff(shape) : run_shape(shape);
        report.save();
      }
    }
    const bool comparable = options.type == BILLFISH_U4B8 && options.group == 128 && options.act == BILLFISH_F16;
    if (comparable && !peers_.device().empty() && name_of_device() == peers_.device()) judge_run(peers_, report);
  }

 private:
  std::string name_of_device() const {
    char name[256] = "";
    check(billfish_tools_cuda_name(options_.device.index, name, sizeof name));
    return name;
  }
  void measure_ceilings();
  double sustained_rate();
  BenchRow row_of(const CudaLayer* layer, const BenchShape& shape, std::int64_t m, bool dependent, const std::string& implementation) const;
  void run_pack(const CudaLayer& layer, const BenchShape& shape);
  void run_shape(const BenchShape& shape);
  // One way to run a problem: an implementation, launched early or not.
  struct Way {
    std::string implementation;
    bool dependent;
  };
  void run_cell(CudaLayer& layer, const BenchShape& shape, std::int64_t m, const std::vector<Way>& ways);
  void run_cliff(const BenchShape& shape);
  void run_random();
  // The report's row of one measurement, checked and timed without cuBLAS.
  BenchRow quick_row(CudaLayer& layer, const BenchShape& shape, std::int64_t m, const char* kind, double warm_seconds);

  const BenchOptions& options_;
  BenchReport& report_;
  Cublas cublas_;
  Peers peers_;
  std::vector<std::string> ways_;  // implementations to time; "" is the best
  double read_gbps_ = 0, f16_gflops_ = 0;
};

// cuBLAS on a product large enough to reach the power limit, for about a second.
double CudaBench::sustained_rate() {
  BenchOptions square = options_;
  square.type = BILLFISH_U4B8;
  square.group = 128;
  square.act = BILLFISH_F16;
  const BenchShape shape = {kSquare, kSquare, "ceiling"};
  const CudaLayer layer(square, shape, kSquare, true);
  CublasCalls calls = {&cublas_, &layer, kSquare, kSquare, kSquare, BILLFISH_F16};
  const Graph graph(options_.device.index, calls_for(layer.dense_copies()), enqueue_cublas, &calls, "cuBLAS");
  replay({&graph}, 12);  // 0.4 s: from burst to steady state
  const billfish_summary us = summary_of(replay({&graph}, 15)[0]);
  return 2.0 * static_cast<double>(kSquare) * static_cast<double>(kSquare) * static_cast<double>(kSquare) / us.median * 1e-3;
}

void CudaBench::measure_ceilings() {
  if (report_.ceilings.contains("used_read_gbps")) {  // by an earlier part of this run
    read_gbps_ = report_.ceilings["used_read_gbps"];
    f16_gflops_ = report_.ceilings["used_f16_gflops"];
    return;
  }
  double read = 0, rate = 0;
  check(billfish_tools_cuda_read_gbps(options_.device.index, kReadBytes, &read), "reading device memory");
  if (cublas_.available()) {
    rate = sustained_rate();
  } else {
    report_.note("no cuBLAS to compare with: " + cublas_.why_not());
  }
  read_gbps_ = read;
  f16_gflops_ = rate;
  report_.ceilings = {{"read_gbps", read}, {"f16_gflops", rate}};
  for (const ReferenceCeiling& reference : kReferences) {
    if (name_of_device() != reference.device) continue;
    report_.ceilings["reference_read_gbps"] = reference.read_gbps;
    report_.ceilings["reference_f16_gflops"] = reference.f16_gflops;
    read_gbps_ = std::max(read, reference.read_gbps);
    f16_gflops_ = std::max(rate, reference.f16_gflops);
  }
  report_.ceilings["used_read_gbps"] = read_gbps_;
  report_.ceilings["used_f16_gflops"] = f16_gflops_;
  billfish_cuda_telemetry telemetry = BILLFISH_CUDA_TELEMETRY_INIT;
  check(billfish_tools_cuda_telemetry(options_.device.index, &telemetry));
  report_.conditions["cublas"] = cublas_.path();
  report_.conditions["cublas_version"] = cublas_.version();
  report_.conditions["power_limit_w"] = telemetry.power_limit_w;
  report_.conditions["temperature_c"] = telemetry.temperature_c;
  if (!options_.json) {
    fmt::print("ceilings: read {:.0f} GB/s, held against {:.0f}; f16 {:.0f} TFLOP/s sustained, held against {:.0f}; cuBLAS {}\n", read,
               read_gbps_, rate * 1e-3, f16_gflops_ * 1e-3, cublas_.version());
    std::fflush(stdout);
  }
}

BenchRow CudaBench::row_of(const CudaLayer* layer, const BenchShape& shape, std::int64_t m, bool dependent,
                           const std::string& implementation) const {
  BenchRow row;
  row.m = m;
  row.n = shape.n;
  row.k = shape.k;
  row.type = name_of(options_.type);
  row.group = options_.group;
  row.act = name_of(options_.act);
  row.precision = "full";
  const BenchPlan plan = chosen_plan(options_, implementation, m, shape.n, shape.k, BILLFISH_PRECISION_FULL, options_.act, dependent);
  row.implementation = plan.implementation;
  row.plan = plan.text;
  row.dependent_launch = dependent;
  row.act_order = options_.act_order;
  if (layer != nullptr) {
    row.bytes = static_cast<double>(layer->weight_bytes());
    row.memory_saved = static_cast<double>(shape.k) * static_cast<double>(shape.n) * 2 / row.bytes;
  }
  row.bytes += static_cast<double>(m) * static_cast<double>(shape.k + shape.n) * bytes_of(options_.act);
  row.operations = 2.0 * static_cast<double>(m) * static_cast<double>(shape.n) * static_cast<double>(shape.k);
  row.read_gbps = read_gbps_;
  row.rate_gflops = f16_gflops_;
  return row;
}

void CudaBench::run_shape(const BenchShape& shape) {
  std::unique_ptr<CudaLayer> layer;
  const std::int64_t most_m = *std::max_element(options_.m.begin(), options_.m.end());
  for (const std::int64_t m : options_.m) {
    if (report_.out_of_time()) return;
    std::vector<Way> ways;
    for (const std::string& name : ways_) {
      for (const bool dependent : {false, true}) {
        if (options_.launches == (dependent ? Launches::off : Launches::on)) continue;
        try {
          if (!report_.has(row_of(nullptr, shape, m, dependent, name))) ways.push_back({name, dependent});
        } catch (const Failure& refused) {
          if (!options_.every_implementation) throw;
          report_.skip(name + ": " + refused.what());
        }
      }
    }
    if (!ways.empty()) {
      if (!layer) {
        layer = std::make_unique<CudaLayer>(options_, shape, most_m, cublas_.available());
        run_pack(*layer, shape);
      }
      run_cell(*layer, shape, m, ways);
    }
    report_.advance(1, fmt::format("{} M={}", shape.label, m));
  }
}

void CudaBench::run_cell(CudaLayer& layer, const BenchShape& shape, std::int64_t m, const std::vector<Way>& ways) {
  const int device = options_.device.index;
  std::vector<BenchRow> rows;
  for (const Way& way : ways) {
    rows.push_back(row_of(&layer, shape, m, way.dependent, way.implementation));
    const Watchdog watchdog(kHangSeconds, fmt::format("checking {} at m={} n={} k={}", rows.back().implementation, m, shape.n, shape.k));
    layer.check_product(layer.args(m, way.dependent, way.implementation), rows.back());
  }
  CublasCalls theirs = {&cublas_, &layer, m, shape.n, shape.k, options_.act};
  std::unique_ptr<Graph> baseline;
  BenchRow cublas = row_of(&layer, shape, m, ways[0].dependent, ways[0].implementation);
  cublas.dependent_launch = false;
  cublas.act_order = false;
  cublas.memory_saved = 0;
  if (cublas_.available()) {
    baseline = std::make_unique<Graph>(device, calls_for(layer.dense_copies()), enqueue_cublas, &theirs, "cuBLAS");
    Conditions conditions;
    cublas.us = time_alone(*baseline, kWarmSeconds, options_.seconds, device, &conditions);
    cublas.kind = "baseline";
    cublas.implementation = "cublas";
    cublas.type = cublas.plan = "";
    cublas.group = 0;
    cublas.checked = false;
    cublas.bytes =
        (static_cast<double>(shape.n) * static_cast<double>(shape.k) + static_cast<double>(m) * static_cast<double>(shape.n + shape.k)) *
        bytes_of(options_.act);
    cublas.clock_mhz = conditions.clock_mhz;
    cublas.power_w = conditions.power_w;
    cublas.throttle = conditions.throttle;
    if (!report_.has(cublas)) report_.add(cublas);
  }
  for (std::size_t i = 0; i < rows.size(); ++i) {
    BenchRow& row = rows[i];
    if (!row.correct) {  // what is wrong is not timed
      report_.add(row);
      continue;
    }
    OurCalls ours = {&layer, layer.args(m, ways[i].dependent, ways[i].implementation)};
    const Graph graph(device, calls_for(layer.copies()), enqueue_ours, &ours, shape.label);
    Conditions conditions;
    row.us = time_alone(graph, kWarmSeconds, options_.seconds, device, &conditions);
    row.clock_mhz = conditions.clock_mhz;
    row.power_w = conditions.power_w;
    row.throttle = conditions.throttle;
    if (baseline) {
      row.vs_cublas = row.vs_baseline = cublas.us.median / row.us.median;
      const double round =
          (row.us.median * static_cast<double>(graph.calls()) + cublas.us.median * static_cast<double>(baseline->calls())) * 1e-6;
      const auto turns = replay({&graph, baseline.get()}, rounds_for(kTurnSeconds, round, round > kSlowSeconds ? 1 : kTurns, 40));
      row.us_alternating = summary_of(turns[0]).median;
      row.vs_cublas_alternating = summary_of(turns[1]).median / row.us_alternating;
      const PeerCell* cell = peers_.find(m, shape.n, shape.k);
      if (cell != nullptr && row.type == "u4b8" && row.group == 128 && row.act == "f16") {
        row.vs_best_peer = cell->best_over_cublas * row.vs_cublas;
        row.best_peer = cell->best;
      }
    }
    report_.add(row);
  }
}

// Checkpoint order to packed, on the device: random GPTQ words, whose values do not matter to the time.
void CudaBench::run_pack(const CudaLayer& layer, const BenchShape& shape) {
  const int bits = bits_of(options_.type), fields = 32 / bits;
  if (shape.k % 16 != 0 || shape.n % 64 != 0 || options_.act_order) {
    report_.skip(fmt::format("repack {} x {}{}: whole tiles without an activation order are timed", shape.k, shape.n,
                             options_.act_order ? ", act order" : ""));
    return;
  }
  BenchRow row;
  row.kind = "pack";
  row.n = shape.n;
  row.k = shape.k;
  row.type = name_of(options_.type);
  row.group = options_.group;
  row.implementation = "gptq";
  row.dependent_launch = false;
  row.checked = false;
  row.read_gbps = read_gbps_;
  const std::int64_t groups = groups_of(shape.k, options_.group);
  const std::int64_t code_bytes = shape.k / fields * shape.n * 4, zero_bytes = groups * shape.n / fields * 4,
                     scale_bytes = groups * shape.n * 2;
  row.bytes = static_cast<double>(code_bytes + zero_bytes + scale_bytes);
  if (report_.has(row)) return;
  const auto stride = [](std::int64_t bytes) { return (bytes + 255) / 256 * 256; };
  const std::int64_t sources = layer.copies(), one = stride(code_bytes) + stride(zero_bytes) + stride(scale_bytes);
  struct Packing {
    std::vector<billfish_matrix> sources;
    std::vector<billfish_weights> targets;
  } packing;
  const DeviceBuffer memory(options_.device, one * sources);
  check(billfish_tools_cuda_fill_bits(options_.device.index, memory.data(), memory.bytes(), options_.seed, nullptr), shape.label);
  // Fewer targets than sources would do; all of them, so that no L2 holds what is written.
  std::vector<DeviceBuffer> targets;
  for (std::int64_t i = 0; i < sources; ++i) {
    billfish_matrix matrix = BILLFISH_MATRIX_INIT;
    char* at = static_cast<char*>(memory.data()) + i * one;
    matrix.format = BILLFISH_FORMAT_GPTQ;
    matrix.type = options_.type;
    matrix.n = shape.n;
    matrix.k = shape.k;
    matrix.group = options_.group;
    matrix.codes = at;
    matrix.zeros = at + stride(code_bytes);
    matrix.scales = at + stride(code_bytes) + stride(zero_bytes);
    matrix.scale_type = BILLFISH_F16;
    matrix.device_kind = BILLFISH_CUDA;
    matrix.device_index = options_.device.index;
    packing.sources.push_back(matrix);
    billfish_packed_sizes sizes = BILLFISH_PACKED_SIZES_INIT;
    check(billfish_packed_sizes_of(&matrix, &sizes), shape.label);
    targets.emplace_back(options_.device, stride(sizes.codes) + stride(sizes.scales) + stride(sizes.zeros));
    char* to = static_cast<char*>(targets.back().data());
    billfish_weights weights = BILLFISH_WEIGHTS_INIT;
    weights.codes = to;
    weights.scales = to + stride(sizes.codes);
    weights.zeros = sizes.zeros > 0 ? to + stride(sizes.codes) + stride(sizes.scales) : nullptr;
    weights.device_kind = BILLFISH_CUDA;
    weights.device_index = options_.device.index;
    packing.targets.push_back(weights);
  }
  check(billfish_tools_cuda_synchronize(options_.device.index), shape.label);
  const auto enqueue = [](void* user, std::int64_t index, void* stream) {
    auto& p = *static_cast<Packing*>(user);
    const auto at = static_cast<std::size_t>(index) % p.sources.size();
    billfish_weights weights = p.targets[at];
    return billfish_pack(&p.sources[at], &weights, nullptr, stream);
  };
  const Graph graph(options_.device.index, calls_for(sources), enqueue, &packing, "packing " + shape.label);
  Conditions conditions;
  row.us = time_alone(graph, kWarmSeconds, options_.seconds, options_.device.index, &conditions);
  row.clock_mhz = conditions.clock_mhz;
  row.power_w = conditions.power_w;
  row.throttle = conditions.throttle;
  report_.add(row);
}

BenchRow CudaBench::quick_row(CudaLayer& layer, const BenchShape& shape, std::int64_t m, const char* kind, double warm_seconds) {
  const bool dependent = options_.launches != Launches::off;
  BenchRow row = row_of(&layer, shape, m, dependent, options_.implementation);
  row.kind = kind;
  OurCalls ours = {&layer, layer.args(m, dependent, options_.implementation)};
  {
    const Watchdog watchdog(kHangSeconds, fmt::format("checking {} at m={} n={} k={}", row.implementation, m, shape.n, shape.k));
    layer.check_product(ours.args, row);
  }
  const Graph graph(options_.device.index, calls_for(layer.copies()), enqueue_ours, &ours, shape.label);
  row.us = time_alone(graph, warm_seconds, 0, options_.device.index, nullptr);
  return row;
}

// time(M) <= 1.05 x time(M + 1), and time(M + 1) <= 1.12 x time(M). A pair that fails is timed once more before it counts.
void CudaBench::run_cliff(const BenchShape& shape) {
  CudaLayer layer(options_, shape, *std::max_element(options_.m.begin(), options_.m.end()), false);
  BenchRow previous;
  Json found = report_.conditions.value("cliffs", Json::array());
  const auto off = [](const BenchRow& low, const BenchRow& high) {
    return low.us.median > 1.05 * high.us.median || high.us.median > 1.12 * low.us.median;
  };
  for (const std::int64_t m : options_.m) {
    BenchRow row = quick_row(layer, shape, m, "cliff", previous.m == 0 ? kWarmSeconds : kCliffWarmSeconds);
    const bool neighbours = previous.m == m - 1 && previous.m > 0;
    if (neighbours && off(previous, row)) {
      const BenchRow again = quick_row(layer, shape, m - 1, "cliff", kWarmSeconds);
      row = quick_row(layer, shape, m, "cliff", kWarmSeconds);
      if (off(again, row)) {
        found.push_back({{"k", shape.k}, {"n", shape.n}, {"m", m - 1}, {"us", again.us.median}, {"us_next", row.us.median}});
        report_.note(
            fmt::format("cliff: K={} N={} M={}: {:.2f} us, M={}: {:.2f} us", shape.k, shape.n, m - 1, again.us.median, m, row.us.median));
      }
    }
    if (!report_.has(row)) report_.add(row);
    previous = row;
    if (report_.out_of_time()) break;
  }
  report_.conditions["cliffs"] = found;
}

// Shapes and M as a log-uniform draw; none may take more than 2.5 x its roofline + 3 us.
void CudaBench::run_random() {
  Random random(options_.seed);
  const auto draw = [&](double low, double high) {
    return static_cast<std::int64_t>(std::exp(random.uniform(static_cast<float>(std::log(low)), static_cast<float>(std::log(high)))));
  };
  Json slow = Json::array();
  for (std::int64_t i = 0; i < options_.random && !report_.out_of_time(); ++i) {
    const std::int64_t m = draw(1, 8193);
    BenchShape shape = {draw(128, 16385), draw(64, 32769), ""};
    // Half of them as layers are (whole tiles), half anything.
    if (i % 2 == 0) {
      shape.k = std::max<std::int64_t>(128, shape.k / 128 * 128);
      shape.n = std::max<std::int64_t>(64, shape.n / 64 * 64);
    }
    shape.label = fmt::format("{} x {}", shape.k, shape.n);
    BenchRow probe = row_of(nullptr, shape, m, options_.launches != Launches::off, options_.implementation);
    probe.kind = "random";
    if (report_.has(probe)) continue;
    CudaLayer layer(options_, shape, m, false);
    const BenchRow row = quick_row(layer, shape, m, "random", kCliffWarmSeconds);
    const double limit = 2.5 * row.roofline_us() + 3;
    if (row.us.median > limit) {
      slow.push_back({{"m", m}, {"k", shape.k}, {"n", shape.n}, {"us", row.us.median}, {"limit_us", limit}});
      report_.note(fmt::format("slow: M={} K={} N={}: {:.2f} us, the limit is {:.2f}", m, shape.k, shape.n, row.us.median, limit));
    }
    report_.add(row);
    if (i % 16 == 15) report_.save();
  }
  report_.conditions["slow"] = slow;
}

}  // namespace

void bench_cuda(const BenchOptions& options, BenchReport& report) { CudaBench(options, report); }

}  // namespace billfish::cli
