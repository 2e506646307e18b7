#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Rule: building again with nothing changed takes less than 5 seconds.

rebuild.py BUILD [TARGET ...]    CPU time of ninja and all that it starts, so that a busy machine does not matter
"""

import resource
import subprocess
import sys

import rules

BUDGET = 5.0  # seconds
TRIES = 3  # somebody may be editing: the first build may have work to do


def cpu_seconds():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def build(folder, targets):
    """(what ninja said, its CPU seconds)"""
    before = cpu_seconds()
    done = subprocess.run(["ninja", "-C", folder, *targets], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return done.stdout, cpu_seconds() - before


def check(runs):
    """Findings of a series of builds: the first that had no work to do counts."""
    for said, seconds in runs:
        if "no work to do" in said:
            return [] if seconds < BUDGET else [f"building again without a change took {seconds:.1f} s; the budget is {BUDGET:.0f}"]
    return ["building again always finds work to do"]


if __name__ == "__main__":
    rules.report("rebuild", check(build(sys.argv[1], sys.argv[2:]) for _ in range(TRIES)), 1)
