// SPDX-License-Identifier: Apache-2.0
// Counting sorts over groups: linear in k, stable.
#include "pack/order.hpp"

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

namespace billfish::pack {
namespace {

std::string of_format(std::int64_t groups, std::int64_t group) {
  return "; this matrix has " + std::to_string(groups) + " groups of " + std::to_string(group) + " rows";
}

Status check_permutation(const std::int32_t* perm, std::int64_t k) {
  std::vector<bool> seen(static_cast<std::size_t>(k), false);
  for (std::int64_t row = 0; row < k; ++row) {
    const std::int64_t original = perm[row];
    if (original < 0 || original >= k) {
      return bad_input("perm[" + std::to_string(row) + "] is " + std::to_string(original) + "; it must be one of the rows 0 to " +
                       std::to_string(k - 1));
    }
    if (seen[static_cast<std::size_t>(original)]) {
      return bad_input("perm[" + std::to_string(row) + "] is " + std::to_string(original) +
                       ", which it was before; every row must be there once");
    }
    seen[static_cast<std::size_t>(original)] = true;
  }
  return {};
}

void copy_rows(std::int32_t* to, const std::int32_t* from, std::int64_t k) {
  if (to != nullptr && from != nullptr && to != from) std::memmove(to, from, static_cast<std::size_t>(k) * sizeof *to);
}

}  // namespace

Result<RowOrder> order_of(const QuantizedMatrix& matrix) {
  RowOrder order;
  order.permuted = matrix.format == Format::marlin && matrix.perm != nullptr;
  if (matrix.g_idx == nullptr || matrix.k == 0) return order;
  const std::int64_t groups = matrix.groups();
  std::vector<std::int64_t> rows_of(static_cast<std::size_t>(groups), 0);
  bool sorted = true;
  for (std::int64_t row = 0; row < matrix.k; ++row) {
    const std::int64_t group = matrix.g_idx[row];
    if (group < 0 || group >= groups) {
      return bad_input("g_idx[" + std::to_string(row) + "] is " + std::to_string(group) + of_format(groups, matrix.group));
    }
    sorted = sorted && (row == 0 || matrix.g_idx[row - 1] <= group);
    ++rows_of[static_cast<std::size_t>(group)];
  }
  if (matrix.format == Format::marlin) {
    if (!sorted) return bad_input("g_idx of packed weights must ascend: it goes by packed row" + of_format(groups, matrix.group));
  } else {
    order.permuted = !sorted;
  }
  for (std::int64_t group = 0; group < groups; ++group) {
    const std::int64_t expected = std::min(matrix.group, matrix.k - group * matrix.group);
    order.uneven = order.uneven || rows_of[static_cast<std::size_t>(group)] != expected;
  }
  return order;
}

Status pack_order(const QuantizedMatrix& source, const RowOrder& order, PackedMatrix& target) {
  if (!order.permuted) target.perm = nullptr;
  if (!order.uneven) target.g_idx = nullptr;
  if (order.permuted && target.perm == nullptr) {
    return invalid_argument("perm of the packed matrix is null; an activation order needs " + std::to_string(source.k * 4) +
                            " bytes there");
  }
  if (order.uneven && target.g_idx == nullptr) {
    return invalid_argument("g_idx of the packed matrix is null; uneven groups need " + std::to_string(source.k * 4) + " bytes there");
  }
  if (source.format == Format::marlin) {
    if (order.permuted) BILLFISH_RETURN_IF_ERROR(check_permutation(source.perm, source.k));
    copy_rows(target.perm, source.perm, source.k);
    copy_rows(target.g_idx, source.g_idx, source.k);
    return {};
  }
  if (!order.permuted) {
    copy_rows(target.g_idx, source.g_idx, source.k);
    return {};
  }
  std::vector<std::int64_t> next(static_cast<std::size_t>(source.groups()) + 1, 0);
  for (std::int64_t row = 0; row < source.k; ++row) ++next[static_cast<std::size_t>(source.g_idx[row]) + 1];
  for (std::size_t group = 1; group < next.size(); ++group) next[group] += next[group - 1];
  for (std::int64_t row = 0; row < source.k; ++row) {
    const std::int64_t packed = next[static_cast<std::size_t>(source.g_idx[row])]++;
    target.perm[packed] = static_cast<std::int32_t>(row);
    if (target.g_idx != nullptr) target.g_idx[packed] = source.g_idx[row];
  }
  return {};
}

Status unpack_order(const PackedMatrix& source, const QuantizedMatrix& target) {
  auto* const g_idx = const_cast<std::int32_t*>(target.g_idx);  // the caller's output buffers, by contract
  auto* const perm = const_cast<std::int32_t*>(target.perm);
  const bool needs_g_idx = target.format == Format::marlin ? source.g_idx != nullptr : source.perm != nullptr || source.g_idx != nullptr;
  if (needs_g_idx && g_idx == nullptr) {
    return invalid_argument("g_idx of the target is null; the weights have an activation order, which this format stores in " +
                            std::to_string(source.k * 4) + " bytes there");
  }
  if (source.perm != nullptr) BILLFISH_RETURN_IF_ERROR(check_permutation(source.perm, source.k));
  if (target.format == Format::marlin) {
    if (source.perm != nullptr && perm == nullptr) {
      return invalid_argument("perm of the target is null; the weights have an activation order, which needs " +
                              std::to_string(source.k * 4) + " bytes there");
    }
    for (std::int64_t row = 0; perm != nullptr && row < source.k; ++row) {
      perm[row] = source.perm != nullptr ? source.perm[row] : static_cast<std::int32_t>(row);
    }
  }
  if (g_idx == nullptr) return {};
  const bool by_packed_row = target.format == Format::marlin || source.perm == nullptr;
  for (std::int64_t row = 0; row < source.k; ++row) {
    const auto group = static_cast<std::int32_t>(source.g_idx != nullptr ? source.g_idx[row] : source.group_of_row(row));
    g_idx[by_packed_row ? row : source.perm[row]] = group;
  }
  return {};
}

}  // namespace billfish::pack
