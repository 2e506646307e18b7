// SPDX-License-Identifier: Apache-2.0
// The shared pieces of common.hpp.
#include "common.hpp"

#include <pthread.h>

#include <cstdlib>
#include <mutex>
#include <new>

namespace billfish_python {

void check(billfish_status status) {
  if (status != BILLFISH_OK) refuse(status, billfish_last_error());
}

void refuse(billfish_status status, const std::string& message) { throw Refused{status, message}; }

AnyArray as_array(nb::handle value, const char* name) {
  AnyArray array;
  if (!nb::try_cast<AnyArray>(value, array, false) || !array.is_valid()) {
    const std::string type = nb::type_name(value.type()).c_str();
    throw nb::type_error((std::string(name) + " is a " + type + "; it must be a NumPy array or an object with __dlpack__").c_str());
  }
  return array;
}

namespace {

std::string dtype_name(nb::dlpack::dtype type) {
  static constexpr const char* kKinds[] = {"int", "uint", "float", "handle", "bfloat", "complex", "bool"};
  return (type.code < std::size(kKinds) ? kKinds[type.code] : "type") + std::to_string(type.bits);
}

std::string device_name(const AnyArray& array) {
  switch (array.device_type()) {
    case nb::device::cpu::value: return "the cpu";
    case nb::device::cuda::value: return "cuda:" + std::to_string(array.device_id());
    default: return "device type " + std::to_string(array.device_type());
  }
}

}  // namespace

std::string shape_text(const AnyArray& array) {
  std::string text = "[";
  for (std::size_t i = 0; i < array.ndim(); ++i) text += (i ? ", " : "") + std::to_string(array.shape(i));
  return text + "]";
}

std::string describe(const AnyArray& array) { return dtype_name(array.dtype()) + " " + shape_text(array) + " on " + device_name(array); }

void require_cpu(const AnyArray& array, const char* name) {
  if (array.device_type() != nb::device::cpu::value) {
    invalid(std::string(name) + " is on " + device_name(array) + "; this layer works on the cpu (billfish.torch takes CUDA tensors)");
  }
}

void require_contiguous(const AnyArray& array, const char* name) {
  std::int64_t expected = 1;
  for (std::size_t i = array.ndim(); i-- > 0;) {
    if (array.shape(i) != 1 && array.stride(i) != expected) {
      invalid(std::string(name) + " has a stride of " + std::to_string(array.stride(i)) + " elements in dimension " + std::to_string(i) +
              "; it must be " + std::to_string(expected) + " (row-major without gaps)");
    }
    expected *= static_cast<std::int64_t>(array.shape(i));
  }
}

void require_shape(const AnyArray& array, const char* name, const std::vector<std::int64_t>& shape) {
  bool same = array.ndim() == shape.size();
  std::string wanted = "[";
  for (std::size_t i = 0; i < shape.size(); ++i) {
    same = same && static_cast<std::int64_t>(array.shape(i)) == shape[i];
    wanted += (i ? ", " : "") + std::to_string(shape[i]);
  }
  if (!same) invalid(std::string(name) + " has shape " + shape_text(array) + "; it must be " + wanted + "]");
}

void require_dtype(const AnyArray& array, const char* name, nb::dlpack::dtype type, const char* type_name) {
  if (array.dtype() != type) invalid(std::string(name) + " is " + dtype_name(array.dtype()) + "; it must be " + type_name);
}

billfish_element_type element_type(const AnyArray& array, const char* name) {
  const nb::dlpack::dtype type = array.dtype();
  if (type == nb::dlpack::dtype{2, 32, 1}) return BILLFISH_F32;
  if (type == nb::dlpack::dtype{2, 16, 1}) return BILLFISH_F16;
  if (type == nb::dlpack::dtype{4, 16, 1}) return BILLFISH_BF16;
  invalid(std::string(name) + " is " + dtype_name(type) + "; supported are float32, float16 and bfloat16");
}

std::size_t element_bytes(billfish_element_type type) { return type == BILLFISH_F32 ? 4 : 2; }

nb::dlpack::dtype dlpack_type(billfish_element_type type) {
  switch (type) {
    case BILLFISH_F32: return {2, 32, 1};
    case BILLFISH_F16: return {2, 16, 1};
    default: return {1, 16, 1};
  }
}

nb::object numpy_view(void* data, std::vector<std::size_t> shape, nb::dlpack::dtype type, nb::handle owner) {
  nb::ndarray<nb::numpy> array(data, shape.size(), shape.data(), owner, nullptr, type);
  return nb::cast(array, nb::rv_policy::reference);
}

nb::object numpy_empty(std::vector<std::size_t> shape, nb::dlpack::dtype type, void** data) {
  std::size_t bytes = type.bits / 8;
  for (const std::size_t extent : shape) bytes *= extent;
  Memory memory = allocate(bytes == 0 ? 1 : bytes);
  *data = memory.get();
  const nb::capsule owner(memory.get(), [](void* block) noexcept { std::free(block); });
  memory.release();
  return numpy_view(*data, std::move(shape), type, owner);
}

void Free::operator()(void* memory) const { std::free(memory); }

Memory allocate(std::size_t bytes) {
  if (bytes == 0) return nullptr;
  void* block = std::aligned_alloc(64, (bytes + 63) / 64 * 64);
  if (block == nullptr) throw std::bad_alloc();
  return Memory(block);
}

namespace {

// Threads do not survive a fork: the child forgets the parent's pool (never destroys it) and makes its own.
struct SharedPool {
  std::mutex mutex;
  billfish_pool* pool = nullptr;
  int wanted = 0;
};
SharedPool& shared_pool() {
  static SharedPool* pool = [] {
    pthread_atfork([] { shared_pool().mutex.lock(); }, [] { shared_pool().mutex.unlock(); },
                   [] {
                     shared_pool().pool = nullptr;
                     shared_pool().mutex.unlock();
                   });
    return new SharedPool;  // never destroyed: other threads may still multiply while Python exits
  }();
  return *pool;
}

}  // namespace

const billfish_parallel* shared_parallel() {
  // A call in flight keeps the pool it began with: set_threads leaves old pools alive (a handful of idle threads at most).
  static thread_local billfish_parallel parallel = BILLFISH_PARALLEL_INIT;
  SharedPool& shared = shared_pool();
  const std::lock_guard lock(shared.mutex);
  if (shared.pool == nullptr) check(billfish_pool_create(shared.wanted, &shared.pool));
  parallel.pool = shared.pool;
  return &parallel;
}

void set_threads(int threads) {
  if (threads < 0) invalid("threads is " + std::to_string(threads) + "; it must be 0 (one per core) or more");
  SharedPool& shared = shared_pool();
  const std::lock_guard lock(shared.mutex);
  shared.wanted = threads;
  shared.pool = nullptr;
}

int threads() { return billfish_pool_threads(shared_parallel()->pool); }

}  // namespace billfish_python
