// SPDX-License-Identifier: Apache-2.0
// billfish_tools_plan, billfish_tools_plan_work: a CUDA plan with its shared memory and the work of every block, for pictures of it.
// The walk over tiles is the kernels' (sm90::work_of in cuda/sm90/wgmma_block.cuh, the head of mma_gemm in cuda/sm80/mma_gemm.cuh).
#include <algorithm>
#include <string>
#include <string_view>

#include "api/problem_arguments.hpp"
#include "billfish/billfish_tools.h"
#include "cuda/cuda.hpp"
#include "cuda/sm80/mma_policy.hpp"
#include "cuda/sm90/wgmma_policy.hpp"

namespace billfish::api {
namespace {

constexpr std::int64_t kRegisters = 65536;   // of a multiprocessor, on every architecture from 8.0 on
constexpr std::int64_t kTokenTilesDeep = 8;  // sm90: tiles along M that run side by side

struct Planned {
  gemm::Problem problem;
  gemm::DeviceFacts facts;
  gemm::Plan plan;
  billfish_plan_details details = BILLFISH_PLAN_DETAILS_INIT;
};

// What ptxas may use for a kernel of which so many threads are to fit: a quarter of the multiprocessor holds a quarter of the warps.
int registers_for(std::int64_t threads) {
  const std::int64_t warps = ceil_div(ceil_div(threads, 32), 4);
  return static_cast<int>(std::min<std::int64_t>(255, kRegisters / 4 / warps / 32 / 8 * 8));
}

void describe_sm90(Planned& planned) {
  const gemm::Problem& p = planned.problem;
  billfish_plan_details& d = planned.details;
  const sm90::WgmmaConfig config = sm90::config_of(planned.plan.policy, bits_of(p.weight));
  const sm90::SharedMap map = sm90::shared_map(config, bits_of(p.weight), has_zeros(p.weight), planned.plan.detail[0] != 0);
  d.blocks_per_sm = config.blocks_per_sm;
  d.registers = registers_for(std::int64_t{config.threads()} * config.blocks_per_sm);
  d.persistent = sm90::sums_whole(config, planned.plan.splits);
  d.stage_weights = map.weights;
  d.stage_activations = map.activations;
  d.stage_scales = map.scales;
  d.stage_zeros = map.zeros;
  d.stage_padding = map.stage - map.weights - map.activations - map.scales - map.zeros;
  d.sums = map.sums;
  d.staging = map.staging;
  d.barriers = map.barriers;
  d.bytes_in_flight = std::int64_t{map.stages} * (map.weights + map.scales + map.zeros);
}

// The sm90 family's other kernel, for few tokens: blocks share out items, 128 columns x a stage of K, whatever tiles they belong to.
bool is_stream(const gemm::Plan& plan) {
  return plan.implementation == &cuda::sm90 &&
         (plan.policy >= sm90::kPolicies || std::string_view(plan.policy_name) != sm90::kPolicyNames[plan.policy]);
}

void describe_stream(Planned& planned) {
  const gemm::Problem& p = planned.problem;
  const gemm::Plan& plan = planned.plan;
  billfish_plan_details& d = planned.details;
  d.blocks_per_sm = 2;
  d.registers = registers_for(std::int64_t{plan.threads} * 2);
  d.persistent = 1;
  d.stage_weights = std::int64_t{plan.tile_n} * plan.tile_k * bits_of(p.weight) / 8;
  d.stage_activations = std::int64_t{plan.tile_m} * plan.tile_k * 2;
  // Rows of scales that a stage may touch.
  const std::int64_t group = std::max<std::int64_t>(1, p.group / 16), steps = plan.tile_k / 16;
  const std::int64_t rows = p.group >= p.k       ? 0
                            : group % steps == 0 ? 1
                            : steps % group == 0 ? steps / group
                                                 : (steps + group - 2) / group + 1;
  d.stage_scales = rows * plan.tile_n * 2;
  d.stage_zeros = has_zeros(p.weight) ? rows * plan.tile_n / 2 : 0;
  d.stage_padding = round_up(d.stage_scales + d.stage_zeros, std::int64_t{128}) - d.stage_scales - d.stage_zeros;
  d.barriers = 256;
  d.bytes_in_flight = plan.stages * (d.stage_weights + d.stage_scales + d.stage_zeros);
  d.reduction = plan.workspace_bytes > 0 ? 3 : 0;
}

// A block's items, numbered tile by tile with K innermost; it works from its last tile to its first.
bool locate_stream(const Planned& planned, std::int64_t block, std::int64_t index, billfish_plan_work& work) {
  const billfish_plan_details& d = planned.details;
  const std::int64_t tiles = d.tiles_n, items = ceil_div(planned.problem.k, d.tile_k), all = tiles * items;
  std::int64_t begin = 0, end = 0, first_block_of_tile = 0;
  if (planned.plan.detail[1] != 0) {  // dealt: every tile has blocks of its own
    const std::int64_t parts = d.blocks / tiles, longer = d.blocks % tiles, edge = longer * (parts + 1);
    const std::int64_t mine = block < edge ? parts + 1 : parts, at = block < edge ? block : block - edge;
    const std::int64_t tile = at / mine + (block < edge ? 0 : longer), part = at % mine;
    begin = tile * items + part * items / mine;
    end = tile * items + (part + 1) * items / mine;
    first_block_of_tile = block - part;
  } else {
    begin = block * all / d.blocks;
    end = (block + 1) * all / d.blocks;
  }
  if (end <= begin) return false;
  const std::int64_t tile = (end - 1) / items - index;
  if (tile < begin / items) return false;
  if (planned.plan.detail[1] == 0) first_block_of_tile = ((tile * items + 1) * d.blocks - 1) / all;
  work.split = static_cast<int>(block - first_block_of_tile);
  work.m1 = planned.problem.m;
  work.n0 = tile * d.tile_n;
  work.n1 = std::min(planned.problem.n, work.n0 + d.tile_n);
  work.k0 = std::max<std::int64_t>(0, begin - tile * items) * d.tile_k;
  work.k1 = std::min(planned.problem.k, std::min(items, end - tile * items) * d.tile_k);
  work.found = 1;
  return true;
}

void describe_sm80(Planned& planned) {
  const gemm::Problem& p = planned.problem;
  const gemm::Plan& plan = planned.plan;
  billfish_plan_details& d = planned.details;
  namespace mma = cuda::mma;
  const std::int64_t ring = std::int64_t{plan.threads / 32} * mma::ring_bytes_per_warp(bits_of(p.weight));
  d.registers = registers_for(mma::kConfigs[plan.policy].max_threads);
  d.blocks_per_sm =
      static_cast<int>(std::max<std::int64_t>(1, std::min<std::int64_t>(mma::kConfigs[plan.policy].max_threads / plan.threads,
                                                                        planned.facts.shared_bytes_per_block / plan.shared_bytes)));
  d.stage_weights = ring / plan.stages;
  d.stage_activations =
      plan.tile_m * mma::chunk_row_bytes(static_cast<int>(plan.detail[mma::kWarpsK]), static_cast<int>(plan.detail[mma::kRunSteps]));
  d.bytes_in_flight = ring;
}

Status plan_of(const billfish_problem* given, const char* device, const char* implementation, Planned& out) {
  BILLFISH_RETURN_IF_ERROR(read_problem(given, out.problem));
  const gemm::Implementation* forced = nullptr;
  BILLFISH_RETURN_IF_ERROR(find_forced(implementation, forced));
  const Result<gemm::DeviceFacts> facts = facts_named(device);
  if (!facts.ok()) return facts.status();
  out.facts = *facts;
  const Result<gemm::Plan> chosen = gemm::choose_plan(out.problem, *facts, forced != nullptr ? forced->name : "");
  if (!chosen.ok()) return chosen.status();
  const bool is_sm90 = chosen->implementation == &cuda::sm90, is_sm80 = chosen->implementation == &cuda::sm80;
  if (!is_sm90 && !is_sm80) {
    return unsupported("the plan is one of " + std::string(chosen->implementation->name) +
                       "; only plans of CUDA devices have blocks to show: name one, sm_90 or sm_80");
  }
  const gemm::Plan& plan = out.plan = *chosen;
  billfish_plan_details& d = out.details;
  d.implementation = plan.implementation->name;
  d.policy = plan.policy_name;
  d.tile_m = plan.tile_m;
  d.tile_n = plan.tile_n;
  d.tile_k = plan.tile_k;
  d.stages = plan.stages;
  d.splits = plan.splits;
  d.cluster = plan.cluster;
  d.threads = plan.threads;
  d.dependent_launch = plan.dependent_launch;
  d.multiprocessors = out.facts.multiprocessors;
  d.tiles_m = ceil_div(out.problem.m, plan.tile_m);
  d.tiles_n = ceil_div(out.problem.n, plan.tile_n);
  d.blocks = plan.blocks;
  d.shared_bytes = plan.shared_bytes;
  d.reduction = plan.splits == 1 ? 0 : plan.cluster > 1 ? 1 : 2;
  if (is_stream(plan)) {
    describe_stream(out);
  } else {
    is_sm90 ? describe_sm90(out) : describe_sm80(out);
  }
  return {};
}

// The tile and the part of K of item `index` of `block`; false if it has none.
bool locate(const Planned& planned, std::int64_t block, std::int64_t index, billfish_plan_work& work) {
  if (is_stream(planned.plan)) return locate_stream(planned, block, index, work);
  const billfish_plan_details& d = planned.details;
  const std::int64_t tiles = d.tiles_m * d.tiles_n, k = planned.problem.k;
  std::int64_t tile = 0, column = 0, row = 0;
  if (planned.plan.implementation == &cuda::sm90) {
    if (!d.persistent && index > 0) return false;
    work.split = d.persistent ? 0 : static_cast<int>(block % d.splits);
    tile = d.persistent ? block + index * d.blocks : block / d.splits;
    if (tile >= tiles) return false;
    const std::int64_t deep = kTokenTilesDeep * d.tiles_n, band = tile / deep;
    const std::int64_t height = std::min(kTokenTilesDeep, d.tiles_m - band * kTokenTilesDeep), inside = tile - band * deep;
    column = inside / height;
    row = band * kTokenTilesDeep + inside - column * height;
    const std::int64_t stages = ceil_div(ceil_div(k, 16), d.tile_k / 16);
    work.k0 = std::min(k, stages * work.split / d.splits * d.tile_k);
    work.k1 = std::min(k, stages * (work.split + 1) / d.splits * d.tile_k);
  } else {
    if (index > 0) return false;
    const std::int64_t grid_x = d.blocks / d.splits;
    work.split = static_cast<int>(block / grid_x);
    tile = block % grid_x;
    row = tile % d.tiles_m;
    column = tile / d.tiles_m;
    const std::int64_t steps = planned.plan.detail[cuda::mma::kStepsPerSplit];
    work.k0 = std::min(k, work.split * steps * 16);
    work.k1 = std::min(k, (work.split + 1) * steps * 16);
  }
  work.m0 = row * d.tile_m;
  work.m1 = std::min(planned.problem.m, work.m0 + d.tile_m);
  work.n0 = column * d.tile_n;
  work.n1 = std::min(planned.problem.n, work.n0 + d.tile_n);
  work.found = 1;
  return true;
}

}  // namespace
}  // namespace billfish::api

extern "C" {

billfish_status billfish_tools_plan(const billfish_problem* problem, const char* device, const char* implementation,
                                    billfish_plan_details* out) {
  using namespace billfish;
  return api::guarded([&]() -> Status {
    BILLFISH_RETURN_IF_ERROR(api::check_size(out, "out"));
    api::Planned planned;
    BILLFISH_RETURN_IF_ERROR(api::plan_of(problem, device, implementation, planned));
    api::write_struct(planned.details, out);
    return {};
  });
}

billfish_status billfish_tools_plan_work(const billfish_problem* problem, const char* device, const char* implementation, int64_t block,
                                         int64_t index, billfish_plan_work* out) {
  using namespace billfish;
  return api::guarded([&]() -> Status {
    BILLFISH_RETURN_IF_ERROR(api::check_size(out, "out"));
    api::Planned planned;
    BILLFISH_RETURN_IF_ERROR(api::plan_of(problem, device, implementation, planned));
    if (block < 0 || block >= planned.details.blocks || index < 0) {
      return invalid_argument("block is " + std::to_string(block) + " and index is " + std::to_string(index) + "; the plan has " +
                              std::to_string(planned.details.blocks) + " blocks, counted from 0, and index is 0 or more");
    }
    billfish_plan_work work = BILLFISH_PLAN_WORK_INIT;
    (void)api::locate(planned, block, index, work);
    api::write_struct(work, out);
    return {};
  });
}

}  // extern "C"
