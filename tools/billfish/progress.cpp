// SPDX-License-Identifier: Apache-2.0
#include "progress.hpp"

#include <fmt/core.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "billfish/billfish_tools.h"
#include "errors.hpp"
#include "text.hpp"

namespace billfish::cli {
namespace {

constexpr double kRedraw = 0.1;  // seconds between two pictures of the bar
constexpr int kBarCells = 24;

int terminal_columns() {
  struct winsize size;
  return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 20 ? size.ws_col : 80;
}

std::string time_text(double seconds) {
  const auto whole = static_cast<std::int64_t>(seconds + 0.5);
  return fmt::format("{}:{:02}", whole / 60, whole % 60);
}

}  // namespace

Progress::Progress(std::string verb, bool quiet) : verb_(std::move(verb)), start_(billfish_tools_now()) {
  bar_ = isatty(STDERR_FILENO) != 0;
  lines_ = !bar_ && !quiet;
}

Progress::~Progress() { clear(); }

double Progress::seconds() const { return billfish_tools_now() - start_; }

void Progress::update(const std::string& layer, std::int64_t bytes_done, std::int64_t bytes_total) {
  const bool new_layer = layer != layer_;
  layer_ = layer;
  if (lines_ && new_layer && !layer.empty()) {
    fmt::print("{} {} ({} of {})\n", verb_, one_line(layer), bytes_text(static_cast<double>(bytes_done)),
               bytes_text(static_cast<double>(bytes_total)));
    std::fflush(stdout);
  }
  const double now = billfish_tools_now();
  if (bar_ && (!drawn_ || now - last_drawn_ > kRedraw)) draw(bytes_done, bytes_total, now);
}

void Progress::draw(std::int64_t bytes_done, std::int64_t bytes_total, double now) {
  const double part = bytes_total > 0 ? std::clamp(static_cast<double>(bytes_done) / static_cast<double>(bytes_total), 0.0, 1.0) : 0.0;
  const double elapsed = now - start_;
  const int cells = static_cast<int>(part * kBarCells);
  std::string line = fmt::format("[{}{}] {:3.0f}% ", std::string(cells, '#'), std::string(kBarCells - cells, '.'), part * 100);
  if (elapsed > 0.5 && part > 0) {
    line += fmt::format("{}/s, {} left ", bytes_text(static_cast<double>(bytes_done) / elapsed), time_text(elapsed * (1 - part) / part));
  }
  line += one_line(layer_);
  line.resize(std::min<std::size_t>(line.size(), terminal_columns() - 1));
  say("\r\x1b[K" + line);
  drawn_ = true;
  last_drawn_ = now;
}

void Progress::clear() {
  if (drawn_) say("\r\x1b[K");
  drawn_ = false;
}

int Progress::callback(void* user, const char* layer, std::int64_t bytes_done, std::int64_t bytes_total) {
  static_cast<Progress*>(user)->update(layer != nullptr ? layer : "", bytes_done, bytes_total);
  return 0;
}

}  // namespace billfish::cli
