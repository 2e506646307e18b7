// SPDX-License-Identifier: Apache-2.0
// Measuring on a CUDA device: streams, timed graphs, ceilings, random data, and a double-precision product to check against.
// Called by api/; implemented by cuda_*.cu, or by cuda_absent.cpp in a build without CUDA (every function says so).
// Plain C++: a stream is the void* of a cudaStream_t. These functions synchronise and allocate: they are not for the hot path.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "core/matrix.hpp"
#include "core/status.hpp"
#include "core/types.hpp"

namespace billfish::measure::cuda {

Result<void*> create_stream(int device);
void destroy_stream(int device, void* stream);

// A captured chain of calls that can be replayed and timed.
struct Graph;
using EnqueueFn = Status (*)(void* user, std::int64_t index, void* stream);
// Captures enqueue(user, 0 .. calls - 1, stream) on a stream of its own.
Result<Graph*> create_graph(int device, std::int64_t calls, EnqueueFn enqueue, void* user);
void destroy_graph(Graph* graph);
// `rounds` times: one replay of every graph in turn, back to back, each between two events. seconds[round * graphs + graph].
// All graphs must be of one device.
Status time_graphs(std::span<Graph* const> graphs, std::int64_t rounds, double* seconds);

// Time between two points of a stream.
struct Timer;
Result<Timer*> create_timer(int device);
void destroy_timer(Timer* timer);
Status start_timer(Timer* timer, void* stream);
Status stop_timer(Timer* timer, void* stream);
Result<double> timer_seconds(Timer* timer);  // waits for the stop

// A range of this thread for a profiler that is attached.
void push_range(const char* name);
void pop_range();

// Bytes per second of reading `bytes` once from all multiprocessors (bulk copies into shared memory from sm_90 on).
Result<double> read_rate(int device, std::int64_t bytes);

// What the driver's management library says; 0 and "" where it is not to be had.
struct Telemetry {
  double clock_mhz = 0, memory_clock_mhz = 0, power_w = 0, power_limit_w = 0, temperature_c = 0;
  std::uint64_t throttle = 0;                // the library's bit mask of reasons
  double busy = 0, memory_busy = 0;          // per cent of the last sampling period
  double memory_used = 0, memory_total = 0;  // bytes
  bool known = false;                        // the library answered
};
Telemetry telemetry(int device);                   // in nvml.cpp: in every build
std::string throttle_text(std::uint64_t reasons);  // "power cap, thermal", "" for none
std::string driver_version();                      // "580.65.06", "" where it is not to be had

// What a device does at most, measured by small kernels of our own in about two seconds. 0: this device cannot do that.
struct Figures {
  double read_gbps = 0, copy_gbps = 0;      // device memory; a copy counts its reads and its writes
  double l2_gbps = 0, shared_gbps = 0;      // all multiprocessors together
  double memory_ns = 0, l2_ns = 0;          // from the address to the value, one load after the other
  double launch_us = 0, graph_us = 0;       // a kernel that does nothing, in a chain of them: launched one by one, and in a graph
  double round_trip_us = 0;                 // launched and waited for
  double mma_tflops = 0, wgmma_tflops = 0;  // f16 with f32 sums, operands at hand: for some milliseconds, before any power limit bites
};
Result<Figures> figures(int device);
// The part of it that only 9.0 has; 0 elsewhere.
Result<double> wgmma_rate(int device, int multiprocessors);
int runtime_version();  // 13000; 0 in a build without CUDA

// Random bits; and values of `type`, uniform in [low, high). The same seed gives the same data.
Status fill_bits(int device, void* target, std::int64_t bytes, std::uint64_t seed, void* stream);
Status fill_uniform(int device, void* target, ElementType type, std::int64_t count, float low, float high, std::uint64_t seed,
                    void* stream);

// float(scale) * (code - zero), rounded once to `type`, as dense [n, k] in original row order.
Status dequantize(const PackedMatrix& weights, ElementType type, void* target, void* stream);

// target[i] = source[rows[i] * ld + columns[i]] as f32; all device memory.
Status gather(int device, const void* source, ElementType type, std::int64_t ld, const std::int32_t* rows, const std::int32_t* columns,
              std::int64_t count, float* target, void* stream);

// In double, one element per (row, column): y = sum of a[row,:] w[column,:] and the sum of magnitudes that error bounds
// are made of. `dense` is [n, k] f32 of dequantize. rows and columns null: all of [m, n], row-major; else `count` samples.
struct ProductCheck {
  int device = 0;
  const void* a = nullptr;
  ElementType a_type = ElementType::f16;
  std::int64_t m = 0, lda = 0;
  const float* dense = nullptr;
  std::int64_t n = 0, k = 0;
  const std::int32_t* rows = nullptr;     // device memory
  const std::int32_t* columns = nullptr;  // device memory
  std::int64_t count = 0;
  double* y = nullptr;          // device memory
  double* magnitude = nullptr;  // device memory
};
Status product_in_double(const ProductCheck& check, void* stream);

}  // namespace billfish::measure::cuda
