// SPDX-License-Identifier: Apache-2.0
// What billfish_checkpoint is. Opened by checkpoint.cpp and tools_checkpoint.cpp.
#pragma once

#include <memory>

#include "billfish/billfish.h"
#include "formats/checkpoint.hpp"

struct billfish_checkpoint {
  std::unique_ptr<billfish::formats::Checkpoint> opened;
};
