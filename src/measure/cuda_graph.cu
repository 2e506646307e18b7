// SPDX-License-Identifier: Apache-2.0
// Streams, and captured chains of calls timed by device events (cuda_measure.hpp). Calls the CUDA runtime.
#include <cuda_runtime_api.h>

#include <memory>
#include <vector>

#include "cuda/cuda.hpp"
#include "cuda/host.hpp"
#include "measure/cuda_measure.hpp"

namespace billfish::measure::cuda {

using billfish::cuda::DeviceGuard;
using billfish::cuda::status_of;

struct Graph {
  int device = 0;
  cudaStream_t stream = nullptr;
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t executable = nullptr;

  ~Graph() {
    const DeviceGuard guard(device);
    if (executable != nullptr) (void)cudaGraphExecDestroy(executable);
    if (graph != nullptr) (void)cudaGraphDestroy(graph);
    if (stream != nullptr) (void)cudaStreamDestroy(stream);
  }
};

namespace {

// Pairs of events, all destroyed with the object.
class Events {
 public:
  explicit Events(std::size_t count) : events_(count, nullptr) {}
  ~Events() {
    for (cudaEvent_t event : events_) {
      if (event != nullptr) (void)cudaEventDestroy(event);
    }
  }
  Events(const Events&) = delete;
  Events& operator=(const Events&) = delete;
  Status create() {
    for (cudaEvent_t& event : events_) BILLFISH_RETURN_IF_ERROR(status_of(cudaEventCreate(&event), "creating an event"));
    return {};
  }
  cudaEvent_t operator[](std::size_t i) const { return events_[i]; }

 private:
  std::vector<cudaEvent_t> events_;
};

Status capture(Graph& graph, std::int64_t calls, EnqueueFn enqueue, void* user) {
  BILLFISH_RETURN_IF_ERROR(status_of(cudaStreamCreateWithFlags(&graph.stream, cudaStreamNonBlocking), "creating a stream"));
  // Once outside of the capture: what is lazy happens here, and a call that fails says why.
  BILLFISH_RETURN_IF_ERROR(enqueue(user, 0, graph.stream));
  BILLFISH_RETURN_IF_ERROR(status_of(cudaStreamSynchronize(graph.stream), "the first call"));
  BILLFISH_RETURN_IF_ERROR(status_of(cudaStreamBeginCapture(graph.stream, cudaStreamCaptureModeThreadLocal), "capturing"));
  Status status;
  for (std::int64_t i = 0; i < calls && status.ok(); ++i) static_cast<void>(status = enqueue(user, i, graph.stream));
  const Status ended = status_of(cudaStreamEndCapture(graph.stream, &graph.graph), "ending a capture");
  if (!status.ok()) return status;
  BILLFISH_RETURN_IF_ERROR(ended);
  BILLFISH_RETURN_IF_ERROR(status_of(cudaGraphInstantiate(&graph.executable, graph.graph, 0), "instantiating a graph"));
  return status_of(cudaGraphUpload(graph.executable, graph.stream), "uploading a graph");
}

}  // namespace

Result<void*> create_stream(int device) {
  if (const auto here = billfish::cuda::facts(device); !here.ok()) return here.status();
  const DeviceGuard guard(device);
  if (Status status = guard.status(); !status.ok()) return status;
  cudaStream_t stream = nullptr;
  if (Status status = status_of(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "creating a stream"); !status.ok())
    return status;
  return static_cast<void*>(stream);
}

void destroy_stream(int device, void* stream) {
  if (stream == nullptr) return;
  const DeviceGuard guard(device);
  (void)cudaStreamDestroy(static_cast<cudaStream_t>(stream));
}

Result<Graph*> create_graph(int device, std::int64_t calls, EnqueueFn enqueue, void* user) {
  if (const auto here = billfish::cuda::facts(device); !here.ok()) return here.status();
  if (calls < 1 || enqueue == nullptr)
    return invalid_argument("a graph needs a function to call and at least one call, not " + std::to_string(calls));
  const DeviceGuard guard(device);
  if (Status status = guard.status(); !status.ok()) return status;
  auto graph = std::make_unique<Graph>();
  graph->device = device;
  if (Status status = capture(*graph, calls, enqueue, user); !status.ok()) return status;
  return graph.release();
}

void destroy_graph(Graph* graph) { delete graph; }

Status time_graphs(std::span<Graph* const> graphs, std::int64_t rounds, double* seconds) {
  if (graphs.empty() || rounds < 1) return {};
  for (const Graph* graph : graphs) {
    if (graph == nullptr || graph->device != graphs[0]->device)
      return invalid_argument("graphs to be timed together must be of one device");
  }
  const DeviceGuard guard(graphs[0]->device);
  BILLFISH_RETURN_IF_ERROR(guard.status());
  const cudaStream_t stream = graphs[0]->stream;
  const std::size_t replays = graphs.size() * static_cast<std::size_t>(rounds);
  Events events(2 * replays);
  BILLFISH_RETURN_IF_ERROR(events.create());
  for (std::size_t i = 0; i < replays; ++i) {
    BILLFISH_RETURN_IF_ERROR(status_of(cudaEventRecord(events[2 * i], stream), "recording an event"));
    BILLFISH_RETURN_IF_ERROR(status_of(cudaGraphLaunch(graphs[i % graphs.size()]->executable, stream), "replaying a graph"));
    BILLFISH_RETURN_IF_ERROR(status_of(cudaEventRecord(events[2 * i + 1], stream), "recording an event"));
  }
  BILLFISH_RETURN_IF_ERROR(status_of(cudaStreamSynchronize(stream), "replaying a graph"));
  for (std::size_t i = 0; i < replays && seconds != nullptr; ++i) {
    float milliseconds = 0;
    BILLFISH_RETURN_IF_ERROR(status_of(cudaEventElapsedTime(&milliseconds, events[2 * i], events[2 * i + 1]), "reading an event"));
    seconds[i] = milliseconds * 1e-3;
  }
  return {};
}

}  // namespace billfish::measure::cuda
