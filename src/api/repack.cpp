// SPDX-License-Identifier: Apache-2.0
// billfish_repack_gptq_to_marlin and billfish_repack_scales_to_marlin: what callers of Marlin write by hand, for whole tiles.
#include <string>
#include <vector>

#include "api/arguments.hpp"
#include "pack/pack.hpp"
#include "pack/repack_scales.hpp"

namespace billfish::api {
namespace {

Status check_tiles(const void* source, const void* target, std::int64_t k, std::int64_t n) {
  if (k < 0 || k % 16 != 0) return invalid_argument("k is " + std::to_string(k) + "; it must be a multiple of 16, 0 or more");
  if (n < 0 || n % 64 != 0) return invalid_argument("n is " + std::to_string(n) + "; it must be a multiple of 64, 0 or more");
  const auto codes = checked_multiply(k, n);
  if (!codes.has_value() || !checked_multiply(*codes, 8).has_value()) {
    return invalid_argument("k is " + std::to_string(k) + " and n is " + std::to_string(n) +
                            "; a matrix of that size has more bytes than a 64-bit size can count");
  }
  if (*codes == 0) return {};
  if (source == nullptr) return null_argument("source");
  if (target == nullptr) return null_argument("target");
  if (source == target) return invalid_argument("target is source; repacking in place is not supported");
  return {};
}

Status repack_codes(const std::int32_t* codes, std::int32_t* target, std::int64_t k, std::int64_t n, int bits) {
  if (bits != 4 && bits != 8) return invalid_argument("bits is " + std::to_string(bits) + "; supported are 4 and 8");
  BILLFISH_RETURN_IF_ERROR(check_tiles(codes, target, k, n));
  if (k == 0 || n == 0) return {};
  // The packer packs whole matrices: give it one row of ones for scales. Any 4- or 8-bit type moves the codes alike.
  const std::vector<std::uint16_t> ones(static_cast<std::size_t>(n), 0x3c00);
  std::vector<std::uint16_t> packed_ones(static_cast<std::size_t>(n));
  QuantizedMatrix source;
  source.type = bits == 4 ? WeightType::u4b8 : WeightType::u8b128;
  source.n = n;
  source.k = k;
  source.group = k;
  source.format = Format::gptq_v2;
  source.codes = codes;
  source.scales = ones.data();
  PackedMatrix packed;
  static_cast<MatrixShape&>(packed) = source;
  packed.codes = reinterpret_cast<std::uint32_t*>(target);
  packed.scales = packed_ones.data();
  return pack::pack(source, packed, Parallel());
}

Status repack_scales(const std::uint16_t* source, std::uint16_t* target, std::int64_t k, std::int64_t n, std::int64_t group) {
  BILLFISH_RETURN_IF_ERROR(check_tiles(source, target, k, n));
  if (group < -1 || group == 0) {
    return invalid_argument("group is " + std::to_string(group) + "; supported are a positive number of codes, or -1 for one group of all");
  }
  if (k == 0 || n == 0) return {};
  const std::int64_t resolved = resolve_group(group, k);
  pack::repack_scales(source, target, ceil_div(k, resolved), n, resolved >= k);
  return {};
}

}  // namespace
}  // namespace billfish::api

extern "C" {

billfish_status billfish_repack_gptq_to_marlin(const int32_t* source, int32_t* target, int64_t k, int64_t n, int bits) {
  return billfish::api::guarded([&] { return billfish::api::repack_codes(source, target, k, n, bits); });
}

billfish_status billfish_repack_scales_to_marlin(const uint16_t* source, uint16_t* target, int64_t k, int64_t n, int64_t group) {
  return billfish::api::guarded([&] { return billfish::api::repack_scales(source, target, k, n, group); });
}

}  // extern "C"
