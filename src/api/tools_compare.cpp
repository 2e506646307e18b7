// SPDX-License-Identifier: Apache-2.0
// billfish_tools_compare: are two matrices, in any two forms, the same codes, zeros and scales?
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "api/arguments.hpp"
#include "billfish/billfish_tools.h"
#include "pack/pack.hpp"
#include "reference/reference.hpp"

namespace billfish::api {
namespace {

// A matrix as Marlin bytes: borrowed if it is that already, else packed into memory of its own.
struct Packed {
  PackedMatrix matrix;
  std::vector<std::uint32_t> codes, zeros, scales;
  std::vector<std::int32_t> perm, g_idx;
};

Status pack_copy(const QuantizedMatrix& source, Packed& out) {
  if (source.format == Format::marlin) {
    out.matrix = pack::view_marlin(source);
    return {};
  }
  QuantizedMatrix without_bias = source;
  without_bias.bias = nullptr;
  const Result<pack::PackedSizes> sizes = pack::packed_sizes(without_bias);
  if (!sizes.ok()) return sizes.status();
  const auto words = [](std::int64_t bytes) { return static_cast<std::size_t>(ceil_div(bytes, 4)); };
  out.codes.resize(words(sizes->codes) + 4);  // spare words to align within
  out.zeros.resize(words(sizes->zeros));
  out.scales.resize(words(sizes->scales));
  out.perm.resize(words(sizes->perm));
  out.g_idx.resize(words(sizes->g_idx));
  static_cast<MatrixShape&>(out.matrix) = source;
  const auto address = reinterpret_cast<std::uintptr_t>(out.codes.data());
  out.matrix.codes = reinterpret_cast<std::uint32_t*>((address + 15) & ~std::uintptr_t{15});
  out.matrix.scales = out.scales.data();
  out.matrix.zeros = sizes->zeros > 0 ? out.zeros.data() : nullptr;
  out.matrix.perm = sizes->perm > 0 ? out.perm.data() : nullptr;
  out.matrix.g_idx = sizes->g_idx > 0 ? out.g_idx.data() : nullptr;
  return pack::pack(without_bias, out.matrix, Parallel());
}

bool same_bytes(const void* left, const void* right, std::int64_t bytes) {
  if (left == nullptr || right == nullptr) return left == right;
  return bytes == 0 || std::memcmp(left, right, static_cast<std::size_t>(bytes)) == 0;
}

// The common case, at the speed of memory. Padding may differ where another packer wrote it: then the slow way decides.
bool identical(const PackedMatrix& left, const PackedMatrix& right) {
  if (!(static_cast<const MatrixShape&>(left) == right)) return false;
  return same_bytes(left.perm, right.perm, left.k * 4) && same_bytes(left.g_idx, right.g_idx, left.k * 4) &&
         same_bytes(left.codes, right.codes, left.packed_code_words() * 4) &&
         same_bytes(left.zeros, right.zeros, left.packed_zero_words() * 4) &&
         same_bytes(left.scales, right.scales, left.packed_scales() * bytes_of(left.scale_type));
}

struct Differences {
  std::int64_t codes = 0, zeros = 0, scales = 0;
  std::string first;
  void note(const char* what, const std::string& where, std::int64_t column, const std::string& left, const std::string& right) {
    if (!first.empty()) return;
    first = std::string("the ") + what + " of " + where + ", column " + std::to_string(column) + " is " + left + " on the left and " +
            right + " on the right";
  }
};

bool same_number(float left, float right) { return left == right || (std::isnan(left) && std::isnan(right)); }

// By group where both have the same groups, else by row: a group of the one may be spread over several of the other.
void compare_parameters(const PackedMatrix& left, const PackedMatrix& right, const std::vector<std::int64_t>& left_rows,
                        const std::vector<std::int64_t>& right_rows, Differences& found) {
  bool same_groups = left.groups() == right.groups();
  for (std::int64_t k = 0; same_groups && k < left.k; ++k) {
    const auto row = static_cast<std::size_t>(k);
    same_groups = reference::group_at(left, left_rows[row]) == reference::group_at(right, right_rows[row]);
  }
  const std::int64_t count = same_groups ? left.groups() : left.k;
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int64_t left_group = same_groups ? i : reference::group_at(left, left_rows[static_cast<std::size_t>(i)]);
    const std::int64_t right_group = same_groups ? i : reference::group_at(right, right_rows[static_cast<std::size_t>(i)]);
    const std::string where = (same_groups ? "group " : "row ") + std::to_string(i);
    for (std::int64_t n = 0; n < left.n; ++n) {
      const int left_zero = reference::zero_of_group(left, left_group, n), right_zero = reference::zero_of_group(right, right_group, n);
      if (left_zero != right_zero) {
        ++found.zeros;
        found.note("zero", where, n, std::to_string(left_zero), std::to_string(right_zero));
      }
      const float left_scale = reference::scale_of_group(left, left_group, n),
                  right_scale = reference::scale_of_group(right, right_group, n);
      if (!same_number(left_scale, right_scale)) {
        ++found.scales;
        found.note("scale", where, n, std::to_string(left_scale), std::to_string(right_scale));
      }
    }
  }
}

Status compare(const billfish_matrix* given_left, const billfish_matrix* given_right, Differences& found) {
  QuantizedMatrix left, right;
  BILLFISH_RETURN_IF_ERROR(read_matrix(given_left, "left", Pointers::required, left));
  BILLFISH_RETURN_IF_ERROR(read_matrix(given_right, "right", Pointers::required, right));
  BILLFISH_RETURN_IF_ERROR(require_cpu("left->device_kind", left.device));
  BILLFISH_RETURN_IF_ERROR(require_cpu("right->device_kind", right.device));
  if (left.n != right.n || left.k != right.k) {
    return invalid_argument("left is [" + std::to_string(left.k) + ", " + std::to_string(left.n) + "] and right is [" +
                            std::to_string(right.k) + ", " + std::to_string(right.n) + "]; only matrices of one shape can be compared");
  }
  if (bits_of(left.type) != bits_of(right.type)) {
    return invalid_argument("left->type is " + std::string(name_of(left.type)) + " and right->type is " + std::string(name_of(right.type)) +
                            "; only codes of as many bits can be compared");
  }
  Packed packed_left, packed_right;
  BILLFISH_RETURN_IF_ERROR(pack_copy(left, packed_left));
  BILLFISH_RETURN_IF_ERROR(pack_copy(right, packed_right));
  if (identical(packed_left.matrix, packed_right.matrix)) return {};
  const std::vector<std::int64_t> left_rows = reference::packed_rows(packed_left.matrix);
  const std::vector<std::int64_t> right_rows = reference::packed_rows(packed_right.matrix);
  for (std::int64_t k = 0; k < left.k; ++k) {
    const std::int64_t left_row = left_rows[static_cast<std::size_t>(k)], right_row = right_rows[static_cast<std::size_t>(k)];
    for (std::int64_t n = 0; n < left.n; ++n) {
      const int x = reference::code_at(packed_left.matrix, left_row, n), y = reference::code_at(packed_right.matrix, right_row, n);
      if (x == y) continue;
      ++found.codes;
      found.note("code", "row " + std::to_string(k), n, std::to_string(x), std::to_string(y));
    }
  }
  compare_parameters(packed_left.matrix, packed_right.matrix, left_rows, right_rows, found);
  return {};
}

}  // namespace
}  // namespace billfish::api

extern "C" billfish_status billfish_tools_compare(const billfish_matrix* left, const billfish_matrix* right, int64_t* codes, int64_t* zeros,
                                                  int64_t* scales, char* first, size_t first_capacity) {
  using namespace billfish;
  return api::guarded([&]() -> Status {
    api::Differences found;
    BILLFISH_RETURN_IF_ERROR(api::compare(left, right, found));
    if (codes != nullptr) *codes = found.codes;
    if (zeros != nullptr) *zeros = found.zeros;
    if (scales != nullptr) *scales = found.scales;
    api::write_text(found.first, first, first_capacity, nullptr);
    return {};
  });
}
