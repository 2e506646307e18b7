// SPDX-License-Identifier: Apache-2.0
#include "device.hpp"

#include <charconv>
#include <cstring>
#include <utility>

#include "billfish/billfish_tools.h"
#include "errors.hpp"

namespace billfish::cli {

Device choose_device(const std::string& word) {
  if (word == "cpu") return {};
  const int devices = billfish_tools_cuda_devices();
  if (word.empty()) return devices > 0 ? Device{BILLFISH_CUDA, 0} : Device{};
  if (!word.starts_with("cuda")) fail(kUsage, "--device has the value '{}': use cpu, cuda or cuda:INDEX", word);
  int index = 0;
  if (word != "cuda") {
    const auto [end, error] = std::from_chars(word.data() + std::min<std::size_t>(5, word.size()), word.data() + word.size(), index);
    if (word.size() < 6 || word[4] != ':' || error != std::errc() || end != word.data() + word.size() || index < 0) {
      fail(kUsage, "--device has the value '{}': use cpu, cuda or cuda:INDEX", word);
    }
  }
  if (devices == 0) fail(kDevice, "--device {}: there is no CUDA device that this build of billfish can use; use --device cpu", word);
  if (index >= devices) fail(kDevice, "--device {}: there are {} CUDA devices, cuda:0 to cuda:{}", word, devices, devices - 1);
  check(billfish_prepare(BILLFISH_CUDA, index), "--device " + word);
  return {BILLFISH_CUDA, index};
}

std::string text_of(Device device) {
  if (device.kind == BILLFISH_CPU) return "cpu";
  char name[256] = "";
  check(billfish_tools_cuda_name(device.index, name, sizeof name));
  return fmt::format("cuda:{} ({})", device.index, name);
}

DeviceBuffer::DeviceBuffer(Device device, std::int64_t bytes) : device_(device), bytes_(bytes) {
  if (bytes == 0) return;
  if (device.kind == BILLFISH_CUDA) {
    check(billfish_tools_cuda_allocate(device.index, static_cast<std::size_t>(bytes), &memory_));
  } else {
    host_ = Buffer(bytes);
    memory_ = host_.data();
  }
}

DeviceBuffer& DeviceBuffer::operator=(DeviceBuffer&& other) noexcept {
  std::swap(device_, other.device_);
  std::swap(host_, other.host_);
  std::swap(memory_, other.memory_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

DeviceBuffer::~DeviceBuffer() {
  if (memory_ != nullptr && device_.kind == BILLFISH_CUDA) billfish_tools_cuda_free(device_.index, memory_);
}

void DeviceBuffer::upload(const void* source, std::int64_t bytes) {
  if (bytes == 0) return;
  if (device_.kind == BILLFISH_CUDA) {
    check(billfish_tools_cuda_copy(device_.index, memory_, source, static_cast<std::size_t>(bytes), 0));
  } else {
    std::memcpy(memory_, source, static_cast<std::size_t>(bytes));
  }
}

void DeviceBuffer::download(void* target, std::int64_t bytes) const {
  if (bytes == 0) return;
  if (device_.kind == BILLFISH_CUDA) {
    check(billfish_tools_cuda_copy(device_.index, target, memory_, static_cast<std::size_t>(bytes), 1));
  } else {
    std::memcpy(target, memory_, static_cast<std::size_t>(bytes));
  }
}

void* DeviceWeights::place(DeviceBuffer& buffer, Device device, const void* source, std::int64_t bytes) {
  buffer = DeviceBuffer(device, bytes);
  buffer.upload(source, bytes);
  return buffer.data();
}

DeviceWeights::DeviceWeights(const PackedLayer& layer, Device device) : weights_(layer.weights()) {
  const billfish_packed_sizes& sizes = layer.sizes();
  const billfish_weights& host = layer.weights();
  weights_.codes = place(codes_, device, host.codes, sizes.codes);
  weights_.scales = place(scales_, device, host.scales, sizes.scales);
  weights_.zeros = place(zeros_, device, host.zeros, sizes.zeros);
  weights_.perm = static_cast<std::int32_t*>(place(perm_, device, host.perm, sizes.perm));
  weights_.g_idx = static_cast<std::int32_t*>(place(g_idx_, device, host.g_idx, sizes.g_idx));
  weights_.bias = place(bias_, device, host.bias, sizes.bias);
  weights_.device_kind = device.kind;
  weights_.device_index = device.index;
}

}  // namespace billfish::cli
