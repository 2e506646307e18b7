#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Rule: README and docs name only files, symbols and commands that exist, and docs/c-api.md lists every function of billfish.h.

What is checked: links; and in `code spans` paths from the root, names that begin with billfish_ or BILLFISH_, names with :: in them,
and `./dev COMMAND`.
"""

import re
import sys

import rules
import symbols

SPAN = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
LINK = re.compile(r"\[[^\]\n]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^ {0,3}```.*?^ {0,3}```", re.MULTILINE | re.DOTALL)
TOP = r"(?:src|include|tests|tools|docs|cmake|bench|fuzz|python|rust)"
FOREIGN = ("std::", "cuda::", "cub::", "cute::", "cutlass::", "nvcuda::", "testing::", "nlohmann::", "thrust::")

# Written by a run on a GPU, or present only while there was none.
PRODUCED = {"tests/cuda/record.json", "tests/cuda/sanitize_record.json", "tests/cuda/pending.txt"}


def without_fences(text):
    return FENCE.sub(lambda match: "\n" * match.group(0).count("\n"), text)


def expand(path):
    """a/{b,c}.d -> a/b.d, a/c.d"""
    match = re.search(r"\{([^{}]*,[^{}]*)\}", path)
    if not match:
        return [path]
    return [done for part in match.group(1).split(",") for done in expand(path[: match.start()] + part + path[match.end() :])]


def path_exists(root, path):
    path = path.rstrip("/").split("#")[0]
    if path in PRODUCED or "<" in path or "..." in path:  # a pattern for a reader, not a file
        return True
    if any(letter in path for letter in "*?["):
        return any(True for _ in root.glob(path))
    return (root / path).exists()


def check_text(root, name, text, words, dev_commands):
    findings = []
    prose = without_fences(text)

    def line(match):
        return prose.count("\n", 0, match.start()) + 1

    for match in LINK.finditer(prose):
        target = match.group(1)
        if re.match(r"[a-z]+:", target) or target.startswith("#"):
            continue
        if not path_exists((root / name).parent, target):
            findings.append(f"{name}:{line(match)}: the link {target} leads nowhere")
    for match in SPAN.finditer(prose):
        span = match.group(1).strip()
        if re.fullmatch(TOP + r"/[\w./*{},<>?-]*(:\d+)?", span):
            for path in expand(re.sub(r":\d+$", "", span)):
                if not path_exists(root, path):
                    findings.append(f"{name}:{line(match)}: {path} does not exist")
            continue
        for symbol in re.findall(r"\b(?:billfish|BILLFISH)_\w+", span):
            if symbol not in words and not symbol.endswith("_"):
                findings.append(f"{name}:{line(match)}: nothing is called {symbol}")
        qualified = re.fullmatch(r"((?:[A-Za-z_]\w*::)+)~?([A-Za-z_]\w*)(?:\([^)]*\))?", span)
        if qualified and not span.startswith(FOREIGN) and qualified.group(2) not in words:
            findings.append(f"{name}:{line(match)}: nothing is called {span}")
        for command in re.findall(r"\./dev ([a-z]+)", span):
            if command not in dev_commands:
                findings.append(f"{name}:{line(match)}: ./dev has no command {command}")
    return findings


def code_words(root):
    words = set()
    callers = (path for path in rules.files(root, ["python", "rust"]) if path.suffix in {".py", ".rs", ".cpp", ".hpp", ".toml"})
    for path in [*rules.code_files(root), *callers]:
        words.update(re.findall(r"[A-Za-z_]\w*", path.read_text(encoding="utf-8", errors="replace")))
    for path in [*root.rglob("CMakeLists.txt"), *(root / "cmake").glob("*")]:
        if path.is_file() and not path.relative_to(root).parts[0].startswith("build"):
            words.update(re.findall(r"[A-Za-z_]\w*", path.read_text(encoding="utf-8")))
    return words


def missing_functions(header, page):
    return sorted(name for name in symbols.declared([header]) if not re.search(rf"\b{name}\b", page))


def check(root):
    words = code_words(root)
    dev_commands = set(re.findall(r"^  ([a-z]+)\b", (root / "dev").read_text(encoding="ascii"), re.MULTILINE))
    findings, checked = [], 0
    for path in [root / "README.md", *sorted((root / "docs").rglob("*.md"))]:
        if path.exists():
            checked += 1
            findings += check_text(root, path.relative_to(root).as_posix(), path.read_text(encoding="utf-8"), words, dev_commands)
    page = root / "docs/c-api.md"
    header = (root / "include/billfish/billfish.h").read_text(encoding="utf-8")
    for name in missing_functions(header, page.read_text(encoding="utf-8") if page.exists() else ""):
        findings.append(f"docs/c-api.md: {name} is missing")
    return findings, checked


if __name__ == "__main__":
    rules.report("docs", *check(rules.pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else rules.ROOT))
