#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every C and C++ source again, with warnings as errors (syntax only); or, with --tidy, the library under clang-tidy.

strict_compile.py BUILD [--tidy]    reads BUILD/compile_commands.json; called by `./dev lint` and `./dev tidy`
"""

import concurrent.futures
import json
import os
import pathlib
import shlex
import subprocess
import sys

import rules


# Rooms that are ordinary C++; kernels are intrinsics and tables, which clang-tidy has little to say about.
TIDY_ROOMS = [("src", room) for room in ("core", "reference", "formats", "pack", "quantize", "gemm", "measure", "api")]


def strict(entry):
    words = shlex.split(entry["command"])
    if "ccache" in words[0]:
        words = words[1:]
    drop = words.index("-o")
    words = [word for word in words[:drop] + words[drop + 2 :] if word != "-c"]
    return [*words, "-fsyntax-only", "-Werror"]


def run(command, folder):
    done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return done.stdout if done.returncode else ""


def main(build, tidy):
    entries = {}
    for entry in json.loads((build / "compile_commands.json").read_text(encoding="utf-8")):
        path = pathlib.Path(entry["file"])
        inside = path.is_relative_to(rules.ROOT) and not path.is_relative_to(build.resolve())
        if path.suffix in (".c", ".cpp") and inside:
            entries[path] = entry
    if tidy:
        wanted = [path for path in entries if path.relative_to(rules.ROOT).parts[:2] in TIDY_ROOMS]
        jobs = [(path, ["clang-tidy", "-p", str(build), "--quiet", str(path)]) for path in wanted]
    else:
        jobs = [(path, strict(entry)) for path, entry in entries.items()]
    findings = []
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        running = [(path, pool.submit(run, command, entries[path]["directory"])) for path, command in jobs]
        for path, job in running:
            if job.result():
                findings.append(path.relative_to(rules.ROOT).as_posix())
                print(f"{findings[-1]}:\n{job.result()}", flush=True)
    rules.report("clang-tidy" if tidy else "warnings", findings, len(jobs))


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]).resolve(), "--tidy" in sys.argv[2:])
