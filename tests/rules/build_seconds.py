#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Rule: the CUDA part compiles in under 8 minutes on two cores, that is, in 960 seconds of processor time over all of its objects.

build_seconds.py BUILD    reads what every object took when it was last compiled (cmake/ptxas_log.sh keeps it as <object>.cpu)

Processor time, because a machine that does other things besides makes the clock on the wall meaningless.
"""

import pathlib
import re
import sys

import rules

BUDGET = 8 * 60 * 2
FROM_A_CACHE = 1.0  # no nvcc is faster


def seconds_of(build):
    """Object -> processor seconds, its own and those of the programs it started."""
    found = {}
    for report in sorted(pathlib.Path(build).rglob("*.o.cpu")):
        compiled = report.with_suffix("")
        if compiled.exists():
            words = re.findall(r"(\d+)m([\d.]+)s", report.read_text(encoding="ascii").splitlines()[1])
            found[compiled] = round(sum(60 * int(minutes) + float(seconds) for minutes, seconds in words), 3)
    return found


def check(seconds):
    total = sum(seconds.values())
    if total <= BUDGET:
        return []
    slowest = sorted(seconds, key=seconds.get, reverse=True)[:5]
    return [
        f"{len(seconds)} CUDA objects took {total:.0f} s of processor time; the budget is {BUDGET}. The slowest: "
        + ", ".join(f"{path.name} {seconds[path]:.0f}" for path in slowest)
    ]


def describe(seconds):
    cached = sum(value < FROM_A_CACHE for value in seconds.values())
    return f"{sum(seconds.values()):.0f} s of processor time for {len(seconds)} objects" + (
        f", of which {cached} of {len(seconds)} came out of a cache" if cached else ""
    )


if __name__ == "__main__":
    measured = seconds_of(sys.argv[1])
    print(describe(measured))
    rules.report("build_seconds", check(measured), len(measured))
