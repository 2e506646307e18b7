// SPDX-License-Identifier: Apache-2.0
// Packing on the device gives the bytes of the CPU packer's oracle: every format, type, ragged shape, act order, in place; reports what
// that refuses in data; and its speed.
#include <algorithm>
#include <cstdio>
#include <vector>

#include "core/half.hpp"
#include "cuda/cuda.hpp"
#include "layout/marlin_scales.hpp"
#include "layout/marlin_weights.hpp"
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

// The oracle's packed form.
struct Oracle {
  explicit Oracle(const QuantizedMatrix& source)
      : codes(static_cast<std::size_t>(source.packed_code_words())),
        zeros(static_cast<std::size_t>(source.packed_zero_words())),
        scales(static_cast<std::size_t>(source.packed_scales())),
        bias(static_cast<std::size_t>(source.n)),
        perm(static_cast<std::size_t>(source.k)),
        g_idx(static_cast<std::size_t>(source.k)) {
    matrix.codes = codes.data(), matrix.scales = scales.data(), matrix.zeros = zeros.data(), matrix.bias = bias.data();
    matrix.perm = perm.data(), matrix.g_idx = g_idx.data();
    reference::pack(source, matrix);
  }
  std::vector<std::uint32_t> codes, zeros;
  std::vector<std::uint16_t> scales, bias;
  std::vector<std::int32_t> perm, g_idx;
  PackedMatrix matrix;
};

void expect_same_as_the_oracle(const QuantizedMatrix& source, const Packed& packed, const std::string& what) {
  const Oracle want(source);
  EXPECT_TRUE(packed.codes.download<std::uint32_t>() == want.codes) << what << ": codes";
  EXPECT_TRUE(packed.scales.download<std::uint16_t>() == want.scales) << what << ": scales";
  EXPECT_TRUE(packed.zeros.download<std::uint32_t>() == want.zeros) << what << ": zeros";
  EXPECT_TRUE(packed.bias.download<std::uint16_t>() == want.bias) << what << ": bias";
  const bool permuted = source.g_idx != nullptr || source.perm != nullptr;
  if (permuted) EXPECT_TRUE(packed.perm.download<std::int32_t>() == want.perm) << what << ": perm";
  EXPECT_EQ(packed.matrix.perm != nullptr, permuted) << what;
  EXPECT_TRUE(packed.codes.guards_intact() && packed.scales.guards_intact() && packed.zeros.guards_intact() &&
              packed.perm.guards_intact() && packed.bias.guards_intact())
      << what << ": memory around the packed arrays";
}

TEST(SmallRepack, EveryFormatGivesTheBytesOfTheCpuPacker) {
  std::uint64_t seed = 1;
  for (const Format format : {Format::gptq_v1, Format::gptq_v2, Format::awq, Format::compressed_tensors, Format::raw}) {
    for (const WeightType type : {WeightType::u4b8, WeightType::u4, WeightType::u8b128, WeightType::u8}) {
      if (format == Format::awq && bits_of(type) == 8) continue;
      for (const std::int64_t n : {8, 64, 72, 320, 1056}) {  // 1056: four whole strips and a ragged one
        for (const std::int64_t k : {16, 96, 256, 1408}) {
          for (const bool act_order : {false, true}) {
            if (act_order && (format == Format::awq || k < 64)) continue;
            const Checkpoint checkpoint = make_checkpoint(format, type, k, n, 32, act_order, ++seed);
            Packed packed(checkpoint.host);
            const Status status = cuda::pack(checkpoint.device, packed.matrix, nullptr, nullptr);
            const std::string what = "format " + std::to_string(static_cast<int>(format)) + " " + std::string(name_of(type)) + " n " +
                                     std::to_string(n) + " k " + std::to_string(k) + (act_order ? " act order" : "");
            ASSERT_TRUE(status.ok()) << what << ": " << status.message();
            require(cudaDeviceSynchronize(), what.c_str());
            expect_same_as_the_oracle(checkpoint.host, packed, what);
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
        ASSERT_TRUE(cuda::pack(checkpoint.device, packed.matrix, nullptr, nullptr).ok());
        require(cudaDeviceSynchronize(), "packing");
        expect_same_as_the_oracle(checkpoint.host, packed, std::string(name_of(type)) + " ragged k, group " + std::to_string(group));
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
        const Status status = cuda::pack(checkpoint.device, packed.matrix, nullptr, nullptr);
        ASSERT_TRUE(status.ok()) << status.message();
        require(cudaDeviceSynchronize(), "packing in place");
        EXPECT_TRUE(checkpoint.device_codes.guards_intact());
        packed.codes.upload(checkpoint.device_codes.download<std::uint32_t>().data());
        expect_same_as_the_oracle(checkpoint.host, packed, "in place");
      }
    }
  }
  const Checkpoint ragged = make_checkpoint(Format::gptq_v1, WeightType::u4b8, 256, 72, 64, false, 1);
  Packed packed(ragged.host);
  packed.matrix.codes = const_cast<std::uint32_t*>(static_cast<const std::uint32_t*>(ragged.device.codes));
  const Status status = cuda::pack(ragged.device, packed.matrix, nullptr, nullptr);
  EXPECT_EQ(status.code(), Code::unsupported);
  EXPECT_NE(status.message().find("n is 72"), std::string::npos) << status.message();
}

// What another packer left in the padding must not matter.
TEST(SmallRepack, MarlinBytesAreCopiedAndTheirPaddingIsOurs) {
  std::uint64_t seed = 300;
  for (const WeightType type : {WeightType::u4b8, WeightType::u4, WeightType::u8b128, WeightType::u8}) {
    for (const bool act_order : {false, true}) {
      for (const std::int64_t n : {128, 200}) {
        const std::int64_t k = n == 200 ? 88 : 96;
        const Checkpoint gptq = make_checkpoint(Format::gptq_v2, type, k, n, 32, act_order && n == 128, ++seed);
        Oracle clean(gptq.host);
        std::vector<std::uint32_t> codes = clean.codes;
        std::vector<std::uint16_t> scales = clean.scales;
        for (std::size_t i = 0; i < codes.size(); ++i) {
          for (int shift = 0; shift < 32; shift += bits_of(type)) {
            const layout::Element e = layout::marlin_code_element(bits_of(type), static_cast<std::int64_t>(i), shift, gptq.host.padded_n());
            if (e.k >= k || e.n >= n) codes[i] ^= 5u << shift;
          }
        }
        for (std::size_t i = 0; i < scales.size(); ++i) {
          const auto row = static_cast<std::int64_t>(i) % gptq.host.padded_n();
          if (layout::marlin_scale(gptq.host.per_column(), row) >= n) scales[i] = 0x3c00;
        }
        const Buffer device_codes(codes), device_scales(scales), device_zeros(clean.zeros), device_perm(clean.perm);
        QuantizedMatrix source = gptq.device;
        source.format = Format::marlin, source.g_idx = nullptr;
        source.codes = device_codes.data(), source.scales = device_scales.data();
        source.zeros = has_zeros(type) ? device_zeros.data() : nullptr;
        source.perm = clean.matrix.perm != nullptr ? device_perm.as<std::int32_t>() : nullptr;
        Packed packed(source);
        const Status status = cuda::pack(source, packed.matrix, nullptr, nullptr);
        ASSERT_TRUE(status.ok()) << status.message();
        require(cudaDeviceSynchronize(), "copying Marlin bytes");
        expect_same_as_the_oracle(gptq.host, packed, std::string(name_of(type)) + " from Marlin, n " + std::to_string(n));
      }
    }
  }
}

std::uint32_t findings_of(const Checkpoint& checkpoint, Packed& packed) {
  const Buffer word(4);
  const Status status = cuda::pack(checkpoint.device, packed.matrix, word.as<std::uint32_t>(), nullptr);
  EXPECT_TRUE(status.ok()) << status.message();
  require(cudaDeviceSynchronize(), "packing with findings");
  EXPECT_TRUE(word.guards_intact());
  return word.download<std::uint32_t>()[0];
}

// The word of findings says what the CPU packer says of the same data.
TEST(SmallRepack, FindingsAreWhatTheCpuPackerSays) {
  std::uint64_t seed = 400;
  const auto expect = [&](Checkpoint& c, std::uint32_t want, const char* what) {
    c.device_scales.upload(c.scales.data()), c.device_zeros.upload(c.zeros.data()), c.device_codes.upload(c.codes.data());
    Packed packed(c.host);
    EXPECT_EQ(findings_of(c, packed), want) << what;
    Oracle cpu(c.host);
    const Status status = pack::pack(c.host, cpu.matrix, Parallel());
    EXPECT_EQ(status.ok(), want <= 1) << what << ": " << status.message();
    if (status.ok()) EXPECT_EQ(cpu.matrix.wide_scales, want == 1) << what;
  };
  for (const Format format : {Format::gptq_v1, Format::gptq_v2, Format::awq, Format::compressed_tensors, Format::raw}) {
    for (const WeightType type : {WeightType::u4b8, WeightType::u4, WeightType::u8b128, WeightType::u8}) {
      if (format == Format::awq && bits_of(type) == 8) continue;
      const auto fresh = [&] { return make_checkpoint(format, type, 96, 96, 32, false, ++seed); };
      Checkpoint c = fresh();
      expect(c, 0, "ordinary data");
      for (const std::uint16_t bits : {std::uint16_t{0x0001}, std::uint16_t{0x83ff}, std::uint16_t{0x7bff}, std::uint16_t{0xfbff}}) {
        c = fresh(), c.scales[200] = bits;
        expect(c, cuda::kFoundWideScales, "a scale at the end of the range");
      }
      c = fresh(), c.scales[100] = 0, c.scales[101] = 0x8000;
      expect(c, 0, "zero scales");
      for (const std::uint16_t bits : {std::uint16_t{0x7c00}, std::uint16_t{0xfe01}}) {
        c = fresh(), c.scales[287] = bits;
        expect(c, cuda::kFoundBadScale, "a scale that is not finite");
      }
      if (format != Format::raw || bits_of(type) == 8) continue;
      c = fresh(), c.codes[77] |= 0x00100000u;
      expect(c, cuda::kFoundBadCode, "a code of five bits");
      if (!has_zeros(type)) continue;
      c = fresh(), c.zeros[5] |= 0x80u;
      expect(c, cuda::kFoundBadZero, "a zero of eight bits");
    }
  }
  // Zeros that are stored beside a type that implies them.
  for (const std::uint32_t stored : {0x77777777u, 0x77767777u}) {
    Checkpoint c = make_checkpoint(Format::gptq_v1, WeightType::u4b8, 96, 96, 32, false, ++seed);
    c.zeros.assign(c.zeros.size(), 0x77777777u), c.zeros[20] = stored;
    c.host.zeros = c.zeros.data(), c.device.zeros = c.device_zeros.data();
    expect(c, stored == 0x77777777u ? cuda::Finding{} : cuda::kFoundBadZero, "zeros of a symmetric type");
  }
}

TEST(SmallRepack, UnevenOrUnknownGroupsGiveNaNAndAreReported) {
  Checkpoint c = make_checkpoint(Format::gptq_v1, WeightType::u4b8, 256, 128, 32, true, 500);
  Packed packed(c.host);
  EXPECT_EQ(findings_of(c, packed), 0u);
  const auto nan_groups = [&](std::size_t row, std::int32_t group) {
    std::vector<std::int32_t> g_idx = c.g_idx;
    g_idx[row] = group;
    c.device_g_idx.upload(g_idx.data());
    EXPECT_EQ(findings_of(c, packed), std::uint32_t{cuda::kFoundBadOrder});
    std::vector<std::int32_t> perm = packed.perm.download<std::int32_t>();
    std::sort(perm.begin(), perm.end());
    for (std::int32_t i = 0; i < 256; ++i) EXPECT_EQ(perm[static_cast<std::size_t>(i)], i) << "perm is no permutation";
    std::vector<std::int64_t> found;
    const std::vector<std::uint16_t> scales = packed.scales.download<std::uint16_t>();
    for (std::int64_t g = 0; g < 8; ++g) {
      const auto first = scales.begin() + g * 128;
      const auto count = std::count_if(first, first + 128, [](std::uint16_t bits) { return (bits & 0x7fff) > 0x7c00; });
      EXPECT_TRUE(count == 0 || count == 128) << "group " << g;
      if (count > 0) found.push_back(g);
    }
    return found;
  };
  const auto row_of = [&](std::int32_t group) {
    return static_cast<std::size_t>(std::find(c.g_idx.begin(), c.g_idx.end(), group) - c.g_idx.begin());
  };
  // Group 3 loses a row to group 5: 3 and 5 are uneven, and 4 does not lie where it should.
  EXPECT_EQ(nan_groups(row_of(3), 5), (std::vector<std::int64_t>{3, 4, 5}));
  EXPECT_EQ(nan_groups(row_of(7), 8), (std::vector<std::int64_t>{7}));
  EXPECT_EQ(nan_groups(row_of(0), -1), (std::vector<std::int64_t>{0}));
  EXPECT_EQ(nan_groups(row_of(2), 2147483647), (std::vector<std::int64_t>{2, 3, 4, 5, 6, 7}));
  EXPECT_TRUE(packed.perm.guards_intact() && packed.scales.guards_intact());
}

// The whole of a large layer, codes, scales, zeros and bias, against a copy of as many bytes as its codes are, in and out.
TEST(Repack, RunsAtFourFifthsOfTheCopyBandwidth) {
  struct Case {
    Format format;
    WeightType type;
    const char* name;
  };
  for (const Case& which : {Case{Format::gptq_v1, WeightType::u4b8, "GPTQ 4-bit"}, Case{Format::awq, WeightType::u4, "AWQ 4-bit"},
                            Case{Format::gptq_v1, WeightType::u8b128, "GPTQ 8-bit"}, Case{Format::raw, WeightType::u4b8, "raw 4-bit"},
                            Case{Format::raw, WeightType::u8b128, "raw 8-bit"}}) {
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
    const std::size_t bytes = (packed.codes.bytes() + checkpoint.device_codes.bytes()) / 2;
    const Buffer from(bytes), to(bytes);
    const double copy = best_ms([&] { (void)cudaMemcpyAsync(to.data(), from.data(), bytes, cudaMemcpyDeviceToDevice); });
    const double pack = best_ms([&] { ASSERT_TRUE(cuda::pack(checkpoint.device, packed.matrix, nullptr, nullptr).ok()); });
    std::printf("%s: %.0f us for %.0f MB, %.2f of a copy's speed\n", which.name, pack * 1e3, static_cast<double>(bytes) / 1e6, copy / pack);
    EXPECT_GT(copy / pack, 0.8) << which.name;
    require(cudaEventDestroy(begin), "an event"), require(cudaEventDestroy(end), "an event");
  }
}

}  // namespace
}  // namespace billfish::cuda_test
