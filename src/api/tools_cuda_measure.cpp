// SPDX-License-Identifier: Apache-2.0
// billfish_tools.h, "measuring on CUDA devices": argument checks around measure/cuda_measure.hpp.
#include <string>
#include <vector>

#include "api/arguments.hpp"
#include "api/boundary.hpp"
#include "billfish/billfish_tools.h"
#include "measure/cuda_measure.hpp"

namespace api = billfish::api;
namespace cuda = billfish::measure::cuda;
using billfish::Code;
using billfish::ElementType;
using billfish::Status;

// The handle is the graph itself under a C name.
struct billfish_cuda_graph {
  cuda::Graph* graph = nullptr;
  billfish_enqueue_fn enqueue = nullptr;
  void* user = nullptr;
};

namespace {

// A caller's enqueue fails with a code; its message is already this thread's last error, so it must come back unchanged.
Status call_back(void* context, std::int64_t index, void* stream) {
  const auto& handle = *static_cast<billfish_cuda_graph*>(context);
  const billfish_status status = handle.enqueue(handle.user, index, stream);
  if (status == BILLFISH_OK) return {};
  return {static_cast<Code>(status), "call " + std::to_string(index) + " of a graph: " + billfish_last_error()};
}

Status element(const billfish_element_type& given, const char* name, ElementType& out) {
  return api::read_enum(name, given, 3, "0 (f32), 1 (f16), 2 (bf16)", out);
}

Status check_count(const char* name, std::int64_t value) {
  return value >= 0 ? Status() : billfish::invalid_argument(std::string(name) + " is " + std::to_string(value) + "; it must not be negative");
}

}  // namespace

extern "C" {

billfish_status billfish_tools_cuda_stream_create(int device, void** stream) {
  return api::guarded([&]() -> Status {
    if (stream == nullptr) return api::null_argument("stream");
    *stream = nullptr;
    auto created = cuda::create_stream(device);
    if (!created.ok()) return created.status();
    *stream = *created;
    return {};
  });
}

void billfish_tools_cuda_stream_destroy(int device, void* stream) { cuda::destroy_stream(device, stream); }

billfish_status billfish_tools_cuda_graph_create(int device, int64_t calls, billfish_enqueue_fn enqueue, void* user,
                                                 billfish_cuda_graph** out) {
  return api::guarded([&]() -> Status {
    if (out == nullptr) return api::null_argument("out");
    *out = nullptr;
    if (enqueue == nullptr) return api::null_argument("enqueue");
    billfish_cuda_graph handle = {nullptr, enqueue, user};
    auto created = cuda::create_graph(device, calls, call_back, &handle);
    if (!created.ok()) return created.status();
    *out = new billfish_cuda_graph{*created, nullptr, nullptr};
    return {};
  });
}

void billfish_tools_cuda_graph_free(billfish_cuda_graph* graph) {
  if (graph == nullptr) return;
  cuda::destroy_graph(graph->graph);
  delete graph;
}

billfish_status billfish_tools_cuda_graph_time(billfish_cuda_graph* const* graphs, int64_t count, int64_t rounds, double* seconds) {
  return api::guarded([&]() -> Status {
    if (graphs == nullptr) return api::null_argument("graphs");
    BILLFISH_RETURN_IF_ERROR(check_count("count", count));
    BILLFISH_RETURN_IF_ERROR(check_count("rounds", rounds));
    std::vector<cuda::Graph*> list;
    for (std::int64_t i = 0; i < count; ++i) {
      if (graphs[i] == nullptr) return api::null_argument("graphs[i]");
      list.push_back(graphs[i]->graph);
    }
    return cuda::time_graphs(list, rounds, seconds);
  });
}

billfish_status billfish_tools_cuda_read_gbps(int device, int64_t bytes, double* gbps) {
  return api::guarded([&]() -> Status {
    if (gbps == nullptr) return api::null_argument("gbps");
    const auto rate = cuda::read_rate(device, bytes);
    if (!rate.ok()) return rate.status();
    *gbps = *rate * 1e-9;
    return {};
  });
}

billfish_status billfish_tools_cuda_telemetry(int device, billfish_cuda_telemetry* out) {
  return api::guarded([&]() -> Status {
    BILLFISH_RETURN_IF_ERROR(api::check_size(out, "out"));
    const cuda::Telemetry telemetry = cuda::telemetry(device);
    billfish_cuda_telemetry filled = BILLFISH_CUDA_TELEMETRY_INIT;
    filled.clock_mhz = telemetry.clock_mhz;
    filled.memory_clock_mhz = telemetry.memory_clock_mhz;
    filled.power_w = telemetry.power_w;
    filled.power_limit_w = telemetry.power_limit_w;
    filled.temperature_c = telemetry.temperature_c;
    filled.throttle = telemetry.throttle;
    api::write_struct(filled, out);
    return {};
  });
}

billfish_status billfish_tools_cuda_throttle_text(uint64_t reasons, char* buffer, size_t capacity) {
  return api::guarded([&]() -> Status {
    if (buffer == nullptr) return api::null_argument("buffer");
    api::write_text(cuda::throttle_text(reasons), buffer, capacity, nullptr);
    return {};
  });
}

billfish_status billfish_tools_cuda_fill_bits(int device, void* target, int64_t bytes, uint64_t seed, void* stream) {
  return api::guarded([&]() -> Status {
    if (target == nullptr) return api::null_argument("target");
    BILLFISH_RETURN_IF_ERROR(check_count("bytes", bytes));
    return cuda::fill_bits(device, target, bytes, seed, stream);
  });
}

billfish_status billfish_tools_cuda_fill_uniform(int device, void* target, billfish_element_type type, int64_t count, float low, float high,
                                                 uint64_t seed, void* stream) {
  return api::guarded([&]() -> Status {
    if (target == nullptr) return api::null_argument("target");
    ElementType element_type = ElementType::f32;
    BILLFISH_RETURN_IF_ERROR(element(type, "type", element_type));
    BILLFISH_RETURN_IF_ERROR(check_count("count", count));
    return cuda::fill_uniform(device, target, element_type, count, low, high, seed, stream);
  });
}

billfish_status billfish_tools_cuda_dequantize(const billfish_weights* weights, billfish_element_type type, void* target, void* stream) {
  return api::guarded([&]() -> Status {
    if (target == nullptr) return api::null_argument("target");
    ElementType element_type = ElementType::f32;
    BILLFISH_RETURN_IF_ERROR(element(type, "type", element_type));
    billfish::PackedMatrix packed;
    BILLFISH_RETURN_IF_ERROR(api::read_weights(weights, api::Pointers::required, packed));
    if (packed.device.kind != billfish::DeviceKind::cuda) {
      return billfish::invalid_argument("weights.device_kind is cpu; billfish_dequantize does it there");
    }
    return cuda::dequantize(packed, element_type, target, stream);
  });
}

billfish_status billfish_tools_cuda_product(int device, const void* a, billfish_element_type a_type, int64_t m, int64_t lda,
                                            const float* dense, int64_t n, int64_t k, const int32_t* rows, const int32_t* columns,
                                            int64_t count, double* y, double* magnitude, void* stream) {
  return api::guarded([&]() -> Status {
    if (a == nullptr) return api::null_argument("a");
    if (dense == nullptr) return api::null_argument("dense");
    if (y == nullptr) return api::null_argument("y");
    if (magnitude == nullptr) return api::null_argument("magnitude");
    if (rows != nullptr && columns == nullptr) return api::null_argument("columns");
    cuda::ProductCheck check;
    BILLFISH_RETURN_IF_ERROR(element(a_type, "a_type", check.a_type));
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
    return cuda::product_in_double(check, stream);
  });
}

billfish_status billfish_tools_cuda_gather(int device, const void* source, billfish_element_type type, int64_t ld, const int32_t* rows,
                                           const int32_t* columns, int64_t count, float* target, void* stream) {
  return api::guarded([&]() -> Status {
    if (source == nullptr) return api::null_argument("source");
    if (rows == nullptr) return api::null_argument("rows");
    if (columns == nullptr) return api::null_argument("columns");
    if (target == nullptr) return api::null_argument("target");
    ElementType element_type = ElementType::f32;
    BILLFISH_RETURN_IF_ERROR(element(type, "type", element_type));
    return cuda::gather(device, source, element_type, ld, rows, columns, count, target, stream);
  });
}

}  // extern "C"
