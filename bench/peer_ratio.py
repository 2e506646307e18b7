#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Holds a `billfish bench --device cuda` run against one peer, by ratios to cuBLAS: ours of the run, the peer's of bench/peers/h200.json.

usage: peer_ratio.py RESULTS.json [--peer marlin] [--most-m 16] [--implementation sm80] [--costs OTHER/results.json ...] [--check]

A line for every M, geometric means over the layers that both have: time / cuBLAS of ours with dependent launches and without, and of the
peer. --costs adds what all cells took in other runs (--no-workspace, --batch-invariant), as a ratio to this run, dependent launches.
With --check the exit code is 1 if ours is above the peer's on average over all M, with dependent launches, or a run is not valid.
"""

import argparse
import json
import math
import pathlib
import sys


def load(path):
    return json.loads(pathlib.Path(path).read_text(encoding="utf-8"))


def geomean(values):
    return math.exp(sum(map(math.log, values)) / len(values)) if values else math.nan


def rows_of(run, implementation, most_m):
    """(M, K, N, dependent) -> row, of the products that the peers' figures are of."""
    wanted = {"kind": "gemm", "type": "u4b8", "group": 128, "act": "f16", "implementation": implementation}
    return {
        (row["m"], row["k"], row["n"], bool(row["dependent_launch"])): row
        for row in run["rows"]
        if row["m"] <= most_m and all(row[name] == value for name, value in wanted.items())
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results")
    parser.add_argument("--peer", default="marlin")
    parser.add_argument("--most-m", type=int, default=16)
    parser.add_argument("--implementation", default="sm80")
    parser.add_argument("--costs", nargs="*", default=[])
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()

    run = load(options.results)
    ours = rows_of(run, options.implementation, options.most_m)
    peers = load(pathlib.Path(__file__).resolve().parent / "peers/h200.json")["cells"]
    theirs = {(cell["M"], cell["K"], cell["N"]): cell[f"{options.peer}_over_cublas"] for cell in peers}
    others = [(pathlib.Path(path).parent.name, load(path)) for path in options.costs]
    if not ours:
        print(f"no {options.implementation} row with M <= {options.most_m} in {options.results}", file=sys.stderr)
        return 2

    header = ["M", "layers", "dependent", "isolated", options.peer] + [name for name, _ in others]
    print("| " + " | ".join(header) + " |\n|" + "---|" * len(header))
    every = {True: [], False: [], None: []}
    for m in sorted({key[0] for key in ours}):
        cells = sorted({key[1:3] for key in ours if key[0] == m and theirs.get(key[:3])})
        line = [str(m), str(len(cells))]
        for dependent in (True, False):
            ratios = [1 / row["vs_cublas"] for cell in cells if (row := ours.get((m, *cell, dependent))) and row["vs_cublas"]]
            every[dependent] += ratios
            line.append(f"{geomean(ratios):.3f}")
        ratios = [theirs[(m, *cell)] for cell in cells]
        every[None] += ratios
        line.append(f"{geomean(ratios):.3f}")
        for _, other in others:
            rows = rows_of(other, options.implementation, options.most_m)
            both = [key for key in rows if key in ours and key[0] == m and key[3]]
            line.append(f"{geomean([rows[key]['us_median'] / ours[key]['us_median'] for key in both]):.3f}")
        print("| " + " | ".join(line) + " |")
    mean = {kind: geomean(values) for kind, values in every.items()}
    print(
        f"M <= {options.most_m}: {mean[True]:.3f} of cuBLAS's time with dependent launches, {mean[False]:.3f} without; "
        f"{options.peer} {mean[None]:.3f}. {options.peer} / ours: {mean[None] / mean[True]:.3f} and {mean[None] / mean[False]:.3f}"
    )
    invalid = [name for name, one in [(options.results, run)] + others if not one.get("valid")]
    for name in invalid:
        print(f"not a valid run: {name}")
    return 1 if options.check and (invalid or not mean[True] <= mean[None]) else 0


if __name__ == "__main__":
    sys.exit(main())
