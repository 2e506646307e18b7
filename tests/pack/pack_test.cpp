// SPDX-License-Identifier: Apache-2.0
// The fast packer against the oracle's, byte for byte, over random shapes, formats and orders; and back, byte for byte.
#include "pack/pack.hpp"

#include <gtest/gtest.h>

#include <string>

#include "pack/random_matrix.hpp"
#include "pack/tile_kernels.hpp"
#include "reference/reference.hpp"

namespace billfish {
namespace {

using testing::Checkpoint;
using testing::Order;
using testing::Packed;
using testing::Recipe;

std::string describe(const Recipe& r) {
  return "format " + std::to_string(static_cast<int>(r.format)) + " " + std::string(name_of(r.type)) + " scales " +
         std::string(name_of(r.scale_type)) + " n=" + std::to_string(r.n) + " k=" + std::to_string(r.k) +
         " group=" + std::to_string(r.group) + " order " + std::to_string(static_cast<int>(r.order)) + " skew " + std::to_string(r.skew);
}

Recipe random_recipe(std::mt19937_64& random) {
  constexpr Format kFormats[] = {Format::gptq_v1, Format::gptq_v2, Format::awq, Format::compressed_tensors, Format::raw};
  constexpr std::int64_t kSides[] = {1, 7, 8, 15, 16, 17, 40, 48, 63, 64, 65, 90, 120, 128, 136, 192, 200, 320, 333};
  constexpr std::int64_t kGroups[] = {-1, 8, 16, 32, 48, 64, 128, 1000};
  const auto pick = [&](const auto& list) { return list[random() % std::size(list)]; };
  Recipe r;
  r.format = pick(kFormats);
  r.type = static_cast<WeightType>(random() % (r.format == Format::awq ? 2 : 4));
  r.scale_type = static_cast<ElementType>(random() % 3);
  r.n = pick(kSides);
  r.k = pick(kSides);
  r.group = pick(kGroups);
  if (r.format == Format::awq) {
    r.n = round_up(r.n, 8);
  } else {
    r.order = static_cast<Order>(random() % 5);
  }
  r.bias = random() % 2 == 0;
  r.stored_constant_zeros = random() % 2 == 0;
  r.skew = random() % 3 == 0 ? 2 : 0;
  return r;
}

class PackWith : public ::testing::TestWithParam<const pack::TileKernels*> {};

TEST_P(PackWith, EqualsTheOracleByteForByte) {
  std::mt19937_64 random(31);
  ThreadPool pool(3);
  const Parallel parallels[] = {Parallel(), {.pool = &pool}};
  for (int trial = 0; trial < 400; ++trial) {
    const Recipe recipe = random_recipe(random);
    SCOPED_TRACE(describe(recipe));
    Checkpoint source;
    fill_random(source, recipe, random);
    const auto sizes = pack::packed_sizes(source.matrix);
    ASSERT_TRUE(sizes.ok()) << sizes.status().message();
    Packed expected, actual;
    expected.reset(*sizes, 0x11);
    actual.reset(*sizes, 0xee);
    reference::pack(source.matrix, expected.matrix);
    const Status status = pack::pack_with(*GetParam(), source.matrix, actual.matrix, parallels[trial % 2]);
    ASSERT_TRUE(status.ok()) << status.message();
    ASSERT_TRUE(expected.intact() && actual.intact());
    ASSERT_TRUE(expected == actual);
    ASSERT_TRUE(source.codes.intact() && source.zeros.intact() && source.scales.intact());

    // And back to where it came from: every byte, also part-full words and the borrow of v1 zeros.
    Checkpoint back;
    back.like(source.matrix, recipe.format, recipe.skew);
    if (source.matrix.zeros == nullptr) back.matrix.zeros = nullptr;
    if (source.matrix.bias == nullptr) back.matrix.bias = nullptr;
    if (source.matrix.g_idx != nullptr) back.matrix.g_idx = back.g_idx.data();
    const Status returned = pack::unpack_with(*GetParam(), actual.matrix, back.matrix, parallels[trial % 2]);
    ASSERT_TRUE(returned.ok()) << returned.message();
    EXPECT_TRUE(back.codes == source.codes);
    EXPECT_TRUE(back.scales == source.scales);
    EXPECT_TRUE(source.matrix.zeros == nullptr || back.zeros == source.zeros);
    EXPECT_TRUE(source.matrix.bias == nullptr || back.bias == source.bias);
    EXPECT_TRUE(source.matrix.g_idx == nullptr || back.g_idx == source.g_idx);
    EXPECT_TRUE(back.codes.intact() && back.zeros.intact() && back.scales.intact() && back.bias.intact());
  }
}

// Whole tiles, several side by side and several tasks: what the vector kernels are for.
TEST_P(PackWith, WholeTilesOfEveryFormat) {
  std::mt19937_64 random(32);
  ThreadPool pool(2);
  for (const Format format : {Format::gptq_v1, Format::awq, Format::compressed_tensors, Format::raw}) {
    for (const WeightType type : {WeightType::u4, WeightType::u8}) {
      for (const Order order : {Order::none, Order::permuted}) {
        if (format == Format::awq && (type == WeightType::u8 || order != Order::none)) continue;
        const Recipe recipe = {.format = format, .type = type, .n = 448, .k = 1072, .group = 128, .order = order};
        SCOPED_TRACE(describe(recipe));
        Checkpoint source;
        fill_random(source, recipe, random);
        const auto sizes = pack::packed_sizes(source.matrix);
        ASSERT_TRUE(sizes.ok());
        Packed expected, actual;
        expected.reset(*sizes, 0x11);
        actual.reset(*sizes, 0xee);
        reference::pack(source.matrix, expected.matrix);
        ASSERT_TRUE(pack::pack_with(*GetParam(), source.matrix, actual.matrix, {.pool = &pool}).ok());
        EXPECT_TRUE(expected == actual);
      }
    }
  }
}

std::vector<const pack::TileKernels*> tables() {
  std::vector<const pack::TileKernels*> tables = {&pack::scalar_tile_kernels};
  if (&pack::best_tile_kernels() != tables[0]) tables.push_back(&pack::best_tile_kernels());
  return tables;
}
INSTANTIATE_TEST_SUITE_P(Tables, PackWith, ::testing::ValuesIn(tables()), [](const auto& table) { return std::string(table.param->name); });

// Into another format and to Marlin bytes again: nothing may change on the way.
TEST(Unpack, ThroughAnyFormatAndBack) {
  std::mt19937_64 random(33);
  for (int trial = 0; trial < 200; ++trial) {
    const Recipe recipe = random_recipe(random);
    const Format other = static_cast<Format>(random() % 6);
    SCOPED_TRACE(describe(recipe) + " through " + std::to_string(static_cast<int>(other)));
    Checkpoint source, between;
    fill_random(source, recipe, random);
    const auto sizes = pack::packed_sizes(source.matrix);
    ASSERT_TRUE(sizes.ok());
    Packed first, second;
    first.reset(*sizes, 0x11);
    second.reset(*sizes, 0xee);
    ASSERT_TRUE(pack::pack(source.matrix, first.matrix, Parallel()).ok());
    between.like(source.matrix, other);
    if (other != Format::awq) between.matrix.g_idx = between.g_idx.data();
    if (source.matrix.bias == nullptr) between.matrix.bias = nullptr;
    if (first.matrix.perm != nullptr && other == Format::marlin) between.matrix.perm = between.perm.data();
    const Status status = pack::unpack(first.matrix, between.matrix, Parallel());
    if (other == Format::awq && (bits_of(recipe.type) == 8 || recipe.n % 8 != 0 || sizes->perm > 0 || sizes->g_idx > 0)) {
      EXPECT_EQ(status.code(), Code::unsupported);
      continue;
    }
    ASSERT_TRUE(status.ok()) << status.message();
    const auto again = pack::packed_sizes(between.matrix);
    ASSERT_TRUE(again.ok()) << again.status().message();
    EXPECT_EQ(again->perm, sizes->perm);
    EXPECT_EQ(again->g_idx, sizes->g_idx);
    const Status packed = pack::pack(between.matrix, second.matrix, Parallel());
    ASSERT_TRUE(packed.ok()) << packed.message();
    EXPECT_TRUE(first == second);
  }
}

}  // namespace
}  // namespace billfish
