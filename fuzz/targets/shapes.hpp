// SPDX-License-Identifier: Apache-2.0
// Any text as a list of layer shapes (--shapes) and as a model (--models): accepted, every shape is one that a benchmark may be given, and
// a model comes apart into such shapes at each of its degrees or says why it does not.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "../../fuzz/targets/refused.hpp"
#include "../../tools/billfish/bench_shapes.hpp"

namespace billfish::fuzz {

inline void check_shapes(const std::vector<cli::BenchShape>& shapes) {
  if (shapes.empty()) __builtin_trap();
  for (const cli::BenchShape& shape : shapes) {
    if (shape.k < 1 || shape.n < 1 || shape.k > cli::kLargestSide || shape.n > cli::kLargestSide) __builtin_trap();
    if (shape.label.find('#') != std::string::npos) __builtin_trap();
  }
}

// Whether either reader accepted it.
inline bool shapes(const std::uint8_t* data, std::size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  std::vector<cli::BenchShape> list;
  const bool is_list = !refused([&] { list = cli::parse_shapes(text, "fuzz"); });
  if (is_list) check_shapes(list);

  cli::Model model;
  if (refused([&] { model = cli::parse_model(text, "fuzz"); })) return is_list;
  if (model.degrees.empty()) __builtin_trap();
  for (const std::int64_t degree : model.degrees) {
    std::vector<cli::BenchShape> part;
    if (!refused([&] { part = cli::shared_out(model, degree, "fuzz"); })) check_shapes(part);
  }
  return true;
}

}  // namespace billfish::fuzz
