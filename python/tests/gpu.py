#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The torch tests on a machine with a GPU, where nothing can be compiled or installed.

  gpu.py build BUILD [PYTHON]   here: BUILD/python/_core.abi3.so, by a Python of 3.12 or later, for every later one
  gpu.py run BUILD              there: the tests marked cuda, on that extension and BUILD/lib/libbillfish.so (built with CUDA)

`./dev gpu tests` calls cases() and enters its results in the record, where BUILD/python/_core.abi3.so and torch are to be found.
"""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree

HERE = pathlib.Path(__file__).resolve().parent
PACKAGE = HERE.parent
ROOT = PACKAGE.parent
EXTENSION = "python/_core.abi3.so"


def stable_python(given=None):
    """A Python whose extension modules can use the stable ABI."""
    for name in [given] if given else [sys.executable, "python3.12", "python3.13", "python3.14"]:
        path = shutil.which(name)
        check = "import sys, venv; sys.exit(sys.version_info < (3, 12))"
        if path and subprocess.run([path, "-c", check], capture_output=True).returncode == 0:
            return path
    sys.exit("gpu: no Python of 3.12 or later here; name one: gpu.py build BUILD /path/to/python3.12")


def build(folder, given=None):
    """Compiles the extension alone; the library beside it comes from the build that runs."""
    if not (folder / "lib/libbillfish.so").exists():
        sys.exit(f"gpu: {folder / 'lib/libbillfish.so'} is not there: build it first (without CUDA will do, its symbols are the same)")
    python = stable_python(given)
    environment = ROOT / ".venv-abi3"
    pip = [environment / "bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    if not (environment / "bin/cmake").exists():
        subprocess.run([python, "-m", "venv", "--clear", environment], check=True)
        subprocess.run([*pip, "nanobind==3.1.0", "cmake==4.1.2", "ninja==1.13.0"], check=True)
    tools = environment / "bin"
    work = folder / "python-abi3"
    configure = ["-S", PACKAGE, "-B", work, "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release", f"-DBILLFISH_BUILD={folder}"]
    configure += [f"-DPython_EXECUTABLE={tools / 'python'}", f"-DCMAKE_MAKE_PROGRAM={tools / 'ninja'}"]
    subprocess.run([tools / "cmake", *configure], check=True, stdout=subprocess.DEVNULL)
    subprocess.run([tools / "cmake", "--build", work, "--target", "_core"], check=True, stdout=subprocess.DEVNULL)
    target = folder / EXTENSION
    target.parent.mkdir(exist_ok=True)
    shutil.copy(work / "_core.abi3.so", target)
    print(target)


def site(folder, where):
    """The package as a wheel would hold it."""
    package = pathlib.Path(where, "billfish")
    shutil.copytree(PACKAGE / "billfish", package, ignore=shutil.ignore_patterns("*.so*", "__pycache__"))
    shutil.copy(folder / EXTENSION, package / "_core.abi3.so")
    shutil.copy((folder / "lib/libbillfish.so").resolve(), package / "libbillfish.so.0")
    return where


def cases(folder, seconds, scratch):
    """[(name, result, ms)] of the tests marked cuda; None, with a line of why, where they cannot run at all."""
    folder = pathlib.Path(folder).resolve()
    if not (folder / EXTENSION).exists():
        print(f"torch tests: {folder / EXTENSION} is not there (python/tests/gpu.py build makes it): left out")
        return None
    where = tempfile.mkdtemp(dir=scratch)
    env = {**os.environ, "PYTHONPATH": site(folder, where), "PYTHONDONTWRITEBYTECODE": "1", "HF_HUB_OFFLINE": "1"}
    env["BILLFISH_SOURCE"] = str(ROOT)
    env["LD_LIBRARY_PATH"] = os.pathsep.join(filter(None, [os.path.join(where, "billfish"), os.environ.get("LD_LIBRARY_PATH")]))
    ask = "import torch, pytest, billfish; print(torch.cuda.is_available(), billfish._core.cuda_devices())"
    asked = subprocess.run([sys.executable, "-c", ask], env=env, capture_output=True, text=True, cwd=where)
    if asked.returncode:
        print(f"torch tests: {sys.executable} has no torch or pytest, or the extension does not load: left out\n{asked.stderr[-800:]}")
        return None
    if "True" not in asked.stdout or " 0" in asked.stdout:
        return [(f"torch: no device (torch.cuda.is_available and the library's devices: {asked.stdout.strip()})", "failed", 0)]
    report = pathlib.Path(where, "report.xml")
    command = [sys.executable, "-m", "pytest", "-q", "-s", "-m", "cuda", "-p", "no:cacheprovider", f"--junitxml={report}"]
    try:
        subprocess.run([*command, str(HERE / "torch")], env=env, cwd=where, timeout=seconds)
    except subprocess.TimeoutExpired:
        return [(f"torch: stopped after {seconds:.0f} s", "failed", round(seconds * 1000))]
    if not report.exists():
        return [("torch: pytest died", "failed", 0)]
    found = []
    for case in xml.etree.ElementTree.parse(report).iter("testcase"):
        result = "failed" if any(child.tag in ("failure", "error", "skipped") for child in case) else "passed"
        name = f"torch: {case.get('classname', '').rpartition('.')[2]}.{case.get('name')}"
        found.append((name, result, round(float(case.get("time", 0)) * 1000)))
    return found or [("torch: no test was found", "failed", 0)]


def main(arguments):
    if len(arguments) not in (2, 3) or arguments[0] not in ("build", "run"):
        sys.exit(__doc__)
    folder = pathlib.Path(arguments[1]).resolve()
    if arguments[0] == "build":
        build(folder, *arguments[2:])
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        found = cases(folder, 420, scratch)
    bad = [name for name, result, _ in found or [] if result != "passed"]
    print(f"torch tests: {len(found or []) - len(bad)} passed, {len(bad)} failed", *bad, sep="\n  ")
    return 0 if found and not bad else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
