// SPDX-License-Identifier: Apache-2.0
// cpu_probe: one program, no arguments needed, for machines that we cannot build on: what this CPU is, whether every implementation
// that can run here is right, and how far each is from the machine's ceilings. Under 90 seconds. Exit code 1 if anything is wrong.
//
//   cpu_probe [implementation] [check|time] [threads]
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <memory>

#include "core/integers.hpp"
#include "cpu/plan.hpp"
#include "measure/ceilings.hpp"
#include "measure/statistics.hpp"
#include "problems.hpp"

namespace billfish::cpu_tests {
namespace {

const gemm::Implementation* const kAll[] = {&cpu::amx, &cpu::avx512, &cpu::avx2, &cpu::scalar};

void print_machine(const gemm::DeviceFacts& facts, int threads) {
  std::ifstream file("/proc/cpuinfo");
  std::string line;
  while (std::getline(file, line)) {
    if (line.rfind("model name", 0) == 0) break;
  }
  std::printf("%s\navx2 %d, avx512 %d, vnni %d, bf16 %d; %d threads of %d usable\n", line.c_str(), facts.avx2, facts.avx512,
              facts.avx512_vnni, facts.avx512_bf16, threads, usable_threads());
}

// Relative error norm of one product; prints what fails.
bool check(const gemm::Implementation& implementation, const gemm::DeviceFacts& facts, const Options& o, std::int64_t m, ElementType type,
           Precision precision, bool invariant, const Parallel& parallel, std::mt19937& random) {
  const Packed p = make_packed(o, random);
  const Rows a = random_rows(type, m, o.k, 3, false, random);
  Rows c(ElementType::f32, m, o.n, 5);
  gemm::Problem problem = problem_of(p, m, type, c.type, precision, parallel.threads());
  problem.batch_invariant = invariant;
  std::string why = multiply(implementation, facts, p, problem, a, c, parallel);
  double error = 0, size = 0;
  for (std::int64_t i = 0; why.empty() && i < m; ++i) {
    for (std::int64_t n = 0; n < o.n; ++n) {
      const double y = expected(p, a, i, n).y;
      error += (c.at(i, n) - y) * (c.at(i, n) - y);
      size += y * y;
    }
  }
  const double norm = std::sqrt(error / size);
  const bool rounds = precision == Precision::bf16 && type != ElementType::bf16;
  const double limit = precision == Precision::int8 ? 2e-2 : rounds ? 4e-3 : 2e-5;
  const bool good = why.empty() && norm <= limit && c.guards_hold();
  if (!good) {
    std::printf("WRONG %s %s m=%ld n=%ld k=%ld group=%ld a %s precision %s: error norm %.2e %s\n", implementation.name,
                name_of(o.type).data(), m, o.n, o.k, o.group, name_of(type).data(), name_of(precision).data(), norm, why.c_str());
  }
  return good;
}

int check_all(const gemm::Implementation& implementation, const gemm::DeviceFacts& facts, const Parallel& parallel) {
  std::mt19937 random(11);
  const std::int64_t shapes[][3] = {{64, 16, -1}, {100, 128, 32}, {130, 304, 128}, {200, 100, -1}, {72, 544, 48}, {64, 1024, 512}};
  int count = 0, wrong = 0;
  for (const WeightType type : {WeightType::u4b8, WeightType::u4, WeightType::u8b128, WeightType::u8}) {
    for (const Precision precision : {Precision::full, Precision::bf16, Precision::int8}) {
      for (const std::int64_t m : {1, 2, 3, 4, 5, 7, 8, 9, 13, 25, 200}) {
        for (const auto& shape : shapes) {
          if (m == 200 && shape[1] > 304) continue;
          Options o;
          o.type = type;
          o.n = shape[0];
          o.k = shape[1];
          o.group = shape[2];
          o.scale = static_cast<ElementType>(random() % 3);
          o.act_order = random() % 4 == 0;
          o.bias = random() % 4 == 0;
          ++count;
          wrong +=
              !check(implementation, facts, o, m, static_cast<ElementType>(random() % 3), precision, random() % 4 == 0, parallel, random);
        }
      }
    }
  }
  std::printf("%s: %d products checked, %d wrong\n", implementation.name, count, wrong);
  return wrong;
}

struct Timing {
  double seconds = 0, read_seconds = 0;
};

// `stream` 1, 0: that kind of kernels; -1: as planned. The read loop runs interleaved, over the same buffers.
Timing time_product(const gemm::Implementation& implementation, const gemm::DeviceFacts& facts, std::vector<Packed>& copies, std::int64_t m,
                    Precision precision, int stream, double budget, const Parallel& parallel) {
  const PackedMatrix& matrix = copies[0].matrix;
  std::mt19937 random(5);
  const Rows a = random_rows(ElementType::f32, m, matrix.k, 0, false, random);
  Rows c(ElementType::f32, m, matrix.n, 0);
  gemm::Problem problem = problem_of(copies[0], m, a.type, c.type, precision, parallel.threads());
  problem.batch_invariant = stream == 0;
  gemm::Plan plan = implementation.plan(problem, facts);
  const cpu::Arithmetic* table = &implementation == &cpu::amx      ? cpu::amx_arithmetic()
                                 : &implementation == &cpu::avx512 ? cpu::kAvx512Arithmetic
                                 : &implementation == &cpu::avx2   ? cpu::kAvx2Arithmetic
                                                                   : cpu::kScalarArithmetic;
  if (stream == 1) {
    plan.detail[0] = 1;
    plan.detail[1] = m;
    plan.workspace_bytes = 0;
    for (const cpu::Kernels* kernels : cpu::kernels_in_turn(table[plan.policy], true)) {
      if (kernels == nullptr) continue;
      plan.workspace_bytes = std::max(plan.workspace_bytes, cpu::cut(problem, *kernels, static_cast<int>(m), parallel.threads()).bytes);
    }
  }
  std::vector<unsigned char> workspace(static_cast<std::size_t>(plan.workspace_bytes));
  std::vector<double> times, reads;
  const double end = measure::now() + budget;
  for (std::size_t i = 0; times.size() < 5 || measure::now() < end; ++i) {
    Packed& p = copies[i % copies.size()];
    gemm::Call call;
    call.weights = &p.matrix;
    call.m = m;
    call.a = a.data();
    call.lda = a.stride;
    call.c = c.data();
    call.ldc = c.stride;
    call.workspace = workspace.data();
    call.workspace_bytes = plan.workspace_bytes;
    call.parallel = parallel;
    const double start = measure::now();
    if (!implementation.run(plan, problem, call).ok()) return {};
    times.push_back(measure::now() - start);
    if (m > 16) continue;
    ++i;
    const Packed& q = copies[i % copies.size()];
    reads.push_back(measure::read_seconds(q.codes.data(), static_cast<std::int64_t>(q.codes.size() * 4), parallel));
  }
  const auto median = [](std::vector<double>& v) {
    if (v.empty()) return 0.0;
    std::nth_element(v.begin(), v.begin() + static_cast<std::ptrdiff_t>(v.size() / 2), v.end());
    return v[v.size() / 2];
  };
  return {median(times), median(reads)};
}

std::vector<Packed> make_copies(WeightType type, std::int64_t n, std::int64_t k) {
  std::vector<Packed> copies(1);
  Packed& first = copies[0];
  PackedMatrix& m = first.matrix;
  m.type = type;
  m.n = n;
  m.k = k;
  m.group = 128;
  std::mt19937 random(3);
  first.codes.resize(static_cast<std::size_t>(m.packed_code_words()));
  for (std::uint32_t& word : first.codes) word = static_cast<std::uint32_t>(random());
  first.scales_16.assign(static_cast<std::size_t>(m.packed_scales()), f32_to_f16(0.01f));
  first.zeros.assign(static_cast<std::size_t>(m.packed_zero_words()), 0x87654321u);
  const std::size_t count = 165'000'000 / (first.codes.size() * 4) + 1;
  while (copies.size() < count) copies.push_back(copies[0]);
  for (Packed& copy : copies) copy.point();
  return copies;
}

// What the arithmetic itself costs: one thread, a matrix that stays in L2.
void time_cached(const gemm::Implementation& implementation, const gemm::DeviceFacts& facts, double budget) {
  std::vector<Packed> copies(1, make_packed({WeightType::u4b8, 256, 2048, 128}, *std::make_unique<std::mt19937>(1)));
  copies[0].point();
  const double lines = static_cast<double>(copies[0].codes.size()) / 16;
  std::printf("one thread, weights in L2, ns per 64 packed bytes:");
  for (const Precision precision : {Precision::bf16, Precision::int8, Precision::full}) {
    std::printf("  %s", name_of(precision).data());
    for (const std::int64_t m : {1, 2, 3, 4, 8}) {
      const Timing t = time_product(implementation, facts, copies, m, precision, 1, budget / 4, {});
      std::printf(" %.1f", t.seconds / lines * 1e9);
    }
    const Timing t = time_product(implementation, facts, copies, 96, precision, 0, budget / 4, {});
    std::printf(" (96 rows, tiles: %.1f)", t.seconds / lines * 1e9);
  }
  std::printf("\n");
}

void time_all(const gemm::Implementation& implementation, const gemm::DeviceFacts& facts, const Parallel& parallel, double budget) {
  const measure::CpuCeilings ceilings = measure::cpu_ceilings(parallel);
  std::printf("ceilings, GFLOP/s: f32 %.0f, bf16 %.0f, int8 %.0f\n", ceilings.f32_gflops, ceilings.bf16_gflops, ceilings.int8_gops);
  const std::int64_t shapes[][2] = {{4096, 4096}, {2048, 11008}, {4096, 14336}, {14336, 4096}};
  struct Cell {
    Precision precision;
    std::int64_t m;
    int stream;
    double log_sum = 0;
    std::string row;
  };
  std::vector<Cell> cells;
  for (const Precision precision : {Precision::bf16, Precision::int8, Precision::full}) {
    for (const std::int64_t m : {1, 2, 4, 8, 16, 32, 64, 128, 512}) {
      if (precision == Precision::full && m > 16 && m != 64) continue;
      if (m <= 16) cells.push_back({precision, m, 1, 0, {}});
      if (m >= 4) cells.push_back({precision, m, 0, 0, {}});
    }
  }
  for (const auto& shape : shapes) {
    std::vector<Packed> copies = make_copies(WeightType::u4b8, shape[1], shape[0]);
    const double bytes = static_cast<double>(copies[0].codes.size() * 4 + copies[0].scales_16.size() * 2);
    for (Cell& cell : cells) {
      const Timing t = time_product(implementation, facts, copies, cell.m, cell.precision, cell.stream, budget, parallel);
      const double flops = 2.0 * static_cast<double>(cell.m * shape[0] * shape[1]);
      const bool dot = facts.avx512_bf16 && &implementation == &cpu::avx512;
      const double rate = cell.precision == Precision::int8 ? ceilings.int8_gops : dot ? ceilings.bf16_gflops : ceilings.f32_gflops;
      const double read = t.read_seconds > 0 ? t.read_seconds * bytes / static_cast<double>(copies[0].codes.size() * 4) : 0;
      const double roofline = std::max(read, flops / (rate * 1e9));
      cell.log_sum += std::log(roofline / t.seconds);
      char text[64];
      std::snprintf(text, sizeof text, " %9.0f us %4.0f%%", t.seconds * 1e6, 100 * roofline / t.seconds);
      cell.row += text;
    }
    std::fflush(stdout);
  }
  std::printf(
      "%s, u4b8, group 128, f32 activations; per cent of max(bytes / read loop, flops / dot ceiling); K x N:\n"
      "precision    m kernels   geomean        4096 x 4096       2048 x 11008       4096 x 14336       14336 x 4096\n",
      implementation.name);
  for (const Cell& cell : cells) {
    std::printf("%-9s %4ld %-8s %7.0f%% %s\n", name_of(cell.precision).data(), cell.m, cell.stream ? "stream" : "tile",
                100 * std::exp(cell.log_sum / 4), cell.row.c_str());
  }
}

}  // namespace
}  // namespace billfish::cpu_tests

int main(int argc, char** argv) {
  using namespace billfish;
  using namespace billfish::cpu_tests;
  const std::string name = argc > 1 ? argv[1] : "";
  const std::string what = argc > 2 ? argv[2] : "";
  const int threads = argc > 3 ? std::atoi(argv[3]) : 2;
  const double budget = argc > 4 ? std::atof(argv[4]) : 0.15;
  const gemm::DeviceFacts facts = cpu::facts();
  ThreadPool pool(threads);
  Parallel parallel;
  parallel.pool = &pool;
  print_machine(facts, threads);
  int wrong = 0;
  bool timed = false;
  for (const gemm::Implementation* implementation : kAll) {
    if (!name.empty() && name != implementation->name) continue;
    gemm::Problem probe;
    probe.m = probe.n = probe.k = probe.group = 64;
    const std::string refusal = implementation->why_not(probe, facts);
    if (!refusal.empty()) {
      std::printf("%s: %s\n", implementation->name, refusal.c_str());
      continue;
    }
    if (what != "time") wrong += check_all(*implementation, facts, parallel);
    if (what != "check" && !timed) {
      time_cached(*implementation, facts, budget);
      time_all(*implementation, facts, parallel, budget);
    }
    timed = true;  // the first that runs here, unless another is named
  }
  return wrong == 0 ? 0 : 1;
}
