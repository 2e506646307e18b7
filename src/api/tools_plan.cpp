// SPDX-License-Identifier: Apache-2.0
// billfish_tools_plan, billfish_tools_plan_work: a CUDA plan with its shared memory and the work of every block, for pictures of it.
// The walk over tiles is the kernels' (work_of and Walk in cuda/sm90/wgmma_block.cuh, the head of mma_gemm in cuda/sm80/mma_gemm.cuh).
#include <algorithm>
#include <string>
#include <string_view>

#include "api/plans.hpp"
#include "api/problem_arguments.hpp"
#include "billfish/billfish_tools.h"
#include "cuda/cuda.hpp"
#include "cuda/sm80/mma_policy.hpp"
#include "cuda/sm90/shares_plan.hpp"
#include "cuda/sm90/stream_policy.hpp"
#include "cuda/sm90/wgmma_policy.hpp"

namespace billfish::api {
namespace {

constexpr std::int64_t kRegisters = 65536;  // of a multiprocessor, on every architecture from 8.0 on

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
  const bool splits = planned.plan.cluster > config.abreast;
  const auto grain = static_cast<sm90::Grain>(planned.plan.detail[0]);
  const sm90::SharedMap map = sm90::shared_map(config, bits_of(p.weight), has_zeros(p.weight), grain, splits);
  d.blocks_per_sm = config.blocks_per_sm;
  d.registers = registers_for(std::int64_t{config.threads()} * config.blocks_per_sm);
  d.persistent = !splits;
  if (planned.plan.detail[2] > 0) d.reduction = 3;
  d.stage_weights = map.weights;
  d.stage_activations = map.activations;
  d.stage_scales = map.scales;
  d.stage_zeros = map.zeros;
  d.stage_padding = map.stage - map.weights - map.activations - map.scales - map.zeros;
  d.sums = d.persistent ? 0 : map.after;
  d.staging = d.persistent ? map.after : 0;
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
  d.barriers = sm90::kStreamMaxSlots * 16;
  d.bytes_in_flight = plan.stages * (d.stage_weights + d.stage_scales + d.stage_zeros);
  d.reduction = plan.workspace_bytes > 0 ? 3 : 0;
}

struct Piece {
  std::int64_t tile, begin, end;  // the latter in parts of K
  std::int64_t split;             // blocks that have an earlier part of the tile
};

// Of one of `blocks` that shares the first `tiles` tiles with others (sm90::Walk): the pieces of its range, from the last tile to the
// first, then whole tiles, a grid apart.
Piece shared_piece(const gemm::Plan& plan, std::int64_t blocks, std::int64_t tiles, std::int64_t items, std::int64_t block,
                   std::int64_t index) {
  const sm90::Shares shares = cuda::shares_of({tiles, items}, blocks, plan.detail[1] != 0);
  const sm90::Range range = sm90::range_of(shares, static_cast<unsigned>(block));
  const std::int64_t tile = range.last_tile - index;
  if (tile < range.first_tile) return {tiles + block + (range.first_tile - tile - 1) * blocks, 0, items, 0};
  return {tile, std::max<std::int64_t>(range.begin - tile * items, 0), std::min(range.end - tile * items, items),
          tile == range.first_tile ? range.helpers : 0};
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
  const PlanTable tuned = current_plans();
  const Result<gemm::Plan> chosen = gemm::choose_plan(out.problem, *facts, forced != nullptr ? forced->name : "", tuned.get());
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

// Of sm90: tiles in the order of sm90::work_of.
bool locate_sm90(const Planned& planned, std::int64_t block, std::int64_t index, billfish_plan_work& work) {
  const gemm::Plan& plan = planned.plan;
  const billfish_plan_details& d = planned.details;
  // Blocks abreast walk together, like one block over tiles as wide as all of theirs.
  const std::int64_t abreast = is_stream(plan) ? 1 : sm90::kConfigs[plan.policy].abreast;
  const std::int64_t unit = block / abreast, units = d.blocks / abreast;
  const std::int64_t columns = ceil_div(planned.problem.n, d.tile_n * abreast);
  const std::int64_t tiles = d.tiles_m * columns, items = ceil_div(planned.problem.k, d.tile_k);
  const std::int64_t shared = is_stream(plan) ? tiles : plan.detail[2];
  Piece piece{};
  if (shared > 0) {
    piece = shared_piece(plan, units, shared, items, unit, index);
  } else if (d.persistent) {
    piece = {unit + index * units, 0, items, 0};
  } else {
    if (index > 0) return false;
    piece.split = block % d.splits;
    piece = {block / d.splits, items * piece.split / d.splits, items * (piece.split + 1) / d.splits, piece.split};
  }
  if (piece.tile >= tiles) return false;
  const std::int64_t deep = sm90::kTokenTilesDeep * columns, band = piece.tile / deep;
  const std::int64_t height = std::min<std::int64_t>(sm90::kTokenTilesDeep, d.tiles_m - band * sm90::kTokenTilesDeep),
                     inside = piece.tile - band * deep;
  const std::int64_t column = inside / height;
  work.m0 = (band * sm90::kTokenTilesDeep + inside - column * height) * d.tile_m;
  work.n0 = (column * abreast + block % abreast) * d.tile_n;
  const bool beyond = work.n0 >= planned.problem.n;  // the last of a unit that is wider than what is left
  work.k0 = beyond ? 0 : std::min(planned.problem.k, piece.begin * d.tile_k);
  work.k1 = beyond ? 0 : std::min(planned.problem.k, piece.end * d.tile_k);
  work.split = static_cast<int>(piece.split);
  return true;
}

bool locate_sm80(const Planned& planned, std::int64_t block, std::int64_t index, billfish_plan_work& work) {
  const billfish_plan_details& d = planned.details;
  if (index > 0) return false;
  const std::int64_t grid_x = d.blocks / d.splits, tile = block % grid_x;
  const std::int64_t steps = planned.plan.detail[cuda::mma::kStepsPerSplit], k = planned.problem.k;
  work.split = static_cast<int>(block / grid_x);
  work.m0 = tile % d.tiles_m * d.tile_m;
  work.n0 = tile / d.tiles_m * d.tile_n;
  work.k0 = std::min(k, work.split * steps * 16);
  work.k1 = std::min(k, (work.split + 1) * steps * 16);
  return true;
}

// The tile and the part of K of item `index` of `block`; `found` says whether it has one.
void locate(const Planned& planned, std::int64_t block, std::int64_t index, billfish_plan_work& work) {
  const bool is_sm90 = planned.plan.implementation == &cuda::sm90;
  if (!(is_sm90 ? locate_sm90 : locate_sm80)(planned, block, index, work)) return;
  work.m1 = std::min(planned.problem.m, work.m0 + planned.details.tile_m);
  work.n1 = std::max(work.n0, std::min(planned.problem.n, work.n0 + planned.details.tile_n));
  work.found = 1;
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
    api::locate(planned, block, index, work);
    api::write_struct(work, out);
    return {};
  });
}

}  // extern "C"
