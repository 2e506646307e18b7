#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the small GPU tests (*Small*) under each tool of compute-sanitizer and writes tests/cuda/sanitize_record.json.

Finds compute-sanitizer in $COMPUTE_SANITIZER, on the PATH, or in /usr/local/cuda/bin. Called by `./dev gpu sanitize`.
"""

import argparse
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import digest
import machine

TOOLS = ("memcheck", "racecheck", "initcheck", "synccheck")
KEPT_SECONDS = 10  # for every tool that is still to come


def find_sanitizer():
    for place in (os.environ.get("COMPUTE_SANITIZER"), shutil.which("compute-sanitizer"), "/usr/local/cuda/bin/compute-sanitizer"):
        if place and os.access(place, os.X_OK):
            return place
    return None


def run_tool(sanitizer, tool, program, gtest_filter, seconds, folder):
    report = pathlib.Path(folder, f"{program.name}-{tool}.json")
    command = [
        sanitizer,
        "--tool",
        tool,
        "--error-exitcode",
        "99",
        str(program),
        f"--gtest_filter={gtest_filter}",
        f"--gtest_output=json:{report}",
        "--gtest_brief=1",
    ]
    began = time.monotonic()
    # A session of its own: the sanitizer starts the program, and both must go when time is up, or the program keeps the GPU.
    tool_process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", start_new_session=True
    )
    try:
        output, _ = tool_process.communicate(timeout=seconds)
        code = tool_process.returncode
    except subprocess.TimeoutExpired:
        os.killpg(tool_process.pid, signal.SIGKILL)
        output, code = tool_process.communicate()[0], -1
    summary = re.findall(r"(?:ERROR|RACECHECK) SUMMARY: (\d+)", output)
    cases = machine.gtest_cases(report) if report.exists() else []
    failed = sum(result != "passed" for _, result, _ in cases)
    clean = code == 0 and cases and not failed and summary and all(int(count) == 0 for count in summary)
    if not clean:
        print("\n".join(output.splitlines()[-60:]))
    return {
        "tool": tool,
        "program": program.name,
        "tests": len(cases),
        "errors": sum(map(int, summary)) if summary else None,
        "result": "passed" if clean else "stopped" if code == -1 else "failed",
        "ms": round((time.monotonic() - began) * 1000),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", default="build")
    parser.add_argument("--minutes", type=float, default=8)
    parser.add_argument("--filter", default="*Small*")
    parser.add_argument("--tools", default=",".join(TOOLS))
    parser.add_argument("--out", default=str(machine.ROOT / digest.SANITIZE_RECORD))
    options = parser.parse_args()

    here, sanitizer, programs = machine.gpu(), find_sanitizer(), machine.test_programs(options.build)
    if here is None or sanitizer is None or not programs:
        missing = (
            "a GPU"
            if here is None
            else (
                "compute-sanitizer (set COMPUTE_SANITIZER to its path)"
                if sanitizer is None
                else f"a cuda*_test program in {options.build}/bin (./dev build --cuda)"
            )
        )
        print(f"gpu sanitize: needs {missing}", file=sys.stderr)
        return 5 if here is None else 2
    deadline = time.monotonic() + 60 * options.minutes
    runs = []
    with tempfile.TemporaryDirectory() as folder:
        work = [(tool, program) for tool in options.tools.split(",") for program in programs]
        for index, (tool, program) in enumerate(work):
            others = KEPT_SECONDS * (len(work) - index - 1)  # racecheck takes ten times as long as the rest, which must have their turn
            seconds = max(1.0, deadline - time.monotonic() - others)
            runs.append(run_tool(sanitizer, tool, program, options.filter, seconds, folder))
            print("{tool} {program}: {result}, {tests} tests, {errors} errors, {ms} ms".format(**runs[-1]), flush=True)
    passed = sum(run["result"] == "passed" for run in runs)
    machine.write_json(
        options.out,
        {
            "device": here["device"],
            "when": machine.now(),
            "driver": here["driver"],
            "cuda": here["cuda"],
            "filter": options.filter,
            "passed": passed,
            "failed": len(runs) - passed,
            "runs": runs,
            "digest": digest.digest(machine.ROOT),
        },
    )
    print(f"wrote {options.out}: {passed} passed, {len(runs) - passed} failed")
    return 0 if passed == len(runs) else 1


if __name__ == "__main__":
    sys.exit(main())
