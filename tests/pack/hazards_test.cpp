// SPDX-License-Identifier: Apache-2.0
// What real files do and must not break, one test a hazard; and what must be refused, with its message.
#include <gtest/gtest.h>

#include <limits>
#include <string>

#include "layout/marlin_scales.hpp"
#include "layout/marlin_weights.hpp"
#include "pack/pack.hpp"
#include "pack/random_matrix.hpp"
#include "reference/reference.hpp"

namespace billfish {
namespace {

using testing::Checkpoint;
using testing::Order;
using testing::Packed;
using testing::Recipe;

struct Fixture {
  std::mt19937_64 random{77};
  Checkpoint source;
  Packed packed;

  explicit Fixture(const Recipe& recipe) { fill_random(source, recipe, random); }
  Status pack() {
    const auto sizes = pack::packed_sizes(source.matrix);
    if (!sizes.ok()) return sizes.status();
    packed.reset(*sizes, 0xee);
    return pack::pack(source.matrix, packed.matrix, Parallel());
  }
  std::string refusal(Code code) {
    const Status status = pack();
    EXPECT_EQ(status.code(), code) << status.message();
    return status.message();
  }
};

void expect_says(const std::string& message, std::initializer_list<const char*> parts) {
  for (const char* part : parts) EXPECT_NE(message.find(part), std::string::npos) << "\"" << part << "\" is not in: " << message;
}

TEST(GptqV1, ZeroPointOfZeroBorrowsFromTheNextField) {
  Fixture f({.format = Format::gptq_v1, .type = WeightType::u4, .n = 64, .k = 16, .group = 16});
  // What a writer does: zeros 0, 0, 5, 15, 1, 0, 8, 0 from the lowest field up, minus 0x11111111 as one number.
  const std::uint32_t zeros = 0x0801'f500u;
  const std::uint32_t stored = zeros - 0x11111111u;
  EXPECT_EQ(stored, 0xf6f0e3efu);  // field by field it would be 0xf7f0e4ff
  std::memcpy(f.source.zeros.begin(), &stored, 4);
  ASSERT_TRUE(f.pack().ok());
  const int expected[] = {0, 0, 5, 15, 1, 0, 8, 0};
  for (int n = 0; n < 8; ++n) EXPECT_EQ(reference::zero_at(f.packed.matrix, 0, n), expected[n]) << n;
}

TEST(GptqV1, SymmetricZerosAreSevensOnDisk) {
  Fixture f({.format = Format::gptq_v1, .type = WeightType::u4b8, .n = 72, .k = 64, .group = 32, .stored_constant_zeros = true});
  std::uint32_t word = 0;
  std::memcpy(&word, f.source.zeros.begin(), 4);
  EXPECT_EQ(word, 0x77777777u);
  EXPECT_TRUE(f.pack().ok());
  EXPECT_EQ(f.packed.matrix.zeros, nullptr);
}

TEST(Symmetric, OtherZerosAreRefusedByGroupAndColumn) {
  Fixture f({.format = Format::gptq_v2, .type = WeightType::u4b8, .n = 72, .k = 64, .group = 32, .stored_constant_zeros = true});
  f.source.zeros.as<std::uint8_t>()[(1 * 9 + 8) * 4 + 1] = 0x98;  // group 1, word 8, field 3: column 67 holds 9
  expect_says(f.refusal(Code::bad_input), {"k-group 1", "column 67", "is 9", "u4b8", "8 everywhere"});
  Fixture g(
      {.format = Format::compressed_tensors, .type = WeightType::u8b128, .n = 72, .k = 64, .group = 32, .stored_constant_zeros = true});
  g.source.zeros.as<std::uint8_t>()[0] = 127;
  expect_says(g.refusal(Code::bad_input), {"k-group 0", "column 0", "is 127", "u8b128"});
}

TEST(ActOrder, TrivialGIdxNeedsNoPerm) {
  for (const std::int64_t k : {128, 176}) {  // 176: the last group is short
    Fixture f({.format = Format::gptq_v1, .type = WeightType::u4b8, .n = 64, .k = k, .group = 32, .order = Order::trivial});
    const auto sizes = pack::packed_sizes(f.source.matrix);
    ASSERT_TRUE(sizes.ok());
    EXPECT_EQ(sizes->perm, 0);
    EXPECT_EQ(sizes->g_idx, 0);
  }
}

TEST(ActOrder, TiesKeepTheirOrder) {
  Fixture f({.format = Format::gptq_v2, .type = WeightType::u4b8, .n = 8, .k = 8, .group = 4, .order = Order::permuted});
  f.source.g_idx = {1, 0, 1, 0, 0, 1, 0, 1};
  f.source.matrix.g_idx = f.source.g_idx.data();
  ASSERT_TRUE(f.pack().ok());
  const std::int32_t expected[] = {1, 3, 4, 6, 0, 2, 5, 7};
  for (int row = 0; row < 8; ++row) EXPECT_EQ(f.packed.matrix.perm[row], expected[row]) << row;
  EXPECT_EQ(f.packed.matrix.g_idx, nullptr);
}

TEST(ActOrder, UnevenGroupsKeepTheirGIdxSorted) {
  Fixture f({.format = Format::gptq_v2, .type = WeightType::u4, .n = 8, .k = 8, .group = 4, .order = Order::permuted});
  f.source.g_idx = {1, 1, 0, 1, 1, 1, 0, 1};
  f.source.matrix.g_idx = f.source.g_idx.data();
  ASSERT_TRUE(f.pack().ok());
  const std::int32_t groups[] = {0, 0, 1, 1, 1, 1, 1, 1};
  for (int row = 0; row < 8; ++row) EXPECT_EQ(f.packed.matrix.g_idx[row], groups[row]) << row;
  for (int k = 0; k < 8; ++k) {
    const std::int64_t row = reference::packed_rows(f.packed.matrix)[static_cast<std::size_t>(k)];
    for (int n = 0; n < 8; ++n) {
      EXPECT_EQ(reference::code_at(f.packed.matrix, row, n), reference::code_at(f.source.matrix, k, n));
      EXPECT_EQ(reference::zero_at(f.packed.matrix, row, n), reference::zero_at(f.source.matrix, k, n));
      EXPECT_EQ(reference::scale_at(f.packed.matrix, row, n), reference::scale_at(f.source.matrix, k, n));
    }
  }
}

TEST(ActOrder, GroupsOutOfRangeAreRefused) {
  for (const std::int32_t bad : {-1, 4, std::numeric_limits<std::int32_t>::max()}) {
    Fixture f({.format = Format::gptq_v1, .type = WeightType::u4b8, .n = 64, .k = 128, .group = 32, .order = Order::permuted});
    f.source.g_idx[100] = bad;
    expect_says(f.refusal(Code::bad_input), {"g_idx[100]", std::to_string(bad).c_str(), "4 groups"});
  }
}

TEST(Marlin, ABroughtPermIsObeyedAndChecked) {
  Fixture f({.format = Format::gptq_v1, .type = WeightType::u4, .n = 72, .k = 48, .group = 16, .order = Order::permuted});
  ASSERT_TRUE(f.pack().ok());
  QuantizedMatrix marlin = f.source.matrix;
  marlin.format = Format::marlin;
  marlin.codes = f.packed.matrix.codes;
  marlin.scales = f.packed.matrix.scales;
  marlin.zeros = f.packed.matrix.zeros;
  marlin.g_idx = nullptr;
  std::vector<std::int32_t> perm(f.packed.matrix.perm, f.packed.matrix.perm + 48);
  std::swap(perm[3], perm[4]);  // two rows of one group: another order among ties
  marlin.perm = perm.data();
  Packed copy;
  const auto sizes = pack::packed_sizes(marlin);
  ASSERT_TRUE(sizes.ok());
  copy.reset(*sizes, 0xee);
  ASSERT_TRUE(pack::pack(marlin, copy.matrix, Parallel()).ok());
  EXPECT_TRUE(copy.codes == f.packed.codes && copy.scales == f.packed.scales && copy.zeros == f.packed.zeros);
  EXPECT_EQ(std::vector<std::int32_t>(copy.matrix.perm, copy.matrix.perm + 48), perm);
  perm[7] = perm[9];
  Status status = pack::pack(marlin, copy.matrix, Parallel());
  EXPECT_EQ(status.code(), Code::bad_input);
  expect_says(status.message(), {"perm[9]", "once"});
  perm[7] = 48;
  status = pack::pack(marlin, copy.matrix, Parallel());
  expect_says(status.message(), {"perm[7] is 48", "0 to 47"});
}

TEST(Marlin, ForeignPaddingIsReplaced) {
  Fixture f({.format = Format::gptq_v1, .type = WeightType::u4, .n = 72, .k = 40, .group = 16});
  ASSERT_TRUE(f.pack().ok());
  QuantizedMatrix marlin = f.source.matrix;
  marlin.format = Format::marlin;
  std::vector<std::uint32_t> codes(f.packed.matrix.codes, f.packed.matrix.codes + marlin.packed_code_words());
  for (std::int64_t row = 0; row < 48; ++row) {
    for (std::int64_t n = 0; n < 128; ++n) {
      if (row < 40 && n < 72) continue;
      const layout::Place place = layout::marlin_code(4, row, n, 128);
      codes[static_cast<std::size_t>(place.word)] |= 0xfu << place.shift;
    }
  }
  marlin.codes = codes.data();
  marlin.scales = f.packed.matrix.scales;
  marlin.zeros = f.packed.matrix.zeros;
  Packed copy;
  copy.reset(*pack::packed_sizes(marlin), 0xee);
  ASSERT_TRUE(pack::pack(marlin, copy.matrix, Parallel()).ok());
  EXPECT_TRUE(copy.codes == f.packed.codes);
}

TEST(Padding, ContributesExactlyNothing) {
  for (const WeightType type : {WeightType::u4b8, WeightType::u4, WeightType::u8b128, WeightType::u8}) {
    Fixture f({.format = Format::raw, .type = type, .n = 70, .k = 90, .group = 32});
    ASSERT_TRUE(f.pack().ok());
    for (std::int64_t row = 0; row < 96; ++row) {
      for (std::int64_t n = 0; n < 128; ++n) {
        if (row < 90 && n < 70) continue;
        EXPECT_EQ(reference::code_at(f.packed.matrix, row, n), reference::zero_at(f.packed.matrix, row, n)) << row << " " << n;
        EXPECT_TRUE(n < 70 || reference::scale_at(f.packed.matrix, row, n) == 0.0f);
      }
    }
  }
}

TEST(Scales, GroupEqualToKUsesThePerColumnOrder) {
  for (const std::int64_t group : {128, -1, 4096}) {
    Fixture f({.format = Format::gptq_v2, .type = WeightType::u4b8, .n = 64, .k = 128, .group = group});
    ASSERT_TRUE(f.pack().ok());
    const auto* scales = static_cast<const std::uint16_t*>(f.packed.matrix.scales);
    const auto* given = static_cast<const std::uint16_t*>(f.source.matrix.scales);
    EXPECT_EQ(scales[2], given[8]);  // position 2 is column 8 per column, column 16 grouped
    EXPECT_EQ(scales[8], given[2]);
  }
}

TEST(Scales, NonFiniteOnesAreRefusedByGroupAndColumn) {
  const float bad[] = {std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity(),
                       std::numeric_limits<float>::quiet_NaN()};
  for (const ElementType type : {ElementType::f16, ElementType::bf16, ElementType::f32}) {
    for (const float value : bad) {
      Fixture f({.format = Format::gptq_v1, .type = WeightType::u4b8, .scale_type = type, .n = 328, .k = 128, .group = 32});
      store_element(f.source.scales.begin(), type, 2 * 328 + 300, value);
      store_element(f.source.scales.begin(), type, 3 * 328 + 1, value);  // a later one
      expect_says(f.refusal(Code::bad_input), {"k-group 2", "column 300", "finite"});
      Fixture g({.format = Format::compressed_tensors, .type = WeightType::u4b8, .scale_type = type, .n = 72, .k = 128, .group = 32});
      store_element(g.source.scales.begin(), type, 71 * 4 + 3, value);
      expect_says(g.refusal(Code::bad_input), {"k-group 3", "column 71", "finite"});
    }
  }
}

TEST(Scales, NegativeZeroAndSubnormalOnesAreKept) {
  Fixture f({.format = Format::gptq_v1, .type = WeightType::u4b8, .n = 64, .k = 64, .group = 32});
  auto* scales = f.source.scales.as<std::uint16_t>();
  scales[0] = 0x8000;  // -0
  scales[1] = 0x0001;  // the smallest there is
  scales[2] = 0xbc00;  // -1
  ASSERT_TRUE(f.pack().ok());
  const auto* packed = static_cast<const std::uint16_t*>(f.packed.matrix.scales);
  EXPECT_EQ(packed[0], 0x8000);
  EXPECT_EQ(packed[8], 0x0001);
  EXPECT_EQ(packed[16], 0xbc00);
  EXPECT_TRUE(f.packed.matrix.wide_scales);
}

TEST(Scales, WideOnesAreFlagged) {
  struct Case {
    WeightType type;
    float scale;
    bool wide;
  };
  const Case cases[] = {{WeightType::u4b8, 8188.0f, false},  // 8 * 8188 = 65504, the largest f16
                        {WeightType::u4b8, 8192.0f, true},      {WeightType::u4b8, -8192.0f, true},  {WeightType::u8b128, 511.75f, false},
                        {WeightType::u8b128, 512.0f, true},     {WeightType::u4b8, 0x1p-14f, false},  // the smallest normal f16
                        {WeightType::u4b8, 0x1.ff8p-15f, true}, {WeightType::u4b8, 0.0f, false}};
  for (const Case& c : cases) {
    for (const ElementType type : {ElementType::f16, ElementType::f32}) {
      Fixture f({.format = Format::gptq_v1, .type = c.type, .scale_type = type, .n = 64, .k = 64, .group = 32});
      store_element(f.source.scales.begin(), type, 64 + 9, c.scale);
      ASSERT_TRUE(f.pack().ok());
      EXPECT_EQ(f.packed.matrix.wide_scales, c.wide) << name_of(c.type) << " " << c.scale;
      QuantizedMatrix marlin = f.source.matrix;
      marlin.format = Format::marlin;
      marlin.codes = f.packed.matrix.codes;
      marlin.scales = f.packed.matrix.scales;
      EXPECT_EQ(pack::view_marlin(marlin).wide_scales, c.wide);
    }
  }
  // With stored zeros the largest difference counts: 12 for a zero of 3, 15 for a zero of 0.
  for (const int zero : {3, 0}) {
    Fixture f({.format = Format::raw, .type = WeightType::u4, .scale_type = ElementType::f32, .n = 64, .k = 64, .group = 32});
    store_element(f.source.scales.begin(), ElementType::f32, 9, 5000.0f);
    f.source.zeros.as<std::uint8_t>()[9] = static_cast<std::uint8_t>(zero);
    ASSERT_TRUE(f.pack().ok());
    EXPECT_EQ(f.packed.matrix.wide_scales, zero == 0);
  }
}

TEST(Raw, CodesAndZerosBeyondTheTypeAreRefused) {
  Fixture f({.format = Format::raw, .type = WeightType::u4, .n = 100, .k = 50, .group = 16});
  f.source.codes.as<std::uint8_t>()[49 * 100 + 99] = 16;
  f.source.codes.as<std::uint8_t>()[33 * 100 + 7] = 200;
  expect_says(f.refusal(Code::bad_input), {"row 33", "column 7", "is 200", "u4", "0 to 15"});
  Fixture g({.format = Format::raw, .type = WeightType::u4, .n = 100, .k = 50, .group = 16, .order = Order::permuted});
  g.source.codes.as<std::uint8_t>()[49 * 100 + 99] = 16;
  expect_says(g.refusal(Code::bad_input), {"row 49", "column 99", "is 16"});
  Fixture h({.format = Format::raw, .type = WeightType::u4, .n = 100, .k = 50, .group = 16});
  h.source.zeros.as<std::uint8_t>()[3 * 100 + 98] = 16;
  expect_says(h.refusal(Code::bad_input), {"k-group 3", "column 98", "is 16", "0 to 15"});
}

TEST(Shapes, ThatCannotBeAreRefused) {
  QuantizedMatrix m;
  m.format = Format::awq;
  m.type = WeightType::u8;
  m.n = m.k = m.group = 64;
  expect_says(pack::packed_sizes(m).status().message(), {"AWQ", "4-bit", "u8"});
  m.type = WeightType::u4;
  m.n = 60;
  expect_says(pack::packed_sizes(m).status().message(), {"AWQ", "n is 60"});
  m.format = Format::gptq_v1;
  m.n = -1;
  expect_says(pack::packed_sizes(m).status().message(), {"n is -1"});
  m.n = std::numeric_limits<std::int64_t>::max();
  EXPECT_EQ(pack::packed_sizes(m).status().code(), Code::invalid_argument);
  m.n = m.k = std::int64_t{1} << 40;
  m.group = 128;
  expect_says(pack::packed_sizes(m).status().message(), {"64-bit"});
  m.n = 64;
  m.k = 128;
  m.group = 0;
  expect_says(pack::packed_sizes(m).status().message(), {"group is 0"});
}

TEST(Shapes, EmptyMatricesArePacked) {
  for (const auto& [n, k] : {std::pair<std::int64_t, std::int64_t>{0, 64}, {64, 0}, {0, 0}}) {
    QuantizedMatrix m;
    m.n = n;
    m.k = m.group = k;
    const auto sizes = pack::packed_sizes(m);
    ASSERT_TRUE(sizes.ok());
    EXPECT_EQ(sizes->codes, 0);
    PackedMatrix packed;
    EXPECT_TRUE(pack::pack(m, packed, Parallel()).ok());
    EXPECT_EQ(packed.n, n);
  }
}

TEST(Pointers, MissingOnesAreNamed) {
  Fixture f(
      {.format = Format::gptq_v1, .type = WeightType::u4, .n = 64, .k = 64, .group = 32, .order = Order::permuted_uneven, .bias = true});
  ASSERT_TRUE(f.pack().ok());
  const PackedMatrix whole = f.packed.matrix;
  const auto without = [&](auto member) {
    PackedMatrix target = whole;
    target.*member = nullptr;
    return pack::pack(f.source.matrix, target, Parallel()).message();
  };
  expect_says(without(&PackedMatrix::codes), {"codes", "null"});
  expect_says(without(&PackedMatrix::scales), {"scales", "null"});
  expect_says(without(&PackedMatrix::zeros), {"zeros", "null"});
  expect_says(without(&PackedMatrix::perm), {"perm", "null"});
  expect_says(without(&PackedMatrix::g_idx), {"g_idx", "null"});
  expect_says(without(&PackedMatrix::bias), {"bias", "null"});
  QuantizedMatrix source = f.source.matrix;
  source.zeros = nullptr;
  PackedMatrix target = whole;
  expect_says(pack::pack(source, target, Parallel()).message(), {"zeros", "null"});
}

TEST(Unpack, RefusesWhatTheFormatCannotHold) {
  Fixture f({.format = Format::gptq_v1, .type = WeightType::u4, .n = 64, .k = 64, .group = 32, .order = Order::permuted});
  ASSERT_TRUE(f.pack().ok());
  Checkpoint back;
  back.like(f.source.matrix, Format::awq);
  Status status = pack::unpack(f.packed.matrix, back.matrix, Parallel());
  EXPECT_EQ(status.code(), Code::unsupported);
  expect_says(status.message(), {"AWQ", "activation order"});
  back.like(f.source.matrix, Format::gptq_v2);
  status = pack::unpack(f.packed.matrix, back.matrix, Parallel());
  expect_says(status.message(), {"g_idx", "null"});
  back.matrix.group = 16;
  status = pack::unpack(f.packed.matrix, back.matrix, Parallel());
  expect_says(status.message(), {"group = 32"});
}

TEST(Unpack, BiasInMarlinOrderComesBackPlain) {
  Fixture f({.format = Format::gptq_v1, .type = WeightType::u4b8, .n = 64, .k = 64, .group = 32, .bias = true});
  ASSERT_TRUE(f.pack().ok());
  const std::vector<std::uint16_t> plain(f.packed.bias.as<std::uint16_t>(), f.packed.bias.as<std::uint16_t>() + 64);
  for (int n = 0; n < 64; ++n) f.packed.bias.as<std::uint16_t>()[layout::marlin_column_scale(n)] = plain[static_cast<std::size_t>(n)];
  f.packed.matrix.bias_permuted = true;
  Checkpoint back;
  back.like(f.source.matrix, Format::gptq_v1);
  ASSERT_TRUE(pack::unpack(f.packed.matrix, back.matrix, Parallel()).ok());
  EXPECT_TRUE(back.bias == f.source.bias);
}

}  // namespace
}  // namespace billfish
