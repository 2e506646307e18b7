// SPDX-License-Identifier: Apache-2.0
#include "interrupt.hpp"

#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <mutex>
#include <set>
#include <system_error>
#include <thread>

#include "billfish/billfish_tools.h"
#include "exit_codes.hpp"

namespace billfish::cli {
namespace {

// Leaked on purpose: the watching thread may run while statics are destroyed.
std::mutex& paths_lock() {
  static auto* lock = new std::mutex;
  return *lock;
}
std::set<std::string>& paths() {
  static auto* set = new std::set<std::string>;
  return *set;
}

std::string& last_words() {
  static auto* words = new std::string;
  return *words;
}

void watch(sigset_t signals) {
  int signal = 0;
  while (sigwait(&signals, &signal) != 0) {
  }
  billfish_tools_abandon_outputs();
  // The lock stays held: nothing can be registered, made, or renamed into place, after this.
  paths_lock().lock();
  std::error_code ignored;
  for (int attempt = 0; attempt < 3; ++attempt) {  // a worker may still be adding files to a folder that goes away
    for (const std::string& path : paths()) std::filesystem::remove_all(path, ignored);
  }
  const std::string line = "\n" + (last_words().empty() ? "billfish: interrupted; nothing is left half-written" : last_words()) + "\n";
  (void)!write(STDERR_FILENO, line.data(), line.size());
  _exit(kInterrupted - SIGINT + signal);
}

}  // namespace

void start_interrupt_watch() {
  sigset_t signals;
  sigemptyset(&signals);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGQUIT}) {
    struct sigaction action;
    if (sigaction(signal, nullptr, &action) == 0 && action.sa_handler != SIG_IGN) sigaddset(&signals, signal);
  }
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);  // inherited by every thread made later
  ::signal(SIGPIPE, SIG_IGN);                     // a closed pipe is a write error, seen when stdout is flushed
  ::signal(SIGXFSZ, SIG_IGN);                     // so is a file that grows beyond its limit
  std::thread(watch, signals).detach();
}

void set_last_words(std::string words) {
  const std::lock_guard hold(paths_lock());
  last_words() = std::move(words);
}

Temporary::Temporary(std::string path) : path_(std::move(path)) {
  const std::lock_guard hold(paths_lock());
  paths().insert(path_);
}

Temporary::~Temporary() {
  const std::lock_guard hold(paths_lock());
  paths().erase(path_);
  std::error_code ignored;
  if (!kept_) std::filesystem::remove_all(path_, ignored);
}

std::FILE* Temporary::make_file() const {
  const std::lock_guard hold(paths_lock());
  return std::fopen(path_.c_str(), "wbx");
}

bool Temporary::keep_as(const std::string& target, std::optional<std::string> words) {
  const std::lock_guard hold(paths_lock());
  if (std::rename(path_.c_str(), target.c_str()) != 0) return false;
  paths().erase(path_);
  kept_ = true;
  if (words) last_words() = *std::move(words);
  return true;
}

}  // namespace billfish::cli
