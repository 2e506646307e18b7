// SPDX-License-Identifier: Apache-2.0
// Doing: packs activations, hands blocks of columns to threads. Called by implementations.cpp; calls the kernels of one table.
#pragma once

#include "core/status.hpp"
#include "cpu/kernels.hpp"
#include "gemm/problem.hpp"

namespace billfish::cpu {

Status multiply(const Arithmetic* table, const gemm::Plan&, const gemm::Problem&, const gemm::Call&);

}  // namespace billfish::cpu
