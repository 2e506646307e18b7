#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Turns a results.json of `billfish bench` into the tables of the README: what each regime promises, and what was measured.

usage: table.py RESULTS.json [--peers PEERS.json] [--type u4b8] [--group 128] [--act f16] [--implementation NAME] [--check]

A run on CUDA gives the table of regimes (time over roofline) and every cell that breaks its own rule; a run on a CPU gives per cent of
the ceiling by M, and with --peers (a results.json of bench/peers/cpu.py) how much longer the peers took.
With --check the exit code is 1 if a floor or a rule is missed, or the run is not valid.
"""
import argparse
import json
import math
import signal
import sys

# CUDA: label, M, goal and floor of time over roofline (geometric mean), and the rule for every single cell:
# (against the better of best peer and cuBLAS, or against cuBLAS alone; the most that our time may be of theirs; strictly less?)
REGIMES = [
    ("1-8", (1, 2, 4, 8), 1.30, 1.65, ("peer", 1.00, True)),
    ("16", (16,), 1.35, 1.75, ("peer", 1.00, True)),
    ("32", (32,), 1.40, 1.90, ("peer", 1.00, True)),
    ("64", (64,), 1.30, 1.70, ("peer", 1.00, True)),
    ("128", (128,), 1.10, 1.30, ("peer", 1.00, True)),
    ("256", (256,), 0.98, 1.12, ("peer", 1.00, False)),
    ("512", (512,), 0.92, 1.04, ("peer", 1.02, False)),
    ("1024-8192", (1024, 2048, 4096, 8192), 0.88, 1.02, ("cublas", 1.05, False)),
]

# CPU: per cent of the ceiling, floor and goal, by precision and M.
CPU_GOALS = {
    "bf16": {1: (75, 88), 2: (68, 85), 4: (65, 85), 8: (70, 85), 16: (73, 88), 32: (80, 90), 64: (85, 92), 128: (89, 93), 512: (91, 94)},
    "int8": {1: (85, 93), 2: (75, 88), 4: (72, 88), 8: (70, 85), 16: (72, 85), 32: (74, 85), 64: (74, 85), 128: (74, 85), 512: (70, 85)},
    "full": {1: (75, None), 2: (60, None), 4: (45, None)},
}


def geomean(values):
    values = [v for v in values if v]
    return math.exp(sum(map(math.log, values)) / len(values)) if values else None


def text(value, digits=2):
    return "-" if value is None else f"{value:.{digits}f}"


def markdown(header, rows):
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def wanted(row, options):
    if row["kind"] != "gemm" or row["type"] != options.type or row["group"] != options.group or row["act"] != options.act:
        return False
    return not options.implementation or row["implementation"] == options.implementation


def breaks_rule(row, rule):
    """A sentence, or None. A cell without the figure it is judged by breaks its rule: not measured is not passed."""
    against, most, strictly = rule
    ratio = row.get("vs_best_peer" if against == "peer" else "vs_cublas")  # theirs / ours
    name = row.get("best_peer") or "cublas" if against == "peer" else "cublas"
    if not ratio:
        return f"no {against} figure"
    ours = 1 / ratio
    if ours > most or (strictly and ours >= most):
        return f"{ours:.3f} x {name} (allowed: {'below ' if strictly else ''}{most:.2f})"
    return None


def cuda_tables(run, options):
    rows = [r for r in run["rows"] if wanted(r, options)]
    missed = []
    table, cells = [], []
    for label, ms, goal, floor, rule in REGIMES:
        here = [r for r in rows if r["m"] in ms]
        chained = [r for r in here if r.get("dependent_launch")] or here
        isolated = [r for r in here if not r.get("dependent_launch")]
        ratio = geomean([r["t_over_roofline"] for r in chained])
        broken = [(r, why) for r in chained if (why := breaks_rule(r, rule))]
        cells += broken
        alone = geomean([r.get("vs_best_peer") for r in isolated])
        verdict = "not measured" if ratio is None else "goal" if ratio <= goal else "floor" if ratio <= floor else "MISSED"
        if ratio is None or ratio > floor:
            missed.append(f"M {label}: {text(ratio)} x roofline, floor {floor}")
        if isolated and alone and alone <= 1:
            missed.append(f"M {label}: isolated launches are {1 / alone:.2f} x the best peer's time on average")
        cublas, peer = (geomean([r.get(name) for r in chained]) for name in ("vs_cublas", "vs_best_peer"))
        table.append([label, text(ratio), text(goal), text(floor), verdict, text(cublas), text(peer), text(alone),
                      f"{len(chained) - len(broken)} of {len(chained)}"])
    header = ["M", "time / roofline", "goal", "floor", "reached", "x cuBLAS f16", "x best peer", "x best peer, isolated", "cells in order"]
    out = [markdown(header, table)]
    if cells:
        out.append("\nCells that break the rule of their row:\n")
        out.append(markdown(["M", "K x N", "us", "time / roofline", "why"],
                            [[r["m"], f"{r['k']} x {r['n']}", text(r["us_median"]), text(r["t_over_roofline"]), why] for r, why in cells]))
        missed += [f"{len(cells)} cells break their rule"]
    c = {name: run.get("ceilings", {}).get(name, 0) / 1000 for name in ("read_gbps", "f16_gflops", "used_read_gbps", "used_f16_gflops")}
    out.append(f"\nCeilings of the run: read {c['read_gbps']:.2f} TB/s, f16 {c['f16_gflops']:.0f} TFLOP/s sustained; "
               f"held against {c['used_read_gbps']:.2f} TB/s and {c['used_f16_gflops']:.0f} TFLOP/s.")
    return "\n".join(out), missed


def cpu_peers(path):
    """By precision and M: a cell of the table, and sentences on products that the unquantised ones beat by more than the spread."""
    with open(path) as file:
        rows = json.load(file)["rows"]
    by = {(r["implementation"], r["m"], r["k"], r["n"]): r for r in rows}
    shapes = sorted({(r["k"], r["n"]) for r in rows})
    names = sorted({r["implementation"] for r in rows if not r["implementation"].startswith("billfish")})
    cells, slower = {}, []
    for precision in CPU_GOALS:
        for m in sorted({r["m"] for r in rows}):
            ours = [by.get((f"billfish {precision}", m, k, n)) for k, n in shapes]
            if None in ours:
                continue
            found = []
            for name in names:
                theirs = [by.get((name, m, k, n)) for k, n in shapes]
                if None in theirs or (theirs[0]["act"] == "int8") != (precision == "int8"):
                    continue
                found.append((geomean([t["us_median"] / o["us_median"] for t, o in zip(theirs, ours)]), name))
                if name == {"bf16": "torch dense bf16", "full": "torch dense f32"}.get(precision) and (precision == "bf16" or m >= 8):
                    slower += [f"{precision} M {m}, {o['k']} x {o['n']}: {o['us_median']:.0f} us, {name} {t['us_median']:.0f} us"
                               for t, o in zip(theirs, ours) if o["us_p10"] > t["us_p90"]]
            cells[precision, m] = ", ".join(f"{ratio:.2f} {name}" for ratio, name in sorted(found)[:2])
    return cells, slower


def cpu_tables(run, options):
    cells, slower = cpu_peers(options.peers) if options.peers else ({}, [])
    rows = [r for r in run["rows"] if wanted(r, options)]
    missed, table = [], []
    for precision, goals in CPU_GOALS.items():
        for m in sorted({r["m"] for r in rows if r["precision"] == precision}):
            here = [r for r in rows if r["precision"] == precision and r["m"] == m]
            share = 100 / geomean([r["t_over_roofline"] for r in here])
            floor, goal = goals.get(m, (None, None))
            verdict = "-" if floor is None else "goal" if goal and share >= goal else "floor" if share >= floor else "MISSED"
            if verdict == "MISSED":
                missed.append(f"{precision} M {m}: {share:.0f} % of the ceiling, floor {floor} %")
            table.append([precision, m, len(here), f"{share:.0f} %", text(floor, 0), text(goal, 0), verdict,
                          text(geomean([r.get("vs_baseline") for r in here])), text(geomean([r["us_median"] for r in here]), 0)] +
                         ([cells.get((precision, m), "-")] if options.peers else []))
    out = [markdown(["precision", "M", "shapes", "of ceiling", "floor", "goal", "reached", "x dense", "us (geomean)"] +
                    (["x best two peers"] if options.peers else []), table)]
    missed += slower
    packs = [r for r in run["rows"] if r["kind"] == "pack"]
    if packs:
        out.append(f"\nPacking: {text(geomean([r['gbps'] for r in packs]))} GB/s of checkpoint bytes, {packs[0]['threads']} threads.")
    c = run.get("ceilings", {})
    out.append(f"\nCeilings of the run: read {c.get('read_gbps', 0):.1f} GB/s (each row is held against a read loop of its own), "
               f"f32 {c.get('f32_gflops', 0):.0f}, bf16 {c.get('bf16_gflops', 0):.0f} GFLOP/s, int8 {c.get('int8_gops', 0):.0f} GOP/s.")
    return "\n".join(out), missed


def main():
    parser = argparse.ArgumentParser(description="Tables of a benchmark run.")
    parser.add_argument("results")
    parser.add_argument("--peers", default="", help="CPU: results.json of bench/peers/cpu.py")
    parser.add_argument("--type", default="u4b8")
    parser.add_argument("--group", type=int, default=128)
    parser.add_argument("--act", default="f16")
    parser.add_argument("--implementation", default="")
    parser.add_argument("--check", action="store_true", help="exit code 1 if a floor or a cell's rule is missed")
    options = parser.parse_args()
    try:
        with open(options.results) as file:
            run = json.load(file)
        cuda = any("dependent_launch" in row for row in run["rows"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        print(f"table.py: {options.results}: {error}", file=sys.stderr)
        return 3
    tables, missed = (cuda_tables if cuda else cpu_tables)(run, options)
    print(f"{run['device']}, {run['when']}, `{run['command']}`" + ("" if run["valid"] else " (NOT VALID)") + "\n")
    print(tables)
    for reason in run.get("invalid_because", []):
        print(f"\nNot valid: {reason}")
    if missed:
        print("\nMissed:")
        for line in missed:
            print(f"* {line}")
    return 1 if options.check and (missed or not run["valid"]) else 0


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `| head` is no error
    sys.exit(main())
