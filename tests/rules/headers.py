#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Rule: every header compiles alone: C++20 for .hpp, C99 and C++20 for the C ones, nvcc for .cuh where it is given.

headers.py CXX CC [NVCC]
"""

import concurrent.futures
import os
import subprocess
import sys
import tempfile

import rules

INCLUDES = [f"-I{rules.ROOT}/src", f"-I{rules.ROOT}/include"]
WARNINGS = ["-Wall", "-Wextra", "-Werror", "-Wno-psabi"]
# A header with intrinsics belongs to one translation unit's instruction set.
INSTRUCTION_SETS = {
    "avx512": ["-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512vbmi", "-mavx512vnni", "-mavx512bf16", "-mfma"],
    "amx": ["-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512vbmi", "-mavx512vnni", "-mavx512bf16", "-mfma"],
    "avx2": ["-mavx2", "-mfma", "-mf16c"],
}


def commands(path, cxx, cc, nvcc):
    """What must succeed for this header, as argument lists."""
    include = ["-include", str(path)]
    if path.suffix == ".cuh":
        wgmma = ["-gencode=arch=compute_90a,code=sm_90a", "-std=c++20", "--expt-relaxed-constexpr", "-x", "cu", "-c", "-o", os.devnull]
        return [[nvcc, *INCLUDES, *wgmma, *include]] if nvcc else []
    flags = next((flags for name, flags in INSTRUCTION_SETS.items() if name in path.name), [])
    plain = ["-fsyntax-only", *INCLUDES, *WARNINGS, *flags, *include]
    found = [[cxx, "-std=c++20", *plain, "-x", "c++"]]
    if path.suffix == ".h":
        found += [[cc, "-std=c99", "-pedantic-errors", *plain, "-x", "c"], [cxx, "-std=c++11", "-pedantic-errors", *plain, "-x", "c++"]]
    return found


def failure(command, empty):
    done = subprocess.run([*command, empty], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return done.stdout if done.returncode else ""


def check(paths, cxx, cc, nvcc):
    findings, checked = [], 0
    with tempfile.TemporaryDirectory() as folder, concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        empty = os.path.join(folder, "empty")
        open(empty, "w").close()
        if nvcc:
            open(empty + ".cu", "w").close()
        jobs = [
            (path, pool.submit(failure, command, empty + ".cu" if path.suffix == ".cuh" else empty))
            for path in paths
            for command in commands(path, cxx, cc, nvcc)
        ]
        for path, job in jobs:
            checked += 1
            if job.result():
                findings.append(f"{path.name} does not compile alone:\n" + "\n".join(job.result().splitlines()[:12]))
    return findings, checked


if __name__ == "__main__":
    compiler_cxx, compiler_cc, compiler_nvcc = (sys.argv[1:] + [None])[:3]
    suffixes = (".cuh",) if compiler_nvcc else (".hpp", ".h")
    headers = [path for path in rules.code_files(rules.ROOT, ("include", "src")) if path.suffix in suffixes]
    rules.report("headers", *check(headers, compiler_cxx, compiler_cc, compiler_nvcc))
