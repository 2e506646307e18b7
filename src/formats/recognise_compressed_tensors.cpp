// SPDX-License-Identifier: Apache-2.0
// Layers of compressed-tensors: `weight_packed` with codes along K, one row an output.
#include <algorithm>

#include "formats/recognise.hpp"
#include "formats/text.hpp"

namespace billfish::formats {

Status recognise_compressed_tensors(const Evidence& evidence, Layer& layer) {
  const Part& codes = *find_part(layer, "weight_packed");
  const std::vector<std::int64_t>& shape = codes.place.tensor->shape;
  if (codes.place.tensor->dtype != "I32") {
    const bool fp4 = codes.place.tensor->dtype == "U8";
    refuse(layer, text("weight_packed of dtype ", codes.place.tensor->dtype, fp4 ? " (4-bit floats)" : "", " is not supported: I32 is"));
    return {};
  }
  if (shape.size() == 3) {
    refuse(layer, text("weight_packed of shape ", shape, " (fused experts) is not supported: two dimensions are"));
    return {};
  }
  if (shape.size() != 2) return bad_input(text(evidence.model.label(codes.place), " has shape ", shape, ", expected two dimensions"));
  const Part* scales = find_part(layer, "weight_scale");
  if (!scales)
    return bad_input(
        text(label(evidence, layer), " has weight_packed but no weight_scale (if it lies in another shard, name the directory)"));

  const Part* size = find_part(layer, "weight_shape");
  if (!size) return bad_input(text(label(evidence, layer), " has weight_packed but no weight_shape"));
  const std::string& size_type = size->place.tensor->dtype;
  if (size_type != "I64" && size_type != "I32") return bad_input(text(evidence.model.label(size->place), " is ", size_type, ", not I64"));
  BILLFISH_RETURN_IF_ERROR(expect_shape(evidence, *size, {2}, "n and k"));
  const std::byte* numbers = evidence.model.data(size->place);
  const std::int64_t n = size_type == "I64" ? read_i64(numbers, 0) : read_i32(numbers, 0);
  const std::int64_t k = size_type == "I64" ? read_i64(numbers, 1) : read_i32(numbers, 1);
  constexpr std::int64_t kLargest = std::int64_t{1} << 40;
  if (n <= 0 || k <= 0 || n > kLargest || k > kLargest)
    return bad_input(text(evidence.model.label(size->place), " says n = ", n, ", k = ", k));
  layer.info.n = layer.shape.n = n;
  layer.info.k = layer.shape.k = k;

  std::vector<Numbers> candidates = evidence.config.candidates(layer.info.name);
  std::vector<int> order;
  for (const Numbers& some : candidates) order.push_back(some.bits);
  order.insert(order.end(), {4, 8, 2, 3, 5, 6, 7});
  int bits = 0;
  for (const int some : order) {
    // Codes that do not divide a word lie across words in some versions and leave bits unused in others.
    const bool fits = some > 0 && (shape[1] == ceil_div(k * some, 32) || shape[1] == ceil_div(k, 32 / some));
    if (bits == 0 && fits) bits = some;
  }
  if (shape[0] != n || bits == 0) {
    return bad_input(
        text(evidence.model.label(codes.place), " has shape ", shape, ", which does not fit weight_shape (n = ", n, ", k = ", k, ")"));
  }
  if (bits != 4 && bits != 8) {
    refuse(layer, text(bits, "-bit codes are not supported: 4 and 8 are"));
    return {};
  }
  const std::vector<std::int64_t>& scale_shape = scales->place.tensor->shape;
  if (scale_shape.size() != 2 && scales->place.tensor->bytes * 8 == dtype_bits(scales->place.tensor->dtype)) {
    refuse(layer, "one scale for the whole matrix (strategy tensor) is not supported: group and channel are");
    return {};
  }
  if (scale_shape.size() != 2 || scale_shape[0] != n) {
    return bad_input(text(evidence.model.label(scales->place), " has shape ", scale_shape, ", expected [", n, ",groups]"));
  }
  const std::int64_t groups = scale_shape[1];
  assign(layer, "weight_packed", Role::codes);
  assign(layer, "weight_shape", Role::weight_shape);

  const Part* zeros = find_part(layer, "weight_zero_point");
  if (zeros) {
    if (zeros->place.tensor->dtype != "I32") {
      refuse(layer, text("weight_zero_point of dtype ", zeros->place.tensor->dtype, " is not supported: packed I32 is"));
      return {};
    }
    BILLFISH_RETURN_IF_ERROR(expect_shape(evidence, *zeros, {ceil_div(n * bits, 32), groups}, "one zero for every scale, packed along n"));
    assign(layer, "weight_zero_point", Role::zeros);
  }
  layer.shape.type = bits == 4 ? (zeros ? WeightType::u4 : WeightType::u4b8) : (zeros ? WeightType::u8 : WeightType::u8b128);
  layer.info.format = Format::compressed_tensors;
  layer.info.zero_points = zeros != nullptr;
  layer.info.type_from_config = zeros != nullptr;
  return finish_common(evidence, layer, {groups, std::move(candidates), "weight_scale", "weight_g_idx"});
}

}  // namespace billfish::formats
