// SPDX-License-Identifier: Apache-2.0
// See ceilings.hpp.
#include "measure/ceilings.hpp"

#include <algorithm>
#include <atomic>

#include "core/integers.hpp"
#include "measure/cpu_loops.hpp"
#include "measure/statistics.hpp"

namespace billfish::measure {
namespace {

constexpr double kRunSeconds = 0.012;  // of one run of a rate loop
constexpr int kRuns = 5;               // the best one counts: a ceiling is what the machine can do when left alone

void start_values(float* sink) {
  for (int i = 0; i < 16; ++i) sink[i] = 1e-3f * static_cast<float>(i + 1);
}

// One run of every thread: wall clock seconds.
double run_seconds(const RateLoop& loop, std::int64_t iterations, const Parallel& parallel) {
  const double start = now();
  parallel.run(parallel.threads(), [&](std::int64_t) {
    alignas(64) float sink[16];
    start_values(sink);
    loop.run(iterations, sink);
    volatile float kept = sink[0];
    static_cast<void>(kept);
  });
  return now() - start;
}

// What `iterations` of every thread within `seconds` come to: 1e9 operations per second of all of them together.
double giga_per_second(const RateLoop& loop, std::int64_t iterations, const Parallel& parallel, double seconds) {
  return loop.operations * static_cast<double>(iterations) * parallel.threads() / seconds * 1e-9;
}

struct DotLoops {
  const RateLoop &f32, &bf16, &int8;
};

DotLoops dot_loops() {
  static const RateLoop none;
  const CpuFeatures& features = cpu_features();
  const CpuLoops& narrow = features.avx2 ? avx2_loops : scalar_loops;
  if (features.amx) return {avx512_loops.f32, amx_loops.bf16, amx_loops.int8};
  return {features.avx512 ? avx512_loops.f32 : narrow.f32, features.avx512_bf16 ? avx512_loops.bf16 : none,
          features.avx512_vnni ? avx512_loops.int8 : narrow.int8};
}

// Of several runs the best.
double rate(const RateLoop& loop, const Parallel& parallel) {
  if (loop.run == nullptr) return 0;
  std::int64_t iterations = 10'000;
  double seconds = run_seconds(loop, iterations, parallel);  // also wakes the threads
  while (seconds < 0.2 * kRunSeconds) {
    iterations *= 4;
    seconds = run_seconds(loop, iterations, parallel);
  }
  iterations = std::max<std::int64_t>(1, static_cast<std::int64_t>(static_cast<double>(iterations) * kRunSeconds / seconds));
  double best = 0;
  for (int i = 0; i < kRuns; ++i) {
    best = std::max(best, giga_per_second(loop, iterations, parallel, run_seconds(loop, iterations, parallel)));
  }
  return best;
}

}  // namespace

CpuCeilings cpu_ceilings(const Parallel& parallel) {
  const DotLoops loops = dot_loops();
  CpuCeilings ceilings;
  ceilings.f32_gflops = rate(loops.f32, parallel);
  ceilings.bf16_gflops = rate(loops.bf16, parallel);
  ceilings.int8_gops = rate(loops.int8, parallel);
  return ceilings;
}

double dot_rate(Precision precision, double operations, const Parallel& parallel) {
  const DotLoops loops = dot_loops();
  const RateLoop& wide = loops.bf16.run != nullptr ? loops.bf16 : loops.f32;
  const RateLoop& loop = precision == Precision::int8 && loops.int8.run != nullptr ? loops.int8 : wide;
  const auto iterations = std::max<std::int64_t>(1, static_cast<std::int64_t>(operations / loop.operations / parallel.threads()));
  return giga_per_second(loop, iterations, parallel, run_seconds(loop, iterations, parallel));
}

double read_seconds(const void* buffer, std::int64_t bytes, const Parallel& parallel) {
  const CpuFeatures& features = cpu_features();
  const auto read = features.avx512 ? avx512_loops.read : features.avx2 ? avx2_loops.read : scalar_loops.read;
  // Long runs for the prefetchers, yet enough pieces that a late thread does not hold up the others.
  const std::int64_t pieces = std::max<std::int64_t>(1, std::min<std::int64_t>(parallel.threads() * 8, bytes / 65536));
  const std::int64_t piece = round_up(ceil_div(bytes, pieces), 4096);
  std::atomic<std::uint64_t> sink{0};
  const double start = now();
  parallel.run(pieces, [&](std::int64_t i) {
    const std::int64_t begin = i * piece, end = std::min(bytes, begin + piece);
    if (begin < end) sink.fetch_add(read(static_cast<const unsigned char*>(buffer) + begin, end - begin), std::memory_order_relaxed);
  });
  const double seconds = now() - start;
  volatile std::uint64_t kept = sink.load();
  static_cast<void>(kept);
  return seconds;
}

}  // namespace billfish::measure
