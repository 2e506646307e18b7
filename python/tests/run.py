#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Builds a wheel around a build folder's library, installs it where there is no compiler to be found, and runs the tests against it.

  run.py core|torch BUILD [arguments of pytest]

Called by ctest (label python) and by `./dev test torch`. The checkout's own python/billfish is never imported.
"""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import zipfile

import environment

HERE = pathlib.Path(__file__).resolve().parent
PACKAGE = HERE.parent
LARGEST_WHEEL = {False: 3_000_000, True: 30_000_000}  # bytes, without CUDA and with it


def run(*command, **options):
    done = subprocess.run([str(word) for word in command], **options)
    if done.returncode:
        sys.exit(f"run: {' '.join(str(word) for word in command)}\nended with {done.returncode}")
    return done


def has_cuda(build):
    cache = (build / "CMakeCache.txt").read_text(encoding="utf-8", errors="replace")
    return "BILLFISH_CUDA:BOOL=ON" in cache


def make_wheel(python, build, folder):
    """The wheel; its CMake runs in a folder of the build, so that only what changed is compiled again."""
    scratch = build / f"python-{python.parents[1].name.lstrip('.')}"
    options = [
        f"-Ccmake.define.BILLFISH_BUILD={build}",
        f"-Cbuild-dir={scratch}",
        "-Ccmake.define.CMAKE_BUILD_TYPE=Release",
    ]
    env = {**os.environ, "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}"}
    run(
        python, "-m", "pip", "wheel", "--quiet", "--no-build-isolation", "--no-deps", "--no-index", "-w", folder, *options, PACKAGE, env=env
    )
    wheels = list(folder.glob("billfish-*.whl"))
    if len(wheels) != 1:
        sys.exit(f"run: one wheel was expected in {folder}, not {wheels}")
    size = wheels[0].stat().st_size
    limit = LARGEST_WHEEL[has_cuda(build)]
    print(f"wheel {wheels[0].name}: {size} bytes (limit {limit})", flush=True)
    if size > limit:
        sys.exit("run: the wheel is too large")
    with zipfile.ZipFile(wheels[0]) as archive:
        names = archive.namelist()
    for wanted in ("billfish/libbillfish.so.0", "billfish/py.typed", "billfish/_core.pyi"):
        if wanted not in names:
            sys.exit(f"run: the wheel has no {wanted}")
    return wheels[0]


def install(kind, python, wheel, folder):
    """Into a fresh folder that stands before the environment's packages; an empty environment of its own is the core tests' business."""
    site = folder / "site"
    run(python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", site, wheel)
    return site


def main(kind, build, *rest):
    build = pathlib.Path(build).resolve()
    python = environment.make(kind)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        wheel = make_wheel(python, build, folder)
        site = install(kind, python, wheel, folder)
        env = {
            **os.environ,
            "PYTHONPATH": str(site),
            "PYTHONDONTWRITEBYTECODE": "1",
            "BILLFISH_WHEEL": str(wheel),
            "BILLFISH_TOOL": str(build / "bin/billfish"),
            "HF_HUB_OFFLINE": "1",
        }
        shutil.copytree(HERE / kind, folder / "tests")
        done = subprocess.run(
            [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--rootdir={folder}", folder / "tests", *rest],
            env={**env, "BILLFISH_SOURCE": str(PACKAGE.parent)},
            cwd=folder,
        )
    return done.returncode


if __name__ == "__main__":
    if len(sys.argv) < 3 or sys.argv[1] not in environment.KINDS:
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
