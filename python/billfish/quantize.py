# SPDX-License-Identifier: Apache-2.0
"""Quantising: float weights to codes and scales, one matrix or a whole model, by rounding to nearest, GPTQ or AWQ.

Weights are [N, K] here, as models store a linear layer; codes come out [K, N], as the rest of the package takes them. GPTQ and AWQ need to
know what goes into the layer: `samples`, an array [tokens, K] or the Moments of many tokens. Linear algebra is looked for when it is first
needed (OpenBLAS, or any LAPACK); round to nearest works without. `device` is who does the arithmetic: "cpu", "cuda" or "cuda:1", None: the
first CUDA device where there is one with cuBLAS and cuSOLVER, else the CPU. Arrays are NumPy's all the same.

>>> import numpy as np, billfish
>>> rng = np.random.default_rng(0)
>>> weights = rng.standard_normal((64, 128)).astype(np.float32)
>>> samples = rng.standard_normal((300, 128)).astype(np.float32) * np.linspace(0.2, 3.0, 128, dtype=np.float32)
>>> rounded = billfish.quantize.matrix(weights, "rtn", group_size=32, samples=samples)
>>> better = billfish.quantize.matrix(weights, "gptq", group_size=32, samples=samples, clip=True)
>>> better.output_error < rounded.output_error
True
>>> better.pack().matmul(samples).shape
(300, 64)
"""

from __future__ import annotations

import errno
import functools
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from . import _core
from ._names import ELEMENT_TYPES, WEIGHT_TYPES, Array, ElementType, WeightType, number, word
from .functions import PlainMatrix
from .weights import Weights, pack

Method = Literal["rtn", "gptq", "awq"]
ActOrder = Literal["none", "static", "group"]
Progress = Callable[[str, int, int], object]

METHODS: dict[Method, int] = {"rtn": 0, "gptq": 1, "awq": 2}
ACT_ORDERS: dict[ActOrder, int] = {"none": 0, "static": 1, "group": 2}


@dataclass
class Moments:
    """Second moments of what goes into a layer: hessian float32 [K, K] = 2 / count * sum of x x^T, of `count` tokens.

    >>> import numpy as np
    >>> from billfish.quantize import hessian_add
    >>> x = np.random.default_rng(0).standard_normal((100, 16)).astype(np.float32)
    >>> moments = hessian_add(x[60:], hessian_add(x[:60]))
    >>> moments.count, bool(np.allclose(moments.hessian, 2 / 100 * x.T @ x, atol=1e-5))
    (100, True)
    """

    hessian: npt.NDArray[np.float32]
    count: int


def hessian_add(x: object, moments: Moments | None = None, *, device: str | None = None) -> Moments:
    """The moments of the tokens x [tokens, K] (float32, float16 or bfloat16) and of those before, which are changed in place."""
    if moments is None:
        shape: tuple[int, ...] = tuple(getattr(x, "shape", ()))
        width = int(shape[-1]) if len(shape) == 2 else 0
        moments = Moments(np.zeros((width, width), np.float32), 0)
    moments.count = _core.hessian_add(x, moments.hessian, moments.count, *_device(device))
    return moments


@dataclass(frozen=True, kw_only=True)
class Cost:
    """How a matrix was quantised, and what it cost.

    Errors are relative: |W - Q| / |W|, and of outputs |X (W - Q)| / |X W|; -1 without samples. nearest_*: of plain round to nearest.
    """

    group_size: int
    type: WeightType
    weight_error: float
    output_error: float
    nearest_weight_error: float
    nearest_output_error: float
    damping: float
    dead_columns: int
    clipped_groups: int


@dataclass(frozen=True, kw_only=True)
class Quantized(Cost):
    """A quantised matrix: codes uint8 [K, N], scales and zeros (None for symmetric types) [groups, N].

    bfloat16 scales are shown as their bits, uint16 (NumPy has no bfloat16); pack() and plain() make float32 of them.
    """

    codes: npt.NDArray[np.uint8]
    scales: Array
    zeros: npt.NDArray[np.uint8] | None

    def pack(self) -> Weights:
        """In Marlin bytes, ready to multiply with."""
        return pack(self.codes, self._scale_values(), self.zeros, group_size=self.group_size, type=self.type)

    def plain(self, bias: Array | None = None) -> PlainMatrix:
        """For billfish.write_checkpoint."""
        return PlainMatrix(self.codes, self._scale_values(), self.zeros, bias, self.group_size, self.type)

    def dequantize(self) -> npt.NDArray[np.float32]:
        """float32 [N, K], as the weights came."""
        return self.pack().dequantize().T

    def _scale_values(self) -> Array:
        return (self.scales.astype(np.uint32) << 16).view(np.float32) if self.scales.dtype == np.uint16 else self.scales


@dataclass(frozen=True)
class AwqScales:
    """What AWQ's search found: the columns of the weights are to be multiplied by `scales` and their input divided by them.

    losses: relative output errors of 21 choices, no scaling first; best: the one taken.
    """

    scales: npt.NDArray[np.float32]
    losses: npt.NDArray[np.float64]
    best: int


def matrix(
    weights: object,
    method: Method = "gptq",
    *,
    type: WeightType = "u4b8",
    group_size: int = 128,
    samples: object | Moments | None = None,
    act_order: ActOrder = "static",
    clip: bool = False,
    damping: float = 0.0,
    scale_type: ElementType = "float16",
    seed: int = 0,
    device: str | None = None,
) -> Quantized:
    """Quantises float32 weights [N, K].

    type: "u4b8" and "u8b128" are symmetric, "u4" and "u8" have zeros. clip: look for smaller ranges. act_order and damping (0: 0.01) are
    GPTQ's; "static" takes the columns of the largest activations first, which costs nothing when the weights are used. "awq" rounds weights
    and takes samples that awq_scales has been applied to.
    """
    x, hessian, count = _parts(samples)
    fields = _fields(method, type, group_size, act_order, clip, damping, scale_type, seed, device)
    codes, scales, zeros, numbers = _core.quantize_matrix(weights, x, hessian, count, fields)
    return Quantized(codes=codes, scales=scales, zeros=zeros, group_size=group_size, type=type, **numbers)


def awq_scales(
    weights: object | Sequence[object],
    samples: object | Moments,
    *,
    type: WeightType = "u4b8",
    group_size: int = 128,
    scale_type: ElementType = "float16",
    seed: int = 0,
) -> AwqScales:
    """The scales for one matrix [N, K], or for several that share an input (q, k and v, say).

    >>> import numpy as np, billfish
    >>> rng = np.random.default_rng(0)
    >>> x = rng.standard_normal((64, 128)).astype(np.float32)
    >>> x[:, 7] *= 40
    >>> w = rng.standard_normal((32, 128)).astype(np.float32)
    >>> found = billfish.quantize.awq_scales(w, x)
    >>> int(found.scales.argmax()), bool(found.losses[found.best] < found.losses[0])
    (7, True)
    >>> q = billfish.quantize.matrix(w * found.scales, "awq", samples=x / found.scales)
    """
    x, hessian, count = _parts(samples)
    matrices = list(weights) if isinstance(weights, (list, tuple)) else [weights]
    if not matrices:
        raise ValueError("weights is an empty list; at least one matrix is needed")
    fields = _fields("awq", type, group_size, "none", False, 0.0, scale_type, seed, "cpu")
    return AwqScales(*_core.awq_scales(matrices, x, hessian, count, fields))


@dataclass(frozen=True, kw_only=True)
class LayerReport(Cost):
    """One finished layer of a model. held_out_error and held_out_cosine: of outputs on samples kept aside (-1 and -2: there were none).

    Of a layer that an interrupted call had finished the arrays are None.
    """

    name: str
    n: int
    k: int
    held_out_error: float
    held_out_cosine: float
    seconds: float
    bytes_before: int
    bytes_after: int
    note: str
    magnitudes: npt.NDArray[np.float32] | None = field(repr=False)
    awq_scales: npt.NDArray[np.float32] | None = field(repr=False)
    awq_losses: npt.NDArray[np.float64] | None = field(repr=False)


@dataclass(frozen=True)
class PlannedLayer:
    """A matrix of a model that was looked at; left: why it stays as it is, "" if it is to be quantised."""

    name: str
    n: int
    k: int
    left: str


def model(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    method: Method = "gptq",
    *,
    calibration: str | os.PathLike[str] | None = None,
    format: str = "marlin",
    type: WeightType = "u4b8",
    group_size: int = 128,
    act_order: ActOrder = "static",
    clip: bool = False,
    damping: float = 0.0,
    scale_type: ElementType = "float16",
    seed: int = 0,
    layers: str | Callable[[str], bool] | None = None,
    no_fold: bool = False,
    resume: bool = False,
    skip_unsupported: bool = False,
    progress: Progress | None = None,
    layer_done: Callable[[LayerReport], object] | None = None,
    device: str | None = None,
) -> list[LayerReport]:
    """Quantises a safetensors model (file or directory; float32, float16, bfloat16) to the checkpoint directory `out`; its layers' reports.

    format: "marlin", "gptq", "gptq_v2", "awq", "compressed-tensors". calibration: what `python -m billfish.calibrate` wrote; "rtn" needs
    none. layers: a regular expression to be found in the name, or a function of it; None: every linear layer but heads and routers.
    no_fold: AWQ's layers that have no norm or linear layer to take their scales stay unscaled instead of being refused. Ctrl-C and what a
    callback raises stop the work; with resume=True the next call goes on with what was finished.
    """
    reports: list[LayerReport] = []

    def done(values: dict[str, Any]) -> None:
        values["type"] = word(WEIGHT_TYPES, values["type"])
        reports.append(LayerReport(**values))
        if layer_done is not None:
            layer_done(reports[-1])

    fields = _fields(method, type, group_size, act_order, clip, damping, scale_type, seed, device)
    fields.update(no_fold=int(no_fold), resume=int(resume), skip_unsupported=int(skip_unsupported), dry_run=0)
    callbacks = {"want": _choice(layers), "progress": progress, "layer_done": done, "layer_planned": None}
    path = None if calibration is None else _existing(calibration)
    _core.quantize_model(_existing(source), os.fspath(out), format, path, fields, callbacks)
    return reports


def plan(
    source: str | os.PathLike[str],
    *,
    format: str = "marlin",
    type: WeightType = "u4b8",
    group_size: int = 128,
    layers: str | Callable[[str], bool] | None = None,
) -> list[PlannedLayer]:
    """Every matrix of a model, and whether model(...) would quantise it; nothing is written."""
    planned: list[PlannedLayer] = []
    fields = _fields("rtn", type, group_size, "none", False, 0.0, "float16", 0, "cpu")
    fields.update(no_fold=0, resume=0, skip_unsupported=1, dry_run=1)
    callbacks = {
        "want": _choice(layers),
        "progress": None,
        "layer_done": None,
        "layer_planned": lambda *values: planned.append(PlannedLayer(*values)),
    }
    _core.quantize_model(_existing(source), "", format, None, fields, callbacks)
    return planned


def _existing(path: str | os.PathLike[str]) -> str:
    if not os.path.exists(path):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), os.fspath(path))
    return os.fspath(path)


def _choice(layers: str | Callable[[str], bool] | None) -> Callable[[str], bool] | None:
    if not isinstance(layers, str):
        return layers
    pattern = re.compile(layers)
    return lambda name: pattern.search(name) is not None


def _parts(samples: object | Moments | None) -> tuple[object | None, object | None, int]:
    if isinstance(samples, Moments):
        return None, samples.hessian, samples.count
    return samples, None, 0


@functools.cache
def _first_cuda() -> tuple[int, int]:
    try:
        _core.quantize_device(1, 0)
    except (RuntimeError, NotImplementedError):  # no device, an old one, or no cuBLAS or cuSOLVER
        return (0, 0)
    return (1, 0)


def _device(word: str | None) -> tuple[int, int]:
    """Kind and index."""
    if word is None:
        return _first_cuda()
    found = re.fullmatch(r"cpu|cuda(?::(\d+))?", word)
    if found is None:
        raise ValueError(f"device is {word!r}; use 'cpu', 'cuda' or 'cuda:INDEX'")
    return (0, 0) if word == "cpu" else (1, int(found[1] or 0))


def _fields(
    method: str,
    type: str,
    group_size: int,
    act_order: str,
    clip: bool,
    damping: float,
    scale_type: str,
    seed: int,
    device: str | None,
) -> dict[str, Any]:
    kind, index = _device(device)
    return {
        "device_kind": kind,
        "device_index": index,
        "method": number(METHODS, method, "method"),
        "type": number(WEIGHT_TYPES, type, "type"),
        "group": group_size,
        "scale_type": number(ELEMENT_TYPES, scale_type, "scale_type"),
        "act_order": number(ACT_ORDERS, act_order, "act_order"),
        "clip": int(clip),
        "damping": float(damping),
        "seed": seed,
    }
