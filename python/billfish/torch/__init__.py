# SPDX-License-Identifier: Apache-2.0
"""Billfish in torch (2.8 or later): operators, a Linear over packed weights, and vLLM's function names.

Importing it registers torch.ops.billfish.*; nothing of torch was compiled in, so one wheel serves every version, CPU or CUDA.
billfish.torch.vllm has the drop-in functions, billfish.torch.transformers registers the loader of packed checkpoints.
"""

from .modules import QuantLinear, replace_linears
from .operators import encode_config, gemm, register_operators
from .vllm import (
    ScalarType,
    awq_marlin_repack,
    awq_to_marlin_zero_points,
    gptq_marlin_repack,
    marlin_gemm,
    marlin_make_empty_g_idx,
    marlin_make_workspace_new,
    marlin_permute_bias,
    marlin_permute_scales,
    marlin_sort_g_idx,
    marlin_zero_points,
    scalar_types,
)
from .zeros import reserve_workspace

__all__ = [
    "QuantLinear",
    "ScalarType",
    "awq_marlin_repack",
    "awq_to_marlin_zero_points",
    "encode_config",
    "gemm",
    "gptq_marlin_repack",
    "marlin_gemm",
    "marlin_make_empty_g_idx",
    "marlin_make_workspace_new",
    "marlin_permute_bias",
    "marlin_permute_scales",
    "marlin_sort_g_idx",
    "marlin_zero_points",
    "register_operators",
    "replace_linears",
    "reserve_workspace",
    "scalar_types",
]
