# SPDX-License-Identifier: Apache-2.0
"""Random matrices as Marlin tensors, on every device that is here."""

import dataclasses

import numpy as np
import pytest
import torch

import billfish
import billfish.torch as bt

DEVICES = ["cpu", "cuda"] if torch.cuda.is_available() and billfish._core.cuda_devices() > 0 else ["cpu"]


def pytest_configure(config):
    config.addinivalue_line("markers", "cuda: runs on a GPU; `./dev gpu tests` runs these alone")


def needs_cuda(function):
    """Marks a test of CUDA alone; left out of collection's passes where there is none."""
    skip = pytest.mark.skipif("cuda" not in DEVICES, reason="no CUDA device, or a library without the CUDA backend")
    return pytest.mark.cuda(skip(function))


@pytest.fixture(params=[pytest.param(name, marks=[pytest.mark.cuda] if name == "cuda" else []) for name in DEVICES])
def device(request):
    return request.param


@dataclasses.dataclass
class Case:
    """A random matrix: packed as a QuantLinear, and dense in float64 [K, N] on the CPU."""

    module: bt.QuantLinear
    weights: billfish.Weights
    dense: torch.Tensor
    codes: np.ndarray
    scales: np.ndarray
    zeros: np.ndarray | None


def make(k, n, group=-1, kind="u4b8", device="cpu", scale_dtype=np.float16, bias=False, act_order=False, seed=0):
    rng = np.random.default_rng(seed)
    bits = 4 if kind.startswith("u4") else 8
    groups = 1 if group == -1 else -(-k // group)
    codes = rng.integers(0, 2**bits, (k, n), dtype=np.uint8)
    scales = (rng.uniform(0.5, 1.5, (groups, n)) / 2**bits).astype(scale_dtype)
    zeros = rng.integers(0, 2**bits, (groups, n), dtype=np.uint8) if kind in ("u4", "u8") else None
    rows = np.arange(k) // (k if group == -1 else group)
    g_idx = None
    if act_order:
        rows = rng.permutation(rows)
        g_idx = rows.astype(np.int32)
    zero = zeros[rows].astype(np.float64) if zeros is not None else float(8 if bits == 4 else 128)
    dense = (codes.astype(np.float64) - zero) * scales[rows].astype(np.float64)
    offset = rng.standard_normal(n).astype(np.float16) if bias else None
    weights = billfish.pack(codes, scales, zeros, group_size=group, type=kind, g_idx=g_idx, bias=offset)
    return Case(bt.QuantLinear.from_weights(weights, device=device), weights, torch.from_numpy(dense), codes, scales, zeros)


def assert_close(y, x, dense, bias=None):
    """Within two roundings (weight and output): 2^-8 of the sum of magnitudes each for bfloat16, 2^-10 else."""
    unit = 2.0**-8 if y.dtype == torch.bfloat16 else 2.0**-10
    x64, y64 = x.detach().cpu().double(), y.detach().cpu().double()
    reference = x64 @ dense
    magnitude = x64.abs() @ dense.abs()
    if bias is not None:
        reference, magnitude = reference + bias.double(), magnitude + bias.double().abs()
    assert torch.isfinite(y64).all()
    worst = ((y64 - reference).abs() / (2 * unit * magnitude + 1e-7)).max() if y64.numel() else 0
    assert worst <= 1, f"error {float(worst):.3f} of the bound"


def dtypes(device):
    return [torch.float16, torch.bfloat16] if device == "cuda" else [torch.float32, torch.float16, torch.bfloat16]
