// SPDX-License-Identifier: Apache-2.0
// Staged files and directories.
#include "formats/output.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <utility>

#include "formats/abandon.hpp"
#include "formats/text.hpp"

namespace billfish::formats {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kMark = ".partial-";

Status cannot_write(const std::string& path, int error_number) {
  return io_error(text("cannot write ", quote(path), ": ", reason_of(error_number)));
}

Status cancelled() { return {Code::cancelled, "stopped; nothing was left behind"}; }

bool is_alive(const std::string& process) {
  if (process.empty() || process.find_first_not_of("0123456789") != std::string::npos || process.size() > 9) return true;
  return ::kill(static_cast<pid_t>(std::stol(process)), 0) == 0 || errno != ESRCH;
}

// What a killed conversion to the same target left: nobody holds its lock, and its process is gone.
void remove_leftovers(const fs::path& parent, const std::string& leaf) {
  const std::string prefix = leaf + std::string(kMark);
  std::error_code error;
  std::vector<fs::path> leftovers;
  for (fs::directory_iterator entry(parent.empty() ? fs::path(".") : parent, error), end; !error && entry != end; entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    if (!name.starts_with(prefix)) continue;
    const std::string process = name.substr(prefix.size(), name.find('-', prefix.size()) - prefix.size());
    if (is_alive(process)) continue;
    const int fd = ::open(entry->path().c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) continue;
    if (::flock(fd, LOCK_EX | LOCK_NB) == 0) leftovers.push_back(entry->path());
    ::close(fd);
  }
  for (const fs::path& path : leftovers) fs::remove_all(path, error);
}

void sync_directory(const std::string& path) {
  const int fd = ::open(path.empty() ? "." : path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return;
  ::fsync(fd);
  ::close(fd);
}

}  // namespace

OutputFile& OutputFile::operator=(OutputFile&& other) noexcept {
  if (this != &other) {
    if (fd_ >= 0) ::close(fd_);
    path_ = std::move(other.path_);
    fd_ = std::exchange(other.fd_, -1);
  }
  return *this;
}

OutputFile::~OutputFile() {
  if (fd_ >= 0) ::close(fd_);
}

Result<OutputFile> OutputFile::create(const std::string& path, std::int64_t bytes) {
  OutputFile out;
  out.path_ = path;
  {
    const OutputStep step;
    if (!step.allowed()) return cancelled();
    out.fd_ = ::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
  }
  if (out.fd_ < 0) return cannot_write(path, errno);
  if (bytes > 0 && ::fallocate(out.fd_, 0, 0, bytes) != 0 && (errno == ENOSPC || errno == EFBIG || errno == EDQUOT)) {
    return io_error(text("cannot write ", quote(path), ": ", reason_of(errno), " (", bytes, " bytes are needed)"));
  }
  return Result<OutputFile>(std::move(out));
}

Status OutputFile::write_at(std::int64_t offset, const void* data, std::int64_t bytes) {
  const char* from = static_cast<const char*>(data);
  while (bytes > 0) {
    const ssize_t put = ::pwrite(fd_, from, static_cast<std::size_t>(bytes), offset);
    if (put < 0 && errno == EINTR) continue;
    if (put <= 0) return cannot_write(path_, put < 0 ? errno : EIO);
    from += put;
    offset += put;
    bytes -= put;
  }
  return {};
}

Status OutputFile::finish() {
  const int synced = ::fsync(fd_);
  const int sync_error = errno;
  const int closed = ::close(std::exchange(fd_, -1));
  if (synced != 0 && sync_error != EINVAL) return cannot_write(path_, sync_error);
  if (closed != 0 && errno != EINTR) return cannot_write(path_, errno);
  return {};
}

Status StagedOutput::enter(const std::string& path, bool directory) {
  if (kept_) return {};
  void* entry = enter_output(path, directory);
  if (!entry) return {Code::out_of_memory, "no memory for a path"};
  entries_.push_back(entry);
  return {};
}

Status StagedOutput::check_target(const std::string& target, bool directory, std::string& name) {
  fs::path path(target);
  if (!path.has_filename()) path = path.parent_path();  // "out/" is "out"
  const std::string leaf = path.filename().string();
  if (leaf.empty() || leaf == "." || leaf == "..") return io_error(text("cannot write ", quote(target), ": name a new file or directory"));
  if (std::error_code error; fs::is_symlink(path, error)) {  // renaming would replace the link, or fail when all the work is done
    const fs::path behind = fs::canonical(path, error);
    if (std::error_code none; !error) {
      path = behind;
    } else if (!fs::exists(path, none)) {  // else it leads to what has no path, as /dev/stdout to a pipe: see below
      return io_error(text("cannot write ", quote(target), ": it is a link that leads nowhere (remove it, or name another)"));
    }
  }
  struct stat facts {};
  if (::stat(path.c_str(), &facts) == 0) {
    const bool is_directory = S_ISDIR(facts.st_mode);
    if (directory && !is_directory) return io_error(text("cannot write the directory ", quote(target), ": a file is in the way"));
    if (!directory && is_directory) return io_error(text("cannot write the file ", quote(target), ": a directory is in the way"));
    if (!is_directory && !S_ISREG(facts.st_mode)) return io_error(text("cannot write ", quote(target), ": it is not a regular file"));
    std::error_code error;
    if (is_directory && !fs::is_empty(path, error)) {
      return io_error(text("cannot write ", quote(target), ": the directory is not empty (remove it, or name another)"));
    }
  }
  name = path.string();
  return {};
}

Status StagedOutput::begin_kept(const std::string& target, const std::string& staging) {
  BILLFISH_RETURN_IF_ERROR(check_target(target, true, target_));
  const OutputStep step;
  if (!step.allowed()) return cancelled();
  directory_ = kept_ = true;
  staging_ = staging;
  if (::mkdir(staging_.c_str(), 0777) != 0 && errno != EEXIST) return cannot_write(target, errno);
  return {};
}

Status StagedOutput::begin(const std::string& target, bool directory) {
  static std::atomic<unsigned> counter{0};
  BILLFISH_RETURN_IF_ERROR(check_target(target, directory, target_));
  if (outputs_abandoned()) return cancelled();
  directory_ = directory;
  remove_leftovers(fs::path(target_).parent_path(), fs::path(target_).filename().string());
  staging_ = text(target_, kMark, ::getpid(), '-', counter++);
  BILLFISH_RETURN_IF_ERROR(enter(staging_, directory));
  const OutputStep step;
  if (!step.allowed()) return cancelled();
  if (directory && ::mkdir(staging_.c_str(), 0777) != 0) return cannot_write(target, errno);
  lock_ = ::open(staging_.c_str(), directory ? O_RDONLY | O_DIRECTORY | O_CLOEXEC : O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (lock_ < 0) {
    const int reason = errno;
    if (directory) ::rmdir(staging_.c_str());
    return cannot_write(target, reason);
  }
  ::flock(lock_, LOCK_EX | LOCK_NB);
  return {};
}

StagedOutput::~StagedOutput() {
  remove_all();
  if (lock_ >= 0) ::close(lock_);
}

void StagedOutput::remove_all() {
  if (!staging_.empty() && lock_ >= 0) {
    std::error_code ignored;
    fs::remove_all(staging_, ignored);
  }
  staging_.clear();
  for (void* entry : entries_) leave_output(entry);
  entries_.clear();
}

std::string StagedOutput::path_of(const std::string& name) const { return directory_ ? (fs::path(staging_) / name).string() : staging_; }

Result<OutputFile> StagedOutput::create(const std::string& name, std::int64_t bytes) {
  const std::string path = path_of(name);
  if (!directory_) return OutputFile::create(path, bytes);
  BILLFISH_RETURN_IF_ERROR(enter(path, false));
  return OutputFile::create(path, bytes);
}

Status StagedOutput::make_directory(const std::string& name) {
  const std::string path = path_of(name);
  BILLFISH_RETURN_IF_ERROR(enter(path, true));
  const OutputStep step;
  if (!step.allowed()) return cancelled();
  if (::mkdir(path.c_str(), 0777) != 0) return cannot_write(path, errno);
  return {};
}

Status StagedOutput::write_text(const std::string& name, const std::string& content) {
  Result<OutputFile> file = create(name, static_cast<std::int64_t>(content.size()));
  if (!file.ok()) return file.status();
  BILLFISH_RETURN_IF_ERROR(file->write_at(0, content.data(), static_cast<std::int64_t>(content.size())));
  return file->finish();
}

Status StagedOutput::commit() {
  if (directory_) sync_directory(staging_);
  {
    const OutputStep step;  // abandoning finds every part, or waits and finds none
    if (!step.allowed()) return cancelled();
    for (void* entry : entries_) leave_output(entry);
    entries_.clear();
    if (::rename(staging_.c_str(), target_.c_str()) != 0) return cannot_write(target_, errno);
  }
  sync_directory(fs::path(target_).parent_path().string());
  staging_.clear();
  return {};
}

}  // namespace billfish::formats
