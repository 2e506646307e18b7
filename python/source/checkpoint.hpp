// SPDX-License-Identifier: Apache-2.0
// An open checkpoint, shared by all that use it: closing waits for nobody and takes memory from nobody.
#pragma once

#include <mutex>

#include "common.hpp"

namespace billfish_python {

// Owns the library's handle. Whoever works with a checkpoint holds a shared_ptr to this.
class CheckpointHandle {
 public:
  explicit CheckpointHandle(const std::string& path) { check(billfish_checkpoint_open(path.c_str(), &checkpoint_)); }
  ~CheckpointHandle() { billfish_checkpoint_close(checkpoint_); }
  CheckpointHandle(const CheckpointHandle&) = delete;
  CheckpointHandle& operator=(const CheckpointHandle&) = delete;
  billfish_checkpoint* get() const { return checkpoint_; }

 private:
  billfish_checkpoint* checkpoint_ = nullptr;
};

// What Python holds: closed or not. Every use takes a reference first, so that close() on another thread cannot pull the map away.
class Checkpoint {
 public:
  explicit Checkpoint(const std::string& path) : path_(path), handle_(std::make_shared<CheckpointHandle>(path)) {}
  std::shared_ptr<CheckpointHandle> use() const {
    const std::lock_guard lock(mutex_);
    if (!handle_) invalid("the checkpoint " + path_ + " is closed");
    return handle_;
  }
  void close() {
    std::shared_ptr<CheckpointHandle> last;  // freed outside the lock
    const std::lock_guard lock(mutex_);
    last.swap(handle_);
  }
  bool closed() const {
    const std::lock_guard lock(mutex_);
    return handle_ == nullptr;
  }

 private:
  std::string path_;
  mutable std::mutex mutex_;
  std::shared_ptr<CheckpointHandle> handle_;
};

}  // namespace billfish_python
