# SPDX-License-Identifier: Apache-2.0
"""`python -m billfish.extract_weight MODEL LAYER`: one layer of any checkpoint as raw files, and the same written by no header at all.

MODEL is a local path or a repository of the hub (billfish.fetch). Writes LAYER's last name with _qweight.bin (int32 [K * bits / 32, N]),
_scales.bin (float16 [groups, N]) and _scales_percolumn.bin (float16 [N], the mean of each column's scales), as `billfish extract` does
and `billfish check b` reads.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ._fetch import fetch
from ._names import FORMATS
from .checkpoint import Layer, open


@dataclass(frozen=True)
class Extracted:
    """What was written, and the shape of what is in it."""

    files: tuple[str, str, str]
    k: int
    n: int
    group_size: int
    bits: int


def extract(layer: Layer, folder: str | os.PathLike[str]) -> Extracted:
    """Writes one layer's raw files into `folder`, which is made if need be.

    ValueError names the reason if raw files cannot hold the layer: zero points, activation order, scales that float16 cannot hold.
    """
    weights = layer.weights()
    if weights.zeros is not None:
        raise ValueError(f"{layer.name} has zero points ({weights.type}): the raw files hold codes and scales only")
    if layer.act_order:
        raise ValueError(f"{layer.name} has an activation order: the raw files have no place for it")
    bits = 4 if weights.type == "u4b8" else 8
    if layer.k * bits % 32:
        raise ValueError(f"{layer.name} has K = {layer.k}: raw codes are whole int32 words, so K must be a multiple of {32 // bits}")
    groups = weights.scales.shape[0]
    codes = np.empty((layer.k * bits // 32, layer.n), np.int32)
    scales = np.empty((groups, layer.n), weights.scales.dtype)
    if weights.scale_type == "bfloat16":
        raise ValueError(
            f"{layer.name} has bfloat16 scales; raw files hold float16: `billfish extract` converts where every value survives"
        )
    weights._core.unpack(FORMATS["gptq_v2"], codes, scales, None, None)
    halves = scales.astype(np.float16)
    if not np.array_equal(halves.astype(np.float32), scales.astype(np.float32)):
        raise ValueError(f"{layer.name} has {weights.scale_type} scales without a float16 that equals them")
    means = halves.astype(np.float64).mean(axis=0).astype(np.float16)
    os.makedirs(folder, exist_ok=True)
    last = layer.name.replace("/", ".").rsplit(".", 1)[-1]  # names come from files: none may lead out of the folder
    stem = os.path.join(os.fspath(folder), last)
    files = (stem + "_qweight.bin", stem + "_scales.bin", stem + "_scales_percolumn.bin")
    codes.tofile(files[0])
    halves.tofile(files[1])
    means.tofile(files[2])
    return Extracted(files, layer.k, layer.n, layer.group_size if groups > 1 else -1, bits)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m billfish.extract_weight", description="Write one layer as raw files.")
    parser.add_argument("model", help="a checkpoint (file, index or directory) or a repository of the hub, OWNER/NAME")
    parser.add_argument("layer", help="module name, as `billfish inspect` lists it, or its end if that is unique")
    parser.add_argument("--out", default=".", help="folder for the files (default: here)")
    options = parser.parse_args(arguments)
    try:
        with open(fetch(options.model)) as checkpoint:
            names = [layer.name for layer in checkpoint.layers]
            ending = [name for name in names if name == options.layer or name.endswith("." + options.layer)]
            if options.layer not in names and len(ending) > 1:
                raise ValueError(
                    f"{options.layer} is the end of {len(ending)} layers, {ending[0]} and {ending[1]} among them: give more of the name"
                )
            layer = checkpoint.layers[options.layer if options.layer in names or not ending else ending[0]]
            done = extract(layer, options.out)
    except (ValueError, KeyError, OSError, ImportError, NotImplementedError) as error:
        print(f"extract_weight: {error.args[0] if isinstance(error, KeyError) else error}", file=sys.stderr)
        return 1
    for path in done.files:
        print(f"{path} {os.path.getsize(path)} bytes")
    print(f"K={done.k} N={done.n} bits={done.bits} group={done.group_size}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
