// SPDX-License-Identifier: Apache-2.0
// A model to quantise, its samples and a journal of unfinished work, from one input: parts separated by lines "== <digit>\n": 0 the model,
// 1 its config.json, 2 the samples (0 and 2 as checkpoint.hpp makes .safetensors files), 3 records of a journal, which get their checksums
// here.
//
// Whatever is accepted is quantised with made-up codes: the result must open as a checkpoint, and nothing may be left beside it.
#pragma once

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "../../fuzz/targets/checkpoint.hpp"
#include "core/half.hpp"
#include "formats/digest.hpp"
#include "formats/quantize_model.hpp"
#include "formats/unfinished.hpp"

namespace billfish::fuzz {

inline std::string with_checksums(std::string_view lines) {
  std::string out;
  while (!lines.empty()) {
    const std::size_t end = std::min(lines.find('\n'), lines.size());
    const std::string_view line = lines.substr(0, end);
    formats::Digest digest;
    digest.add(line);
    char digits[17];
    const auto written = std::to_chars(digits, digits + 16, digest.value(), 16);
    out += line;
    out += ' ';
    out.append(digits, written.ptr);
    out += '\n';
    lines.remove_prefix(std::min(end + 1, lines.size()));
  }
  return out;
}

// Codes of nothing: what the files say decides everything else.
inline formats::QuantizeFunctions pretended() {
  formats::QuantizeFunctions out;
  out.matrix = [](const void* context, const formats::MatrixTask& task, const formats::MatrixParts& parts,
                  formats::MatrixFacts&) -> Status {
    const auto& options = *static_cast<const formats::QuantizeOptions*>(context);
    const std::int64_t scales = ceil_div(task.weights.k, task.group) * task.weights.n;
    std::fill_n(parts.codes, task.weights.n * task.weights.k, std::uint8_t{5});
    if (parts.zeros) std::fill_n(parts.zeros, scales, std::uint8_t{3});
    for (std::int64_t i = 0; i < scales; ++i) store_element(parts.scales, options.scale_type, i, 0.5f);
    return {};
  };
  out.hessian = [](const void*, const formats::InputSamples& samples, std::int64_t k, float* h, std::int64_t& count) -> Status {
    std::fill_n(h, k * k, 1.0f);
    count = samples.tokens;
    return {};
  };
  out.scales = [](const void*, std::int64_t, const std::vector<formats::FloatMatrix>& weights,
                  const formats::InputSamples&) -> Result<formats::ChannelScales> {
    return formats::ChannelScales{std::vector<float>(static_cast<std::size_t>(weights[0].k), 2.0f), {1.0, 0.5}, 1};
  };
  out.compare = [](const void*, const formats::FloatMatrix&, const formats::FloatMatrix&,
                   const formats::InputSamples&) -> Result<formats::OutputsCompared> {
    return formats::OutputsCompared{0.1, 0.9};
  };
  return out;
}

// Whether a checkpoint came out.
inline bool quantize(const std::uint8_t* data, std::size_t size) {
  static const Folder folder, work;
  folder.clear();
  work.clear();
  bool samples = false;
  std::string_view rest(reinterpret_cast<const char*>(data), size);
  while (rest.starts_with("== ") && rest.size() >= 5) {
    const unsigned choice = static_cast<unsigned char>(rest[3]) % 4u;
    rest.remove_prefix(5);
    const std::size_t end = std::min(rest.find("== "), rest.size());
    const std::string_view content = rest.substr(0, end);
    if (choice == 0) folder.write("model.safetensors", tensor_file(content));
    if (choice == 1) folder.write("config.json", content);
    if (choice == 2) work.write("samples.safetensors", tensor_file(content));
    samples = samples || choice == 2;
    if (choice == 3) {
      std::filesystem::create_directory(work / "other.unfinished");
      work.write("other.unfinished/journal", with_checksums("billfish-journal 1 it\n" + std::string(content)));
      formats::UnfinishedWork unfinished;
      if (unfinished.begin(work / "other", "it", true).ok()) unfinished.remove();
    }
    rest.remove_prefix(end);
  }
  formats::QuantizeOptions options;
  options.functions = pretended();
  options.functions.context = &options;
  options.convert.functions = {[](const QuantizedMatrix& matrix) -> Result<formats::PackedBytes> {
                                 const auto sizes = pack::packed_sizes(matrix);
                                 if (!sizes.ok()) return sizes.status();
                                 if (sizes->codes + sizes->scales > kLargestLayer) return unsupported("larger than this target likes");
                                 return formats::PackedBytes{sizes->codes, sizes->scales, sizes->zeros,
                                                             sizes->perm,  sizes->g_idx,  sizes->bias};
                               },
                               pack::pack, pack::unpack};
  options.convert.skip_unsupported = true;
  options.no_fold = size % 2 == 0;
  options.type = size % 3 == 0 ? WeightType::u4 : WeightType::u4b8;
  options.format = size % 3 == 0 ? "awq" : size % 3 == 1 ? "gptq" : "compressed-tensors";
  options.group = size % 5 == 0 ? -1 : 32;
  options.method = !samples        ? formats::QuantizeMethod::nearest
                   : size % 2 == 0 ? formats::QuantizeMethod::awq
                                   : formats::QuantizeMethod::gptq;
  if (samples) options.calibration = work / "samples.safetensors";
  options.layer_done = [](void*, const formats::QuantizedLayer&, void*) {};
  const Status made = formats::quantize_model(folder.path(), work / "out", options);
  if (!made.ok() && made.message().empty()) __builtin_trap();
  if (std::filesystem::exists(work / "out.unfinished")) __builtin_trap();
  if (!made.ok()) return false;
  const auto opened = formats::OpenCheckpoint::open(work / "out");
  if (!opened.ok() || (*opened)->layers().empty()) __builtin_trap();
  return true;
}

}  // namespace billfish::fuzz
