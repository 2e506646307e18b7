#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Rule: the library neither prints nor ends the program, and shows the symbols of its headers and no others.

symbols.py BUILD    reads BUILD/lib/libbillfish.{a,so} and, if built, libbillfish_marlin.so
"""

import pathlib
import re
import subprocess
import sys

import rules

# Undefined symbols that no object of the library may have.
BANNED = re.compile(
    r"^(__)?(v?printf|v?fprintf|vprintf|v?dprintf|puts|fputs|putchar|fputc|putc|perror|psignal|abort|exit|_exit|_Exit|quick_exit|"
    r"at_quick_exit|__assert_fail|__assert_perror_fail|raise|err|errx|warn|warnx|syslog)(_chk|_unlocked)?$"
    r"|^std::(cout|cerr|clog|wcout|wcerr|terminate\(\)|ios_base::Init::Init\(\))"
)
# (object, symbol, reason): exceptions, each with why it is harmless.
ALLOWED = [
    (r".*", r"std::terminate\(\)", "std::thread's destructor refers to it; the pool joins its threads before that"),
    (r"\.cu\.o$", r"^exit$", "nvcc's placeholder body of a template kernel; calls that people write are found in the text"),
]
# The same in the text of kernels, whose calls do not show in host objects.
BANNED_CALL = re.compile(r"(?<![\w:.>])(printf|fprintf|puts|abort|exit|assert|__trap|std::exit|std::abort|std::terminate)\s*\(")
DECLARED = re.compile(r"BILLFISH_API\s+[\w\s*]*?\**\s*(billfish_\w+)\s*\(")


def nm(*arguments):
    return subprocess.run(["nm", *map(str, arguments)], check=True, stdout=subprocess.PIPE, text=True).stdout


def banned_references(listing):
    """Findings in the output of `nm -C -A --undefined-only`, one 'archive:object: U symbol' a line."""
    findings = []
    for line in listing.splitlines():
        found = re.match(r"^.*?:([^:]+):\s+U (.*)$", line)
        if not found:
            continue
        object_name, symbol = found.group(1), re.sub(r"@.*$", "", found.group(2))
        if BANNED.search(symbol) and not any(re.search(o, object_name) and re.search(s, symbol) for o, s, _ in ALLOWED):
            findings.append(f"{object_name} refers to {symbol}")
    return findings


def banned_calls(name, text):
    text = re.sub(
        r"//[^\n]*|/\*.*?\*/|\"(?:\\.|[^\"\\\n])*\"|static_assert", lambda m: "\n" * m.group(0).count("\n"), text, flags=re.DOTALL
    )
    return [f"{name}:{text.count(chr(10), 0, m.start()) + 1}: calls {m.group(1)}" for m in BANNED_CALL.finditer(text)]


def exported(listing):
    return {line.split()[-1].split("@")[0] for line in listing.splitlines() if len(line.split()) >= 3 and line.split()[-2] not in "Aa"}


def declared(headers):
    return {name for header in headers for name in DECLARED.findall(header)}


def check(root, build):
    findings, checked = [], 0
    archive = build / "lib/libbillfish.a"
    listing = nm("-C", "-A", "--undefined-only", archive)
    checked += listing.count("\n")
    findings += banned_references(listing)
    for path in rules.code_files(root, ("src",)):
        findings += banned_calls(path.relative_to(root).as_posix(), path.read_text(encoding="utf-8"))

    headers = [path.read_text(encoding="utf-8") for path in sorted((root / "include/billfish").glob("*.h"))]
    shown, promised = exported(nm("-D", "--defined-only", build / "lib/libbillfish.so")), declared(headers)
    findings += [f"libbillfish.so shows {name}, which no header declares" for name in sorted(shown - promised)]
    findings += [f"libbillfish.so lacks {name}, which a header declares" for name in sorted(promised - shown)]
    shim = build / "lib/libbillfish_marlin.so"
    if shim.exists():
        shown = exported(nm("-D", "--defined-only", shim))
        findings += [f"libbillfish_marlin.so shows {name}" for name in sorted(shown - {"marlin_cuda"})]
        if "marlin_cuda" not in shown:
            findings.append("libbillfish_marlin.so lacks marlin_cuda")
    return findings, checked


if __name__ == "__main__":
    rules.report("symbols", *check(rules.ROOT, pathlib.Path(sys.argv[1])))
