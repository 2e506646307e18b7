// SPDX-License-Identifier: Apache-2.0
#include "bench_graph.hpp"

#include <algorithm>
#include <memory>

#include "bench_watchdog.hpp"
#include "billfish/billfish_timing.hpp"
#include "errors.hpp"

namespace billfish::cli {
namespace {

constexpr std::int64_t kCalls = 20;  // in a graph, at least
constexpr double kTimedSeconds = 0.05;
constexpr std::int64_t kReplays = 9, kSlowReplays = 3;  // at least

}  // namespace

Graph::Graph(int device, std::int64_t calls, billfish_enqueue_fn enqueue, void* user, const std::string& what) : calls_(calls) {
  const Watchdog watchdog(kHangSeconds, "the first call of " + what);
  check(billfish_tools_cuda_graph_create(device, calls, enqueue, user, &graph_), what);
}

std::int64_t calls_for(std::int64_t copies) { return copies * ((kCalls + copies - 1) / copies); }

std::vector<std::vector<double>> replay(const std::vector<const Graph*>& graphs, std::int64_t rounds) {
  std::vector<billfish_cuda_graph*> handles;
  for (const Graph* graph : graphs) handles.push_back(graph->get());
  std::vector<double> seconds(graphs.size() * static_cast<std::size_t>(rounds));
  const Watchdog watchdog(kHangSeconds, "replaying a graph");
  check(billfish_tools_cuda_graph_time(handles.data(), static_cast<std::int64_t>(handles.size()), rounds, seconds.data()));
  std::vector<std::vector<double>> us(graphs.size());
  for (std::size_t i = 0; i < seconds.size(); ++i) {
    us[i % graphs.size()].push_back(seconds[i] * 1e6 / static_cast<double>(graphs[i % graphs.size()]->calls()));
  }
  return us;
}

billfish_summary summary_of(std::vector<double> values) {
  billfish_summary summary = BILLFISH_SUMMARY_INIT;
  billfish_tools_summarize(values.data(), static_cast<std::int64_t>(values.size()), &summary);
  return summary;
}

std::int64_t rounds_for(double budget, double one_round, std::int64_t least, std::int64_t most) {
  return std::clamp(static_cast<std::int64_t>(budget / std::max(one_round, 1e-6)), least, most);
}

billfish_summary time_alone(const Graph& graph, double warm_seconds, double timed_seconds, int device, Conditions* conditions) {
  const double first = replay({&graph}, 1)[0][0] * static_cast<double>(graph.calls()) * 1e-6;
  std::unique_ptr<Monitor> monitor;
  if (conditions != nullptr) monitor = std::make_unique<Monitor>(device);
  billfish::TimingOptions options;
  options.warm_seconds = warm_seconds;
  options.seconds = timed_seconds > 0 ? timed_seconds : kTimedSeconds;
  options.least = first > kSlowSeconds ? kSlowReplays : kReplays;
  options.most = timed_seconds > 0 ? 10'000 : 60;
  std::vector<double> last;  // microseconds, as replay() has them
  (void)billfish::time_samples(
      [&](std::int64_t count) {
        last = replay({&graph}, count)[0];
        std::vector<double> seconds;
        for (const double us : last) seconds.push_back(us * 1e-6);
        return seconds;
      },
      graph.calls(), options);
  if (monitor) *conditions = monitor->stop();
  return summary_of(last);
}

billfish_status enqueue_ours(void* user, std::int64_t index, void* stream) {
  const auto& calls = *static_cast<OurCalls*>(user);
  return billfish_gemm(&calls.layer->weights(index % calls.layer->copies()), &calls.args, stream);
}

}  // namespace billfish::cli
