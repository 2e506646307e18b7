// SPDX-License-Identifier: Apache-2.0
// The fuzzers' seeds, replayed without a fuzzer: good ones are accepted, bad ones refused, and none breaks a promise of its reader.
#include <gtest/gtest.h>

#include "../../fuzz/targets/checkpoint.hpp"
#include "../../fuzz/targets/config.hpp"
#include "../../fuzz/targets/documents.hpp"
#include "../../fuzz/targets/npy.hpp"
#include "../../fuzz/targets/pattern.hpp"
#include "../../fuzz/targets/plans.hpp"
#include "../../fuzz/targets/quantize.hpp"
#include "../../fuzz/targets/raw.hpp"
#include "../../fuzz/targets/safetensors.hpp"
#include "../../fuzz/targets/shapes.hpp"
#include "formats/files.hpp"

namespace billfish {
namespace {

struct Target {
  const char* name;
  bool (*run)(const std::uint8_t*, std::size_t);
  std::size_t least;  // seeds that there must be
};

class CorpusTest : public testing::TestWithParam<Target> {};

TEST_P(CorpusTest, GoodSeedsAreAcceptedAndBadOnesRefused) {
  const std::filesystem::path folder = std::filesystem::path(BILLFISH_SOURCE_DIR "/tests/corpus") / GetParam().name;
  std::size_t count = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    const std::string bytes = test::read_file(entry.path().string());
    const bool accepted = GetParam().run(reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
    EXPECT_FALSE(name.starts_with("good-") && !accepted) << name;
    EXPECT_FALSE(name.starts_with("bad-") && accepted) << name;
    ++count;
  }
  EXPECT_GE(count, GetParam().least);
}

INSTANTIATE_TEST_SUITE_P(, CorpusTest,
                         testing::Values(Target{"safetensors", fuzz::safetensors, 19}, Target{"checkpoint", fuzz::checkpoint, 17},
                                         Target{"config", fuzz::config, 17}, Target{"pattern", fuzz::pattern, 15},
                                         Target{"plans", fuzz::plans, 17}, Target{"quantize", fuzz::quantize, 12},
                                         Target{"raw", fuzz::raw, 20}, Target{"npy", fuzz::npy, 38},
                                         Target{"documents", fuzz::documents, 40}, Target{"shapes", fuzz::shapes, 20}),
                         [](const auto& parameters) { return std::string(parameters.param.name); });

}  // namespace
}  // namespace billfish
