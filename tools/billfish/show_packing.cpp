// SPDX-License-Identifier: Apache-2.0
// `billfish show packing`: where each code of a layer lies in a checkpoint and where it goes in Marlin bytes, as text and as a picture;
// --verify packs, unpacks and multiplies. Every place comes from billfish_tools_place, that is from the packer's own functions.
#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <vector>

#include "billfish/billfish_tools.h"
#include "errors.hpp"
#include "gpu.hpp"
#include "library.hpp"
#include "product.hpp"
#include "random.hpp"
#include "svg.hpp"
#include "terminal.hpp"
#include "types.hpp"

namespace billfish::cli {
namespace {

constexpr std::int64_t kMostElements = 16384;  // of a picture
constexpr std::int64_t kMostVerified = 1 << 24;

struct Words {
  std::int64_t n = 64, k = 16, group = -1, lines = 16, seed = 1;
  std::string format = "gptq", type = "u4b8", svg;
  bool verify = false;
};

struct Place {
  std::int64_t index = 0;
  int bit = 0;
};

billfish_matrix shape_of(const Words& words, billfish_format format) {
  billfish_matrix shape = BILLFISH_MATRIX_INIT;
  shape.format = format;
  shape.type = parse_weight_type(words.type);
  shape.scale_type = BILLFISH_F16;
  shape.n = words.n;
  shape.k = words.k;
  shape.group = words.group;
  return shape;
}

Place place_of(const billfish_matrix& shape, billfish_part part, std::int64_t row, std::int64_t column) {
  Place place;
  check(billfish_tools_place(&shape, part, row, column, &place.index, &place.bit));
  return place;
}

struct Field {
  std::int64_t k = -1, n = -1;  // -1: padding
};
// fields[word * per_word + bit / bits]
std::vector<Field> fields_of(const billfish_matrix& shape) {
  const int bits = bits_of(shape.type), per_word = shape.format == BILLFISH_FORMAT_RAW ? 4 : 32 / bits;
  std::vector<Field> fields;
  for (std::int64_t k = 0; k < shape.k; ++k) {
    for (std::int64_t n = 0; n < shape.n; ++n) {
      const Place place = place_of(shape, BILLFISH_PART_CODES, k, n);
      const auto at = static_cast<std::size_t>(place.index * per_word + place.bit * per_word / 32);
      if (at >= fields.size()) fields.resize(at + 1);
      fields[at] = {k, n};
    }
  }
  while (fields.size() % static_cast<std::size_t>(per_word) != 0) fields.emplace_back();
  return fields;
}

void print_words(const char* title, const std::vector<Field>& fields, int per_word, std::int64_t lines) {
  const auto count = static_cast<std::int64_t>(fields.size()) / per_word;
  fmt::print("{}: {} words of 32 bits; k,n of the code in each field, highest bits first\n", bold(title), count);
  std::string head = "  word ";
  for (int f = per_word - 1; f >= 0; --f)
    head += fmt::format(" {:>9}", fmt::format("{}..{}", (f + 1) * 32 / per_word - 1, f * 32 / per_word));
  fmt::print("{}\n", head);
  for (std::int64_t word = 0; word < std::min(count, lines); ++word) {
    std::string line = fmt::format("{:>6} ", word);
    for (int f = per_word - 1; f >= 0; --f) {
      const Field& field = fields[static_cast<std::size_t>(word * per_word + f)];
      line += fmt::format(" {:>9}", field.k < 0 ? std::string("padding") : fmt::format("{},{}", field.k, field.n));
    }
    fmt::print("{}\n", line);
  }
  if (count > lines) fmt::print("  ... {} more (--lines)\n", count - lines);
}

// Both sides as grids of four words a line; a colour is a block of 16 columns, lighter and darker by the half of k.
std::string picture(const Words& words, const billfish_matrix& from, const billfish_matrix& to) {
  const int per_word = 32 / bits_of(from.type);
  constexpr int kWordsPerLine = 4;
  constexpr double kTop = 92, kMargin = 44, kHeight = 17;
  const double cell = per_word == 8 ? 27 : 40, panel = kWordsPerLine * per_word * cell + kMargin + 18;
  const std::vector<Field> left = fields_of(from), right = fields_of(to);
  const std::size_t fields = std::max(left.size(), right.size());
  const double lines = std::ceil(static_cast<double>(fields) / (kWordsPerLine * per_word));
  const double below = kTop + lines * kHeight + 44;  // where the second half begins
  Svg svg(panel + 10, below + lines * kHeight + 16, "packing");
  svg.text(12, 26, fmt::format("Where {} x {} {}-bit codes lie: {}, then Marlin bytes", words.k, words.n, bits_of(from.type), words.format),
           18, "start", true);
  svg.text(12, 46,
           "A line is four 32-bit words (index of the first at the left), a cell one field with k,n of its code, highest bits first.",
           12.5);
  svg.text(12, 62, "A colour is a block of 16 columns; pale is k % 16 < 8.", 12.5);
  const auto draw = [&](double top, const std::string& title, const std::vector<Field>& list) {
    svg.text(kMargin, top - 10, title, 14, "start", true);
    for (std::size_t i = 0; i < list.size(); ++i) {
      const std::size_t word = i / static_cast<std::size_t>(per_word), line = word / kWordsPerLine;
      const int f = per_word - 1 - static_cast<int>(i % static_cast<std::size_t>(per_word));
      const double x =
          kMargin + (static_cast<double>(word % kWordsPerLine) * per_word + f) * cell + static_cast<double>(word % kWordsPerLine) * 3;
      const double y = top + static_cast<double>(line) * kHeight;
      if (f == per_word - 1 && word % kWordsPerLine == 0) svg.text(kMargin - 6, y + 12, std::to_string(word), 10, "end");
      const Field& field = list[i];
      static constexpr const char* kPale[] = {"#bfe1f6", "#f9dca1", "#a3dccb", "#f0b9d5"};
      static constexpr const char* kFull[] = {"#56b4e9", "#e69f00", "#3cb893", "#cc79a7"};
      const auto block = static_cast<std::size_t>(field.n / 16 % 4);
      svg.rectangle(x, y, cell, kHeight - 1,
                    field.k < 0        ? "#dddddd"
                    : field.k % 16 < 8 ? kPale[block]
                                       : kFull[block],
                    field.k < 0 ? "padding"
                                : fmt::format("word {} bit {}: k={} n={}", word,
                                              static_cast<int>(i % static_cast<std::size_t>(per_word)) * 32 / per_word, field.k, field.n),
                    "white");
      if (field.k >= 0) svg.text(x + cell / 2, y + 11.5, fmt::format("{},{}", field.k, field.n), 9.5, "middle");
    }
  };
  draw(kTop, words.format + " (checkpoint order)", left);
  draw(below, "Marlin bytes", right);
  return svg.take();
}

// A matrix of random codes in the format, written through billfish_tools_place.
struct Made {
  std::vector<std::uint32_t> codes, zeros;
  std::vector<std::uint16_t> scales;
  std::vector<std::uint8_t> plain;  // [k, n]
  billfish_matrix matrix = BILLFISH_MATRIX_INIT;
};

void put(std::vector<std::uint32_t>& words, Place place, std::uint32_t value) {
  const auto at = static_cast<std::size_t>(place.index);
  if (at >= words.size()) words.resize(at + 1);
  words[at] |= value << place.bit;
}

void make(const Words& words, billfish_format format, Made& made) {
  made.matrix = shape_of(words, format);
  const billfish_matrix& shape = made.matrix;
  Random random(static_cast<std::uint64_t>(words.seed));
  const int bits = bits_of(shape.type);
  const std::uint64_t codes = std::uint64_t{1} << bits;
  for (std::int64_t k = 0; k < shape.k; ++k) {
    for (std::int64_t n = 0; n < shape.n; ++n) {
      const auto code = static_cast<std::uint32_t>(random.bits() % codes);
      made.plain.push_back(static_cast<std::uint8_t>(code));
      put(made.codes, place_of(shape, BILLFISH_PART_CODES, k, n), code);
    }
  }
  for (std::int64_t g = 0; g < groups_of(shape.k, shape.group); ++g) {
    for (std::int64_t n = 0; n < shape.n; ++n) {
      // GPTQ's first version stores one less: zeros of at least 1 never borrow.
      const auto zero = static_cast<std::uint32_t>(has_zeros(shape.type) ? 1 + random.bits() % (codes - 1) : codes / 2);
      put(made.zeros, place_of(shape, BILLFISH_PART_ZEROS, g, n), format == BILLFISH_FORMAT_GPTQ ? zero - 1 : zero);
      const auto at = static_cast<std::size_t>(place_of(shape, BILLFISH_PART_SCALES, g, n).index);
      if (at >= made.scales.size()) made.scales.resize(at + 1);
      const float scale = random.uniform(0.005f, 0.02f);
      billfish_tools_from_f32(&scale, BILLFISH_F16, &made.scales[at], 1);
    }
  }
  const bool wants_zeros = has_zeros(shape.type) || format == BILLFISH_FORMAT_GPTQ || format == BILLFISH_FORMAT_AWQ;
  made.matrix.codes = made.codes.data();
  made.matrix.zeros = wants_zeros ? made.zeros.data() : nullptr;
  made.matrix.scales = made.scales.data();
}

// The fields that stand for codes or columns hold the same in both; what lies between the last of them and the end of a word is padding.
bool same_fields(const billfish_matrix& shape, billfish_part part, const std::vector<std::uint32_t>& a,
                 const std::vector<std::uint32_t>& b) {
  const std::int64_t rows = part == BILLFISH_PART_CODES ? shape.k : groups_of(shape.k, shape.group);
  const std::uint32_t mask = shape.format == BILLFISH_FORMAT_RAW ? 0xffu : (1u << bits_of(shape.type)) - 1;
  for (std::int64_t row = 0; row < rows; ++row) {
    for (std::int64_t n = 0; n < shape.n; ++n) {
      const Place place = place_of(shape, part, row, n);
      const auto at = static_cast<std::size_t>(place.index);
      if (((a[at] ^ b[at]) >> place.bit & mask) != 0) return false;
    }
  }
  return true;
}

void verify(const Words& words, billfish_format format) {
  if (words.n * words.k > kMostVerified) fail(kUsage, "--verify: at most {} codes, this is {} x {}", kMostVerified, words.k, words.n);
  Made made;
  make(words, format, made);
  const Pool pool(0);
  const PackedLayer layer(made.matrix, pool.parallel(), "--verify");
  const billfish_matrix packed = shape_of(words, BILLFISH_FORMAT_MARLIN);
  const auto* codes = static_cast<const std::uint32_t*>(layer.weights().codes);
  const std::uint32_t mask = (1u << bits_of(packed.type)) - 1;
  for (std::int64_t k = 0; k < words.k; ++k) {
    for (std::int64_t n = 0; n < words.n; ++n) {
      const Place place = place_of(packed, BILLFISH_PART_CODES, k, n);
      const std::uint32_t found = codes[place.index] >> place.bit & mask, expected = made.plain[static_cast<std::size_t>(k * words.n + n)];
      if (found != expected)
        fail(kCheckFailed, "k={} n={}: packed word {} bit {} holds {}, not {}", k, n, place.index, place.bit, found, expected);
    }
  }
  fmt::print("packed    {} codes are where the picture says\n", words.n * words.k);
  std::vector<std::uint32_t> back(made.codes.size()), zeros(made.zeros.size());
  std::vector<std::uint16_t> scales(made.scales.size());
  billfish_matrix out = made.matrix;
  out.codes = back.data();
  out.zeros = made.matrix.zeros != nullptr ? zeros.data() : nullptr;
  out.scales = scales.data();
  check(billfish_unpack(&layer.weights(), &out, pool.parallel()), "unpacking");
  const bool same_zeros = out.zeros == nullptr || same_fields(out, BILLFISH_PART_ZEROS, zeros, made.zeros);
  if (!same_zeros || !same_fields(out, BILLFISH_PART_CODES, back, made.codes) || scales != made.scales) {
    fail(kCheckFailed, "unpacking to {} gives other codes, zeros or scales than were packed", words.format);
  }
  const bool same_bytes = back == made.codes && (out.zeros == nullptr || zeros == made.zeros);
  fmt::print("unpacked  the same {} as before\n", same_bytes ? "bytes" : "codes, zeros and scales (padding aside)");
  ProductOptions options;
  options.a_type = BILLFISH_F16;
  options.parallel = pool.parallel();
  constexpr std::int64_t kRows = 3;
  const std::vector<std::byte> a = random_activations(kRows, words.k, options.a_type, 7);
  std::vector<float> c(static_cast<std::size_t>(kRows * words.n));
  Product(layer, options).run(a.data(), kRows, c.data());
  const Comparison result = compare_with_oracle(layer, options, a.data(), kRows, c.data(), 0, words.n);
  fmt::print("product   {} rows {}: worst error {:.2g}, bound {:.2g}\n", kRows, result.passed ? "right" : "WRONG", result.error,
             result.bound);
  if (!result.passed) fail(kCheckFailed, "the product is wrong at row {}, column {}", result.row, result.column);
}

int run(const Words& words) {
  if (words.n < 1 || words.k < 1 || words.n > (1 << 20) || words.k > (1 << 20)) fail(kUsage, "--n and --k are 1 to {}", 1 << 20);
  const billfish_format format = parse_format(words.format);
  const billfish_matrix from = shape_of(words, format), to = shape_of(words, BILLFISH_FORMAT_MARLIN);
  const int bits = bits_of(from.type);
  place_of(from, BILLFISH_PART_CODES, 0, 0);  // says no to what a format cannot hold
  if (words.n * words.k <= kMostElements) {
    const int per_word = format == BILLFISH_FORMAT_RAW ? 4 : 32 / bits;
    if (format != BILLFISH_FORMAT_MARLIN) print_words(words.format.c_str(), fields_of(from), per_word, words.lines);
    print_words("Marlin bytes", fields_of(to), 32 / bits, words.lines);
    fmt::print("lane l of a warp loads words {}l .. {}l + {} of a tile of 16 rows and 64 columns\n", bits, bits, bits - 1);
  } else {
    fmt::print("{} x {} codes: more than {} are not listed\n", words.k, words.n, kMostElements);
    if (!words.svg.empty()) fail(kUsage, "--svg: a picture has at most {} codes, this is {} x {}", kMostElements, words.k, words.n);
  }
  if (!words.svg.empty()) {
    if (format == BILLFISH_FORMAT_RAW && bits != 8) fail(kUsage, "--svg: raw codes lie one a byte, in order: choose another --format");
    write_picture(words.svg, picture(words, from, to));
    fmt::print("written: {}\n", words.svg);
  }
  if (words.verify) {
    if (format == BILLFISH_FORMAT_MARLIN) fail(kUsage, "--verify: choose the --format to pack from, not marlin");
    verify(words, format);
  }
  return kOk;
}

}  // namespace

Runner add_show_packing(Arguments& arguments) {
  auto words = std::make_shared<Words>();
  arguments.add_option("--n", words->n, "Columns").show_default().value_name("N");
  arguments.add_option("--k", words->k, "Rows").show_default().value_name("K");
  arguments.add_option("--group", words->group, "Codes along K that share a scale, for --verify; -1: all").show_default().value_name("G");
  arguments.add_option("--format", words->format, "gptq, gptq_v2, awq, compressed-tensors, raw or marlin")
      .show_default()
      .value_name("FORMAT");
  arguments.add_option("--type", words->type, "u4b8, u4, u8b128 or u8").show_default().value_name("TYPE");
  arguments.add_option("--lines", words->lines, "Words to list of each side").not_negative().show_default().value_name("COUNT");
  arguments.add_option("--svg", words->svg, "File for the picture").value_name("FILE");
  arguments.add_flag("--verify", words->verify, "Pack random codes, look for each, unpack them, check a product");
  arguments.add_option("--seed", words->seed, "Of the random codes").show_default().value_name("SEED");
  arguments.footer("Example:\n  billfish show packing --n 64 --k 16 --format awq --type u4 --svg packing.svg --verify");
  return [words] { return run(*words); };
}

}  // namespace billfish::cli
