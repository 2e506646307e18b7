// SPDX-License-Identifier: Apache-2.0
// billfish_tools_cuda_{stream,graph,read_gbps,telemetry,throttle_text,fill,dequantize,product,gather}: measure/cuda behind the ABI.
#include <memory>
#include <string>
#include <vector>

#include "api/arguments.hpp"
#include "billfish/billfish_tools.h"
#include "measure/cuda_measure.hpp"

struct billfish_cuda_graph {
  billfish::measure::cuda::Graph* graph;
};

namespace billfish::api {
namespace {

constexpr const char* kElementTypes = "0 (f32), 1 (f16), 2 (bf16)";

Status not_negative(const char* name, std::int64_t value) {
  return value >= 0 ? Status() : invalid_argument(std::string(name) + " is " + std::to_string(value) + "; it must be 0 or more");
}

// measure/ speaks Status, the caller's function billfish_status.
struct Enqueue {
  billfish_enqueue_fn function;
  void* user;
};
Status enqueue_one(void* user, std::int64_t index, void* stream) {
  const auto* enqueue = static_cast<const Enqueue*>(user);
  const billfish_status status = enqueue->function(enqueue->user, index, stream);
  const int code = raw(status);
  if (code == BILLFISH_OK) return {};
  const std::string message = "call " + std::to_string(index) + " of the graph failed: " + last_error();
  return {code > 0 && code <= BILLFISH_INTERNAL ? static_cast<Code>(code) : Code::internal, message};
}

Status create_graph(int device, std::int64_t calls, billfish_enqueue_fn enqueue, void* user, billfish_cuda_graph** out) {
  if (out == nullptr) return null_argument("out");
  *out = nullptr;
  if (calls < 1) return invalid_argument("calls is " + std::to_string(calls) + "; it must be 1 or more");
  if (enqueue == nullptr) return null_argument("enqueue");
  Enqueue adapter = {enqueue, user};
  auto handle = std::make_unique<billfish_cuda_graph>();
  const Result<measure::cuda::Graph*> graph = measure::cuda::create_graph(device, calls, enqueue_one, &adapter);
  if (!graph.ok()) return graph.status();
  handle->graph = *graph;
  *out = handle.release();
  return {};
}

Status time_graphs(billfish_cuda_graph* const* graphs, std::int64_t count, std::int64_t rounds, double* seconds) {
  BILLFISH_RETURN_IF_ERROR(not_negative("count", count));
  BILLFISH_RETURN_IF_ERROR(not_negative("rounds", rounds));
  if (count == 0 || rounds == 0) return {};
  if (graphs == nullptr) return null_argument("graphs");
  if (seconds == nullptr) return null_argument("seconds");
  std::vector<measure::cuda::Graph*> opened;
  for (std::int64_t i = 0; i < count; ++i) {
    if (graphs[i] == nullptr) return null_argument(("graphs[" + std::to_string(i) + "]").c_str());
    opened.push_back(graphs[i]->graph);
  }
  return measure::cuda::time_graphs(opened, rounds, seconds);
}

}  // namespace
}  // namespace billfish::api

extern "C" {

billfish_status billfish_tools_cuda_stream_create(int device, void** stream) {
  using namespace billfish;
  return api::guarded([&]() -> Status {
    if (stream == nullptr) return api::null_argument("stream");
    *stream = nullptr;
    const Result<void*> created = measure::cuda::create_stream(device);
    if (!created.ok()) return created.status();
    *stream = *created;
    return {};
  });
}

void billfish_tools_cuda_stream_destroy(int device, void* stream) {
  (void)billfish::api::guarded([&] {
    billfish::measure::cuda::destroy_stream(device, stream);
    return billfish::Status();
  });
}

billfish_status billfish_tools_cuda_graph_create(int device, int64_t calls, billfish_enqueue_fn enqueue, void* user,
                                                 billfish_cuda_graph** out) {
  return billfish::api::guarded([&] { return billfish::api::create_graph(device, calls, enqueue, user, out); });
}

void billfish_tools_cuda_graph_free(billfish_cuda_graph* graph) {
  if (graph == nullptr) return;
  (void)billfish::api::guarded([&] {
    billfish::measure::cuda::destroy_graph(graph->graph);
    return billfish::Status();
  });
  delete graph;
}

billfish_status billfish_tools_cuda_graph_time(billfish_cuda_graph* const* graphs, int64_t count, int64_t rounds, double* seconds) {
  return billfish::api::guarded([&] { return billfish::api::time_graphs(graphs, count, rounds, seconds); });
}

billfish_status billfish_tools_cuda_read_gbps(int device, int64_t bytes, double* gbps) {
  using namespace billfish;
  return api::guarded([&]() -> Status {
    if (gbps == nullptr) return api::null_argument("gbps");
    if (bytes < 1) return invalid_argument("bytes is " + std::to_string(bytes) + "; it must be 1 or more");
    const Result<double> rate = measure::cuda::read_rate(device, bytes);
    if (!rate.ok()) return rate.status();
    *gbps = *rate / 1e9;
    return {};
  });
}

billfish_status billfish_tools_cuda_telemetry(int device, billfish_cuda_telemetry* out) {
  using namespace billfish;
  return api::guarded([&]() -> Status {
    BILLFISH_RETURN_IF_ERROR(api::check_size(out, "out"));
    BILLFISH_RETURN_IF_ERROR(api::not_negative("device", device));
    const measure::cuda::Telemetry t = measure::cuda::telemetry(device);
    const billfish_cuda_telemetry filled = {sizeof filled,
                                            t.clock_mhz,
                                            t.memory_clock_mhz,
                                            t.power_w,
                                            t.power_limit_w,
                                            t.temperature_c,
                                            t.throttle,
                                            t.busy,
                                            t.memory_busy,
                                            t.memory_used,
                                            t.memory_total,
                                            t.known,
                                            0};
    api::write_struct(filled, out);
    return {};
  });
}

billfish_status billfish_tools_cuda_throttle_text(uint64_t reasons, char* buffer, size_t capacity) {
  using namespace billfish;
  return api::guarded([&]() -> Status {
    if (buffer == nullptr) return api::null_argument("buffer");
    api::write_text(measure::cuda::throttle_text(reasons), buffer, capacity, nullptr);
    return {};
  });
}

billfish_status billfish_tools_cuda_fill_bits(int device, void* target, int64_t bytes, uint64_t seed, void* stream) {
  using namespace billfish;
  return api::guarded([&]() -> Status {
    BILLFISH_RETURN_IF_ERROR(api::not_negative("bytes", bytes));
    if (bytes == 0) return {};
    if (target == nullptr) return api::null_argument("target");
    return measure::cuda::fill_bits(device, target, bytes, seed, stream);
  });
}

billfish_status billfish_tools_cuda_fill_uniform(int device, void* target, billfish_element_type type, int64_t count, float low, float high,
                                                 uint64_t seed, void* stream) {
  using namespace billfish;
  return api::guarded([&]() -> Status {
    ElementType element = ElementType::f32;
    BILLFISH_RETURN_IF_ERROR(api::read_enum("type", type, 3, api::kElementTypes, element));
    BILLFISH_RETURN_IF_ERROR(api::not_negative("count", count));
    if (count == 0) return {};
    if (target == nullptr) return api::null_argument("target");
    return measure::cuda::fill_uniform(device, target, element, count, low, high, seed, stream);
  });
}

billfish_status billfish_tools_cuda_dequantize(const billfish_weights* weights, billfish_element_type type, void* target, void* stream) {
  using namespace billfish;
  return api::guarded([&]() -> Status {
    PackedMatrix matrix;
    BILLFISH_RETURN_IF_ERROR(api::read_weights(weights, api::Pointers::required, matrix));
    ElementType element = ElementType::f32;
    BILLFISH_RETURN_IF_ERROR(api::read_enum("type", type, 3, api::kElementTypes, element));
    if (matrix.device.kind != DeviceKind::cuda) {
      return invalid_argument("weights->device_kind is 0 (cpu); this function reads CUDA memory, billfish_dequantize reads the CPU's");
    }
    if (matrix.n == 0 || matrix.k == 0) return {};
    if (target == nullptr) return api::null_argument("target");
    return measure::cuda::dequantize(matrix, element, target, stream);
  });
}

billfish_status billfish_tools_cuda_product(int device, const void* a, billfish_element_type a_type, int64_t m, int64_t lda,
                                            const float* dense, int64_t n, int64_t k, const int32_t* rows, const int32_t* columns,
                                            int64_t count, double* y, double* magnitude, void* stream) {
  using namespace billfish;
  return api::guarded([&]() -> Status {
    measure::cuda::ProductCheck check;
    BILLFISH_RETURN_IF_ERROR(api::read_enum("a_type", a_type, 3, api::kElementTypes, check.a_type));
    BILLFISH_RETURN_IF_ERROR(api::not_negative("m", m));
    BILLFISH_RETURN_IF_ERROR(api::not_negative("n", n));
    BILLFISH_RETURN_IF_ERROR(api::not_negative("k", k));
    BILLFISH_RETURN_IF_ERROR(api::not_negative("count", count));
    if (m > 1 && lda < k) return invalid_argument("lda is " + std::to_string(lda) + "; it must be at least k = " + std::to_string(k));
    if ((rows == nullptr) != (columns == nullptr)) return invalid_argument("rows and columns go together: both NULL, or neither");
    if (m == 0 || n == 0 || (rows != nullptr && count == 0)) return {};
    if (a == nullptr) return api::null_argument("a");
    if (dense == nullptr) return api::null_argument("dense");
    if (y == nullptr) return api::null_argument("y");
    if (magnitude == nullptr) return api::null_argument("magnitude");
    check.device = device;
    check.a = a;
    check.m = m;
    check.lda = lda;
    check.dense = dense;
    check.n = n;
    check.k = k;
    check.rows = rows;
    check.columns = columns;
    check.count = count;
    check.y = y;
    check.magnitude = magnitude;
    return measure::cuda::product_in_double(check, stream);
  });
}

billfish_status billfish_tools_cuda_gather(int device, const void* source, billfish_element_type type, int64_t ld, const int32_t* rows,
                                           const int32_t* columns, int64_t count, float* target, void* stream) {
  using namespace billfish;
  return api::guarded([&]() -> Status {
    ElementType element = ElementType::f32;
    BILLFISH_RETURN_IF_ERROR(api::read_enum("type", type, 3, api::kElementTypes, element));
    BILLFISH_RETURN_IF_ERROR(api::not_negative("count", count));
    if (count == 0) return {};
    if (source == nullptr) return api::null_argument("source");
    if (rows == nullptr) return api::null_argument("rows");
    if (columns == nullptr) return api::null_argument("columns");
    if (target == nullptr) return api::null_argument("target");
    return measure::cuda::gather(device, source, element, ld, rows, columns, count, target, stream);
  });
}

}  // extern "C"
