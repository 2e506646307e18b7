// SPDX-License-Identifier: Apache-2.0
// `billfish quantize --demo`: makes a small model and samples of what goes into its layers, quantises it by all three methods as the
// command does, multiplies with what was written, and holds that against the original's outputs, the report's numbers and the oracle.
#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <deque>
#include <filesystem>
#include <map>
#include <optional>

#include "billfish/billfish_tools.h"
#include "errors.hpp"
#include "files.hpp"
#include "json.hpp"
#include "library.hpp"
#include "product.hpp"
#include "quantize_demo_model.hpp"
#include "quantize_report.hpp"
#include "quantize_report_data.hpp"
#include "quantize_report_style.hpp"
#include "text.hpp"

namespace billfish::cli {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kBlocks = 2, kHidden = 512, kInner = 1024, kVocabulary = 512, kGroup = 128;
constexpr std::int64_t kTokens = 4096, kHeldOut = kTokens / 8;  // the last eighth of a calibration file is kept aside
constexpr double kAgreement = 0.01;  // relative difference between the error that was reported and that of the written checkpoint: both
                                     // are sums of f32 products in their own order, far closer than this
constexpr const char* kReportFolder = "quantize-demo-report";

struct DemoLayer {
  std::string name, input;  // input: the layer under whose name its samples lie
  std::int64_t n = 0, k = 0;
  std::vector<float> outputs;  // of the original, on the samples kept aside: [kHeldOut, n]
};

// One method's run.
struct Run {
  std::string method;
  std::vector<LayerNumbers> layers;
  std::map<std::string, std::vector<float>> scales;  // AWQ's
  QuantizeReport* report = nullptr;
  double seconds = 0, written_error = 0;  // written_error: geometric mean over layers, from the checkpoint's products
  std::int64_t bytes = 0;
  bool agrees = true, right = true;  // with the report; with the oracle
};

class Demo {
 public:
  Demo(const std::string& out, const std::string& report, int threads, bool json)
      : pool_(threads), start_(billfish_tools_now()), report_(report.empty() ? kReportFolder : report), kept_(!out.empty()), json_(json) {
    if (out.empty()) {
      temporary_.emplace();
      folder_ = temporary_->path();
      return;
    }
    std::error_code error;
    if (fs::exists(out, error) && !(fs::is_directory(out, error) && fs::is_empty(out, error))) {
      fail(kUsage, "--demo {}: it is there and not an empty folder: name another", out);
    }
    fs::create_directories(out, error);
    if (error) fail(kBadInput, "--demo {}: cannot make this folder: {}", out, error.message());
    folder_ = out;
  }

  int run() {
    begin_report();
    make();
    for (const char* method : {"rtn", "gptq", "awq"}) {
      runs_.push_back({});
      quantize(method, runs_.back());
      verify(runs_.back());
    }
    finish();
    const bool passed = std::all_of(runs_.begin(), runs_.end(), [](const Run& run) { return run.agrees && run.right; });
    return passed ? kOk : kCheckFailed;
  }

 private:
  std::string model() const { return folder_ + "/model"; }
  std::string calibration() const { return folder_ + "/calibration.safetensors"; }

  void say(const std::string& line) const {
    if (json_) return;
    fmt::print("{}\n", line);
    std::fflush(stdout);
  }

  // An unwritable folder, or another program's report, is found before any work.
  void begin_report() {
    begin_report_folder(report_);
    write_report("");
  }

  void make() {
    std::deque<HalfTensor> tensors, samples;
    std::map<std::string, std::string> same;
    std::uint64_t seed = 1;
    const auto plain = [&](const std::string& name, std::int64_t rows, std::int64_t columns) {
      tensors.push_back({name, {rows, columns}, to_f16(made_weights(rows, columns, seed++))});
    };
    const auto norm = [&](const std::string& name) {
      tensors.push_back({name, {kHidden}, to_f16(std::vector<float>(static_cast<std::size_t>(kHidden), 1.0f))});
    };
    plain("model.embed_tokens.weight", kVocabulary, kHidden);
    for (std::int64_t b = 0; b < kBlocks; ++b) {
      const std::string block = fmt::format("model.layers.{}.", b);
      norm(block + "input_layernorm.weight");
      norm(block + "post_attention_layernorm.weight");
      struct Row {
        const char *name, *input;
        std::int64_t n, k;
      };
      for (const Row& row :
           {Row{"self_attn.q_proj", "self_attn.q_proj", kHidden, kHidden}, Row{"self_attn.k_proj", "self_attn.q_proj", kHidden, kHidden},
            Row{"self_attn.v_proj", "self_attn.q_proj", kHidden, kHidden}, Row{"self_attn.o_proj", "self_attn.o_proj", kHidden, kHidden},
            Row{"mlp.gate_proj", "mlp.gate_proj", kInner, kHidden}, Row{"mlp.up_proj", "mlp.gate_proj", kInner, kHidden},
            Row{"mlp.down_proj", "mlp.down_proj", kHidden, kInner}}) {
        const DemoLayer& layer = layers_.emplace_back(DemoLayer{block + row.name, block + row.input, row.n, row.k, {}});
        plain(layer.name + ".weight", row.n, row.k);
        if (layer.name != layer.input) {
          same[layer.name] = layer.input;
        } else {
          samples.push_back(
              {layer.name + ".X", {kTokens, row.k}, to_f16(made_inputs(kTokens, row.k, std::string(row.name) == "mlp.down_proj", seed++))});
          held_out_[layer.name] = to_f32(samples.back().halves.data() + (kTokens - kHeldOut) * row.k, kHeldOut * row.k);
        }
        weights_ += row.n * row.k;
        const std::vector<float> rounded = to_f32(tensors.back().halves.data(), row.n * row.k);
        layers_.back().outputs = product_of_original(rounded, row.n, row.k, held_out_.at(layer.input));
      }
    }
    norm("model.norm.weight");
    plain("lm_head.weight", kVocabulary, kHidden);
    std::error_code error;
    fs::create_directories(model(), error);
    if (error) fail(kBadInput, "{}: cannot make this folder: {}", model(), error.message());
    write_safetensors(model() + "/model.safetensors", tensors, {{"format", "pt"}});
    write_safetensors(calibration(), samples, {{"same_input", text_of_json(same)}});
    const Json config = {{"architectures", {"LlamaForCausalLM"}},
                         {"model_type", "llama"},
                         {"hidden_size", kHidden},
                         {"intermediate_size", kInner},
                         {"num_hidden_layers", kBlocks},
                         {"num_attention_heads", 8},
                         {"num_key_value_heads", 8},
                         {"vocab_size", kVocabulary},
                         {"hidden_act", "silu"},
                         {"rms_norm_eps", 1e-6},
                         {"tie_word_embeddings", false},
                         {"torch_dtype", "float16"}};
    const std::string text = text_of_json(config, 2) + "\n";
    OutputFile file(model() + "/config.json");
    file.write(text.data(), text.size());
    file.commit();
    say(fmt::format(
        "made      a model of {} blocks, {} linear layers, {:.1f} million weights in f16, and {} samples of every layer's inputs", kBlocks,
        layers_.size(), static_cast<double>(weights_) / 1e6, kTokens));
  }

  std::vector<float> product_of_original(const std::vector<float>& weights, std::int64_t n, std::int64_t k, const std::vector<float>& x) {
    std::vector<float> across(weights.size()), y(static_cast<std::size_t>(kHeldOut * n));
    for (std::int64_t i = 0; i < n; ++i) {
      for (std::int64_t j = 0; j < k; ++j) across[static_cast<std::size_t>(j * n + i)] = weights[static_cast<std::size_t>(i * k + j)];
    }
    billfish_dense* dense = nullptr;
    check(billfish_tools_dense_create(across.data(), k, n, BILLFISH_PRECISION_FULL, &dense));
    const billfish_status status = billfish_tools_dense_multiply(dense, x.data(), kHeldOut, y.data(), pool_.parallel());
    billfish_tools_dense_free(dense);
    check(status);
    return y;
  }

  static void layer_done(void* user, const billfish_quantize_layer* layer) {
    Run& run = *static_cast<Run*>(user);
    billfish_quantize_layer numbers = *layer;  // its matrices are the report's business
    numbers.weights = nullptr;
    run.layers.push_back(numbers_of(numbers, {}, false));
    if (layer->awq_scales != nullptr) run.scales[layer->name].assign(layer->awq_scales, layer->awq_scales + layer->k);
    if (run.report != nullptr) run.report->add(*layer);
  }
  static void layer_planned(void* user, const char* layer, std::int64_t n, std::int64_t k, const char* left) {
    if (Run& run = *static_cast<Run*>(user); run.report != nullptr) run.report->plan(layer, n, k, left);
  }

  void quantize(const std::string& method, Run& run) {
    run.method = method;
    const std::string out = folder_ + "/" + method, samples = calibration();
    billfish_quantize_model_options options = BILLFISH_QUANTIZE_MODEL_OPTIONS_INIT;
    options.matrix.method = method == "gptq" ? BILLFISH_QUANTIZE_GPTQ : method == "awq" ? BILLFISH_QUANTIZE_AWQ : BILLFISH_QUANTIZE_RTN;
    options.matrix.group = kGroup;
    options.matrix.parallel = pool_.parallel();
    options.format = "gptq";  // one grid for all three: symmetric codes of 4 bits
    options.calibration = samples.c_str();
    options.layer_done = layer_done;
    options.layer_planned = layer_planned;
    options.user = &run;
    QuantizeReportFacts facts{
        model(), out, fmt::format("billfish quantize {} {} --method {} --calibration {} --format gptq", model(), out, method, samples),
        options};
    QuantizeReport report(report_ + "/" + method, facts);
    run.report = &report;
    const double start = billfish_tools_now();
    check(billfish_quantize_model(model().c_str(), out.c_str(), &options), method);
    for (const LayerNumbers& layer : run.layers) {
      run.seconds += layer.seconds;
      run.bytes += layer.bytes_after;
    }
    say(fmt::format("{:<8}  {} layers in {}; {}", method, run.layers.size(), seconds_text(billfish_tools_now() - start), report.finish()));
    run.report = nullptr;
  }

  // Products of the written checkpoint on the samples kept aside, and against the oracle.
  void verify(Run& run) {
    const Checkpoint checkpoint(folder_ + "/" + run.method);
    ProductOptions options;
    options.device = {BILLFISH_CPU, 0};
    options.a_type = BILLFISH_F32;
    options.c_type = BILLFISH_F32;
    options.parallel = pool_.parallel();
    double logs = 0;
    for (const DemoLayer& layer : layers_) {
      const PackedLayer packed(checkpoint.load(checkpoint.find(layer.name)), pool_.parallel(), layer.name);
      const double error = written_error(run, layer, packed, options);
      logs += std::log(error);
      const auto reported =
          std::find_if(run.layers.begin(), run.layers.end(), [&](const LayerNumbers& one) { return one.name == layer.name; });
      if (reported == run.layers.end() || !(std::abs(error / reported->held_out_error - 1) < kAgreement)) run.agrees = false;
      const auto a = random_activations(4, layer.k, options.a_type, 7);
      std::vector<float> c(static_cast<std::size_t>(4 * layer.n));
      Product(packed, options).run(a.data(), 4, c.data());
      if (!compare_with_oracle(packed, options, a.data(), 4, c.data(), 0, layer.n).passed) run.right = false;
    }
    run.written_error = std::exp(logs / static_cast<double>(layers_.size()));
  }

  // AWQ: the layer's input comes divided by its scales, and its outputs go out divided by those of the layer behind it.
  double written_error(const Run& run, const DemoLayer& layer, const PackedLayer& packed, const ProductOptions& options) const {
    std::vector<float> x = held_out_.at(layer.input), y(layer.outputs.size());
    if (const auto scales = run.scales.find(layer.name); scales != run.scales.end()) {
      for (std::size_t i = 0; i < x.size(); ++i) x[i] /= scales->second[i % static_cast<std::size_t>(layer.k)];
    }
    Product(packed, options).run(x.data(), kHeldOut, y.data());
    std::string behind = layer.name;
    for (const auto& [from, to] : {std::pair("v_proj", "o_proj"), std::pair("up_proj", "down_proj")}) {
      if (const std::size_t at = layer.name.find(from); at != std::string::npos) behind.replace(at, std::string::npos, to);
    }
    const auto divided = behind == layer.name ? run.scales.end() : run.scales.find(behind);
    double error = 0, size = 0;
    for (std::size_t i = 0; i < y.size(); ++i) {
      const double value = divided == run.scales.end() ? y[i] : y[i] * divided->second[i % static_cast<std::size_t>(layer.n)];
      error += (value - layer.outputs[i]) * (value - layer.outputs[i]);
      size += static_cast<double>(layer.outputs[i]) * layer.outputs[i];
    }
    return std::sqrt(error / size);
  }

  template <class Value>
  static double mean_of(const Run& run, Value value) {  // geometric
    double sum = 0;
    for (const LayerNumbers& layer : run.layers) sum += std::log(value(layer));
    return std::exp(sum / static_cast<double>(run.layers.size()));
  }

  std::vector<std::vector<std::string>> rows() const {
    std::vector<std::vector<std::string>> table = {
        {"method", "error of weights", "of outputs", "on samples kept aside", "from the file", "cosine", "memory", "time", "oracle"}};
    for (const Run& run : runs_) {
      double cosine = 0;
      for (const LayerNumbers& layer : run.layers) cosine += layer.held_out_cosine / static_cast<double>(run.layers.size());
      const auto share = [](double error) { return fmt::format("{:.4f}", error); };
      table.push_back({run.method, share(mean_of(run, [](const LayerNumbers& layer) { return layer.weight_error; })),
                       share(mean_of(run, [](const LayerNumbers& layer) { return layer.output_error; })),
                       share(mean_of(run, [](const LayerNumbers& layer) { return layer.held_out_error; })),
                       share(run.written_error) + (run.agrees ? "" : " DIFFERS"), fmt::format("{:.5f}", cosine),
                       bytes_text(static_cast<double>(run.bytes)), seconds_text(run.seconds), run.right ? "right" : "WRONG"});
    }
    return table;
  }

  void write_report(const std::string& picture) const {
    std::string text = fmt::format("{}\n# The quantising demo\n\n", kReportMark);
    if (runs_.size() < 3) {
      text += "**Not complete:** quantising was still under way.\n";
    } else {
      text += fmt::format(
          "A model of {} linear layers and {:.1f} million weights, made on the spot with outliers as trained models have them, in 4 bits "
          "and groups of {}. "
          "Errors are relative, geometric means over the layers; \"from the file\" is the error of products with the checkpoint that was "
          "written, on the samples kept "
          "aside; cosine is that of outputs, on the same samples.\n\n",
          layers_.size(), static_cast<double>(weights_) / 1e6, kGroup);
      const auto table = rows();
      for (std::size_t r = 0; r < table.size(); ++r) {
        text += "|";
        for (const std::string& cell : table[r]) text += " " + cell + " |";
        text += r == 0 ? "\n|" : "\n";
        for (std::size_t c = 0; r == 0 && c < table[0].size(); ++c) text += "---|";
        if (r == 0) text += "\n";
      }
      text += fmt::format("\nIn f16 these layers take {}.\n\n{}", bytes_text(2.0 * static_cast<double>(weights_)), picture);
      for (const Run& run : runs_) text += fmt::format("* [{0}]({0}/report.md)\n", run.method);
    }
    OutputFile file(report_ + "/report.md");
    file.write(text.data(), text.size());
    file.commit();
  }

  // Where the methods stand, layer by layer. Without gnuplot the table must do.
  std::string draw() const {
    ReportData data;
    data.caption = fmt::format("demo model, 4 bits, groups of {}", kGroup);
    data.layers = runs_[0].layers;
    std::vector<std::pair<std::string, const std::vector<LayerNumbers>*>> methods;
    for (const Run& run : runs_) methods.emplace_back(run.method, &run.layers);
    PictureSize size;
    const std::string script = methods_script(data, methods, size);
    try {
      draw_with_gnuplot(script, report_, "methods", size);
    } catch (const Failure& failure) {
      if (failure.code() != kUnsupported) throw;
      return fmt::format("No picture: {}\n\n", failure.what());
    }
    return "![error of every layer by method](methods.svg)\n\n";
  }

  void finish() {
    write_report(draw());
    const double seconds = billfish_tools_now() - start_;
    if (json_) {
      Json list = Json::array();
      for (const Run& run : runs_) {
        list.push_back({{"method", run.method},
                        {"weight_error", mean_of(run, [](const LayerNumbers& layer) { return layer.weight_error; })},
                        {"output_error", mean_of(run, [](const LayerNumbers& layer) { return layer.output_error; })},
                        {"held_out_error", mean_of(run, [](const LayerNumbers& layer) { return layer.held_out_error; })},
                        {"written_error", run.written_error},
                        {"agrees", run.agrees},
                        {"oracle", run.right},
                        {"bytes", run.bytes},
                        {"seconds", run.seconds}});
      }
      print_json({{"schema", 1}, {"methods", list}, {"bytes_f16", 2 * weights_}, {"report", report_ + "/report.md"}, {"seconds", seconds}});
      return;
    }
    const auto lines = rows();
    Table table(lines[0]);
    for (std::size_t i = 1; i < lines.size(); ++i) table.add(lines[i]);
    say("\n" + table.text());
    const bool passed = std::all_of(runs_.begin(), runs_.end(), [](const Run& run) { return run.agrees && run.right; });
    say(fmt::format("In f16 these layers take {}. Report: {}/report.md{}. {} in {}.", bytes_text(2.0 * static_cast<double>(weights_)),
                    report_, kept_ ? fmt::format("; model, samples and checkpoints: {}", folder_) : "",
                    passed ? "Everything was right" : "SOMETHING WAS WRONG", seconds_text(seconds)));
  }

  Pool pool_;
  double start_;
  std::string report_, folder_;
  bool kept_, json_;
  std::optional<TemporaryFolder> temporary_;
  std::deque<DemoLayer> layers_;
  std::map<std::string, std::vector<float>> held_out_;  // by the layer under whose name they lie
  std::int64_t weights_ = 0;
  std::deque<Run> runs_;
};

}  // namespace

int quantize_demo(const std::string& out, const std::string& report, int threads, bool json) {
  return Demo(out, report, threads, json).run();
}

}  // namespace billfish::cli
