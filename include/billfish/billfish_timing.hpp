// SPDX-License-Identifier: Apache-2.0
//
// UNSTABLE, like billfish_tools.h: timing for programs that use billfish, the way `billfish bench` itself times. Header-only, part of
// billfish.hpp.
//
//   billfish::Timing t = billfish::time_calls([&](std::int64_t i) { product(copies[i % copies.size()]); });     // on the CPU
//   billfish::Timing t = billfish::time_on_device(0, copies, [&](std::int64_t i, void* stream) { return ...; });  // a CUDA graph
//   { billfish::ProfileRange range("layer 3"); ... }   std::puts(billfish::profile_report().c_str());
//
// Give a loop so many distinct copies of its data that no cache holds them all: what was just used is found there again.
#ifndef BILLFISH_BILLFISH_TIMING_HPP
#define BILLFISH_BILLFISH_TIMING_HPP

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "billfish/billfish.hpp"
#include "billfish/billfish_tools.h"

namespace billfish {

// Seconds of one call: order statistics over the samples.
struct Timing {
  double median = 0, p10 = 0, p90 = 0, min = 0, max = 0;
  std::int64_t samples = 0;
};

inline Timing timing_of(std::vector<double> seconds) {
  billfish_summary summary = BILLFISH_SUMMARY_INIT;
  billfish_tools_summarize(seconds.data(), static_cast<std::int64_t>(seconds.size()), &summary);
  return {summary.median, summary.p10, summary.p90, summary.min, summary.max, summary.samples};
}

// How long to warm up and to measure. A device reaches its steady clock and power only after tens of milliseconds.
struct TimingOptions {
  double warm_seconds = 0.05;
  double seconds = 0.05;
  std::int64_t least = 9, most = 60;  // samples
};

// The loop that everything here uses. sample(count) -> `count` measurements, in seconds of one call; `calls` is how many calls one
// measurement makes.
template <class Sample>
Timing time_samples(Sample&& sample, std::int64_t calls, const TimingOptions& options = {}) {
  const auto count_for = [&](double budget, double one, std::int64_t least, std::int64_t most) {
    return std::clamp(static_cast<std::int64_t>(budget / std::max(one, 1e-6)), least, most);
  };
  const double one = sample(1).front() * static_cast<double>(calls);  // also loads what is loaded lazily
  if (options.warm_seconds > 0) sample(count_for(options.warm_seconds, one, 1, 2000));
  return timing_of(sample(count_for(options.seconds, one, options.least, options.most)));
}

// call(0), call(1), ... timed one by one with the host's clock.
template <class Call>
Timing time_calls(Call&& call, const TimingOptions& options = {}) {
  std::int64_t index = 0;
  const auto sample = [&](std::int64_t count) {
    std::vector<double> seconds;
    for (std::int64_t i = 0; i < count; ++i) {
      const double start = billfish_tools_now();
      call(index++);
      seconds.push_back(billfish_tools_now() - start);
    }
    return seconds;
  };
  return time_samples(sample, 1, options);
}

// enqueue(index, stream) -> billfish_status, captured into a CUDA graph of at least 20 calls that goes through all `copies`, replayed
// and timed by device events: the host's part of a launch is not in it.
template <class Enqueue>
Timing time_on_device(int device, std::int64_t copies, Enqueue&& enqueue, const TimingOptions& options = {}) {
  copies = std::max<std::int64_t>(1, copies);
  const std::int64_t calls = copies * ((20 + copies - 1) / copies);
  billfish_cuda_graph* made = nullptr;
  struct Context {
    Enqueue& enqueue;
    std::int64_t copies;
    std::exception_ptr thrown;  // none may cross the C ABI
  } context{enqueue, copies, nullptr};
  const auto one = [](void* user, std::int64_t index, void* stream) -> billfish_status {
    auto& c = *static_cast<Context*>(user);
    try {
      return c.enqueue(index % c.copies, stream);
    } catch (...) {
      c.thrown = std::current_exception();
      return BILLFISH_INTERNAL;
    }
  };
  const billfish_status status = billfish_tools_cuda_graph_create(device, calls, one, &context, &made);
  if (context.thrown) std::rethrow_exception(context.thrown);
  check(status);
  const std::unique_ptr<billfish_cuda_graph, void (*)(billfish_cuda_graph*)> graph(made, billfish_tools_cuda_graph_free);
  const auto sample = [&](std::int64_t count) {
    std::vector<double> seconds(static_cast<std::size_t>(count));
    check(billfish_tools_cuda_graph_time(&made, 1, count, seconds.data()));
    for (double& value : seconds) value /= static_cast<double>(calls);
    return seconds;
  };
  return time_samples(sample, calls, options);
}

// Time between two points of a stream, by device events.
class DeviceTimer {
 public:
  explicit DeviceTimer(int device = 0) {
    billfish_cuda_timer* timer = nullptr;
    check(billfish_tools_cuda_timer_create(device, &timer));
    timer_.reset(timer);
  }
  void start(void* stream = nullptr) { check(billfish_tools_cuda_timer_start(timer_.get(), stream)); }
  void stop(void* stream = nullptr) { check(billfish_tools_cuda_timer_stop(timer_.get(), stream)); }
  double seconds() const {  // waits for the stop
    double seconds = 0;
    check(billfish_tools_cuda_timer_seconds(timer_.get(), &seconds));
    return seconds;
  }

 private:
  struct Free {
    void operator()(billfish_cuda_timer* timer) const noexcept { billfish_tools_cuda_timer_free(timer); }
  };
  std::unique_ptr<billfish_cuda_timer, Free> timer_;
};

// What the ranges of one thread took, by name and place: a tree. Ranges of the same name under the same parent are one node.
struct ProfileNode {
  std::string name;
  ProfileNode* parent = nullptr;
  std::int64_t calls = 0;
  double wall = 0, device = 0;  // seconds, of all calls
  std::vector<std::unique_ptr<ProfileNode>> children;
  std::vector<DeviceTimer> pending;  // stopped, not yet read: reading waits for the device
  bool on_device = false;

  ProfileNode& child(const std::string& wanted) {
    for (auto& one : children) {
      if (one->name == wanted) return *one;
    }
    children.push_back(std::make_unique<ProfileNode>());
    children.back()->name = wanted;
    children.back()->parent = this;
    return *children.back();
  }
  void settle() {
    for (const DeviceTimer& timer : pending) device += timer.seconds();
    pending.clear();
    for (auto& one : children) one->settle();
  }
};

inline ProfileNode& profile_root() {
  static thread_local ProfileNode root;
  return root;
}
inline ProfileNode*& profile_current() {
  static thread_local ProfileNode* current = &profile_root();
  return current;
}

// From construction to destruction: wall time, with a device its time on a stream too, and an NVTX range when a profiler is attached.
class ProfileRange {
 public:
  explicit ProfileRange(const std::string& name) : node_(&profile_current()->child(name)) { begin(); }
  ProfileRange(const std::string& name, int device, void* stream = nullptr) : node_(&profile_current()->child(name)), stream_(stream) {
    timer_ = std::make_unique<DeviceTimer>(device);
    timer_->start(stream);
    begin();
  }
  ProfileRange(const ProfileRange&) = delete;
  ProfileRange& operator=(const ProfileRange&) = delete;
  ~ProfileRange() {
    node_->wall += billfish_tools_now() - start_;
    ++node_->calls;
    billfish_tools_range_pop();
    profile_current() = node_->parent;
    if (!timer_) return;
    try {
      timer_->stop(stream_);
      node_->on_device = true;
      node_->pending.push_back(std::move(*timer_));
    } catch (const std::exception&) {  // a device that failed has already said so to who used it
    }
  }

 private:
  void begin() {
    profile_current() = node_;
    billfish_tools_range_push(node_->name.c_str());
    start_ = billfish_tools_now();
  }
  ProfileNode* node_;
  void* stream_ = nullptr;
  std::unique_ptr<DeviceTimer> timer_;
  double start_ = 0;
};

// This thread's ranges as an indented tree; waits for the device where ranges were timed there. Empty if there were none.
inline std::string profile_report() {
  ProfileNode& root = profile_root();
  root.settle();
  std::string text;
  const auto line = [&](const auto& self, const ProfileNode& node, int depth) -> void {
    char numbers[128];
    std::snprintf(numbers, sizeof numbers, "%8lld x %12.3f ms", static_cast<long long>(node.calls), node.wall * 1e3);
    std::string name = std::string(static_cast<std::size_t>(2 * depth), ' ') + node.name;
    name.resize(std::max<std::size_t>(name.size(), 32), ' ');
    text += name + numbers;
    if (node.on_device) {
      std::snprintf(numbers, sizeof numbers, "  device %12.3f ms", node.device * 1e3);
      text += numbers;
    }
    text += "\n";
    for (const auto& child : node.children) self(self, *child, depth + 1);
  };
  for (const auto& child : root.children) line(line, *child, 0);
  return text;
}
// Forgets what was recorded; not while a range of this thread is open.
inline void profile_clear() { profile_root().children.clear(); }

}  // namespace billfish

#endif
