#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What workspaces of zeros are worth to billfish.torch: layers in a CUDA graph with and without them, and the host's part of an eager call.

usage: torch_zeros.py [OUT.json]     (where billfish, with CUDA, and torch are installed, and a GPU is)

Products in a graph go round enough copies of a layer to defeat the caches, as `billfish bench` has it. "Without": the reserve is made so
small that no capture finds any. Microseconds, the least of several rounds, with and without in turn.
"""
import json
import sys
import time

import numpy as np
import torch

import billfish
import billfish.torch as bt
from billfish import _core

SHAPES = ((4096, 4096), (2048, 11008), (4096, 14336), (14336, 4096))  # K N
TOUCH = 330e6  # bytes of packed weights a round goes through
TOO_SMALL = 256


def layers(k, n):
    """Enough copies of one random layer."""
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 16, (k, n), dtype=np.uint8)
    scales = rng.uniform(0.5, 1, (k // 128, n)).astype(np.float16) / 16
    weights = billfish.pack(codes, scales, group_size=128)
    return [bt.QuantLinear.from_weights(weights, device="cuda") for _ in range(int(TOUCH / (k * n / 2)) + 1)]


def in_a_graph(modules, x, reserve):
    """Of one product, and how many bytes of zeros the graph took."""
    bt.reserve_workspace("cuda", reserve)
    before, graph = _core.zeros_left(x.get_device()), torch.cuda.CUDAGraph()
    for module in modules:
        module(x)
    with torch.cuda.graph(graph):
        for _ in range(4):
            for module in modules:
                module(x)
    best = float("inf")
    for _ in range(30):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        graph.replay()
        end.record()
        torch.cuda.synchronize()
        best = min(best, begin.elapsed_time(end) * 1e3 / (4 * len(modules)))
    return best, before - _core.zeros_left(x.get_device())


def on_the_host(call):
    best = float("inf")
    for _ in range(25):
        begin = time.perf_counter()
        for _ in range(200):
            call()
        best = min(best, (time.perf_counter() - begin) / 200)
        torch.cuda.synchronize()
    return best * 1e6


def host_costs(reserve):
    """Of a layer so small that there is little else, on a stream that has not held zeros before."""
    bt.reserve_workspace("cuda", reserve)
    module = bt.QuantLinear.from_weights(billfish.pack(np.full((64, 64), 9, np.uint8), np.ones((1, 64), np.float16)), device="cuda")
    x, dense = torch.ones(1, 64, device="cuda", dtype=torch.float16), torch.ones(64, 64, device="cuda", dtype=torch.float16)
    with torch.inference_mode(), torch.cuda.stream(torch.cuda.Stream()):
        return {"QuantLinear.forward": on_the_host(lambda: module.forward(x)),
                "operator": on_the_host(lambda: bt.gemm(x, *module._arguments)),
                "torch.matmul": on_the_host(lambda: torch.matmul(x, dense))}


def rounded(values):
    return {name: round(value, 2) if isinstance(value, float) else value for name, value in values.items()}


def main():
    run = {"what": "microseconds; u4b8, group 128, float16", "device": torch.cuda.get_device_name(), "torch": torch.__version__,
           "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "command": "bench/torch_zeros.py", "graphs": [], "host": []}
    for _ in range(2):
        run["host"] += [rounded({"zeros": reserve > TOO_SMALL, **host_costs(reserve)}) for reserve in (TOO_SMALL, 32 << 20)]
        print(*run["host"][-2:], sep="\n", flush=True)
    for k, n in SHAPES:
        modules = layers(k, n)
        for m in (1, 4, 8, 16, 17):
            x = torch.randn(m, k, device="cuda", dtype=torch.float16)
            with_zeros, taken = in_a_graph(modules, x, 32 << 20)
            without, none = in_a_graph(modules, x, TOO_SMALL)
            run["graphs"].append(rounded({"k": k, "n": n, "m": m, "us": with_zeros, "us_without": without, "gain": without / with_zeros,
                                          "zeros_bytes": taken, "zeros_bytes_without": none}))
            print(run["graphs"][-1], flush=True)
    if len(sys.argv) > 1:
        with open(sys.argv[1], "w", encoding="ascii") as file:
            json.dump(run, file, indent=1)
            file.write("\n")


if __name__ == "__main__":
    main()
