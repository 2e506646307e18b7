// SPDX-License-Identifier: Apache-2.0
#include "timing.hpp"

#include <unistd.h>

#include <algorithm>

#include "billfish/billfish_tools.h"
#include "errors.hpp"
#include "types.hpp"

namespace billfish::cli {
namespace {

constexpr std::int64_t kMegabyte = 1000000;
constexpr std::int64_t kGraphCalls = 40;
constexpr std::int64_t kReplays = 15;

double median(std::vector<double> seconds) {
  billfish_summary summary = BILLFISH_SUMMARY_INIT;
  billfish_tools_summarize(seconds.data(), static_cast<std::int64_t>(seconds.size()), &summary);
  return summary.median;
}

// What every call of a rotation needs: weights of its own, and the rest shared.
struct Rotation {
  std::vector<DeviceWeights> weights;
  DeviceBuffer a, c, workspace;
  billfish_gemm_args args = BILLFISH_GEMM_ARGS_INIT;

  billfish_status enqueue(std::int64_t index, void* stream) const {
    return billfish_gemm(&weights[static_cast<std::size_t>(index) % weights.size()].weights(), &args, stream);
  }
};

billfish_status enqueue(void* user, std::int64_t index, void* stream) { return static_cast<Rotation*>(user)->enqueue(index, stream); }

}  // namespace

std::int64_t rotation_copies(Device device, std::int64_t bytes) {
  const std::int64_t cache = sysconf(_SC_LEVEL3_CACHE_SIZE);
  const std::int64_t wanted =
      device.kind == BILLFISH_CUDA ? 320 * kMegabyte : std::clamp<std::int64_t>(2 * cache, 64 * kMegabyte, 256 * kMegabyte);
  return std::max<std::int64_t>(2, (wanted + bytes - 1) / std::max<std::int64_t>(1, bytes));
}

double median_seconds(const std::function<void(std::int64_t)>& call) {
  call(0);
  std::vector<double> seconds;
  const double end = billfish_tools_now() + 0.1;
  for (std::int64_t index = 1; index < 6 || billfish_tools_now() < end; ++index) {
    const double start = billfish_tools_now();
    call(index);
    seconds.push_back(billfish_tools_now() - start);
  }
  return median(std::move(seconds));
}

double graph_seconds(Device device, std::int64_t copies, billfish_enqueue_fn enqueue, void* user) {
  const std::int64_t calls = std::max(kGraphCalls, copies);
  billfish_cuda_graph* graph = nullptr;
  check(billfish_tools_cuda_graph_create(device.index, calls, enqueue, user, &graph));
  std::vector<double> seconds(kReplays);
  const billfish_status status = billfish_tools_cuda_graph_time(&graph, 1, kReplays, seconds.data());
  billfish_tools_cuda_graph_free(graph);
  check(status);
  return median(std::move(seconds)) / static_cast<double>(calls);
}

double product_seconds(const PackedLayer& layer, const ProductOptions& options, std::int64_t m) {
  const billfish_weights& host = layer.weights();
  Rotation rotation;
  for (std::int64_t i = 0; i < rotation_copies(options.device, layer.bytes()); ++i) rotation.weights.emplace_back(layer, options.device);
  const auto a = random_activations(m, host.k, options.a_type, 1);
  rotation.a = DeviceBuffer(options.device, static_cast<std::int64_t>(a.size()));
  rotation.a.upload(a.data(), rotation.a.bytes());
  rotation.c = DeviceBuffer(options.device, m * host.n * bytes_of(options.c_type));
  billfish_gemm_args& args = rotation.args;
  args = gemm_arguments(options, m, host.n, host.k);
  args.a = rotation.a.data();
  args.c = rotation.c.data();
  if (options.device.kind == BILLFISH_CUDA) args.flags |= BILLFISH_GEMM_ZEROED_WORKSPACE;
  check(billfish_gemm_workspace(&rotation.weights[0].weights(), &args, &args.workspace_bytes));
  rotation.workspace = DeviceBuffer(options.device, static_cast<std::int64_t>(args.workspace_bytes));
  const std::vector<char> zeros(args.workspace_bytes);
  rotation.workspace.upload(zeros.data(), rotation.workspace.bytes());
  args.workspace = rotation.workspace.data();
  if (options.device.kind == BILLFISH_CUDA) {
    check(billfish_prepare(BILLFISH_CUDA, options.device.index));
    return graph_seconds(options.device, static_cast<std::int64_t>(rotation.weights.size()), enqueue, &rotation);
  }
  return median_seconds([&](std::int64_t index) { check(rotation.enqueue(index, nullptr)); });
}

}  // namespace billfish::cli
