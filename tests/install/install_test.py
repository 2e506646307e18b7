#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Installs the build and uses it as strangers do: CMake package and pkg-config, C and C++, shared and static, moved and in place.

  install_test.py BUILD CMAKE CC CXX

The C program is the example of README.md: it must be at most 25 lines, compile as C99 without a warning, and print what README says.
"""

import os
import pathlib
import re
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
MAX_LINES = 25
STRICT_C = ["-std=c99", "-pedantic-errors", "-Wall", "-Wextra", "-Werror"]


def run(*command, environment=None, folder=None):
    command = [str(word) for word in command]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=folder, env={**os.environ, **(environment or {})}
    )
    if done.returncode:
        sys.exit(f"install: {' '.join(command)}\nended with {done.returncode}:\n{done.stdout}")
    return done.stdout


def expect(condition, message):
    if not condition:
        sys.exit(f"install: {message}")


def readme_example():
    """(source, output) of the first ```c block of README.md and the ``` block that follows it."""
    text = (ROOT / "README.md").read_text(encoding="ascii")
    found = re.search(r"^```c\n(.*?)^```\n.*?^```\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    expect(found, "README.md has no ```c example followed by its output")
    lines = len(found.group(1).rstrip("\n").split("\n"))
    expect(lines <= MAX_LINES, f"README.md's C example has {lines} lines; at most {MAX_LINES}")
    return found.group(1), found.group(2)


def check_runs(programs, output, environment=None):
    for program in programs:
        said = run(program, environment=environment)
        wanted = output if "c_" in program.name else "right, with billfish"
        expect(wanted in said, f"{program} printed:\n{said}instead of:\n{wanted}")


def check_cmake(cmake, prefix, folder, example, output):
    build = folder / "with-cmake"
    run(
        cmake,
        "-S",
        HERE / "consumer",
        "-B",
        build,
        f"-DCMAKE_PREFIX_PATH={prefix}",
        f"-DEXAMPLE_C={example}",
        "-DCMAKE_BUILD_TYPE=Release",
    )
    run(cmake, "--build", build)
    check_runs([build / name for name in ("c_billfish", "c_static", "cpp_billfish", "cpp_static")], output)
    only_c = folder / "only-c"
    only_c.mkdir()
    (only_c / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.20)\nproject(only_c LANGUAGES C)\nset(CMAKE_C_STANDARD 99)\n"
        "find_package(billfish REQUIRED CONFIG)\nforeach(kind billfish static)\n  add_executable(c_${kind} ${EXAMPLE_C})\n"
        "  target_link_libraries(c_${kind} PRIVATE billfish::${kind})\nendforeach()\n"
    )
    run(cmake, "-S", only_c, "-B", only_c / "build", f"-DCMAKE_PREFIX_PATH={prefix}", f"-DEXAMPLE_C={example}")
    run(cmake, "--build", only_c / "build")
    check_runs([only_c / "build" / name for name in ("c_billfish", "c_static")], output)


def check_version_rule(cmake, prefix, folder):
    """A program that asks for another MINOR while MAJOR is 0 must not find the package."""
    other = folder / "other-version"
    other.mkdir()
    (other / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.20)\nproject(other LANGUAGES C CXX)\nfind_package(billfish 0.9 CONFIG)\n"
        "if(billfish_FOUND)\n message(FATAL_ERROR found)\nendif()\n"
    )
    run(cmake, "-S", other, "-B", other / "build", f"-DCMAKE_PREFIX_PATH={prefix}")


def check_pkg_config(prefix, folder, cc, cxx, example, output, name):
    pc = next(prefix.rglob("billfish.pc"))
    environment = {"PKG_CONFIG_PATH": str(pc.parent)}
    flags = run("pkg-config", "--cflags", "--libs", "billfish", environment=environment).split()
    expect(
        any(str(prefix) in str(pathlib.Path(flag[2:]).resolve()) for flag in flags if flag.startswith("-I")),
        f"pkg-config points elsewhere: {flags}",
    )
    c_program, cpp_program = folder / f"c_{name}", folder / f"cpp_{name}"
    run(cc, *STRICT_C, example, "-o", c_program, *flags)
    run(cxx, "-std=c++20", HERE / "consumer/main.cpp", "-o", cpp_program, *flags)
    library_path = {"LD_LIBRARY_PATH": run("pkg-config", "--variable=libdir", "billfish", environment=environment).strip()}
    check_runs([c_program, cpp_program], output, library_path)
    # Statically: the archive by its path, and what the file lists as private.
    static = run("pkg-config", "--static", "--cflags", "--libs", "billfish", environment=environment).split()
    archive = next(prefix.rglob("libbillfish.a"))
    static = [str(archive) if flag == "-lbillfish" else flag for flag in static]
    run(cc, *STRICT_C, example, "-o", folder / f"c_static_{name}", *static)
    check_runs([folder / f"c_static_{name}"], output)


def check_build_folder(build, folder, cc, example, output):
    program = folder / "c_in_place"
    run(cc, *STRICT_C, example, "-o", program, f"-I{build}/include", f"-L{build}/lib", "-lbillfish", f"-Wl,-rpath,{build}/lib")
    check_runs([program], output)


def main(build, cmake, cc, cxx):
    build = pathlib.Path(build)
    source, output = readme_example()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name).resolve()
        example = folder / "example.c"
        example.write_text(source)
        prefix = folder / "prefix"
        run(cmake, "--install", build, "--prefix", prefix)
        shared = next(prefix.rglob("libbillfish.so"))
        soname = run("readelf", "-d", shared)
        expect("[libbillfish.so.0]" in soname, f"the SONAME is not libbillfish.so.0:\n{soname}")
        expect((prefix / "bin/billfish").exists(), "the tool is not installed")
        run(prefix / "bin/billfish", "--help")
        check_build_folder(build, folder, cc, example, output)
        check_cmake(cmake, prefix, folder, example, output)
        check_version_rule(cmake, prefix, folder)
        check_pkg_config(prefix, folder, cc, cxx, example, output, "installed")
        moved = folder / "moved"
        prefix.rename(moved)
        check_pkg_config(moved, folder, cc, cxx, example, output, "moved")
        run(moved / "bin/billfish", "--help")
        listed = run(moved / "bin/billfish", "bench", "--models", "list", folder=folder, environment={"BILLFISH_BENCH": ""})
        expect("meta-llama/Llama-2-7b-hf" in listed, f"the installed tool does not find its shapes:\n{listed}")
        expect(next(moved.rglob("share/billfish/bench/devices/h200.json"), None), "the figures of a GPU are not installed")
    print("install: package, pkg-config, build folder and a moved tree all work")


if __name__ == "__main__":
    main(*sys.argv[1:])
