# SPDX-License-Identifier: Apache-2.0
"""Workspaces that were set to zeros once: on sm_90, products of up to 16 rows are faster with them (docs/python.md).

Every stream holds a piece of its own, and so does every capture of a CUDA graph, for good. They come out of a reserve on the device, made
here while nothing is captured; source/torch_zeros.cpp hands them out. Where the reserve is used up, products run without.
"""

from __future__ import annotations

import torch

from .. import _core

RESERVE = 32 << 20  # some 3 to 15 captures of 9 to 16 rows, 60 of 8, or 480 of one
_kept: list[torch.Tensor] = []  # pointers into them are in graphs


def reserve_workspace(device: torch.device | str | int, bytes: int = RESERVE) -> None:
    """Sets memory to zeros on a device of sm_90 for the streams and CUDA graphs to come; elsewhere a no-op.

    QuantLinear and marlin_make_workspace_new have done it once for their device. Call it again before more graphs are captured than that is
    enough for (some 3 to 15 of 9 to 16 rows, 60 of 8, or 480 of one), not while one is captured. It waits for the device.
    """
    place = torch.device("cuda", device) if isinstance(device, int) else torch.device(device)
    if place.type != "cuda" or _core.cuda_devices() == 0 or torch.cuda.get_device_capability(place) != (9, 0):
        return
    index = torch.cuda.current_device() if place.index is None else place.index
    memory = torch.zeros(bytes, dtype=torch.uint8, device=f"cuda:{index}")
    torch.cuda.synchronize(index)
    _kept.append(memory)
    _core.reserve_zeros(index, memory.data_ptr(), bytes)


def ensure_workspace(device: torch.device) -> None:
    """The first reserve of a device; a no-op if it has had one, and while a graph is captured."""
    if device.type != "cuda" or any(memory.device.index == device.index for memory in _kept) or torch.cuda.is_current_stream_capturing():
        return
    try:
        reserve_workspace(device)
    except torch.OutOfMemoryError:  # what is a little faster with memory must not fail without
        return
