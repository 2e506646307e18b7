#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Rule: no kernel spills registers or keeps a stack frame, but for those listed with their bytes and reason in spills.txt.

spills.py BUILD    reads what ptxas said when the objects were compiled (cmake/ptxas_log.sh keeps it as <object>.resources)
"""

import pathlib
import re
import subprocess
import sys

import rules

ENTRY = re.compile(r"Compiling entry function '([^']+)' for '([^']+)'")
FRAME = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")


def kernels(text):
    """[(mangled name, architecture, largest of stack, spill stores and spill loads in bytes)] of ptxas's report."""
    found, entry = [], None
    for line in text.splitlines():
        if ENTRY.search(line):
            entry = ENTRY.search(line).groups()
        elif FRAME.search(line) and entry:
            found.append((*entry, max(map(int, FRAME.search(line).groups()))))
            entry = None
    return found


def budgets(text):
    """[(expression on the demangled name, bytes)]; each line: BYTES EXPRESSION -- REASON."""
    found = []
    for line in text.splitlines():
        if line.strip() and not line.startswith("#"):
            match = re.fullmatch(r"(\d+)\s+(\S+)\s+--\s+\S.*", line.strip())
            if not match:
                raise ValueError(f"spills.txt: not 'BYTES EXPRESSION -- REASON': {line}")
            found.append((match.group(2), int(match.group(1))))
    return found


def demangle(names):
    done = subprocess.run(["c++filt"], input="\n".join(names), stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.splitlines()


def check_kernels(found, allowed):
    findings = []
    for (_, architecture, bytes_used), name in zip(found, demangle([kernel[0] for kernel in found])):
        budget = max((size for expression, size in allowed if re.search(expression, name)), default=0)
        if bytes_used > budget:
            findings.append(f"{name} ({architecture}) uses {bytes_used} bytes of local memory; its budget is {budget}")
    return findings


def check(build, allowed):
    found = []
    for path in sorted(build.rglob("*.resources")):
        if "/src/" in path.as_posix():
            found += kernels(path.read_text(encoding="utf-8", errors="replace"))
    return check_kernels(found, allowed), len(found)


if __name__ == "__main__":
    listed = budgets(pathlib.Path(__file__).with_name("spills.txt").read_text(encoding="ascii"))
    rules.report("spills", *check(pathlib.Path(sys.argv[1]), listed))
