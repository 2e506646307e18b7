#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Rule: libbillfish.so stays small: under 3.6 MB without CUDA, under 9 MB with it.

sizes.py BUILD cpu|cuda
"""

import pathlib
import sys

import rules

BUDGET = {"cpu": 3_600_000, "cuda": 9_000_000}  # bytes


def check(library, kind):
    size = library.stat().st_size
    return ([] if size < BUDGET[kind] else [f"{library.name} has {size} bytes; the budget with {kind} is {BUDGET[kind]}"]), size


if __name__ == "__main__":
    rules.report("sizes", *check(pathlib.Path(sys.argv[1], "lib/libbillfish.so"), sys.argv[2]))
