// SPDX-License-Identifier: Apache-2.0
// `billfish gpu benchmark`: square f16 products of cuBLAS against the tensor cores' ceiling, theoretical and measured.
#include <fmt/core.h>

#include <memory>

#include "bench_cublas.hpp"
#include "bench_monitor.hpp"
#include "billfish/billfish_timing.hpp"
#include "errors.hpp"
#include "files.hpp"
#include "gpu.hpp"
#include "gpu_facts.hpp"
#include "lists.hpp"
#include "options.hpp"
#include "svg.hpp"
#include "terminal.hpp"
#include "text.hpp"

namespace billfish::cli {
namespace {

struct Words {
  std::string sizes = "512,1024,2048,4096,8192,16384", device = "cuda", out;
  bool json = false;
};

struct Row {
  std::int64_t size = 0;
  billfish::Timing burst, sustained;
  Conditions conditions;
};

double tflops(std::int64_t size, double seconds) {
  const auto s = static_cast<double>(size);
  return 2 * s * s * s / seconds * 1e-12;
}

Row measure(const Cublas& cublas, Device device, std::int64_t size) {
  Row row;
  row.size = size;
  const std::int64_t bytes = size * size * 2;
  const DeviceBuffer a(device, bytes), w(device, bytes), c(device, bytes);
  check(billfish_tools_cuda_fill_uniform(device.index, a.data(), BILLFISH_F16, size * size, -1.0f, 1.0f, 1, nullptr));
  check(billfish_tools_cuda_fill_uniform(device.index, w.data(), BILLFISH_F16, size * size, -1.0f, 1.0f, 2, nullptr));
  check(billfish_tools_cuda_synchronize(device.index));
  const auto enqueue = [&](std::int64_t, void* stream) {
    return cublas.multiply(a.data(), w.data(), c.data(), size, size, size, BILLFISH_F16, stream) ? BILLFISH_OK : BILLFISH_DEVICE_ERROR;
  };
  billfish::TimingOptions cool, hot;
  cool.warm_seconds = 0;
  cool.seconds = 0.01;
  cool.least = 1;
  hot.warm_seconds = hot.seconds = 0.3;
  settle(device.index);
  row.burst = billfish::time_on_device(device.index, 1, enqueue, cool);
  Monitor monitor(device.index);
  row.sustained = billfish::time_on_device(device.index, 1, enqueue, hot);
  row.conditions = monitor.stop();
  return row;
}

// Not choose_device's words for a machine without a GPU: they advise --device cpu, which this benchmark cannot do.
Device choose_gpu(const std::string& word) {
  const bool cuda = word.empty() || word == "cuda" || word.starts_with("cuda:");
  if (!cuda) fail(kUsage, "--device {}: this benchmark is of a GPU: use cuda or cuda:INDEX", word);
  if (billfish_tools_cuda_devices() == 0) {
    fail(kDevice,
         "no CUDA device that this build of billfish can use: run this on a machine with one; `billfish bench --device cpu` is for CPUs");
  }
  return choose_device(word);
}

int run(const Words& words) {
  const std::vector<std::int64_t> sizes = parse_numbers(words.sizes, "--sizes", 16, 65536);
  const Device device = choose_gpu(words.device);
  const Cublas cublas(device);
  if (!cublas.available()) throw Failure(kDevice, cublas.why_not());
  GpuFacts gpu;
  check(billfish_tools_cuda_facts(device.index, &gpu.facts));
  check(billfish_tools_cuda_figures(device.index, &gpu.figures));
  const double theory = gpu.theory().tensor_tflops, measured = std::max(gpu.figures.wgmma_tflops, gpu.figures.mma_tflops);
  Table table({"size", "us", "TFLOP/s", "first 10 ms", "% of theory", "% of measured", "MHz", "W", "held back by"});
  Json rows = Json::array();
  if (!words.json) {
    fmt::print("{}, cuBLAS {}: f16 with f32 sums; ceiling {:.0f} TFLOP/s in theory, {:.0f} measured with operands at hand\n",
               gpu.facts.name, cublas.version(), theory, measured);
  }
  for (const std::int64_t size : sizes) {
    const Row row = measure(cublas, device, size);
    const double rate = tflops(size, row.sustained.median);
    table.add({std::to_string(size), fmt::format("{:.1f}", row.sustained.median * 1e6), fmt::format("{:.1f}", rate),
               fmt::format("{:.1f}", tflops(size, row.burst.min)), fmt::format("{:.0f}", rate / theory * 100),
               fmt::format("{:.0f}", rate / measured * 100), fmt::format("{:.0f}", row.conditions.clock_mhz),
               fmt::format("{:.0f}", row.conditions.power_w), row.conditions.throttle});
    rows.push_back({{"size", size},
                    {"us_median", row.sustained.median * 1e6},
                    {"samples", row.sustained.samples},
                    {"tflops", rate},
                    {"tflops_burst", tflops(size, row.burst.min)},
                    {"clock_mhz", row.conditions.clock_mhz},
                    {"power_w", row.conditions.power_w},
                    {"throttle", row.conditions.throttle}});
  }
  const Json json = {{"schema", 1},
                     {"device", gpu.facts.name},
                     {"cublas_version", cublas.version()},
                     {"theoretical_tflops", theory},
                     {"measured_tflops", measured},
                     {"rows", rows}};
  words.json ? print_json(json) : fmt::print("{}", table.text());
  if (!words.out.empty()) {
    make_folder(words.out);
    write_picture(words.out + "/benchmark.json", text_of_json(json, 1) + "\n");
  }
  return kOk;
}

}  // namespace

Runner add_gpu_benchmark(Arguments& arguments) {
  auto words = std::make_shared<Words>();
  arguments.add_option("--sizes", words->sizes, "Sides of the products, separated by commas").show_default().value_name("N,...");
  arguments.add_option("--device", words->device, "cuda or cuda:INDEX").show_default().value_name("DEVICE");
  arguments.add_option("--out", words->out, "Folder for benchmark.json").value_name("FOLDER");
  add_json_flag(arguments, words->json);
  arguments.footer("Example:\n  billfish gpu benchmark --sizes 1024,4096,8192");
  return [words] { return run(*words); };
}

}  // namespace billfish::cli
