// SPDX-License-Identifier: Apache-2.0
#include "bench_rows.hpp"

#include <fmt/core.h>

#include <algorithm>

namespace billfish::cli {
namespace {

constexpr int kMostThreads = 1 << 20;

}  // namespace

double BenchRow::roofline_us() const {
  const double read = read_gbps > 0 ? bytes / read_gbps * 1e-3 : 0;
  const double arithmetic = rate_gflops > 0 ? operations / rate_gflops * 1e-3 : 0;
  return std::max(read, arithmetic);
}

std::string BenchRow::key() const {
  return fmt::format("{} {} {} {} {} {} {} {} {} {} {} {}", kind, m, n, k, type, group, act, precision, implementation, threads,
                     dependent_launch ? (*dependent_launch ? "dependent" : "isolated") : "", act_order ? "act_order" : "");
}

Json to_json(const BenchRow& row) {
  Json json = {{"kind", row.kind},
               {"m", row.m},
               {"n", row.n},
               {"k", row.k},
               {"type", row.type},
               {"group", row.group},
               {"act", row.act},
               {"precision", row.precision},
               {"implementation", row.implementation},
               {"threads", row.threads},
               {"us_median", row.us.median},
               {"us_min", row.us.min},
               {"us_max", row.us.max},
               {"us_p10", row.us.p10},
               {"us_p90", row.us.p90},
               {"samples", row.us.samples},
               {"gbps", row.gbps()},
               {"gflops", row.gflops()},
               {"t_over_roofline", row.t_over_roofline()},
               {"vs_baseline", row.vs_baseline > 0 ? Json(row.vs_baseline) : Json()},
               {"worst_error", row.checked ? Json(row.worst_error) : Json()},
               {"bound", row.checked ? Json(row.bound) : Json()},
               {"correct", row.checked ? Json(row.correct) : Json()},
               {"bytes", row.bytes},
               {"operations", row.operations},
               {"read_gbps", row.read_gbps},
               {"rate_gflops", row.rate_gflops},
               {"tokens_per_s", row.m > 0 && row.us.median > 0 ? Json(row.tokens_per_second()) : Json()},
               {"roofline_percent", row.t_over_roofline() > 0 ? Json(100 / row.t_over_roofline()) : Json()},
               {"memory_saved", row.memory_saved > 0 ? Json(row.memory_saved) : Json()},
               {"act_order", row.act_order},
               {"status", row.correct ? "ok" : "FAILED"}};
  if (row.dependent_launch) {
    json["dependent_launch"] = *row.dependent_launch;
    const auto put = [&](const char* name, double value) { json[name] = value > 0 ? Json(value) : Json(); };
    put("us_alternating", row.us_alternating);
    put("vs_cublas", row.vs_cublas);
    put("vs_cublas_alternating", row.vs_cublas_alternating);
    put("vs_best_peer", row.vs_best_peer);
    json["best_peer"] = row.best_peer;
    put("clock_mhz", row.clock_mhz);
    put("power_w", row.power_w);
    json["throttle"] = row.throttle;
    json["plan"] = row.plan;
  }
  return json;
}

BenchRow row_of_json(const Members& json) {
  BenchRow row;
  row.kind = json.words("kind");
  row.m = json.whole("m", 0);
  row.n = json.whole("n", 0);
  row.k = json.whole("k", 0);
  row.type = json.words("type");
  row.group = json.whole("group", -1);
  row.act = json.words("act");
  row.precision = json.words("precision");
  row.implementation = json.words("implementation");
  row.threads = static_cast<int>(json.whole("threads", 0, kMostThreads));
  row.us.median = json.number("us_median");
  row.us.min = json.number("us_min");
  row.us.max = json.number("us_max");
  row.us.p10 = json.number("us_p10");
  row.us.p90 = json.number("us_p90");
  row.us.samples = json.whole("samples", 0);
  row.bytes = json.number("bytes");
  row.operations = json.number("operations");
  if (row.operations <= 0 && row.kind == "gemm") {  // a run of bench/peers
    row.operations = 2.0 * static_cast<double>(row.m) * static_cast<double>(row.n) * static_cast<double>(row.k);
  }
  row.read_gbps = json.number("read_gbps");
  row.rate_gflops = json.number("rate_gflops");
  row.vs_baseline = json.number("vs_baseline");
  row.memory_saved = json.number("memory_saved");
  row.act_order = json.flag("act_order", false);
  row.worst_error = json.number("worst_error");
  row.bound = json.number("bound");
  row.checked = json.has("correct");
  row.correct = json.flag("correct", true);
  if (json.has("dependent_launch")) row.dependent_launch = json.flag("dependent_launch", false);
  row.us_alternating = json.number("us_alternating");
  row.vs_cublas = json.number("vs_cublas");
  row.vs_cublas_alternating = json.number("vs_cublas_alternating");
  row.vs_best_peer = json.number("vs_best_peer");
  row.best_peer = json.words("best_peer");
  row.clock_mhz = json.number("clock_mhz");
  row.power_w = json.number("power_w");
  row.throttle = json.words("throttle");
  row.plan = json.words("plan");
  return row;
}

}  // namespace billfish::cli
