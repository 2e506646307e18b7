#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes the virtual environments that the Python tests run in, and prints the interpreter's path.

  environment.py core|torch

.venv-python and .venv-torch at the root of the checkout, with pinned versions; left alone while the requirements are the same. Called by
./dev and by run.py. Needs a network the first time.
"""

import hashlib
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
KINDS = {"core": (".venv-python", ["core"]), "torch": (".venv-torch", ["core", "torch"])}


def make(kind):
    """The interpreter of that environment, which exists and is up to date afterwards."""
    folder, lists = KINDS[kind]
    files = [HERE / f"requirements-{name}.txt" for name in lists]
    environment = ROOT / folder
    python = environment / "bin/python"
    stamp = environment / "requirements.sha256"
    wanted = hashlib.sha256(b"".join(path.read_bytes() for path in files) + sys.version.encode()).hexdigest()
    if python.exists() and stamp.exists() and stamp.read_text() == wanted:
        return python
    subprocess.run([sys.executable, "-m", "venv", "--clear", environment], check=True)
    command = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    for path in files:
        command += ["-r", path]
    if subprocess.run(command, stdout=sys.stderr).returncode:
        sys.exit(f"environment: pip could not install {', '.join(str(path) for path in files)}: is there a network?")
    stamp.write_text(wanted)
    return python


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in KINDS:
        sys.exit(__doc__)
    print(make(sys.argv[1]))
