// SPDX-License-Identifier: Apache-2.0
// Read-only maps of whole files, by mmap.
#include "formats/mapped_file.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "formats/text.hpp"

namespace billfish::formats {
namespace {

struct OpenFile {
  int fd = -1;
  std::int64_t size = 0;
  OpenFile() = default;
  OpenFile(int descriptor, std::int64_t bytes) : fd(descriptor), size(bytes) {}
  OpenFile(OpenFile&& other) noexcept : fd(std::exchange(other.fd, -1)), size(other.size) {}
  ~OpenFile() {
    if (fd >= 0) ::close(fd);
  }
};

Status cannot_open(const std::string& path, int error_number) {
  std::string message = text("cannot open ", quote(path), ": ", reason_of(error_number));
  return error_number == ENOENT || error_number == ENOTDIR ? bad_input(std::move(message)) : io_error(std::move(message));
}

Result<OpenFile> open_regular(const std::string& path) {
  // O_NONBLOCK: opening a pipe must not wait for a writer.
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return cannot_open(path, errno);
  OpenFile file(fd, 0);
  struct stat facts {};
  if (::fstat(fd, &facts) != 0) return cannot_open(path, errno);
  if (!S_ISREG(facts.st_mode)) return bad_input(text("cannot read ", quote(path), ": it is not a regular file"));
  file.size = facts.st_size;
  return Result<OpenFile>(std::move(file));
}

}  // namespace

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  if (this != &other) {
    if (base_) ::munmap(base_, size_);
    path_ = std::move(other.path_);
    base_ = std::exchange(other.base_, nullptr);
    size_ = std::exchange(other.size_, 0);
  }
  return *this;
}

MappedFile::~MappedFile() {
  if (base_) ::munmap(base_, size_);
}

Result<MappedFile> MappedFile::open(const std::string& path) {
  Result<OpenFile> file = open_regular(path);
  if (!file.ok()) return file.status();
  MappedFile out;
  out.path_ = path;
  if (file->size > 0) {
    void* base = ::mmap(nullptr, static_cast<std::size_t>(file->size), PROT_READ, MAP_PRIVATE, file->fd, 0);
    if (base == MAP_FAILED) return io_error(text("cannot map ", quote(path), ": ", reason_of(errno)));
    out.base_ = base;
    out.size_ = static_cast<std::size_t>(file->size);
  }
  return Result<MappedFile>(std::move(out));
}

void MappedFile::drop(const void* begin, std::int64_t bytes) const {
  if (!base_ || bytes <= 0) return;
  const std::uintptr_t page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  const std::uintptr_t first = reinterpret_cast<std::uintptr_t>(begin) / page * page;
  const std::uintptr_t last = reinterpret_cast<std::uintptr_t>(begin) + static_cast<std::uintptr_t>(bytes);
  ::madvise(reinterpret_cast<void*>(first), last - first, MADV_DONTNEED);
}

Result<std::string> read_text(const std::string& path, std::int64_t limit) {
  Result<OpenFile> file = open_regular(path);
  if (!file.ok()) return file.status();
  if (file->size > limit) {
    return bad_input(text(quote(path), " has ", file->size, " bytes; at most ", limit, " are read of such a file"));
  }
  std::string out(static_cast<std::size_t>(file->size), '\0');
  std::size_t done = 0;
  while (done < out.size()) {
    const ssize_t got = ::read(file->fd, out.data() + done, out.size() - done);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return io_error(text("cannot read ", quote(path), ": ", reason_of(errno)));
    if (got == 0) break;
    done += static_cast<std::size_t>(got);
  }
  out.resize(done);
  return out;
}

}  // namespace billfish::formats
