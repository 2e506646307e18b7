# SPDX-License-Identifier: Apache-2.0
"""Pictures of weights, timings, quantisation errors and the packed layout, by matplotlib (pip install billfish[pictures])."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from . import _core
from ._names import Array
from .profiling import Result
from .weights import Weights


def _pyplot() -> Any:
    try:
        import matplotlib
    except ImportError as error:
        raise ImportError("pictures need matplotlib: pip install billfish[pictures]") from error
    matplotlib.use("Agg", force=False)
    from matplotlib import pyplot

    return pyplot


class VisualizationHelper:
    """Draws into files below `output_dir` and returns their paths. The folder is made if need be."""

    def __init__(self, output_dir: str | os.PathLike[str]) -> None:
        self.output_dir = os.fspath(output_dir)
        self._pyplot = _pyplot()
        os.makedirs(self.output_dir, exist_ok=True)

    def _save(self, figure: Any, filename: str) -> str:
        path = os.path.join(self.output_dir, filename)
        figure.tight_layout()
        figure.savefig(path, dpi=120)
        self._pyplot.close(figure)
        return path

    def plot_weight_distribution(self, weights: Mapping[str, Array], filename: str = "weights.png") -> str:
        """One histogram for every named array, on a shared axis."""
        if not weights:
            raise ValueError("weights is empty; give at least one array")
        figure, axes = self._pyplot.subplots(figsize=(7, 4))
        for name, values in weights.items():
            flat = np.asarray(values, dtype=np.float32).ravel()
            axes.hist(flat, bins=100, histtype="step", density=True, label=f"{name} (std {flat.std():.3g})")
        axes.set(xlabel="weight", ylabel="density", yscale="log", title="Distribution of weights")
        axes.legend()
        return self._save(figure, filename)

    def plot_performance_comparison(self, results: Sequence[Result], metric: str = "median_ms", filename: str = "performance.png") -> str:
        """Bars of one figure ("median_ms", "min_ms", ...) of Benchmarker.results."""
        if not results:
            raise ValueError("results is empty; Benchmarker.benchmark_function fills it")
        if not isinstance(getattr(results[0], metric, None), float):
            raise ValueError(f"metric is {metric!r}; supported are median_ms, p10_ms, p90_ms, min_ms and max_ms")
        figure, axes = self._pyplot.subplots(figsize=(7, 0.5 * len(results) + 1.5))
        values = [getattr(result, metric) for result in results]
        bars = axes.barh([result.name for result in results], values)
        axes.bar_label(bars, [f"{value:.4g}" for value in values], padding=3)
        axes.set(xlabel=metric.replace("_", " "), title="Performance")
        axes.invert_yaxis()
        axes.margins(x=0.15)
        return self._save(figure, filename)

    def plot_quantization_error(self, original: Array, weights: Weights, filename: str = "quantization_error.png") -> str:
        """What quantising did to float32 [K, N]: the errors' histogram, and their root mean square by group of rows."""
        dense = weights.dequantize()
        reference = np.asarray(original, dtype=np.float32)
        if reference.shape != dense.shape:
            raise ValueError(f"original has shape {list(reference.shape)}; it must be {list(dense.shape)}")
        error = dense - reference
        group = weights.group_size if weights.group_size > 0 else weights.k
        starts = np.arange(0, weights.k, group)
        by_group = np.sqrt(np.add.reduceat((error**2).mean(axis=1), starts) / np.diff(np.append(starts, weights.k)))
        figure, (left, right) = self._pyplot.subplots(1, 2, figsize=(10, 4))
        left.hist(error.ravel(), bins=100, histtype="step")
        left.set(xlabel="error", ylabel="weights", yscale="log", title=f"{weights.type}, rms {np.sqrt((error**2).mean()):.3g}")
        right.plot(by_group, drawstyle="steps-mid")
        right.set(xlabel=f"group of {group} rows", ylabel="rms error", ylim=(0, None), title="By group")
        return self._save(figure, filename)

    def plot_packing(self, filename: str = "packing.png") -> str:
        """Where the codes of one 16 x 64 tile lie: the number of the packed word of every code, found by packing marked tiles."""
        figure, axes = self._pyplot.subplots(figsize=(12, 4))
        picture = axes.imshow(packed_word_of_tile(), aspect="auto", cmap="viridis", interpolation="nearest")
        axes.set(xlabel="n, output feature", ylabel="k, input feature", title="Packed int32 word of every 4-bit code of a tile")
        figure.colorbar(picture, ax=axes, label="word")
        return self._save(figure, filename)


def packed_word_of_tile() -> Array:
    """[16, 64]: the int32 word of a 4-bit tile that holds code (k, n), asked of the packer one bit of the answer at a time.

    >>> words = packed_word_of_tile()
    >>> int(words[0, 0]), int(words[2, 0]), int(words.max())
    (0, 4, 127)
    """
    qweight = np.zeros((2, 64), np.int32)
    words = np.zeros((16, 64), np.int64)
    index = np.arange(16 * 64).reshape(16, 64)
    # Pack the number of every code, three bits a time, and read which code ended in which nibble of which word.
    number_in = np.zeros((128, 8), np.int64)
    for shift in range(0, 10, 3):
        digits = (index >> shift) & 7
        for r in range(2):
            nibbles = digits[8 * r : 8 * r + 8].astype(np.uint32)
            qweight[r] = sum(nibbles[j] << np.uint32(4 * j) for j in range(8)).view(np.int32)
        packed = _core.repack_gptq_to_marlin(qweight, 16, 64, 4).ravel().view(np.uint32)
        for j in range(8):
            number_in[:, j] |= ((packed >> np.uint32(4 * j)) & np.uint32(7)).astype(np.int64) << shift
    for word in range(128):
        words.ravel()[number_in[word]] = word
    return words


__all__ = ["VisualizationHelper", "packed_word_of_tile"]
