// SPDX-License-Identifier: Apache-2.0
// report.json: everything the pictures are made of, and what --resume goes on with. Numbers that are not known are null.
#include "json.hpp"
#include "quantize_report_data.hpp"

namespace billfish::cli {
namespace {

Json json_of(const Spread& spread) {
  return {{"low", spread.low}, {"high", spread.high}, {"before", spread.before}, {"after", spread.after}};
}

Json json_of(const std::vector<Channel>& channels) {
  Json list = Json::array();
  for (const Channel& channel : channels) {
    list.push_back({channel.index, channel.magnitude, channel.scale, channel.nearest_error, channel.error});
  }
  return list;
}

Json json_of(const std::vector<GroupTrial>& trials) {
  Json list = Json::array();
  for (const GroupTrial& trial : trials) {
    list.push_back(
        {trial.group, trial.bits, trial.weight_error, trial.output_error, trial.nearest_weight_error, trial.nearest_output_error});
  }
  return list;
}

// A report is a file like others: what is missing or of another kind in it becomes what nobody knows.
std::vector<double> numbers(const Json& object, const char* name) {
  std::vector<double> values;
  if (!object.contains(name) || !object[name].is_array()) return values;
  for (const Json& value : object[name]) values.push_back(number_of(value, 0.0));
  return values;
}

Spread spread_of(const Json& object, const char* name) {
  if (!object.contains(name) || !object[name].is_object()) return {};
  const Json& entry = object[name];
  Spread spread{number_of(entry, "low", 0), number_of(entry, "high", 0), numbers(entry, "before"), numbers(entry, "after")};
  return spread.high > spread.low ? spread : Spread{};
}

// Lists of rows of `width` numbers.
std::vector<std::vector<double>> rows_of(const Json& object, const char* name, std::size_t width) {
  std::vector<std::vector<double>> rows;
  if (!object.contains(name) || !object[name].is_array()) return rows;
  for (const Json& entry : object[name]) {
    if (!entry.is_array() || entry.size() != width) continue;
    std::vector<double> row;
    for (const Json& value : entry) row.push_back(number_of(value, -1));
    rows.push_back(std::move(row));
  }
  return rows;
}

std::vector<Channel> channels_of(const Json& object, const char* name) {
  std::vector<Channel> channels;
  for (const auto& row : rows_of(object, name, 5)) {
    channels.push_back({whole_of(row[0]), row[1], row[2], row[3], row[4]});
  }
  return channels;
}

}  // namespace

std::string report_json(const ReportData& data) {
  const QuantizeReportFacts& facts = data.facts;
  Json layers = Json::array(), untouched = Json::array();
  for (const LayerNumbers& layer : data.layers) {
    layers.push_back({{"name", layer.name},
                      {"n", layer.n},
                      {"k", layer.k},
                      {"type", layer.type},
                      {"group", layer.group},
                      {"tokens", layer.tokens},
                      {"weight_error", layer.weight_error},
                      {"output_error", layer.output_error},
                      {"nearest_weight_error", layer.nearest_weight_error},
                      {"nearest_output_error", layer.nearest_output_error},
                      {"held_out_error", layer.held_out_error},
                      {"held_out_cosine", layer.held_out_cosine},
                      {"damping", layer.damping},
                      {"dead_columns", layer.dead_columns},
                      {"groups", layer.groups},
                      {"clipped_groups", layer.clipped_groups},
                      {"bytes_before", layer.bytes_before},
                      {"bytes_after", layer.bytes_after},
                      {"seconds", layer.seconds},
                      {"note", layer.note},
                      {"values", json_of(layer.values)},
                      {"grid", json_of(layer.grid)},
                      {"outside", layer.outside},
                      {"salient", json_of(layer.salient)},
                      {"across", json_of(layer.across)},
                      {"awq_losses", layer.awq_losses},
                      {"trials", json_of(layer.trials)},
                      {"no_trials", layer.no_trials}});
  }
  for (const UntouchedLayer& layer : data.untouched) {
    untouched.push_back({{"name", layer.name}, {"n", layer.n}, {"k", layer.k}, {"reason", layer.reason}});
  }
  const Json document = {{"schema", 1},
                         {"kind", "billfish quantize report"},
                         {"version", billfish_version_string()},
                         {"command", facts.command},
                         {"in", facts.in},
                         {"out", facts.out},
                         {"method", method_text(facts.options.matrix)},
                         {"format", facts.options.format == nullptr ? "" : facts.options.format},
                         {"calibration", facts.options.calibration == nullptr ? "" : facts.options.calibration},
                         {"complete", data.stopped.empty() && data.unseen.empty()},
                         {"stopped", data.stopped},
                         {"unseen", data.unseen},
                         {"bytes_in", data.bytes_in},
                         {"bytes_out", data.bytes_out},
                         {"seconds", data.seconds},
                         {"layers", layers},
                         {"untouched", untouched}};
  return text_of_json(document, 1) + "\n";
}

std::vector<LayerNumbers> layers_of_json(const std::string& text, const QuantizeReportFacts& facts) {
  std::vector<LayerNumbers> layers;
  const Json document = parse_json(text);
  if (!document.is_object() || !document.contains("layers") || !document["layers"].is_array()) return layers;
  if (words_of(document, "out") != facts.out || words_of(document, "method") != method_text(facts.options.matrix)) return layers;
  for (const Json& entry : document["layers"]) {
    if (!entry.is_object() || words_of(entry, "name").empty()) continue;
    LayerNumbers layer;
    layer.name = words_of(entry, "name");
    layer.kind = kind_of(layer.name);
    layer.type = words_of(entry, "type");
    layer.note = words_of(entry, "note");
    layer.n = whole_of(entry, "n");
    layer.k = whole_of(entry, "k");
    layer.group = whole_of(entry, "group");
    layer.tokens = whole_of(entry, "tokens");
    layer.groups = whole_of(entry, "groups");
    layer.clipped_groups = whole_of(entry, "clipped_groups");
    layer.dead_columns = whole_of(entry, "dead_columns");
    layer.bytes_before = whole_of(entry, "bytes_before");
    layer.bytes_after = whole_of(entry, "bytes_after");
    layer.weight_error = number_of(entry, "weight_error", -1);
    layer.output_error = number_of(entry, "output_error", -1);
    layer.nearest_weight_error = number_of(entry, "nearest_weight_error", -1);
    layer.nearest_output_error = number_of(entry, "nearest_output_error", -1);
    layer.held_out_error = number_of(entry, "held_out_error", -1);
    layer.held_out_cosine = number_of(entry, "held_out_cosine", -2);
    layer.damping = number_of(entry, "damping", 0);
    layer.seconds = number_of(entry, "seconds", 0);
    layer.outside = number_of(entry, "outside", 0);
    layer.values = spread_of(entry, "values");
    if (layer.values.before.size() != layer.values.after.size()) layer.values = {};
    layer.grid = spread_of(entry, "grid");
    layer.salient = channels_of(entry, "salient");
    layer.across = channels_of(entry, "across");
    layer.awq_losses = numbers(entry, "awq_losses");
    layer.no_trials = words_of(entry, "no_trials");
    for (const auto& row : rows_of(entry, "trials", 6)) {
      layer.trials.push_back({whole_of(row[0]), row[1], row[2], row[3], row[4], row[5]});
    }
    layers.push_back(std::move(layer));
  }
  return layers;
}

}  // namespace billfish::cli
