// SPDX-License-Identifier: Apache-2.0
#include "npy.hpp"

#include <cstring>
#include <limits>
#include <string_view>

#include "errors.hpp"
#include "files.hpp"
#include "text.hpp"
#include "types.hpp"

namespace billfish::cli {
namespace {

constexpr std::string_view kMagic = "\x93NUMPY";
constexpr std::size_t kMaxHeader = 65536;  // real headers have about a hundred bytes

// The header is the text of a Python dict: {'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }
class HeaderReader {
 public:
  HeaderReader(std::string_view text, const std::string& name) : rest_(text), name_(name) {}

  void read() {
    expect('{');
    while (!accept('}')) {
      const std::string key = quoted();
      expect(':');
      if (key == "descr") {
        descr = quoted();
      } else if (key == "fortran_order") {
        fortran = boolean();
      } else if (key == "shape") {
        shape = tuple();
        has_shape = true;
      } else {
        bad("an unknown key '" + key + "'");
      }
      if (!accept(',')) {
        expect('}');
        break;
      }
    }
    skip_blanks();
    if (!rest_.empty()) bad("text behind the closing brace");
    if (descr.empty() || !has_shape) bad("no 'descr' or no 'shape'");
  }

  std::string descr;
  bool fortran = false, has_shape = false;
  std::vector<std::int64_t> shape;

 private:
  [[noreturn]] void bad(const std::string& what) const { fail(kBadInput, "{}: its header has {}: not a NumPy file", name_, what); }
  void skip_blanks() {
    while (!rest_.empty() && (rest_[0] == ' ' || rest_[0] == '\n' || rest_[0] == '\t')) rest_.remove_prefix(1);
  }
  bool accept(char wanted) {
    skip_blanks();
    if (rest_.empty() || rest_[0] != wanted) return false;
    rest_.remove_prefix(1);
    return true;
  }
  void expect(char wanted) {
    if (!accept(wanted)) bad(fmt::format("no '{}' where one belongs", wanted));
  }
  std::string quoted() {
    skip_blanks();
    if (rest_.empty() || (rest_[0] != '\'' && rest_[0] != '"')) bad("something other than a quoted word (a structured type?)");
    const std::size_t end = rest_.find(rest_[0], 1);
    if (end == std::string_view::npos) bad("a quote that does not end");
    const std::string word(rest_.substr(1, end - 1));
    rest_.remove_prefix(end + 1);
    return word;
  }
  bool boolean() {
    skip_blanks();
    for (const auto& [word, value] : {std::pair{std::string_view("True"), true}, std::pair{std::string_view("False"), false}}) {
      if (rest_.starts_with(word)) {
        rest_.remove_prefix(word.size());
        return value;
      }
    }
    bad("a fortran_order that is neither True nor False");
  }
  std::vector<std::int64_t> tuple() {
    std::vector<std::int64_t> sizes;
    expect('(');
    while (!accept(')')) {
      sizes.push_back(number());
      if (sizes.size() > 32) bad("more than 32 dimensions");
      if (!accept(',')) {
        expect(')');
        break;
      }
    }
    return sizes;
  }
  std::int64_t number() {
    skip_blanks();
    std::int64_t value = 0;
    std::size_t digits = 0;
    for (; digits < rest_.size() && rest_[digits] >= '0' && rest_[digits] <= '9'; ++digits) {
      if (value > (std::numeric_limits<std::int64_t>::max() - 9) / 10) bad("a dimension beyond 2^63");
      value = value * 10 + (rest_[digits] - '0');
    }
    if (digits == 0) bad("a dimension that is no whole number");
    rest_.remove_prefix(digits);
    return value;
  }

  std::string_view rest_;
  const std::string& name_;
};

billfish_element_type type_of(const std::string& descr, const std::string& name) {
  if (descr == "<f4" || descr == "=f4" || descr == "f4") return BILLFISH_F32;
  if (descr == "<f2" || descr == "=f2" || descr == "f2") return BILLFISH_F16;
  fail(kBadInput, "{} holds elements of type '{}': float32 ('<f4') and float16 ('<f2') are read; convert with x.astype('float32')", name,
       descr);
}

}  // namespace

std::int64_t NpyArray::count() const { return static_cast<std::int64_t>(bytes.size()) / bytes_of(type); }

NpyArray parse_npy(std::vector<std::byte> file, const std::string& name) {
  const std::string_view text(reinterpret_cast<const char*>(file.data()), file.size());
  if (!text.starts_with(kMagic)) fail(kBadInput, "{} is not a NumPy file: it does not begin with \\x93NUMPY", name);
  const auto byte_at = [&](std::size_t i) { return static_cast<std::size_t>(file[i]); };
  if (file.size() < 10) fail(kBadInput, "{} ends inside its header", name);
  const std::size_t version = byte_at(6);
  if (version != 1 && version != 2) fail(kBadInput, "{} has NumPy header version {}: 1 and 2 are read", name, version);
  const std::size_t prefix = version == 1 ? 10 : 12;
  if (file.size() < prefix) fail(kBadInput, "{} ends inside its header", name);
  const std::size_t low = byte_at(8) | byte_at(9) << 8;
  const std::size_t length = version == 1 ? low : low | byte_at(10) << 16 | byte_at(11) << 24;
  if (length > kMaxHeader) fail(kBadInput, "{} claims a header of {} bytes: at most {} are read", name, length, kMaxHeader);
  if (length > file.size() - prefix) fail(kBadInput, "{} ends inside its header", name);

  HeaderReader header(text.substr(prefix, length), name);
  header.read();
  NpyArray array;
  array.type = type_of(header.descr, name);
  array.shape = header.shape;
  std::int64_t expected = bytes_of(array.type), long_axes = 0;
  for (const std::int64_t size : array.shape) {
    if (__builtin_mul_overflow(expected, size, &expected)) fail(kBadInput, "{} has shape {}: too large", name, shape_text(array.shape));
    long_axes += size > 1;
  }
  // With at most one axis longer than 1 both orders are the same bytes.
  if (header.fortran && long_axes > 1) {
    fail(kBadInput, "{} is in Fortran order: save numpy.ascontiguousarray(x) instead", name);
  }
  const std::int64_t held = static_cast<std::int64_t>(file.size() - prefix - length);
  if (expected != held) {
    fail(kBadInput, "{} holds {} bytes of elements where its shape {} of {} needs {}", name, held, shape_text(array.shape),
         name_of(array.type), expected);
  }
  file.erase(file.begin(), file.begin() + static_cast<std::ptrdiff_t>(prefix + length));
  array.bytes = std::move(file);
  return array;
}

NpyArray read_npy(const std::string& path) { return parse_npy(read_file(path), path); }

void write_npy(const std::string& path, billfish_element_type type, const std::vector<std::int64_t>& shape, const void* elements) {
  std::int64_t bytes = bytes_of(type);
  std::string sizes;
  for (const std::int64_t size : shape) {
    bytes *= size;
    sizes += fmt::format("{}, ", size);
  }
  if (shape.size() != 1 && !sizes.empty()) sizes.resize(sizes.size() - 2);
  if (shape.size() == 1) sizes.resize(sizes.size() - 1);  // "(5,)"
  std::string header =
      fmt::format("{{'descr': '{}', 'fortran_order': False, 'shape': ({}), }}", type == BILLFISH_F16 ? "<f2" : "<f4", sizes);
  // The elements begin at a multiple of 64 bytes.
  header.append(63 - (kMagic.size() + 4 + header.size()) % 64, ' ');
  header += '\n';
  const unsigned char version_and_length[] = {1, 0, static_cast<unsigned char>(header.size() & 255),
                                              static_cast<unsigned char>(header.size() >> 8)};
  OutputFile file(path);
  file.write(kMagic.data(), kMagic.size());
  file.write(version_and_length, sizeof version_and_length);
  file.write(header.data(), header.size());
  file.write(elements, static_cast<std::size_t>(bytes));
  file.commit();
}

}  // namespace billfish::cli
