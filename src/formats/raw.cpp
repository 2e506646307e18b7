// SPDX-License-Identifier: Apache-2.0
// Raw arrays, read and written.
#include "formats/raw.hpp"

#include <filesystem>
#include <vector>

#include "core/half.hpp"
#include "formats/convert.hpp"
#include "formats/convert_steps.hpp"
#include "formats/format_parts.hpp"
#include "formats/output.hpp"
#include "formats/text.hpp"

namespace billfish::formats {
namespace {

Status check_size(const MappedFile& file, std::int64_t expected, const std::string& because) {
  const std::int64_t bytes = static_cast<std::int64_t>(file.bytes().size());
  if (bytes == expected) return {};
  return bad_input(text(quote(file.path()), " has ", bytes, " bytes, expected ", expected, " (", because, ")"));
}

Status check_scales(const MappedFile& file) {
  const std::uint16_t* scales = reinterpret_cast<const std::uint16_t*>(file.bytes().data());
  for (std::size_t i = 0; i < file.bytes().size() / 2; ++i) {
    if ((scales[i] & 0x7c00u) == 0x7c00u) {
      return bad_input(text(quote(file.path()), ": scale ", i, " is ", (scales[i] & 0x3ffu) != 0 ? "NaN" : "infinite"));
    }
  }
  return {};
}

Status write_array(const std::string& directory, const std::string& name, const void* data, std::int64_t bytes) {
  StagedOutput output;
  BILLFISH_RETURN_IF_ERROR(output.begin(text(directory, '/', name), false));
  Result<OutputFile> file = output.create("", bytes);
  if (!file.ok()) return file.status();
  BILLFISH_RETURN_IF_ERROR(file->write_at(0, data, bytes));
  BILLFISH_RETURN_IF_ERROR(file->finish());
  return output.commit();
}

}  // namespace

Result<RawLayer> open_raw(const std::string& qweight, const std::string& scales, std::int64_t k, std::int64_t n, std::int64_t group) {
  constexpr std::int64_t kLargest = std::int64_t{1} << 30;  // of one side: no product below overflows
  if (k < 1 || k > kLargest || n < 1 || n > kLargest)
    return invalid_argument(text("k is ", k, " and n is ", n, "; supported are 1 to ", kLargest));
  if (group < -1 || group == 0) return invalid_argument(text("group is ", group, "; supported are -1 and positive sizes"));
  RawLayer out;
  Result<MappedFile> codes_map = MappedFile::open(qweight);
  if (!codes_map.ok()) return codes_map.status();
  out.codes = std::move(*codes_map);
  Result<MappedFile> scales_map = MappedFile::open(scales);
  if (!scales_map.ok()) return scales_map.status();
  out.scales = std::move(*scales_map);
  out.matrix.type = WeightType::u4b8;
  out.matrix.n = n;
  out.matrix.k = k;
  out.matrix.group = resolve_group(group, k);
  const std::int64_t rows = ceil_div(k, 8), groups = out.matrix.groups();
  BILLFISH_RETURN_IF_ERROR(check_size(out.codes, rows * n * 4, text("k = ", k, ", n = ", n, ": int32 [", rows, ',', n, ']')));
  BILLFISH_RETURN_IF_ERROR(
      check_size(out.scales, groups * n * 2, text("k = ", k, ", n = ", n, ", group = ", group, ": f16 [", groups, ',', n, ']')));
  BILLFISH_RETURN_IF_ERROR(check_scales(out.scales));
  out.matrix.format = Format::gptq_v2;
  out.matrix.codes = out.codes.bytes().data();
  out.matrix.scales = out.scales.bytes().data();
  return Result<RawLayer>(std::move(out));
}

Status extract_raw(const Checkpoint& checkpoint, std::int64_t layer, const std::string& directory, const PackFunctions& functions,
                   const Parallel& parallel) {
  Result<QuantizedMatrix> loaded = checkpoint.load(layer);
  if (!loaded.ok()) return loaded.status();
  const LayerInfo& info = checkpoint.layers()[static_cast<std::size_t>(layer)];
  const QuantizedMatrix& matrix = *loaded;
  if (matrix.type != WeightType::u4b8 || info.act_order || matrix.scale_type != ElementType::f16) {
    return unsupported(text("layer ", quote(info.name), " is ", name_of(matrix.type), info.act_order ? " with an activation order" : "",
                            " and ", name_of(matrix.scale_type), " scales; raw files hold u4b8 codes in order and f16 scales"));
  }
  Result<PackedBytes> bytes = functions.sizes(matrix);
  if (!bytes.ok()) return bytes.status();
  Buffer buffer;
  PackedMatrix packed = packed_view(matrix);
  if (matrix.format != Format::marlin) {
    BILLFISH_RETURN_IF_ERROR(place_packed(buffer, *bytes, packed));
    BILLFISH_RETURN_IF_ERROR(about_layer(functions.pack(matrix, packed, parallel), info.name));
  }
  Unpacked unpacked;
  BILLFISH_RETURN_IF_ERROR(about_layer(unpacked.make(functions, packed, Format::gptq_v2, parallel), info.name));

  const std::int64_t groups = matrix.groups(), n = matrix.n;
  std::vector<std::uint16_t> means(static_cast<std::size_t>(n));
  for (std::int64_t column = 0; column < n; ++column) {
    double sum = 0;
    for (std::int64_t group = 0; group < groups; ++group) {
      sum += static_cast<double>(load_element(unpacked.part(Role::scales), ElementType::f16, group * n + column));
    }
    means[static_cast<std::size_t>(column)] = f32_to_f16(static_cast<float>(sum / static_cast<double>(groups)));
  }
  const std::string leaf = info.name.substr(info.name.rfind('.') + 1);
  const std::string stem = leaf.empty() || leaf.find('/') != std::string::npos ? "layer" : leaf;
  std::error_code error;
  std::filesystem::create_directories(directory, error);  // what is wrong with it shows when its files are written
  BILLFISH_RETURN_IF_ERROR(write_array(directory, stem + "_qweight.bin", unpacked.part(Role::codes), ceil_div(matrix.k, 8) * n * 4));
  BILLFISH_RETURN_IF_ERROR(write_array(directory, stem + "_scales.bin", unpacked.part(Role::scales), groups * n * 2));
  return write_array(directory, stem + "_scales_percolumn.bin", means.data(), n * 2);
}

}  // namespace billfish::formats
