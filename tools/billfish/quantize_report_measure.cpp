// SPDX-License-Identifier: Apache-2.0
// What a quantising report takes from a finished layer before its matrices go. A few hundred rows stand for the whole, so that this costs
// milliseconds beside the quantising of a large layer.
#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "billfish/billfish_tools.h"
#include "library.hpp"
#include "quantize_report_data.hpp"
#include "types.hpp"

namespace billfish::cli {
namespace {

constexpr std::int64_t kRows = 512, kTrialRows = 64, kTrialInputs = 1024, kTrialTokens = 4096;
constexpr double kUsualDamping = 0.01;  // what 0 stands for
constexpr std::int64_t kTrialGroups[] = {32, 64, 128, 256, 512, 1024};
constexpr std::size_t kSalient = 16, kAcross = 200;
constexpr int kValueBins = 121;  // odd: zero is in the middle of one

// Rows 0, step, 2 * step ... of a matrix.
struct Rows {
  std::int64_t count = 0, step = 1;
};
Rows rows_of(std::int64_t n, std::int64_t most) {
  Rows rows;
  rows.step = std::max<std::int64_t>(1, n / most);
  rows.count = std::min(n, most);
  return rows;
}

// A matrix quantised on the side: weights [rows, k] of row stride ld.
struct Side {
  std::vector<std::uint8_t> codes, zeros;
  std::vector<std::byte> scales;
  std::vector<float> dequantized;  // [rows, k]
  billfish_quantized result = BILLFISH_QUANTIZED_INIT;
  billfish_status status = BILLFISH_OK;
};

Side quantize_aside(const billfish_quantize_options& options, const float* weights, std::int64_t rows, std::int64_t k, std::int64_t ld,
                    const billfish_samples* samples) {
  Side side;
  const std::int64_t group = options.group <= 0 || options.group > k ? k : options.group, groups = groups_of(k, group);
  side.codes.resize(static_cast<std::size_t>(k * rows));
  if (has_zeros(options.type)) side.zeros.resize(static_cast<std::size_t>(groups * rows));
  side.scales.resize(static_cast<std::size_t>(groups * rows * bytes_of(options.scale_type)));
  side.result.codes = side.codes.data();
  side.result.zeros = side.zeros.empty() ? nullptr : side.zeros.data();
  side.result.scales = side.scales.data();
  side.status = billfish_quantize_matrix(&options, weights, rows, k, ld, samples, &side.result);
  if (side.status != BILLFISH_OK) return side;
  std::vector<float> scales(static_cast<std::size_t>(groups * rows));
  billfish_tools_to_f32(side.scales.data(), options.scale_type, scales.data(), groups * rows);
  side.dequantized.resize(static_cast<std::size_t>(rows * k));
  const float middle = bits_of(options.type) == 4 ? 8 : 128;
  for (std::int64_t i = 0; i < k; ++i) {
    for (std::int64_t row = 0; row < rows; ++row) {
      const auto at = static_cast<std::size_t>(i / group * rows + row);
      const float zero = side.zeros.empty() ? middle : side.zeros[at];
      side.dequantized[static_cast<std::size_t>(row * k + i)] =
          scales[at] * (static_cast<float>(side.codes[static_cast<std::size_t>(i * rows + row)]) - zero);
    }
  }
  return side;
}

std::size_t bin_of(double value, double low, double high, std::size_t bins) {
  const double at = (value - low) / (high - low) * static_cast<double>(bins);
  return at >= 0 ? static_cast<std::size_t>(std::min(at, static_cast<double>(bins) - 1)) : 0;  // NaN too: of scales that are all but 0
}

Spread values_of(const billfish_quantize_layer& layer, const Rows& rows) {
  float largest = 0;
  for (std::int64_t i = 0; i < rows.count; ++i) {
    const float* row = layer.weights + i * rows.step * layer.k;
    for (std::int64_t j = 0; j < layer.k; ++j) largest = std::max(largest, std::abs(row[j]));
  }
  Spread spread{-1.02 * largest, 1.02 * largest, std::vector<double>(kValueBins), std::vector<double>(kValueBins)};
  if (largest == 0) return {};
  const double share = 100.0 / static_cast<double>(rows.count * layer.k);
  for (std::int64_t i = 0; i < rows.count; ++i) {
    const std::int64_t begin = i * rows.step * layer.k;
    for (std::int64_t j = begin; j < begin + layer.k; ++j) {
      spread.before[bin_of(layer.weights[j], spread.low, spread.high, kValueBins)] += share;
      spread.after[bin_of(layer.dequantized[j], spread.low, spread.high, kValueBins)] += share;
    }
  }
  return spread;
}

// AWQ may have divided whole rows too (the layer behind this one gave it its scales): what the row's first code that is not zero says.
double row_factor(const billfish_quantize_layer& layer, const std::vector<float>& scales, std::int64_t row, int levels) {
  if (layer.quantized->codes == nullptr) return 1;
  for (std::int64_t j = 0; j < layer.k; ++j) {
    const auto at = static_cast<std::size_t>(j / layer.group * layer.n + row);
    const double zero = layer.quantized->zeros != nullptr ? layer.quantized->zeros[at] : levels / 2;
    const double code = layer.quantized->codes[j * layer.n + row] - zero;
    const double there = layer.dequantized[row * layer.k + j] * (layer.awq_scales != nullptr ? layer.awq_scales[j] : 1.0);
    if (code != 0 && there != 0) return code * scales[at] / there;
  }
  return 1;
}

// Every weight against the grid of its own group.
void measure_grid(const billfish_quantize_layer& layer, const billfish_quantize_options& options, const Rows& rows, LayerNumbers& out) {
  const std::int64_t groups = groups_of(layer.k, layer.group);
  std::vector<float> scales(static_cast<std::size_t>(groups * layer.n));
  billfish_tools_to_f32(layer.quantized->scales, options.scale_type, scales.data(), groups * layer.n);
  const int levels = 1 << bits_of(layer.type), steps = levels == 16 ? 8 : 1;  // bins a step
  Spread& grid = out.grid;
  grid = {-1.5, levels + 0.5, std::vector<double>(static_cast<std::size_t>((levels + 2) * steps)),
          std::vector<double>(static_cast<std::size_t>(levels))};
  const double share = 100.0 / static_cast<double>(rows.count * layer.k);
  for (std::int64_t i = 0; i < rows.count; ++i) {
    const std::int64_t row = i * rows.step;
    const double undo = row_factor(layer, scales, row, levels);
    for (std::int64_t j = 0; j < layer.k; ++j) {
      const auto at = static_cast<std::size_t>(j / layer.group * layer.n + row);
      const double zero = layer.quantized->zeros != nullptr ? layer.quantized->zeros[at] : levels / 2;
      const double factor = scales[at] == 0 ? 0 : undo * (layer.awq_scales != nullptr ? layer.awq_scales[j] : 1.0) / scales[at];
      const double before = layer.weights[row * layer.k + j] * factor + zero, after = layer.dequantized[row * layer.k + j] * factor + zero;
      grid.before[bin_of(before, grid.low, grid.high, grid.before.size())] += share * steps;
      grid.after[static_cast<std::size_t>(std::isfinite(after) ? std::lround(std::clamp(after, 0.0, levels - 1.0)) : 0)] += share;
      if (before < -0.5 || before > levels - 0.5) out.outside += share;
    }
  }
}

// Relative error of every column of [rows, k].
std::vector<double> column_errors(const float* weights, std::int64_t ld, const float* dequantized, std::int64_t ldd, std::int64_t rows,
                                  std::int64_t k) {
  std::vector<double> error(static_cast<std::size_t>(k)), size(static_cast<std::size_t>(k));
  for (std::int64_t row = 0; row < rows; ++row) {
    for (std::int64_t j = 0; j < k; ++j) {
      const double weight = weights[row * ld + j], difference = weight - dequantized[row * ldd + j];
      error[static_cast<std::size_t>(j)] += difference * difference;
      size[static_cast<std::size_t>(j)] += weight * weight;
    }
  }
  for (std::size_t j = 0; j < error.size(); ++j) error[j] = size[j] > 0 ? std::sqrt(error[j] / size[j]) : 0;
  return error;
}

void measure_channels(const billfish_quantize_layer& layer, billfish_quantize_options options, const Rows& rows, LayerNumbers& out) {
  options.method = BILLFISH_QUANTIZE_RTN;
  options.clip = 0;
  options.type = layer.type;
  options.group = layer.group;
  const std::int64_t ld = rows.step * layer.k;
  const Side nearest = quantize_aside(options, layer.weights, rows.count, layer.k, ld, nullptr);
  if (nearest.status != BILLFISH_OK) return;
  const auto before = column_errors(layer.weights, ld, nearest.dequantized.data(), layer.k, rows.count, layer.k);
  const auto after = column_errors(layer.weights, ld, layer.dequantized, ld, rows.count, layer.k);
  std::vector<std::int64_t> order(static_cast<std::size_t>(layer.k));
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return layer.magnitudes[a] > layer.magnitudes[b]; });
  const auto channel = [&](std::int64_t j) {
    const auto at = static_cast<std::size_t>(j);
    return Channel{j, layer.magnitudes[j], layer.awq_scales != nullptr ? layer.awq_scales[j] : 1.0, before[at], after[at]};
  };
  for (std::size_t i = 0; i < std::min(kSalient, order.size()); ++i) out.salient.push_back(channel(order[i]));
  const std::size_t count = std::min(kAcross, order.size());
  for (std::size_t i = 0; i < count; ++i) out.across.push_back(channel(order[i * order.size() / count]));
}

// Second moments of the first `k` inputs; empty where nothing is known of them.
std::vector<float> moments_of(const billfish_samples& samples, std::int64_t width, std::int64_t k, const billfish_parallel* parallel,
                              std::int64_t& count) {
  std::vector<float> moments(static_cast<std::size_t>(k * k));
  if (samples.hessian != nullptr) {
    for (std::int64_t i = 0; i < k; ++i) std::copy_n(samples.hessian + i * width, k, moments.begin() + i * k);
    count = samples.count;
    return moments;
  }
  count = 0;
  const std::int64_t ld = samples.ldx == 0 ? width : samples.ldx, tokens = std::min(samples.tokens, kTrialTokens);
  if (samples.x == nullptr ||
      billfish_hessian_add(samples.x, samples.x_type, tokens, k, ld, moments.data(), &count, parallel) != BILLFISH_OK) {
    return {};
  }
  return moments;
}

void measure_trials(const billfish_quantize_layer& layer, billfish_quantize_options options, LayerNumbers& out) {
  const Rows rows = rows_of(layer.n, kTrialRows);
  const std::int64_t k = std::min(layer.k, kTrialInputs), ld = rows.step * layer.k;
  const bool awq = layer.awq_scales != nullptr;
  options.type = layer.type;
  std::vector<float> moments, scaled_moments, scaled;
  billfish_samples plain = BILLFISH_SAMPLES_INIT, own = BILLFISH_SAMPLES_INIT;
  if (layer.samples != nullptr) moments = moments_of(*layer.samples, layer.k, k, options.parallel, plain.count);
  if (options.method == BILLFISH_QUANTIZE_GPTQ && moments.empty()) options.method = BILLFISH_QUANTIZE_RTN;
  plain.hessian = moments.data();
  own = plain;
  const float* weights = layer.weights;
  std::int64_t weights_ld = ld;
  if (awq) {
    scaled.resize(static_cast<std::size_t>(rows.count * k));
    for (std::int64_t i = 0; i < rows.count; ++i) {
      for (std::int64_t j = 0; j < k; ++j) scaled[static_cast<std::size_t>(i * k + j)] = layer.weights[i * ld + j] * layer.awq_scales[j];
    }
    weights = scaled.data();
    weights_ld = k;
    scaled_moments = moments;
    for (std::size_t i = 0; i < scaled_moments.size(); ++i) {
      scaled_moments[i] /= layer.awq_scales[static_cast<std::int64_t>(i) / k] * layer.awq_scales[static_cast<std::int64_t>(i) % k];
    }
    own.hessian = scaled_moments.data();
  } else if (options.method == BILLFISH_QUANTIZE_AWQ) {
    options.method = BILLFISH_QUANTIZE_RTN;  // a layer that kept s = 1
  }
  const bool known = !moments.empty();
  for (const std::int64_t group : kTrialGroups) {
    if (group > k) continue;
    options.group = group;
    Side side = quantize_aside(options, weights, rows.count, k, weights_ld, known ? &own : nullptr);
    if (side.status != BILLFISH_OK) {
      out.no_trials = billfish_last_error();
      return;
    }
    GroupTrial trial{group,
                     static_cast<double>(bits_of(layer.type)),
                     side.result.weight_error,
                     side.result.output_error,
                     side.result.nearest_weight_error,
                     side.result.nearest_output_error};
    trial.bits += (8.0 * bytes_of(options.scale_type) + (has_zeros(layer.type) ? bits_of(layer.type) : 0)) / static_cast<double>(group);
    if (awq) {  // compared with the weights as they were, like everything else here
      billfish_quantize_options nearest = options;
      nearest.method = BILLFISH_QUANTIZE_RTN;
      nearest.clip = 0;
      const Side without = quantize_aside(nearest, layer.weights, rows.count, k, ld, known ? &plain : nullptr);
      if (without.status == BILLFISH_OK) {
        trial.nearest_weight_error = without.result.weight_error;
        trial.nearest_output_error = without.result.output_error;
      }
      double error = 0, size = 0;
      for (std::int64_t i = 0; i < rows.count; ++i) {
        for (std::int64_t j = 0; j < k; ++j) {
          const double weight = layer.weights[i * ld + j];
          const double difference = weight - side.dequantized[static_cast<std::size_t>(i * k + j)] / layer.awq_scales[j];
          error += difference * difference;
          size += weight * weight;
        }
      }
      trial.weight_error = size > 0 ? std::sqrt(error / size) : 0;
    }
    out.trials.push_back(trial);
  }
  if (out.trials.empty()) out.no_trials = fmt::format("the layer has only {} inputs", k);
}

}  // namespace

std::string note_of(const billfish_quantize_layer& layer, const billfish_quantize_options& options) {
  std::string note = layer.note == nullptr ? "" : layer.note;
  if (layer.quantized == nullptr) return note;
  const auto add = [&](const std::string& words) { note += (note.empty() ? "" : "; ") + words; };
  const double asked = options.damping > 0 ? options.damping : kUsualDamping, used = layer.quantized->damping;
  if (used > 9.99 * asked) {  // it grows by tens
    add(fmt::format("damping had to be raised from {:g} to {:g}: these second moments are hardly positive definite, look at the samples",
                    asked, used));
  }
  if (layer.samples != nullptr && layer.quantized->output_error < 0) {
    add("errors of outputs were not measured: no LAPACK was found (Debian and Ubuntu: libopenblas0-pthread)");
  }
  return note;
}

LayerNumbers numbers_of(const billfish_quantize_layer& layer, const billfish_quantize_options& options, bool with_trials) {
  LayerNumbers out;
  out.name = layer.name;
  out.kind = kind_of(out.name);
  out.type = name_of(layer.type);
  out.note = note_of(layer, options);
  out.n = layer.n;
  out.k = layer.k;
  out.group = layer.group;
  out.groups = groups_of(layer.k, layer.group) * layer.n;
  out.bytes_before = layer.bytes_before;
  out.bytes_after = layer.bytes_after;
  out.held_out_error = layer.held_out_error;
  out.held_out_cosine = layer.held_out_cosine;
  out.seconds = layer.seconds;
  if (layer.samples != nullptr) out.tokens = layer.samples->x != nullptr ? layer.samples->tokens : layer.samples->count;
  if (layer.awq_losses != nullptr) out.awq_losses.assign(layer.awq_losses, layer.awq_losses + BILLFISH_AWQ_RATIOS);
  if (layer.quantized == nullptr) return out;
  const billfish_quantized& result = *layer.quantized;
  out.weight_error = result.weight_error;
  out.output_error = result.output_error;
  out.nearest_weight_error = result.nearest_weight_error;
  out.nearest_output_error = result.nearest_output_error;
  out.damping = result.damping;
  out.dead_columns = result.dead_columns;
  out.clipped_groups = result.clipped_groups;
  if (layer.weights == nullptr || layer.dequantized == nullptr || layer.n < 1 || layer.k < 1) return out;
  billfish_quantize_layer whole = layer;
  if (whole.group <= 0 || whole.group > whole.k) whole.group = whole.k;
  const Rows rows = rows_of(layer.n, kRows);
  out.values = values_of(whole, rows);
  if (result.scales != nullptr) measure_grid(whole, options, rows, out);
  if (layer.magnitudes != nullptr) measure_channels(whole, options, rows, out);
  if (with_trials) measure_trials(whole, options, out);
  return out;
}

}  // namespace billfish::cli
