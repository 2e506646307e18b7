// SPDX-License-Identifier: Apache-2.0
// See libraries.hpp. What a program has loaded already (a python with torch, for one) is found by name; else the loader's folders and the
// toolkit's are looked through.
#include "cuda/quantize/libraries.hpp"

#include <dlfcn.h>

#include <cstdlib>
#include <vector>

namespace billfish::cuda {
namespace {

constexpr const char* kAdvice =
    " (both come with the CUDA toolkit; alone: Debian and Ubuntu with NVIDIA's packages: libcublas-13-0 and libcusolver-13-0; pip: "
    "nvidia-cublas and nvidia-cusolver). They are looked for by the loader, in CUDA_HOME/lib64 and in /usr/local/cuda/lib64; the "
    "environment "
    "variables BILLFISH_CUBLAS and BILLFISH_CUSOLVER name others";

// The first that can be loaded stays for as long as the process: others may use it too.
void* open_first(const char* variable, const std::vector<std::string>& names) {
  if (const char* given = std::getenv(variable); given != nullptr) return dlopen(given, RTLD_NOW | RTLD_GLOBAL);
  std::vector<std::string> folders = {""};
  for (const char* home : {"CUDA_HOME", "CUDA_PATH"}) {
    if (const char* at = std::getenv(home); at != nullptr) folders.push_back(std::string(at) + "/lib64/");
  }
  folders.emplace_back("/usr/local/cuda/lib64/");
  for (const std::string& folder : folders) {
    for (const std::string& name : names) {
      if (void* library = dlopen((folder + name).c_str(), RTLD_NOW | RTLD_GLOBAL); library != nullptr) return library;
    }
  }
  return nullptr;
}

template <class Function>
void look_up(void* library, const char* name, Function& function, std::string& missing) {
  function = reinterpret_cast<Function>(dlsym(library, name));
  if (function == nullptr && missing.empty()) missing = name;
}

Result<SolverLibraries> load() {
  SolverLibraries found;
  // What cuSOLVER itself needs is found by the loader once it is there, or beside it.
  void* const cublas = open_first("BILLFISH_CUBLAS", {"libcublas.so.13", "libcublas.so.12", "libcublas.so"});
  if (cublas == nullptr)
    return unsupported(std::string("quantising on CUDA needs cuBLAS and cuSOLVER, and libcublas was not found") + kAdvice);
  void* const cusolver = open_first("BILLFISH_CUSOLVER", {"libcusolver.so.12", "libcusolver.so.11", "libcusolver.so"});
  if (cusolver == nullptr) {
    return unsupported(std::string("quantising on CUDA needs cuBLAS and cuSOLVER, and libcusolver was not found") + kAdvice);
  }
  std::string missing;
  look_up(cublas, "cublasCreate_v2", found.create, missing);
  look_up(cublas, "cublasSetStream_v2", found.set_stream, missing);
  look_up(cublas, "cublasSetWorkspace_v2", found.set_workspace, missing);
  look_up(cublas, "cublasSetMathMode", found.set_math, missing);
  look_up(cublas, "cublasSgemm_v2", found.gemm, missing);
  look_up(cublas, "cublasSsyrk_v2", found.syrk, missing);
  look_up(cublas, "cublasStrsm_v2", found.trsm, missing);
  look_up(cusolver, "cusolverDnCreate", found.create_solver, missing);
  look_up(cusolver, "cusolverDnSetStream", found.set_solver_stream, missing);
  look_up(cusolver, "cusolverDnCreateParams", found.create_params, missing);
  look_up(cusolver, "cusolverDnXpotrf_bufferSize", found.potrf_sizes, missing);
  look_up(cusolver, "cusolverDnXpotrf", found.potrf, missing);
  if (!missing.empty()) return unsupported("the cuBLAS or cuSOLVER that was found lacks " + missing + kAdvice);
  return found;
}

}  // namespace

Result<const SolverLibraries*> SolverLibraries::get() {
  static const Result<SolverLibraries> loaded = load();
  if (!loaded.ok()) return loaded.status();
  return &*loaded;
}

}  // namespace billfish::cuda
