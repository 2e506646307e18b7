// SPDX-License-Identifier: Apache-2.0
// One list of jobs for every engine, and the errors of outputs that the CPU's has: quantize_test holds the CPU to them, so that they are
// never stale, and cuda_test a device, on machines that may have no LAPACK to compare with.
#pragma once

#include <string>
#include <vector>

#include "quantize/sample.hpp"

namespace billfish::quantize::test {

struct AgreementCase {
  const char* name;
  Method method;
  WeightType type;
  std::int64_t group;  // 0: one of all
  ActOrder order;
  bool clip;
  std::int64_t n, k;
  double output_error;  // of the CPU
};

// Shapes that no block divides; one that is wider than a device's outer blocks.
inline const std::vector<AgreementCase>& agreement_cases() {
  using enum Method;
  using enum WeightType;
  static const std::vector<AgreementCase> cases = {
      {"nearest", nearest, u4b8, 128, ActOrder::none, false, 200, 416, 0.105551},
      {"nearest, clip", nearest, u4b8, 128, ActOrder::none, true, 200, 416, 0.071491},
      {"nearest, zeros, clip", nearest, u4, 64, ActOrder::none, true, 200, 416, 0.060452},
      {"gptq", gptq, u4b8, 128, ActOrder::none, false, 200, 416, 0.026361},
      {"gptq, static", gptq, u4b8, 128, ActOrder::fixed, false, 200, 416, 0.020588},
      {"gptq, by group, clip", gptq, u4b8, 128, ActOrder::by_group, true, 200, 416, 0.022144},
      {"gptq, zeros, clip", gptq, u4, 32, ActOrder::none, true, 70, 416, 0.019724},
      {"gptq, one group", gptq, u8b128, 0, ActOrder::none, false, 70, 416, 0.001992},
      {"gptq, groups that no block divides", gptq, u4b8, 96, ActOrder::by_group, false, 33, 416, 0.026975},
      {"gptq, wide groups, static", gptq, u8, 256, ActOrder::fixed, false, 33, 416, 0.001425},
      {"gptq, wide", gptq, u4b8, 128, ActOrder::none, false, 40, 1408, 0.018673},
      {"gptq, wide, static, clip", gptq, u4b8, 128, ActOrder::fixed, true, 40, 1408, 0.015421},
      {"awq, clip", awq, u4, 128, ActOrder::none, true, 70, 416, 0.067622},
  };
  return cases;
}

struct AgreementData {
  std::vector<float> weights, h;
};

// The moments are made here, in double: no engine has a part in them.
inline AgreementData agreement_data(const AgreementCase& job) {
  const std::int64_t n = job.n, k = job.k, tokens = 96;
  AgreementData data = {normal(n * k, 0.05f, 21), std::vector<float>(static_cast<std::size_t>(k * k))};
  const std::vector<float> x = correlated_samples(tokens, k, 22);
  for (std::int64_t i = 0; i < k; ++i) {
    for (std::int64_t j = 0; j <= i; ++j) {
      double sum = i == j ? 0.2 * static_cast<double>(tokens) : 0.0;  // noise in every input: fewer tokens than these have no factor
      for (std::int64_t t = 0; t < tokens; ++t) {
        sum += static_cast<double>(x[static_cast<std::size_t>(t * k + i)]) * static_cast<double>(x[static_cast<std::size_t>(t * k + j)]);
      }
      const auto value = static_cast<float>(2.0 * sum / static_cast<double>(tokens));
      data.h[static_cast<std::size_t>(i * k + j)] = data.h[static_cast<std::size_t>(j * k + i)] = value;
    }
  }
  return data;
}

inline Options options_of(const AgreementCase& job) {
  Options options = options_of(job.method, job.type, job.group == 0 ? job.k : job.group, job.clip);
  options.act_order = job.order;
  return options;
}

}  // namespace billfish::quantize::test
