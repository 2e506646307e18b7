// SPDX-License-Identifier: Apache-2.0
// `billfish quantize`: a model in f32, f16 or bf16, or one matrix in a .npy -> a 4- or 8-bit checkpoint. What was done goes to --json, to
// --report (quantize_report.cpp) and, in a few lines, to people.
#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <optional>
#include <vector>

#include "billfish/billfish_quantize.h"
#include "commands.hpp"
#include "convert.hpp"
#include "device.hpp"
#include "errors.hpp"
#include "files.hpp"
#include "interrupt.hpp"
#include "json.hpp"
#include "library.hpp"
#include "npy.hpp"
#include "options.hpp"
#include "progress.hpp"
#include "quantize_report.hpp"
#include "text.hpp"
#include "types.hpp"

namespace billfish::cli {
namespace {

struct Options {
  std::string in, out, method, act_order, calibration, layers, format, report, device, scale_type = "f16";
  std::int64_t bits = 4, group = 128;
  std::string seed = "0";
  double damping = 0;
  int threads = 0;
  bool zero_points = false, symmetric = false, clip = false, resume = false, no_fold = false, skip_unsupported = false, dry_run = false,
       demo = false, json = false;
};

// What is remembered of a layer once it is done.
struct Layer {
  std::string name, note;
  std::int64_t n = 0, k = 0, group = 0, bytes_before = 0, bytes_after = 0;
  billfish_quantized facts = BILLFISH_QUANTIZED_INIT;
  double held_out_error = -1, held_out_cosine = -2, seconds = 0;
};

struct Matrix {
  std::string name, left;
  std::int64_t n = 0, k = 0;
};

// What the library's callbacks get as `user`.
struct Context {
  const Options* options = nullptr;
  billfish_quantize_options matrix = BILLFISH_QUANTIZE_OPTIONS_INIT;
  Progress* progress = nullptr;
  QuantizeReport* report = nullptr;
  bool any_match = false;
  std::vector<Layer> layers;
  std::vector<Matrix> matrices;
};

Context& context(void* user) { return *static_cast<Context*>(user); }

int want_layer(void* user, const char* layer) {
  const std::string& expression = context(user).options->layers;
  const bool wanted = expression.empty() || billfish_tools_match(expression.c_str(), layer) == 1;
  context(user).any_match = context(user).any_match || wanted;
  return wanted ? 1 : 0;
}

int show(void* user, const char* layer, std::int64_t bytes_done, std::int64_t bytes_total) {
  return Progress::callback(context(user).progress, layer, bytes_done, bytes_total);
}

void layer_planned(void* user, const char* layer, std::int64_t n, std::int64_t k, const char* left) {
  context(user).matrices.push_back({layer, left, n, k});
  if (context(user).report != nullptr) context(user).report->plan(layer, n, k, left);
}

void layer_done(void* user, const billfish_quantize_layer* done) {
  Layer layer;
  layer.name = done->name;
  layer.note = note_of(*done, context(user).matrix);
  layer.n = done->n;
  layer.k = done->k;
  layer.group = done->group;
  layer.bytes_before = done->bytes_before;
  layer.bytes_after = done->bytes_after;
  layer.facts = *done->quantized;
  layer.held_out_error = done->held_out_error;
  layer.held_out_cosine = done->held_out_cosine;
  layer.seconds = done->seconds;
  context(user).layers.push_back(std::move(layer));
  if (context(user).report != nullptr) context(user).report->add(*done);
}

template <typename Value>
Value one_of(const std::string& option, const std::string& word, std::initializer_list<std::pair<const char*, Value>> words) {
  std::string known;
  for (const auto& [name, value] : words) {
    if (word == name) return value;
    known += (known.empty() ? "" : ", ") + std::string(name);
  }
  fail(kUsage, "{} is '{}': use one of {}", option, word, known);
}

// The first CUDA device serves where it can; one that was asked for has to.
Device quantize_device(const std::string& word) {
  const Device device = choose_device(word);
  if (billfish_quantize_device(device.kind, device.index) == BILLFISH_OK) return device;
  if (word.empty()) return {};
  fail(kDevice, "--device {}: {}", word, billfish_last_error());
}

billfish_quantize_options matrix_options(const Options& options, const std::string& format, const Pool& pool) {
  billfish_quantize_options out = BILLFISH_QUANTIZE_OPTIONS_INIT;
  out.method = one_of<billfish_quantize_method>(
      "--method", options.method, {{"rtn", BILLFISH_QUANTIZE_RTN}, {"gptq", BILLFISH_QUANTIZE_GPTQ}, {"awq", BILLFISH_QUANTIZE_AWQ}});
  if (!options.act_order.empty()) {
    out.act_order = one_of<billfish_act_order>(
        "--act-order", options.act_order,
        {{"none", BILLFISH_ACT_ORDER_NONE}, {"static", BILLFISH_ACT_ORDER_STATIC}, {"group", BILLFISH_ACT_ORDER_GROUP}});
    if (out.method != BILLFISH_QUANTIZE_GPTQ) fail(kUsage, "--act-order {}: only --method gptq has an order", options.act_order);
  }
  if (options.bits != 4 && options.bits != 8) fail(kUsage, "--bits is {}: use 4 or 8", options.bits);
  if (options.group != 128 && options.group != 64 && options.group != 32 && options.group != -1)
    fail(kUsage, "--group is {}: use 128, 64, 32 or -1 (one scale a column)", options.group);
  if (options.zero_points && options.symmetric) fail(kUsage, "--zero-points and --no-zero-points exclude each other");
  const bool zeros = options.zero_points || (format == "awq" && !options.symmetric);
  if (options.bits == 4) {
    out.type = zeros ? BILLFISH_U4 : BILLFISH_U4B8;
  } else {
    out.type = zeros ? BILLFISH_U8 : BILLFISH_U8B128;
  }
  out.group = options.group;
  out.scale_type = parse_element_type(options.scale_type, "--scale-type");
  out.clip = options.clip ? 1 : 0;
  if (!(options.damping >= 0) || options.damping > 1)
    fail(kUsage, "--damping is {}: use a part of the mean diagonal, 0.001 to 1", options.damping);
  out.damping = options.damping;
  const auto [end, problem] = std::from_chars(options.seed.data(), options.seed.data() + options.seed.size(), out.seed);
  if (problem != std::errc() || end != options.seed.data() + options.seed.size())
    fail(kUsage, "--seed is '{}': use a whole number from 0 to 18446744073709551615", options.seed);
  out.parallel = pool.parallel();
  return out;
}

// What is not said. Zero points go into the second version of GPTQ's format: GPTQModel takes the first one's from itself alone.
std::string format_of(const Options& options) {
  if (!options.format.empty()) return options.format;
  if (options.method == "awq" && options.bits == 4) return "awq";
  return options.zero_points ? "gptq_v2" : "gptq";
}

bool is_npy(const std::string& path) { return std::filesystem::path(path).extension() == ".npy"; }

// A .npy as the one layer of a model; the layer has the file's name.
class NpyModel {
 public:
  explicit NpyModel(const std::string& path) {
    const NpyArray array = read_npy(path);
    if (array.shape.size() != 2)
      fail(kBadInput, "{} has shape {}: a matrix [n,k], as models store a linear layer, is needed", path, shape_text(array.shape));
    const std::string name = std::filesystem::path(path).stem().string() + ".weight";
    const Json header = {{name,
                          {{"dtype", array.type == BILLFISH_F16 ? "F16" : "F32"},
                           {"shape", array.shape},
                           {"data_offsets", {std::int64_t{0}, static_cast<std::int64_t>(array.bytes.size())}}}}};
    std::string text = text_of_json(header);
    text.append((64 - (text.size() + 8) % 64) % 64, ' ');
    OutputFile file(this->path());
    std::string length(8, '\0');
    for (std::size_t i = 0; i < 8; ++i) length[i] = static_cast<char>(text.size() >> (8 * i));
    file.write(length.data(), length.size());
    file.write(text.data(), text.size());
    file.write(array.bytes.data(), array.bytes.size());
    file.commit();
  }
  std::string path() const { return folder_.path() + "/model.safetensors"; }

 private:
  TemporaryFolder folder_;
};

// The geometric mean of a layer's numbers, over those that have one; nothing where none has.
template <typename Get>
std::optional<double> geometric_mean(const std::vector<Layer>& layers, Get get) {
  double sum = 0;
  int count = 0;
  for (const Layer& layer : layers) {
    if (get(layer) <= 0) continue;
    sum += std::log(get(layer));
    ++count;
  }
  return count > 0 ? std::optional<double>(std::exp(sum / count)) : std::nullopt;
}

Json known(double value, double unknown) { return value == unknown ? Json() : Json(value); }

Json document(const Options& options, const std::string& format, Device device, const Context& context, double seconds) {
  Json layers = Json::array(), left = Json::array();
  for (const Layer& layer : context.layers) {
    layers.push_back({{"name", layer.name},
                      {"n", layer.n},
                      {"k", layer.k},
                      {"group", layer.group},
                      {"weight_error", known(layer.facts.weight_error, -1)},
                      {"output_error", known(layer.facts.output_error, -1)},
                      {"nearest_weight_error", known(layer.facts.nearest_weight_error, -1)},
                      {"nearest_output_error", known(layer.facts.nearest_output_error, -1)},
                      {"held_out_error", known(layer.held_out_error, -1)},
                      {"held_out_cosine", known(layer.held_out_cosine, -2)},
                      {"damping", layer.facts.damping},
                      {"dead_columns", layer.facts.dead_columns},
                      {"clipped_groups", layer.facts.clipped_groups},
                      {"bytes_before", layer.bytes_before},
                      {"bytes_after", layer.bytes_after},
                      {"seconds", layer.seconds},
                      {"note", layer.note}});
  }
  Json planned = Json::array();
  for (const Matrix& matrix : context.matrices) {
    if (matrix.left.empty()) {
      planned.push_back({{"name", matrix.name}, {"n", matrix.n}, {"k", matrix.k}});
    } else {
      left.push_back({{"name", matrix.name}, {"reason", matrix.left}});
    }
  }
  Json out = {{"schema", 1}, {"in", options.in}, {"method", options.method}, {"format", format}};
  if (options.dry_run) {
    out["layers"] = planned;
  } else {
    out["out"] = options.out;
    out["layers"] = layers;
    out["bytes_in"] = bytes_at(options.in);
    out["bytes_out"] = bytes_at(options.out);
    out["seconds"] = seconds;
    out["device"] = text_of(device);
  }
  out["left"] = left;
  return out;
}

void print_plan(const Context& context) {
  Table table({"layer", "k", "n", "what becomes of it"});
  for (const Matrix& matrix : context.matrices)
    table.add({one_line(matrix.name), std::to_string(matrix.k), std::to_string(matrix.n),
               matrix.left.empty() ? "quantised" : "stays: " + one_line(matrix.left)});
  fmt::print("{}", table.text());
}

// GPTQ makes weights 0 whose inputs no sample had: the checkpoint is then no better than the samples.
void print_dead_inputs(const Context& context) {
  std::int64_t dead = 0, layers = 0, most = 0, many = 0;
  const Layer* worst = nullptr;
  for (const Layer& layer : context.layers) {
    if (layer.facts.dead_columns < 1) continue;
    dead += layer.facts.dead_columns;
    ++layers;
    many += many_dead(layer.facts.dead_columns, layer.k) ? 1 : 0;
    if (layer.facts.dead_columns * 1024 / layer.k < most) continue;
    most = layer.facts.dead_columns * 1024 / layer.k;
    worst = &layer;
  }
  if (worst == nullptr) return;
  fmt::print("{}{} inputs of {} layer{} were zero in every sample, and their weights became 0: more or other samples are needed\n",
             many > 0 ? "warning: " : "", dead, layers, layers == 1 ? "" : "s");
  if (many > 0) {
    fmt::print("warning: in {} layer{} more than a quarter of the inputs, in {} {} of {}\n", many, many == 1 ? "" : "s",
               one_line(worst->name), worst->facts.dead_columns, worst->k);
  }
}

void print_result(const Options& options, Device device, const Context& context, double seconds) {
  const double bytes_in = static_cast<double>(bytes_at(options.in)), bytes_out = static_cast<double>(bytes_at(options.out));
  const std::string where = device.kind == BILLFISH_CPU ? "" : " on " + text_of(device);
  fmt::print("{}: {} from {} in {}{}\n", options.out, bytes_text(bytes_out), bytes_text(bytes_in), seconds_text(seconds), where);
  std::size_t left = 0;
  for (const Matrix& matrix : context.matrices) left += !matrix.left.empty();
  fmt::print("{} layers quantised, {} other matrices stay as they are (--dry-run says why)\n", context.layers.size(), left);
  const auto ours = geometric_mean(context.layers, [](const Layer& layer) { return layer.facts.output_error; });
  const auto nearest = geometric_mean(context.layers, [](const Layer& layer) { return layer.facts.nearest_output_error; });
  if (ours && nearest) {
    fmt::print("relative error of outputs: {:.4f}, {:.4f} by round to nearest (geometric means over layers)\n", *ours, *nearest);
  } else if (const auto weights = geometric_mean(context.layers, [](const Layer& layer) { return layer.facts.weight_error; })) {
    fmt::print("relative error of weights: {:.4f} (geometric mean over layers)\n", *weights);
  }
  if (const auto kept = geometric_mean(context.layers, [](const Layer& layer) { return layer.held_out_error; }))
    fmt::print("on samples kept aside: {:.4f}\n", *kept);
  print_dead_inputs(context);
  std::vector<std::pair<std::string, std::vector<std::string>>> by_note;  // many layers may say the same
  for (const Layer& layer : context.layers) {
    if (layer.note.empty()) continue;
    auto entry = std::find_if(by_note.begin(), by_note.end(), [&](const auto& one) { return one.first == layer.note; });
    if (entry == by_note.end()) entry = by_note.insert(by_note.end(), {layer.note, {}});
    entry->second.push_back(layer.name);
  }
  std::vector<std::string> notes;
  for (const auto& [note, names] : by_note) {
    const std::string more = names.size() > 1 ? fmt::format(" and {} layers more", names.size() - 1) : "";
    notes.push_back(one_line(names.front() + more + ": " + note));
  }
  constexpr std::size_t kMost = 8;
  for (std::size_t i = 0; i < notes.size() && i < kMost; ++i) fmt::print("{}\n", notes[i]);
  if (notes.size() > kMost) fmt::print("and {} notes more (--json and --report have all)\n", notes.size() - kMost);
}

// The command line, as a report quotes it.
std::string command_line() {
  std::ifstream file("/proc/self/cmdline", std::ios::binary);
  const std::string words{std::istreambuf_iterator<char>(file), {}};
  std::string out;
  for (std::size_t begin = 0; begin < words.size();) {
    const std::size_t end = std::min(words.find('\0', begin), words.size());
    std::string word = begin == 0 ? "billfish" : words.substr(begin, end - begin);
    if (word.find_first_of(" '\"\\$*?()[]|&;<>") != std::string::npos) word = "'" + word + "'";
    out += (out.empty() ? "" : " ") + word;
    begin = end + 1;
  }
  return out;
}

// A report of work that stopped is worth having; what stopped it is worth more than what goes wrong with the report.
void finish_stopped(QuantizeReport& report, const std::string& reason) {
  try {
    report.finish(reason);
  } catch (const Failure&) {
  }
}

void check_arguments(const Options& options) {
  if (options.in.empty()) fail(kUsage, "IN is missing: a model directory, a .safetensors file or a .npy (see billfish quantize --help)");
  if (options.out.empty() && !options.dry_run) fail(kUsage, "OUT is missing: the directory to write (see billfish quantize --help)");
  if (options.method.empty()) fail(kUsage, "--method is missing: use one of rtn, gptq, awq (see billfish quantize --help)");
  if (options.method != "rtn" && options.method != "gptq" && options.method != "awq")
    fail(kUsage, "--method has the value '{}': use one of rtn, gptq, awq", options.method);
  if (!options.layers.empty() && billfish_tools_match(options.layers.c_str(), "") < 0)
    fail(kUsage, "--layers '{}': {}", options.layers, billfish_last_error());
  std::error_code error;
  if (!options.out.empty() && std::filesystem::equivalent(options.in, options.out, error))
    fail(kUsage, "{} is both input and output: name another output", options.out);
  if (options.method != "rtn" && options.calibration.empty())
    fail(kUsage, "--method {} needs samples of the layers' inputs: --calibration FILE (docs/quantize.md says what is in it)",
         options.method);
}

int run(const Options& options) {
  if (options.demo) {
    if (!options.out.empty() || !options.method.empty() || !options.calibration.empty() || !options.layers.empty() ||
        !options.format.empty() || !options.device.empty() || options.resume || options.dry_run || options.clip) {
      fail(
          kUsage,
          "--demo makes its own model and runs every method: beside it only a folder to keep the files in, --report, --threads and --json");
    }
    return quantize_demo(options.in, options.report, options.threads, options.json);
  }
  check_arguments(options);
  const std::string format = format_of(options);
  if (parse_format(format) == BILLFISH_FORMAT_RAW) fail(kUsage, "--format raw: a checkpoint cannot have it");
  const Pool pool(options.threads);
  billfish_quantize_options matrix = matrix_options(options, format, pool);
  const Device device = options.dry_run ? Device() : quantize_device(options.device);
  matrix.device_kind = device.kind;
  matrix.device_index = device.index;
  std::optional<NpyModel> npy;
  if (is_npy(options.in)) npy.emplace(options.in);
  const std::string in = npy ? npy->path() : options.in;

  Progress progress("quantising", options.json || options.dry_run);
  Context state;
  state.options = &options;
  state.matrix = matrix;
  state.progress = &progress;
  billfish_quantize_model_options library = BILLFISH_QUANTIZE_MODEL_OPTIONS_INIT;
  library.matrix = matrix;
  library.format = format.c_str();
  library.calibration = options.calibration.empty() ? nullptr : options.calibration.c_str();
  if (npy || !options.layers.empty()) library.want_layer = want_layer;
  library.no_fold = options.no_fold ? 1 : 0;
  library.resume = options.resume ? 1 : 0;
  library.skip_unsupported = options.skip_unsupported ? 1 : 0;
  library.dry_run = options.dry_run ? 1 : 0;
  library.progress = show;
  library.layer_planned = layer_planned;
  library.layer_done = layer_done;
  library.user = &state;
  std::optional<QuantizeReport> report;
  billfish_status status = BILLFISH_OK;
  if (!options.report.empty() && !options.dry_run) {
    QuantizeReportFacts facts;
    facts.in = options.in;
    facts.out = options.out;
    facts.command = command_line();
    facts.options = library;
    // Where the input or the samples are not what they should be, no folder is left behind.
    billfish_quantize_model_options trial = library;
    trial.dry_run = 1;
    trial.layer_planned = nullptr;
    trial.layer_done = nullptr;
    status = billfish_quantize_model(in.c_str(), options.out.c_str(), &trial);
    if (status == BILLFISH_OK) {
      report.emplace(options.report, facts);
      state.report = &*report;
    }
  }
  if (!options.dry_run) {
    set_last_words(fmt::format(
        "billfish quantize: interrupted; if layers were finished, they are kept in {}.unfinished, and --resume goes on with them",
        std::filesystem::path(options.out + "/").parent_path().string()));
  }
  if (status == BILLFISH_OK) status = billfish_quantize_model(in.c_str(), options.out.c_str(), &library);
  std::string reason = status == BILLFISH_OK ? "" : billfish_last_error();
  set_last_words("");
  progress.clear();
  if (status != BILLFISH_OK) {
    for (std::size_t at = 0; npy && (at = reason.find(in, at)) != std::string::npos; at += options.in.size())
      reason.replace(at, in.size(), options.in);
    if (report && !state.layers.empty()) finish_stopped(*report, reason);
    if (!options.layers.empty() && !state.any_match && status == BILLFISH_UNSUPPORTED)
      fail(kUsage, "--layers '{}' matches no linear layer of {}; `billfish quantize {} --method rtn --dry-run` lists them", options.layers,
           options.in, options.in);
    fail(exit_of(status), "{}", reason);
  }
  const std::string written = report ? report->finish() : "";
  if (options.json) {
    print_json(document(options, format, device, state, progress.seconds()));
  } else if (options.dry_run) {
    print_plan(state);
  } else {
    print_result(options, device, state, progress.seconds());
    if (!written.empty()) fmt::print("{}\n", written);
  }
  return kOk;
}

}  // namespace

Runner add_quantize(Arguments& arguments) {
  auto options = std::make_shared<Options>();
  arguments.add_option("in", options->in, "A model directory or .safetensors file in f32, f16 or bf16, or one matrix [n,k] in a .npy")
      .value_name("IN");
  arguments.add_option("out", options->out, "The checkpoint directory to write").value_name("OUT");
  arguments.add_option("--method", options->method, "rtn (round to nearest), gptq or awq").value_name("METHOD");
  arguments.add_option("--bits", options->bits, "4 or 8").value_name("BITS").show_default();
  arguments.add_option("--group", options->group, "Codes along K that share a scale: 128, 64, 32, or -1 for one scale a column")
      .value_name("GROUP")
      .show_default();
  arguments.add_flag("--zero-points", options->zero_points, "Store zero points; the AWQ format has them unless told otherwise");
  arguments.add_flag("--no-zero-points", options->symmetric, "Symmetric codes, also in the AWQ format");
  arguments
      .add_option("--act-order", options->act_order,
                  "GPTQ's order of rows: static, the default, group or none; no trace of it is left at run time")
      .value_name("ORDER");
  arguments.add_flag("--clip", options->clip, "Look for smaller ranges that make the error smaller");
  arguments.add_option("--calibration", options->calibration, "Samples of the layers' inputs, a safetensors file").value_name("FILE");
  arguments.add_option("--layers", options->layers, "Only linear layers whose name matches; the others are copied as they are")
      .value_name("REGEX");
  arguments
      .add_option("--format", options->format,
                  "marlin, gptq, gptq_v2, awq or compressed-tensors; if not given awq for 4-bit AWQ, else gptq, with zero points gptq_v2")
      .value_name("FORMAT");
  arguments.add_option("--scale-type", options->scale_type, "f16, bf16 or f32").value_name("TYPE").show_default();
  arguments
      .add_option("--damping", options->damping, "GPTQ: this part of the mean diagonal is added to it; 0: 0.01, raised where it must be")
      .value_name("PART");
  arguments.add_option("--report", options->report, "Write a report with pictures into this folder").value_name("DIR");
  arguments.add_option("--seed", options->seed, "Draws the tokens that AWQ's search looks at").value_name("SEED").show_default();
  arguments.add_flag("--resume", options->resume, "Go on with what an interrupted run has finished");
  arguments.add_flag("--no-fold", options->no_fold,
                     "AWQ: quantise layers without scales where they cannot be folded into what comes before");
  arguments.add_flag("--skip-unsupported", options->skip_unsupported, "Copy layers that the format cannot hold instead of failing");
  arguments.add_flag("--dry-run", options->dry_run, "Say what would become of every matrix, and write nothing");
  arguments.add_flag("--demo", options->demo, "Quantise a small model that is made on the spot, by all methods");
  add_device_option(arguments, options->device);
  add_threads_option(arguments, options->threads);
  add_json_flag(arguments, options->json);
  arguments.footer(
      "Example:\n  billfish quantize my-model my-model-4bit --method rtn\n"
      "  billfish quantize my-model my-model-gptq --method gptq --clip --calibration samples.safetensors --report report\n"
      "  billfish quantize --demo");
  return [options] { return run(*options); };
}

}  // namespace billfish::cli
