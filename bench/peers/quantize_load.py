#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Loads checkpoints that `billfish quantize` wrote with the tools whose formats they are, and compares every weight with billfish's own.

usage: quantize_load.py [--tool build/bin/billfish] [--work DIR] [--environment TOOL=PYTHON ...] [--only FORMAT]

A tiny random Llama and a tiny Qwen2 (biases) are quantised in every format; GPTQModel loads the GPTQ ones and dequantises with its torch
kernel (version 1 with zero points it takes from itself alone, version 2 from everybody), AutoAWQ's packing code unpacks the AWQ ones,
compressed-tensors decompresses its own. Environments are those of quantize.py.
"""
import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile

from quantize import HERE, ROOT, TOOLS, make_environment

# name: who reads it, model, options of `billfish quantize`
CASES = {
    "gptq": ("gptqmodel", "llama", ["--method", "gptq", "--format", "gptq", "--group", "32"]),
    "gptq_channel": ("gptqmodel", "llama", ["--method", "rtn", "--format", "gptq", "--group", "-1", "--clip"]),
    "gptq_v2": ("gptqmodel", "qwen2", ["--method", "gptq", "--format", "gptq_v2", "--group", "32", "--zero-points", "--act-order",
                                       "group"]),
    "gptq_v2_8": ("gptqmodel", "llama", ["--method", "gptq", "--format", "gptq_v2", "--group", "64", "--bits", "8", "--zero-points"]),
    "awq": ("autoawq", "llama", ["--method", "awq", "--format", "awq", "--group", "32"]),
    "awq_clip": ("autoawq", "qwen2", ["--method", "awq", "--format", "awq", "--group", "64", "--clip", "--no-fold"]),
    "compressed": ("llmcompressor", "llama", ["--method", "gptq", "--format", "compressed-tensors", "--group", "32"]),
    "compressed_zeros": ("llmcompressor", "qwen2", ["--method", "rtn", "--format", "compressed-tensors", "--group", "32", "--zero-points",
                                                    "--scale-type", "bf16"]),
    "compressed_8": ("llmcompressor", "llama", ["--method", "gptq", "--format", "compressed-tensors", "--group", "-1", "--bits", "8",
                                                "--act-order", "static"]),
}


def run(*command):
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": os.path.join(ROOT, "tests/fixtures/make")}
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, env=environment)
    if done.returncode:
        sys.exit(f"quantize_load.py: {' '.join(map(str, command))}\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
    return done.stdout


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--tool", default=os.path.join(ROOT, "build", "bin", "billfish"))
    parser.add_argument("--work", help="folder for models and checkpoints (kept; default: a temporary one)")
    parser.add_argument("--environment", action="append", default=[], metavar="TOOL=PYTHON", help=f"tools: {', '.join(TOOLS)}")
    parser.add_argument("--only", default="", help="cases, parted by commas")
    options = parser.parse_args()
    given = dict(one.split("=", 1) for one in options.environment)
    python = {tool: given.get(tool) or make_environment(tool) for tool in TOOLS}
    worker = os.path.join(HERE, "quantize_load_worker.py")
    failed = 0
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.work or scratch
        os.makedirs(folder, exist_ok=True)
        run(python["llmcompressor"], worker, "models", folder)
        for case, (reader, model, how) in CASES.items():
            if options.only and case not in options.only.split(","):
                continue
            out = os.path.join(folder, case)
            for path in (out, out + ".weights"):
                shutil.rmtree(path, ignore_errors=True)
            calibration = [] if "rtn" in how and "--clip" not in how else ["--calibration", os.path.join(folder, model + ".safetensors")]
            run(options.tool, "quantize", os.path.join(folder, model), out, *how, *calibration)
            os.makedirs(out + ".weights")
            for layer in json.loads(run(options.tool, "inspect", out, "--json"))["layers"]:
                run(options.tool, "dequantize", out, layer["name"], "--out", os.path.join(out + ".weights", layer["name"] + ".npy"))
            answer = json.loads(run(python[reader], worker, reader, out).splitlines()[-1])
            good = answer["layers"] == 7 * 2 and answer["worst"] <= answer["allowed"]
            failed += not good
            print(f"{'ok' if good else 'WRONG'}: {case}, read by {reader}: {answer['layers']} layers, largest difference "
                  f"{answer['worst']:.2e} of the largest weight (allowed {answer['allowed']:.1e})", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
