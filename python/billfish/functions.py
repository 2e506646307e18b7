# SPDX-License-Identifier: Apache-2.0
"""Repacking, explaining, quantising, writing checkpoints and timing: functions over the C library."""

from __future__ import annotations

import errno
import json
import operator
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from . import _core
from ._names import ELEMENT_TYPES, PRECISIONS, WEIGHT_TYPES, Array, ElementType, Precision, WeightType, number
from .weights import Weights

MOST_THREADS = 4096  # as billfish_pool_create has it


def version() -> str:
    """The library's version."""
    return _core.version()


def set_threads(threads: int) -> None:
    """How many threads CPU work uses, the calling one included; 0: one per core that this process may use, 4096 at most.

    >>> import billfish
    >>> billfish.set_threads(4097)
    Traceback (most recent call last):
    ValueError: threads is 4097; it must be 0 (one per core) to 4096
    """
    count = operator.index(threads)
    if not 0 <= count <= MOST_THREADS:
        raise ValueError(f"threads is {count}; it must be 0 (one per core) to {MOST_THREADS}")
    _core.set_threads(count)


def threads() -> int:
    """How many threads CPU work uses."""
    return _core.threads()


def repack_gptq_to_marlin(qweight: object, k: int, n: int, bits: int = 4) -> npt.NDArray[np.int32]:
    """GPTQ codes int32 [k * bits / 32, n] as Marlin bytes, int32 [k / 16, n * bits / 2]. k a multiple of 16, n of 64.

    >>> import numpy as np, billfish
    >>> billfish.repack_gptq_to_marlin(np.zeros((2, 64), np.int32), 16, 64).shape
    (1, 128)
    """
    return _core.repack_gptq_to_marlin(qweight, k, n, bits)


def repack_scales_to_marlin(scales: object, k: int, n: int, group_size: int) -> Array:
    """16-bit scales [groups, n] in the order that kernels read; group_size -1: one group a column.

    >>> import numpy as np, billfish
    >>> billfish.repack_scales_to_marlin(np.arange(64, dtype=np.float16)[None], 32, 64, -1)[0, :4].tolist()
    [0.0, 1.0, 8.0, 9.0]
    """
    return _core.repack_scales_to_marlin(scales, k, n, group_size)


@dataclass(frozen=True)
class Implementation:
    """One way to run products, and whether it can run here."""

    name: str
    device: str
    available: bool
    reason: str


def implementations() -> list[Implementation]:
    """All implementations in order of preference.

    >>> import billfish
    >>> any(i.available and i.device == "cpu" for i in billfish.implementations())
    True
    """
    return [Implementation(*entry) for entry in _core.implementations()]


def load_plans(path: str | os.PathLike[str] | None) -> None:
    """Plans that `billfish tune` found, for the whole process from now on, behind those loaded before; None forgets them all.

    They come before the library's own choice, for the problems and the device that they were found for; explain() says which count.
    Nothing changes where a file is wrong.

    >>> import billfish
    >>> billfish.load_plans(None)
    """
    if path is not None and not os.path.exists(path):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), os.fspath(path))
    _core.load_plans(None if path is None else os.fspath(path))


def explain(
    m: int,
    n: int,
    k: int,
    *,
    group_size: int = -1,
    type: WeightType = "u4b8",
    dtype: ElementType = "float16",
    scale_type: ElementType = "float16",
    precision: Precision = "full",
    act_order: bool = False,
    bias: bool = False,
    threads: int = 0,
    device: str | None = None,
    implementation: str | None = None,
) -> str:
    """Who would run this product and why, candidate by candidate. device: "cpu", "cuda", "sm_90", ... (it need not be here).

    >>> import billfish
    >>> "cpu" in billfish.explain(1, 4096, 4096, group_size=128, device="cpu")
    True
    """
    return _explain(
        False,
        m,
        n,
        k,
        group_size=group_size,
        type=type,
        dtype=dtype,
        scale_type=scale_type,
        precision=precision,
        act_order=act_order,
        bias=bias,
        threads=threads,
        device=device,
        implementation=implementation,
    )


def explain_json(m: int, n: int, k: int, *, device: str | None = None, **options: Any) -> dict[str, Any]:
    """explain() as a dictionary; the same options."""
    parsed: dict[str, Any] = json.loads(_explain(True, m, n, k, device=device, **options))
    return parsed


def _explain(
    as_json: bool,
    m: int,
    n: int,
    k: int,
    *,
    group_size: int = -1,
    type: str = "u4b8",
    dtype: str = "float16",
    scale_type: str = "float16",
    precision: str = "full",
    act_order: bool = False,
    bias: bool = False,
    threads: int = 0,
    device: str | None = None,
    implementation: str | None = None,
) -> str:
    element = number(ELEMENT_TYPES, dtype, "dtype")
    return _core.explain(
        device,
        implementation,
        as_json,
        m=m,
        n=n,
        k=k,
        group=group_size,
        type=number(WEIGHT_TYPES, type, "type"),
        a_type=element,
        c_type=element,
        scale_type=number(ELEMENT_TYPES, scale_type, "scale_type"),
        precision=number(PRECISIONS, precision, "precision"),
        act_order=int(act_order),
        bias=int(bias),
        threads=threads,
    )


def round_to_nearest(
    weights: object, group_size: int = 128, type: WeightType = "u4b8", scale_type: ElementType = "float16"
) -> tuple[npt.NDArray[np.uint8], Array, npt.NDArray[np.uint8] | None]:
    """float32 [K, N] to codes, scales and zeros (None for u4b8 and u8b128): for tests and examples; billfish.quantize is the quantiser.

    >>> import numpy as np, billfish
    >>> codes, scales, zeros = billfish.round_to_nearest(np.eye(32, dtype=np.float32), group_size=16)
    >>> codes.shape, scales.shape, zeros is None
    ((32, 32), (2, 32), True)
    """
    element = number(ELEMENT_TYPES, scale_type, "scale_type")
    return _core.quantize(weights, group_size, number(WEIGHT_TYPES, type, "type"), element)


@dataclass(frozen=True)
class PlainMatrix:
    """A quantised matrix as plain arrays, for write_checkpoint: codes uint8 [K, N], scales and zeros [groups, N], bias [N]."""

    codes: Array
    scales: Array
    zeros: Array | None = None
    bias: Array | None = None
    group_size: int = -1
    type: WeightType = "u4b8"


def write_checkpoint(directory: str | os.PathLike[str], format: str, layers: Mapping[str, PlainMatrix]) -> None:
    """Writes layers as a checkpoint directory in `format` ("gptq", "gptq_v2", "awq", "compressed-tensors", "marlin")."""
    if not isinstance(layers, Mapping):
        raise TypeError(f"layers is {type(layers).__name__}; it must be a mapping of names to PlainMatrix")
    if not layers:
        raise ValueError("layers is empty; a checkpoint must have one layer or more")
    for name, matrix in layers.items():
        if not isinstance(name, str):
            raise TypeError(f"layers has the key {name!r}; names must be str")
        if not isinstance(matrix, PlainMatrix):
            raise TypeError(f"layers[{name!r}] is {type(matrix).__name__}; it must be a PlainMatrix")
    entries = [(name, m.codes, m.scales, m.zeros, m.bias, m.group_size, number(WEIGHT_TYPES, m.type, "type")) for name, m in layers.items()]
    _core.write_checkpoint(os.fspath(directory), format, list(entries))


@dataclass(frozen=True)
class Timing:
    """Seconds of one product over several calls, and what follows from the median."""

    median: float
    p10: float
    p90: float
    minimum: float
    maximum: float
    samples: int
    gigabytes_per_second: float  # weights alone: they may sit in a cache
    gigaflops: float


def bench(
    weights: Weights,
    m: int = 1,
    *,
    dtype: str = "float32",
    precision: Precision = "full",
    rounds: int = 20,
    implementation: str | None = None,
) -> Timing:
    """Times weights.matmul on m random rows with the library's clock, after two calls of warm-up. `./dev bench` measures with more care.

    >>> import numpy as np, billfish
    >>> w = billfish.pack(np.zeros((256, 64), np.uint8), np.ones((1, 64), np.float16))
    >>> billfish.bench(w, m=2, rounds=5).samples
    5
    """
    if dtype not in ("float32", "float16"):
        raise ValueError(f"dtype is {dtype!r}; supported are float32 and float16")
    x = np.random.default_rng(0).standard_normal((m, weights.k)).astype(dtype)
    numbers = _core.bench(weights._core, x, number(PRECISIONS, precision, "precision"), rounds, implementation)
    median = max(numbers[0], 1e-12)
    return Timing(*numbers, weights.nbytes / median * 1e-9, 2.0 * m * weights.k * weights.n / median * 1e-9)
