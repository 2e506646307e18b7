# SPDX-License-Identifier: Apache-2.0
"""Checkpoints on disk: GPTQ, AWQ, compressed-tensors, Marlin and Billfish's own, opened through memory maps."""

from __future__ import annotations

import builtins
import errno
import json
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from . import _core
from ._names import ELEMENT_TYPES, FORMATS, WEIGHT_TYPES, ElementType, Precision, WeightType, word
from .weights import Weights

Progress = Callable[[str, int, int], object]


@dataclass(frozen=True)
class TensorInfo:
    """A tensor that belongs to no quantised layer."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    nbytes: int


class Layer:
    """One quantised layer of an open checkpoint. Packed when first used, and kept packed; threads may share it."""

    def __init__(self, checkpoint: Checkpoint, index: int, info: dict[str, Any]) -> None:
        self._checkpoint, self._index = checkpoint, index
        self.name: str = info["name"]
        self.k: int = info["k"]
        self.n: int = info["n"]
        self.group_size: int = info["group"]
        self.format: str = word(FORMATS, info["format"])
        self.type: WeightType = word(WEIGHT_TYPES, info["type"])
        self.scale_type: ElementType = word(ELEMENT_TYPES, info["scale_type"])
        self.act_order: bool = info["act_order"]
        self.has_bias: bool = info["bias"]
        self.nbytes: int = info["bytes"]
        self.supported: bool = info["supported"]
        self.reason: str = info["reason"]
        self._lock = threading.Lock()
        self._weights: Weights | None = None

    def weights(self) -> Weights:
        """The packed weights; layers that lie in Marlin bytes are used where they lie."""
        self._checkpoint._require_open()
        with self._lock:
            if self._weights is None:
                self._weights = Weights(self._checkpoint._core.load(self._index))
            return self._weights

    def dequantize(self) -> npt.NDArray[np.float32]:
        """scale * (code - zero) as float32 [K, N]."""
        return self.weights().dequantize()

    def matmul(self, x: object, *, out: object | None = None, precision: Precision = "full") -> Any:
        """x @ dequantised weights (+ bias); see Weights.matmul."""
        return self.weights().matmul(x, out=out, precision=precision)

    def __repr__(self) -> str:
        group = f"groups of {self.group_size}" if self.group_size > 0 else "one group"
        state = "" if self.supported else f", not supported: {self.reason}"
        return f"<billfish.Layer {self.name} {self.type} K={self.k} N={self.n}, {group}{state}>"


class Layers(Sequence[Layer]):
    """The layers of a checkpoint by number or by name."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        core = checkpoint._core
        self._checkpoint = checkpoint
        self._layers = [Layer(checkpoint, i, core.layer(i)) for i in range(core.layer_count())]

    @overload
    def __getitem__(self, key: int | str) -> Layer: ...
    @overload
    def __getitem__(self, key: slice) -> list[Layer]: ...
    def __getitem__(self, key: int | str | slice) -> Layer | list[Layer]:
        self._checkpoint._require_open()
        if isinstance(key, str):
            try:
                return self._layers[self._checkpoint._core.find(key)]
            except ValueError as error:  # with the nearest names
                raise KeyError(str(error)) from None
        return self._layers[key]

    def __len__(self) -> int:
        return len(self._layers)

    def __iter__(self) -> Iterator[Layer]:
        return iter(self._layers)

    def __contains__(self, key: object) -> bool:
        """Whether a layer of this name, or this very Layer, is here."""
        return any(layer is key or layer.name == key for layer in self._layers)

    def keys(self) -> list[str]:
        """The layers' names."""
        return [layer.name for layer in self._layers]


class Checkpoint:
    """An open checkpoint; a context manager. After close() every use raises ValueError; packed weights that were taken out stay valid."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        if not os.path.exists(self.path):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self.path)
        self._core = _core.Checkpoint(self.path)
        self._layers: Layers | None = None

    def _require_open(self) -> None:
        if self._core.closed:
            raise ValueError(f"the checkpoint {self.path} is closed")

    @property
    def layers(self) -> Layers:
        """The quantised layers: layers[0], layers["model.layers.0.mlp.up_proj"], len(layers)."""
        self._require_open()
        if self._layers is None:
            self._layers = Layers(self)
        return self._layers

    @property
    def format(self) -> str:
        """What was recognised: "gptq", "awq", "compressed-tensors", "marlin", ..."""
        return self._core.format()

    @property
    def config(self) -> dict[str, Any]:
        """The quantisation config, as a dictionary."""
        parsed: dict[str, Any] = json.loads(self._core.config())
        return parsed

    @property
    def tensors(self) -> list[TensorInfo]:
        """What belongs to no quantised layer."""
        return [TensorInfo(*self._core.tensor(i)) for i in range(self._core.tensor_count())]

    def inspect(self) -> str:
        """A few lines: the format and why, and every layer."""
        lines = [f"{self.path}: {self.format} ({self._core.why()}), {len(self.layers)} quantised layers"]
        for layer in self.layers:
            group = str(layer.group_size) if layer.group_size > 0 else "column"
            lines.append(
                f"{layer.name}: K={layer.k} N={layer.n} {layer.type}, group {group}"
                + (", activation order" if layer.act_order else "")
                + (", bias" if layer.has_bias else "")
                + ("" if layer.supported else f"; not supported: {layer.reason}")
            )
        return "\n".join(lines)

    def pack(self, out: str | os.PathLike[str], *, progress: Progress | None = None, skip_unsupported: bool = False) -> None:
        """Writes the checkpoint in Marlin bytes to `out`: a file for a file, a directory for a directory.

        progress(layer, bytes done, bytes in all) is called between chunks of work; whatever it raises, and Ctrl-C, stops the work and
        leaves nothing half-written.
        """
        self._require_open()
        _core.pack_checkpoint(self.path, os.fspath(out), progress, skip_unsupported)

    def unpack(self, out: str | os.PathLike[str], *, format: str | None = None, progress: Progress | None = None) -> None:
        """The way back: a packed checkpoint to `format` ("gptq", "gptq_v2", "awq", "compressed-tensors"), or to what it was made from."""
        self._require_open()
        _core.unpack_checkpoint(self.path, os.fspath(out), format, progress)

    def close(self) -> None:
        """Unmaps the file once no call uses it. Twice is no error."""
        self._core.close()

    @property
    def closed(self) -> bool:
        """Whether close() was called."""
        return self._core.closed

    def __enter__(self) -> Checkpoint:
        return self

    def __exit__(self, kind: builtins.type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<billfish.Checkpoint {self.path}{', closed' if self.closed else ''}>"


def open(path: str | os.PathLike[str]) -> Checkpoint:
    """Opens a .safetensors file, a shard index or a model directory.

    >>> import tempfile, numpy as np, billfish
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     codes, scales, _ = billfish.round_to_nearest(np.eye(64, dtype=np.float32), group_size=32)
    ...     billfish.write_checkpoint(folder + "/model", "gptq", {"layer": billfish.PlainMatrix(codes, scales, group_size=32)})
    ...     with billfish.open(folder + "/model") as checkpoint:
    ...         layer = checkpoint.layers["layer"]
    ...         print(checkpoint.format, layer.name, layer.k, layer.n, layer.type)
    gptq layer 64 64 u4b8
    """
    return Checkpoint(path)
