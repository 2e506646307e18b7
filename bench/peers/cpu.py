#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Times billfish and its CPU peers (torch, ONNX Runtime, OpenVINO) interleaved in one run, so that every ratio is reproducible.

usage: cpu.py --out DIR [--library build/lib/libbillfish.so] [--shapes FILE] [--m 1,2,4,...] [--threads T] [--rounds 3] [--only WORD,...]
              [--shapes-a-call N]

The same command goes on where the last one stopped: what is kept are cells, all rounds of one shape and one M (--shapes-a-call bounds how
many shapes one call takes). On a machine that others use, slots.py takes turns with them.

The first call makes an environment (.venv-peers beside the repository's other files) with the pinned wheels of requirements-cpu.txt.
Every peer is a process of its own (cpu_worker.py) that holds enough distinct copies of the weights to defeat the caches; this program
asks them in turn, several rounds over, so that all of them meet the same noise. Outputs are compared with a product in float64 first.
"""
import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import time

from slots import Busy, Slots

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
ENVIRONMENT = os.path.join(ROOT, ".venv-peers")

# name, activations ("float": as given or rounded to bf16; "int8": quantised per row), what cpu_worker.py calls it
PEERS = [
    ("billfish full", "float", ["billfish", "full"]),
    ("billfish bf16", "float", ["billfish", "bf16"]),
    ("billfish int8", "int8", ["billfish", "int8"]),
    ("torch dense f32", "float", ["torch", "dense_f32"]),
    ("torch dense bf16", "float", ["torch", "dense_bf16"]),
    ("torch int4pack bf16", "float", ["torch", "int4pack"]),
    ("onnxruntime acc0", "float", ["onnxruntime", "0"]),
    ("onnxruntime acc4", "int8", ["onnxruntime", "4"]),
    ("openvino f32", "float", ["openvino", "f32", "0"]),
    ("openvino bf16", "float", ["openvino", "bf16", "0"]),
    ("openvino int8", "int8", ["openvino", "f32", "128"]),
]
TOUCH = 165e6        # bytes of packed weights a round goes through: five times the largest cache that we met
PAUSE = 0.06         # seconds between two peers: thread pools spin for a while after their last call
SMALLEST_BUDGET = 0.12
MOST_OTHERS = 0.1    # processors that others may keep busy during a round; else it is taken again
ATTEMPTS, REST = 20, 10.0


def make_environment():
    python = os.path.join(ENVIRONMENT, "bin", "python")
    wanted = os.path.join(HERE, "requirements-cpu.txt")
    stamp = os.path.join(ENVIRONMENT, "requirements.txt")
    with open(wanted) as file:
        text = file.read()
    if os.path.exists(stamp) and open(stamp).read() == text:
        return python
    print(f"making {ENVIRONMENT} (a few minutes, a few GB)", file=sys.stderr)
    subprocess.run([sys.executable, "-m", "venv", ENVIRONMENT], check=True)
    subprocess.run([python, "-m", "pip", "install", "-q", "-r", wanted], check=True)
    with open(stamp, "w") as file:
        file.write(text)
    return python


class Worker:
    def __init__(self, name, activations, arguments, python, library, log):
        self.name, self.activations, self.dead, self.why = name, activations, False, ""
        self.process = subprocess.Popen([python, "-u", os.path.join(HERE, "cpu_worker.py"), library, *arguments], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=log, text=True)

    def ask(self, **request):
        if self.dead:
            return {"error": self.why}
        try:
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
            if not line:
                raise EOFError(f"the worker ended with {self.process.wait()}")
            return json.loads(line)
        except (OSError, EOFError, ValueError) as error:
            self.dead, self.why = True, str(error)
            return {"error": self.why}

    def end(self):
        self.process.stdin.close()
        try:
            self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()


def read_shapes(path):
    shapes = []
    with open(path) as file:
        for line in file:
            words = line.split("#")[0].split()
            if words:
                shapes.append((int(words[0]), int(words[1])))
    return shapes


def cpu_name():
    with open("/proc/cpuinfo") as file:
        for line in file:
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return "cpu"


def quantile(ordered, q):
    place = q * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])


def row_of(worker, k, n, m, options, us, error, weight_bytes):
    us = sorted(us)
    median = statistics.median(us)
    dense = "dense" in worker.name
    return {"kind": "gemm", "m": m, "n": n, "k": k, "type": "" if dense else "u4b8", "group": 0 if dense else 128,
            "act": worker.activations, "precision": worker.name.split()[-1], "implementation": worker.name, "threads": options.threads,
            "us_median": median, "us_min": us[0], "us_max": us[-1], "us_p10": quantile(us, 0.1), "us_p90": quantile(us, 0.9),
            "samples": len(us), "gbps": weight_bytes / median * 1e-3, "gflops": 2e-3 * m * n * k / median, "relative_error": error,
            "weight_bytes": weight_bytes}


def far_behind(rows, k, n, times):
    """implementation -> values of M running, up to the last one measured, at which it took more than `times` the fastest one's time."""
    out = {}
    here = [r for r in rows if (r["k"], r["n"]) == (k, n)]
    for m in dict.fromkeys(r["m"] for r in here):
        row = [r for r in here if r["m"] == m]
        fastest = min(r["us_median"] for r in row)
        for r in row:
            name = r["implementation"]
            slow = r["us_median"] > times * fastest and not name.startswith(("billfish", "torch dense"))
            out[name] = out.get(name, 0) + 1 if slow else 0
    return out


def interleaved(rows):
    """Whether, in every cell, each round of each peer ended before any peer's next one began: all of them met the same noise."""
    for cell in {(r["k"], r["n"], r["m"]) for r in rows}:
        turns = [r["rounds"] for r in rows if (r["k"], r["n"], r["m"]) == cell]
        if len(set(map(len, turns))) != 1:
            return False
        for before, after in zip(list(zip(*turns)), list(zip(*turns))[1:]):
            if max(end for _, end, _ in before) > min(begin for begin, _, _ in after):
                return False
    return True


def geomean(values):
    return math.exp(sum(map(math.log, values)) / len(values))


def summary(rows):
    """Geometric mean over the shapes that all have; times in us, and how many times billfish's time of the same kind of activations."""
    names = list(dict.fromkeys(r["implementation"] for r in rows))
    lines = ["| M | " + " | ".join(names) + " |", "|---|" + "---|" * len(names)]
    for m in sorted({r["m"] for r in rows}):
        cells = []
        for name in names:
            mine = {(r["k"], r["n"]): r for r in rows if r["m"] == m and r["implementation"] == name}
            if not mine:
                cells.append("-")
                continue
            kind = "billfish int8" if next(iter(mine.values()))["act"] == "int8" else "billfish bf16"
            ours = {(r["k"], r["n"]): r for r in rows if r["m"] == m and r["implementation"] == kind}
            both = [s for s in mine if s in ours]
            ratio = geomean([mine[s]["us_median"] / ours[s]["us_median"] for s in both]) if both else None
            cells.append(f"{geomean([r['us_median'] for r in mine.values()]):.0f}" + (f" ({ratio:.2f} x)" if ratio else ""))
        lines.append(f"| {m} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def load(workers, run, k, n, threads):
    """Distinct copies of one shape's weights in every worker: [(worker, bytes of one copy)]."""
    loaded = []
    for worker in workers:
        answer = worker.ask(do="load", k=k, n=n, copies=math.ceil(TOUCH / (k * n / 2)), threads=threads)
        if "error" in answer:
            run["failures"].append({"implementation": worker.name, "k": k, "n": n, "why": answer["error"]})
            run["valid"] = run["valid"] and not worker.name.startswith("billfish")
            print(f"{worker.name}: {answer['error']}", file=sys.stderr)
            continue
        run["versions"][worker.name] = answer["version"]
        loaded.append((worker, answer["bytes"]))
    return loaded


def time_round(asked, m, errors, check):
    """implementation -> (us of its products, begin, end) of one turn of all."""
    out = {}
    for worker, _ in asked:
        time.sleep(PAUSE)
        begin = time.monotonic()
        answer = worker.ask(do="time", m=m, seconds=SMALLEST_BUDGET, check=check)
        if "error" in answer:
            errors[worker.name] = answer["error"]
            continue
        out[worker.name] = (answer["us"], round(begin, 3), round(time.monotonic(), 3))
        errors.setdefault(worker.name, answer.get("relative_error"))
    return out


def time_cell(loaded, run, slots, k, n, m, options):
    """All rounds of one shape at one M, into run's rows."""
    times, errors, rounds = {}, {}, {}
    slow = far_behind(run["rows"], k, n, options.give_up)
    asked = [(worker, weight_bytes) for worker, weight_bytes in loaded if slow.get(worker.name, 0) < 2]
    for turn in range(options.rounds):
        for attempt in range(ATTEMPTS):
            slots.take()
            busy = Busy([worker.process.pid for worker, _ in asked])
            this = time_round(asked, m, errors, check=turn == 0)
            others = busy.others()
            if others <= MOST_OTHERS or attempt + 1 == ATTEMPTS:
                break
            slots.leave()
            time.sleep(REST)
        for name, (us, begin, end) in this.items():
            rounds.setdefault(name, []).append((begin, end, others))
            times.setdefault(name, []).extend(us)
    here = []
    for worker, weight_bytes in asked:
        if worker.name not in times:
            run["valid"] = run["valid"] and not worker.name.startswith("billfish")
            run["failures"].append({"implementation": worker.name, "k": k, "n": n, "m": m, "why": errors.get(worker.name, "?")})
            continue
        row = row_of(worker, k, n, m, options, times[worker.name], errors[worker.name], weight_bytes)
        row["rounds"] = rounds[worker.name]  # begin and end of each, on one clock, and how many processors others kept busy meanwhile
        # Rounding activations to int8 costs about 7e-3; anything an order above is another product.
        if not isinstance(row["relative_error"], float) or not row["relative_error"] < 0.03:
            run["valid"] = False
        here.append(row)
    run["rows"] += here
    for name, count in far_behind(run["rows"], k, n, options.give_up).items():
        if count == 2 and slow.get(name, 0) < 2:
            run["failures"].append({"implementation": name, "k": k, "n": n, "m": m,
                                    "why": f"not timed above this m: twice more than {options.give_up} times the fastest"})
    run["cells"].append([k, n, m])
    print(f"{k} x {n} M={m}: " + ", ".join(f"{r['implementation']} {r['us_median']:.0f}" for r in here), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", required=True)
    parser.add_argument("--library", dest="shared_library", default=os.path.join(ROOT, "build", "lib", "libbillfish.so"))
    parser.add_argument("--shapes", default=os.path.join(ROOT, "bench", "shapes", "cpu.txt"))
    parser.add_argument("--m", default="1,2,4,8,16,32,64,128,512")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help="words; a peer is timed if its name holds one of them")
    parser.add_argument("--shapes-a-call", type=int, default=1000)
    parser.add_argument("--hold", type=float, default=60, help="seconds after which a timing slot ends (see slots.py)")
    parser.add_argument("--rest", type=float, default=60, help="seconds between two slots")
    parser.add_argument("--give-up", type=float, default=6.0,
                        help="a peer of quantised weights that took this many times the fastest one's time at two values of M running is "
                             "not timed above them")
    options = parser.parse_args()
    if not os.path.exists(options.shared_library):
        print(f"cpu.py: {options.shared_library} is not there: build first (./dev build) or give --library", file=sys.stderr)
        return 3
    python = make_environment()
    os.makedirs(options.out, exist_ok=True)
    words = [w for w in options.only.split(",") if w]
    results = os.path.join(options.out, "results.json")
    run = {"schema": 1, "device": cpu_name(), "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
           "command": "bench/peers/cpu.py " + " ".join(sys.argv[1:]), "valid": True, "versions": {}, "failures": [],
           "rows": [], "cells": []}
    if os.path.exists(results):
        with open(results) as file:
            before = json.load(file)
        if before["command"] != run["command"] or before["device"] != run["device"]:
            print(f"cpu.py: {results} is of another command ({before['command']}): name another --out", file=sys.stderr)
            return 2
        run = before
    sizes = [int(x) for x in options.m.split(",")]
    slots = Slots(options.hold, options.rest)
    log = open(os.path.join(options.out, "workers.log"), "a")
    workers = [Worker(name, activations, arguments, python, options.shared_library, log) for name, activations, arguments in PEERS
               if not words or any(w in name for w in words)]
    wanted = [(shape, [m for m in sizes if [*shape, m] not in run["cells"]]) for shape in read_shapes(options.shapes)]
    for (k, n), missing in [one for one in wanted if one[1]][:options.shapes_a_call]:
        slots.share()
        loaded = load(workers, run, k, n, options.threads)
        for m in missing:
            time_cell(loaded, run, slots, k, n, m, options)
            with open(results, "w") as file:
                json.dump(run, file, indent=1)
                file.write("\n")
        slots.leave()
        for worker, _ in loaded:
            worker.ask(do="unload")
    for worker in workers:
        worker.end()
    run["valid"] = run["valid"] and interleaved(run["rows"])
    table = summary(run["rows"])
    with open(os.path.join(options.out, "summary.md"), "w") as file:
        file.write(f"{run['device']}, {run['when']}, {options.threads} threads: us, geometric mean over shapes "
                   f"(in brackets: times billfish's, bf16 or int8 like the peer)\n\n{table}\n")
    print("\n" + table)
    return 0 if run["valid"] else 1


if __name__ == "__main__":
    sys.exit(main())
