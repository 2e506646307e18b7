// SPDX-License-Identifier: Apache-2.0
// See linear_algebra.hpp. The Fortran interface is used: every LAPACK has it, and it needs no header. Fortran sees a row-major matrix
// as its transpose, so sides and triangles are exchanged here.
#include "quantize/linear_algebra.hpp"

#include <dlfcn.h>

#include <cstdlib>
#include <limits>
#include <map>
#include <mutex>
#include <semaphore>

namespace billfish::quantize {
namespace {

// OpenBLAS first: the others are found where no OpenBLAS is, and a plain liblapack brings its own libblas along.
constexpr const char* kCandidates[] = {"libopenblas.so.0", "libopenblas.so", "libmkl_rt.so.2", "libflexiblas.so.3", "liblapack.so.3"};

constexpr const char* kAdvice =
    "linear algebra is needed for samples, GPTQ and AWQ, and no LAPACK was found: install OpenBLAS (Debian and Ubuntu: "
    "libopenblas0-pthread; Fedora: openblas), or name a library in the environment variable BILLFISH_LAPACK";

template <class Function>
bool look_up(void* library, const char* name, Function& function) {
  function = reinterpret_cast<Function>(dlsym(library, name));
  return function != nullptr;
}

// How many OneThread objects live, and what OpenBLAS had before the first.
struct Nesting {
  std::mutex mutex;
  int depth = 0;
  int before = 1;
};
Nesting& nesting() {
  static Nesting one;
  return one;
}

// OpenBLAS has at least 50 buffers, one a call; beyond them it complains on stderr. More threads than this take turns.
constexpr int kCallsAtOnce = 48;
class Turn {
 public:
  Turn() { free().acquire(); }
  ~Turn() { free().release(); }
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;

 private:
  static std::counting_semaphore<kCallsAtOnce>& free() {
    static std::counting_semaphore<kCallsAtOnce> one(kCallsAtOnce);
    return one;
  }
};

std::int32_t narrow(std::int64_t value) { return static_cast<std::int32_t>(value); }

}  // namespace

bool LinearAlgebra::fits(std::int64_t rows, std::int64_t stride) {
  constexpr std::int64_t kMost = std::numeric_limits<std::int32_t>::max();
  return rows <= kMost && stride <= kMost;
}

Result<LinearAlgebra> LinearAlgebra::load(const char* file) {
  void* const library = dlopen(file, RTLD_NOW | RTLD_LOCAL);  // stays for as long as the process: others may use it too
  if (library == nullptr) return unsupported(std::string(file) + " cannot be loaded");
  LinearAlgebra found;
  found.file_ = file;
  if (!look_up(library, "sgemm_", found.gemm_) || !look_up(library, "ssyrk_", found.syrk_) || !look_up(library, "strsm_", found.trsm_) ||
      !look_up(library, "spotrf_", found.potrf_)) {
    return unsupported(std::string(file) + " lacks sgemm_, ssyrk_, strsm_ or spotrf_");
  }
  if (!look_up(library, "openblas_set_num_threads", found.set_threads_) ||
      !look_up(library, "openblas_get_num_threads", found.get_threads_)) {
    found.set_threads_ = nullptr;
  }
  return found;
}

Result<const LinearAlgebra*> LinearAlgebra::get() {
  static std::mutex mutex;
  static std::map<std::string, LinearAlgebra> loaded;  // by what was asked for; one entry but in tests
  const char* const wanted = std::getenv("BILLFISH_LAPACK");
  const std::string key = wanted != nullptr ? wanted : "";
  const std::lock_guard lock(mutex);
  if (const auto known = loaded.find(key); known != loaded.end()) return &known->second;
  if (!key.empty()) {
    Result<LinearAlgebra> found = load(key.c_str());
    if (!found.ok()) return unsupported(std::string(kAdvice) + "; it is set, but " + found.status().message());
    return &loaded.emplace(key, *found).first->second;
  }
  for (const char* const candidate : kCandidates) {
    Result<LinearAlgebra> found = load(candidate);
    if (found.ok()) return &loaded.emplace(key, *found).first->second;
  }
  return unsupported(kAdvice);
}

void LinearAlgebra::multiply(Op op_a, Op op_b, std::int64_t m, std::int64_t n, std::int64_t k, float alpha, const float* a,
                             std::int64_t lda, const float* b, std::int64_t ldb, float beta, float* c, std::int64_t ldc) const {
  const Int rows = narrow(m), columns = narrow(n), depth = narrow(k), stride_a = narrow(lda), stride_b = narrow(ldb),
            stride_c = narrow(ldc);
  const Turn turn;
  gemm_(op_b == Op::plain ? "N" : "T", op_a == Op::plain ? "N" : "T", &columns, &rows, &depth, &alpha, b, &stride_b, a, &stride_a, &beta, c,
        &stride_c, 1, 1);
}

void LinearAlgebra::multiply_by_own_transpose(Op op_a, std::int64_t n, std::int64_t k, float alpha, const float* a, std::int64_t lda,
                                              float beta, float* c, std::int64_t ldc) const {
  const Int order = narrow(n), depth = narrow(k), stride_a = narrow(lda), stride_c = narrow(ldc);
  const Turn turn;
  syrk_("U", op_a == Op::plain ? "T" : "N", &order, &depth, &alpha, a, &stride_a, &beta, c, &stride_c, 1, 1);
}

std::int64_t LinearAlgebra::factor_lower(std::int64_t n, float* a, std::int64_t lda) const {
  const Int order = narrow(n), stride = narrow(lda);
  Int info = 0;
  const Turn turn;
  potrf_("U", &order, a, &stride, &info, 1);
  return info;
}

void LinearAlgebra::solve_lower_transposed(std::int64_t m, std::int64_t n, const float* l, std::int64_t ldl, float* b,
                                           std::int64_t ldb) const {
  const Int order = narrow(n), columns = narrow(m), stride_l = narrow(ldl), stride_b = narrow(ldb);
  const float one = 1.0f;
  const Turn turn;
  trsm_("L", "U", "T", "N", &order, &columns, &one, l, &stride_l, b, &stride_b, 1, 1, 1, 1);
}

void LinearAlgebra::solve_unit_upper_transposed(std::int64_t n, std::int64_t m, const float* u, std::int64_t ldu, float* b,
                                                std::int64_t ldb) const {
  const Int rows = narrow(m), order = narrow(n), stride_u = narrow(ldu), stride_b = narrow(ldb);
  const float one = 1.0f;
  const Turn turn;
  trsm_("R", "L", "T", "U", &rows, &order, &one, u, &stride_u, b, &stride_b, 1, 1, 1, 1);
}

LinearAlgebra::OneThread::OneThread(const LinearAlgebra& library) : library_(library) {
  if (library_.set_threads_ == nullptr) return;
  const std::lock_guard lock(nesting().mutex);
  if (nesting().depth++ > 0) return;
  nesting().before = library_.get_threads_();
  library_.set_threads_(1);
}

LinearAlgebra::OneThread::~OneThread() {
  if (library_.set_threads_ == nullptr) return;
  const std::lock_guard lock(nesting().mutex);
  if (--nesting().depth == 0) library_.set_threads_(nesting().before);
}

}  // namespace billfish::quantize
