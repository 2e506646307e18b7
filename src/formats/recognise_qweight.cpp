// SPDX-License-Identifier: Apache-2.0
// Layers made of `qweight` and `scales`: GPTQ, AWQ gemm and Marlin bytes tell themselves apart by the width of qweight.
#include <algorithm>

#include "formats/recognise.hpp"
#include "formats/text.hpp"

namespace billfish::formats {
namespace {

struct Shapes {
  std::int64_t rows = 0, columns = 0;  // of qweight
  std::int64_t groups = 0, n = 0;      // of scales
};

WeightType type_for(int bits, bool symmetric) {
  return bits == 4 ? (symmetric ? WeightType::u4b8 : WeightType::u4) : (symmetric ? WeightType::u8b128 : WeightType::u8);
}

Status mismatch(const Evidence& evidence, const Layer& layer) {
  std::string shapes;
  for (const Part& part : layer.parts) shapes += text(shapes.empty() ? "" : ", ", part.suffix, " ", part.place.tensor->shape);
  return bad_input(text(label(evidence, layer), ": the shapes do not fit any known storage: ", shapes,
                        evidence.config.numbers.bits ? text(" (bits = ", evidence.config.numbers.bits, ")") : ""));
}

// Symmetric as far as the config tells; the zeros themselves are looked at when the layer is loaded. Without a tensor of zeros a layer is
// symmetric, unless everything that the config may say of it is that it is not: then the tensor is lost.
Status take_zeros(const Evidence& evidence, Layer& layer, int bits, const std::vector<Numbers>& candidates, bool by_default) {
  const bool stored = find_part(layer, "qzeros") != nullptr;
  if (stored) assign(layer, "qzeros", Role::zeros);
  const auto asymmetric = [](const Numbers& some) { return some.symmetric && !*some.symmetric; };
  if (!stored && !candidates.empty() && std::all_of(candidates.begin(), candidates.end(), asymmetric)) {
    return bad_input(text(label(evidence, layer), " has qweight but no qzeros, and ", evidence.config.where,
                          " says that sym is false: zero points are missing (if they lie in another shard, name the directory)"));
  }
  bool symmetric = !stored || by_default;
  if (stored && !candidates.empty() && candidates.front().symmetric) symmetric = *candidates.front().symmetric;
  layer.shape.type = type_for(bits, symmetric);
  layer.info.zero_points = !symmetric;
  layer.info.type_from_config = stored && evidence.config.method != Method::none;
  return {};
}

// Every number of bits that fits all of the shapes, the config's first.
std::vector<int> fitting_bits(const Layer& layer, const Shapes& shapes, const std::vector<Numbers>& candidates) {
  const Part* zeros = find_part(layer, "qzeros");
  const Part* g_idx = find_part(layer, "g_idx");
  std::vector<int> order;
  for (const Numbers& some : candidates) order.push_back(some.bits);
  order.insert(order.end(), {4, 8, 2, 3});
  std::vector<int> out;
  for (const int bits : order) {
    if (bits != 2 && bits != 3 && bits != 4 && bits != 8) continue;
    if (std::find(out.begin(), out.end(), bits) != out.end()) continue;
    const bool zeros_fit = !zeros || zeros->place.tensor->shape == std::vector<std::int64_t>{shapes.groups, ceil_div(shapes.n * bits, 32)};
    const bool rows_fit = g_idx && g_idx->place.tensor->shape.size() == 1
                              ? ceil_div(g_idx->place.tensor->shape[0] * bits, 32) == shapes.rows
                              : (shapes.rows * 32) % bits == 0;
    if (zeros_fit && rows_fit) out.push_back(bits);
  }
  return out;
}

// What GPTQ layers of other versions mean by their zeros is not known. Not said: gptq, as before there was a choice.
bool knows_checkpoint_format(std::string_view format) {
  return format.empty() || format == "gptq" || format == "gptq_v2" || format == "marlin";
}

Status recognise_gptq(const Evidence& evidence, Layer& layer, const Shapes& shapes) {
  const QuantConfig& config = evidence.config;
  std::vector<Numbers> candidates = config.candidates(layer.info.name);
  const std::vector<int> bits = fitting_bits(layer, shapes, candidates);
  if (bits.empty()) return mismatch(evidence, layer);
  const Part* g_idx = find_part(layer, "g_idx");
  layer.shape.n = shapes.n;
  layer.shape.k = g_idx && g_idx->place.tensor->shape.size() == 1 ? g_idx->place.tensor->shape[0] : shapes.rows * 32 / bits[0];
  layer.info.n = layer.shape.n;
  layer.info.k = layer.shape.k;
  if (bits[0] != 4 && bits[0] != 8) {
    refuse(layer, text(bits[0], "-bit codes are not supported: 4 and 8 are"));
    return {};
  }
  if (config.method == Method::gptq && !knows_checkpoint_format(config.checkpoint_format)) {
    refuse(layer, text("checkpoint_format ", config.checkpoint_format, " is not supported: gptq, gptq_v2 and marlin are"));
    return {};
  }
  layer.info.format = config.checkpoint_format == "gptq_v2" ? Format::gptq_v2 : Format::gptq_v1;
  layer.version_from_zeros = config.method == Method::auto_round || config.method == Method::none;
  assign(layer, "qweight", Role::codes);
  BILLFISH_RETURN_IF_ERROR(take_zeros(evidence, layer, bits[0], candidates, config.method != Method::none));
  return finish_common(evidence, layer, {shapes.groups, std::move(candidates), "scales", "g_idx"});
}

Status recognise_awq(const Evidence& evidence, Layer& layer, const Shapes& shapes) {
  std::vector<Numbers> candidates = evidence.config.candidates(layer.info.name);
  if (const Part* zeros = find_part(layer, "qzeros")) {
    BILLFISH_RETURN_IF_ERROR(expect_shape(evidence, *zeros, {shapes.groups, shapes.columns}, "one zero for every scale, 8 a word"));
  }
  layer.shape.n = shapes.n;
  layer.shape.k = shapes.rows;
  layer.info.format = Format::awq;
  assign(layer, "qweight", Role::codes);
  BILLFISH_RETURN_IF_ERROR(take_zeros(evidence, layer, 4, candidates, false));
  return finish_common(evidence, layer, {shapes.groups, std::move(candidates), "scales", ""});
}

// Marlin bytes of another writer: whole tiles, symmetric, no activation order.
Status recognise_foreign_marlin(const Evidence& evidence, Layer& layer, const Shapes& shapes, std::string_view codes,
                                std::string_view scales) {
  const std::int64_t bits = shapes.columns / shapes.n * 2;
  layer.shape.n = shapes.n;
  layer.shape.k = shapes.rows * 16;
  layer.shape.type = type_for(static_cast<int>(bits), true);
  layer.info.format = Format::marlin;
  layer.info.n = layer.shape.n;
  layer.info.k = layer.shape.k;
  const auto holds = [&](std::string_view suffix) {
    const Part* part = find_part(layer, suffix);
    return part && part->place.tensor->bytes > 0;
  };
  if (holds("qzeros") || holds("g_idx") || holds("perm")) {
    refuse(layer, "Marlin bytes with qzeros, g_idx or perm that billfish did not write are not supported");
    return {};
  }
  assign(layer, codes, Role::codes);
  return finish_common(evidence, layer, {shapes.groups, evidence.config.candidates(layer.info.name), scales, ""});
}

bool is_marlin_width(const Shapes& shapes) {
  return shapes.n > 0 && shapes.n % 64 == 0 && (shapes.columns == 2 * shapes.n || shapes.columns == 4 * shapes.n);
}

// The two tensors that every layer here has: present, two-dimensional, codes of 32 bits. False: the layer was refused.
Status read_shapes(const Evidence& evidence, Layer& layer, std::string_view codes_name, std::string_view scales_name, Shapes& out,
                   bool& usable) {
  const Part& codes = *find_part(layer, codes_name);
  const Part* scales = find_part(layer, scales_name);
  if (!scales) {
    return bad_input(
        text(label(evidence, layer), " has ", codes_name, " but no ", scales_name, " (if it lies in another shard, name the directory)"));
  }
  usable = false;
  if (codes.place.tensor->shape.size() == 3) {
    refuse(layer, text(codes_name, " of shape ", codes.place.tensor->shape, " (fused experts) is not supported: two dimensions are"));
    return {};
  }
  for (const std::string_view name : {codes_name, scales_name, std::string_view("qzeros")}) {
    const Part* part = find_part(layer, name);
    if (part && part->place.tensor->shape.size() != 2) {
      return bad_input(text(evidence.model.label(part->place), " has shape ", part->place.tensor->shape, ", expected two dimensions"));
    }
    if (part && part->place.tensor->bytes == 0) {
      return bad_input(text(evidence.model.label(part->place), " is empty: shape ", part->place.tensor->shape));
    }
    if (part && name != scales_name && part->place.tensor->dtype != "I32") {
      refuse(layer, text(name, " of dtype ", part->place.tensor->dtype, " is not supported: I32 is"));
      return {};
    }
  }
  usable = true;
  out = {codes.place.tensor->shape[0], codes.place.tensor->shape[1], scales->place.tensor->shape[0], scales->place.tensor->shape[1]};
  return {};
}

}  // namespace

Status recognise_qweight(const Evidence& evidence, Layer& layer) {
  const QuantConfig& config = evidence.config;
  Shapes shapes;
  bool usable = false;
  if (config.method == Method::awq && config.version.starts_with("gemv")) {
    refuse(layer, text("AWQ version ", config.version, " is not supported: gemm and marlin are"));
    return {};
  }
  BILLFISH_RETURN_IF_ERROR(read_shapes(evidence, layer, "qweight", "scales", shapes, usable));
  if (!usable) return {};
  const bool awq_width = shapes.columns * 8 == shapes.n;
  if (shapes.columns == shapes.n && !(awq_width && config.method == Method::awq)) return recognise_gptq(evidence, layer, shapes);
  if (awq_width) return recognise_awq(evidence, layer, shapes);
  if (is_marlin_width(shapes)) return recognise_foreign_marlin(evidence, layer, shapes, "qweight", "scales");
  if (config.method == Method::awq && config.numbers.bits != 4 && config.numbers.bits != 0) {
    refuse(layer, text("AWQ with ", config.numbers.bits, " bits is not supported: 4 are"));
    return {};
  }
  return mismatch(evidence, layer);
}

Status recognise_marlin(const Evidence& evidence, Layer& layer) {
  Shapes shapes;
  bool usable = false;
  BILLFISH_RETURN_IF_ERROR(read_shapes(evidence, layer, "B", "s", shapes, usable));
  if (!usable) return {};
  if (!is_marlin_width(shapes)) return mismatch(evidence, layer);
  return recognise_foreign_marlin(evidence, layer, shapes, "B", "s");
}

Status recognise_packed(const Evidence& evidence, Layer& layer) {
  const PackedLayer& packed = evidence.packed.find(layer.info.name)->second;
  Shapes shapes;
  bool usable = false;
  BILLFISH_RETURN_IF_ERROR(read_shapes(evidence, layer, "qweight", "scales", shapes, usable));
  if (!usable) return {};
  const Part* size = find_part(layer, "weight_shape");
  if (!size || size->place.tensor->dtype != "I64")
    return bad_input(text(label(evidence, layer), " is packed, but has no I64 weight_shape"));
  BILLFISH_RETURN_IF_ERROR(expect_shape(evidence, *size, {2}, "n and k"));
  const std::byte* numbers = evidence.model.data(size->place);
  const std::int64_t n = read_i64(numbers, 0), k = read_i64(numbers, 1);
  constexpr std::int64_t kLargest = std::int64_t{1} << 40;
  if (n <= 0 || k <= 0 || n > kLargest || k > kLargest) {
    return bad_input(text(evidence.model.label(size->place), " says n = ", n, ", k = ", k));
  }
  layer.packed = true;
  layer.source = packed.source;
  layer.info.format = Format::marlin;
  const bool zeros = find_part(layer, "qzeros") != nullptr;
  const bool eight = shapes.columns == 4 * round_up(n, 64);
  layer.shape.n = n;
  layer.shape.k = k;
  layer.shape.group = resolve_group(packed.group, k);
  layer.shape.type = type_for(eight ? 8 : 4, !zeros);
  layer.info.zero_points = zeros;
  const MatrixShape& shape = layer.shape;
  const int bits = bits_of(shape.type);
  const std::string why = text("packed n = ", n, ", k = ", k, ", group ", packed.group);
  BILLFISH_RETURN_IF_ERROR(expect_shape(evidence, *find_part(layer, "qweight"), {shape.padded_k() / 16, shape.padded_n() * bits / 2}, why));
  BILLFISH_RETURN_IF_ERROR(expect_shape(evidence, *find_part(layer, "scales"), {shape.groups(), shape.padded_n()}, why));
  assign(layer, "qweight", Role::codes);
  assign(layer, "weight_shape", Role::weight_shape);
  if (zeros) {
    BILLFISH_RETURN_IF_ERROR(expect_shape(evidence, *find_part(layer, "qzeros"), {shape.groups(), shape.padded_n() * bits / 32}, why));
    assign(layer, "qzeros", Role::zeros);
  }
  const Part* perm = find_part(layer, "perm");
  if (perm) {
    if (perm->place.tensor->dtype != "I32")
      return bad_input(text(evidence.model.label(perm->place), " is ", perm->place.tensor->dtype, ", not I32"));
    BILLFISH_RETURN_IF_ERROR(expect_shape(evidence, *perm, {k}, why));
    assign(layer, "perm", Role::perm);
  }
  BILLFISH_RETURN_IF_ERROR(finish_common(evidence, layer, {shape.groups(), {Numbers{0, packed.group, std::nullopt}}, "scales", "g_idx"}));
  layer.info.group = packed.group;
  layer.shape.group = resolve_group(packed.group, k);
  layer.info.act_order = perm != nullptr || find_part(layer, "g_idx") != nullptr;
  return {};
}

}  // namespace billfish::formats
