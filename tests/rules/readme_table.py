#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Rule: README's table of what is supported is what `billfish explain` says, for every weight type, activation type and backend.

  readme_table.py BILLFISH [--write]

Asks at several groups and sizes; a cell lists the activation types that run at all of them. Planning is a pure function, so a build
without CUDA answers for GPUs too. --write puts the table into README.md.
"""

import concurrent.futures
import json
import os
import re
import subprocess
import sys

import rules

TYPES = {
    "u4b8": "4-bit, zero point 8 (GPTQ symmetric)",
    "u4": "4-bit with zero points (AWQ, GPTQ asymmetric)",
    "u8b128": "8-bit, zero point 128",
    "u8": "8-bit with zero points",
}
# Column -> (device to ask about, implementation that must be able to).
BACKENDS = {"CPU": ("cpu", "cpu_scalar"), "GPU, sm_80 and later": ("sm_80", "sm80"), "GPU, sm_90": ("sm_90", "sm90")}
ACTIVATIONS = ("f32", "f16", "bf16")
PROBLEMS = (("1", "11008", "2048", "-1"), ("17", "832", "1408", "32"), ("300", "4096", "4096", "128"))
BEGIN, END = "<!-- supported types: kept true by tests/rules/readme_table.py -->", "<!-- end of supported types -->"


def can(tool, weight, activation, device, implementation):
    for m, n, k, group in PROBLEMS:
        command = [tool, "explain", "--m", m, "--n", n, "--k", k, "--group", group, "--type", weight, "--act", activation]
        command += ["--out-type", activation, "--scale-type", "bf16" if activation == "bf16" else "f16", "--device", device, "--json"]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if done.returncode not in (0, 4):
            sys.exit(f"readme_table: {' '.join(command)} ended with {done.returncode}: {done.stderr}")
        candidates = {candidate["name"]: candidate["can"] for candidate in json.loads(done.stdout)["candidates"]}
        if not candidates[implementation]:
            return False
    return True


def table(answer):
    """The table as lines, from answer(weight, activation, device, implementation)."""
    lines = ["| weights | " + " | ".join(BACKENDS) + " |", "|---" * (len(BACKENDS) + 1) + "|"]
    for weight, meaning in TYPES.items():
        cells = []
        for backend in BACKENDS:
            able = [activation for activation in ACTIVATIONS if answer(weight, activation, *BACKENDS[backend])]
            cells.append(", ".join(able) or "no")
        lines.append(f"| `{weight}` {meaning} | " + " | ".join(cells) + " |")
    return lines


def compare(text, expected):
    found = re.search(re.escape(BEGIN) + r"\n(.*?)\n?" + re.escape(END), text, re.DOTALL)
    if not found:
        return [f"README.md has no table between '{BEGIN}' and '{END}'"]
    shown = found.group(1).split("\n")
    return [f"README.md says\n  {a}\nbut explain says\n  {b}" for a, b in zip(shown, expected) if a != b] + (
        [] if len(shown) == len(expected) else [f"README.md's table has {len(shown)} lines; {len(expected)} are expected"]
    )


def main(tool, write):
    questions = [(w, a, *BACKENDS[b]) for w in TYPES for a in ACTIVATIONS for b in BACKENDS]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        answers = dict(zip(questions, pool.map(lambda question: can(tool, *question), questions)))
    expected = table(lambda *question: answers[question])
    path = rules.ROOT / "README.md"
    text = path.read_text(encoding="ascii")
    if write:
        block = "\n".join([BEGIN, *expected, END])
        path.write_text(re.sub(re.escape(BEGIN) + r".*?" + re.escape(END), lambda _: block, text, flags=re.DOTALL), encoding="ascii")
        return
    rules.report("readme_table", compare(text, expected), len(answers))


if __name__ == "__main__":
    main(sys.argv[1], "--write" in sys.argv[2:])
