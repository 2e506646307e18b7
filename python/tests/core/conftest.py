# SPDX-License-Identifier: Apache-2.0
"""Random matrices and checkpoints that the tests share."""

import numpy as np
import pytest

import billfish


def matrix(k, n, group=-1, kind="u4b8", scale_dtype=np.float16, seed=0):
    """(codes, scales, zeros, dense in float64): random codes, power-of-two-free scales, zeros where the type stores them."""
    rng = np.random.default_rng(seed)
    bits = 4 if kind.startswith("u4") else 8
    groups = 1 if group == -1 else -(-k // group)
    codes = rng.integers(0, 2**bits, (k, n), dtype=np.uint8)
    scales = (rng.uniform(0.5, 1.5, (groups, n)) / 2**bits).astype(scale_dtype)
    zeros = rng.integers(0, 2**bits, (groups, n), dtype=np.uint8) if kind in ("u4", "u8") else None
    rows = np.arange(k) // (k if group == -1 else group)
    zero = zeros[rows].astype(np.float64) if zeros is not None else float({"u4b8": 8, "u8b128": 128}[kind])
    dense = (codes.astype(np.float64) - zero) * scales[rows].astype(np.float64)
    return codes, scales, zeros, dense


@pytest.fixture
def model(tmp_path):
    """A GPTQ checkpoint of three layers; its path and the dense layers by name."""
    layers, dense = {}, {}
    for i, (k, n) in enumerate([(128, 64), (256, 192), (64, 128)]):
        codes, scales, _, dense[f"model.layers.{i}.mlp.up_proj"] = matrix(k, n, 64, seed=i)
        layers[f"model.layers.{i}.mlp.up_proj"] = billfish.PlainMatrix(codes, scales, group_size=64)
    path = tmp_path / "model"
    billfish.write_checkpoint(path, "gptq", layers)
    return path, dense
