// SPDX-License-Identifier: Apache-2.0
// See engine.hpp: a device's memory, products by cuBLAS, the factor by cuSOLVER. Everything runs in one stream, in the order in which it is
// asked for, so that sums have one order and memory can be used again at once.
#include "cuda/quantize/engine.hpp"

#include <mutex>
#include <new>

#include "cuda/cuda.hpp"
#include "cuda/quantize/device_engine.cuh"
#include "cuda/quantize/elements.cuh"

namespace billfish::cuda {
namespace quantizing {
namespace {

// Handles that no job has at the moment. They stay for as long as the process: making them takes up to a second.
struct Spare {
  std::mutex mutex;
  std::vector<Handles> of_device[kMaxDevices];
};
Spare& spare() {
  static Spare* const one = new Spare;  // never destroyed: the driver may be gone before
  return *one;
}

Result<Handles> take_handles(int device, const SolverLibraries& libraries) {
  {
    const std::lock_guard lock(spare().mutex);
    std::vector<Handles>& free = spare().of_device[device];
    if (!free.empty()) {
      const Handles handles = free.back();
      free.pop_back();
      return handles;
    }
  }
  Handles made;
  const cudaError_t error = cudaStreamCreateWithFlags(&made.stream, cudaStreamNonBlocking);
  if (error != cudaSuccess) return status_of(error, "creating a stream");
  using Library = SolverLibraries;
  if (libraries.create(&made.blas) != 0 || libraries.set_stream(made.blas, made.stream) != 0 ||
      libraries.set_math(made.blas, Library::kDefaultMath) != 0) {
    return device_error("cuBLAS does not start on device " + std::to_string(device));
  }
  if (libraries.create_solver(&made.solver) != 0 || libraries.set_solver_stream(made.solver, made.stream) != 0 ||
      libraries.create_params(&made.params) != 0) {
    return device_error("cuSOLVER does not start on device " + std::to_string(device));
  }
  return made;
}

int narrow(std::int64_t value) { return static_cast<int>(value); }

}  // namespace

DeviceEngine::~DeviceEngine() {
  {
    const DeviceGuard guard(device_);
    (void)cudaStreamSynchronize(handles_.stream);
    if (workspace_ != nullptr) (void)cudaFree(workspace_);
    for (const auto& [memory, bytes] : used_) (void)cudaFree(memory);
    for (const auto& [bytes, memory] : unused_) (void)cudaFree(memory);
    (void)cudaGetLastError();
  }
  const std::lock_guard lock(spare().mutex);
  spare().of_device[device_].push_back(handles_);
}

bool DeviceEngine::open() {
  const DeviceGuard guard(device_);
  note(cudaMalloc(&workspace_, SolverLibraries::kWorkspaceBytes), "allocating a workspace");
  if (workspace_ != nullptr) {
    // Setting the stream forgets an earlier workspace.
    note_answer(libraries_.set_stream(handles_.blas, handles_.stream), "cublasSetStream");
    note_answer(libraries_.set_workspace(handles_.blas, workspace_, SolverLibraries::kWorkspaceBytes), "cublasSetWorkspace");
  }
  return failed_.ok();
}

void DeviceEngine::note(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  Status status = status_of(error, (std::string("quantising on the device: ") + what).c_str());
  if (failed_.ok()) static_cast<void>(failed_ = std::move(status));
}
void DeviceEngine::note_answer(int answer, const char* what) {
  if (answer != 0 && failed_.ok()) {
    static_cast<void>(failed_ = device_error(std::string("quantising on the device: ") + what + " answers " + std::to_string(answer)));
  }
}

Status DeviceEngine::finish() {
  const DeviceGuard guard(device_);
  note(cudaStreamSynchronize(handles_.stream), "waiting");
  return failed_;
}

std::int64_t DeviceEngine::rows_at_once(std::int64_t n, std::int64_t bytes) const {
  constexpr std::int64_t kMost = std::int64_t{2} << 30;
  const std::int64_t fit = kMost / std::max<std::int64_t>(bytes, 1) / quantize::kLanes * quantize::kLanes;
  return std::min(round_up(n, quantize::kLanes), std::max<std::int64_t>(fit, quantize::kLanes));
}

Status DeviceEngine::run(std::int64_t tasks, const std::function<Status(std::int64_t)>& task) {
  for (std::int64_t i = 0; i < tasks; ++i) {
    Status status = task(i);
    if (!failed_.ok()) return failed_;
    if (!status.ok()) return status;
  }
  return {};
}

void* DeviceEngine::allocate(std::size_t bytes) {
  if (const auto found = unused_.find(bytes); found != unused_.end()) {
    void* const memory = found->second;
    unused_.erase(found);
    used_[memory] = bytes;
    return memory;
  }
  const DeviceGuard guard(device_);
  void* memory = nullptr;
  cudaError_t error = cudaMalloc(&memory, bytes);
  if (error == cudaErrorMemoryAllocation) {  // what is kept may be in the way
    (void)cudaGetLastError();
    (void)cudaStreamSynchronize(handles_.stream);
    for (const auto& [size, kept] : unused_) (void)cudaFree(kept);
    unused_.clear();
    error = cudaMalloc(&memory, bytes);
  }
  if (error != cudaSuccess) {
    note(error, ("allocating " + std::to_string(bytes) + " bytes of device memory").c_str());
    throw std::bad_alloc();
  }
  used_[memory] = bytes;
  return memory;
}

void DeviceEngine::release(void* memory) {
  const auto found = used_.find(memory);
  if (found == used_.end()) return;
  unused_.emplace(found->second, memory);
  used_.erase(found);
}

void DeviceEngine::upload(void* to, const void* host, std::size_t bytes) {
  const DeviceGuard guard(device_);
  note(cudaMemcpyAsync(to, host, bytes, cudaMemcpyHostToDevice, handles_.stream), "copying to the device");
}
void DeviceEngine::download(void* host, const void* from, std::size_t bytes) {
  const DeviceGuard guard(device_);
  note(cudaMemcpyAsync(host, from, bytes, cudaMemcpyDeviceToHost, handles_.stream), "copying from the device");
  note(cudaStreamSynchronize(handles_.stream), "waiting");
}
void DeviceEngine::copy_rows(void* to, std::size_t ld_to, const void* from, std::size_t ld_from, std::size_t bytes, std::int64_t rows) {
  const DeviceGuard guard(device_);
  if (rows == 1) return note(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, handles_.stream), "copying");
  note(cudaMemcpy2DAsync(to, ld_to, from, ld_from, bytes, static_cast<std::size_t>(rows), cudaMemcpyDefault, handles_.stream),
       "copying rows");
}
void DeviceEngine::fill_zero(void* at, std::size_t bytes) {
  const DeviceGuard guard(device_);
  note(cudaMemsetAsync(at, 0, bytes, handles_.stream), "clearing memory");
}

// cuBLAS sees a row-major matrix as its transpose, so sides and triangles are exchanged.
void DeviceEngine::multiply(Op op_a, Op op_b, std::int64_t m, std::int64_t n, std::int64_t k, float alpha, const float* a, std::int64_t lda,
                            const float* b, std::int64_t ldb, float beta, float* c, std::int64_t ldc) {
  const DeviceGuard guard(device_);
  const auto transposition = [](Op op) { return op == Op::plain ? SolverLibraries::kNoTranspose : SolverLibraries::kTranspose; };
  note_answer(libraries_.gemm(handles_.blas, transposition(op_b), transposition(op_a), narrow(n), narrow(m), narrow(k), &alpha, b,
                              narrow(ldb), a, narrow(lda), &beta, c, narrow(ldc)),
              "cublasSgemm");
}

void DeviceEngine::solve_unit_upper_transposed(std::int64_t n, std::int64_t m, const float* u, std::int64_t ldu, float* b,
                                               std::int64_t ldb) {
  using Library = SolverLibraries;
  const DeviceGuard guard(device_);
  const float one = 1.0f;
  note_answer(libraries_.trsm(handles_.blas, Library::kRight, Library::kLower, Library::kTranspose, Library::kUnitDiagonal, narrow(m),
                              narrow(n), &one, u, narrow(ldu), b, narrow(ldb)),
              "cublasStrsm");
}

void DeviceEngine::add(std::int64_t count, float alpha, const float* x, float* y) {
  launch("add", quantizing::add, blocks_for(count, kThreads), kThreads, 0, count, alpha, x, y);
}

void DeviceEngine::build(const quantize::BuildJob& job) {
  launch("build", quantizing::build, static_cast<unsigned>(job.k), kThreads, 0, job);
}

bool DeviceEngine::factor_lower(std::int64_t k, float* a) {
  using Library = SolverLibraries;
  const DeviceGuard guard(device_);
  std::size_t device_bytes = 0, host_bytes = 0;
  note_answer(libraries_.potrf_sizes(handles_.solver, handles_.params, Library::kUpper, k, Library::kF32, a, k, Library::kF32,
                                     &device_bytes, &host_bytes),
              "cusolverDnXpotrf_bufferSize");
  if (!failed_.ok()) return false;
  const quantize::Held<char> device_space(*this, static_cast<std::int64_t>(device_bytes));
  const quantize::Held<int> info(*this, 1);
  std::vector<char> host_space(host_bytes);
  note_answer(libraries_.potrf(handles_.solver, handles_.params, Library::kUpper, k, Library::kF32, a, k, Library::kF32, device_space.get(),
                               device_bytes, host_space.data(), host_bytes, info.get()),
              "cusolverDnXpotrf");
  int found = -1;
  download(&found, info.get(), sizeof found);
  return failed_.ok() && found == 0;
}

void DeviceEngine::turn(std::int64_t k, float* a, float* pivots) {
  const quantize::Held<float> inverse(*this, k);
  launch("turn", reverse, blocks_for(k * k / 2, kThreads), kThreads, 0, k * k, a);
  launch("turn", square_diagonal, blocks_for(k, kThreads), kThreads, 0, k, static_cast<const float*>(a), pivots, inverse.get());
  launch("turn", scale_columns, static_cast<unsigned>(k), kThreads, 0, k, static_cast<const float*>(inverse.get()), a);
}

quantize::FloatRows DeviceEngine::float_rows(const quantize::TokenBlock& block, float* space) {
  const auto row = static_cast<std::size_t>(block.k), stride = static_cast<std::size_t>(block.ld);
  const auto size = static_cast<std::size_t>(bytes_of(block.type));
  if (block.type == ElementType::f32) {
    copy_rows(space, row * size, block.x, stride * size, row * size, block.tokens);
    return {space, block.k};
  }
  const std::int64_t count = block.tokens * block.k;
  const quantize::Held<std::uint16_t> narrow_rows(*this, count);
  copy_rows(narrow_rows.get(), row * size, block.x, stride * size, row * size, block.tokens);
  launch("widen", widen, blocks_for(count, kThreads), kThreads, 0, count, block.type, static_cast<const std::uint16_t*>(narrow_rows.get()),
         space);
  return {space, block.k};
}

void DeviceEngine::add_moments(const quantize::FloatRows& x, std::int64_t tokens, std::int64_t k, float keep, float factor, float* h) {
  const DeviceGuard guard(device_);
  note_answer(libraries_.syrk(handles_.blas, SolverLibraries::kUpper, SolverLibraries::kNoTranspose, narrow(k), narrow(tokens), &factor,
                              x.data, narrow(x.ld), &keep, h, narrow(k)),
              "cublasSsyrk");
}

void DeviceEngine::mirror(std::int64_t k, float* h) {
  const unsigned tiles = blocks_for(k, kTile);
  launch("mirror", quantizing::mirror, dim3(tiles, tiles), dim3(kTile, kTileRows), 0, k, h);
}

void DeviceEngine::diagonal(std::int64_t k, const float* h, float* to) {
  launch("diagonal", take_diagonal, blocks_for(k, kThreads), kThreads, 0, k, h, to);
}

void DeviceEngine::scatter_rows(void* to, const void* from, std::size_t bytes, const std::int32_t* order, std::int64_t count) {
  const auto words = static_cast<std::int64_t>(bytes / sizeof(std::uint32_t));  // rows come in whole parts
  launch("scatter_rows", quantizing::scatter_rows, static_cast<unsigned>(count), kThreads, 0, words, order,
         static_cast<const std::uint32_t*>(from), static_cast<std::uint32_t*>(to));
}

}  // namespace quantizing

Result<std::unique_ptr<quantize::Engine>> quantize_engine(int device_index) {
  const Result<gemm::DeviceFacts> here = facts(device_index);
  if (!here.ok()) return here.status();
  if (here->architecture < 80) {
    return unsupported("device " + std::to_string(device_index) + " is sm_" + std::to_string(here->architecture) +
                       "; quantising runs on sm_80 and later");
  }
  const Result<const SolverLibraries*> libraries = SolverLibraries::get();
  if (!libraries.ok()) return libraries.status();
  const DeviceGuard guard(device_index);
  BILLFISH_RETURN_IF_ERROR(guard.status());
  const Result<quantizing::Handles> handles = quantizing::take_handles(device_index, **libraries);
  if (!handles.ok()) return handles.status();
  auto engine = std::make_unique<quantizing::DeviceEngine>(device_index, **libraries, *handles);
  if (!engine->open()) return engine->finish();
  return std::unique_ptr<quantize::Engine>(std::move(engine));
}

}  // namespace billfish::cuda
