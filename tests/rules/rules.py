# SPDX-License-Identifier: Apache-2.0
"""What the rules share: which files there are, and how a rule reports. Every rule is a program that prints its findings, exits 1 if any."""

import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
CODE_SUFFIXES = {".h", ".hpp", ".cuh", ".c", ".cpp", ".cu"}
CODE_FOLDERS = ("include", "src", "tools", "tests", "fuzz", "bench")
SKIPPED = {"__pycache__", ".git", "target", ".mypy_cache"}


def files(root, folders=None):
    """Every file of the tree that people write; build folders, caches and hidden folders are left out."""
    root = pathlib.Path(root)
    tops = (
        [root / folder for folder in folders]
        if folders
        else [
            path
            for path in root.iterdir()
            if not path.name.startswith((".", "build")) or path.name in (".ci", ".clang-format", ".clang-tidy")
        ]
    )
    for top in sorted(tops):
        if top.is_file():
            yield top
        elif top.is_dir():
            yield from (path for path in sorted(top.rglob("*")) if path.is_file() and not SKIPPED & set(path.parts))


def code_files(root, folders=CODE_FOLDERS):
    return (path for path in files(root, folders) if path.suffix in CODE_SUFFIXES)


def report(rule, findings, checked):
    """Prints and exits: 1 with findings, or when there was nothing to check, which means that the rule looked in the wrong place."""
    for finding in findings:
        print(f"{rule}: {finding}")
    if not checked:
        print(f"{rule}: nothing was checked")
    elif not findings:
        print(f"{rule}: {checked} checked, all in order")
    sys.exit(1 if findings or not checked else 0)
