// SPDX-License-Identifier: Apache-2.0
// What a device does to panels: the jobs of quantize/engine.hpp as launches.
#include "cuda/quantize/columns.cuh"
#include "cuda/quantize/device_engine.cuh"
#include "cuda/quantize/panels.cuh"

namespace billfish::cuda::quantizing {

void DeviceEngine::gather(const quantize::GatherJob& job) {
  launch("gather", quantizing::gather, dim3(blocks_for(job.rows, kTile), blocks_for(job.count, kTile)), dim3(kTile, kTileRows), 0, job);
}

void DeviceEngine::choose(const quantize::ChooseJob& job) {
  const unsigned blocks = blocks_for(job.rows, kLanes) * blocks_for(job.columns, job.group);
  if (job.moments == nullptr) return launch("choose", quantizing::choose<false>, blocks, kLanes, 0, job, *job.scheme);
  const auto space = static_cast<std::size_t>(std::min(job.group, job.columns)) * kLanes * sizeof(float);  // 64 KiB at most (nearest.cpp)
  {
    const DeviceGuard guard(device_);
    note(cudaFuncSetAttribute(quantizing::choose<true>, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(space)), "choose");
  }
  launch("choose", quantizing::choose<true>, blocks, kLanes, space, job, *job.scheme);
}

void DeviceEngine::encode(const quantize::CodesJob& job) {
  launch("encode", quantizing::encode, blocks_for(job.rows, kLanes) * blocks_for(job.columns, job.group), dim3(kLanes, kColumnsAtOnce), 0,
         job, job.scheme->largest_code());
}

void DeviceEngine::subtract(const quantize::CodesJob& job) {
  launch("subtract", quantizing::subtract, blocks_for(job.rows, kLanes) * blocks_for(job.columns, job.group), dim3(kLanes, kColumnsAtOnce),
         0, job);
}

template <class Step>
void DeviceEngine::take_turns(const char* what, const Step& step) {
  {
    const DeviceGuard guard(device_);
    note(cudaFuncSetAttribute(columns_in_turn<Step>, cudaFuncAttributeMaxDynamicSharedMemorySize, kLinkBytes), what);
  }
  launch(what, columns_in_turn<Step>, blocks_for(step.job.rows, kLanes), dim3(kLanes, kWarps), kLinkBytes, step);
}

void DeviceEngine::feed_back(const quantize::FeedBackJob& job) { take_turns("feed_back", FeedBackStep{job, job.scheme->largest_code()}); }

void DeviceEngine::improve(const quantize::ImproveJob& job) {
  const std::int64_t left = job.group - job.first % job.group;
  take_turns("improve", ImproveStep{job, job.scheme->largest_code(), job.first / job.group, static_cast<int>(std::min(left, job.width))});
}

void DeviceEngine::make_steps(const quantize::ImproveJob& job, float* steps) {
  launch("make_steps", quantizing::make_steps, blocks_for(job.rows, kLanes), dim3(kLanes, kColumnsAtOnce), 0, job,
         job.grids + job.first / job.group * job.parts, steps);
}

void DeviceEngine::fit_scales(const quantize::ImproveJob& job) {
  launch("fit_scales", quantizing::fit_scales, blocks_for(job.rows, kLanes), kLanes, 0, job, *job.scheme,
         job.grids + job.first / job.group * job.parts);
}

void DeviceEngine::take_rows(const quantize::TakeRowsJob& job) {
  launch("take_rows", quantizing::take_rows, dim3(blocks_for(job.rows, kLanes), blocks_for(job.k, kThreads)), dim3(kLanes, kColumnsAtOnce),
         0, job);
}

void DeviceEngine::add_dots(double alpha, const float* a, const float* b, std::int64_t columns, std::int64_t width, double* sums) {
  launch("add_dots", quantizing::add_dots, blocks_for(width, kThreads), kThreads, 0, alpha, a, b, columns, width, sums);
}

}  // namespace billfish::cuda::quantizing
