// SPDX-License-Identifier: Apache-2.0
#include "formats/unfinished.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <bit>
#include <charconv>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <thread>
#include <vector>

#include "formats/digest.hpp"
#include "formats/text.hpp"

namespace billfish::formats {
namespace {

namespace fs = std::filesystem;

constexpr int kLockTries = 20;
constexpr std::chrono::milliseconds kLockPause{100};
constexpr std::string_view kFirst = "billfish-journal 1 ";

std::string hex(std::uint64_t value) {
  char digits[17];
  const auto end = std::to_chars(digits, digits + 16, value, 16);
  return {digits, end.ptr};
}

// A word without spaces or line ends, whatever it says.
std::string escaped(std::string_view words) {
  std::string out = "'";
  for (const char c : words) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte > 0x20 && c != '%' && byte != 0x7f) {
      out.push_back(c);
    } else {
      out += byte < 16 ? "%0" : "%";
      out += hex(byte);
    }
  }
  return out;
}

// The pieces of a record, in order; what is missing or malformed makes `good` false.
class Reader {
 public:
  explicit Reader(std::string_view line) : rest_(line) {}
  bool good = true;
  bool empty() const { return rest_.empty(); }
  std::string_view word() {
    const std::size_t space = std::min(rest_.find(' '), rest_.size());
    const std::string_view out = rest_.substr(0, space);
    rest_.remove_prefix(std::min(space + 1, rest_.size()));
    return out;
  }
  std::uint64_t bits() {
    const std::string_view digits = word();
    std::uint64_t value = 0;
    const auto end = std::from_chars(digits.data(), digits.data() + digits.size(), value, 16);
    good = good && !digits.empty() && end.ec == std::errc() && end.ptr == digits.data() + digits.size();
    return value;
  }
  double number() { return std::bit_cast<double>(bits()); }
  std::int64_t integer() { return static_cast<std::int64_t>(bits()); }
  std::string name() {
    const std::string_view escaped_name = word();
    good = good && escaped_name.starts_with('\'');
    std::string out;
    for (std::size_t i = 1; good && i < escaped_name.size(); ++i) {
      if (escaped_name[i] != '%') {
        out.push_back(escaped_name[i]);
        continue;
      }
      unsigned value = 0;
      good = i + 2 < escaped_name.size() &&
             std::from_chars(escaped_name.data() + i + 1, escaped_name.data() + i + 3, value, 16).ec == std::errc();
      out.push_back(static_cast<char>(value));
      i += 2;
    }
    return out;
  }

 private:
  std::string_view rest_;
};

class Line {
 public:
  explicit Line(std::string_view kind) : line_(kind) {}
  Line& add(std::string_view word) {
    line_ += ' ';
    line_ += word;
    return *this;
  }
  Line& add_bits(std::uint64_t value) { return add(hex(value)); }
  Line& add_number(double value) { return add_bits(std::bit_cast<std::uint64_t>(value)); }
  std::string take() { return std::move(line_); }

 private:
  std::string line_;
};

std::string checksum(std::string_view line) {
  Digest digest;
  digest.add(line);
  return hex(digest.value());
}

Status cannot(const std::string& verb, const std::string& path, int error_number) {
  return io_error(text("cannot ", verb, ' ', quote(path), ": ", reason_of(error_number)));
}

}  // namespace

UnfinishedWork::~UnfinishedWork() {
  if (journal_ >= 0) ::close(journal_);
  if (lock_ >= 0) ::close(lock_);
}

Status UnfinishedWork::begin(const std::string& target, const std::string& identity, bool resume) {
  fs::path path(target);
  if (!path.has_filename()) path = path.parent_path();
  folder_ = path.string() + ".unfinished";
  if (::mkdir(folder_.c_str(), 0777) != 0 && errno != EEXIST) return cannot("write", folder_, errno);
  lock_ = ::open(folder_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
  if (lock_ < 0) return cannot("open", folder_, errno);
  // A process that was killed a moment ago may not be gone yet.
  int tries = 0;
  while (::flock(lock_, LOCK_EX | LOCK_NB) != 0) {
    if (++tries == kLockTries) return io_error(text("cannot write ", quote(target), ": another process works in ", quote(folder_)));
    std::this_thread::sleep_for(kLockPause);
  }
  BILLFISH_RETURN_IF_ERROR(take_up(identity, resume));
  const std::string journal = folder_ + "/journal";
  journal_ = ::open(journal.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0666);
  if (journal_ < 0) return cannot("write", journal, errno);
  return {};
}

// Reads the journal, if it is one; what is of no use is removed.
Status UnfinishedWork::take_up(const std::string& identity, bool resume) {
  const std::string journal = folder_ + "/journal";
  std::string content;
  {
    std::ifstream file(journal, std::ios::binary);
    content.assign(std::istreambuf_iterator<char>(file), {});
  }
  const std::string first = text(kFirst, identity);
  std::string_view rest = content;
  std::size_t whole = 0;  // bytes of good records
  bool same = false, begun = false;
  while (!rest.empty()) {
    const std::size_t end = rest.find('\n');
    if (end == std::string_view::npos) break;
    const std::string_view line = rest.substr(0, end);
    const std::size_t sum = line.rfind(' ');
    if (sum == std::string_view::npos || line.substr(sum + 1) != checksum(line.substr(0, sum))) break;
    if (!begun) {
      begun = line.starts_with(kFirst);
      same = line.substr(0, sum) == first;
      if (!begun) break;
    } else if (!take_record(line.substr(0, sum))) {
      break;
    }
    whole += end + 1;
    rest.remove_prefix(end + 1);
  }
  const std::size_t count = layers_.size();
  if (begun && count > 0 && !resume) {
    return io_error(text(quote(folder_), " holds ", count, count == 1 ? " layer" : " layers",
                         " that an interrupted run has finished: resume (--resume) goes on with them, or remove it"));
  }
  if (begun && !same && resume && count > 0) {
    return bad_input(text(quote(folder_), " is of another input or of other options: remove it, or name another output"));
  }
  if (begun && same && resume) {
    // Whatever follows the last good record is cut off, so that the next one begins a line.
    if (::truncate(journal.c_str(), static_cast<off_t>(whole)) != 0) return cannot("write", journal, errno);
    return {};
  }
  layers_.clear();
  scales_.clear();
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder_, error)) fs::remove_all(entry.path(), error);
  const int fd = ::open(journal.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0666);
  if (fd < 0) return cannot("write", journal, errno);
  journal_ = fd;
  Status written = append(first);
  ::close(fd);
  journal_ = -1;
  return written;
}

bool UnfinishedWork::take_record(std::string_view line) {
  Reader reader(line);
  const std::string_view kind = reader.word();
  const std::string name = reader.name();
  if (kind == "layer") {
    DoneLayer done;
    done.digest = reader.bits();
    QuantizedLayer& layer = done.facts;
    layer.name = name;
    MatrixFacts& facts = layer.facts;
    for (double* value : {&facts.weight_error, &facts.output_error, &facts.nearest_weight_error, &facts.nearest_output_error,
                          &facts.damping, &layer.held_out.error, &layer.held_out.cosine, &layer.seconds}) {
      *value = reader.number();
    }
    for (std::int64_t* value : {&facts.dead_columns, &facts.clipped_groups, &layer.bytes_before, &layer.bytes_after})
      *value = reader.integer();
    layer.note = reader.name();
    if (reader.good) layers_[name] = std::move(done);
  } else if (kind == "scales") {
    ChannelScales scales;
    scales.best = reader.integer();
    const std::int64_t count = reader.integer();
    for (std::int64_t i = 0; i < count && reader.good; ++i)
      scales.scales.push_back(std::bit_cast<float>(static_cast<std::uint32_t>(reader.bits())));
    while (!reader.empty() && reader.good) scales.losses.push_back(reader.number());
    if (reader.good) scales_[name] = std::move(scales);
  } else {
    return false;
  }
  return reader.good;
}

Status UnfinishedWork::append(std::string line) {
  line += ' ' + checksum(line) + '\n';
  const char* from = line.data();
  std::size_t bytes = line.size();
  while (bytes > 0) {
    const ssize_t put = ::write(journal_, from, bytes);
    if (put < 0 && errno == EINTR) continue;
    if (put <= 0) return cannot("write", folder_ + "/journal", put < 0 ? errno : EIO);
    from += put;
    bytes -= static_cast<std::size_t>(put);
  }
  return {};
}

const UnfinishedWork::DoneLayer* UnfinishedWork::find_layer(std::string_view name) const {
  const auto found = layers_.find(name);
  return found == layers_.end() ? nullptr : &found->second;
}

const ChannelScales* UnfinishedWork::find_scales(std::string_view name) const {
  const auto found = scales_.find(name);
  return found == scales_.end() ? nullptr : &found->second;
}

Status UnfinishedWork::add_layer(std::uint64_t digest, const QuantizedLayer& layer) {
  Line line("layer");
  const MatrixFacts& facts = layer.facts;
  line.add(escaped(layer.name)).add_bits(digest);
  for (const double value : {facts.weight_error, facts.output_error, facts.nearest_weight_error, facts.nearest_output_error, facts.damping,
                             layer.held_out.error, layer.held_out.cosine, layer.seconds}) {
    line.add_number(value);
  }
  for (const std::int64_t value : {facts.dead_columns, facts.clipped_groups, layer.bytes_before, layer.bytes_after})
    line.add_bits(static_cast<std::uint64_t>(value));
  line.add(escaped(layer.note));
  BILLFISH_RETURN_IF_ERROR(append(line.take()));
  layers_[layer.name] = {digest, {}};
  return {};
}

Status UnfinishedWork::add_scales(const std::string& name, const ChannelScales& scales) {
  Line line("scales");
  line.add(escaped(name)).add_bits(static_cast<std::uint64_t>(scales.best)).add_bits(scales.scales.size());
  for (const float scale : scales.scales) line.add_bits(std::bit_cast<std::uint32_t>(scale));
  for (const double loss : scales.losses) line.add_number(loss);
  BILLFISH_RETURN_IF_ERROR(append(line.take()));
  scales_[name] = scales;
  return {};
}

void UnfinishedWork::remove() {
  std::error_code ignored;
  if (!folder_.empty()) fs::remove_all(folder_, ignored);
}

}  // namespace billfish::formats
