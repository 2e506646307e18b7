// SPDX-License-Identifier: Apache-2.0
// `billfish show dequant`: one packed word through the instructions with which the CUDA kernels decode it (src/cuda/decode.cuh), bit by
// bit. What comes out is held against billfish_dequantize of a matrix that holds the word.
#include <fmt/core.h>

#include <charconv>
#include <cmath>
#include <cstring>
#include <memory>
#include <vector>

#include "billfish/billfish_tools.h"
#include "errors.hpp"
#include "gpu.hpp"
#include "library.hpp"
#include "terminal.hpp"
#include "types.hpp"

namespace billfish::cli {
namespace {

struct Words {
  std::string word = "0x89abcdef", type = "u4b8", act = "f16";
  double scale = 0.5;
  int lane = 5, zero = 3;
};

class Machine {
 public:
  Machine(billfish_weight_type type, bool bf16, int zero) : type_(type), bf16_(bf16), zero_(zero) {}

  // The two columns that a lane has of a block of 16: n8 (words[0]) and n8 + 8 (words[1], or the upper half of a 4-bit word).
  void four_bit(std::uint32_t word) {
    half_word(word, "n8    ", values_[0], values_[1]);
    fmt::print("\n");
    const std::uint32_t shifted = word >> 8;
    show("shr.b32     ", shifted, "word >> 8: the same for column n8 + 8");
    half_word(shifted, "n8 + 8", values_[2], values_[3]);
  }
  void eight_bit(std::uint32_t word) {
    byte_pair(word, 0, values_[0]);
    fmt::print("\n");
    byte_pair(word, 1, values_[1]);
  }
  // values()[2 * column + pair][half]: pair 0 is k = 2j, 2j + 1; pair 1 is 2j + 8, 2j + 9
  const float (&values() const)[4][2] { return values_; }

 private:
  billfish_element_type element() const { return bf16_ ? BILLFISH_BF16 : BILLFISH_F16; }
  float to_float(std::uint32_t bits) const {
    const auto half = static_cast<std::uint16_t>(bits);
    float value = 0;
    billfish_tools_to_f32(&half, element(), &value, 1);
    return value;
  }
  std::uint32_t to_bits(float value) const {
    std::uint16_t half = 0;
    billfish_tools_from_f32(&value, element(), &half, 1);
    return half;
  }
  std::string numbers(std::uint32_t pair) const { return fmt::format("{:>7g} {:>7g}", to_float(pair >> 16), to_float(pair & 0xffffu)); }
  static std::string bits(std::uint32_t value) {
    std::string text;
    for (int i = 31; i >= 0; --i) {
      text += (value >> i & 1u) != 0 ? '1' : '0';
      if (i % 4 == 0 && i > 0) text += i % 16 == 0 ? " | " : " ";
    }
    return text;
  }
  static void show(const char* instruction, std::uint32_t value, const std::string& why) {
    fmt::print("  {} {:08x}  {}  {}\n", instruction, value, bits(value), why);
  }
  std::uint32_t add(std::uint32_t pair, std::uint32_t addend, const std::string& why) const {
    const std::uint32_t sum =
        to_bits(to_float(pair >> 16) + to_float(addend >> 16)) << 16 | to_bits(to_float(pair & 0xffffu) + to_float(addend & 0xffffu));
    show(bf16_ ? "add.bf16x2  " : "add.f16x2   ", sum, fmt::format("{}: {}", numbers(sum), why));
    return sum;
  }
  void keep(std::uint32_t pair, float (&target)[2]) const {
    target[0] = to_float(pair & 0xffffu);
    target[1] = to_float(pair >> 16);
  }

  void half_word(std::uint32_t word, const char* column, float (&first)[2], float (&second)[2]) const {
    const std::uint32_t magic = bf16_ ? 0x43004300u : 0x64006400u, base = bf16_ ? 128 : 1024;
    const std::uint32_t addend = (magic | 0x80008000u) + static_cast<std::uint32_t>(zero_) * 0x00010001u;
    const std::uint32_t low = (word & 0x000f000fu) | magic;
    show("lop3.b32    ", low,
         fmt::format("(word & 000f000f) | {:08x}: {} = {} + code, column {}, k = 2j + 1 and 2j", magic, numbers(low), base, column));
    keep(add(low, addend, fmt::format("minus {} + {}: code - zero", base, zero_)), first);
    if (has_zeros(type_) || bf16_) {
      const std::uint32_t shifted = word >> 4;
      show("shr.b32     ", shifted, "word >> 4");
      const std::uint32_t next = (shifted & 0x000f000fu) | magic;
      show("lop3.b32    ", next, fmt::format("{} = {} + code, k = 2j + 9 and 2j + 8", numbers(next), base));
      keep(add(next, addend, "code - zero"), second);
    } else {
      const std::uint32_t next = (word & 0x00f000f0u) | magic;
      show("lop3.b32    ", next,
           fmt::format("(word & 00f000f0) | {:08x}: {} = 1024 + 16 code, k = 2j + 9 and 2j + 8: no shift", magic, numbers(next)));
      const auto multiply = [&](std::uint32_t half) { return to_bits(to_float(half) / 16 - (64 + static_cast<float>(zero_))); };
      const std::uint32_t result = multiply(next >> 16) << 16 | multiply(next & 0xffffu);
      show("fma.f16x2   ", result, fmt::format("{}: / 16 - (64 + {}): code - zero", numbers(result), zero_));
      keep(result, second);
    }
  }

  void byte_pair(std::uint32_t word, int which, float (&target)[2]) const {
    const char* k = which == 0 ? "k = 2j + 1 and 2j" : "k = 2j + 9 and 2j + 8";
    if (!bf16_) {
      const std::uint32_t pair = 0x64006400u | (word >> (8 * which) & 0xffu) | (word >> (8 * which + 16) & 0xffu) << 16;
      show("prmt.b32    ", pair,
           fmt::format("bytes {} and {} below the byte 64: {} = 1024 + code, {}", which, which + 2, numbers(pair), k));
      keep(add(pair, 0xe400e400u + static_cast<std::uint32_t>(zero_) * 0x00010001u, fmt::format("minus 1024 + {}: code - zero", zero_)),
           target);
      return;
    }
    std::uint32_t shifted = word;
    if (which != 0) {
      shifted = word >> 8;
      show("shr.b32     ", shifted, "word >> 8");
    }
    const std::uint32_t low = (shifted & 0x007f007fu) | 0x43004300u;
    show("lop3.b32    ", low, fmt::format("low 7 bits into the mantissa of 128: {}, {}", numbers(low), k));
    const std::uint32_t high = (shifted & 0x00800080u) ^ 0xc380c380u;
    show("lop3.b32    ", high, fmt::format("the top bit chooses between -128 and -256: {}", numbers(high)));
    const std::uint32_t sum = add(low, high, "code - 128");
    keep(has_zeros(type_)
             ? add(sum, (to_bits(static_cast<float>(128 - zero_))) * 0x00010001u, fmt::format("plus 128 - {}: code - zero", zero_))
             : sum,
         target);
  }

  billfish_weight_type type_;
  bool bf16_;
  int zero_;
  float values_[4][2] = {};
};

std::uint32_t parse_word(const std::string& text) {
  const std::size_t skip = text.starts_with("0x") ? 2 : 0;
  std::uint32_t word = 0;
  const auto [end, error] = std::from_chars(text.data() + skip, text.data() + text.size(), word, 16);
  if (error != std::errc() || end != text.data() + text.size()) fail(kUsage, "--word {}: up to 8 hexadecimal digits are needed", text);
  return word;
}

int run(const Words& words) {
  const std::uint32_t word = parse_word(words.word);
  const billfish_weight_type type = parse_weight_type(words.type);
  const billfish_element_type act = parse_element_type(words.act, "--act");
  if (act == BILLFISH_F32) fail(kUsage, "--act f32: the kernels decode to f16 or bf16");
  if (words.lane < 0 || words.lane > 31) fail(kUsage, "--lane {}: a warp has lanes 0 to 31", words.lane);
  if (!std::isfinite(static_cast<float>(words.scale))) fail(kUsage, "--scale {}: a finite number (of 32 bits) is needed", words.scale);
  const int bits = bits_of(type), most = (1 << bits) - 1;
  if (words.zero < 0 || words.zero > most) fail(kUsage, "--zero {}: 0 to {} for {}", words.zero, most, words.type);
  const int zero = has_zeros(type) ? words.zero : 1 << (bits - 1);
  // The first word of the lane: columns 0 to 15 of a tile; its j and n8 say which.
  const std::int64_t index = std::int64_t{words.lane} * bits;
  const int n8 = words.lane / 4, j = words.lane % 4;
  fmt::print("word {:08x} of {}, word {} of a tile: lane {}, so column n8 = {} and j = {}; to {}\n", word, words.type, index, words.lane,
             n8, j, words.act);
  fmt::print("  {:12} {:>8}  bit 31 {:>38} 0\n", "instruction", "result", "");
  Machine machine(type, act == BILLFISH_BF16, zero);
  bits == 4 ? machine.four_bit(word) : machine.eight_bit(word);

  // The same word in a matrix, dequantised by the library.
  billfish_weights weights = BILLFISH_WEIGHTS_INIT;
  weights.type = type;
  weights.scale_type = BILLFISH_F32;
  weights.n = 64;
  weights.k = 16;
  weights.group = -1;
  const Buffer codes(16 * 64 * bits / 8);
  std::memset(codes.data(), 0, static_cast<std::size_t>(codes.bytes()));
  codes.as<std::uint32_t>()[index] = word;
  std::vector<float> scales(64, static_cast<float>(words.scale)), dense(16 * 64);
  std::vector<std::uint32_t> zeros(static_cast<std::size_t>(64 * bits / 32),
                                   static_cast<std::uint32_t>(zero) * (bits == 4 ? 0x11111111u : 0x01010101u));
  weights.codes = codes.data();
  weights.scales = scales.data();
  weights.zeros = has_zeros(type) ? zeros.data() : nullptr;
  check(billfish_dequantize(&weights, dense.data(), 64, nullptr));
  fmt::print("\nwith the scale {}:\n", words.scale);
  bool right = true;
  for (int column = 0; column < (bits == 4 ? 2 : 1); ++column) {
    for (int pair = 0; pair < 2; ++pair) {
      for (int half = 0; half < 2; ++half) {
        const int k = 2 * j + 8 * pair + half, n = n8 + 8 * column;
        const float decoded = machine.values()[2 * column + pair][half], weight = decoded * static_cast<float>(words.scale);
        const float expected = dense[static_cast<std::size_t>(k * 64 + n)];
        right = right && weight == expected;
        fmt::print("  w[k={:2}][n={:2}] = {:>4g} x {} = {:<8g} billfish_dequantize: {:g}\n", k, n, decoded, words.scale, weight, expected);
      }
    }
  }
  if (!right) fail(kCheckFailed, "the instructions shown and the library disagree: a defect of this command");
  return kOk;
}

}  // namespace

Runner add_show_dequant(Arguments& arguments) {
  auto words = std::make_shared<Words>();
  arguments.add_option("--word", words->word, "The packed word, in hexadecimal").show_default().value_name("HEX");
  arguments.add_option("--type", words->type, "u4b8, u4, u8b128 or u8").show_default().value_name("TYPE");
  arguments.add_option("--act", words->act, "What it becomes: f16 or bf16").show_default().value_name("TYPE");
  arguments.add_option("--lane", words->lane, "Of which lane it is the first word").show_default().value_name("LANE");
  arguments.add_option("--zero", words->zero, "Of the columns, for u4 and u8").show_default().value_name("Z");
  arguments.add_option("--scale", words->scale, "Of the columns").show_default().value_name("S");
  arguments.footer("Example:\n  billfish show dequant --word 0x89abcdef --type u4b8");
  return [words] { return run(*words); };
}

}  // namespace billfish::cli
