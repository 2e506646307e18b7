#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Puts what `./dev gpu xray OUT` kept into docs/gpu-xray.md: the block after every line <!-- xray: NAME --> becomes OUT/NAME.txt.

  xray_doc.py OUT [--pictures FOLDER]    FOLDER (docs/pictures) receives OUT's SVG files that the page shows
"""

import argparse
import pathlib
import re
import shutil
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/gpu-xray.md"
BLOCK = re.compile(r"(<!-- xray: ([\w-]+)((?: -?\d+)?) -->\n)```\n.*?```\n", re.DOTALL)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out")
    parser.add_argument("--pictures", default=str(ROOT / "docs/pictures"))
    options = parser.parse_args()
    out = pathlib.Path(options.out)
    missing = []

    def fill(match):
        file = out / f"{match.group(2)}.txt"
        if not file.exists():
            missing.append(match.group(2))
            return match.group(0)
        text = file.read_text(encoding="utf-8").replace(str(out), "OUT").replace("\u00a0", " ")
        # Only ASCII is committed: block characters of sparklines become the ramp that terminals without UTF-8 get.
        for block, plain in zip("\u2581\u2582\u2583\u2584\u2585\u2586\u2587\u2588", "_.:-=+*#"):
            text = text.replace(block, plain)
        lines = [line.rstrip() for line in text.splitlines()]
        most = int(match.group(3) or 0)
        if most and len(lines) > most:
            lines = lines[:most] + ["..."]
        return match.group(1) + "```\n" + "\n".join(lines) + "\n```\n"

    text = BLOCK.sub(fill, PAGE.read_text(encoding="ascii"))
    PAGE.write_text(text, encoding="ascii")
    pathlib.Path(options.pictures).mkdir(parents=True, exist_ok=True)
    for name in re.findall(r"\(pictures/([\w./-]+\.svg)\)", text):
        source = next((path for path in (out / name, out / "snapshot" / name) if path.exists()), None)
        if source is None:
            missing.append(name)
        else:
            shutil.copyfile(source, pathlib.Path(options.pictures) / name)
    if missing:
        print("not there, left as it was: " + ", ".join(missing))
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
