// SPDX-License-Identifier: Apache-2.0
#include "cell_bar.hpp"

#include <fmt/core.h>
#include <unistd.h>

#include <cstdio>

#include "billfish/billfish_tools.h"
#include "errors.hpp"
#include "terminal.hpp"

namespace billfish::cli {

CellBar::CellBar() : start_(billfish_tools_now()) {}

void CellBar::advance(std::int64_t cells, const std::string& what) {
  done_ += cells;
  say_what(what);
}

void CellBar::say_what(const std::string& what) {
  what_ = what;
  draw();
}

void CellBar::draw() {
  if (isatty(STDERR_FILENO) == 0 || cells_ == 0 || done_ >= cells_) return;
  const double part = static_cast<double>(done_) / static_cast<double>(cells_), elapsed = billfish_tools_now() - start_;
  std::string line = fmt::format("[{}] {} of {} cells", bar(part, 24), done_, cells_);
  if (part > 0) {
    const auto left = static_cast<std::int64_t>(elapsed * (1 - part) / part + 0.5);
    line += fmt::format(", {}:{:02} left", left / 60, left % 60);
  }
  clear();
  std::fflush(stdout);
  say(fmt::format("{}  {}", line, what_.substr(0, 40)));
  drawn_ = true;
}

void CellBar::clear() {
  if (drawn_) say("\r\x1b[K");
  drawn_ = false;
}

}  // namespace billfish::cli
