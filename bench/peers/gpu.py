#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Times humming (PyPI humming-kernels) and cuBLAS side by side on one GPU and writes cells like those of h200.json.

usage: gpu.py OUT.json [--shapes FILE] [--m 1,2,4,...]
Needs torch for CUDA, triton, humming-kernels 0.1.19 and a CUDA toolkit (humming compiles at run time); without humming cuBLAS is timed
alone.
The method is that of bench/README.md: graphs of at least 20 calls over at least 320 MB of distinct weights, an own warm-up of 50 ms for
each library, the median of at least 9 replays, random data.
"""
import argparse
import json
import math
import os
import statistics
import sys

import torch

HERE = os.path.dirname(os.path.abspath(__file__))
GROUP = 128
TOUCH = 320e6
WARM_MS, TIMED_MS = 50.0, 50.0


def read_shapes(path):
    with open(path) as file:
        lines = [line.split("#")[0].split() for line in file]
    return [(int(words[0]), int(words[1])) for words in lines if words]


def copies_of(size):
    return max(2, math.ceil(TOUCH / size))


class Graph:
    """At least 20 calls, every copy as often as any other."""

    def __init__(self, call, copies):
        self.calls = copies * math.ceil(20 / copies)
        stream = torch.cuda.Stream()
        with torch.cuda.stream(stream):
            call(0)
            torch.cuda.synchronize()
            self.graph = torch.cuda.CUDAGraph()
            self.graph.capture_begin()
            for i in range(self.calls):
                call(i % copies)
            self.graph.capture_end()
        torch.cuda.synchronize()

    def replays(self, count):
        pairs = []
        for _ in range(count):
            begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            begin.record()
            self.graph.replay()
            end.record()
            pairs.append((begin, end))
        torch.cuda.synchronize()
        return [begin.elapsed_time(end) for begin, end in pairs]

    def microseconds(self):
        one = max(self.replays(2)[1], 1e-3)
        self.replays(max(1, int(WARM_MS / one)))
        return statistics.median(self.replays(max(9, min(60, int(TIMED_MS / one))))) * 1e3 / self.calls


class Cublas:
    name = "cublas"

    def __init__(self, k, n):
        self.w = [torch.randn(n, k, dtype=torch.float16, device="cuda") for _ in range(copies_of(2 * k * n))]

    def graph(self, x):
        out = torch.empty(x.size(0), self.w[0].size(0), dtype=torch.float16, device="cuda")
        return Graph(lambda i: torch.matmul(x, self.w[i].t(), out=out), len(self.w))


class Humming:
    """The kernels and the configuration that its own layer picks for a GPTQ checkpoint: symmetric, 4 bit, a scale per 128."""
    name = "humming"

    def __init__(self, k, n):
        from humming.layer import HummingLayer
        from humming.tune import get_heuristics_config
        words = torch.randint(-2**31, 2**31 - 1, (n, k // 8), dtype=torch.int32, device="cuda")
        scales = (torch.rand(k // GROUP, n, device="cuda") * 0.015 + 0.005).half()
        config = {"quant_method": "gptq", "bits": 4, "group_size": GROUP, "desc_act": False, "sym": True}
        self.layer = HummingLayer(shape_n=n, shape_k=k, weight_config=config, input_config=None, torch_dtype=torch.float16).cuda()
        self.layer.load_from_tensors({"qweight": words.t().contiguous(), "scales": scales})
        self.layer.transform()
        self.table = get_heuristics_config(self.layer.humming_config)
        shifts = torch.arange(0, 32, 4, device="cuda", dtype=torch.int32)
        codes = ((words.unsqueeze(-1) >> shifts) & 15).reshape(n, k)
        self.dense = (codes - 8).float().view(n, k // GROUP, GROUP).mul_(scales.t().float().unsqueeze(-1)).view(n, k)
        weight, scale = self.layer.weight.data, self.layer.weight_scale.data
        count = copies_of(weight.numel() * weight.element_size())
        self.w = [weight] + [torch.roll(weight.flatten(), 64 * (997 * i + 1)).view_as(weight) for i in range(1, count)]
        self.s = [scale] + [torch.roll(scale.flatten(), 64 * (31 * i + 1)).view_as(scale) for i in range(1, count)]

    def call(self, x, out):
        from humming import ops
        from humming.kernel.humming import HummingKernel
        chosen = next(config for low, high, config in self.table if low < x.size(0) <= high)
        settings = json.loads(self.layer.humming_config.to_str())
        settings.pop("sublayer_name", None)
        settings |= chosen
        multiprocessors = settings.pop("num_sms", 0)
        kernel = torch.tensor([0, 1 << 30, HummingKernel(**settings).kernel_id, multiprocessors], dtype=torch.int64)
        return lambda i: ops.launch_kernel(configs=kernel, inputs=x, weight=self.w[i], weight_scale=self.s[i], weight_scale_2=None,
                                           input_scale=None, zero_point=None, outputs=out, locks=self.layer.locks)

    def graph(self, x):
        out = torch.full((x.size(0), self.dense.size(0)), float("nan"), dtype=torch.float16, device="cuda")
        call = self.call(x, out)
        call(0)
        expected = x.float() @ self.dense.t()
        error = ((out.float() - expected).norm() / expected.norm()).item()
        if not error < 0.01:
            raise RuntimeError(f"relative error {error}")
        return Graph(call, len(self.w))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("out")
    parser.add_argument("--shapes", default=os.path.join(HERE, "..", "shapes", "h200.txt"))
    parser.add_argument("--m", default="1,2,4,8,16,32,64,128,256,512,1024,2048,4096,8192")
    options = parser.parse_args()
    run = {"device": torch.cuda.get_device_name(0), "types": "u4b8 group 128, f16", "note": "humming and cuBLAS side by side in one run",
           "torch": torch.__version__, "cells": []}
    for k, n in read_shapes(options.shapes):
        peers = []
        for peer in (Cublas, Humming):
            try:
                peers.append(peer(k, n))
            except Exception as error:  # not installed, or it refuses the shape: the others are still worth timing
                print(f"{peer.name} at K={k} N={n}: {error}", file=sys.stderr)
        for m in (int(word) for word in options.m.split(",")):
            x = torch.randn(m, k, dtype=torch.float16, device="cuda")
            us = {}
            for peer in peers:
                try:
                    us[peer.name] = peer.graph(x).microseconds()
                except Exception as error:
                    print(f"{peer.name} at M={m} K={k} N={n}: {error}", file=sys.stderr)
            if "cublas" not in us:
                continue
            best = min(us, key=us.get)
            cell = {"K": k, "N": n, "M": m, "cublas_us": round(us["cublas"], 2)}
            if "humming" in us:
                cell["humming_over_cublas"] = round(us["humming"] / us["cublas"], 3)
            cell |= {"best_over_cublas": round(us[best] / us["cublas"], 3), "best": best}
            run["cells"].append(cell)
            print(cell, flush=True)
        with open(options.out, "w") as file:
            json.dump(run, file, indent=0)
            file.write("\n")
        del peers
        torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
