#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Rule: includes follow the arrows between the rooms of docs/architecture.md, and nothing else is reached for."""

import re
import sys

import rules

# Room -> the rooms it may include. A room may always include itself and core.
ARROWS = {
    "core": set(),
    "layout": {"core"},
    "reference": {"layout", "core", "gemm/problem.hpp", "gemm/registry.hpp"},  # it is an implementation: the last of the list
    "formats": {"core", "layout"},
    "pack": {"layout", "core"},
    "cpu": {"layout", "core", "gemm/problem.hpp", "gemm/registry.hpp"},
    "cuda": {
        *("layout", "core", "gemm/problem.hpp", "gemm/registry.hpp"),
        *("quantize/engine.hpp", "quantize/grid_search.hpp"),  # it is an engine of quantising
    },
    "gemm": {"cpu", "cuda", "reference", "layout", "core"},
    "measure": {"core"},
    "quantize": {"core"},
    "measure/cuda": {"cuda", "layout", "core"},  # its CUDA half, files named cuda_*: timing and ceilings of a GPU
    "api": {"gemm", "cpu", "cuda", "pack", "formats", "reference", "measure", "quantize", "layout", "core"},
}
# Libraries of their own over the ABI.
CALLERS = ("src/cuda/shim/",)
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.MULTILINE)
# Third parties, and where alone they may be used. DESIGN: nlohmann-json only inside formats/.
THIRD_PARTIES = {
    "nlohmann/": ("src/formats/", "tools/", "tests/", "fuzz/", "bench/"),
    "CLI/": ("tools/billfish/arguments.cpp",),
    "fmt/": ("tools/", "tests/", "bench/"),
    "gtest/": ("tests/",),
    "gmock/": ("tests/",),
    "benchmark/": ("bench/",),
    "cuda": ("src/cuda/", "src/measure/", "tests/cuda/", "tests/measure/", "bench/"),
    "cutlass/": (),
    "regex": ("tests/",),  # std::regex overflows the stack on hostile input; a test may compare with it
}


def check_file(name, text):
    findings = []
    room = name.split("/")[1] if name.startswith("src/") else None
    own = room
    if name.startswith("src/measure/cuda_"):
        room = "measure/cuda"
    for match in INCLUDE.finditer(text):
        target = match.group(2)
        line = text.count("\n", 0, match.start()) + 1
        for party, places in THIRD_PARTIES.items():
            hit = target == party if party == "regex" else target.startswith(party) and (match.group(1) == "<" or "/" in party)
            if hit and not name.startswith(places or ("-",)):
                findings.append(f"{name}:{line}: {target} may be used in {', '.join(places) or 'nothing'} only")
        if match.group(1) != '"':
            continue
        top = target.split("/")[0]
        if room and top in ARROWS and top != own:
            if top not in ARROWS.get(room, set()) and target not in ARROWS.get(room, set()):
                findings.append(f"{name}:{line}: {room}/ must not include {target}")
        if room and top == "billfish" and room != "api" and not name.startswith(CALLERS):
            findings.append(f"{name}:{line}: only api/ includes the ABI header ({target})")
        if name.startswith("tools/") and (top in ARROWS or target.startswith("../")):
            findings.append(f"{name}:{line}: the tool uses include/ only, not {target}")
        if name.startswith("include/") and top != "billfish":
            findings.append(f"{name}:{line}: a public header must not include {target}")
        if target.startswith("../") and name.startswith(("src/", "include/")):
            findings.append(f"{name}:{line}: include from the root of src, not {target}")
    return findings


def check(root):
    findings, checked = [], 0
    for path in rules.code_files(root):
        name = path.relative_to(root).as_posix()
        checked += 1
        if name.startswith("src/") and name.split("/")[1] not in ARROWS:
            findings.append(f"{name}: {name.split('/')[1]} is no room that the rule knows")
        findings += check_file(name, path.read_text(encoding="utf-8", errors="replace"))
    return findings, checked


if __name__ == "__main__":
    rules.report("arrows", *check(rules.pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else rules.ROOT))
