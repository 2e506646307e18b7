// SPDX-License-Identifier: Apache-2.0
// The CUDA backend of a build without CUDA: no devices, and every function that would need one says so. Compiled instead of the .cu files.
#include "cuda/cuda.hpp"
#include "cuda/families.hpp"
#include "cuda/memory.hpp"
#include "cuda/quantize/engine.hpp"
#include "cuda/sm90/gather.hpp"
#include "cuda/sm90/stream_plan.hpp"

namespace billfish::cuda {
namespace {

Status absent() { return device_error("this build has no CUDA: configure with -DBILLFISH_CUDA=ON"); }

}  // namespace

int device_count() { return 0; }
Result<gemm::DeviceFacts> facts(int) { return absent(); }
Status prepare(int) { return absent(); }
Status pack(const QuantizedMatrix&, PackedMatrix&, std::uint32_t*, void*) { return absent(); }

Result<std::unique_ptr<quantize::Engine>> quantize_engine(int) { return absent(); }

Result<void*> allocate(int, std::size_t) { return absent(); }
void free_memory(int, void*) {}
Status copy(int, void*, const void*, std::size_t, CopyKind) { return absent(); }
Status synchronize(int) { return absent(); }
Result<std::string> device_name(int) { return absent(); }

Status mma::run(const gemm::Plan&, const gemm::Problem&, const gemm::Call&) { return absent(); }
Status mma::prepare(int) { return absent(); }
Status wgmma::run(const gemm::Plan&, const gemm::Problem&, const gemm::Call&) { return absent(); }
Status wgmma::prepare(int) { return absent(); }
Status stream::run(const gemm::Plan&, const gemm::Problem&, const gemm::Call&) { return absent(); }
Status stream::prepare(int) { return absent(); }
Status gather::run(const gemm::Problem&, const gemm::Call&, void*, bool) { return absent(); }
Status gather::prepare(int) { return absent(); }

}  // namespace billfish::cuda
