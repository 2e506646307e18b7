// SPDX-License-Identifier: Apache-2.0
// `billfish show plan`: the tiles of C and the block that computes each, the parts of K, the pipeline's stages in shared memory, and how
// partial sums meet; as text and as a picture. A pure function: the device need not be here.
#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <vector>

#include "errors.hpp"
#include "gpu.hpp"
#include "plan_problem.hpp"
#include "svg.hpp"
#include "terminal.hpp"
#include "text.hpp"

namespace billfish::cli {
namespace {

constexpr std::int64_t kMostBlocks = 4096;  // whose work is listed
constexpr std::int64_t kMostItems = 64;     // of a persistent block

struct Words {
  PlanWords plan;
  std::string svg;
};

struct Piece {
  std::int64_t block, index;
  billfish_plan_work work;
};

struct Plan {
  billfish_plan_details details;
  std::string device;
  std::vector<Piece> pieces;
  bool whole = true;  // pieces are all there are
};

Plan read_plan(const PlanWords& words) {
  Plan plan;
  plan.device = words.architecture.empty() ? "sm_90" : words.architecture;
  plan.details = plan_of(words, plan.device);
  const billfish_problem problem = problem_of(words);
  const char* forced = words.implementation.empty() ? nullptr : words.implementation.c_str();
  const std::int64_t blocks = std::min(plan.details.blocks, kMostBlocks);
  plan.whole = blocks == plan.details.blocks;
  for (std::int64_t block = 0; block < blocks; ++block) {
    for (std::int64_t index = 0;; ++index) {
      billfish_plan_work work = BILLFISH_PLAN_WORK_INIT;
      check(billfish_tools_plan_work(&problem, plan.device.c_str(), forced, block, index, &work));
      if (work.found == 0) break;
      if (index == kMostItems) {
        plan.whole = false;
        break;
      }
      plan.pieces.push_back({block, index, work});
    }
  }
  return plan;
}

struct Part {
  std::string name;
  std::int64_t bytes;
  int colour;
};
// Shared memory from its begin: stages one by one, then the rest.
std::vector<Part> shared_parts(const billfish_plan_details& d) {
  std::vector<Part> parts;
  std::int64_t used = 0;
  const auto add = [&](const std::string& name, std::int64_t bytes, int colour) {
    if (bytes <= 0) return;
    parts.push_back({name, bytes, colour});
    used += bytes;
  };
  for (int stage = 0; stage < d.stages; ++stage) {
    add(fmt::format("stage {}: activations", stage), d.stage_activations, 0);
    add(fmt::format("stage {}: weights", stage), d.stage_weights, 1);
    add(fmt::format("stage {}: scales", stage), d.stage_scales, 2);
    add(fmt::format("stage {}: zeros", stage), d.stage_zeros, 4);
    add(fmt::format("stage {}: padding", stage), d.stage_padding, 7);
  }
  add("partial sums", d.sums, 3);
  add("outputs on their way", d.staging, 5);
  add("barriers", d.barriers, 6);
  add(used > d.shared_bytes ? "" : "alignment, sums", d.shared_bytes - used, 7);
  return parts;
}

// Equal shares begin and end anywhere: a tile may have fewer parts than another.
std::string parts_text(const billfish_plan_details& d) {
  return fmt::format("{}{} part{}", d.reduction == 3 ? "at most " : "", d.splits, d.splits == 1 ? "" : "s");
}

std::string reduction_text(const billfish_plan_details& d) {
  if (d.reduction == 0) return "none: a block has the whole sum of its tile and stores it";
  if (d.reduction == 3) {
    return "blocks that share a tile leave f32 partial sums in the workspace for those that add them up, in a fixed order, and store";
  }
  if (d.cluster > 1) {
    return fmt::format(
        "the {} blocks of a cluster share out the tile's columns; each sends its partial sums of a column to the owner, "
        "which adds them in the order of the parts and stores",
        d.splits);
  }
  return fmt::format("each part stores f32 partial sums in the workspace; a second kernel adds the {} of them in order and stores",
                     d.splits);
}

void print(const Plan& plan, const PlanWords& words) {
  const billfish_plan_details& d = plan.details;
  fmt::print("{} {} for {} on {}\n", bold(d.implementation), d.policy, text_of(words), plan.device);
  fmt::print("  C               {} x {} in tiles of {} tokens x {} columns: {} x {} tiles\n", words.m, words.n, d.tile_m, d.tile_n,
             d.tiles_m, d.tiles_n);
  fmt::print("  K               {} in {}, read {} rows at a time\n", words.k, parts_text(d), d.tile_k);
  fmt::print("  blocks          {} of {} threads, at most {} registers each, {} a multiprocessor{}{}\n", d.blocks, d.threads, d.registers,
             d.blocks_per_sm, d.cluster > 1 ? fmt::format(", in clusters of {}", d.cluster) : "",
             d.persistent != 0 ? ", which go on to further tiles" : "");
  fmt::print("  reduction       {}\n", reduction_text(d));
  fmt::print("  shared memory   {} of a block:", bytes_text(static_cast<double>(d.shared_bytes)));
  fmt::print(" {} stages of {} weights, {} activations", d.stages, bytes_text(static_cast<double>(d.stage_weights)),
             bytes_text(static_cast<double>(d.stage_activations)));
  if (d.stage_scales > 0) fmt::print(", {} scales", bytes_text(static_cast<double>(d.stage_scales)));
  if (d.stage_zeros > 0) fmt::print(", {} zeros", bytes_text(static_cast<double>(d.stage_zeros)));
  if (d.sums > 0) fmt::print("; {} partial sums", bytes_text(static_cast<double>(d.sums)));
  if (d.staging > 0) fmt::print("; {} outputs", bytes_text(static_cast<double>(d.staging)));
  fmt::print("\n\n");
  Table table({"block", "piece", "tokens", "columns", "rows of K", "part"});
  constexpr std::size_t kListed = 16;
  for (std::size_t i = 0; i < std::min(plan.pieces.size(), kListed); ++i) {
    const Piece& p = plan.pieces[i];
    table.add({std::to_string(p.block), std::to_string(p.index), fmt::format("{}..{}", p.work.m0, p.work.m1 - 1),
               fmt::format("{}..{}", p.work.n0, p.work.n1 - 1),
               p.work.k1 > p.work.k0 ? fmt::format("{}..{}", p.work.k0, p.work.k1 - 1) : "none", fmt::format("{}", p.work.split + 1)});
  }
  fmt::print("{}", table.text());
  if (plan.pieces.size() > kListed || !plan.whole) fmt::print("... and so on for {} blocks\n", d.blocks);
}

// Panel 1: C, a rectangle a tile, with the blocks that work on it. Only what can be read is drawn.
double draw_tiles(Svg& svg, const Plan& plan, const PlanWords& words, double top) {
  const billfish_plan_details& d = plan.details;
  constexpr double kLeft = 60, kWidth = 820;
  const std::int64_t columns = std::min<std::int64_t>(d.tiles_n, 32), rows = std::min<std::int64_t>(d.tiles_m, 8);
  const double w = kWidth / static_cast<double>(columns), h = std::min(46.0, std::max(26.0, 220.0 / static_cast<double>(rows)));
  svg.text(
      20, top,
      fmt::format("C: {} tokens (down) x {} columns (right), {} x {} tiles of {} x {}{}", words.m, words.n, d.tiles_m, d.tiles_n, d.tile_m,
                  d.tile_n, columns < d.tiles_n || rows < d.tiles_m ? fmt::format("; the first {} x {} are drawn", rows, columns) : ""),
      14, "start", true);
  std::map<std::pair<std::int64_t, std::int64_t>, std::vector<const Piece*>> by_tile;
  for (const Piece& piece : plan.pieces) by_tile[{piece.work.m0 / d.tile_m, piece.work.n0 / d.tile_n}].push_back(&piece);
  for (const auto& [tile, pieces] : by_tile) {
    if (tile.first >= rows || tile.second >= columns) continue;
    const double x = kLeft + static_cast<double>(tile.second) * w, y = top + 12 + static_cast<double>(tile.first) * h;
    const auto first = static_cast<std::size_t>(d.persistent != 0 ? pieces[0]->index : tile.second + tile.first);
    std::string hint = fmt::format("tokens {}..{}, columns {}..{}:", pieces[0]->work.m0, pieces[0]->work.m1 - 1, pieces[0]->work.n0,
                                   pieces[0]->work.n1 - 1);
    for (const Piece* piece : pieces) hint += fmt::format(" block {} (rows {}..{} of K)", piece->block, piece->work.k0, piece->work.k1 - 1);
    svg.rectangle(x, y, w, h - 2, kColours[first % 4], hint, "white");
    const std::string label =
        pieces.size() == 1 ? std::to_string(pieces[0]->block) : fmt::format("{}-{}", pieces.front()->block, pieces.back()->block);
    if (w > 6.2 * static_cast<double>(label.size())) {
      svg.text(x + w / 2, y + h / 2 + 3, label, 10, "middle");
    } else if (w > 11) {
      svg.text(x + w / 2, y + h / 2 + 3, std::to_string(pieces.front()->block), std::min(9.0, w / 2.6), "middle");
    }
  }
  svg.text(kLeft, top + 12 + static_cast<double>(rows) * h + 14,
           d.persistent != 0 ? "numbers: blocks; colours: which tile of its block, first, second, ... (from the left of the list)"
           : d.splits > 1    ? "numbers: the blocks that share a tile, each a part of K"
                             : "numbers: blocks",
           12);
  return top + 12 + static_cast<double>(rows) * h + 44;
}

double draw_splits(Svg& svg, const Plan& plan, const PlanWords& words, double top) {
  const billfish_plan_details& d = plan.details;
  constexpr double kLeft = 60, kWidth = 820, kHeight = 34;
  std::vector<const Piece*> parts;
  for (const Piece& piece : plan.pieces) {
    if (piece.work.m0 == 0 && piece.work.n0 == 0) parts.push_back(&piece);
  }
  svg.text(20, top,
           fmt::format("K of the first tile: {} rows in {} part{}, {} rows a stage", words.k, parts.size(), parts.size() == 1 ? "" : "s",
                       d.tile_k),
           14, "start", true);
  const double scale = kWidth / static_cast<double>(words.k);
  for (const Piece* part : parts) {
    const double x = kLeft + static_cast<double>(part->work.k0) * scale, w = static_cast<double>(part->work.k1 - part->work.k0) * scale;
    svg.rectangle(x, top + 10, w, kHeight, kColours[part->work.split % 2 == 0 ? 0 : 1],
                  fmt::format("part {}: rows {}..{} by block {}", part->work.split, part->work.k0, part->work.k1 - 1, part->block),
                  "white");
    const double stages = static_cast<double>(part->work.k1 - part->work.k0) / d.tile_k;
    if (static_cast<double>(d.tile_k) * scale > 3) {
      for (double s = 1; s < stages; ++s)
        svg.line(x + s * d.tile_k * scale, top + 10, x + s * d.tile_k * scale, top + 10 + kHeight, "#ffffff", 0.7);
    }
    if (w > 60) svg.text(x + w / 2, top + 31, fmt::format("block {}", part->block), 11, "middle", true);
  }
  double y = top + 10 + kHeight + 6;
  if (d.reduction == 1 || d.reduction == 2) {
    constexpr double kDrop = 46;
    const double box = kWidth / d.splits;
    for (int owner = 0; owner < d.splits; ++owner) {
      const double x = kLeft + (owner + 0.5) * box;
      svg.rectangle(kLeft + owner * box + 3, y + kDrop, box - 6, 30, kColours[2], "", "white");
      svg.text(x, y + kDrop + 19, d.cluster > 1 ? fmt::format("adds 1/{} of columns", d.splits) : fmt::format("partial sums {}", owner),
               box > 120 ? 11 : 8.5, "middle");
      for (int from = 0; from < d.splits; ++from) {
        if (d.cluster > 1 || from == owner) svg.line(kLeft + (from + 0.5) * box, y, x, y + kDrop, "#777777", 0.8);
      }
    }
    y += kDrop + 34;
  }
  const std::string words_of = "reduction: " + reduction_text(d);
  const std::size_t cut = words_of.size() > 130 ? words_of.rfind(' ', 130) : words_of.size();
  svg.text(kLeft, y + 14, words_of.substr(0, cut), 11.5);
  if (cut < words_of.size()) svg.text(kLeft, y + 30, words_of.substr(cut + 1), 11.5);
  return y + (cut < words_of.size() ? 62 : 46);
}

double draw_shared(Svg& svg, const Plan& plan, double top) {
  const billfish_plan_details& d = plan.details;
  constexpr double kLeft = 60, kWidth = 820, kHeight = 46;
  svg.text(20, top, fmt::format("Shared memory of a block: {} bytes, {} stages", d.shared_bytes, d.stages), 14, "start", true);
  double x = kLeft;
  const double scale = kWidth / static_cast<double>(d.shared_bytes);
  const double stage =
      static_cast<double>(d.stage_weights + d.stage_activations + d.stage_scales + d.stage_zeros + d.stage_padding) * scale;
  for (const Part& part : shared_parts(d)) {
    const double w = static_cast<double>(part.bytes) * scale;
    svg.rectangle(x, top + 26, w, kHeight, kColours[part.colour], fmt::format("{}: {} bytes", part.name, part.bytes), "white");
    x += w;
  }
  for (int i = 0; i < d.stages; ++i) {
    svg.line(kLeft + i * stage, top + 14, kLeft + i * stage, top + 26 + kHeight, "#333333", 1.2);
    if (stage > 24) svg.text(kLeft + (i + 0.5) * stage, top + 21, fmt::format("{}", i), 11, "middle");
  }
  svg.line(kLeft + d.stages * stage, top + 14, kLeft + d.stages * stage, top + 26 + kHeight, "#333333", 1.2);
  double lx = kLeft;
  const auto legend = [&](const char* name, std::int64_t bytes, int colour) {
    if (bytes <= 0) return;
    svg.rectangle(lx, top + 26 + kHeight + 10, 12, 12, kColours[colour]);
    const std::string words = fmt::format("{} {}", name, bytes);
    svg.text(lx + 17, top + 26 + kHeight + 20, words, 11.5);
    lx += 30 + 6.4 * static_cast<double>(words.size());
  };
  legend("activations", d.stage_activations, 0);
  legend("weights", d.stage_weights, 1);
  legend("scales", d.stage_scales, 2);
  legend("zeros", d.stage_zeros, 4);
  legend("sums", d.sums, 3);
  legend("outputs", d.staging, 5);
  legend("barriers", d.barriers, 6);
  svg.text(lx + 4, top + 26 + kHeight + 20, "(bytes; of one stage where it has stages)", 11.5);
  return top + 26 + kHeight + 44;
}

std::string picture(const Plan& plan, const PlanWords& words) {
  const auto draw = [&](Svg& svg) {
    const std::string title = fmt::format("{} {}: {} on {}", plan.details.implementation, plan.details.policy, text_of(words), plan.device);
    svg.text(20, 28, title, title.size() > 74 ? 15 : 18, "start", true);
    svg.text(20, 48,
             fmt::format("{} blocks of {} threads, {} a multiprocessor, {} multiprocessors", plan.details.blocks, plan.details.threads,
                         plan.details.blocks_per_sm, plan.details.multiprocessors),
             12);
    double y = draw_tiles(svg, plan, words, 84);
    y = draw_splits(svg, plan, words, y);
    return draw_shared(svg, plan, y);
  };
  Svg measure(920, 100, "plan");
  const double height = draw(measure);
  Svg svg(920, height, "plan");
  draw(svg);
  return svg.take();
}

int run(const Words& words) {
  const Plan plan = read_plan(words.plan);
  print(plan, words.plan);
  if (!words.svg.empty()) {
    write_picture(words.svg, picture(plan, words.plan));
    fmt::print("written: {}\n", words.svg);
  }
  return kOk;
}

}  // namespace

Runner add_show_plan(Arguments& arguments) {
  auto words = std::make_shared<Words>();
  add_plan_options(arguments, words->plan);
  arguments.add_option("--svg", words->svg, "File for the picture").value_name("FILE");
  arguments.footer("Example:\n  billfish show plan --m 16 --n 4096 --k 4096 --device sm_90 --svg plan.svg");
  return [words] { return run(*words); };
}

}  // namespace billfish::cli
