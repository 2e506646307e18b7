// SPDX-License-Identifier: Apache-2.0
// `billfish gpu monitor`: the state of a device over time, as a live line and as CSV. Only reads counters: a running job is not disturbed.
#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <memory>
#include <thread>
#include <vector>

#include "billfish/billfish_tools.h"
#include "errors.hpp"
#include "gpu.hpp"
#include "terminal.hpp"
#include "text.hpp"

namespace billfish::cli {
namespace {

constexpr std::size_t kLiveCells = 32;

struct Words {
  double seconds = 0;
  int interval = 200, device = 0;
  std::string out;
};

// Written as it comes, so that what was seen before an interruption is there.
class CsvFile {
 public:
  explicit CsvFile(const std::string& path) : path_(path) {
    if (path.empty()) return;
    file_ = std::fopen(path.c_str(), "w");
    if (file_ == nullptr) fail(kBadInput, "--out {}: cannot write this file: {}", path, system_error());
    write("seconds,busy_percent,memory_busy_percent,memory_used_bytes,clock_mhz,memory_clock_mhz,power_w,temperature_c,throttle\n");
  }
  CsvFile(const CsvFile&) = delete;
  CsvFile& operator=(const CsvFile&) = delete;
  ~CsvFile() {
    if (file_ != nullptr) std::fclose(file_);
  }
  void write(const std::string& text) {
    if (file_ == nullptr) return;
    if (std::fputs(text.c_str(), file_) < 0 || std::fflush(file_) != 0) fail(kBadInput, "--out {}: {}", path_, system_error());
  }

 private:
  std::string path_;
  std::FILE* file_ = nullptr;
};

std::string reasons_of(std::uint64_t mask) {
  char text[256] = "";
  check(billfish_tools_cuda_throttle_text(mask, text, sizeof text));
  return text;
}

struct Series {
  const char* name;
  const char* unit;
  double billfish_cuda_telemetry::*member;
  double low, high;  // of the picture; high 0: the largest seen
};
constexpr Series kSeries[] = {
    {"use", "%", &billfish_cuda_telemetry::busy_percent, 0, 100},
    {"memory use", "%", &billfish_cuda_telemetry::memory_busy_percent, 0, 100},
    {"memory", "B", &billfish_cuda_telemetry::memory_used, 0, 0},
    {"clock", "MHz", &billfish_cuda_telemetry::clock_mhz, 0, 0},
    {"power", "W", &billfish_cuda_telemetry::power_w, 0, 0},
    {"temperature", "C", &billfish_cuda_telemetry::temperature_c, 0, 0},
};

std::vector<double> values_of(const std::vector<billfish_cuda_telemetry>& samples, const Series& series, std::size_t most) {
  std::vector<double> values;
  const std::size_t step = std::max<std::size_t>(1, (samples.size() + most - 1) / most);
  for (std::size_t begin = 0; begin < samples.size(); begin += step) {
    double sum = 0;
    const std::size_t end = std::min(samples.size(), begin + step);
    for (std::size_t i = begin; i < end; ++i) sum += samples[i].*series.member;
    values.push_back(sum / static_cast<double>(end - begin));
  }
  return values;
}

void print_summary(const std::vector<billfish_cuda_telemetry>& samples) {
  Table table({"", "lowest", "mean", "highest", "over time"});
  for (const Series& series : kSeries) {
    double low = samples[0].*series.member, high = low, sum = 0;
    for (const auto& sample : samples) {
      low = std::min(low, sample.*series.member);
      high = std::max(high, sample.*series.member);
      sum += sample.*series.member;
    }
    const auto text = [&](double value) { return *series.unit == 'B' ? bytes_text(value) : fmt::format("{:.0f} {}", value, series.unit); };
    table.add({series.name, text(low), text(sum / static_cast<double>(samples.size())), text(high),
               sparkline(values_of(samples, series, 60), series.low, series.high > 0 ? series.high : std::max(high, 1.0))});
  }
  fmt::print("{}", table.text());
  std::uint64_t mask = 0;
  for (const auto& sample : samples) mask |= sample.throttle;
  const std::string reasons = reasons_of(mask);
  fmt::print("{} samples; clocks were held back by: {}\n", samples.size(), reasons.empty() ? "nothing" : reasons);
}

int run(const Words& words) {
  using Clock = std::chrono::steady_clock;
  if (!(words.seconds > 0 && words.seconds <= 1e6)) fail(kUsage, "SECONDS has the value {}: more than 0 is needed", words.seconds);
  billfish_cuda_facts facts = BILLFISH_CUDA_FACTS_INIT;
  check(billfish_tools_cuda_facts(words.device, &facts));
  billfish_cuda_telemetry now = BILLFISH_CUDA_TELEMETRY_INIT;
  check(billfish_tools_cuda_telemetry(words.device, &now));
  if (!now.known) fail(kDevice, "the driver's management library libnvidia-ml.so.1 cannot be used here: nothing to watch");
  CsvFile csv(words.out);
  std::vector<billfish_cuda_telemetry> samples, live;
  const Clock::time_point start = Clock::now();
  const auto interval = std::chrono::milliseconds(words.interval);
  for (Clock::time_point next = start;; next += interval) {
    std::this_thread::sleep_until(next);
    const double elapsed = std::chrono::duration<double>(Clock::now() - start).count();
    if (elapsed > words.seconds && !samples.empty()) break;
    check(billfish_tools_cuda_telemetry(words.device, &now));
    samples.push_back(now);
    csv.write(fmt::format("{:.3f},{:.0f},{:.0f},{:.0f},{:.0f},{:.0f},{:.1f},{:.0f},\"{}\"\n", elapsed, now.busy_percent,
                          now.memory_busy_percent, now.memory_used, now.clock_mhz, now.memory_clock_mhz, now.power_w, now.temperature_c,
                          reasons_of(now.throttle)));
    if (!stdout_is_terminal()) continue;
    live.push_back(now);
    if (live.size() > kLiveCells) live.erase(live.begin());
    fmt::print("\r\x1b[K{:6.1f} s  use {:3.0f} % {}  {:.0f} W {}  {:.0f} MHz  {:.0f} C  {}", elapsed, now.busy_percent,
               sparkline(values_of(live, kSeries[0], kLiveCells), 0, 100), now.power_w,
               sparkline(values_of(live, kSeries[4], kLiveCells), 0, std::max(now.power_limit_w, 1.0)), now.clock_mhz, now.temperature_c,
               bytes_text(now.memory_used));
    std::fflush(stdout);
  }
  if (stdout_is_terminal()) fmt::print("\r\x1b[K");
  fmt::print("{}, every {} ms for {:.0f} s\n", facts.name, words.interval, words.seconds);
  print_summary(samples);
  if (!words.out.empty()) fmt::print("written: {}\n", words.out);
  return kOk;
}

}  // namespace

Runner add_gpu_monitor(Arguments& arguments) {
  auto words = std::make_shared<Words>();
  arguments.add_option("SECONDS", words->seconds, "How long").required();
  arguments.add_option("--interval", words->interval, "Between two samples").within(5, 60000).show_default().value_name("MS");
  arguments.add_option("--device", words->device, "Which one, from 0").within(0, 63).show_default().value_name("INDEX");
  arguments.add_option("--out", words->out, "File for the samples, as CSV").value_name("CSV");
  arguments.footer("Example:\n  billfish gpu monitor 30 --interval 100 --out job.csv");
  return [words] { return run(*words); };
}

}  // namespace billfish::cli
