// SPDX-License-Identifier: Apache-2.0
// Plans headers, then puts every tensor at its place.
#include "formats/tensor_writer.hpp"

#include <algorithm>

#include "core/integers.hpp"

#include "formats/json_text.hpp"
#include "formats/text.hpp"

namespace billfish::formats {
namespace {

constexpr std::int64_t kDataAlignment = 64;  // of the first tensor in its file
constexpr std::int64_t kPiece = std::int64_t{16} << 20;

std::int64_t alignment_of(std::int64_t bytes) { return bytes == 0 ? 1 : std::min<std::int64_t>(bytes & -bytes, 512); }

std::string header_json(const NewFile& file) {
  std::string out = "{";
  if (!file.metadata.empty()) {
    out += "\"__metadata__\":{";
    for (std::size_t i = 0; i < file.metadata.size(); ++i) {
      if (i > 0) out.push_back(',');
      append_json_string(out, file.metadata[i].first);
      out.push_back(':');
      append_json_string(out, file.metadata[i].second);
    }
    out.push_back('}');
  }
  std::int64_t begin = 0;
  for (const TensorInfo& tensor : file.tensors) {
    if (out.size() > 1) out.push_back(',');
    append_json_string(out, tensor.name);
    out +=
        text(":{\"dtype\":\"", tensor.dtype, "\",\"shape\":", tensor.shape, ",\"data_offsets\":[", begin, ',', begin + tensor.bytes, "]}");
    begin += tensor.bytes;
  }
  out.push_back('}');
  const std::int64_t length = static_cast<std::int64_t>(out.size()) + 8;
  out.append(static_cast<std::size_t>(round_up(length, kDataAlignment) - length), ' ');
  return out;
}

}  // namespace

Status Progress::advance(const std::string& layer, std::int64_t bytes) {
  done += bytes;
  if (tell && tell(user, layer.c_str(), done, total) != 0)
    return {Code::cancelled, "stopped by the progress callback; nothing was left behind"};
  return {};
}

Status TensorWriter::plan(std::size_t file, const std::string& tensor, std::int64_t begin, std::int64_t bytes) {
  if (!places_.try_emplace(tensor, Place{file, begin, bytes, false}).second) {
    return bad_input(text("the tensor ", quote(tensor), " would be written twice: another tensor of that name is in the way"));
  }
  files_[file].data_bytes = std::max(files_[file].data_bytes, begin + bytes);
  ++files_[file].remaining;
  total_bytes_ += bytes;
  return {};
}

Status TensorWriter::add(NewFile file) {
  std::stable_sort(file.tensors.begin(), file.tensors.end(),
                   [](const TensorInfo& a, const TensorInfo& b) { return alignment_of(a.bytes) > alignment_of(b.bytes); });
  File planned;
  planned.name = file.name;
  planned.header = header_json(file);
  if (static_cast<std::int64_t>(planned.header.size()) > kLargestHeader) {
    return unsupported(
        text("the header of ", quote(file.name), " would have ", planned.header.size(), " bytes; safetensors allows ", kLargestHeader));
  }
  planned.data_begin = static_cast<std::int64_t>(8 + planned.header.size());
  files_.push_back(std::move(planned));
  std::int64_t begin = 0;
  for (const TensorInfo& tensor : file.tensors) {
    BILLFISH_RETURN_IF_ERROR(plan(files_.size() - 1, tensor.name, begin, tensor.bytes));
    begin += tensor.bytes;
  }
  return {};
}

Status TensorWriter::add_with_header(const std::string& name, std::string_view json, const Header& header) {
  File planned;
  planned.name = name;
  planned.header = json;
  planned.data_begin = static_cast<std::int64_t>(8 + json.size());
  files_.push_back(std::move(planned));
  for (const Tensor& tensor : header.tensors) BILLFISH_RETURN_IF_ERROR(plan(files_.size() - 1, tensor.name, tensor.begin, tensor.bytes));
  return {};
}

Status TensorWriter::create_all() {
  for (File& file : files_) {
    Result<OutputFile> created = output_.create(file.name, file.data_begin + file.data_bytes);
    if (!created.ok()) return created.status();
    file.output = std::move(*created);
    std::string head(8, '\0');
    for (int i = 0; i < 8; ++i) head[static_cast<std::size_t>(i)] = static_cast<char>(file.header.size() >> (8 * i));
    head += file.header;
    BILLFISH_RETURN_IF_ERROR(file.output.write_at(0, head.data(), static_cast<std::int64_t>(head.size())));
    file.header = std::string();
    if (file.remaining == 0) BILLFISH_RETURN_IF_ERROR(file.output.finish());
  }
  return {};
}

Status TensorWriter::begin_tensor(std::string_view tensor, std::int64_t bytes, Place*& place) {
  const auto found = places_.find(std::string(tensor));
  if (found == places_.end() || found->second.written || found->second.bytes != bytes) {
    return {Code::internal, text("the tensor ", quote(tensor), " of ", bytes, " bytes was not planned so")};
  }
  place = &found->second;
  place->written = true;
  return {};
}

Status TensorWriter::end_tensor(const Place& place) {
  File& file = files_[place.file];
  return --file.remaining == 0 ? file.output.finish() : Status();
}

Status TensorWriter::write(std::string_view tensor, const void* data, std::int64_t bytes) {
  Place* place = nullptr;
  BILLFISH_RETURN_IF_ERROR(begin_tensor(tensor, bytes, place));
  File& file = files_[place->file];
  BILLFISH_RETURN_IF_ERROR(file.output.write_at(file.data_begin + place->begin, data, bytes));
  digest_.add(tensor);
  digest_.add(data, static_cast<std::size_t>(bytes));
  return end_tensor(*place);
}

std::uint64_t TensorWriter::take_digest() {
  const std::uint64_t value = digest_.value();
  digest_ = Digest();
  return value;
}

bool TensorWriter::take_written(const std::vector<std::string>& tensors, std::uint64_t expected) {
  Digest digest;
  std::vector<Place*> places;
  for (const std::string& name : tensors) {
    const auto found = places_.find(name);
    if (found == places_.end() || found->second.written) return false;
    const Place& place = found->second;
    const File& file = files_[place.file];
    // A map of its own, so that only these pages are touched, and given back at the end.
    const Result<MappedFile> map = MappedFile::open(output_.path_of(file.name));
    const std::int64_t begin = file.data_begin + place.begin;
    if (!map.ok() || static_cast<std::int64_t>(map->bytes().size()) < begin + place.bytes) return false;
    digest.add(name);
    digest.add(map->bytes().data() + begin, static_cast<std::size_t>(place.bytes));
    places.push_back(&found->second);
  }
  if (digest.value() != expected) return false;
  for (Place* place : places) {
    place->written = true;
    if (!end_tensor(*place).ok()) return false;
  }
  return true;
}

Status TensorWriter::copy(std::string_view tensor, const Model& model, const TensorPlace& source, Progress& progress) {
  Place* place = nullptr;
  const std::int64_t bytes = source.tensor->bytes;
  BILLFISH_RETURN_IF_ERROR(begin_tensor(tensor, bytes, place));
  File& file = files_[place->file];
  const std::byte* data = model.data(source);
  for (std::int64_t at = 0; at < bytes; at += kPiece) {
    const std::int64_t piece = std::min(kPiece, bytes - at);
    BILLFISH_RETURN_IF_ERROR(file.output.write_at(file.data_begin + place->begin + at, data + at, piece));
    model.shards[source.shard].map.drop(data + at, piece);
    BILLFISH_RETURN_IF_ERROR(progress.advance(source.tensor->name, piece));
  }
  return end_tensor(*place);
}

Status TensorWriter::finish() {
  for (const auto& [tensor, place] : places_) {
    if (!place.written) return {Code::internal, text("the tensor ", quote(tensor), " was planned but never written")};
  }
  return {};
}

std::vector<std::pair<std::string, std::string>> TensorWriter::weight_map() const {
  std::vector<std::pair<std::string, std::string>> out;
  for (const auto& [tensor, place] : places_) out.emplace_back(tensor, files_[place.file].name);
  std::sort(out.begin(), out.end());
  return out;
}

}  // namespace billfish::formats
