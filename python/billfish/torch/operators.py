# SPDX-License-Identifier: Apache-2.0
"""The operators that torch knows: schemas and fake implementations here, kernels in the extension (python/source/torch_operators.cpp).

torch.ops.billfish.gemm(a, codes, scales, zeros, g_idx, perm, bias, config) -> [..., N] is the one that QuantLinear calls. `config` is
encode_config's number: every integer argument of its own would cost the dispatcher 0.3 us. Outputs and workspaces come from torch's
allocator on the current stream, nothing waits: eager code, torch.compile(fullgraph=True) and CUDA graphs work. For inference: no gradients.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from .. import _core
from .._names import PRECISIONS, WEIGHT_TYPES, Precision, WeightType, number

NAMESPACE = "billfish"
_MARLIN = (
    "Tensor b_q_weight, Tensor? b_bias_or_none, Tensor b_scales, Tensor? a_scales_or_none, Tensor? global_scale_or_none, "
    "Tensor? b_zeros_or_none, Tensor? g_idx_or_none, Tensor? perm_or_none, Tensor workspace, int b_type_id, int size_m, int size_n, "
    "int size_k, bool is_k_full=True, bool use_atomic_add=False, bool use_fp32_reduce=False, bool is_zp_float=False"
)
SCHEMAS = {
    "gemm": "(Tensor a, Tensor codes, Tensor scales, Tensor? zeros, Tensor? g_idx, Tensor? perm, Tensor? bias, int config) -> Tensor",
    "marlin_gemm": f"(Tensor a, Tensor? c_or_none, {_MARLIN}) -> Tensor",
    "marlin_gemm_out": f"(Tensor a, Tensor(a!) c, {_MARLIN}) -> ()",
    "repack": "(Tensor codes, bool awq, int k, int n, int bits) -> Tensor",
}


def encode_config(
    k: int, n: int, group_size: int, type: WeightType, precision: Precision = "full", *, weight_flags: int = 0, gemm_flags: int = 0
) -> int:
    """The number that the gemm operator takes for all of a matrix that its tensors do not say.

    Bits: 0-3 type, 4-7 precision, 8-15 flags of the product, 16-19 of the weights, 20-23 rows and 24-31 columns of padding, 32-62 group.
    """
    group = group_size if 0 < group_size < k else 0
    if group >= 1 << 31:
        raise ValueError(f"group_size is {group_size}; it must be below {1 << 31}")
    return (
        number(WEIGHT_TYPES, type, "type")
        | number(PRECISIONS, precision, "precision") << 4
        | gemm_flags << 8
        | weight_flags << 16
        | (-k % 16) << 20
        | (-n % 64) << 24
        | group << 32
    )


def _gemm_fake(
    a: torch.Tensor,
    codes: torch.Tensor,
    scales: torch.Tensor,
    zeros: torch.Tensor | None,
    g_idx: torch.Tensor | None,
    perm: torch.Tensor | None,
    bias: torch.Tensor | None,
    config: int,
) -> torch.Tensor:
    columns = codes.shape[1] // (2 if config & 15 < 2 else 4) - (config >> 24 & 255)
    return a.new_empty((*a.shape[:-1], columns))


def _marlin_gemm_fake(a: torch.Tensor, c_or_none: torch.Tensor | None, b_q_weight: torch.Tensor, *rest: Any) -> torch.Tensor:
    size_m, size_n = rest[9], rest[10]
    return a.new_empty((size_m, size_n))


def _marlin_gemm_out_fake(a: torch.Tensor, c: torch.Tensor, *rest: Any) -> None:
    return None


def _repack_fake(codes: torch.Tensor, awq: bool, k: int, n: int, bits: int) -> torch.Tensor:
    return codes.new_empty((k // 16, n * bits // 2))


_registered: set[str] = set()


def register_operators(namespace: str = NAMESPACE) -> None:
    """Defines the operators as torch.ops.<namespace>.gemm, .marlin_gemm, .marlin_gemm_out and .repack; once for every namespace.

    "billfish" is registered by importing this package. RuntimeError if another library has defined the same names.
    """
    if namespace in _registered:
        return
    fakes: dict[str, Callable[..., Any]] = {
        "gemm": _gemm_fake,
        "marlin_gemm": _marlin_gemm_fake,
        "marlin_gemm_out": _marlin_gemm_out_fake,
        "repack": _repack_fake,
    }
    for name, schema in SCHEMAS.items():
        torch.library.define(f"{namespace}::{name}", schema, tags=(torch.Tag.pt2_compliant_tag,))
    _core.register_torch_kernels(namespace)
    for name, fake in fakes.items():
        torch.library.register_fake(f"{namespace}::{name}", fake)
    _registered.add(namespace)


register_operators()
gemm = torch.ops.billfish.gemm.default
