# SPDX-License-Identifier: Apache-2.0
"""Billfish: 16-bit or float32 activations times weights in 4 or 8 bits, from the checkpoints that people have, on a CPU or a GPU.

>>> import numpy as np, billfish
>>> weights = np.random.default_rng(0).standard_normal((256, 192)).astype(np.float32)
>>> codes, scales, zeros = billfish.round_to_nearest(weights, group_size=128)
>>> packed = billfish.pack(codes, scales, zeros, group_size=128)
>>> x = np.ones((2, 256), np.float32)
>>> bool(np.allclose(x @ packed, x @ packed.dequantize(), atol=1e-2))
True

This package needs NumPy only. billfish.torch has operators and modules for torch, billfish.profiling and billfish.visualization help to
time and to draw. Everything sits on the C library that lies beside this file.
"""

from . import quantize
from ._fetch import fetch
from .checkpoint import Checkpoint, Layer, Layers, TensorInfo, open
from .functions import (
    Implementation,
    PlainMatrix,
    Timing,
    bench,
    explain,
    explain_json,
    implementations,
    load_plans,
    repack_gptq_to_marlin,
    repack_scales_to_marlin,
    round_to_nearest,
    set_threads,
    threads,
    version,
    write_checkpoint,
)
from .weights import Weights, from_marlin, pack

__version__ = version()

__all__ = [
    "Checkpoint",
    "Implementation",
    "Layer",
    "Layers",
    "PlainMatrix",
    "TensorInfo",
    "Timing",
    "Weights",
    "bench",
    "explain",
    "explain_json",
    "fetch",
    "from_marlin",
    "implementations",
    "load_plans",
    "open",
    "pack",
    "quantize",
    "repack_gptq_to_marlin",
    "repack_scales_to_marlin",
    "round_to_nearest",
    "set_threads",
    "threads",
    "version",
    "write_checkpoint",
]
