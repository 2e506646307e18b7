# SPDX-License-Identifier: Apache-2.0
"""Packed weights: one copy, in Marlin bytes, for every number of rows. Made by pack(), from_marlin() and Layer.weights()."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from . import _core
from ._names import ELEMENT_TYPES, PRECISIONS, WEIGHT_TYPES, Array, ElementType, Precision, WeightType, number, word

BATCH_INVARIANT = 2  # BILLFISH_GEMM_BATCH_INVARIANT
NO_BIAS = 1


class Weights:
    """A packed matrix of K rows (input features) and N columns (output features).

    Threads may share one: multiplying only reads. Calls release the GIL.

    >>> import numpy as np, billfish
    >>> codes = np.full((32, 64), 9, np.uint8)            # (9 - 8) * 0.5 each
    >>> w = billfish.pack(codes, np.full((1, 64), 0.5, np.float16))
    >>> w
    <billfish.Weights u4b8 K=32 N=64, one group>
    >>> float(w.matmul(np.ones(32, np.float32))[0])
    16.0
    """

    def __init__(self, core: _core.Weights) -> None:
        self._core = core

    @property
    def k(self) -> int:
        """Input features."""
        return self._core.k

    @property
    def n(self) -> int:
        """Output features."""
        return self._core.n

    @property
    def group_size(self) -> int:
        """Codes along K that share a scale; -1: one group a column."""
        return self._core.group if 0 < self._core.group < self._core.k else -1

    @property
    def type(self) -> WeightType:
        """How codes are stored: "u4b8", "u4", "u8b128" or "u8"."""
        return word(WEIGHT_TYPES, self._core.type)

    @property
    def scale_type(self) -> ElementType:
        """The scales' type; bfloat16 scales are shown as their bits (NumPy has no bfloat16)."""
        return word(ELEMENT_TYPES, self._core.scale_type)

    def _part(self, name: str) -> Array:
        part = self._core.part(name)
        assert part is not None
        return part

    @property
    def codes(self) -> npt.NDArray[np.int32]:
        """The packed codes, int32 [padded K / 16, padded N * bits / 2]: a view, not a copy."""
        return self._part("codes")

    @property
    def scales(self) -> Array:
        """The permuted scales [groups, padded N]: a view."""
        return self._part("scales")

    @property
    def zeros(self) -> npt.NDArray[np.int32] | None:
        """The packed zero points, for u4 and u8: a view."""
        return self._core.part("zeros")

    @property
    def perm(self) -> npt.NDArray[np.int32] | None:
        """With activation order, the original row of every packed row."""
        return self._core.part("perm")

    @property
    def g_idx(self) -> npt.NDArray[np.int32] | None:
        """With uneven groups, the group of every packed row."""
        return self._core.part("g_idx")

    @property
    def bias(self) -> Array | None:
        """[N], or None."""
        return self._core.part("bias")

    @property
    def nbytes(self) -> int:
        """Bytes of all parts together."""
        parts = (self._core.part(name) for name in ("codes", "scales", "zeros", "perm", "g_idx", "bias"))
        return sum(part.nbytes for part in parts if part is not None)

    def matmul(
        self,
        x: object,
        *,
        out: object | None = None,
        precision: Precision = "full",
        batch_invariant: bool = False,
        bias: bool = True,
        implementation: str | None = None,
    ) -> Any:
        """x @ dequantised weights (+ bias), accumulated in float32; the same call gives the same bits.

        x is [..., K] in float32, float16 or bfloat16: a NumPy array or anything with __dlpack__ on the CPU, read where it lies. The result
        is a NumPy array [..., N] of x's type (float32 for bfloat16), or `out`, which is written in place and returned.
        precision says what may happen to x on the CPU: "full" (float16 exact), "bf16", or "int8".

        >>> import numpy as np, billfish
        >>> w = billfish.pack(np.full((16, 64), 7, np.uint8), np.ones((1, 64), np.float32))
        >>> y = np.empty((2, 64), np.float32)
        >>> w.matmul(np.ones((2, 16), np.float32), out=y) is y
        True
        >>> float(y[1, 63])
        -16.0
        """
        flags = (BATCH_INVARIANT if batch_invariant else 0) | (0 if bias else NO_BIAS)
        return self._core.matmul(x, out, number(PRECISIONS, precision, "precision"), flags, implementation)

    def __matmul__(self, other: object) -> Any:
        raise TypeError("weights stand on the right: x @ weights, or weights.matmul(x)")

    __array_ufunc__ = None  # so that array @ weights comes to __rmatmul__

    def __rmatmul__(self, x: object) -> Any:
        return self.matmul(x)

    def dequantize(self) -> npt.NDArray[np.float32]:
        """scale * (code - zero) as float32 [K, N], in original row order.

        >>> import numpy as np, billfish
        >>> w = billfish.pack(np.full((16, 64), 10, np.uint8), np.ones((1, 64), np.float32))
        >>> float(w.dequantize()[3, 5])
        2.0
        """
        return self._core.dequantize()

    def __repr__(self) -> str:
        group = f"groups of {self.group_size}" if self.group_size > 0 else "one group"
        return f"<billfish.Weights {self.type} K={self.k} N={self.n}, {group}>"


def pack(
    codes: object,
    scales: object,
    zeros: object | None = None,
    *,
    group_size: int = -1,
    type: WeightType | None = None,
    g_idx: object | None = None,
    bias: object | None = None,
) -> Weights:
    """Packs plain codes: uint8 [K, N], scales [groups, N] (float16, bfloat16 or float32), zeros uint8 [groups, N] for u4 and u8.

    Without `type` it is u4 with zeros and u4b8 without. g_idx int32 [K] names the group of every row (activation order).

    >>> import numpy as np, billfish
    >>> codes = np.arange(64 * 64, dtype=np.uint8).reshape(64, 64) % 16
    >>> w = billfish.pack(codes, np.ones((2, 64), np.float32), np.full((2, 64), 3, np.uint8), group_size=32)
    >>> w.type, float(w.dequantize()[0, 5])
    ('u4', 2.0)
    """
    kind: str = type if type is not None else ("u4" if zeros is not None else "u4b8")
    return Weights(_core.pack_codes(codes, scales, zeros, g_idx, bias, group_size, number(WEIGHT_TYPES, kind, "type")))


def from_marlin(
    codes: object,
    scales: object,
    zeros: object | None = None,
    *,
    k: int,
    n: int,
    group_size: int = -1,
    type: Literal["u4b8", "u4", "u8b128", "u8"] = "u4b8",
    g_idx: object | None = None,
    perm: object | None = None,
    bias: object | None = None,
) -> Weights:
    """Weights over arrays that already hold Marlin bytes; nothing is copied, the arrays are kept alive.

    >>> import numpy as np, billfish
    >>> packed = billfish.pack(np.full((16, 64), 9, np.uint8), np.ones((1, 64), np.float16))
    >>> same = billfish.from_marlin(packed.codes, packed.scales, k=16, n=64)
    >>> bool((same.dequantize() == packed.dequantize()).all())
    True
    """
    kind = number(WEIGHT_TYPES, type, "type")
    return Weights(_core.from_marlin(codes, scales, zeros, g_idx, perm, bias, k, n, group_size, kind))
