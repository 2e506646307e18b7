// SPDX-License-Identifier: Apache-2.0
// A matrix of more than 2^31 codes, there and back. The source is memory that was never touched (zero pages cost
// nothing) but for a few planted codes.
#include <gtest/gtest.h>
#include <sys/mman.h>

#include "layout/gptq.hpp"
#include "layout/marlin_weights.hpp"
#include "pack/pack.hpp"
#include "reference/reference.hpp"

namespace billfish {
namespace {

class Pages {
 public:
  explicit Pages(std::int64_t bytes) : bytes_(static_cast<std::size_t>(bytes)) {
    memory_ = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory_ == MAP_FAILED) memory_ = nullptr;
  }
  ~Pages() {
    if (memory_ != nullptr) munmap(memory_, bytes_);
  }
  Pages(const Pages&) = delete;
  void forget() { madvise(memory_, bytes_, MADV_DONTNEED); }  // zero pages again
  std::uint32_t* words() { return static_cast<std::uint32_t*>(memory_); }

 private:
  std::size_t bytes_;
  void* memory_;
};

std::int64_t words_not_zero(const std::uint32_t* words, std::int64_t count) {
  std::int64_t found = 0;
  for (std::int64_t i = 0; i < count; ++i) found += words[i] != 0;
  return found;
}

TEST(LargeMatrix, BeyondTwoToThe31Codes) {
  QuantizedMatrix source;
  source.format = Format::gptq_v2;
  source.type = WeightType::u4b8;
  source.n = 65536 + 64;
  source.k = source.group = 32768 + 16;
  const std::int64_t words = source.packed_code_words();  // as many in either form: no padding
  ASSERT_GT(source.n * source.k, std::int64_t{1} << 31);
  Pages given(words * 4), packed(words * 4);
  ASSERT_NE(given.words(), nullptr);
  ASSERT_NE(packed.words(), nullptr);
  std::vector<std::uint16_t> scales(static_cast<std::size_t>(source.n), 0x2000), packed_scales(scales.size());
  source.codes = given.words();
  source.scales = scales.data();

  struct Planted {
    std::int64_t k, n;
    std::uint32_t code;
  };
  // No two in one word of either form.
  const Planted planted[] = {{0, 0, 1},          {0, 65599, 2},     {32783, 0, 3},    {32783, 65599, 4}, {16384, 32768, 5},
                             {32000, 65536, 15}, {32767, 65535, 7}, {8191, 65535, 8}, {32768, 1, 9},     {20000, 40000, 10}};
  const auto plant = [&] {
    for (const Planted& p : planted) {
      const layout::Place place = layout::gptq_code(4, p.k, p.n, source.n);
      given.words()[place.word] |= p.code << place.shift;
    }
  };
  plant();

  ThreadPool pool(2);
  const Parallel parallel = {.pool = &pool};
  PackedMatrix target;
  target.codes = packed.words();
  target.scales = packed_scales.data();
  const Status status = pack::pack(source, target, parallel);
  ASSERT_TRUE(status.ok()) << status.message();
  for (const Planted& p : planted) EXPECT_EQ(reference::code_at(target, p.k, p.n), static_cast<int>(p.code)) << p.k << " " << p.n;
  EXPECT_EQ(words_not_zero(packed.words(), words), static_cast<std::int64_t>(std::size(planted)));

  given.forget();
  ASSERT_TRUE(pack::unpack(target, source, parallel).ok());
  for (const Planted& p : planted) EXPECT_EQ(reference::code_at(source, p.k, p.n), static_cast<int>(p.code)) << p.k << " " << p.n;
  EXPECT_EQ(words_not_zero(given.words(), words), static_cast<std::int64_t>(std::size(planted)));
}

}  // namespace
}  // namespace billfish
