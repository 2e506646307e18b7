// SPDX-License-Identifier: Apache-2.0
// `billfish implementations` and `billfish version`: what this build has, and what of it this machine can run.
#include <fmt/core.h>

#include <memory>

#include "billfish/billfish.h"
#include "billfish/billfish_tools.h"
#include "commands.hpp"
#include "errors.hpp"
#include "json.hpp"
#include "options.hpp"
#include "text.hpp"
#include "types.hpp"

namespace billfish::cli {
namespace {

int list_implementations(bool json) {
  Json list = Json::array();
  Table table({"name", "device", "available", "reason"});
  for (int i = 0; i < billfish_implementation_count(); ++i) {
    billfish_implementation_info info = BILLFISH_IMPLEMENTATION_INFO_INIT;
    check(billfish_implementation(i, &info));
    const char* reason = info.reason != nullptr ? info.reason : "";
    list.push_back({{"name", info.name}, {"device", name_of(info.device_kind)}, {"available", info.available != 0}, {"reason", reason}});
    table.add({info.name, name_of(info.device_kind), info.available != 0 ? "yes" : "no", reason});
  }
  if (json) {
    print_json({{"schema", 1}, {"implementations", list}});
  } else {
    fmt::print("{}", table.text());
  }
  return kOk;
}

std::vector<std::string> cuda_device_names() {
  std::vector<std::string> names;
  for (int device = 0; device < billfish_tools_cuda_devices(); ++device) {
    char name[256] = "";
    check(billfish_tools_cuda_name(device, name, sizeof name));
    names.emplace_back(name);
  }
  return names;
}

int print_version(bool json) {
  const auto names = cuda_device_names();
  const std::string header = fmt::format("{}.{}.{}", BILLFISH_VERSION_MAJOR, BILLFISH_VERSION_MINOR, BILLFISH_VERSION_PATCH);
  if (json) {
    print_json({{"schema", 1}, {"tool", header}, {"library", billfish_version_string()}, {"cuda_devices", names}});
    return kOk;
  }
  fmt::print("billfish {} (library {})\n", header, billfish_version_string());
  for (std::size_t i = 0; i < names.size(); ++i) fmt::print("cuda:{} {}\n", i, names[i]);
  return kOk;
}

}  // namespace

Runner add_implementations(Arguments& arguments) {
  auto json = std::make_shared<bool>(false);
  add_json_flag(arguments, *json);
  arguments.footer(
      "Example:\n  billfish implementations\nForce one with --implementation NAME, or BILLFISH_FORCE=NAME in the environment.");
  return [json] { return list_implementations(*json); };
}

Runner add_version(Arguments& arguments) {
  auto json = std::make_shared<bool>(false);
  add_json_flag(arguments, *json);
  arguments.footer("Example:\n  billfish version --json");
  return [json] { return print_version(*json); };
}

}  // namespace billfish::cli
