// SPDX-License-Identifier: Apache-2.0
// How products on a CUDA device are timed: graphs of many calls over distinct weights, replayed in turn. Called by bench_cuda.cpp and
// tune_cuda.cpp.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "bench_cuda_layer.hpp"
#include "bench_monitor.hpp"
#include "billfish/billfish_tools.h"

namespace billfish::cli {

constexpr double kWarmSeconds = 0.05;
constexpr double kSlowSeconds = 0.8;  // a replay: kernels that are out of competition get fewer of them
constexpr int kHangSeconds = 40;      // no step of a cell takes so long, unless a kernel never ends

class Graph {
 public:
  Graph(int device, std::int64_t calls, billfish_enqueue_fn enqueue, void* user, const std::string& what);
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;
  ~Graph() { billfish_tools_cuda_graph_free(graph_); }
  billfish_cuda_graph* get() const { return graph_; }
  std::int64_t calls() const { return calls_; }

 private:
  billfish_cuda_graph* graph_ = nullptr;
  std::int64_t calls_;
};

// Calls of a graph that goes through so many copies of the weights, each as often.
std::int64_t calls_for(std::int64_t copies);

// Microseconds a call of every replay; turns: how many rounds of all graphs.
std::vector<std::vector<double>> replay(const std::vector<const Graph*>& graphs, std::int64_t rounds);

billfish_summary summary_of(std::vector<double> values);
std::int64_t rounds_for(double budget, double one_round, std::int64_t least, std::int64_t most);

// Its own warm-up to the steady state, then the median of its replays.
billfish_summary time_alone(const Graph& graph, double warm_seconds, double timed_seconds, int device, Conditions* conditions);

// A graph's calls of our own product: enqueue_ours with a pointer to these.
struct OurCalls {
  const CudaLayer* layer;
  billfish_gemm_args args;
};
billfish_status enqueue_ours(void* user, std::int64_t index, void* stream);

}  // namespace billfish::cli
