// SPDX-License-Identifier: Apache-2.0
// A quantising report in words and tables: report.md, and CSV with every layer.
#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "quantize_report_data.hpp"
#include "text.hpp"
#include "types.hpp"

namespace billfish::cli {
namespace {

constexpr std::size_t kRowsInText = 40;  // of layers; layers.csv has all

std::string percent_text(double error) { return error >= 0 ? fmt::format("{:.2f} %", 100 * error) : "-"; }
std::string cosine_text(double cosine) { return cosine >= -1 ? fmt::format("{:.5f}", cosine) : "-"; }
std::string cell(double value, double unknown_below) { return value >= unknown_below ? fmt::format("{:.6g}", value) : ""; }

// Names come from files: nothing in them may act as markup.
std::string code_text(const std::string& words) {
  std::string text = "`";
  for (const char c : words) {
    if (c == '|') {
      text += "\\|";
    } else {
      text += c == '`' || c == '\n' || c == '\r' ? '\'' : c;
    }
  }
  return text + "`";
}
std::string plain_text(const std::string& words) {
  std::string text;
  for (const char c : words) {
    if (c == '\n' || c == '\r') {
      text += ' ';
      continue;
    }
    if (std::string("|<>[]*_`\\#").find(c) != std::string::npos) text += '\\';
    text += c;
  }
  return text;
}
std::string csv_text(const std::string& words) {
  if (words.find_first_of(",\"\n\r") == std::string::npos) return words;
  std::string text = "\"";
  for (const char c : words) {
    if (c == '"') text += '"';
    text += c;
  }
  return text + "\"";
}

template <class Value>
double mean_of(const std::vector<LayerNumbers>& layers, Value value) {  // geometric, of what is known; -1 if nothing is
  double sum = 0;
  int count = 0;
  for (const LayerNumbers& layer : layers) {
    if (value(layer) <= 0) continue;
    sum += std::log(value(layer));
    ++count;
  }
  return count == 0 ? -1 : std::exp(sum / count);
}

template <class Value>
double sum_of(const std::vector<LayerNumbers>& layers, Value value) {
  double sum = 0;
  for (const LayerNumbers& layer : layers) sum += static_cast<double>(value(layer));
  return sum;
}

std::string summary(const ReportData& data) {
  const auto& layers = data.layers;
  const billfish_quantize_model_options& options = data.facts.options;
  std::string text = "| | |\n|---|---|\n";
  const auto row = [&](const std::string& name, const std::string& value) { text += fmt::format("| {} | {} |\n", name, value); };
  row("from", code_text(data.facts.in));
  if (!data.facts.out.empty())
    row("to", code_text(data.facts.out) + (options.format == nullptr ? "" : fmt::format(", {}", options.format)));
  if (!data.facts.command.empty()) row("command", code_text(data.facts.command));
  row("method", method_text(options.matrix));
  if (options.calibration != nullptr) {
    std::int64_t low = 0, high = 0;
    for (const LayerNumbers& layer : layers) {
      if (layer.tokens > 0) low = low == 0 ? layer.tokens : std::min(low, layer.tokens);
      high = std::max(high, layer.tokens);
    }
    const std::string tokens = high == 0     ? ""
                               : low == high ? fmt::format(", {} tokens a layer", high)
                                             : fmt::format(", {} to {} tokens a layer", low, high);
    row("calibration", code_text(options.calibration) + tokens);
  }
  const double weights =
      sum_of(layers, [](const LayerNumbers& layer) { return static_cast<double>(layer.n) * static_cast<double>(layer.k); });
  const std::string count = weights >= 1e6 ? fmt::format("{:.1f} million", weights / 1e6) : fmt::format("{:.0f}", weights);
  row("layers", fmt::format("{} quantised with {} weights{}", layers.size(), count,
                            data.untouched.empty() ? "" : fmt::format("; {} left as they are", data.untouched.size())));
  const double before = sum_of(layers, [](const LayerNumbers& layer) { return layer.bytes_before; });
  const double after = sum_of(layers, [](const LayerNumbers& layer) { return layer.bytes_after; });
  if (after > 0) {
    row("memory of these layers", fmt::format("{} instead of {}: {:.2f} times less, {:.2f} bits a weight", bytes_text(after),
                                              bytes_text(before), before / after, 8 * after / weights));
  }
  if (data.bytes_in > 0 && data.bytes_out > 0) {
    row("whole checkpoint",
        fmt::format("{} instead of {}", bytes_text(static_cast<double>(data.bytes_out)), bytes_text(static_cast<double>(data.bytes_in))));
  }
  row("time",
      fmt::format("{} in all layers together", seconds_text(sum_of(layers, [](const LayerNumbers& layer) { return layer.seconds; }))));
  const auto against = [](double now, double nearest) {
    return now <= 0 ? std::string("-") : fmt::format("{}, round to nearest {}", percent_text(now), percent_text(nearest));
  };
  row("error of weights, geometric mean", against(mean_of(layers, [](const LayerNumbers& layer) { return layer.weight_error; }),
                                                  mean_of(layers, [](const LayerNumbers& layer) { return layer.nearest_weight_error; })));
  if (data.has_outputs()) {
    row("**error of outputs, geometric mean**",
        against(mean_of(layers, [](const LayerNumbers& layer) { return layer.output_error; }),
                mean_of(layers, [](const LayerNumbers& layer) { return layer.nearest_output_error; })));
  }
  const double held_out = mean_of(layers, [](const LayerNumbers& layer) { return layer.held_out_error; });
  if (held_out > 0) row("the same on samples kept aside", percent_text(held_out));
  const auto least = std::min_element(layers.begin(), layers.end(), [](const LayerNumbers& a, const LayerNumbers& b) {
    return (a.held_out_cosine < -1 ? 2 : a.held_out_cosine) < (b.held_out_cosine < -1 ? 2 : b.held_out_cosine);
  });
  if (least != layers.end() && least->held_out_cosine >= -1) {
    row("least cosine on samples kept aside", fmt::format("{} ({})", cosine_text(least->held_out_cosine), code_text(least->name)));
  }
  const auto worst =
      std::max_element(layers.begin(), layers.end(), [](const LayerNumbers& a, const LayerNumbers& b) { return a.error() < b.error(); });
  if (worst != layers.end() && worst->error() >= 0)
    row("worst layer", fmt::format("{}: {}", code_text(worst->name), percent_text(worst->error())));
  const auto noted =
      std::count_if(layers.begin(), layers.end(), [](const LayerNumbers& layer) { return !layer.note.empty() || layer.dead_columns > 0; });
  row("notes", noted == 0 ? "none" : fmt::format("{} layers, see [below](#notes-and-fallbacks)", noted));
  return text;
}

std::string layer_table(const ReportData& data) {
  std::vector<const LayerNumbers*> rows;
  for (const LayerNumbers& layer : data.layers) rows.push_back(&layer);
  std::string text;
  if (rows.size() > kRowsInText) {
    std::stable_sort(rows.begin(), rows.end(), [](const LayerNumbers* a, const LayerNumbers* b) { return a->error() > b->error(); });
    rows.resize(kRowsInText);
    text = fmt::format("The {} worst of {} layers; [layers.csv](layers.csv) has all.\n\n", rows.size(), data.layers.size());
  }
  const bool outputs = data.has_outputs();
  text += outputs ? "| layer | N x K | weights | to nearest | outputs | to nearest | kept aside | cosine | time "
                    "|\n|---|---|---|---|---|---|---|---|---|\n"
                  : "| layer | N x K | weights | to nearest | time |\n|---|---|---|---|---|\n";
  for (const LayerNumbers* layer : rows) {
    text += fmt::format("| {} | {} x {} | {} | {} |", code_text(layer->name), layer->n, layer->k, percent_text(layer->weight_error),
                        percent_text(layer->nearest_weight_error));
    if (outputs) {
      text += fmt::format(" {} | {} | {} | {} |", percent_text(layer->output_error), percent_text(layer->nearest_output_error),
                          percent_text(layer->held_out_error), cosine_text(layer->held_out_cosine));
    }
    text += fmt::format(" {} |\n", seconds_text(layer->seconds));
  }
  return text;
}

std::string channel_table(const LayerNumbers& layer, bool awq) {
  std::string text = fmt::format(
      "The largest of {}:\n\n| channel | mean of x's magnitude |{} error of its weights, to nearest | now |\n|---|---|{}---|---|\n",
      code_text(layer.name), awq ? " AWQ's scale |" : "", awq ? "---|" : "");
  for (std::size_t i = 0; i < std::min<std::size_t>(8, layer.salient.size()); ++i) {
    const Channel& channel = layer.salient[i];
    text +=
        fmt::format("| {} | {:.4g} |{} {} | {} |\n", channel.index, channel.magnitude, awq ? fmt::format(" {:.3g} |", channel.scale) : "",
                    percent_text(channel.nearest_error), percent_text(channel.error));
  }
  return text;
}

std::string group_table(const ReportData& data) {
  struct Means {
    double bits = 0, weight = 0, output = 0, nearest = 0;
    int count = 0, outputs = 0;
  };
  std::map<std::int64_t, Means> by_group;
  for (const LayerNumbers& layer : data.layers) {
    for (const GroupTrial& trial : layer.trials) {
      Means& means = by_group[trial.group];
      means.bits = trial.bits;
      means.weight += trial.weight_error > 0 ? std::log(trial.weight_error) : 0;
      ++means.count;
      if (trial.output_error <= 0 || trial.nearest_output_error <= 0) continue;
      means.output += std::log(trial.output_error);
      means.nearest += std::log(trial.nearest_output_error);
      ++means.outputs;
    }
  }
  std::string text = "| group | bits a weight | error of weights | of outputs | of outputs, to nearest |\n|---|---|---|---|---|\n";
  const auto tried = std::count_if(data.layers.begin(), data.layers.end(), [](const LayerNumbers& layer) { return !layer.trials.empty(); });
  for (const auto& [group, means] : by_group) {
    if (means.count < tried) continue;  // some layers have fewer inputs: a mean over the others says nothing beside these
    const std::string output = means.outputs == 0 ? "-" : percent_text(std::exp(means.output / means.outputs));
    const std::string nearest = means.outputs == 0 ? "-" : percent_text(std::exp(means.nearest / means.outputs));
    text += fmt::format("| {} | {:.3f} | {} | {} | {} |\n", group, means.bits, percent_text(std::exp(means.weight / means.count)), output,
                        nearest);
  }
  return text;
}

std::string notes(const ReportData& data) {
  std::map<std::string, std::vector<std::string>> by_note;  // many layers may say the same
  for (const LayerNumbers& layer : data.layers) {
    if (!layer.note.empty()) by_note[layer.note].push_back(layer.name);
    if (layer.dead_columns > 0) {
      by_note[fmt::format("{}{} of {} inputs were zero in every sample; their weights became 0{}",
                          many_dead(layer.dead_columns, layer.k) ? "Warning: " : "", layer.dead_columns, layer.k,
                          many_dead(layer.dead_columns, layer.k) ? ": more or other samples are needed" : "")]
          .push_back(layer.name);
    }
  }
  for (const UntouchedLayer& layer : data.untouched) by_note["left as it is: " + layer.reason].push_back(layer.name);
  if (by_note.empty()) return "None.\n";
  std::string text;
  for (const auto& [note, names] : by_note) {
    text += fmt::format("* {} ({} layer{}): ", plain_text(note), names.size(), names.size() == 1 ? "" : "s");
    for (std::size_t i = 0; i < std::min<std::size_t>(names.size(), 12); ++i) text += (i == 0 ? "" : ", ") + code_text(names[i]);
    text += names.size() > 12 ? ", ...\n" : "\n";
  }
  return text;
}

}  // namespace

std::string report_text(const ReportData& data, const std::vector<std::string>& pictures, const std::string& no_pictures) {
  const bool awq = data.facts.options.matrix.method == BILLFISH_QUANTIZE_AWQ;
  const auto picture = [&](const char* name, const char* words) {
    return std::find(pictures.begin(), pictures.end(), name) == pictures.end() ? std::string()
                                                                               : fmt::format("![{}]({}.svg)\n\n", words, name);
  };
  std::string text = fmt::format("{}\n# Quantising report\n\n", kReportMark);
  if (!data.stopped.empty())
    text += fmt::format("**Not complete:** {}. What follows is about the layers that were done.\n\n", plain_text(data.stopped));
  if (!data.unseen.empty()) {
    text +=
        "**Not complete:** the interrupted run had finished these layers before its report had seen them. Their errors are known; "
        "their tokens and what is drawn of their weights are not: ";
    for (std::size_t i = 0; i < data.unseen.size(); ++i) text += (i == 0 ? "" : ", ") + code_text(data.unseen[i]);
    text += ".\n\n";
  }
  text += summary(data) + "\n";
  if (!no_pictures.empty())
    text += fmt::format("{}: {}\n\n", pictures.empty() ? "No pictures" : "Without some pictures", plain_text(no_pictures));
  if (data.layers.empty()) return text + "No layer was finished.\n\n## Notes and fallbacks\n\n" + notes(data);

  text +=
      "## Error of every layer\n\nHow far the quantised weights W' are from W, `|W - W'| / |W|`, and their outputs on the samples, `|X (W "
      "- W')| / |X W|`. "
      "\"To nearest\" is plain rounding with the same type and group. A method that looks at samples makes outputs better, often at the "
      "price of weights.\n\n";
  text += picture("errors", "error of every layer against round to nearest") + layer_table(data) + "\n";
  if (std::any_of(data.layers.begin(), data.layers.end(), [](const LayerNumbers& layer) { return layer.held_out_error >= 0; })) {
    text +=
        "## Outputs on samples kept aside\n\nThe last samples of the calibration file are not used for quantising, only for this check. "
        "Where their error is far "
        "above that of the other samples, the calibration is too small or of another kind than they are.\n\n" +
        picture("held_out", "error and cosine of outputs on samples kept aside");
  }
  if (data.worst() != nullptr) {
    text +=
        "## Weights before and after\n\nLeft: how many weights have which value (logarithmic). Right: the same weights in units of their "
        "own group's scale, which is "
        "what rounding sees; blue are the codes that they became. Codes that nobody uses are wasted: a few large weights stretch the grid "
        "of their group. From up to 512 rows of the layer.\n\n" +
        picture("distribution", "distribution of weights before and after, with the grid");
  }
  if (const LayerNumbers* worst = data.worst(); worst != nullptr && !worst->salient.empty()) {
    text += fmt::format("## Salient channels\n\nInputs whose activations are large carry their weights' errors to the outputs. {}\n\n",
                        awq ? "AWQ multiplies the weights of such channels by a scale before rounding, and divides the inputs by it: their "
                              "error shrinks, that of "
                              "the others in their group may grow."
                            : "Their weights' errors, by plain rounding and by this method.");
    text += picture("channels", "salient channels and their errors") + channel_table(*worst, awq) +
            "\n[channels.csv](channels.csv) has them for every layer.\n\n";
  }
  text += picture("awq_search", "error by AWQ's ratio");
  if (std::any_of(data.layers.begin(), data.layers.end(), [](const LayerNumbers& layer) { return !layer.trials.empty(); })) {
    text +=
        "## Error against group size\n\nSmaller groups follow the weights better and need more scales. Measured on a sample (64 outputs, "
        "the "
        "first 1024 inputs) of the first layer of each kind with the same method; means over them:\n\n" +
        picture("groups", "error against group size") + group_table(data) + "\n[groups.csv](groups.csv) has them one by one.\n\n";
  } else if (!data.layers[0].no_trials.empty()) {
    text += fmt::format("## Error against group size\n\nNot measured: {}.\n\n", plain_text(data.layers[0].no_trials));
  }
  text += "## Memory before and after\n\n" + picture("memory", "memory by kind of layer");
  std::map<std::string, std::pair<double, double>> by_kind;
  for (const LayerNumbers& layer : data.layers) {
    by_kind[layer.kind].first += static_cast<double>(layer.bytes_before);
    by_kind[layer.kind].second += static_cast<double>(layer.bytes_after);
  }
  text += "| kind of layer | before | after | times less |\n|---|---|---|---|\n";
  for (const auto& [kind, bytes] : by_kind) {
    text += fmt::format("| {} | {} | {} | {:.2f} |\n", code_text(kind), bytes_text(bytes.first), bytes_text(bytes.second),
                        bytes.second > 0 ? bytes.first / bytes.second : 0);
  }
  text += "\n## Time of every layer\n\n" + picture("time", "time of every layer");
  text += fmt::format("{} in all, of which this report took its part; the table above and [layers.csv](layers.csv) have every layer.\n\n",
                      seconds_text(data.seconds));
  return text + "## Notes and fallbacks\n\n" + notes(data);
}

std::string layers_csv(const ReportData& data) {
  std::string text =
      "layer,n,k,type,group,tokens,weight_error,nearest_weight_error,output_error,nearest_output_error,held_out_error,held_out_cosine,"
      "bytes_before,bytes_after,seconds,damping,dead_columns,groups,clipped_groups,note\n";
  for (const LayerNumbers& layer : data.layers) {
    text += fmt::format("{},{},{},{},{},{},{},{},{},{},{},{},{},{},{:.6g},{:.6g},{},{},{},{}\n", csv_text(layer.name), layer.n, layer.k,
                        layer.type, layer.group, layer.tokens, cell(layer.weight_error, 0), cell(layer.nearest_weight_error, 0),
                        cell(layer.output_error, 0), cell(layer.nearest_output_error, 0), cell(layer.held_out_error, 0),
                        cell(layer.held_out_cosine, -1), layer.bytes_before, layer.bytes_after, layer.seconds, layer.damping,
                        layer.dead_columns, layer.groups, layer.clipped_groups, csv_text(layer.note));
  }
  return text;
}

std::string groups_csv(const ReportData& data) {
  std::string text = "layer,group,bits_per_weight,weight_error,nearest_weight_error,output_error,nearest_output_error\n";
  for (const LayerNumbers& layer : data.layers) {
    for (const GroupTrial& trial : layer.trials) {
      text += fmt::format("{},{},{:.6g},{},{},{},{}\n", csv_text(layer.name), trial.group, trial.bits, cell(trial.weight_error, 0),
                          cell(trial.nearest_weight_error, 0), cell(trial.output_error, 0), cell(trial.nearest_output_error, 0));
    }
  }
  return text;
}

std::string channels_csv(const ReportData& data) {
  std::string text = "layer,channel,magnitude,awq_scale,nearest_error,error\n";
  for (const LayerNumbers& layer : data.layers) {
    for (const Channel& channel : layer.salient) {
      text += fmt::format("{},{},{:.6g},{:.6g},{:.6g},{:.6g}\n", csv_text(layer.name), channel.index, channel.magnitude, channel.scale,
                          channel.nearest_error, channel.error);
    }
  }
  return text;
}

}  // namespace billfish::cli
