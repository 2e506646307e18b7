// SPDX-License-Identifier: Apache-2.0
// All zeros come out of a reserve that billfish/torch/zeros.py makes while nothing is captured: no call allocates or waits. Which stream,
// which capture: the driver's own numbers, which no two of them share within a process, as handles may.
#include "torch_zeros.hpp"

#include <dlfcn.h>

#include <algorithm>
#include <atomic>
#include <mutex>
#include <optional>

#include "common.hpp"
#include "zero_ledger.hpp"

namespace billfish_python {
namespace {

constexpr int kDevices = 64;
constexpr std::int64_t kMostRows = 16;        // above, zeros gain less and take megabytes, of which every capture would need its own
constexpr std::size_t kMostWished = 9 << 20;  // what they may need; a copy of the activations lies behind more, for one row as for many

// The driver that torch has loaded already. Null where it is not there, or too old.
struct Driver {
  int (*capture_info)(void* stream, int* status, std::uint64_t* id, void* graph, void* nodes, void* node_count) = nullptr;
  int (*stream_id)(void* stream, unsigned long long* id) = nullptr;
  Driver() {
    void* library = dlopen("libcuda.so.1", RTLD_NOLOAD | RTLD_LAZY);
    if (library == nullptr) return;
    capture_info = reinterpret_cast<decltype(capture_info)>(dlsym(library, "cuStreamGetCaptureInfo_v2"));
    stream_id = reinterpret_cast<decltype(stream_id)>(dlsym(library, "cuStreamGetId"));
  }
};

std::optional<ZeroLedger::Owner> owner_of(int device, void* stream) {
  static const Driver driver;
  ZeroLedger::Owner owner{device, reinterpret_cast<std::uintptr_t>(stream), 0, false};
  if (stream == nullptr) return owner;  // the default stream cannot be captured, and there is one a device
  if (driver.capture_info == nullptr || driver.stream_id == nullptr) return std::nullopt;
  constexpr int kNone = 0, kActive = 1;
  int status = kNone;
  if (driver.capture_info(stream, &status, &owner.id, nullptr, nullptr, nullptr) != 0) return std::nullopt;
  owner.capturing = status == kActive;
  if (owner.capturing) return owner;
  unsigned long long id = 0;
  if (status != kNone || driver.stream_id(stream, &id) != 0) return std::nullopt;
  owner.id = id;
  return owner;
}

struct Zeros {
  std::mutex mutex;
  ZeroLedger ledger;
  std::atomic<std::uint64_t> devices = 0;  // a bit for each that has had a reserve
};
Zeros zeros;

bool is_ready(int device) { return device < kDevices && (zeros.devices.load(std::memory_order_relaxed) >> device & 1) != 0; }

}  // namespace

ZerosAsked ask_for_zeros(const billfish_weights& weights, billfish_gemm_args args) {
  if (args.m > kMostRows || (args.flags & BILLFISH_GEMM_BATCH_INVARIANT) != 0 || !is_ready(weights.device_index)) return {};
  // Only this implementation gains. The others merely keep the promise, which costs them the splits of K.
  args.implementation = "sm90";
  args.flags |= BILLFISH_GEMM_ZEROED_WORKSPACE;
  ZerosAsked asked;
  asked.wanted = billfish_gemm_workspace(&weights, &args, &asked.bytes) == BILLFISH_OK;
  return asked;
}

bool use_zeros(const ZerosAsked& asked, const billfish_weights& weights, billfish_gemm_args& args, void* stream) {
  if (!asked.wanted) return false;
  void* memory = nullptr;
  if (asked.bytes > 0) {
    const auto owner = owner_of(weights.device_index, stream);
    if (!owner) return false;
    // A stream will meet products of more rows, a graph keeps those it was captured with.
    const std::size_t of_most_rows = asked.bytes / static_cast<std::size_t>(args.m) * kMostRows;
    const std::size_t wished = owner->capturing ? asked.bytes : std::max(asked.bytes, std::min(of_most_rows, kMostWished));
    const std::lock_guard lock(zeros.mutex);
    memory = reinterpret_cast<void*>(zeros.ledger.lend(*owner, asked.bytes, wished));
    if (memory == nullptr) return false;
  }
  args.flags |= BILLFISH_GEMM_ZEROED_WORKSPACE;
  args.workspace = memory;
  args.workspace_bytes = asked.bytes;
  return true;
}

void bind_torch_zeros(nb::module_& module) {
  module.def("reserve_zeros", [](int device, std::uintptr_t memory, std::size_t bytes) {
    if (device < 0 || device >= kDevices) invalid("device is " + std::to_string(device) + "; supported are 0 to 63");
    const std::lock_guard lock(zeros.mutex);
    zeros.ledger.reserve(device, memory, bytes);
    zeros.devices |= std::uint64_t{1} << device;
  });
  module.def("zeros_left", [](int device) {
    const std::lock_guard lock(zeros.mutex);
    return zeros.ledger.left(device);
  });
  // For tests, which have no streams.
  nb::class_<ZeroLedger>(module, "ZeroLedger")
      .def(nb::init<>())
      .def("reserve", &ZeroLedger::reserve)
      .def("left", &ZeroLedger::left)
      .def("lend", [](ZeroLedger& ledger, int device, std::uintptr_t stream, std::uint64_t id, bool capturing, std::size_t bytes,
                      std::size_t wished) {
        return ledger.lend({device, stream, id, capturing}, bytes, wished);
      });
}

}  // namespace billfish_python
