// SPDX-License-Identifier: Apache-2.0
// Packing on the device gives the bytes of the CPU packer's oracle: every format, type, ragged shape, act order, in place; and its speed.
#include <algorithm>
#include <cstdio>
#include <vector>

#include "core/half.hpp"
#include "cuda/cuda.hpp"
#include "pack/pack.hpp"
#include "support.hpp"

namespace billfish::cuda_test {
namespace {

// A checkpoint's arrays, on the host and on the device.
struct Checkpoint {
  std::vector<std::uint32_t> codes, zeros;
  std::vector<std::uint16_t> scales, bias;
  std::vector<std::int32_t> g_idx;
  Buffer device_codes, device_zeros, device_scales, device_g_idx, device_bias;
  QuantizedMatrix host, device;
};

std::size_t words(std::int64_t bits) { return static_cast<std::size_t>(ceil_div(bits, 32)); }

Checkpoint make_checkpoint(Format format, WeightType type, std::int64_t k, std::int64_t n, std::int64_t group, bool act_order,
                           std::uint64_t seed) {
  Random random(seed);
  Checkpoint c;
  QuantizedMatrix& q = c.host;
  q.format = format, q.type = type, q.k = k, q.n = n, q.group = resolve_group(group, k);
  const std::int64_t bits = bits_of(type), groups = q.groups();
  std::size_t code_words = 0, zero_words = 0;
  switch (format) {
    case Format::awq: code_words = static_cast<std::size_t>(k * (n / 8)), zero_words = static_cast<std::size_t>(groups * (n / 8)); break;
    case Format::compressed_tensors:
      code_words = static_cast<std::size_t>(n) * words(k * bits), zero_words = static_cast<std::size_t>(groups) * words(n * bits);
      break;
    case Format::raw: code_words = words(k * n * 8), zero_words = words(groups * n * 8); break;
    default: code_words = words(k * bits) * static_cast<std::size_t>(n), zero_words = static_cast<std::size_t>(groups) * words(n * bits);
  }
  c.codes.resize(code_words), c.zeros.resize(zero_words);
  const std::uint32_t mask = format == Format::raw && bits == 4 ? 0x0f0f0f0fu : ~0u;
  for (std::uint32_t& word : c.codes) word = static_cast<std::uint32_t>(random.next() >> 32) & mask;
  for (std::uint32_t& word : c.zeros) word = static_cast<std::uint32_t>(random.next() >> 32) & mask;
  c.scales.resize(static_cast<std::size_t>(groups * n));
  for (std::uint16_t& scale : c.scales) scale = f32_to_f16(random.uniform(0.01f, 0.02f));
  c.bias.resize(static_cast<std::size_t>(n));
  for (std::uint16_t& value : c.bias) value = f32_to_f16(random.uniform(-1.0f, 1.0f));
  if (act_order) {  // groups of equal size, in random order
    c.g_idx.resize(static_cast<std::size_t>(k));
    for (std::int64_t row = 0; row < k; ++row) c.g_idx[static_cast<std::size_t>(row)] = static_cast<std::int32_t>(row / q.group);
    for (std::int64_t i = k - 1; i > 0; --i) {
      std::swap(c.g_idx[static_cast<std::size_t>(i)], c.g_idx[static_cast<std::size_t>(random.below(i + 1))]);
    }
  }
  c.device_codes = Buffer(c.codes), c.device_zeros = Buffer(c.zeros), c.device_scales = Buffer(c.scales);
  c.device_g_idx = Buffer(c.g_idx), c.device_bias = Buffer(c.bias);
  c.device = q;
  q.codes = c.codes.data(), q.scales = c.scales.data(), q.bias = c.bias.data();
  q.zeros = has_zeros(type) ? c.zeros.data() : nullptr;
  q.g_idx = act_order ? c.g_idx.data() : nullptr;
  c.device.codes = c.device_codes.data(), c.device.scales = c.device_scales.data(), c.device.bias = c.device_bias.data();
  c.device.zeros = has_zeros(type) ? c.device_zeros.data() : nullptr;
  c.device.g_idx = act_order ? c.device_g_idx.as<std::int32_t>() : nullptr;
  c.device.device = {DeviceKind::cuda, 0};
  return c;
}

struct Packed {
  explicit Packed(const MatrixShape& shape)
      : codes(static_cast<std::size_t>(shape.packed_code_words()) * 4),
        scales(static_cast<std::size_t>(shape.packed_scales()) * 2),
        zeros(static_cast<std::size_t>(shape.packed_zero_words()) * 4),
        perm(static_cast<std::size_t>(shape.k) * 4),
        bias(static_cast<std::size_t>(shape.n) * 2) {
    matrix.codes = codes.as<std::uint32_t>(), matrix.scales = scales.data(), matrix.zeros = zeros.as<std::uint32_t>();
    matrix.perm = perm.as<std::int32_t>(), matrix.bias = bias.data();
    matrix.device = {DeviceKind::cuda, 0};
  }
  Buffer codes, scales, zeros, perm, bias;
  PackedMatrix matrix;
};

void expect_same_as_the_oracle(const Checkpoint& checkpoint, const Packed& packed, const std::string& what) {
  const MatrixShape& shape = checkpoint.host;
  std::vector<std::uint32_t> codes(static_cast<std::size_t>(shape.packed_code_words())),
      zeros(static_cast<std::size_t>(shape.packed_zero_words()));
  std::vector<std::uint16_t> scales(static_cast<std::size_t>(shape.packed_scales())), bias(static_cast<std::size_t>(shape.n));
  std::vector<std::int32_t> perm(static_cast<std::size_t>(shape.k)), g_idx(static_cast<std::size_t>(shape.k));
  PackedMatrix want;
  want.codes = codes.data(), want.scales = scales.data(), want.zeros = zeros.data(), want.bias = bias.data();
  want.perm = perm.data(), want.g_idx = g_idx.data();
  reference::pack(checkpoint.host, want);
  EXPECT_TRUE(packed.codes.download<std::uint32_t>() == codes) << what << ": codes";
  EXPECT_TRUE(packed.scales.download<std::uint16_t>() == scales) << what << ": scales";
  EXPECT_TRUE(packed.zeros.download<std::uint32_t>() == zeros) << what << ": zeros";
  EXPECT_TRUE(packed.bias.download<std::uint16_t>() == bias) << what << ": bias";
  if (checkpoint.host.g_idx != nullptr) EXPECT_TRUE(packed.perm.download<std::int32_t>() == perm) << what << ": perm";
  EXPECT_EQ(packed.matrix.perm != nullptr, checkpoint.host.g_idx != nullptr) << what;
  EXPECT_TRUE(packed.codes.guards_intact() && packed.scales.guards_intact() && packed.zeros.guards_intact() &&
              packed.perm.guards_intact() && packed.bias.guards_intact())
      << what << ": memory around the packed arrays";
}

TEST(SmallRepack, EveryFormatGivesTheBytesOfTheCpuPacker) {
  std::uint64_t seed = 1;
  for (const Format format : {Format::gptq_v1, Format::gptq_v2, Format::awq, Format::compressed_tensors, Format::raw}) {
    for (const WeightType type : {WeightType::u4b8, WeightType::u4, WeightType::u8b128, WeightType::u8}) {
      if (format == Format::awq && bits_of(type) == 8) continue;
      for (const std::int64_t n : {8, 64, 72, 320}) {
        for (const std::int64_t k : {16, 96, 256, 1408}) {
          for (const bool act_order : {false, true}) {
            if (act_order && (format == Format::awq || k < 64)) continue;
            const Checkpoint checkpoint = make_checkpoint(format, type, k, n, 32, act_order, ++seed);
            Packed packed(checkpoint.host);
            const Status status = cuda::pack(checkpoint.device, packed.matrix, nullptr);
            const std::string what = "format " + std::to_string(static_cast<int>(format)) + " " + std::string(name_of(type)) + " n " +
                                     std::to_string(n) + " k " + std::to_string(k) + (act_order ? " act order" : "");
            ASSERT_TRUE(status.ok()) << what << ": " << status.message();
            require(cudaDeviceSynchronize(), what.c_str());
            expect_same_as_the_oracle(checkpoint, packed, what);
          }
        }
      }
    }
  }
}

TEST(SmallRepack, RaggedKIsPaddedWithTheZeroOfItsColumn) {
  std::uint64_t seed = 900;
  for (const Format format : {Format::compressed_tensors, Format::raw, Format::gptq_v2}) {
    for (const WeightType type : {WeightType::u4b8, WeightType::u4, WeightType::u8}) {
      const std::int64_t k = format == Format::gptq_v2 ? 88 : 90;
      for (const std::int64_t group : {std::int64_t{-1}, std::int64_t{32}}) {
        const Checkpoint checkpoint = make_checkpoint(format, type, k, 100 / 4 * 4, group, false, ++seed);
        Packed packed(checkpoint.host);
        ASSERT_TRUE(cuda::pack(checkpoint.device, packed.matrix, nullptr).ok());
        require(cudaDeviceSynchronize(), "packing");
        expect_same_as_the_oracle(checkpoint, packed, std::string(name_of(type)) + " ragged k, group " + std::to_string(group));
      }
    }
  }
}

TEST(SmallRepack, InPlaceGivesTheSameBytesOrARefusal) {
  std::uint64_t seed = 50;
  for (const Format format : {Format::gptq_v1, Format::awq}) {
    for (const WeightType type : {WeightType::u4b8, WeightType::u4, WeightType::u8b128}) {
      if (format == Format::awq && bits_of(type) == 8) continue;
      for (const std::int64_t n : {64, 4096}) {
        const Checkpoint checkpoint = make_checkpoint(format, type, 256, n, 64, false, ++seed);
        Packed packed(checkpoint.host);
        packed.matrix.codes = const_cast<std::uint32_t*>(static_cast<const std::uint32_t*>(checkpoint.device.codes));
        const Status status = cuda::pack(checkpoint.device, packed.matrix, nullptr);
        ASSERT_TRUE(status.ok()) << status.message();
        require(cudaDeviceSynchronize(), "packing in place");
        EXPECT_TRUE(checkpoint.device_codes.guards_intact());
        packed.codes.upload(checkpoint.device_codes.download<std::uint32_t>().data());
        expect_same_as_the_oracle(checkpoint, packed, "in place");
      }
    }
  }
  const Checkpoint ragged = make_checkpoint(Format::gptq_v1, WeightType::u4b8, 256, 72, 64, false, 1);
  Packed packed(ragged.host);
  packed.matrix.codes = const_cast<std::uint32_t*>(static_cast<const std::uint32_t*>(ragged.device.codes));
  const Status status = cuda::pack(ragged.device, packed.matrix, nullptr);
  EXPECT_EQ(status.code(), Code::unsupported);
  EXPECT_NE(status.message().find("n is 72"), std::string::npos) << status.message();
}

// Codes of a large layer, in and out, against a copy of the same bytes.
TEST(Repack, RunsAtFourFifthsOfTheCopyBandwidth) {
  struct Case {
    Format format;
    WeightType type;
    const char* name;
  };
  for (const Case& which : {Case{Format::gptq_v1, WeightType::u4b8, "GPTQ 4-bit"}, Case{Format::awq, WeightType::u4, "AWQ 4-bit"},
                            Case{Format::gptq_v1, WeightType::u8b128, "GPTQ 8-bit"}}) {
    const Checkpoint checkpoint = make_checkpoint(which.format, which.type, 8192, 28672, 128, false, 5);
    Packed packed(checkpoint.host);
    cudaEvent_t begin = nullptr, end = nullptr;
    require(cudaEventCreate(&begin), "an event"), require(cudaEventCreate(&end), "an event");
    const auto best_ms = [&](auto&& enqueue) {
      float best = 1e9f;
      for (int i = 0; i < 12; ++i) {
        require(cudaEventRecord(begin), "an event");
        for (int j = 0; j < 4; ++j) enqueue();
        require(cudaEventRecord(end), "an event");
        require(cudaEventSynchronize(end), "an event");
        float ms = 0;
        require(cudaEventElapsedTime(&ms, begin, end), "a time");
        best = std::min(best, ms / 4);
      }
      return static_cast<double>(best);
    };
    const std::size_t bytes = packed.codes.bytes();
    const double copy =
        best_ms([&] { (void)cudaMemcpyAsync(packed.codes.data(), checkpoint.device_codes.data(), bytes, cudaMemcpyDeviceToDevice); });
    const double pack = best_ms([&] { ASSERT_TRUE(cuda::pack(checkpoint.device, packed.matrix, nullptr).ok()); });
    std::printf("%s: %.0f us for %.0f MB, %.2f of a copy's speed\n", which.name, pack * 1e3, static_cast<double>(bytes) / 1e6, copy / pack);
    EXPECT_GT(copy / pack, 0.8) << which.name;
    require(cudaEventDestroy(begin), "an event"), require(cudaEventDestroy(end), "an event");
  }
}

}  // namespace
}  // namespace billfish::cuda_test
