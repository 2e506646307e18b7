// SPDX-License-Identifier: Apache-2.0
// billfish_tools_plan and billfish_tools_plan_work: the work of all blocks covers C times K exactly once, for every kind of plan; and
// billfish_tools_place against the packer.
#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "billfish/billfish_tools.h"

namespace billfish::api_test {
namespace {

struct Case {
  std::int64_t m, n, k, group;
  billfish_weight_type type;
};

billfish_problem problem_of(const Case& c, bool zeroed) {
  billfish_problem problem = BILLFISH_PROBLEM_INIT;
  problem.m = c.m;
  problem.n = c.n;
  problem.k = c.k;
  problem.group = c.group;
  problem.type = c.type;
  problem.a_type = problem.c_type = problem.scale_type = BILLFISH_F16;
  if (zeroed) problem.flags = BILLFISH_GEMM_ZEROED_WORKSPACE;
  return problem;
}

// Rows k0..k1 by tile of C: they must meet end to end from 0 to K, and the tiles must not overlap. Later parts of K belong to later blocks:
// one that waits for another's sums has been started after it.
void expect_exact_cover(const Case& c, const char* device, bool zeroed = false) {
  const billfish_problem problem = problem_of(c, zeroed);
  billfish_plan_details details = BILLFISH_PLAN_DETAILS_INIT;
  ASSERT_EQ(billfish_tools_plan(&problem, device, nullptr, &details), BILLFISH_OK) << billfish_last_error();
  const std::string where =
      std::string(device) + " " + details.policy + " m=" + std::to_string(c.m) + " n=" + std::to_string(c.n) + " k=" + std::to_string(c.k);
  std::map<std::pair<std::int64_t, std::int64_t>, std::map<std::int64_t, billfish_plan_work>> parts;  // (m0, n0) -> k0
  std::int64_t area = 0;
  std::set<std::pair<std::int64_t, std::int64_t>> tiles;
  std::map<std::pair<std::pair<std::int64_t, std::int64_t>, std::int64_t>, std::int64_t> owners;  // (tile, k0) -> block
  for (std::int64_t block = 0; block < details.blocks; ++block) {
    for (std::int64_t index = 0;; ++index) {
      billfish_plan_work work = BILLFISH_PLAN_WORK_INIT;
      ASSERT_EQ(billfish_tools_plan_work(&problem, device, nullptr, block, index, &work), BILLFISH_OK) << billfish_last_error();
      if (work.found == 0) break;
      ASSERT_LT(index, 100000) << where;
      ASSERT_EQ(work.m0 % details.tile_m, 0) << where;
      ASSERT_EQ(work.n0 % details.tile_n, 0) << where;
      ASSERT_LE(work.m1 - work.m0, details.tile_m) << where;
      ASSERT_LE(work.n1 - work.n0, details.tile_n) << where;
      if (work.k0 == work.k1) continue;  // a part beyond the end of K
      const bool fresh = parts[std::pair(work.m0, work.n0)].emplace(work.k0, work).second;
      owners[{{work.m0, work.n0}, work.k0}] = block;
      ASSERT_TRUE(fresh) << where << ": two blocks begin at k = " << work.k0;
      if (tiles.emplace(work.m0, work.n0).second) area += (work.m1 - work.m0) * (work.n1 - work.n0);
    }
  }
  EXPECT_EQ(area, c.m * c.n) << where;
  EXPECT_EQ(static_cast<std::int64_t>(tiles.size()), details.tiles_m * details.tiles_n) << where;
  for (const auto& [tile, ranges] : parts) {
    std::int64_t at = 0;
    std::int64_t before = -1;
    int split = 0;
    for (const auto& [begin, work] : ranges) {
      ASSERT_EQ(begin, at) << where << " tile " << tile.first << "," << tile.second;
      ASSERT_EQ(work.split, split++) << where << " tile " << tile.first << "," << tile.second;
      const std::int64_t owner = owners[{tile, begin}];
      ASSERT_GT(owner, before) << where << " tile " << tile.first << "," << tile.second;
      before = owner;
      at = work.k1;
    }
    ASSERT_EQ(at, c.k) << where;
  }
  // The parts of shared memory are within what the block asks for.
  const std::int64_t stage =
      details.stage_weights + details.stage_activations + details.stage_scales + details.stage_zeros + details.stage_padding;
  EXPECT_LE(details.stages * stage + details.sums + details.staging + details.barriers, details.shared_bytes) << where;
  EXPECT_GT(details.registers, 0);
}

TEST(PlanWork, CoversEveryElementAndEveryRowOfTheWeightsOnce) {
  for (const char* device : {"sm_80", "sm_90"}) {
    for (const std::int64_t m : {1, 8, 17, 33, 64, 100, 300, 2050}) {
      for (const auto& [n, k] :
           std::vector<std::pair<std::int64_t, std::int64_t>>{{4096, 4096}, {1000, 1000}, {64, 16384}, {11008, 2048}}) {
        expect_exact_cover({m, n, k, 128, BILLFISH_U4B8}, device);
        expect_exact_cover({m, n, k, 128, BILLFISH_U4B8}, device, true);
      }
    }
    expect_exact_cover({5, 640, 4096, 32, BILLFISH_U4}, device);
    expect_exact_cover({5, 640, 4096, -1, BILLFISH_U8B128}, device);
  }
}

TEST(PlanWork, OfACpuOrABlockThatIsNotThereIsRefused) {
  const billfish_problem problem = problem_of({1, 64, 64, -1, BILLFISH_U4B8}, false);
  billfish_plan_details details = BILLFISH_PLAN_DETAILS_INIT;
  EXPECT_EQ(billfish_tools_plan(&problem, "cpu", nullptr, &details), BILLFISH_UNSUPPORTED);
  EXPECT_NE(std::strstr(billfish_last_error(), "sm_90"), nullptr);
  billfish_plan_work work = BILLFISH_PLAN_WORK_INIT;
  EXPECT_EQ(billfish_tools_plan_work(&problem, "sm_90", nullptr, -1, 0, &work), BILLFISH_INVALID_ARGUMENT);
  EXPECT_EQ(billfish_tools_plan_work(&problem, "sm_90", nullptr, 1 << 30, 0, &work), BILLFISH_INVALID_ARGUMENT);
}

TEST(Place, EveryFieldOfEveryFormatIsUsedOnce) {
  for (const billfish_format format :
       {BILLFISH_FORMAT_GPTQ, BILLFISH_FORMAT_AWQ, BILLFISH_FORMAT_COMPRESSED_TENSORS, BILLFISH_FORMAT_RAW, BILLFISH_FORMAT_MARLIN}) {
    billfish_matrix shape = BILLFISH_MATRIX_INIT;
    shape.format = format;
    shape.type = BILLFISH_U4;
    shape.scale_type = BILLFISH_F16;
    shape.n = 64;
    shape.k = 32;
    shape.group = 16;
    for (const auto& [part, rows] :
         {std::pair{BILLFISH_PART_CODES, 32}, std::pair{BILLFISH_PART_ZEROS, 2}, std::pair{BILLFISH_PART_SCALES, 2}}) {
      std::set<std::pair<std::int64_t, int>> places;
      for (std::int64_t row = 0; row < rows; ++row) {
        for (std::int64_t column = 0; column < 64; ++column) {
          std::int64_t index = -1;
          int bit = -1;
          ASSERT_EQ(billfish_tools_place(&shape, part, row, column, &index, &bit), BILLFISH_OK) << billfish_last_error();
          EXPECT_TRUE(places.emplace(index, bit).second)
              << "format " << format << " part " << part << " row " << row << " column " << column;
        }
      }
    }
    std::int64_t index = 0;
    int bit = 0;
    EXPECT_EQ(billfish_tools_place(&shape, BILLFISH_PART_CODES, 32, 0, &index, &bit), BILLFISH_INVALID_ARGUMENT);
    EXPECT_EQ(billfish_tools_place(&shape, BILLFISH_PART_CODES, 0, 0, nullptr, &bit), BILLFISH_INVALID_ARGUMENT);
  }
}

TEST(DeviceFacts, WithoutADriverOneLineSaysWhatIsMissing) {
  billfish_cuda_facts facts = BILLFISH_CUDA_FACTS_INIT;
  const billfish_status status = billfish_tools_cuda_facts(0, &facts);
  if (status == BILLFISH_OK) {
    EXPECT_GT(facts.multiprocessors, 0);
    return;
  }
  EXPECT_EQ(status, BILLFISH_DEVICE_ERROR);
  EXPECT_NE(std::strstr(billfish_last_error(), "CUDA driver"), nullptr) << billfish_last_error();
  billfish_cuda_telemetry telemetry = BILLFISH_CUDA_TELEMETRY_INIT;
  EXPECT_EQ(billfish_tools_cuda_telemetry(0, &telemetry), BILLFISH_OK);
  EXPECT_EQ(telemetry.known, 0);
}

}  // namespace
}  // namespace billfish::api_test
