// SPDX-License-Identifier: Apache-2.0
// Work that outlives an interruption: a folder "<target>.unfinished" with the files being written (checkpoint/) and a journal of what is
// done (journal). Called by quantize_model.cpp; calls output.cpp's rules for targets.
//
// The journal is text, a record a line, each closed by a checksum, so that a line that a kill cut short is no record:
//   billfish-journal 1 <identity>                      what the work is made of: nothing but the same work goes on with it
//   layer <name> <digest of its tensors> <facts...>    written after the tensors
//   scales <name> <best> <s...> | <losses...>          AWQ's choice for the layers that share an input, by the first one's name
// Data are not waited for before a record is written; a digest that does not fit what lies in the files makes the layer undone.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "core/status.hpp"
#include "formats/quantize_model.hpp"

namespace billfish::formats {

class UnfinishedWork {
 public:
  UnfinishedWork() = default;
  UnfinishedWork(const UnfinishedWork&) = delete;
  UnfinishedWork& operator=(const UnfinishedWork&) = delete;
  ~UnfinishedWork();

  // Takes up what lies beside `target`, or begins anew. io_error if somebody works there, or if layers lie there and nobody said resume;
  // bad_input if they are of other work.
  Status begin(const std::string& target, const std::string& identity, bool resume);

  std::string checkpoint() const { return folder_ + "/checkpoint"; }
  const std::string& folder() const { return folder_; }

  struct DoneLayer {
    std::uint64_t digest = 0;
    QuantizedLayer facts;  // no pointers, no shape
  };
  const DoneLayer* find_layer(std::string_view name) const;
  const ChannelScales* find_scales(std::string_view name) const;
  Status add_layer(std::uint64_t digest, const QuantizedLayer& layer);
  Status add_scales(const std::string& name, const ChannelScales& scales);
  std::size_t layers() const { return layers_.size(); }

  void remove();  // the folder with all that is in it: the work is done, or not worth keeping

 private:
  Status take_up(const std::string& identity, bool resume);
  bool take_record(std::string_view line);
  Status append(std::string line);
  std::string folder_;
  int lock_ = -1, journal_ = -1;
  std::map<std::string, DoneLayer, std::less<>> layers_;
  std::map<std::string, ChannelScales, std::less<>> scales_;
};

}  // namespace billfish::formats
