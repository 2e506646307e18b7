#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Tests the Rust crates against a build folder's library: every feature set, the example, the pages' code, and build.rs's refusals.

  test.py BUILD

Called by ctest (label rust). Cargo's output goes to BUILD/rust; nothing is downloaded. The feature `half` needs the distribution's crate
(librust-half-dev).
"""

import os
import pathlib
import re
import subprocess
import sys
import tempfile

import gpu

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent
HALF = sorted(pathlib.Path("/usr/share/cargo/registry").glob("half-*"))


def run(*command, folder=HERE, environment, fails=False):
    done = subprocess.run(
        [str(word) for word in command], cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if bool(done.returncode) != fails:
        sys.exit(f"rust: {' '.join(str(word) for word in command)}\nended with {done.returncode}:\n{done.stdout}")
    return done.stdout


def passed(output):
    return sum(int(count) for count in re.findall(r"test result: ok\. (\d+) passed", output))


def pages(environment):
    """The ```rust blocks of README.md and docs/rust.md as programs; the ``` block that follows one in README.md is what it prints."""
    count = 0
    for page in ("README.md", "docs/rust.md"):
        text = (ROOT / page).read_text(encoding="ascii")
        found = re.findall(r"^```rust\n(.*?)^```(?:\n\nIt prints `([^`\n]*)`)?", text, re.MULTILINE | re.DOTALL)
        if not found:
            sys.exit(f"rust: {page} has no ```rust block")
        for code, output in found:
            with tempfile.TemporaryDirectory() as name:
                folder = pathlib.Path(name)
                (folder / "src").mkdir()
                (folder / "src/main.rs").write_text(code)
                (folder / "build.rs").write_text(
                    'fn main() { println!("cargo:rustc-link-arg=-Wl,-rpath,{}", std::env::var("DEP_BILLFISH_CRATE_LIBDIR").unwrap()); }\n'
                )
                (folder / "Cargo.toml").write_text(
                    '[package]\nname = "page"\nversion = "0.0.0"\nedition = "2021"\n[workspace]\n'
                    f'[dependencies]\nbillfish = {{ path = "{HERE / "billfish"}" }}\n'
                )
                (folder / ".cargo").mkdir()
                (folder / ".cargo/config.toml").write_text((HERE / ".cargo/config.toml").read_text())
                said = run("cargo", "run", "--quiet", "--offline", folder=folder, environment=environment)
                if output and output not in said:
                    sys.exit(f"rust: {page} says that it prints {output!r}, and it printed {said!r}")
                count += 1
    return count


def main(build):
    build = pathlib.Path(build).resolve()
    if not HALF:
        sys.exit("rust: /usr/share/cargo/registry has no crate half: install librust-half-dev (./dev setup does)")
    base = {key: value for key, value in os.environ.items() if key not in ("BILLFISH_LIB_DIR", "RUSTFLAGS", "CARGO_TARGET_DIR")}
    base["CARGO_TARGET_DIR"] = str(build / "rust")
    environment = {**base, "BILLFISH_LIB_DIR": str(build / "lib")}
    total = 0
    for features in ("", "cuda", "half", "cuda,half"):
        count = passed(run("cargo", "test", "--offline", "--workspace", "--features", features, environment=environment))
        print(f"features [{features}]: {count} tests passed", flush=True)
        if count < 14:
            sys.exit("rust: fewer tests than there are")
        total += count
    for features in ("", "cuda"):
        said = run("cargo", "run", "--quiet", "--offline", "--example", "cudarc_caller", "--features", features, environment=environment)
        if "as expected:" not in said:
            sys.exit(f"rust: the example printed {said!r}")
    # What `./dev gpu tests` runs elsewhere: made here, and where there is no GPU each of its tests must say so.
    gpu.build(build)
    wanted = "passed" if gpu.devices(build) > 0 else "failed"
    found = gpu.cases(build, 120, explain=wanted == "passed")
    if not found or len(found) < 2 or any(result != wanted for _, result, _ in found):
        sys.exit(f"rust: the GPU tests were expected to be {wanted} here: {found}")
    # build.rs: a wrong folder, and neither variable nor pkg-config, each say what to do.
    said = run("cargo", "build", "--offline", environment={**base, "BILLFISH_LIB_DIR": "/nowhere"}, fails=True)
    if "BILLFISH_LIB_DIR is /nowhere" not in said:
        sys.exit(f"rust: a wrong BILLFISH_LIB_DIR gave:\n{said}")
    said = run("cargo", "build", "--offline", environment={**base, "PKG_CONFIG_LIBDIR": "/nowhere"}, fails=True)
    if "set BILLFISH_LIB_DIR to the folder of libbillfish.so" not in said:
        sys.exit(f"rust: without a library build.rs said:\n{said}")
    with tempfile.TemporaryDirectory() as name:
        pathlib.Path(name, "billfish.pc").write_text(
            f"libdir={build / 'lib'}\nName: billfish\nDescription: for this test\nVersion: 0.1.0\nLibs: -lbillfish\n"
        )
        run("cargo", "build", "--offline", environment={**base, "PKG_CONFIG_PATH": name})
    print(f"rust: {total} tests, the example, build.rs and {pages(environment)} pages' programs are right")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
