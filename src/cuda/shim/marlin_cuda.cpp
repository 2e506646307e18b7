// SPDX-License-Identifier: Apache-2.0
// The original Marlin's C symbol over the C ABI: libbillfish_marlin.so, for programs that need only a relink. f16 activations, 4-bit
// symmetric weights. The hints (thread_k, thread_n, sms, max_par) are accepted and not needed; the workspace is neither read nor written.
// Calls include/billfish/billfish.h and nothing else.
#include "billfish/billfish.h"

struct CUstream_st;  // what a cudaStream_t points to; no CUDA header is needed to pass it on

namespace {

enum MarlinResult { kOk = 0, kShapeNotSupported = 1, kKernelNotAvailable = 2 };

}  // namespace

extern "C" BILLFISH_API int marlin_cuda(const void* A, const void* B, void* C, void* s, int prob_m, int prob_n, int prob_k,
                                        void* /*workspace*/, int groupsize, int dev, CUstream_st* stream, int /*thread_k*/,
                                        int /*thread_n*/, int /*sms*/, int /*max_par*/) {
  // The bytes come as whole tiles of 16 x 64; groups as -1, K (both: one group, scales in the per-column order) or multiples of 16.
  const bool grouped = groupsize > 0 && groupsize < prob_k;
  if (prob_m < 0 || prob_n <= 0 || prob_k <= 0 || prob_n % 64 != 0 || prob_k % 16 != 0) return kShapeNotSupported;
  if (groupsize == 0 || groupsize < -1 || groupsize > prob_k || (grouped && groupsize % 16 != 0)) return kShapeNotSupported;
  billfish_weights weights = BILLFISH_WEIGHTS_INIT;
  weights.type = BILLFISH_U4B8;
  weights.scale_type = BILLFISH_F16;
  weights.n = prob_n;
  weights.k = prob_k;
  weights.group = grouped ? groupsize : -1;
  weights.codes = const_cast<void*>(B);
  weights.scales = s;
  weights.device_kind = BILLFISH_CUDA;
  weights.device_index = dev;
  billfish_gemm_args args = BILLFISH_GEMM_ARGS_INIT;
  args.m = prob_m;
  args.a = A;
  args.lda = prob_k;
  args.c = C;
  args.ldc = prob_n;
  args.a_type = BILLFISH_F16;
  args.c_type = BILLFISH_F16;
  switch (billfish_gemm(&weights, &args, stream)) {
    case BILLFISH_OK: return kOk;
    case BILLFISH_INVALID_ARGUMENT: return kShapeNotSupported;
    default: return kKernelNotAvailable;
  }
}
