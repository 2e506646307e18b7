// SPDX-License-Identifier: Apache-2.0
// The texts behind --shapes and --models. Used by bench_shapes.cpp, which finds the files.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "bench_problem.hpp"

namespace billfish::cli {

constexpr std::int64_t kLargestSide = std::int64_t{1} << 31;  // K or N of a shape
constexpr std::int64_t kMostDegree = 9999;                    // devices that share a model

// "K N label" lines, at least one. path: for messages. Failure(kBadInput) names the line.
std::vector<BenchShape> parse_shapes(const std::string& text, const std::string& path);

// "K N n label" lines: N is shared out among devices, k: K is. "tp 1 2 4" names the degrees at which whole heads remain.
struct Model {
  struct Layer {
    BenchShape shape;
    char split = 'n';
  };
  std::vector<std::int64_t> degrees;
  std::vector<Layer> layers;
};
Model parse_model(const std::string& text, const std::string& path);

// What one of `degree` devices has of the layers. `word` ("meta-llama/Llama-2-7b-hf/TP2") is named in a Failure(kBadInput).
std::vector<BenchShape> shared_out(const Model& model, std::int64_t degree, const std::string& word);

}  // namespace billfish::cli
