// SPDX-License-Identifier: Apache-2.0
// Where a product runs, and weights that lie there.
#pragma once

#include <cstdint>
#include <string>

#include "billfish/billfish.h"
#include "library.hpp"

namespace billfish::cli {

struct Device {
  billfish_device_kind kind = BILLFISH_CPU;
  int index = 0;
};

// "" is the first CUDA device if there is one, else the CPU; "cpu"; "cuda"; "cuda:1". Failure(kDevice) if it is not there.
Device choose_device(const std::string& word);
std::string text_of(Device device);  // "cpu", "cuda:0 (its name)"

// Memory on a device: plain host memory where the device is the CPU.
class DeviceBuffer {
 public:
  DeviceBuffer() = default;
  DeviceBuffer(Device device, std::int64_t bytes);
  DeviceBuffer(DeviceBuffer&& other) noexcept { *this = std::move(other); }
  DeviceBuffer& operator=(DeviceBuffer&& other) noexcept;
  ~DeviceBuffer();
  void* data() const { return memory_; }
  std::int64_t bytes() const { return bytes_; }
  void upload(const void* source, std::int64_t bytes);
  void download(void* target, std::int64_t bytes) const;

 private:
  Device device_;
  Buffer host_;
  void* memory_ = nullptr;
  std::int64_t bytes_ = 0;
};

// A layer's parts copied to a device. On the CPU too: a copy of its own, as a benchmark needs.
class DeviceWeights {
 public:
  DeviceWeights(const PackedLayer& layer, Device device);
  const billfish_weights& weights() const { return weights_; }

 private:
  void* place(DeviceBuffer& buffer, Device device, const void* source, std::int64_t bytes);
  billfish_weights weights_;
  DeviceBuffer codes_, scales_, zeros_, perm_, g_idx_, bias_;
};

}  // namespace billfish::cli
