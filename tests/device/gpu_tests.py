#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the built GPU tests and writes tests/cuda/record.json: every test with its result, the device, and the digest of the sources.

Some run a second time on code that the driver compiles from PTX, which is what a device newer than this library gets: their names in the
record begin with "from PTX: ". Those of billfish.torch ("torch: ") run where python3 has torch and the extension was carried along
(python/tests/gpu.py), those of the Rust crate ("rust: ") where their program was (rust/gpu.py). Needs python3, the built programs and a
GPU; nothing else. Called by `./dev gpu tests`.
"""

import argparse
import importlib.util
import os
import pathlib
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "python/tests"))
import digest
import gpu as torch_tests
import machine

rust_spec = importlib.util.spec_from_file_location("rust_gpu", machine.ROOT / "rust/gpu.py")  # there are two gpu.py
rust_tests = importlib.util.module_from_spec(rust_spec)
rust_spec.loader.exec_module(rust_tests)

FROM_PTX = "SmallGrid.*:SmallRepack.*:Cuda/Family.Exact*/sm80"


def run_program(program, arguments, seconds, folder, environment=None):
    """[(name, result, ms)]; a program that dies or is stopped counts as one failed test of that name."""
    report = pathlib.Path(folder, program.name + ".json")
    report.unlink(missing_ok=True)
    began = time.monotonic()
    command = [str(program), f"--gtest_output=json:{report}", "--gtest_brief=1", *arguments]
    try:
        code = subprocess.run(command, timeout=seconds, env={**os.environ, **(environment or {})}).returncode
        end = f"exit status {code}"
    except subprocess.TimeoutExpired:
        code, end = 1, f"stopped after {seconds:.0f} s"
    cases = machine.gtest_cases(report) if report.exists() else []
    if not cases or (code != 0 and all(result != "failed" for _, result, _ in cases)):
        cases.append((f"{program.name} ({end})", "failed", round((time.monotonic() - began) * 1000)))
    return cases


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", default="build")
    parser.add_argument("--minutes", type=float, default=8)
    parser.add_argument("--filter", help="GoogleTest filter; then no record is written")
    parser.add_argument("--out", default=str(machine.ROOT / digest.RECORD), help="where the record goes")
    options = parser.parse_args()

    here = machine.gpu()
    if here is None:
        print("gpu tests: no GPU here (libcuda.so.1 finds no device)", file=sys.stderr)
        return 5
    programs = machine.test_programs(options.build)
    if not programs:
        print(f"gpu tests: no cuda*_test program in {options.build}/bin: ./dev build --cuda", file=sys.stderr)
        return 2
    now = digest.digest(machine.ROOT)
    stale = []
    for program in programs:
        built = pathlib.Path(str(program) + ".digest")
        if not built.exists() or built.read_text(encoding="ascii").strip() != now:
            stale.append(program.name)

    deadline = time.monotonic() + 60 * options.minutes
    arguments = [f"--gtest_filter={options.filter}"] if options.filter else []
    cases = []
    with tempfile.TemporaryDirectory() as folder:
        for program in programs:
            cases += run_program(program, arguments, max(1.0, deadline - time.monotonic()), folder)
            if options.filter:
                continue
            again = [f"--gtest_filter={FROM_PTX}"]
            from_ptx = run_program(program, again, max(1.0, deadline - time.monotonic()), folder, {"CUDA_FORCE_PTX_JIT": "1"})
            cases += [(f"from PTX: {name}", result, ms) for name, result, ms in from_ptx]
        if not options.filter:
            cases += rust_tests.cases(options.build, max(1.0, deadline - time.monotonic())) or []
            cases += torch_tests.cases(options.build, max(1.0, deadline - time.monotonic()), folder) or []
    passed = sum(result == "passed" for _, result, _ in cases)
    for name, result, _ in cases:
        if result != "passed":
            print(f"{result}: {name}")
    print(f"{here['device']}, driver {here['driver']}: {passed} passed, {len(cases) - passed} failed")
    if options.filter:
        print("no record written: a filter was given")
    elif stale:
        print(f"no record written: {', '.join(stale)} was built from other sources than these (compare the .digest beside it): rebuild")
        return 1
    else:
        machine.write_json(
            options.out,
            {
                "device": here["device"],
                "when": machine.now(),
                "driver": here["driver"],
                "cuda": here["cuda"],
                "passed": passed,
                "failed": len(cases) - passed,
                "tests": [{"name": name, "result": result, "ms": ms} for name, result, ms in cases],
                "digest": now,
                "files": digest.file_digests(machine.ROOT),
            },
        )
        print(f"wrote {options.out}")
    return 0 if passed == len(cases) else 1


if __name__ == "__main__":
    sys.exit(main())
