// SPDX-License-Identifier: Apache-2.0
// Layer shapes from text files: one "K N label" a line, "#" begins a comment (bench/README.md).
#include "bench_shapes.hpp"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <sstream>

#include "errors.hpp"
#include "files.hpp"

namespace billfish::cli {
namespace {

namespace fs = std::filesystem;

std::string text_of_file(const std::string& path) {
  const std::vector<std::byte> bytes = read_file(path);
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

bool is_side(std::int64_t side) { return side >= 1 && side <= kLargestSide; }

std::vector<fs::path> bench_folders() {
  std::vector<fs::path> folders;
  if (const char* folder = std::getenv("BILLFISH_BENCH"); folder != nullptr) folders.emplace_back(folder);
  folders.emplace_back("bench");
  std::error_code error;
  const fs::path program = fs::read_symlink("/proc/self/exe", error);
  if (!error) {
    const fs::path prefix = program.parent_path().parent_path();
    folders.push_back(prefix.parent_path() / "bench");  // <source>/build/bin/billfish
    folders.push_back(prefix / "share/billfish/bench");
  }
  return folders;
}

std::string joined(const std::vector<std::int64_t>& numbers) {
  std::string text;
  for (const std::int64_t number : numbers) text += (text.empty() ? "TP" : ", TP") + std::to_string(number);
  return text;
}

}  // namespace

std::vector<BenchShape> parse_shapes(const std::string& text, const std::string& path) {
  std::istringstream lines(text);
  std::vector<BenchShape> shapes;
  std::string line;
  for (std::int64_t number = 1; std::getline(lines, line); ++number) {
    std::istringstream words(line.substr(0, line.find('#')));
    if ((words >> std::ws).eof()) continue;
    BenchShape shape;
    const auto cut_short = [&words] {
      return words.peek() != std::istringstream::traits_type::eof() && words.peek() != ' ' && words.peek() != '\t' && words.peek() != '\r';
    };
    if (!(words >> shape.k >> shape.n) || cut_short() || !is_side(shape.k) || !is_side(shape.n)) {
      fail(kBadInput, "{}:{}: '{}' is no shape: write \"K N label\", two whole numbers from 1 to {} and words", path, number, line,
           kLargestSide);
    }
    std::getline(words >> std::ws, shape.label);
    if (shape.label.empty()) shape.label = fmt::format("{} x {}", shape.k, shape.n);
    shapes.push_back(shape);
  }
  if (shapes.empty()) fail(kBadInput, "{}: no shapes in it: write \"K N label\" lines", path);
  return shapes;
}

Model parse_model(const std::string& text, const std::string& path) {
  std::istringstream lines(text);
  Model model;
  std::string line;
  for (std::int64_t number = 1; std::getline(lines, line); ++number) {
    std::istringstream words(line.substr(0, line.find('#')));
    std::string first;
    if (!(words >> first)) continue;
    if (first == "tp") {
      while (!(words >> std::ws).eof()) {
        std::int64_t degree = 0;
        if (!(words >> degree) || degree < 1 || degree > kMostDegree) {
          fail(kBadInput, "{}:{}: '{}' is no list of degrees: write \"tp 1 2 4\", whole numbers from 1 to {}", path, number, line,
               kMostDegree);
        }
        model.degrees.push_back(degree);
      }
      continue;
    }
    Model::Layer layer;
    std::istringstream again(words.str());
    std::string split;
    if (!(again >> layer.shape.k >> layer.shape.n >> split) || !is_side(layer.shape.k) || !is_side(layer.shape.n) ||
        (split != "n" && split != "k")) {
      fail(kBadInput, "{}:{}: '{}' is no layer: write \"K N n label\" or \"K N k label\", K and N from 1 to {}", path, number, line,
           kLargestSide);
    }
    layer.split = split[0];
    std::getline(again >> std::ws, layer.shape.label);
    model.layers.push_back(layer);
  }
  if (model.degrees.empty() || model.layers.empty()) fail(kBadInput, "{}: no layers, or no line \"tp 1 2 ...\"", path);
  return model;
}

std::vector<BenchShape> shared_out(const Model& model, std::int64_t degree, const std::string& word) {
  if (std::find(model.degrees.begin(), model.degrees.end(), degree) == model.degrees.end()) {
    fail(kBadInput, "--models {}: this model is shared out as {}", word, joined(model.degrees));
  }
  std::vector<BenchShape> shapes;
  for (const Model::Layer& layer : model.layers) {
    BenchShape shape = layer.shape;
    std::int64_t& side = layer.split == 'n' ? shape.n : shape.k;
    if (side % degree != 0) fail(kBadInput, "--models {}: {} is no multiple of {}", word, side, degree);
    side /= degree;
    shapes.push_back(shape);
  }
  return shapes;
}

std::string find_bench_file(const std::string& name) {
  std::error_code error;
  for (const fs::path& folder : bench_folders()) {
    if (fs::is_regular_file(folder / name, error)) return (folder / name).string();
  }
  return {};
}

std::string find_bench_folder(const std::string& name) {
  std::error_code error;
  for (const fs::path& folder : bench_folders()) {
    if (fs::is_directory(folder / name, error)) return (folder / name).string();
  }
  return {};
}

std::vector<BenchShape> read_models(const std::vector<std::string>& words) {
  std::vector<BenchShape> shapes;
  for (const std::string& word : words) {
    std::string name = word;
    std::int64_t degree = 1;
    if (const std::size_t at = word.rfind("/TP"); at != std::string::npos) {
      const std::string digits = word.substr(at + 3);
      if (digits.empty() || digits.size() > 4 || digits.find_first_not_of("0123456789") != std::string::npos) {
        fail(kUsage, "--models {}: after /TP comes a number", word);
      }
      name = word.substr(0, at);
      degree = std::stoll(digits);
    }
    const std::string path = name.find("..") == std::string::npos ? find_bench_file("shapes/models/" + name + ".txt") : "";
    if (path.empty()) fail(kBadInput, "--models {}: no such model: `billfish bench --models list` names those there are", word);
    for (BenchShape& shape : shared_out(parse_model(text_of_file(path), path), degree, word)) {
      shape.label = name.substr(name.rfind('/') + 1) + " " + shape.label;
      shapes.push_back(std::move(shape));
    }
  }
  return shapes;
}

std::string list_models() {
  const std::string folder = find_bench_folder("shapes/models");
  if (folder.empty()) fail(kBadInput, "--models: no folder bench/shapes/models (set BILLFISH_BENCH to the folder bench)");
  std::vector<std::string> lines;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    if (entry.path().extension() != ".txt") continue;
    const Model model = parse_model(text_of_file(entry.path().string()), entry.path().string());
    const std::string name = fs::relative(entry.path(), folder).replace_extension().string();
    std::string text = fmt::format("{:48} {}\n", name, joined(model.degrees));
    for (const Model::Layer& layer : model.layers)
      text += fmt::format("    {:>6} x {:<6} {}\n", layer.shape.k, layer.shape.n, layer.shape.label);
    lines.push_back(text);
  }
  std::sort(lines.begin(), lines.end());
  std::string text;
  for (const std::string& line : lines) text += line;
  return text;
}

std::vector<BenchShape> read_shapes(const std::vector<std::string>& words) {
  std::vector<BenchShape> shapes;
  for (const std::string& word : words) {
    std::error_code error;
    std::string path = fs::is_regular_file(word, error) ? word : find_bench_file("shapes/" + word + ".txt");
    if (path.empty()) {
      fail(kBadInput, "--shapes {}: no such file, and no bench/shapes/{}.txt (set BILLFISH_BENCH to the folder bench)", word, word);
    }
    for (BenchShape& shape : parse_shapes(text_of_file(path), path)) shapes.push_back(std::move(shape));
  }
  return shapes;
}

}  // namespace billfish::cli
