// SPDX-License-Identifier: Apache-2.0
// Scales and zeros of the groups that a warp passes through. A lane needs those of eight columns, n8 + 8j of its 64: grouped scales are
// stored so that these are one 16-byte load, stored zeros so that they are one word (4-bit) or two (8-bit).
// Zeros are fetched one group ahead, because decoding waits for them; scales at the start of their group, because only its end does.
// Called by mma_gemm.cuh.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

#include "cuda/decode.cuh"
#include "cuda/sm80/mma_policy.hpp"
#include "layout/marlin_scales.hpp"

namespace billfish::cuda::mma {

template <WeightType kType, bool kBf16>
class Groups {
  using Functor = Decode<kType, kBf16>;

 public:
  __device__ Groups(const MmaArguments& args, int n_tile) : args_(args) {
    const int n8 = threadIdx.x % 32 / 4;
    const auto* scales = static_cast<const std::uint16_t*>(args.scales) + n_tile * 64;
    if (args.per_column) {
      std::uint16_t* column = reinterpret_cast<std::uint16_t*>(&scales_);
#pragma unroll
      for (int j = 0; j < 8; ++j) column[j] = scales[layout::marlin_column_scale(n8 + 8 * j)];
    }
    lane_scales_ = scales + 8 * n8;
    if constexpr (Functor::kZeros) lane_zeros_ = args.zeros + (n_tile * 8 + n8) * kZeroWords;
  }

  // Before the first run: its zeros.
  __device__ void fetch_first(int first_step) { fetch_zeros(first_step / args_.group_steps); }

  // A run [first, end) begins; the warp's next one begins at `next`.
  __device__ void begin_run(int first, int end, int next) {
    group_ = first / args_.group_steps;
    run_end_ = end;
    next_run_ = next;
    enter();
  }
  // Does the current group end with this step?
  __device__ bool ends_with(int step) const { return step + 1 == group_end_; }
  __device__ void advance() {
    ++group_;
    enter();
  }

  __device__ std::uint32_t addend(int j) const { return Functor::kZeros ? addends_[j] : 0; }

  // The scales of columns n8 + 8j.
  __device__ void scales(float (&s)[8]) const {
    const std::uint32_t words[4] = {scales_.x, scales_.y, scales_.z, scales_.w};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if (args_.scale_bf16) {
        s[2 * i] = __uint_as_float(words[i] << 16);
        s[2 * i + 1] = __uint_as_float(words[i] & 0xffff0000u);
      } else {
        const float2 pair = __half22float2(*reinterpret_cast<const __half2*>(&words[i]));
        s[2 * i] = pair.x;
        s[2 * i + 1] = pair.y;
      }
    }
  }

 private:
  static constexpr int kZeroWords = Functor::kBits / 4;

  __device__ void enter() {
    group_end_ = (group_ + 1) * args_.group_steps;
    if (!args_.per_column) {
      scales_ = __ldg(reinterpret_cast<const uint4*>(lane_scales_ + static_cast<std::int64_t>(group_) * args_.padded_n));
    }
    if constexpr (Functor::kZeros) {
#pragma unroll
      for (int j = 0; j < 8; ++j) addends_[j] = Functor::addend(stored_zero<Functor::kBits>(zeros_, j));
      const int next_step = group_end_ < run_end_ ? group_end_ : next_run_;
      if (next_step < args_.steps) fetch_zeros(next_step / args_.group_steps);
    }
  }
  __device__ void fetch_zeros(int group) {
    if constexpr (Functor::kZeros) {
      const std::uint32_t* source = lane_zeros_ + static_cast<std::int64_t>(group) * (args_.padded_n / 8 * kZeroWords);
#pragma unroll
      for (int i = 0; i < kZeroWords; ++i) zeros_[i] = __ldg(source + i);
    }
  }

  const MmaArguments& args_;
  const std::uint16_t* lane_scales_ = nullptr;
  const std::uint32_t* lane_zeros_ = nullptr;
  int group_ = 0, group_end_ = 0, run_end_ = 0, next_run_ = 0;
  uint4 scales_ = make_uint4(0, 0, 0, 0);
  std::uint32_t zeros_[kZeroWords] = {};  // of the next group
  std::uint32_t addends_[Functor::kZeros ? 8 : 1] = {};
};

}  // namespace billfish::cuda::mma
