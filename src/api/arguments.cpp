// SPDX-License-Identifier: Apache-2.0
// See arguments.hpp. A check names the field, its value and what is supported; on success nothing allocates.
#include "api/arguments.hpp"

#include <limits>
#include <string>

namespace billfish::api {
namespace {

constexpr const char* kWeightTypes = "0 (u4b8), 1 (u4), 2 (u8b128), 3 (u8)";
constexpr const char* kElementTypes = "0 (f32), 1 (f16), 2 (bf16)";
constexpr const char* kDeviceKinds = "0 (cpu), 1 (cuda)";
constexpr const char* kFormats = "0 (gptq), 1 (gptq_v2), 2 (awq), 3 (compressed-tensors), 4 (raw), 5 (marlin)";

static_assert(static_cast<int>(WeightType::u4b8) == BILLFISH_U4B8 && static_cast<int>(WeightType::u4) == BILLFISH_U4);
static_assert(static_cast<int>(WeightType::u8b128) == BILLFISH_U8B128 && static_cast<int>(WeightType::u8) == BILLFISH_U8);
static_assert(static_cast<int>(ElementType::f32) == BILLFISH_F32 && static_cast<int>(ElementType::f16) == BILLFISH_F16);
static_assert(static_cast<int>(ElementType::bf16) == BILLFISH_BF16);
static_assert(static_cast<int>(DeviceKind::cpu) == BILLFISH_CPU && static_cast<int>(DeviceKind::cuda) == BILLFISH_CUDA);
static_assert(static_cast<int>(Format::gptq_v1) == BILLFISH_FORMAT_GPTQ && static_cast<int>(Format::gptq_v2) == BILLFISH_FORMAT_GPTQ_V2);
static_assert(static_cast<int>(Format::awq) == BILLFISH_FORMAT_AWQ && static_cast<int>(Format::raw) == BILLFISH_FORMAT_RAW);
static_assert(static_cast<int>(Format::compressed_tensors) == BILLFISH_FORMAT_COMPRESSED_TENSORS);
static_assert(static_cast<int>(Format::marlin) == BILLFISH_FORMAT_MARLIN);

std::string field(const char* name, const char* member) { return std::string(name) + "->" + member; }

Status bad_value(const char* name, const char* member, std::int64_t value, const char* supported) {
  return invalid_argument(field(name, member) + " is " + std::to_string(value) + "; " + supported);
}

Status misaligned(const char* name, const char* member, const void* pointer, int to) {
  constexpr char kHex[] = "0123456789abcdef";
  std::string address;
  for (int shift = 60; shift >= 0; shift -= 4) address += kHex[(reinterpret_cast<std::uintptr_t>(pointer) >> shift) & 15];
  return invalid_argument(field(name, member) + " is 0x" + address + "; it must be aligned to " + std::to_string(to) + " bytes");
}

// Sizes whose bytes, in any form of the matrix, fit an int64_t: everything after this multiplies freely.
Status check_shape(const char* name, std::int64_t n, std::int64_t k, std::int64_t group) {
  if (n < 0) return bad_value(name, "n", n, "it must be 0 or more");
  if (k < 0) return bad_value(name, "k", k, "it must be 0 or more");
  if (group < -1 || (group == 0 && k > 0)) {
    return bad_value(name, "group", group, "supported are a positive number of codes, or -1 for one group of all");
  }
  constexpr std::int64_t kLargest = std::numeric_limits<std::int64_t>::max() / 16;  // 8 bytes a code covers every form; and padding
  if (n > kLargest - 64 || k > kLargest - 64 || !checked_multiply(round_up(n, 64), round_up(k, 16)).has_value() ||
      *checked_multiply(round_up(n, 64), round_up(k, 16)) > kLargest) {
    return invalid_argument(field(name, "n") + " is " + std::to_string(n) + " and " + field(name, "k") + " is " + std::to_string(k) +
                            "; a matrix of that size has more bytes than a 64-bit size can count");
  }
  return {};
}

Status check_pointer(const char* name, const char* member, const void* pointer, bool needed, int alignment) {
  if (pointer == nullptr) return needed ? null_argument(field(name, member).c_str()) : Status();
  if (!is_aligned(pointer, static_cast<std::uintptr_t>(alignment))) return misaligned(name, member, pointer, alignment);
  return {};
}

Status check_bytes(const char* name, const char* member, std::int64_t given, std::int64_t needed, const QuantizedMatrix& matrix) {
  if (given < 0) return bad_value(name, member, given, "it must be 0 (not checked) or the size in bytes");
  if (given == 0 || given == needed) return {};
  return invalid_argument(field(name, member) + " is " + std::to_string(given) + "; n = " + std::to_string(matrix.n) +
                          ", k = " + std::to_string(matrix.k) + ", group = " + std::to_string(matrix.group) + " of " +
                          std::string(name_of(matrix.type)) + " in this format take " + std::to_string(needed));
}

struct Bytes {
  std::int64_t codes, zeros, scales;
};
Bytes bytes_of_format(const QuantizedMatrix& matrix) {
  const std::int64_t bits = bits_of(matrix.type), groups = matrix.groups(), element = bytes_of(matrix.scale_type);
  const auto words = [bits](std::int64_t codes) { return ceil_div(codes * bits, 32); };
  switch (matrix.format) {
    case Format::gptq_v1:
    case Format::gptq_v2: return {words(matrix.k) * matrix.n * 4, groups * words(matrix.n) * 4, groups * matrix.n * element};
    case Format::awq: return {matrix.k * words(matrix.n) * 4, groups * words(matrix.n) * 4, groups * matrix.n * element};
    case Format::compressed_tensors: return {matrix.n * words(matrix.k) * 4, words(matrix.n) * groups * 4, groups * matrix.n * element};
    case Format::raw: return {matrix.k * matrix.n, groups * matrix.n, groups * matrix.n * element};
    case Format::marlin: break;
  }
  return {matrix.packed_code_words() * 4, matrix.packed_zero_words() * 4, matrix.packed_scales() * element};
}

// What the two forms of a matrix have in common, as their structs of the ABI show it.
template <class Matrix, class Shown>
void write_parts(const Matrix& matrix, Shown& out) {
  out.type = static_cast<billfish_weight_type>(matrix.type);
  out.scale_type = static_cast<billfish_element_type>(matrix.scale_type);
  out.bias_type = static_cast<billfish_element_type>(matrix.bias_type);
  out.n = matrix.n;
  out.k = matrix.k;
  out.group = matrix.per_column() ? -1 : matrix.group;
  out.codes = matrix.codes;
  out.zeros = matrix.zeros;
  out.scales = matrix.scales;
  out.g_idx = matrix.g_idx;
  out.perm = matrix.perm;
  out.bias = matrix.bias;
  out.device_kind = static_cast<billfish_device_kind>(matrix.device.kind);
  out.device_index = matrix.device.index;
}

}  // namespace

Status read_parallel(const billfish_parallel* given, Parallel& out) {
  out = Parallel();
  if (given == nullptr) return {};
  billfish_parallel parallel;
  BILLFISH_RETURN_IF_ERROR(read_struct(given, "parallel", parallel));
  if (parallel.reserved != 0) return bad_value("parallel", "reserved", parallel.reserved, "reserved fields must be 0");
  if (parallel.threads < 0) return bad_value("parallel", "threads", parallel.threads, "it must be 0 or more");
  if (parallel.pool != nullptr) return read_pool(parallel.pool, out.pool);
  out.parallel_for = parallel.parallel_for;
  out.user = parallel.user;
  out.width = parallel.threads > 0 ? parallel.threads : 1;
  return {};
}

Status read_device(const char* kind_name, const char* index_name, const billfish_device_kind& kind, int index, Device& out) {
  BILLFISH_RETURN_IF_ERROR(read_enum(kind_name, kind, 2, kDeviceKinds, out.kind));
  if (index < 0 || (out.kind == DeviceKind::cpu && index != 0)) {
    return invalid_argument(std::string(index_name) + " is " + std::to_string(index) + "; " +
                            (out.kind == DeviceKind::cpu ? "the CPU is device 0" : "it must be 0 or more"));
  }
  out.index = index;
  return {};
}

Status require_cpu(const char* name, const Device& device) {
  if (device.kind == DeviceKind::cpu) return {};
  return unsupported(std::string(name) + " is 1 (cuda); this function works on CPU memory only: copy the parts to the host first");
}

Status check_matrix_bytes(const char* name, const billfish_matrix& given, const QuantizedMatrix& matrix) {
  const Bytes bytes = bytes_of_format(matrix);
  BILLFISH_RETURN_IF_ERROR(check_bytes(name, "codes_bytes", given.codes_bytes, bytes.codes, matrix));
  BILLFISH_RETURN_IF_ERROR(check_bytes(name, "scales_bytes", given.scales_bytes, bytes.scales, matrix));
  return check_bytes(name, "zeros_bytes", given.zeros_bytes, matrix.zeros == nullptr ? 0 : bytes.zeros, matrix);
}

Status read_matrix(const billfish_matrix* given, const char* name, Pointers pointers, QuantizedMatrix& out) {
  billfish_matrix m;
  BILLFISH_RETURN_IF_ERROR(read_struct(given, name, m));
  BILLFISH_RETURN_IF_ERROR(check_reserved(field(name, "reserved").c_str(), m.reserved));
  BILLFISH_RETURN_IF_ERROR(read_enum(field(name, "format").c_str(), m.format, 6, kFormats, out.format));
  BILLFISH_RETURN_IF_ERROR(read_enum(field(name, "type").c_str(), m.type, 4, kWeightTypes, out.type));
  BILLFISH_RETURN_IF_ERROR(read_enum(field(name, "scale_type").c_str(), m.scale_type, 3, kElementTypes, out.scale_type));
  BILLFISH_RETURN_IF_ERROR(read_enum(field(name, "bias_type").c_str(), m.bias_type, 3, kElementTypes, out.bias_type));
  BILLFISH_RETURN_IF_ERROR(
      read_device(field(name, "device_kind").c_str(), field(name, "device_index").c_str(), m.device_kind, m.device_index, out.device));
  BILLFISH_RETURN_IF_ERROR(check_shape(name, m.n, m.k, m.group));
  out.n = m.n;
  out.k = m.k;
  out.group = resolve_group(m.group, m.k);
  out.codes = m.codes;
  out.zeros = m.zeros;
  out.scales = m.scales;
  out.g_idx = m.g_idx;
  out.perm = m.perm;
  out.bias = m.bias;
  if (m.perm != nullptr && out.format != Format::marlin) {
    return invalid_argument(field(name, "perm") + " is set; only format 5 (marlin) has one, the others have g_idx");
  }
  if (pointers == Pointers::ignored) return check_matrix_bytes(name, m, out);
  const bool empty = m.n == 0 || m.k == 0;
  const int word = out.format == Format::raw ? 1 : 4;
  BILLFISH_RETURN_IF_ERROR(check_pointer(name, "codes", m.codes, !empty, word));
  BILLFISH_RETURN_IF_ERROR(check_pointer(name, "scales", m.scales, !empty, bytes_of(out.scale_type)));
  if (has_zeros(out.type) && m.zeros == nullptr && !empty) {
    return invalid_argument(field(name, "zeros") + " is NULL; the type " + std::string(name_of(out.type)) + " has stored zeros");
  }
  BILLFISH_RETURN_IF_ERROR(check_pointer(name, "zeros", m.zeros, false, word));
  BILLFISH_RETURN_IF_ERROR(check_pointer(name, "g_idx", m.g_idx, false, 4));
  BILLFISH_RETURN_IF_ERROR(check_pointer(name, "perm", m.perm, false, 4));
  BILLFISH_RETURN_IF_ERROR(check_pointer(name, "bias", m.bias, false, bytes_of(out.bias_type)));
  return check_matrix_bytes(name, m, out);
}

void write_matrix(const QuantizedMatrix& matrix, billfish_matrix& out) {
  const Bytes bytes = bytes_of_format(matrix);
  out = BILLFISH_MATRIX_INIT;
  write_parts(matrix, out);
  out.format = static_cast<billfish_format>(matrix.format);
  out.codes_bytes = bytes.codes;
  out.zeros_bytes = matrix.zeros != nullptr ? bytes.zeros : 0;
  out.scales_bytes = bytes.scales;
}

Status read_weights(const billfish_weights* given, Pointers pointers, PackedMatrix& out) {
  billfish_weights w;
  BILLFISH_RETURN_IF_ERROR(read_struct(given, "weights", w));
  BILLFISH_RETURN_IF_ERROR(check_reserved("weights->reserved", w.reserved));
  if (w.global_scale != nullptr) return invalid_argument("weights->global_scale is set; this version has no type that uses it");
  if (w.float_zeros != nullptr) return invalid_argument("weights->float_zeros is set; this version has no type that uses it");
  if (w.k_offset != 0) return bad_value("weights", "k_offset", w.k_offset, "reserved fields must be 0");
  if (w.experts != 0) return bad_value("weights", "experts", w.experts, "reserved fields must be 0");
  BILLFISH_RETURN_IF_ERROR(read_enum("weights->type", w.type, 4, kWeightTypes, out.type));
  BILLFISH_RETURN_IF_ERROR(read_enum("weights->scale_type", w.scale_type, 3, kElementTypes, out.scale_type));
  BILLFISH_RETURN_IF_ERROR(read_enum("weights->bias_type", w.bias_type, 3, kElementTypes, out.bias_type));
  BILLFISH_RETURN_IF_ERROR(read_device("weights->device_kind", "weights->device_index", w.device_kind, w.device_index, out.device));
  constexpr std::uint32_t kKnownFlags = BILLFISH_WEIGHTS_WIDE_SCALES | BILLFISH_WEIGHTS_BIAS_PERMUTED;
  if ((w.flags & ~kKnownFlags) != 0) {
    return invalid_argument("weights->flags is " + std::to_string(w.flags) +
                            "; supported are 1 (wide scales) and 2 (bias permuted); 4 (k sharded) is reserved");
  }
  BILLFISH_RETURN_IF_ERROR(check_shape("weights", w.n, w.k, w.group));
  out.n = w.n;
  out.k = w.k;
  out.group = w.k == 0 ? 1 : resolve_group(w.group, w.k);
  out.codes = static_cast<std::uint32_t*>(w.codes);
  out.scales = w.scales;
  out.zeros = static_cast<std::uint32_t*>(w.zeros);
  out.perm = w.perm;
  out.g_idx = w.g_idx;
  out.bias = w.bias;
  out.bias_permuted = (w.flags & BILLFISH_WEIGHTS_BIAS_PERMUTED) != 0;
  out.wide_scales = (w.flags & BILLFISH_WEIGHTS_WIDE_SCALES) != 0;
  if (pointers == Pointers::ignored) return {};
  const bool empty = w.n == 0 || w.k == 0;
  const bool cuda = out.device.kind == DeviceKind::cuda;
  if (has_zeros(out.type) ? w.zeros == nullptr && !empty : w.zeros != nullptr) {
    return invalid_argument(std::string("weights->zeros is ") + (w.zeros == nullptr ? "NULL" : "set") + "; the type " +
                            std::string(name_of(out.type)) + (w.zeros == nullptr ? " has stored zeros" : " has none"));
  }
  BILLFISH_RETURN_IF_ERROR(check_pointer("weights", "codes", w.codes, !empty, 16));
  BILLFISH_RETURN_IF_ERROR(check_pointer("weights", "scales", w.scales, !empty, cuda ? 16 : bytes_of(out.scale_type)));
  BILLFISH_RETURN_IF_ERROR(check_pointer("weights", "zeros", w.zeros, false, cuda ? 16 : 4));
  BILLFISH_RETURN_IF_ERROR(check_pointer("weights", "perm", w.perm, false, cuda ? 16 : 4));
  BILLFISH_RETURN_IF_ERROR(check_pointer("weights", "g_idx", w.g_idx, false, cuda ? 16 : 4));
  return check_pointer("weights", "bias", w.bias, false, cuda ? 16 : bytes_of(out.bias_type));
}

void write_weights(const PackedMatrix& matrix, billfish_weights& out) {
  out = BILLFISH_WEIGHTS_INIT;
  write_parts(matrix, out);
  if (matrix.wide_scales) out.flags |= BILLFISH_WEIGHTS_WIDE_SCALES;
  if (matrix.bias_permuted) out.flags |= BILLFISH_WEIGHTS_BIAS_PERMUTED;
}

}  // namespace billfish::api
