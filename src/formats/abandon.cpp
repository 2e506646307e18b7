// SPDX-License-Identifier: Apache-2.0
// A list that only grows, of entries that are used again; read by a signal handler, so everything it touches is atomic or immutable while
// an entry is in use.
#include "formats/abandon.hpp"

#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <mutex>
#include <new>

#include "formats/convert.hpp"

namespace billfish::formats {
namespace {

enum State : int { kUnused, kFile, kDirectory };

struct Entry {
  std::atomic<int> state{kUnused};
  std::size_t capacity = 0;
  char* path = nullptr;
  Entry* next = nullptr;
};

std::atomic<Entry*> first_entry{nullptr};
std::atomic<bool> abandoned{false};
std::atomic<int> steps{0};  // under way: something comes into being, or is renamed into place
std::mutex writers;         // of the list; the signal handler takes none
static_assert(std::atomic<Entry*>::is_always_lock_free && std::atomic<int>::is_always_lock_free);

Entry* take_entry(std::size_t bytes) {
  for (Entry* entry = first_entry.load(); entry; entry = entry->next) {
    if (entry->state.load() == kUnused && entry->capacity >= bytes) return entry;
  }
  Entry* entry = new (std::nothrow) Entry;
  if (!entry) return nullptr;
  entry->path = new (std::nothrow) char[bytes];
  if (!entry->path) {
    delete entry;
    return nullptr;
  }
  entry->capacity = bytes;
  entry->next = first_entry.load();
  first_entry.store(entry);
  return entry;
}

}  // namespace

void* enter_output(const std::string& path, bool directory) {
  const std::lock_guard<std::mutex> lock(writers);
  Entry* entry = take_entry(path.size() + 1);
  if (!entry) return nullptr;
  std::memcpy(entry->path, path.c_str(), path.size() + 1);
  entry->state.store(directory ? kDirectory : kFile);
  return entry;
}

void leave_output(void* entry) {
  const std::lock_guard<std::mutex> lock(writers);
  static_cast<Entry*>(entry)->state.store(kUnused);
}

bool outputs_abandoned() { return abandoned.load(); }

OutputStep::OutputStep() {
  steps.fetch_add(1);
  allowed_ = !abandoned.load();
  if (!allowed_) steps.fetch_sub(1);
}

OutputStep::~OutputStep() {
  if (allowed_) steps.fetch_sub(1);
}

void abandon_outputs() {
  abandoned.store(true);
  // No step begins from here on. One that began is a single system call; a handler that interrupted it must not wait for itself for ever.
  const timespec pause{0, 1'000'000};
  for (int waited = 0; steps.load() > 0 && waited < 2000; ++waited) ::nanosleep(&pause, nullptr);
  for (Entry* entry = first_entry.load(); entry; entry = entry->next) {
    if (entry->state.load() == kFile) ::unlink(entry->path);
  }
  // Newer entries come first, so directories within directories go before those that hold them.
  for (Entry* entry = first_entry.load(); entry; entry = entry->next) {
    if (entry->state.load() == kDirectory) ::rmdir(entry->path);
  }
  // Entries are used again out of order: a second round takes what the first could not.
  for (Entry* entry = first_entry.load(); entry; entry = entry->next) {
    if (entry->state.load() == kDirectory) ::rmdir(entry->path);
  }
}

}  // namespace billfish::formats
