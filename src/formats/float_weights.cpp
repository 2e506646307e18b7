// SPDX-License-Identifier: Apache-2.0
#include "formats/float_weights.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>

#include "core/half.hpp"
#include "core/integers.hpp"
#include "formats/recognise.hpp"
#include "formats/text.hpp"

namespace billfish::formats {
namespace {

constexpr std::int64_t kPiece = std::int64_t{1} << 18;  // elements that one task looks at

template <class Load>
bool take_piece(std::int64_t begin, std::int64_t end, float* out, std::int64_t& bad, Load load) {
  bad = -1;
  for (std::int64_t i = begin; i < end; ++i) {
    const float value = load(i);
    if (bad < 0 && !std::isfinite(value)) bad = i;
    if (out) out[i] = value;
  }
  return bad < 0;
}

// The first index that is not finite, or -1.
std::int64_t take(const std::byte* data, ElementType type, std::int64_t count, float* out, const Parallel& parallel) {
  constexpr std::int64_t kNone = std::numeric_limits<std::int64_t>::max();
  std::atomic<std::int64_t> first{kNone};
  parallel.run(ceil_div(count, kPiece), [&](std::int64_t task) {
    const std::int64_t begin = task * kPiece, end = std::min(count, begin + kPiece);
    std::int64_t bad = -1;
    if (type == ElementType::f32) {
      take_piece(begin, end, out, bad, [&](std::int64_t i) { return load_element(data, ElementType::f32, i); });
    } else if (type == ElementType::f16) {
      take_piece(begin, end, out, bad, [&](std::int64_t i) { return load_element(data, ElementType::f16, i); });
    } else {
      take_piece(begin, end, out, bad, [&](std::int64_t i) { return load_element(data, ElementType::bf16, i); });
    }
    if (bad < 0) return;
    std::int64_t known = first.load();
    while (bad < known && !first.compare_exchange_weak(known, bad)) {
    }
  });
  return first == kNone ? -1 : first.load();
}

Status look(const Model& model, const TensorPlace& place, float* out, const Parallel& parallel) {
  const Tensor& tensor = *place.tensor;
  const ElementType type = *element_type(tensor.dtype);
  const std::int64_t count = tensor.bytes / bytes_of(type);
  const std::int64_t bad = take(model.data(place), type, count, out, parallel);
  if (bad < 0) return {};
  const bool nan = std::isnan(load_element(model.data(place), type, bad));
  const std::int64_t columns = tensor.shape.back();
  const std::string at = tensor.shape.size() < 2 ? text(bad) : text(bad / columns, ',', bad % columns);
  return bad_input(text(model.label(place), ": element [", at, "] is ", nan ? "NaN" : "infinite"));
}

}  // namespace

Status load_floats(const Model& model, const TensorPlace& place, float* out, const Parallel& parallel) {
  return look(model, place, out, parallel);
}

Status check_floats(const Model& model, const TensorPlace& place, const Parallel& parallel) {
  return look(model, place, nullptr, parallel);
}

}  // namespace billfish::formats
