// SPDX-License-Identifier: Apache-2.0
// Declares the few entry points of cuBLAS that it needs itself: their signatures have been the same since version 11.
#include "bench_cublas.hpp"

#include <dlfcn.h>

#include <cstdlib>
#include <filesystem>
#include <sstream>
#include <vector>

namespace billfish::cli {
namespace {

namespace fs = std::filesystem;

constexpr int kTranspose = 1, kKeep = 0;
constexpr int kHalf = 2, kBfloat16 = 14;  // cudaDataType
constexpr int kComputeF32 = 68;           // cublasComputeType_t
constexpr int kDefaultAlgorithm = -1;
constexpr std::int64_t kWorkspaceBytes = 32 << 20;  // what cuBLAS itself takes on Hopper; given explicitly, so that graphs own it

using Create = int (*)(void**);
using Destroy = int (*)(void*);
using Version = int (*)(void*, int*);
using SetStream = int (*)(void*, void*);
using SetWorkspace = int (*)(void*, void*, std::size_t);
using Multiply = int (*)(void*, int, int, int, int, int, const void*, const void*, int, int, const void*, int, int, const void*, void*, int,
                         int, int, int);

template <class Function>
Function entry(void* library, const char* name) {
  return reinterpret_cast<Function>(dlsym(library, name));
}

// Folders that may hold libcublas beyond the loader's own: a toolkit, or the nvidia packages next to a python on the PATH.
std::vector<fs::path> folders() {
  std::vector<fs::path> found;
  for (const char* name : {"CUDA_HOME", "CUDA_PATH"}) {
    if (const char* home = std::getenv(name); home != nullptr) found.push_back(fs::path(home) / "lib64");
  }
  found.emplace_back("/usr/local/cuda/lib64");
  std::vector<fs::path> prefixes;
  if (const char* environment = std::getenv("VIRTUAL_ENV"); environment != nullptr) prefixes.emplace_back(environment);
  std::error_code error;
  if (const char* path = std::getenv("PATH"); path != nullptr) {
    std::istringstream parts(path);
    for (std::string part; std::getline(parts, part, ':');) {
      const fs::path python = fs::path(part) / "python3";
      if (!fs::exists(python, error)) continue;
      prefixes.push_back(fs::path(part).parent_path());
      prefixes.push_back(fs::canonical(python, error).parent_path().parent_path());
    }
  }
  for (const fs::path& prefix : prefixes) {
    for (const auto& python : fs::directory_iterator(prefix / "lib", error)) {
      if (!python.path().filename().string().starts_with("python3")) continue;
      for (const char* packages : {"site-packages", "dist-packages"}) {
        for (const auto& part : fs::directory_iterator(python.path() / packages / "nvidia", error)) found.push_back(part.path() / "lib");
      }
    }
  }
  return found;
}

}  // namespace

bool Cublas::load(const std::string& path) {
  const fs::path folder = fs::path(path).parent_path();
  if (!folder.empty()) {  // its companion first: the loader may not know the folder
    std::string companion = fs::path(path).filename().string();
    companion.replace(companion.find("libcublas"), 9, "libcublasLt");
    dlopen((folder / companion).c_str(), RTLD_NOW | RTLD_GLOBAL);
  }
  library_ = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library_ == nullptr) {
    const char* error = dlerror();
    why_not_ = error != nullptr ? error : path;
    return false;
  }
  const auto create = entry<Create>(library_, "cublasCreate_v2");
  const auto set_workspace = entry<SetWorkspace>(library_, "cublasSetWorkspace_v2");
  if (create == nullptr || set_workspace == nullptr || entry<Multiply>(library_, "cublasGemmEx") == nullptr ||
      entry<SetStream>(library_, "cublasSetStream_v2") == nullptr) {
    why_not_ = path + " lacks cublasGemmEx or what goes with it";
    return false;
  }
  if (const int status = create(&handle_); status != 0) {
    handle_ = nullptr;
    why_not_ = path + ": cublasCreate says " + std::to_string(status);
    return false;
  }
  if (const auto version = entry<Version>(library_, "cublasGetVersion_v2"); version != nullptr) version(handle_, &version_);
  path_ = path;
  return true;
}

Cublas::Cublas(Device device) {
  if (device.index != 0) {
    why_not_ = "cuBLAS is compared with on cuda:0 only; choose the device with CUDA_VISIBLE_DEVICES";
    return;
  }
  why_not_ = "no libcublas found";
  workspace_ = DeviceBuffer(device, kWorkspaceBytes);
  std::error_code error;
  std::vector<std::string> candidates;
  if (const char* given = std::getenv("BILLFISH_CUBLAS"); given != nullptr) candidates.emplace_back(given);
  const char* names[] = {"libcublas.so.13", "libcublas.so.12", "libcublas.so"};
  for (const char* name : names) candidates.emplace_back(name);
  for (const fs::path& folder : folders()) {
    for (const char* name : names) {
      if (fs::exists(folder / name, error)) candidates.push_back((folder / name).string());
    }
  }
  for (const std::string& candidate : candidates) {
    if (!load(candidate)) continue;
    entry<SetWorkspace>(library_, "cublasSetWorkspace_v2")(handle_, workspace_.data(), static_cast<std::size_t>(kWorkspaceBytes));
    return;
  }
}

// The library stays loaded: it keeps threads and device state of its own.
Cublas::~Cublas() {
  if (handle_ != nullptr) {
    if (const auto destroy = entry<Destroy>(library_, "cublasDestroy_v2"); destroy != nullptr) destroy(handle_);
  }
}

bool Cublas::multiply(const void* a, const void* w, void* c, std::int64_t m, std::int64_t n, std::int64_t k, billfish_element_type type,
                      void* stream) const {
  static const auto set_stream = entry<SetStream>(library_, "cublasSetStream_v2");
  static const auto set_workspace = entry<SetWorkspace>(library_, "cublasSetWorkspace_v2");
  static const auto gemm = entry<Multiply>(library_, "cublasGemmEx");
  const float one = 1, zero = 0;
  const int data = type == BILLFISH_BF16 ? kBfloat16 : kHalf;
  // Setting the stream resets the workspace to cuBLAS's own.
  if (set_stream(handle_, stream) != 0 || set_workspace(handle_, workspace_.data(), static_cast<std::size_t>(kWorkspaceBytes)) != 0) {
    return false;
  }
  // Column-major on cuBLAS's side: c^T [n,m] = w [n,k] x a^T [k,m].
  return gemm(handle_, kTranspose, kKeep, static_cast<int>(n), static_cast<int>(m), static_cast<int>(k), &one, w, data, static_cast<int>(k),
              a, data, static_cast<int>(k), &zero, c, data, static_cast<int>(n), kComputeF32, kDefaultAlgorithm) == 0;
}

}  // namespace billfish::cli
