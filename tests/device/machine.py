# SPDX-License-Identifier: Apache-2.0
"""Which GPU is here, by asking the driver's library: the machine may have no tools at all."""

import ctypes
import datetime
import json
import os
import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[2]


def gpu():
    """{"device", "driver", "cuda"} of the first GPU, or None."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    version, device = ctypes.c_int(), ctypes.c_int()
    name = ctypes.create_string_buffer(128)
    if driver.cuInit(0) or driver.cuDriverGetVersion(ctypes.byref(version)):
        return None
    if driver.cuDeviceGet(ctypes.byref(device), 0) or driver.cuDeviceGetName(name, len(name), device):
        return None
    try:
        text = pathlib.Path("/proc/driver/nvidia/version").read_text(encoding="ascii", errors="replace")
    except OSError:
        text = ""
    found = re.search(r"\b(\d+\.\d+(?:\.\d+)?)\b", text)
    return {
        "device": name.value.decode("ascii", "replace"),
        "driver": found.group(1) if found else "unknown",
        "cuda": f"{version.value // 1000}.{version.value % 1000 // 10}",
    }


def now():
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def write_json(path, value):
    """Whole or not at all."""
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".new")
    beside.write_text(json.dumps(value, indent=1) + "\n", encoding="ascii")
    os.replace(beside, path)


def test_programs(build):
    """The built programs that need a GPU; cuda_host_test needs none."""
    found = sorted(path for path in pathlib.Path(build, "bin").glob("cuda*_test") if path.name != "cuda_host_test")
    return [path.resolve() for path in found if os.access(path, os.X_OK)]


def gtest_cases(report):
    """[(name, "passed" | "failed" | "skipped", ms)] of a GoogleTest JSON report that lies at `report`."""
    cases = []
    for suite in json.loads(pathlib.Path(report).read_text(encoding="utf-8"))["testsuites"]:
        for case in suite["testsuite"]:
            if case.get("status") == "NOTRUN":
                continue
            result = "failed" if case.get("failures") else "skipped" if case.get("result") == "SKIPPED" else "passed"
            cases.append((f"{suite['name']}.{case['name']}", result, round(float(case.get("time", "0s").rstrip("s")) * 1000)))
    return cases
