#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Rule: sources are ASCII, carry an SPDX line, are at most 600 lines of at most 140 columns, and hold no leftovers and no private paths."""

import re
import sys

import rules

MAX_LINES = 600
MAX_COLUMNS = 140
TEXT_SUFFIXES = rules.CODE_SUFFIXES | {".py", ".pyi", ".rs", ".toml", ".sh", ".cmake", ".md", ".txt", ".in"}
TEXT_NAMES = {"CMakeLists.txt", "dev", "run", ".clang-format", ".clang-tidy"}
NEEDS_SPDX = rules.CODE_SUFFIXES | {".py", ".pyi", ".rs", ".toml", ".sh", ".cmake"}
DATA_FOLDERS = ("tests/corpus", "bench/results", "bench/peers/results")
# Written in two parts, so that this file does not find itself.
LEFTOVERS = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X)\b")
PRIVATE_PATHS = re.compile(r"(?<![\w.-])/(work|home|root|Users)/\w")


def check_file(name, data):
    """Findings for one file, its path relative to the root."""
    findings = []
    try:
        text = data.decode("ascii")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        return [f"{name}:{line}: byte {data[error.start]:#x} is not ASCII"]
    lines = text.split("\n")
    suffix = "." + name.rsplit(".", 1)[-1] if "." in name.rsplit("/", 1)[-1] else ""
    base = name.rsplit("/", 1)[-1]
    if (suffix in NEEDS_SPDX or base in TEXT_NAMES) and not any("SPDX-License-Identifier: Apache-2.0" in line for line in lines[:3]):
        findings.append(f"{name}:1: no SPDX-License-Identifier: Apache-2.0 in the first lines")
    if suffix in rules.CODE_SUFFIXES | {".py", ".pyi", ".rs"}:
        if len(lines) > MAX_LINES + 1:
            findings.append(f"{name}: {len(lines) - 1} lines; at most {MAX_LINES}")
        long = [i for i, line in enumerate(lines, 1) if len(line) > MAX_COLUMNS]
        findings += [f"{name}:{i}: {len(lines[i - 1])} columns; at most {MAX_COLUMNS}" for i in long]
    for i, line in enumerate(lines, 1):
        if LEFTOVERS.search(line):
            findings.append(f"{name}:{i}: a leftover: say it in an issue or an ADR")
        if PRIVATE_PATHS.search(line):
            findings.append(f"{name}:{i}: a path of somebody's machine")
        if line.rstrip("\r") != line or (line != line.rstrip() and suffix in rules.CODE_SUFFIXES):
            findings.append(f"{name}:{i}: ends with a space or a carriage return")
    return findings


def check(root):
    findings, checked = [], 0
    for path in rules.files(root):
        name = path.relative_to(root).as_posix()
        if name.startswith(DATA_FOLDERS) or not (path.suffix in TEXT_SUFFIXES or path.name in TEXT_NAMES):
            continue
        checked += 1
        findings += check_file(name, path.read_bytes())
    return findings, checked


if __name__ == "__main__":
    rules.report("sources", *check(sys.argv[1] if len(sys.argv) > 1 else rules.ROOT))
