// SPDX-License-Identifier: Apache-2.0
// cuda_measure.hpp in a build without CUDA: everything says so.
#include "measure/cuda_measure.hpp"

namespace billfish::measure::cuda {
namespace {

Status absent() { return device_error("this build has no CUDA: configure with -DBILLFISH_CUDA=ON"); }

}  // namespace

Result<void*> create_stream(int) { return absent(); }
void destroy_stream(int, void*) {}
Result<Graph*> create_graph(int, std::int64_t, EnqueueFn, void*) { return absent(); }
void destroy_graph(Graph*) {}
Status time_graphs(std::span<Graph* const>, std::int64_t, double*) { return absent(); }
Result<Timer*> create_timer(int) { return absent(); }
void destroy_timer(Timer*) {}
Status start_timer(Timer*, void*) { return absent(); }
Status stop_timer(Timer*, void*) { return absent(); }
Result<double> timer_seconds(Timer*) { return absent(); }
void push_range(const char*) {}
void pop_range() {}
Result<double> read_rate(int, std::int64_t) { return absent(); }
Result<Figures> figures(int) { return absent(); }
int runtime_version() { return 0; }
Status fill_bits(int, void*, std::int64_t, std::uint64_t, void*) { return absent(); }
Status fill_uniform(int, void*, ElementType, std::int64_t, float, float, std::uint64_t, void*) { return absent(); }
Status dequantize(const PackedMatrix&, ElementType, void*, void*) { return absent(); }
Status gather(int, const void*, ElementType, std::int64_t, const std::int32_t*, const std::int32_t*, std::int64_t, float*, void*) {
  return absent();
}
Status product_in_double(const ProductCheck&, void*) { return absent(); }

}  // namespace billfish::measure::cuda
