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
    "environment variables BILLFISH_CUBLAS and BILLFISH_CUSOLVER name others";

// The first that can be loaded stays for as long as the process: others may use it too. Null: none can.
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

// A library, and what is wrong with it if something is.
struct Library {
  const char* name;
  void* handle;
  std::string problem;

  Library(const char* called, const char* variable, const std::vector<std::string>& files)
      : name(called), handle(open_first(variable, files)) {
    if (handle == nullptr) problem = std::string("quantising on CUDA needs cuBLAS and cuSOLVER, and ") + name + " was not found";
  }
  template <class Function>
  void look_up(const char* symbol, Function& function) {
    if (handle == nullptr) return;
    function = reinterpret_cast<Function>(dlsym(handle, symbol));
    if (function == nullptr && problem.empty()) problem = std::string("the ") + name + " that was found lacks " + symbol;
  }
};

Result<SolverLibraries> load() {
  SolverLibraries found;
  Library cublas("libcublas", "BILLFISH_CUBLAS", {"libcublas.so.13", "libcublas.so.12", "libcublas.so"});
  cublas.look_up("cublasCreate_v2", found.create);
  cublas.look_up("cublasSetStream_v2", found.set_stream);
  cublas.look_up("cublasSetWorkspace_v2", found.set_workspace);
  cublas.look_up("cublasSetMathMode", found.set_math);
  cublas.look_up("cublasSgemm_v2", found.gemm);
  cublas.look_up("cublasSsyrk_v2", found.syrk);
  cublas.look_up("cublasStrsm_v2", found.trsm);
  if (!cublas.problem.empty()) return unsupported(cublas.problem + kAdvice);
  // What cuSOLVER itself needs is found by the loader once it is there, or beside it.
  Library cusolver("libcusolver", "BILLFISH_CUSOLVER", {"libcusolver.so.12", "libcusolver.so.11", "libcusolver.so"});
  cusolver.look_up("cusolverDnCreate", found.create_solver);
  cusolver.look_up("cusolverDnSetStream", found.set_solver_stream);
  cusolver.look_up("cusolverDnCreateParams", found.create_params);
  cusolver.look_up("cusolverDnXpotrf_bufferSize", found.potrf_sizes);
  cusolver.look_up("cusolverDnXpotrf", found.potrf);
  if (!cusolver.problem.empty()) return unsupported(cusolver.problem + kAdvice);
  return found;
}

}  // namespace

Result<const SolverLibraries*> SolverLibraries::get() {
  static const Result<SolverLibraries> loaded = load();
  if (!loaded.ok()) return loaded.status();
  return &*loaded;
}

}  // namespace billfish::cuda
