# SPDX-License-Identifier: Apache-2.0
"""Functions with the names, argument order and behaviour that vLLM's Marlin layers and tests call, over Billfish's kernels.

What is different: results are deterministic whatever use_atomic_add says, sums are always in float32, the workspace is left alone (any
tensor will do), N needs no tile of 128 or 256. What is not supported raises NotImplementedError with the reason: 8-bit activations, fp8 and
fp4 weights, float zero points, shards of K with an activation order.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from .operators import gemm as gemm  # registers the operators
from .zeros import ensure_workspace

_marlin = torch.ops.billfish.marlin_gemm.default
_marlin_out = torch.ops.billfish.marlin_gemm_out.default
_repack = torch.ops.billfish.repack.default


@dataclass(frozen=True)
class ScalarType:
    """A number format by its fields.

    `id` packs them, least significant first: exponent 8 bits, mantissa 8, signed 1, bias 32, finite values only 1, kind of nan 8.
    """

    exponent: int
    mantissa: int
    signed: bool
    bias: int = 0
    finite_values_only: bool = False
    nan_repr: int = 1

    @property
    def id(self) -> int:
        """The 64-bit number that operators take as b_type_id."""
        return (
            self.exponent
            | self.mantissa << 8
            | int(self.signed) << 16
            | (self.bias & 0xFFFFFFFF) << 17
            | int(self.finite_values_only) << 49
            | (self.nan_repr if self.exponent else 0) << 50
        )

    @property
    def size_bits(self) -> int:
        """Bits of one value."""
        return self.exponent + self.mantissa + int(self.signed)


class scalar_types:
    """The formats that callers name. The first four have kernels here."""

    uint4b8 = ScalarType(0, 4, False, 8)
    uint4 = ScalarType(0, 4, False)
    uint8b128 = ScalarType(0, 8, False, 128)
    uint8 = ScalarType(0, 8, False)
    float8_e4m3fn = ScalarType(4, 3, True, 0, True, 2)
    float4_e2m1f = ScalarType(2, 1, True, 0, True, 0)


_SUPPORTED = {t.id: name for name, t in vars(scalar_types).items() if isinstance(t, ScalarType) and t.exponent == 0}


def _given(tensor: torch.Tensor | None) -> bool:
    return tensor is not None and tensor.numel() > 0


def marlin_gemm(
    a: torch.Tensor,
    c_or_none: torch.Tensor | None,
    b_q_weight: torch.Tensor,
    b_bias_or_none: torch.Tensor | None,
    b_scales: torch.Tensor,
    a_scales_or_none: torch.Tensor | None,
    global_scale_or_none: torch.Tensor | None,
    b_zeros_or_none: torch.Tensor | None,
    g_idx_or_none: torch.Tensor | None,
    perm_or_none: torch.Tensor | None,
    workspace: torch.Tensor,
    b_type_id: int | ScalarType,
    size_m: int,
    size_n: int,
    size_k: int,
    is_k_full: bool = True,
    use_atomic_add: bool = False,
    use_fp32_reduce: bool = False,
    is_zp_float: bool = False,
) -> torch.Tensor:
    """a [size_m, size_k] times the packed weights: [size_m, size_n] in a's type, written into c if it is given.

    b_scales lie in the order of marlin_permute_scales, b_zeros_or_none in that of marlin_zero_points, the bias in that of
    marlin_permute_bias.
    """
    type_id = b_type_id if isinstance(b_type_id, int) else int(b_type_id.id)
    if type_id not in _SUPPORTED:
        supported = ", ".join(f"{name} ({known})" for known, name in _SUPPORTED.items())
        raise NotImplementedError(f"b_type_id is {type_id}; supported are {supported}")
    if _given(a_scales_or_none):
        raise NotImplementedError("a_scales_or_none is given; 8-bit activations are not supported")
    if _given(global_scale_or_none):
        raise NotImplementedError("global_scale_or_none is given; 4-bit floating-point weights are not supported")
    if is_zp_float:
        raise NotImplementedError("is_zp_float is set; float zero points are not supported")
    if not is_k_full and _given(g_idx_or_none):
        raise NotImplementedError("is_k_full is false with an activation order; a shard of K is not supported")
    arguments = (
        b_q_weight,
        b_bias_or_none,
        b_scales,
        a_scales_or_none,
        global_scale_or_none,
        b_zeros_or_none,
        g_idx_or_none,
        perm_or_none,
        workspace,
        type_id,
        size_m,
        size_n,
        size_k,
        is_k_full,
        use_atomic_add,
        use_fp32_reduce,
        is_zp_float,
    )
    if c_or_none is None:
        out: torch.Tensor = _marlin(a, None, *arguments)
        return out
    _marlin_out(a, c_or_none, *arguments)
    return c_or_none


def _gptq_words(codes: torch.Tensor, bits: int) -> torch.Tensor:
    """Codes [K, N] as GPTQ words int32 [K * bits / 32, N]."""
    per_word = 32 // bits
    parts = codes.view(codes.shape[0] // per_word, per_word, codes.shape[1]).to(torch.int64)
    shifts = torch.arange(0, 32, bits, device=codes.device, dtype=torch.int64).view(1, -1, 1)
    words = (parts << shifts).sum(dim=1)
    return torch.where(words >= 1 << 31, words - (1 << 32), words).to(torch.int32)


def gptq_marlin_repack(
    b_q_weight: torch.Tensor, perm: torch.Tensor | None, size_k: int, size_n: int, num_bits: int, is_a_8bit: bool = False
) -> torch.Tensor:
    """GPTQ codes int32 [K * bits / 32, N] as Marlin bytes. With perm (int32 [K]), row k' of the result is row perm[k'] of the source."""
    if is_a_8bit:
        raise NotImplementedError("is_a_8bit is set; 8-bit activations are not supported")
    if perm is not None and perm.numel() > 0:
        if perm.shape != (size_k,):
            raise ValueError(f"perm has shape {list(perm.shape)}; it must be [{size_k}] or empty")
        if num_bits not in (4, 8) or b_q_weight.shape != (size_k * num_bits // 32, size_n):
            raise ValueError(
                f"b_q_weight has shape {list(b_q_weight.shape)} with num_bits {num_bits}; it must be [size_k * num_bits / 32, size_n], "
                f"of 4 or 8 bits, with size_k {size_k} and size_n {size_n}"
            )
        shifts = torch.arange(0, 32, num_bits, device=b_q_weight.device, dtype=torch.int32).view(1, -1, 1)
        codes = ((b_q_weight.unsqueeze(1) >> shifts) & ((1 << num_bits) - 1)).view(size_k, size_n)
        b_q_weight = _gptq_words(codes[perm.long()], num_bits)
    out: torch.Tensor = _repack(b_q_weight, False, size_k, size_n, num_bits)
    return out


def awq_marlin_repack(b_q_weight: torch.Tensor, size_k: int, size_n: int, num_bits: int, is_a_8bit: bool = False) -> torch.Tensor:
    """AWQ codes int32 [K, N / 8] as Marlin bytes."""
    if is_a_8bit:
        raise NotImplementedError("is_a_8bit is set; 8-bit activations are not supported")
    if num_bits == 8:
        raise NotImplementedError("num_bits is 8; AWQ of 8 bits is not supported")
    out: torch.Tensor = _repack(b_q_weight, True, size_k, size_n, num_bits)
    return out


def _grouped_order(rows: torch.Tensor) -> torch.Tensor:
    """Column n of every 64 moves to position 8 * (n % 8) + n / 8."""
    return rows.reshape(-1, 8, 8).transpose(1, 2).reshape(rows.shape).contiguous()


def marlin_permute_scales(s: torch.Tensor, size_k: int, size_n: int, group_size: int, is_a_8bit: bool = False) -> torch.Tensor:
    """Scales [groups, N] in the order that the kernels read; one group (group_size -1 or size_k) has an order of its own."""
    if is_a_8bit:
        raise NotImplementedError("is_a_8bit is set; 8-bit activations are not supported")
    s = s.reshape(-1, size_n)
    if 0 < group_size < size_k:
        return _grouped_order(s)
    return marlin_permute_bias(s)


def marlin_permute_bias(s: torch.Tensor) -> torch.Tensor:
    """A bias, or scales of one group, in the per-column order: of every 32, n moves to 8 * (n % 8 / 2) + 2 * (n / 8) + n % 2."""
    return s.reshape(-1, 4, 4, 2).transpose(1, 2).reshape(s.shape).contiguous()


def marlin_zero_points(zp: torch.Tensor, size_k: int, size_n: int, num_bits: int, is_a_8bit: bool = False) -> torch.Tensor:
    """Zero points [size_k, N], one an element (size_k counts groups), packed as the kernels read them: int32 [size_k, N * bits / 32]."""
    if is_a_8bit:
        raise NotImplementedError("is_a_8bit is set; 8-bit activations are not supported")
    if num_bits not in (4, 8):
        raise ValueError(f"num_bits is {num_bits}; supported are 4 and 8")
    order = [0, 2, 4, 6, 1, 3, 5, 7] if num_bits == 4 else [0, 2, 1, 3]
    moved = _grouped_order(zp.reshape(size_k, size_n)).reshape(-1, len(order))[:, order].reshape(size_k, size_n)
    return _pack_columns(moved, num_bits)


def _pack_columns(codes: torch.Tensor, bits: int) -> torch.Tensor:
    """[rows, N] -> int32 [rows, N * bits / 32], least significant first."""
    return _gptq_words(codes.t().contiguous(), bits).t().contiguous()


def awq_to_marlin_zero_points(q_zp_packed: torch.Tensor, size_k: int, size_n: int, num_bits: int, is_a_8bit: bool = False) -> torch.Tensor:
    """AWQ's packed zero points int32 [groups, N * bits / 32] in the order that the kernels read."""
    if num_bits not in (4, 8):
        raise ValueError(f"num_bits is {num_bits}; supported are 4 and 8")
    shifts = torch.arange(0, 32, num_bits, device=q_zp_packed.device, dtype=torch.int32)
    fields = (q_zp_packed.unsqueeze(-1) >> shifts) & ((1 << num_bits) - 1)
    column = [0, 4, 1, 5, 2, 6, 3, 7] if num_bits == 4 else [0, 2, 1, 3]  # the field that holds column j of a word
    return marlin_zero_points(fields[..., column].reshape(size_k, size_n), size_k, size_n, num_bits, is_a_8bit)


def marlin_make_workspace_new(device: torch.device | str, max_blocks_per_sm: int = 1) -> torch.Tensor:
    """Zeros that callers pass as workspace; the kernels here have zeros of their own, one piece a stream, and leave these as they are."""
    kind = torch.device(device)
    if kind.type == "cuda":
        ensure_workspace(torch.device("cuda", torch.cuda.current_device() if kind.index is None else kind.index))
    count = torch.cuda.get_device_properties(kind).multi_processor_count if kind.type == "cuda" else 1
    return torch.zeros(count * max_blocks_per_sm, dtype=torch.int32, device=kind)


def marlin_make_empty_g_idx(device: torch.device | str) -> torch.Tensor:
    """No activation order, as a tensor."""
    return torch.empty(0, dtype=torch.int32, device=device)


def marlin_sort_g_idx(g_idx: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """g_idx sorted, and the stable order that sorts it, both int32 [K]."""
    order = torch.argsort(g_idx, stable=True).to(torch.int32)
    return g_idx[order.long()].contiguous(), order
