#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Times quantising one matrix through the C ABI: second moments against the f32 ceiling of the same run, round to nearest, GPTQ.

usage: quantize_speed.py [--library FILE] [--device cpu|cuda|cuda:N] [--n N] [--k K] [--tokens T] [--threads T] [--repeat R] [--steps]

Needs Python alone. Weights and samples are random f16 (a mean square of about 0.3), so GPTQ has little to gain: this is about time.
"""

import argparse
import ctypes
import os
import pathlib
import time

SIZE, I64, INT, F64, POINTER = ctypes.c_size_t, ctypes.c_int64, ctypes.c_int, ctypes.c_double, ctypes.c_void_p


def struct(name, *fields):
    """A struct of the ABI, its size filled in."""
    made = type(name, (ctypes.Structure,), {"_fields_": [("size", SIZE), *fields]})
    return lambda **values: made(ctypes.sizeof(made), **values)


parallel = struct("Parallel", ("pool", POINTER), ("parallel_for", POINTER), ("user", POINTER), ("threads", INT), ("reserved", INT))
ceilings = struct("Ceilings", ("read", F64), ("f32", F64), ("bf16", F64), ("int8", F64))
options = struct(
    "Options",
    *((name, INT) for name in ("method", "type")),
    ("group", I64),
    *((name, INT) for name in ("scale_type", "act_order", "clip", "device_kind")),
    ("damping", F64),
    ("seed", ctypes.c_uint64),
    ("parallel", POINTER),
    *((name, INT) for name in ("device_index", "reserved_int")),
    ("reserved", I64 * 5),
)
samples = struct(
    "Samples",
    ("x", POINTER),
    ("x_type", INT),
    ("reserved_int", INT),
    ("tokens", I64),
    ("ldx", I64),
    ("hessian", POINTER),
    ("count", I64),
    ("reserved", I64 * 4),
)
quantized = struct(
    "Quantized",
    *((name, POINTER) for name in ("codes", "zeros", "scales")),
    *((name, F64) for name in ("weight_error", "output_error", "nearest_weight_error", "nearest_output_error", "damping")),
    *((name, I64) for name in ("dead_columns", "clipped_groups")),
    ("reserved", I64 * 4),
)


class Steps:
    """How long each step of a call takes, as the library tells; of the quickest call so far."""

    def __init__(self, library, wanted):
        self.told = []
        self.callback = ctypes.CFUNCTYPE(None, POINTER, ctypes.c_char_p)(lambda _, step: self.told.append((step, time.perf_counter())))
        if wanted:
            library.billfish_tools_quantize_trace(self.callback, None)

    def take(self):
        told, self.told[:] = list(self.told), []
        sums = {}
        for (_, began), (step, ended) in zip(told, told[1:]):
            sums[step.decode()] = sums.get(step.decode(), 0.0) + ended - began
        return sums


def random_halves(count):
    """f16 bit patterns below 2 in magnitude: the highest exponent bit of every byte pair is cleared."""
    return os.urandom(2 * count).translate(bytes(byte & 0xBF for byte in range(256)))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--library", dest="shared_library", default=pathlib.Path(__file__).parent.parent / "build/lib/libbillfish.so")
    parser.add_argument("--n", type=int, default=4096)
    parser.add_argument("--k", type=int, default=4096)
    parser.add_argument("--tokens", type=int, default=4096)
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    parser.add_argument("--steps", action="store_true", help="how long each step takes")
    parser.add_argument("--threads", type=int, default=0, help="0: one a core")
    parser.add_argument("--repeat", type=int, default=3)
    given = parser.parse_args()
    library = ctypes.CDLL(str(given.shared_library))
    library.billfish_last_error.restype = ctypes.c_char_p
    n, k, tokens = given.n, given.k, given.tokens
    kind, index = (0, 0) if given.device == "cpu" else (1, int(given.device.partition(":")[2] or 0))
    steps = Steps(library, given.steps)

    def check(status):
        if status:
            raise SystemExit(library.billfish_last_error().decode())

    def best(action):
        runs = []
        for _ in range(given.repeat):
            start = time.perf_counter()
            check(action())
            runs.append((time.perf_counter() - start, steps.take()))
        seconds, parts = min(runs, key=lambda run: run[0])
        if len(runs) > 1 and runs[0][0] > 1.2 * seconds:
            print(f"  (the first call took {runs[0][0]:.3f} s)")
        return seconds, parts

    pool = POINTER()
    check(library.billfish_pool_create(given.threads, ctypes.byref(pool)))
    workers = parallel(pool=pool)
    limit = ceilings()
    check(library.billfish_tools_cpu_ceilings(ctypes.byref(workers), ctypes.byref(limit)))
    print(f"n {n}  k {k}  device {given.device}  threads {library.billfish_pool_threads(pool)}  CPU's f32 ceiling {limit.f32:.0f} GFLOP/s")
    began = time.perf_counter()
    check(library.billfish_quantize_device(kind, index))
    if kind:
        print(f"the device's libraries took {time.perf_counter() - began:.3f} s to start")

    halves, weights = random_halves(n * k), (ctypes.c_float * (n * k))()
    library.billfish_tools_to_f32(halves, 1, weights, I64(n * k))
    x, h, count = random_halves(tokens * k), (ctypes.c_float * (k * k))(), I64(0)

    def moments():
        count.value = 0
        return library.billfish_hessian_add_on(
            kind, index, x, 1, I64(tokens), I64(k), I64(0), h, ctypes.byref(count), ctypes.byref(workers)
        )

    seconds, _ = best(moments)
    rate = tokens * k * (k + 1) / seconds * 1e-9  # a symmetric product: half of 2 T K^2
    part = "" if kind else f", {100 * rate / limit.f32:.0f} % of the ceiling"
    print(f"second moments of {tokens} tokens  {seconds:.3f} s  {rate:.0f} GFLOP/s{part}")

    codes, scales = (ctypes.c_uint8 * (n * k))(), (ctypes.c_uint16 * (n * k // 128 + n))()
    known = samples(hessian=ctypes.cast(h, POINTER), count=count)
    for name, method, order, clip, with_samples in (
        ("round to nearest", 0, 0, 0, False),
        ("round to nearest, clip", 0, 0, 1, False),
        ("round to nearest, clip, samples", 0, 0, 1, True),
        ("gptq", 1, 0, 0, True),
        ("gptq, act order static", 1, 1, 0, True),
        ("gptq, act order static, clip", 1, 1, 1, True),
    ):
        chosen = options(
            method=method, group=128, scale_type=1, act_order=order, clip=clip, parallel=ctypes.cast(ctypes.pointer(workers), POINTER)
        )
        chosen.device_kind, chosen.device_index = kind, index
        out = quantized(codes=ctypes.cast(codes, POINTER), scales=ctypes.cast(scales, POINTER))
        inputs = ctypes.byref(known) if with_samples else None
        seconds, parts = best(
            lambda: library.billfish_quantize_matrix(
                ctypes.byref(chosen), weights, I64(n), I64(k), I64(0), inputs, ctypes.byref(out)  # noqa: B023
            )
        )
        print(f"{name:32} {seconds:6.3f} s   weights off by {out.weight_error:.4f}, outputs by {out.output_error:.4f}")
        for step, taken in parts.items():
            print(f"    {step:36} {1000 * taken:8.1f} ms")
    library.billfish_pool_destroy(pool)


if __name__ == "__main__":
    main()
