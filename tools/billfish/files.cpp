// SPDX-License-Identifier: Apache-2.0
#include "files.hpp"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <memory>
#include <utility>

#include "errors.hpp"

namespace billfish::cli {
namespace {

struct Close {
  void operator()(std::FILE* file) const { std::fclose(file); }
};
using File = std::unique_ptr<std::FILE, Close>;

// A symbolic link stays one: what it points to is replaced. A link to what has no path, as /dev/stdout to a pipe, is left to later checks.
std::string behind_links(const std::string& path) {
  std::error_code error;
  if (!std::filesystem::is_symlink(path, error)) return path;
  const auto target = std::filesystem::canonical(path, error);
  if (std::error_code none; error && std::filesystem::exists(path, none)) return path;
  if (error) fail(kBadInput, "{} is a link that leads nowhere ({}): remove it, or name another file", path, error.message());
  return target.string();
}

std::string make_folder() {
  const char* base = std::getenv("TMPDIR");
  std::string name = std::string(base != nullptr && *base != '\0' ? base : "/tmp") + "/billfish-XXXXXX";
  if (mkdtemp(name.data()) == nullptr) {
    fail(kBadInput, "cannot make a temporary folder at {}: {}; set TMPDIR to a folder with room", name, system_error());
  }
  return name;
}

}  // namespace

std::int64_t file_size(const std::string& path) {
  struct stat facts;
  if (stat(path.c_str(), &facts) != 0) fail(kBadInput, "{}: {}", path, system_error());
  if (!S_ISREG(facts.st_mode)) fail(kBadInput, "{} is not a file", path);
  return facts.st_size;
}

std::vector<std::byte> read_file(const std::string& path) {
  const std::int64_t size = file_size(path);
  const File file(std::fopen(path.c_str(), "rb"));
  if (!file) fail(kBadInput, "cannot read {}: {}", path, system_error());
  std::vector<std::byte> bytes(static_cast<std::size_t>(size));
  if (std::fread(bytes.data(), 1, bytes.size(), file.get()) != bytes.size()) {
    fail(kBadInput, "{} became shorter while it was read", path);
  }
  return bytes;
}

void keep_inputs(const std::string& out, const std::string& option, std::initializer_list<std::string> inputs) {
  namespace fs = std::filesystem;
  const auto require_other = [&](const fs::path& input) {
    std::error_code error;
    if (fs::equivalent(out, input, error)) {
      fail(kUsage, "{} {} would overwrite {}, which is read: name another file", option, out, input.string());
    }
  };
  for (const std::string& input : inputs) {
    require_other(input);
    std::error_code error;
    for (fs::directory_iterator entry(input, error), end; !error && entry != end; entry.increment(error)) require_other(entry->path());
  }
}

void make_folder(const std::string& folder) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) fail(kBadInput, "{}: cannot make this folder: {}", folder, error.message());
}

OutputFile::OutputFile(const std::string& path)
    : target_(behind_links(path)), temporary_(fmt::format("{}.part-{}", target_, static_cast<long>(getpid()))) {
  if (path.empty()) fail(kUsage, "the output path is empty");
  std::error_code error;
  const std::filesystem::file_status there = std::filesystem::status(target_, error);
  if (std::filesystem::is_directory(there)) fail(kBadInput, "{} is a folder: name a file to write", path);
  if (std::filesystem::exists(there) && !std::filesystem::is_regular_file(there)) {  // renaming would replace the device or pipe
    fail(kBadInput, "{} is not a regular file: name one to write", path);
  }
  file_ = temporary_.make_file();
  if (file_ == nullptr) fail(kBadInput, "cannot write {}: {}", path, system_error());
}

OutputFile::~OutputFile() {
  if (file_ != nullptr) std::fclose(file_);
}

void OutputFile::fail_writing() { fail(kBadInput, "writing {} failed: {}; nothing was left there", target_, system_error()); }

void OutputFile::write(const void* data, std::size_t bytes) {
  if (bytes != 0 && std::fwrite(data, 1, bytes, file_) != bytes) fail_writing();
}

void OutputFile::commit(std::optional<std::string> last_words) {
  std::FILE* file = file_;
  file_ = nullptr;
  if (std::fclose(file) != 0) fail_writing();
  if (!temporary_.keep_as(target_, std::move(last_words))) fail_writing();
}

TemporaryFolder::TemporaryFolder() : temporary_(make_folder()) {}

}  // namespace billfish::cli
