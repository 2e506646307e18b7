// SPDX-License-Identifier: Apache-2.0
// What every storage shares: the dtype of scales, the group that follows from their number, g_idx, and the bias.
#include <algorithm>
#include <optional>

#include "formats/recognise.hpp"
#include "formats/text.hpp"

namespace billfish::formats {
namespace {

enum class Order : std::uint8_t { none, trivial, act };

struct GIdx {
  Order order = Order::none;
  std::int64_t step = 0;  // where the second group begins in a monotone one; 0: never
};

// Range and, if it is one, the step of a g_idx. All -1 stands for "not initialised" in compressed-tensors files: as if it were absent.
Status look_at_g_idx(const Evidence& evidence, const Part& part, std::int64_t k, std::int64_t groups, GIdx& out) {
  const std::byte* data = evidence.model.data(part.place);
  std::int64_t unset = 0;
  bool stepped = true;
  for (std::int64_t i = 0; i < k; ++i) {
    const std::int32_t group = read_i32(data, i);
    if (group == -1) {
      ++unset;
    } else if (group < 0 || group >= groups) {
      return bad_input(text(evidence.model.label(part.place), ": element ", i, " is ", group, ", but there are ", groups, " groups"));
    } else if (group == 1 && out.step == 0) {
      out.step = i;
    }
  }
  if (unset == k && k > 0) return {};
  if (unset > 0) return bad_input(text(evidence.model.label(part.place), ": ", unset, " of ", k, " elements are -1"));
  for (std::int64_t i = 0; i < k && stepped; ++i) stepped = read_i32(data, i) == (out.step == 0 ? 0 : i / out.step);
  out.order = stepped ? Order::trivial : Order::act;
  return {};
}

// A group size that cuts k into `groups`: as the config or a rule says, as g_idx shows, a power of two, or an even cut.
std::optional<std::int64_t> choose_group(const Common& common, const GIdx& g_idx, int bits, std::int64_t k) {
  const auto fits = [&](std::int64_t group) { return ceil_div(k, resolve_group(group, k)) == common.groups; };
  if (g_idx.order == Order::trivial && g_idx.step > 0 && fits(g_idx.step)) return g_idx.step;
  for (const Numbers& some : common.candidates) {
    if (some.group != 0 && (some.bits == 0 || some.bits == bits) && fits(some.group)) return some.group;
  }
  if (common.groups == 1) return -1;
  for (std::int64_t group = 2; group < k; group *= 2) {
    if (fits(group)) return group;
  }
  if (k % common.groups == 0) return k / common.groups;
  return std::nullopt;
}

}  // namespace

std::optional<ElementType> element_type(std::string_view dtype) {
  if (dtype == "F16") return ElementType::f16;
  if (dtype == "BF16") return ElementType::bf16;
  if (dtype == "F32") return ElementType::f32;
  return std::nullopt;
}

Status finish_common(const Evidence& evidence, Layer& layer, const Common& common) {
  LayerInfo& info = layer.info;
  MatrixShape& shape = layer.shape;
  info.n = shape.n;
  info.k = shape.k;
  info.type = shape.type;
  if (shape.n <= 0 || shape.k <= 0 || common.groups <= 0) {
    return bad_input(text(label(evidence, layer), " is empty: n = ", shape.n, ", k = ", shape.k, ", groups = ", common.groups));
  }
  const Part& scales = *find_part(layer, common.scales);
  const std::optional<ElementType> scale_type = element_type(scales.place.tensor->dtype);
  if (!scale_type) {
    refuse(layer, text(common.scales, " of dtype ", scales.place.tensor->dtype, " are not supported: F16, BF16 and F32 are"));
    return {};
  }
  shape.scale_type = info.scale_type = *scale_type;
  assign(layer, common.scales, Role::scales);

  GIdx order;
  const Part* g_idx = common.g_idx.empty() ? nullptr : find_part(layer, common.g_idx);
  if (g_idx) {
    if (g_idx->place.tensor->dtype != "I32") {
      refuse(layer, text(common.g_idx, " of dtype ", g_idx->place.tensor->dtype, " is not supported: I32 is"));
      return {};
    }
    BILLFISH_RETURN_IF_ERROR(expect_shape(evidence, *g_idx, {shape.k}, "one group a row of the matrix"));
    BILLFISH_RETURN_IF_ERROR(look_at_g_idx(evidence, *g_idx, shape.k, common.groups, order));
    assign(layer, common.g_idx, Role::g_idx);
  }
  const std::optional<std::int64_t> group = choose_group(common, order, bits_of(shape.type), shape.k);
  if (!group) {
    return bad_input(text(label(evidence, layer), ": ", common.scales, " have ", common.groups,
                          " groups, but no group size cuts k = ", shape.k, " into so many",
                          evidence.config.numbers.group == 0 ? "" : text(" (the config says ", evidence.config.numbers.group, ")")));
  }
  info.group = *group;
  shape.group = resolve_group(*group, shape.k);
  // A stepped g_idx whose step is not the group of the config is an order of its own.
  const bool stepped = order.order == Order::trivial && (order.step == shape.group || (order.step == 0 && common.groups == 1));
  info.act_order = order.order != Order::none && !stepped;

  if (const Part* bias = find_part(layer, "bias")) {
    if (!element_type(bias->place.tensor->dtype)) {
      refuse(layer, text("a bias of dtype ", bias->place.tensor->dtype, " is not supported: F16, BF16 and F32 are"));
      return {};
    }
    BILLFISH_RETURN_IF_ERROR(expect_shape(evidence, *bias, {shape.n}, "one for every output"));
    assign(layer, "bias", Role::bias);
  }
  return {};
}

}  // namespace billfish::formats
