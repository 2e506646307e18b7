// SPDX-License-Identifier: Apache-2.0
// Reads safetensors headers by events, so that nothing is built from a header that nests or repeats what it must not.
#include "formats/safetensors.hpp"

#include <algorithm>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>

#include "core/integers.hpp"
#include "formats/json_text.hpp"
#include "formats/text.hpp"

namespace billfish::formats {
namespace {

using Json = nlohmann::json;

struct Dtype {
  std::string_view name;
  int bits;
};
constexpr Dtype kDtypes[] = {{"BOOL", 8},    {"U8", 8},      {"I8", 8},          {"F8_E4M3", 8},    {"F8_E5M2", 8}, {"F8_E8M0", 8},
                             {"U16", 16},    {"I16", 16},    {"F16", 16},        {"BF16", 16},      {"U32", 32},    {"I32", 32},
                             {"F32", 32},    {"U64", 64},    {"I64", 64},        {"F64", 64},       {"C64", 64},    {"F4", 4},
                             {"F6_E2M3", 6}, {"F6_E3M2", 6}, {"F8_E4M3FNUZ", 8}, {"F8_E5M2FNUZ", 8}};
constexpr std::size_t kLargestRank = 32;

// {name: {"dtype": string, "shape": [..], "data_offsets": [begin, end]}, "__metadata__": {string: string}}, and nothing else.
class HeaderEvents : public nlohmann::json_sax<Json> {
 public:
  explicit HeaderEvents(std::string_view where) : where_(where) {}

  Header header;
  std::string error;

  bool null() override { return unexpected("null"); }
  bool boolean(bool) override { return unexpected("a boolean"); }
  bool number_float(double, const std::string& digits) override {
    return in_numbers() ? fail(text(member(), " holds ", digits.substr(0, 40), ", which is not a whole number in range"))
                        : unexpected("a number");
  }
  bool number_integer(std::int64_t value) override {
    if (!in_numbers()) return unexpected("a number");
    return value < 0 ? fail(text(member(), " holds the negative number ", value)) : add(value);
  }
  bool number_unsigned(std::uint64_t value) override {
    if (!in_numbers()) return unexpected("a number");
    if (value > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
      return fail(text(member(), " holds ", value, ", which is too large"));
    }
    return add(static_cast<std::int64_t>(value));
  }
  bool string(std::string& value) override {
    if (depth_ == 2 && in_metadata_) {
      header.metadata.emplace_back(field_, std::move(value));
      return true;
    }
    if (depth_ != 2 || field_ != "dtype") return unexpected("a string");
    tensor_.dtype = std::move(value);
    return true;
  }
  bool binary(Json::binary_t&) override { return unexpected("binary data"); }
  bool start_object(std::size_t) override {
    if (depth_ >= 2) return too_deep();
    if (++depth_ == 2) {
      tensor_ = Tensor{};
      tensor_.name = name_;
      offsets_.clear();
      seen_ = 0;
    }
    return true;
  }
  bool key(std::string& key) override {
    if (depth_ == 1) {
      name_ = std::move(key);
      in_metadata_ = name_ == "__metadata__";
      if (in_metadata_ && metadata_seen_) return fail("the key '__metadata__' occurs twice");
      metadata_seen_ = metadata_seen_ || in_metadata_;
      return true;
    }
    field_ = std::move(key);
    if (in_metadata_) return true;
    const unsigned bit = field_ == "dtype" ? 1u : field_ == "shape" ? 2u : field_ == "data_offsets" ? 4u : 0u;
    if (bit == 0) return fail(text("tensor ", quote(name_), " has an unknown key ", quote(field_)));
    if (seen_ & bit) return fail(text("tensor ", quote(name_), " has the key ", quote(field_), " twice"));
    seen_ |= bit;
    return true;
  }
  bool end_object() override {
    if (depth_-- == 2 && !in_metadata_) return finish_tensor();
    return true;
  }
  bool start_array(std::size_t) override {
    if (in_array_) return too_deep();
    if (depth_ != 2 || in_metadata_ || field_ == "dtype") return unexpected("an array");
    in_array_ = true;
    return true;
  }
  bool end_array() override {
    in_array_ = false;
    return true;
  }
  bool parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception& reason) override {
    if (error.empty()) {
      // The parser's own words after its "[json.exception...] " prefix.
      std::string_view words = reason.what();
      if (const std::size_t end = words.find("] "); end != std::string_view::npos) words.remove_prefix(end + 2);
      error = text(where_, ": the header is not valid JSON at byte ", position, ": ", printable(words, 160));
    }
    return false;
  }

 private:
  bool in_numbers() const { return in_array_; }
  std::string member() const { return text("tensor ", quote(name_), ": ", field_); }
  bool add(std::int64_t value) {
    std::vector<std::int64_t>& list = field_ == "shape" ? tensor_.shape : offsets_;
    if (list.size() >= (field_ == "shape" ? kLargestRank : 2)) {
      return fail(text(member(), " has more than ", field_ == "shape" ? kLargestRank : 2, " numbers"));
    }
    list.push_back(value);
    return true;
  }
  bool unexpected(std::string_view what) {
    if (depth_ == 0) return fail(text("the header is ", what, ", not an object"));
    if (depth_ == 1) return fail(text("the entry of ", quote(name_), " is ", what, ", not an object"));
    if (in_metadata_) return fail(text("__metadata__ value of ", quote(field_), " is ", what, ", not a string"));
    return fail(text(member(), " holds ", what));
  }
  bool too_deep() { return fail(text("the entry of ", quote(name_), " nests deeper than a header can")); }
  bool fail(std::string message) {
    error = text(where_, ": ", message);
    return false;
  }
  bool finish_tensor() {
    if (seen_ != 7) {
      const char* missing = !(seen_ & 1) ? "dtype" : !(seen_ & 2) ? "shape" : "data_offsets";
      return fail(text("tensor ", quote(name_), " has no ", missing));
    }
    const int bits = dtype_bits(tensor_.dtype);
    if (bits == 0) return fail(text("tensor ", quote(name_), " has the unknown dtype ", quote(tensor_.dtype)));
    if (offsets_.size() != 2) return fail(text("tensor ", quote(name_), ": data_offsets needs 2 numbers, has ", offsets_.size()));
    std::optional<std::int64_t> total = bits;
    for (const std::int64_t extent : tensor_.shape) {
      total = total ? checked_multiply(*total, extent) : total;
    }
    if (!total) return fail(text("tensor ", quote(name_), ": the product of shape ", tensor_.shape, " overflows"));
    if (*total % 8 != 0)
      return fail(text("tensor ", quote(name_), ": shape ", tensor_.shape, " of ", tensor_.dtype, " is no whole number of bytes"));
    tensor_.begin = offsets_[0];
    tensor_.bytes = *total / 8;
    if (offsets_[1] < offsets_[0]) {
      return fail(text("tensor ", quote(name_), ": data_offsets ", offsets_, " end before they begin"));
    }
    if (offsets_[1] - offsets_[0] != tensor_.bytes) {
      return fail(text("tensor ", quote(name_), ": data_offsets ", offsets_, " span ", offsets_[1] - offsets_[0], " bytes, but ",
                       tensor_.dtype, " ", tensor_.shape, " needs ", tensor_.bytes));
    }
    header.tensors.push_back(std::move(tensor_));
    return true;
  }

  std::string_view where_;
  int depth_ = 0;
  bool in_array_ = false, in_metadata_ = false, metadata_seen_ = false;
  std::string name_, field_;
  Tensor tensor_;
  std::vector<std::int64_t> offsets_;
  unsigned seen_ = 0;
};

template <class Name>
const std::string* duplicate(std::size_t count, Name name) {
  std::vector<std::size_t> order(count);
  for (std::size_t i = 0; i < count; ++i) order[i] = i;
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return name(a) < name(b); });
  for (std::size_t i = 1; i < count; ++i) {
    if (name(order[i - 1]) == name(order[i])) return &name(order[i]);
  }
  return nullptr;
}

}  // namespace

const std::string* Header::find_metadata(std::string_view key) const {
  for (const auto& [name, value] : metadata) {
    if (name == key) return &value;
  }
  return nullptr;
}

int dtype_bits(std::string_view dtype) {
  for (const Dtype& known : kDtypes) {
    if (known.name == dtype) return known.bits;
  }
  return 0;
}

Result<Header> parse_header(std::string_view where, std::string_view json, std::int64_t data_bytes) {
  HeaderEvents events(where);
  if (json.empty() || json.front() != '{') return bad_input(text(where, ": the header does not begin with '{': not a safetensors file"));
  BILLFISH_RETURN_IF_ERROR(check_json_bytes(where, json));
  if (!Json::sax_parse(json, &events) || !events.error.empty()) return bad_input(events.error);
  Header& header = events.header;

  const auto tensor_name = [&](std::size_t i) -> const std::string& { return header.tensors[i].name; };
  if (const std::string* name = duplicate(header.tensors.size(), tensor_name)) {
    return bad_input(text(where, ": the tensor ", quote(*name), " occurs twice"));
  }
  const auto metadata_name = [&](std::size_t i) -> const std::string& { return header.metadata[i].first; };
  if (const std::string* name = duplicate(header.metadata.size(), metadata_name)) {
    return bad_input(text(where, ": the key ", quote(*name), " occurs twice in __metadata__"));
  }

  std::sort(header.tensors.begin(), header.tensors.end(),
            [](const Tensor& a, const Tensor& b) { return a.begin != b.begin ? a.begin < b.begin : a.bytes < b.bytes; });
  std::int64_t end = 0;
  const Tensor* previous = nullptr;
  for (const Tensor& tensor : header.tensors) {
    if (data_bytes >= 0 && tensor.begin + tensor.bytes > data_bytes) {
      return bad_input(text(where, ": tensor ", quote(tensor.name), " ends at byte ", tensor.begin + tensor.bytes,
                            " of the data, but the file holds only ", data_bytes, " (truncated?)"));
    }
    if (tensor.begin < end) {
      return bad_input(text(where, ": tensor ", quote(tensor.name), " begins at byte ", tensor.begin, " and overlaps ",
                            quote(previous->name), ", which ends at ", end));
    }
    if (tensor.begin > end) {
      return bad_input(
          text(where, ": there is a hole of ", tensor.begin - end, " bytes before tensor ", quote(tensor.name), " at byte ", tensor.begin));
    }
    end = tensor.begin + tensor.bytes;
    previous = &tensor;
  }
  if (data_bytes >= 0 && end != data_bytes) {
    return bad_input(text(where, ": ", data_bytes - end, " bytes after the last tensor belong to none"));
  }
  return Result<Header>(std::move(header));
}

Result<Header> parse_safetensors(std::string_view where, std::span<const std::byte> file) {
  if (file.size() < 8) return bad_input(text(where, ": ", file.size(), " bytes are too few for a safetensors file"));
  std::uint64_t length = 0;
  for (int i = 7; i >= 0; --i) length = length << 8 | std::to_integer<std::uint64_t>(file[static_cast<std::size_t>(i)]);
  if (length > static_cast<std::uint64_t>(kLargestHeader)) {
    return bad_input(text(where, ": the header claims ", length, " bytes; the limit is ", kLargestHeader, " (not a safetensors file?)"));
  }
  if (length > file.size() - 8) {
    return bad_input(text(where, ": the header claims ", length, " bytes, but only ", file.size() - 8, " follow (truncated?)"));
  }
  const std::string_view json(reinterpret_cast<const char*>(file.data()) + 8, length);
  const std::int64_t data_begin = static_cast<std::int64_t>(8 + length);
  Result<Header> header = parse_header(where, json, static_cast<std::int64_t>(file.size()) - data_begin);
  if (header.ok()) header->data_begin = data_begin;
  return header;
}

}  // namespace billfish::formats
