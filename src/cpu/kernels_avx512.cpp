// SPDX-License-Identifier: Apache-2.0
#include "cpu/kernels.hpp"
namespace billfish::cpu {
constinit const Arithmetic kAvx512Arithmetic[3] = {};
}
