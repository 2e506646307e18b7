// SPDX-License-Identifier: Apache-2.0
#include "quantize_report_data.hpp"

#include <fmt/core.h>

#include <algorithm>

#include "types.hpp"

namespace billfish::cli {

std::string kind_of(const std::string& layer) {
  std::string name = layer;
  while (true) {  // the last part that is not a number: "h.0.mlp.experts.3" is of the kind "experts"
    const std::size_t dot = name.rfind('.');
    const std::string last = dot == std::string::npos ? name : name.substr(dot + 1);
    if (dot == std::string::npos || last.find_first_not_of("0123456789") != std::string::npos) return last;
    name.resize(dot);
  }
}

std::string method_text(const billfish_quantize_options& options) {
  static constexpr const char* kMethods[] = {"rtn (round to nearest)", "gptq", "awq"};
  static constexpr const char* kOrders[] = {", act order none", ", act order static", ", act order by group"};
  std::string text = options.method >= 0 && options.method < 3 ? kMethods[options.method] : "?";
  text += fmt::format(", {} bits{}, {}", bits_of(options.type), has_zeros(options.type) ? " with zero points" : "",
                      options.group > 0 ? fmt::format("groups of {}", options.group) : "one scale a column");
  if (options.method == BILLFISH_QUANTIZE_GPTQ && options.act_order >= 0 && options.act_order < 3) text += kOrders[options.act_order];
  return text + (options.clip != 0 ? ", clipped" : "");
}

bool ReportData::has_outputs() const {
  return std::any_of(layers.begin(), layers.end(), [](const LayerNumbers& layer) { return layer.output_error >= 0; });
}

namespace {
std::vector<const LayerNumbers*> by_error(const ReportData& data) {
  std::vector<const LayerNumbers*> list;
  for (const LayerNumbers& layer : data.layers) {
    if (!layer.values.before.empty()) list.push_back(&layer);
  }
  std::stable_sort(list.begin(), list.end(), [](const LayerNumbers* a, const LayerNumbers* b) { return a->error() < b->error(); });
  return list;
}
}  // namespace

const LayerNumbers* ReportData::worst() const {
  const auto list = by_error(*this);
  return list.empty() ? nullptr : list.back();
}

const LayerNumbers* ReportData::typical() const {
  const auto list = by_error(*this);
  return list.empty() ? nullptr : list[(list.size() - 1) / 2];
}

}  // namespace billfish::cli
