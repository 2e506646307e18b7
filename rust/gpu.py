#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The Rust crate's GPU tests on a machine with a GPU, where nothing can be compiled.

  gpu.py build BUILD    here: BUILD/bin/rust_gpu_test, linked against BUILD/lib/libbillfish.so; rust/test.py does it too
  gpu.py run BUILD      there: that program, on that library (built with CUDA)

`./dev gpu tests` calls cases() and enters its results in the record, where BUILD/bin/rust_gpu_test was carried along.
"""

import ctypes
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
PROGRAM = "bin/rust_gpu_test"


def build(folder):
    """The test program of rust/billfish/tests/gpu.rs."""
    environment = {key: value for key, value in os.environ.items() if key != "RUSTFLAGS"}
    environment |= {"BILLFISH_LIB_DIR": str(folder / "lib"), "CARGO_TARGET_DIR": str(folder / "rust")}
    command = ["cargo", "test", "--offline", "--no-run", "--features", "cuda", "--package", "billfish", "--test", "gpu"]
    done = subprocess.run([*command, "--message-format=json"], cwd=HERE, env=environment, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"rust gpu tests: {' '.join(command)} ended with {done.returncode}")
    made = [json.loads(line).get("executable") for line in done.stdout.splitlines() if line.startswith("{")]
    made = [path for path in made if path]
    if len(made) != 1:
        sys.exit(f"rust gpu tests: one program was expected, not {made}")
    target = folder / PROGRAM
    shutil.copy(made[0], target)
    return target


def devices(folder):
    """How many the library can use; 0 without CUDA in it, or without a driver."""
    return ctypes.CDLL(str(folder / "lib/libbillfish.so")).billfish_tools_cuda_devices()


def cases(folder, seconds, explain=True):
    """[(name, result, ms)]; None, with a line of why, where the program was not carried along."""
    folder = pathlib.Path(folder).resolve()
    program = folder / PROGRAM
    if not program.exists():
        print(f"rust tests: {program} is not there (rust/gpu.py build makes it): left out")
        return None
    libraries = os.pathsep.join(filter(None, [str(folder / "lib"), os.environ.get("LD_LIBRARY_PATH")]))
    environment = {**os.environ, "BILLFISH_NEEDS_GPU": "1", "LD_LIBRARY_PATH": libraries}
    began = time.monotonic()
    try:
        done = subprocess.run(
            [program, "--test-threads=1"], env=environment, timeout=seconds, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
    except subprocess.TimeoutExpired:
        return [(f"rust: stopped after {seconds:.0f} s", "failed", round(seconds * 1000))]
    found = [
        (f"rust: {name}", "passed" if result == "ok" else "failed", 0)
        for name, result in re.findall(r"^test (\w+) \.\.\. (\w+)", done.stdout, re.MULTILINE)
    ]
    if not found or (done.returncode and all(result == "passed" for _, result, _ in found)):
        found.append((f"rust: the program ended with {done.returncode}", "failed", round((time.monotonic() - began) * 1000)))
    if done.returncode and explain:
        telling = ("no GPU", "assertion", "k=")
        print("\n".join(line for line in done.stdout.splitlines() if "panicked at" in line or line.startswith(telling)))
    return found


def main(arguments):
    if len(arguments) != 2 or arguments[0] not in ("build", "run"):
        sys.exit(__doc__)
    folder = pathlib.Path(arguments[1]).resolve()
    if arguments[0] == "build":
        print(build(folder))
        return 0
    found = cases(folder, 120) or []
    bad = [name for name, result, _ in found if result != "passed"]
    print(f"rust tests: {len(found) - len(bad)} passed, {len(bad)} failed", *bad, sep="\n  ")
    return 0 if found and not bad else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
