#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs `billfish bench` into bench/results/<device>-<date>-<what>/. The same command on the same day goes on where it stopped.

  bench_folder.py BILLFISH [--what NAME] [arguments of `billfish bench`]

Called by `./dev bench` and `./dev gpu bench`. WHAT is made of the arguments if it is not given.
"""

import argparse
import datetime
import pathlib
import re
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import machine


def slug(text):
    return re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-")


def processor():
    try:
        text = pathlib.Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return "cpu"
    found = re.search(r"^model name\s*:\s*(.*)$", text, re.MULTILINE)
    return re.sub(r"\b(processor|cpu|core|r|tm|@.*)\b|\(.*?\)", " ", found.group(1).lower()) if found else "cpu"


def folder_name(device, date, arguments):
    what = slug(" ".join(word for word in arguments if word != "--out")) or "default"
    return f"{slug(device)}-{date}-{what[:60].strip('-')}"


def main():
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("billfish")
    parser.add_argument("--what", default="")
    parser.add_argument("--device")
    parser.add_argument("--minutes")
    options, rest = parser.parse_known_args()

    here = machine.gpu()
    device = options.device or ("cuda" if here else "cpu")
    if device == "cuda" and here is None:
        print("bench: no GPU here (libcuda.so.1 finds no device)", file=sys.stderr)
        return 5
    name = folder_name(
        here["device"] if device == "cuda" else processor(), datetime.date.today().isoformat(), [options.what] if options.what else rest
    )
    if not any(word.split("=")[0] in ("--shapes", "--models", "--model-dim", "--n", "--cliff", "--random") for word in rest):
        rest += ["--shapes", "h200" if device == "cuda" else "cpu"]  # the layers that figures are reported for
    command = [options.billfish, "bench", "--device", device, *rest]
    if options.minutes:
        command += ["--minutes", options.minutes]
    if "--out" not in rest:
        command += ["--out", str(machine.ROOT / "bench/results" / name)]
    print("==", " ".join(command), flush=True)
    return subprocess.run(command).returncode


if __name__ == "__main__":
    sys.exit(main())
