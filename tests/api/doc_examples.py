#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compiles the fenced C and C++ of docs/c-api.md: signatures must agree with the header, examples with the compiler. The whole program
is also linked and run on a checkpoint.

usage: doc_examples.py ROOT CC CXX LIBRARY_FOLDER
"""

import pathlib
import re
import subprocess
import sys
import tempfile

C_BEFORE = """#include <billfish/billfish.h>
#include <billfish/billfish_quantize.h>
#include <stdio.h>
#include <stdlib.h>
static billfish_weights weights = BILLFISH_WEIGHTS_INIT;
static billfish_gemm_args args = BILLFISH_GEMM_ARGS_INIT;
static billfish_matrix matrix = BILLFISH_MATRIX_INIT;
static const void *codes_buffer, *scales_buffer, *activations;
static void* outputs;
static const int32_t* qweight;
static int32_t* marlin_qweight;
static const uint16_t* scales;
static uint16_t* marlin_scales;
static uint32_t *device_word, found;
static void* stream;
static const float* dense_weights;
static const float* const* both_weights;
static float *hessian, *channel_scales;
static uint8_t* codes_out;
static uint16_t* scales_out;
static void my_log(void* user, billfish_log_level level, const char* message) { (void)user; (void)level; puts(message); }
void example(void);
void example(void) {
"""
C_AFTER = "}\nint main(void) { example(); (void)my_log; return outputs != NULL; }\n"
CPP_BEFORE = "#include <billfish/billfish.hpp>\n#include <vector>\nvoid example();\nvoid example() {\n"


def compile_block(compiler, standard, suffix, text, root):
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / ("example" + suffix)
        path.write_text(text, encoding="ascii")
        warnings = ["-Wall", "-Wextra", "-Werror", "-Wno-unused-variable"]
        command = [compiler, f"-std={standard}", *warnings, "-fsyntax-only", f"-I{root}/include", str(path)]
        return subprocess.run(command, capture_output=True, text=True)


def run_program(compiler, text, root, libraries):
    with tempfile.TemporaryDirectory() as folder:
        source, program = pathlib.Path(folder) / "program.c", pathlib.Path(folder) / "program"
        source.write_text(text, encoding="ascii")
        link = [f"-L{libraries}", "-lbillfish", f"-Wl,-rpath,{libraries}"]
        command = [compiler, "-std=c99", f"-I{root}/include", str(source), "-o", str(program), *link]
        built = subprocess.run(command, capture_output=True, text=True)
        if built.returncode != 0:
            return built
        layer = [f"{root}/tests/fixtures/gptq_v1_g128_sym", "model.layers.0.mlp.up_proj"]
        result = subprocess.run([str(program), *layer], capture_output=True, text=True)
        if result.stdout != "y[0] = 0\n":  # its activations are zeros
            result.returncode = result.returncode or 1
            result.stderr += f"it printed {result.stdout!r}"
        return result


def main():
    root, cc, cxx, libraries = sys.argv[1:]
    text = (pathlib.Path(root) / "docs/c-api.md").read_text(encoding="ascii")
    blocks = re.findall(r"^```(c|cpp)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    failed = 0
    for number, (language, block) in enumerate(blocks, 1):
        if language == "cpp":
            result = compile_block(cxx, "c++20", ".cpp", CPP_BEFORE + block + "}\n", root)
        elif "int main" in block:
            result = compile_block(cc, "c99", ".c", block, root)
            if result.returncode == 0:
                result = run_program(cc, block, root, libraries)
        else:
            result = compile_block(cc, "c99", ".c", C_BEFORE + block + C_AFTER, root)
        if result.returncode != 0:
            failed += 1
            print(f"docs/c-api.md, fenced block {number}:\n{result.stderr}")
    kinds = [language for language, _ in blocks]
    if kinds.count("c") < 8 or "cpp" not in kinds:
        failed += 1
        print(f"only {len(blocks)} blocks found: has the page changed its fences?")
    print(f"{len(blocks)} blocks, {failed} failed")
    return 1 if failed else 0


sys.exit(main())
