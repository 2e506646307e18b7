// SPDX-License-Identifier: Apache-2.0
#include "baseline.hpp"

#include "errors.hpp"
#include "random.hpp"
#include "timing.hpp"

namespace billfish::cli {
namespace {

// What the calls of one graph need.
struct DenseCalls {
  const Cublas& cublas;
  const std::vector<DeviceBuffer>& weights;
  const DeviceBuffer &a, &c;
  std::int64_t m, n, k;
};

billfish_status enqueue(void* user, std::int64_t index, void* stream) {
  const DenseCalls& calls = *static_cast<const DenseCalls*>(user);
  const void* weights = calls.weights[static_cast<std::size_t>(index) % calls.weights.size()].data();
  const bool accepted = calls.cublas.multiply(calls.a.data(), weights, calls.c.data(), calls.m, calls.n, calls.k, BILLFISH_F16, stream);
  return accepted ? BILLFISH_OK : BILLFISH_DEVICE_ERROR;
}

}  // namespace

Baseline::Baseline(const PackedLayer& layer, const ProductOptions& options)
    : options_(options), n_(layer.weights().n), k_(layer.weights().k) {
  if (options.device.kind == BILLFISH_CPU) {
    make_on_cpu(layer);
  } else {
    make_on_cuda(layer);
  }
}

void Baseline::make_on_cpu(const PackedLayer& layer) {
  const Buffer values(k_ * n_ * 4);
  check(billfish_dequantize(&layer.weights(), values.as<float>(), n_, options_.parallel));
  for (std::int64_t i = 0; i < rotation_copies(options_.device, values.bytes()); ++i) {
    billfish_dense* made = nullptr;
    check(billfish_tools_dense_create(values.as<float>(), k_, n_, BILLFISH_PRECISION_FULL, &made));
    dense_.emplace_back(made);
  }
}

void Baseline::make_on_cuda(const PackedLayer& layer) {
  cublas_ = std::make_unique<Cublas>(options_.device);
  if (!cublas_->available()) return;
  const DeviceWeights weights(layer, options_.device);
  const std::int64_t bytes = k_ * n_ * 2;
  for (std::int64_t i = 0; i < rotation_copies(options_.device, bytes); ++i) {
    DeviceBuffer& dense = on_device_.emplace_back(options_.device, bytes);
    check(billfish_tools_cuda_dequantize(&weights.weights(), BILLFISH_F16, dense.data(), nullptr));
  }
  check(billfish_tools_cuda_synchronize(options_.device.index));
}

double Baseline::seconds(std::int64_t m) const {
  if (options_.device.kind == BILLFISH_CPU) {
    const std::vector<float> a = random_normal(m * k_, 1);
    std::vector<float> c(static_cast<std::size_t>(m * n_));
    return median_seconds([&](std::int64_t index) {
      const billfish_dense* dense = dense_[static_cast<std::size_t>(index) % dense_.size()].get();
      check(billfish_tools_dense_multiply(dense, a.data(), m, c.data(), options_.parallel));
    });
  }
  if (!cublas_->available()) return 0;
  const auto values = random_activations(m, k_, BILLFISH_F16, 1);
  DeviceBuffer a(options_.device, static_cast<std::int64_t>(values.size()));
  a.upload(values.data(), a.bytes());
  const DeviceBuffer c(options_.device, m * n_ * 2);
  DenseCalls calls{*cublas_, on_device_, a, c, m, n_, k_};
  return graph_seconds(options_.device, static_cast<std::int64_t>(on_device_.size()), enqueue, &calls);
}

std::string Baseline::text() const {
  if (options_.device.kind == BILLFISH_CPU) return "f32 weights";
  return cublas_->available() ? "f16 weights by cuBLAS" : "nothing, as " + cublas_->why_not();
}

}  // namespace billfish::cli
