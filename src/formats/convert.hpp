// SPDX-License-Identifier: Apache-2.0
// Checkpoints rewritten: any readable one -> Marlin bytes, the way back, and new ones from matrices in memory. Called by api/, which
// hands in the functions of pack/ (formats/ knows bytes on disk, not layouts). Works layer by layer: memory is bounded by the largest
// layer's input and output, not by the model. What is written lies beside its target until it is whole, and is then renamed.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/matrix.hpp"
#include "core/status.hpp"
#include "core/threads.hpp"
#include "formats/checkpoint.hpp"

namespace billfish::formats {

struct PackedBytes {  // 0 where the matrix has no such part
  std::int64_t codes = 0, scales = 0, zeros = 0, perm = 0, g_idx = 0, bias = 0;
};

// What conversion needs of pack/. All three are required.
struct PackFunctions {
  Result<PackedBytes> (*sizes)(const QuantizedMatrix&) = nullptr;
  Status (*pack)(const QuantizedMatrix& source, PackedMatrix& target, const Parallel&) = nullptr;
  // `target` names the format and the caller's output buffers (const cast away by contract). A null zeros pointer means that the
  // caller does not want zeros (a symmetric type).
  Status (*unpack)(const PackedMatrix& source, const QuantizedMatrix& target, const Parallel&) = nullptr;
};

struct ConvertOptions {
  PackFunctions functions;
  int (*want_layer)(void* user, const char* layer) = nullptr;  // null: all; others are copied through as they are
  bool skip_unsupported = false;                               // copied through instead of refused
  int (*progress)(void* user, const char* layer, std::int64_t bytes_done, std::int64_t bytes_total) = nullptr;  // non-zero: stop
  void* user = nullptr;
  Parallel parallel;
};

// `out` becomes a file if `in` is a file, else a directory. An existing file is replaced, a directory must be empty or absent.
Status pack_checkpoint(const std::string& in, const std::string& out, const ConvertOptions& options);

// format: "gptq", "gptq_v2", "awq", "compressed-tensors", "marlin" (only where the source was), or empty for the source's own, which
// gives back its tensors byte for byte. unsupported where the format cannot hold a layer.
Status unpack_checkpoint(const std::string& in, const std::string& out, const std::string& format, const ConvertOptions& options);

struct NamedMatrix {
  std::string name;        // module prefix
  QuantizedMatrix matrix;  // Format::raw (or any other checkpoint order)
};

// A new checkpoint directory of `format` (as unpack_checkpoint names them), with the configs that its readers look for.
Status write_checkpoint(const std::string& directory, const std::string& format, const std::vector<NamedMatrix>& layers,
                        const PackFunctions& functions, const Parallel& parallel);

// Async-signal-safe: removes whatever is being written. The process is expected to end right after.
void abandon_outputs();

}  // namespace billfish::formats
