// SPDX-License-Identifier: Apache-2.0
#include "machine.hpp"

#include <algorithm>
#include <cstdio>
#include <ctime>

#include "billfish/billfish_tools.h"
#include "errors.hpp"

namespace billfish::cli {
namespace {

std::string cpu_name() {
  std::FILE* file = std::fopen("/proc/cpuinfo", "r");
  std::string name = "cpu";
  char line[512];
  while (file != nullptr && std::fgets(line, sizeof line, file) != nullptr) {
    const std::string text = line;
    if (text.starts_with("model name")) {
      name = text.substr(std::min(text.find(':') + 2, text.size()));
      name.erase(name.find_last_not_of(" \n") + 1);
      break;
    }
  }
  if (file != nullptr) std::fclose(file);
  return name;
}

}  // namespace

std::string now_text() {
  const std::time_t now = std::time(nullptr);
  std::tm utc = {};
  gmtime_r(&now, &utc);
  char text[32] = "";
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &utc);
  return text;
}

std::string machine_name(Device device) {
  if (device.kind == BILLFISH_CPU) return cpu_name();
  char name[256] = "";
  check(billfish_tools_cuda_name(device.index, name, sizeof name));
  return name;
}

}  // namespace billfish::cli
