// SPDX-License-Identifier: Apache-2.0
// Who holds which workspace of zeros: decisions over numbers alone, so that they are tested without a GPU. Used by torch_zeros.cpp, and by
// python/tests/torch/test_zeros.py through the binding there.
//
// A product leaves its workspace as the next one needs it, hence one piece serves all work of a stream, one product after the other. A
// graph is another matter: it runs on whatever stream it is launched, beside other graphs and the stream that captured it. So every capture
// holds pieces of its own, and keeps them for good: nobody says when a graph dies.
#pragma once

#include <algorithm>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <map>

namespace billfish_python {

class ZeroLedger {
 public:
  // `id`: the driver's number of the stream, or of the capture that the stream takes part in.
  struct Owner {
    int device = 0;
    std::uintptr_t stream = 0;
    std::uint64_t id = 0;
    bool capturing = false;
    auto operator<=>(const Owner&) const = default;
  };

  // Zeros on a device that nobody uses yet. What was left of an earlier reserve is forgotten.
  void reserve(int device, std::uintptr_t memory, std::size_t bytes) { reserves_[device] = {memory, bytes}; }
  std::size_t left(int device) const {
    const auto found = reserves_.find(device);
    return found == reserves_.end() ? 0 : found->second.bytes;
  }

  // Where the owner's zeros are: at least `bytes`, and `wished` of the reserve if it has fewer so far. 0: there are none.
  std::uintptr_t lend(const Owner& owner, std::size_t bytes, std::size_t wished) {
    const auto held = pieces_.find(owner);
    if (held != pieces_.end() && held->second.bytes >= bytes) return held->second.memory;
    const auto reserve = reserves_.find(owner.device);
    const std::size_t taken = (std::max(bytes, wished) + kAlignment - 1) / kAlignment * kAlignment;
    if (reserve == reserves_.end() || reserve->second.bytes < taken) return 0;
    const Piece piece = {reserve->second.memory, taken};
    reserve->second = {piece.memory + taken, reserve->second.bytes - taken};
    pieces_[owner] = piece;
    return piece.memory;
  }

 private:
  static constexpr std::size_t kAlignment = 256;  // as the device's allocator
  struct Piece {
    std::uintptr_t memory = 0;
    std::size_t bytes = 0;
  };
  std::map<Owner, Piece> pieces_;
  std::map<int, Piece> reserves_;
};

}  // namespace billfish_python
