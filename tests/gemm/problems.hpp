// SPDX-License-Identifier: Apache-2.0
// Random problems and a zoo of devices, here or not, for the tests of plans.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <random>
#include <vector>

#include "cuda/cuda.hpp"
#include "gemm/problem.hpp"

namespace billfish::gemm {

template <class T, std::size_t count>
T pick(std::mt19937_64& random, const std::array<T, count>& from) {
  return from[random() % count];
}

// Sizes as they come in models, with the neighbours of every tile edge, and now and then anything at all up to 2^40.
inline std::int64_t random_side(std::mt19937_64& random) {
  constexpr std::array<std::int64_t, 24> kSides = {1,   8,   15,  16,   17,   48,   63,   64,   65,   72,    128,   129,
                                                   256, 257, 832, 1000, 2048, 2368, 4096, 4097, 8192, 11008, 14336, 57344};
  switch (random() % 8) {
    case 0: return static_cast<std::int64_t>(random() % 70000) + 1;
    case 1: return static_cast<std::int64_t>(random() >> (24 + random() % 40)) + 1;
    default: return pick(random, kSides);
  }
}

inline Problem random_problem(std::mt19937_64& random) {
  Problem problem;
  // Arrays whose bytes a 64-bit size can count: the ABI refuses the others before anything is planned.
  do {
    problem.m = random() % 2 == 0 ? static_cast<std::int64_t>(random() % 64) + 1 : random_side(random);
    problem.n = random_side(random);
    problem.k = random_side(random);
  } while (static_cast<double>(std::max(problem.m, problem.k)) * static_cast<double>(std::max(problem.n, problem.m)) > 0x1p59);
  const std::int64_t groups[] = {-1, 16, 32, 64, 128, 128, 128, 256, static_cast<std::int64_t>(random() % 300) + 1};
  problem.group = resolve_group(groups[random() % 9], problem.k);
  problem.weight = static_cast<WeightType>(random() % 4);
  problem.a = static_cast<ElementType>(random() % 3);
  problem.c = static_cast<ElementType>(random() % 3);
  problem.scale = random() % 4 == 0 ? static_cast<ElementType>(random() % 3) : ElementType::f16;
  problem.precision = static_cast<Precision>(random() % 3);
  problem.act_order = random() % 6 == 0;
  problem.uneven_groups = random() % 12 == 0;
  problem.bias = random() % 3 == 0;
  problem.wide_scales = random() % 8 == 0;
  problem.batch_invariant = random() % 8 == 0;
  problem.dependent_launch = random() % 4 == 0;
  problem.aligned_a = random() % 8 != 0;
  problem.aligned_c = random() % 8 != 0;
  problem.threads = static_cast<int>(random() % 16) + 1;
  const std::int64_t workspaces[] = {-1, -1, 0, 4096, static_cast<std::int64_t>(random() % (64 << 20))};
  problem.workspace_bytes = workspaces[random() % 5];
  return problem;
}

inline DeviceFacts cpu_with(int level) {
  DeviceFacts facts;
  facts.avx2 = level >= 1;
  facts.avx512 = facts.avx512_vnni = facts.avx512_bf16 = level >= 2;
  return facts;
}

// Plain, AVX2 and AVX-512 CPUs; GPUs too old, current, and of architectures that do not exist yet.
inline std::vector<DeviceFacts> all_devices() {
  std::vector<DeviceFacts> devices = {cpu_with(0), cpu_with(1), cpu_with(2)};
  for (const int architecture : {70, 75, 80, 86, 87, 89, 90, 100, 103, 110, 120, 121, 130, 200}) {
    devices.push_back(cuda::typical_facts(architecture));
  }
  DeviceFacts small = cuda::typical_facts(90);  // a slice of a GPU: few multiprocessors
  small.multiprocessors = 7;
  devices.push_back(small);
  return devices;
}

}  // namespace billfish::gemm
