// SPDX-License-Identifier: Apache-2.0
// See gemm_arguments.hpp. On the hot path of every call: compares and copies, no lock, no heap.
#include "api/gemm_arguments.hpp"

#include <cstdlib>
#include <limits>
#include <string>

#include "cpu/cpu.hpp"
#include "cuda/cuda.hpp"

namespace billfish::api {
namespace {

static_assert(static_cast<int>(Precision::full) == BILLFISH_PRECISION_FULL && static_cast<int>(Precision::bf16) == BILLFISH_PRECISION_BF16);
static_assert(static_cast<int>(Precision::int8) == BILLFISH_PRECISION_INT8);

constexpr const char* kElementTypes = "0 (f32), 1 (f16), 2 (bf16)";
constexpr const char* kPrecisions = "0 (full), 1 (bf16), 2 (int8)";
constexpr std::uintptr_t kVectorBytes = 16;  // the widest load or store that kernels make of a and c

Status unknown_implementation(const char* what, const std::string& name) {
  std::string names;
  for (const gemm::Implementation* implementation : gemm::implementations()) {
    names += std::string(names.empty() ? "" : ", ") + implementation->name;
  }
  return invalid_argument(std::string(what) + " is \"" + name + "\"; known are " + names);
}

struct Forced {
  std::string name;  // kept for the message
  const gemm::Implementation* implementation = nullptr;
};
const Forced& forced_by_environment() {
  static const Forced forced = [] {
    const char* name = std::getenv("BILLFISH_FORCE");
    Forced found;
    if (name != nullptr) found.name = name;
    if (!found.name.empty()) found.implementation = gemm::find_implementation(found.name);
    return found;
  }();
  return forced;
}

// Bytes from the first to behind the last element of a row-major [rows, columns] array; nothing if they cannot be counted.
std::optional<std::int64_t> extent(std::int64_t rows, std::int64_t columns, std::int64_t stride, int element) {
  if (rows == 0 || columns == 0) return 0;
  const auto before_last = checked_multiply(rows - 1, stride);
  const auto elements = before_last ? checked_add(*before_last, columns) : std::nullopt;
  return elements ? checked_multiply(*elements, element) : std::nullopt;
}

Status check_rows(const char* pointer_name, const void* pointer, const char* stride_name, std::int64_t stride, std::int64_t rows,
                  std::int64_t columns, const char* columns_name, ElementType type, bool needed, std::int64_t& bytes) {
  if (rows > 1 && stride < columns) {
    return invalid_argument(std::string("args->") + stride_name + " is " + std::to_string(stride) + "; it must be at least " +
                            columns_name + " = " + std::to_string(columns));
  }
  const auto counted = extent(rows, columns, stride, bytes_of(type));
  if (!counted) {
    return invalid_argument("args->m is " + std::to_string(rows) + " and args->" + stride_name + " is " + std::to_string(stride) +
                            "; an array of that size has more bytes than a 64-bit size can count");
  }
  bytes = *counted;
  if (!needed || bytes == 0) return {};
  if (pointer == nullptr) return invalid_argument(std::string("args->") + pointer_name + " is NULL");
  if (!is_aligned(pointer, static_cast<std::uintptr_t>(bytes_of(type)))) {
    return invalid_argument(std::string("args->") + pointer_name + " is not aligned to its elements of " + std::to_string(bytes_of(type)) +
                            " bytes");
  }
  return {};
}

// A row-major block of memory.
struct Block {
  std::uintptr_t begin;
  std::int64_t bytes;  // first to last
  std::int64_t row;    // of one row
  std::int64_t stride;
};

bool overlap(const Block& x, const Block& y) {
  if (x.bytes == 0 || y.bytes == 0) return false;
  if (x.begin + static_cast<std::uintptr_t>(x.bytes) <= y.begin || y.begin + static_cast<std::uintptr_t>(y.bytes) <= x.begin) return false;
  // Columns side by side in one wider array are fine: same stride, and every row of y begins behind x's row and ends before x's next.
  if (x.stride != y.stride || x.stride <= 0) return true;
  const auto stride = static_cast<std::uintptr_t>(x.stride);
  const std::uintptr_t shift = (y.begin % stride + stride - x.begin % stride) % stride;
  return shift < static_cast<std::uintptr_t>(x.row) || shift + static_cast<std::uintptr_t>(y.row) > stride;
}

bool allows_vectors(const void* pointer, std::int64_t stride, std::int64_t rows, ElementType type) {
  return is_aligned(pointer, kVectorBytes) && (rows <= 1 || stride * bytes_of(type) % static_cast<std::int64_t>(kVectorBytes) == 0);
}

Status check_workspace(const billfish_gemm_args& args, std::int64_t c_bytes, std::int64_t a_bytes) {
  if (args.workspace_bytes > static_cast<std::size_t>(std::numeric_limits<std::int64_t>::max())) {
    return invalid_argument("args->workspace_bytes is " + std::to_string(args.workspace_bytes) + "; no memory is that large");
  }
  if (args.workspace_bytes == 0) return {};
  if (args.workspace == nullptr) {
    return invalid_argument("args->workspace is NULL and args->workspace_bytes is " + std::to_string(args.workspace_bytes) +
                            "; without a workspace it must be 0");
  }
  if (!is_aligned(args.workspace, kVectorBytes)) return invalid_argument("args->workspace must be aligned to 16 bytes");
  const auto address = [](const void* pointer) { return reinterpret_cast<std::uintptr_t>(pointer); };
  const Block workspace = {address(args.workspace), static_cast<std::int64_t>(args.workspace_bytes), 0, 0};
  if (overlap(workspace, {address(args.a), a_bytes, 0, 0})) return invalid_argument("args->workspace overlaps args->a");
  if (overlap(workspace, {address(args.c), c_bytes, 0, 0})) return invalid_argument("args->workspace overlaps args->c");
  return {};
}

}  // namespace

Status find_forced(const char* name, const gemm::Implementation*& out) {
  out = nullptr;
  if (name != nullptr) {
    out = gemm::find_implementation(name);
    return out != nullptr ? Status() : unknown_implementation("implementation", name);
  }
  const Forced& forced = forced_by_environment();
  out = forced.implementation;
  return out != nullptr || forced.name.empty() ? Status() : unknown_implementation("the environment variable BILLFISH_FORCE", forced.name);
}

Result<gemm::DeviceFacts> facts_of(const Device& device) {
  if (device.kind == DeviceKind::cpu) return cpu::facts();
  return cuda::facts(device.index);
}

Status read_gemm(const billfish_weights* weights, const billfish_gemm_args* given, Uses uses, GemmCall& out) {
  BILLFISH_RETURN_IF_ERROR(read_weights(weights, uses == Uses::shape_only ? Pointers::ignored : Pointers::required, out.weights));
  billfish_gemm_args args;
  BILLFISH_RETURN_IF_ERROR(read_struct(given, "args", args));
  BILLFISH_RETURN_IF_ERROR(check_reserved("args->reserved", args.reserved));
  const PackedMatrix& w = out.weights;
  gemm::Problem& problem = out.problem;
  BILLFISH_RETURN_IF_ERROR(read_enum("args->a_type", args.a_type, 3, kElementTypes, problem.a));
  BILLFISH_RETURN_IF_ERROR(read_enum("args->c_type", args.c_type, 3, kElementTypes, problem.c));
  BILLFISH_RETURN_IF_ERROR(read_enum("args->precision", args.precision, 3, kPrecisions, problem.precision));
  constexpr std::uint32_t kFlags =
      BILLFISH_GEMM_NO_BIAS | BILLFISH_GEMM_BATCH_INVARIANT | BILLFISH_GEMM_DEPENDENT_LAUNCH | BILLFISH_GEMM_ZEROED_WORKSPACE;
  if ((args.flags & ~kFlags) != 0) {
    return invalid_argument("args->flags is " + std::to_string(args.flags) +
                            "; known are 1 (no bias), 2 (batch invariant), 4 (dependent launch) and 8 (zeroed workspace)");
  }
  if (args.m < 0) return invalid_argument("args->m is " + std::to_string(args.m) + "; it must be 0 or more");
  std::int64_t a_bytes = 0, c_bytes = 0;
  BILLFISH_RETURN_IF_ERROR(
      check_rows("a", args.a, "lda", args.lda, args.m, w.k, "k", problem.a, uses != Uses::shape_only && w.n > 0, a_bytes));
  if (uses != Uses::inputs_only) {
    BILLFISH_RETURN_IF_ERROR(check_rows("c", args.c, "ldc", args.ldc, args.m, w.n, "n", problem.c, uses == Uses::everything, c_bytes));
  }
  if (uses == Uses::everything) {
    const bool rows = args.m > 1;  // else the strides mean nothing
    const Block a = {reinterpret_cast<std::uintptr_t>(args.a), a_bytes, w.k * bytes_of(problem.a),
                     rows ? args.lda * bytes_of(problem.a) : 0};
    const Block c = {reinterpret_cast<std::uintptr_t>(args.c), c_bytes, w.n * bytes_of(problem.c),
                     rows ? args.ldc * bytes_of(problem.c) : 0};
    if (overlap(a, c)) return invalid_argument("args->c overlaps args->a; the result needs memory of its own");
    BILLFISH_RETURN_IF_ERROR(check_workspace(args, c_bytes, a_bytes));
  }
  BILLFISH_RETURN_IF_ERROR(find_forced(args.implementation, out.forced));
  BILLFISH_RETURN_IF_ERROR(read_parallel(args.parallel, out.call.parallel));

  problem.m = args.m;
  problem.n = w.n;
  problem.k = w.k;
  problem.group = w.group;
  problem.weight = w.type;
  problem.scale = w.scale_type;
  problem.act_order = w.perm != nullptr;
  problem.uneven_groups = w.g_idx != nullptr;
  problem.bias = w.bias != nullptr && (args.flags & BILLFISH_GEMM_NO_BIAS) == 0;
  problem.wide_scales = w.wide_scales;
  problem.batch_invariant = (args.flags & BILLFISH_GEMM_BATCH_INVARIANT) != 0;
  problem.dependent_launch = (args.flags & BILLFISH_GEMM_DEPENDENT_LAUNCH) != 0;
  problem.zeroed_workspace = w.device.kind == DeviceKind::cuda && (args.flags & BILLFISH_GEMM_ZEROED_WORKSPACE) != 0;
  problem.aligned_a = allows_vectors(args.a, args.lda, args.m, problem.a);
  problem.aligned_c = allows_vectors(args.c, args.ldc, args.m, problem.c);
  problem.threads = out.call.parallel.threads();
  problem.workspace_bytes = uses == Uses::everything ? static_cast<std::int64_t>(args.workspace_bytes) : -1;

  out.call.weights = &out.weights;
  out.call.m = args.m;
  out.call.a = args.a;
  out.call.lda = args.lda;
  out.call.c = args.c;
  out.call.ldc = args.ldc;
  out.call.bias = problem.bias;
  out.call.workspace = args.workspace_bytes > 0 ? args.workspace : nullptr;
  out.call.workspace_bytes = static_cast<std::int64_t>(args.workspace_bytes);
  return {};
}

}  // namespace billfish::api
