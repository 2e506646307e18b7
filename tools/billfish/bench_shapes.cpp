// SPDX-License-Identifier: Apache-2.0
// Layer shapes from text files: one "K N label" a line, "#" begins a comment (bench/README.md).
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <sstream>

#include "bench_problem.hpp"
#include "errors.hpp"
#include "files.hpp"

namespace billfish::cli {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kLargest = std::int64_t{1} << 31;

std::vector<BenchShape> parse_shapes(const std::string& path) {
  const std::vector<std::byte> bytes = read_file(path);
  std::istringstream text(std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
  std::vector<BenchShape> shapes;
  std::string line;
  for (int number = 1; std::getline(text, line); ++number) {
    std::istringstream words(line.substr(0, line.find('#')));
    if ((words >> std::ws).eof()) continue;
    BenchShape shape;
    if (!(words >> shape.k >> shape.n) || shape.k < 1 || shape.n < 1 || shape.k > kLargest || shape.n > kLargest) {
      fail(kBadInput, "{}:{}: '{}' is no shape: write \"K N label\", two whole numbers and words", path, number, line);
    }
    std::getline(words >> std::ws, shape.label);
    if (shape.label.empty()) shape.label = fmt::format("{} x {}", shape.k, shape.n);
    shapes.push_back(shape);
  }
  if (shapes.empty()) fail(kBadInput, "{}: no shapes in it: write \"K N label\" lines", path);
  return shapes;
}

}  // namespace

std::string find_bench_file(const std::string& name) {
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
  for (const fs::path& folder : folders) {
    if (fs::is_regular_file(folder / name, error)) return (folder / name).string();
  }
  return {};
}

std::vector<BenchShape> read_shapes(const std::vector<std::string>& words) {
  std::vector<BenchShape> shapes;
  for (const std::string& word : words) {
    std::error_code error;
    std::string path = fs::is_regular_file(word, error) ? word : find_bench_file("shapes/" + word + ".txt");
    if (path.empty()) {
      fail(kBadInput, "--shapes {}: no such file, and no bench/shapes/{}.txt (set BILLFISH_BENCH to the folder bench)", word, word);
    }
    for (BenchShape& shape : parse_shapes(path)) shapes.push_back(std::move(shape));
  }
  return shapes;
}

}  // namespace billfish::cli
