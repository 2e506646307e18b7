#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The digest of what decides how the library behaves on a GPU, and whether the committed records still belong to it.

The ordinary test machine has no GPU, so a run on one is recorded in tests/cuda/record.json together with this digest. Changed device
code therefore cannot pass the suite without having run on a GPU. Comments and spaces do not count; git plays no part.

  digest.py print           the digest
  digest.py check [ROOT]    exit 1 unless tests/cuda/record.json is current and green, or tests/cuda/pending.txt accounts for every change
  digest.py notice [ROOT]   say which of the other records (sanitizers) are stale; always exit 0
"""

import hashlib
import json
import pathlib
import re
import sys

SOURCE_FOLDERS = ("src/core", "src/layout", "src/gemm", "src/cuda", "src/api", "tests/cuda")
SOURCE_SUFFIXES = {".h", ".hpp", ".cuh", ".c", ".cpp", ".cu", ".inc"}
RECORD = "tests/cuda/record.json"
PENDING = "tests/cuda/pending.txt"
SANITIZE_RECORD = "tests/cuda/sanitize_record.json"

# A string or character literal, raw strings included, or a comment. Literals come first so that "//" inside one is no comment.
TOKEN = re.compile(
    r'R"(?P<mark>[^()\\\s]{0,16})\(.*?\)(?P=mark)"'
    r'|"(?:\\.|[^"\\\n])*"'
    r"|(?<![0-9a-fA-F])'(?:\\.|[^'\\\n])+'"
    r"|//(?:\\\n|[^\n])*"
    r"|/\*.*?\*/",
    re.DOTALL,
)


def strip_source(text):
    """C++ without comments, and with spaces only where they separate words; preprocessor lines keep their ends."""
    text = TOKEN.sub(lambda m: " " if m.group(0).startswith(("//", "/*")) else m.group(0), text.replace("\r\n", "\n"))
    text = text.replace("\\\n", " ")
    pieces, joined = [], []
    for line in text.split("\n"):
        if line.lstrip().startswith("#"):
            if joined:
                pieces.append(squeeze(" ".join(joined)))
                joined = []
            pieces.append(" ".join(line.split()))
        elif line.strip():
            joined.append(line)
    if joined:
        pieces.append(squeeze(" ".join(joined)))
    pieces = [piece.strip() for piece in pieces]
    return "\n".join(pieces)


def squeeze(text):
    out, end = [], 0
    for literal in TOKEN.finditer(text):
        out += [squeeze_words(text[end : literal.start()]), literal.group(0)]
        end = literal.end()
    return "".join(out + [squeeze_words(text[end:])])


def squeeze_words(text):
    text = re.sub(r"\s+", " ", text)
    operator = r"[-+<>&|=:/*!]"  # a space between two of these may separate tokens
    return re.sub(rf"(?<!{operator}) (?=\W)|(?<=\W) (?!{operator})|^ (?!\w)|(?<!\w) $", "", text)


def strip_cmake(text):
    lines = (re.sub(r"(^|\s)#.*$", "", line) for line in text.splitlines())
    return "\n".join(" ".join(line.split()) for line in lines if line.strip())


def inputs(root):
    """Path -> the text that counts."""
    root = pathlib.Path(root)
    found = {}
    for folder in SOURCE_FOLDERS:
        for path in sorted((root / folder).rglob("*")):
            if not path.is_file():
                continue
            name = path.relative_to(root).as_posix()
            if path.suffix in SOURCE_SUFFIXES:
                found[name] = strip_source(path.read_text(encoding="utf-8"))
            elif path.name == "CMakeLists.txt":
                found[name] = strip_cmake(path.read_text(encoding="utf-8"))
    options = root / "cmake/BillfishOptions.cmake"
    if options.exists():
        kept = [line for line in strip_cmake(options.read_text(encoding="utf-8")).splitlines() if "CUDA" in line]
        found["cmake/BillfishOptions.cmake"] = "\n".join(kept)
    return found


def file_digests(root):
    return {name: hashlib.sha256(text.encode()).hexdigest()[:16] for name, text in inputs(root).items()}


def digest(root, files=None):
    files = file_digests(root) if files is None else files
    return hashlib.sha256("\n".join(f"{name} {value}" for name, value in sorted(files.items())).encode()).hexdigest()


def load(path):
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        return {"error": f"{path.name} is not JSON: {error}"}


def changed_files(root, record):
    """What differs from what the record saw, by name."""
    then, now = (record or {}).get("files", {}), file_digests(root)
    return sorted(name for name in set(then) | set(now) if then.get(name) != now.get(name))


def read_pending(text):
    """(reason, paths): a line that is a path under src, tests or cmake is one (a folder ends with /), '#' is a comment, the rest reason."""
    paths, reason = [], []
    for line in text.splitlines():
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        if re.fullmatch(r"(src|tests|cmake)/[\w./-]*", line):
            paths.append(line)
        else:
            reason.append(line)
    return " ".join(reason), paths


def check(root):
    """(passes, lines to print)."""
    root = pathlib.Path(root)
    record = load(root / RECORD)
    pending = root / PENDING
    if record and "error" in record:
        return False, [record["error"]]
    current = record is not None and record.get("digest") == digest(root)
    if current:
        tests = record.get("tests", [])
        bad = [test["name"] for test in tests if test["result"] != "passed"]
        if bad or record.get("failed") != 0 or not tests or record.get("passed") != len(tests):
            return False, [f"{RECORD} is current but not green: {record.get('passed')} passed, {record.get('failed')} failed"] + bad[:20]
        if pending.exists():
            return False, [f"{RECORD} is current: remove {PENDING}"]
        return True, [f"{RECORD}: {len(tests)} tests passed on {record['device']} on {record['when']}, and nothing changed since"]

    changed = changed_files(root, record)
    what = f"{RECORD} is missing" if record is None else f"{RECORD} ({record.get('device')}, {record.get('when')}) is not current"
    if not pending.exists():
        return False, [
            f"{what}: device code changed without having run on a GPU.",
            "Run `./dev gpu tests` on a machine with one and commit the record. Changed:",
        ] + [f"  {name}" for name in changed]
    reason, paths = read_pending(pending.read_text(encoding="utf-8"))
    missing = [name for name in changed if not any(name == path or (path.endswith("/") and name.startswith(path)) for path in paths)]
    if len(reason.split()) < 4:
        return False, [f"{PENDING} gives no reason why no GPU run was possible"]
    if missing:
        return False, [f"{what}, and {PENDING} does not list:"] + [f"  {name}" for name in missing]
    bad = [test["name"] for test in (record or {}).get("tests", []) if test["result"] != "passed"]
    return True, [
        "*" * 100,
        f"{what}. NOT TESTED ON A GPU since then: {len(changed)} files.",
        f"Reason given in {PENDING}: {reason}",
        *([f"In the recorded run {len(bad)} test(s) failed: {', '.join(bad)}"] if bad else []),
        "Nothing about device code counts as done until `./dev gpu tests` has run.",
        "*" * 100,
    ]


def notices(root):
    root = pathlib.Path(root)
    lines = []
    passes, said = check(root)
    if (root / PENDING).exists() or not passes:
        lines += said
    record = load(root / SANITIZE_RECORD)
    if record is None:
        lines.append(f"notice: {SANITIZE_RECORD} is missing: run `./dev gpu sanitize` on a machine with a GPU")
    elif record.get("digest") != digest(root):
        lines.append(f"notice: {SANITIZE_RECORD} ({record.get('when')}) is older than the device code: run `./dev gpu sanitize`")
    return lines


def main(arguments):
    verb = arguments[0] if arguments else ""
    root = arguments[1] if len(arguments) > 1 else pathlib.Path(__file__).resolve().parents[2]
    if verb == "print":
        print(digest(root))
        return 0
    if verb == "check":
        passes, lines = check(root)
        print("\n".join(lines))
        return 0 if passes else 1
    if verb == "notice":
        print("\n".join(notices(root)))
        return 0
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
