// SPDX-License-Identifier: Apache-2.0
// The file that `billfish tune` writes: which plan was fastest for which problem on which device (docs/tuning.md has the schema). Read as
// plain data; what the names of implementations and policies mean is for others to say. Called by api/plans.cpp.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/status.hpp"
#include "core/types.hpp"

namespace billfish::formats {

struct FilePlan {
  std::string where;  // "plans.json: plans[3]", for messages
  WeightType weight = WeightType::u4b8;
  ElementType a = ElementType::f16;
  std::int64_t n = 0, k = 0, group = 0;  // group is resolved
  bool zeroed_workspace = false, dependent_launch = false;
  std::int64_t m_from = 0, m_to = 0;
  std::string implementation, policy;
  std::int64_t tile_m = 0, tile_n = 0, splits = 0, cluster = 0, threads = 0, blocks = 0;
  std::array<std::int64_t, 4> detail = {};
};

struct PlanFile {
  DeviceKind kind = DeviceKind::cuda;
  int architecture = 0, multiprocessors = 0;  // CUDA
  std::vector<FilePlan> plans;
};

// bad_input names `where`, the entry and the member that is missing, of the wrong kind or out of range. Members that are not read here
// (times, names of devices) may be anything.
Result<PlanFile> parse_plan_file(std::string_view where, std::string_view json);
Result<PlanFile> read_plan_file(const std::string& path);

}  // namespace billfish::formats
