#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every rule sees the fault it is there for: each test plants one and expects the finding, and its innocent twin must pass."""

import json
import pathlib
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "device"))
import arrows
import digest
import docs
import headers
import readme_table
import rebuild
import build_seconds
import sizes
import sources
import spills
import symbols

SPDX = "// SPDX-License-Identifier: Apache-2.0\n"


class Sources(unittest.TestCase):
    def findings(self, text, name="src/core/x.cpp"):
        return sources.check_file(name, text if isinstance(text, bytes) else text.encode())

    def test_a_good_file_passes(self):
        self.assertEqual(self.findings(SPDX + "int x;\n"), [])

    def test_faults_are_seen(self):
        for fault in (
            "int x;\n",
            SPDX + "// caf\u00e9\n",
            SPDX + "x;\n" * 700,
            SPDX + "// TO" "DO later\n",
            SPDX + "x;" * 80 + "\n",
            SPDX + '"/ho' 'me/me/x"\n',
            SPDX + "int x; \n",
            SPDX + "int x;\r\n",
        ):
            self.assertEqual(len(self.findings(fault)) > 0, True, fault[:60])


class Arrows(unittest.TestCase):
    def findings(self, name, include):
        return arrows.check_file(name, SPDX + f"#include {include}\n")

    def test_allowed(self):
        for name, include in (
            ("src/pack/x.cpp", '"layout/a.hpp"'),
            ("src/cpu/x.cpp", '"gemm/problem.hpp"'),
            ("src/formats/x.cpp", "<nlohmann/json.hpp>"),
            ("tools/billfish/x.cpp", '"billfish/billfish.h"'),
            ("src/cuda/x.cu", "<cuda/ptx>"),
        ):
            self.assertEqual(self.findings(name, include), [], f"{name} {include}")

    def test_faults_are_seen(self):
        for name, include in (
            ("src/core/x.hpp", '"layout/a.hpp"'),
            ("src/pack/x.cpp", '"gemm/problem.hpp"'),
            ("src/cpu/x.cpp", '"gemm/plan_cache.hpp"'),
            ("src/gemm/x.cpp", '"api/a.hpp"'),
            ("src/gemm/x.cpp", "<nlohmann/json.hpp>"),
            ("src/core/x.cpp", "<regex>"),
            ("tools/billfish/x.cpp", '"core/types.hpp"'),
            ("src/core/x.cpp", "<fmt/format.h>"),
            ("src/pack/x.cpp", "<cuda_fp16.h>"),
            ("src/cuda/x.cu", '"billfish/billfish.h"'),
            ("include/billfish/x.h", '"core/types.hpp"'),
        ):
            self.assertEqual(len(self.findings(name, include)), 1, f"{name} {include}")


class Symbols(unittest.TestCase):
    def test_printing_and_ending_is_seen(self):
        for symbol in (
            "printf",
            "__printf_chk",
            "puts",
            "abort@GLIBC_2.2.5",
            "exit",
            "__assert_fail",
            "std::cout@GLIBCXX_3.4",
            "std::cerr",
        ):
            self.assertEqual(len(symbols.banned_references(f"lib.a:x.cpp.o:                 U {symbol}")), 1, symbol)

    def test_formatting_into_memory_is_not(self):
        for symbol in ("snprintf", "__snprintf_chk", "memcpy", "billfish::Status::code() const", "vsnprintf"):
            self.assertEqual(symbols.banned_references(f"lib.a:x.cpp.o:                 U {symbol}"), [], symbol)

    def test_the_compilers_own_exit_is_not(self):
        self.assertEqual(symbols.banned_references("lib.a:k.cu.o:                 U exit"), [])
        self.assertEqual(len(symbols.banned_references("lib.a:k.cu.o:                 U abort")), 1)

    def test_calls_in_kernels_are_seen(self):
        self.assertEqual(len(symbols.banned_calls("k.cu", 'void f() {\n  printf("x");\n}')), 1)
        self.assertEqual(symbols.banned_calls("k.cu", '// printf("x")\nstatic_assert(true);\nplan.abort(1);'), [])

    def test_exports(self):
        self.assertEqual(symbols.exported("0000 T billfish_version\n0000 V _ZTIx@@V1\n"), {"billfish_version", "_ZTIx"})
        self.assertEqual(
            symbols.declared(["BILLFISH_API const char* billfish_a(void);\nBILLFISH_API billfish_status billfish_b(\nint);"]),
            {"billfish_a", "billfish_b"},
        )


class Headers(unittest.TestCase):
    def test_a_header_that_needs_another_is_seen(self):
        with tempfile.TemporaryDirectory() as folder:
            bad, good = pathlib.Path(folder, "bad.hpp"), pathlib.Path(folder, "good.hpp")
            bad.write_text("inline std::string f() { return {}; }\n")
            good.write_text("#include <string>\ninline std::string f() { return {}; }\n")
            self.assertEqual(len(headers.check([bad], "c++", "cc", None)[0]), 1)
            self.assertEqual(headers.check([good], "c++", "cc", None)[0], [])

    def test_a_c_header_with_cpp_in_it_is_seen(self):
        with tempfile.TemporaryDirectory() as folder:
            bad = pathlib.Path(folder, "bad.h")
            bad.write_text("enum class E { a };\n")
            self.assertEqual(len(headers.check([bad], "c++", "cc", None)[0]), 1)


class Sizes(unittest.TestCase):
    def test_a_large_library_is_seen(self):
        with tempfile.TemporaryDirectory() as folder:
            library = pathlib.Path(folder, "lib.so")
            with library.open("wb") as file:
                file.truncate(sizes.BUDGET["cpu"] + 1)
            self.assertEqual(len(sizes.check(library, "cpu")[0]), 1)
            self.assertEqual(sizes.check(library, "cuda")[0], [])


class BuildSeconds(unittest.TestCase):
    def test_a_slow_build_is_seen_and_a_cached_one_is_said(self):
        with tempfile.TemporaryDirectory() as folder:
            for name, line in (("a.cu.o", "14m2.5s 0m30.0s"), ("b.cu.o", "1m30.00s 0m0.250s"), ("c.cu.o", "0m0.01s 0m0.02s")):
                pathlib.Path(folder, name).touch()
                pathlib.Path(folder, name + ".cpu").write_text(f"0m0.0s 0m0.0s\n{line}\n")
            pathlib.Path(folder, "gone.cu.o.cpu").write_text("0m0.0s 0m0.0s\n99m0.0s 0m0.0s\n")
            seconds = build_seconds.seconds_of(folder)
            self.assertEqual({path.name: value for path, value in seconds.items()}, {"a.cu.o": 872.5, "b.cu.o": 90.25, "c.cu.o": 0.03})
            self.assertEqual(len(build_seconds.check(seconds)), 1)
            del seconds[pathlib.Path(folder, "b.cu.o")]
            self.assertEqual(build_seconds.check(seconds), [])
            self.assertIn("1 of 2 came out of a cache", build_seconds.describe(seconds))


class Spills(unittest.TestCase):
    REPORT = (
        "ptxas info    : Compiling entry function '_Z1kPfi' for 'sm_80'\nptxas info    : Function properties for _Z1kPfi\n"
        "    656 bytes stack frame, 836 bytes spill stores, 808 bytes spill loads\n"
    )

    def test_a_spill_is_seen_unless_listed(self):
        found = spills.kernels(self.REPORT)
        self.assertEqual(found, [("_Z1kPfi", "sm_80", 836)])
        self.assertEqual(len(spills.check_kernels(found, [])), 1)
        self.assertEqual(len(spills.check_kernels(found, [("^k", 800)])), 1)
        self.assertEqual(spills.check_kernels(found, [("^k", 836)]), [])

    def test_a_budget_needs_a_reason(self):
        self.assertEqual(spills.budgets("# c\n8 ^k -- slow path\n"), [("^k", 8)])
        self.assertRaises(ValueError, spills.budgets, "8 ^k\n")


class Docs(unittest.TestCase):
    def findings(self, text):
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder)
            (root / "src/core").mkdir(parents=True)
            (root / "src/core/types.hpp").write_text("")
            return docs.check_text(root, "README.md", text, {"billfish_gemm", "choose_plan"}, {"demo"})

    def test_what_exists_passes(self):
        for text in (
            "`src/core/types.hpp`",
            "`src/core/*.hpp`",
            "`src/{core,core}/types.hpp`",
            "`billfish_gemm`",
            "`gemm::choose_plan`",
            "`./dev demo`",
            "[a](src/core/types.hpp)",
            "```\n`src/none`\n```",
            "`std::regex`",
            "`docs/<name>.md`",
        ):
            self.assertEqual(self.findings(text), [], text)

    def test_what_does_not_is_seen(self):
        for text in (
            "`src/core/none.hpp`",
            "`src/core/*.none`",
            "`src/{core,none}/types.hpp`",
            "`billfish_none`",
            "`gemm::none`",
            "`./dev none`",
            "[a](none.md)",
            "`billfish_none(x)`",
            "`BILLFISH_NONE`",
        ):
            self.assertEqual(len(self.findings(text)), 1, text)

    def test_a_function_that_the_page_lacks_is_seen(self):
        header = "BILLFISH_API int billfish_a(void);\nBILLFISH_API int billfish_ab(void);"
        self.assertEqual(docs.missing_functions(header, "`billfish_ab`"), ["billfish_a"])


class ReadmeTable(unittest.TestCase):
    def test_a_false_cell_is_seen(self):
        true = readme_table.table(lambda weight, activation, device, implementation: device == "cpu")
        false = readme_table.table(lambda *_: True)
        readme = "\n".join([readme_table.BEGIN, *true, readme_table.END])
        self.assertEqual(readme_table.compare(readme, true), [])
        self.assertEqual(len(readme_table.compare(readme, false)), 4)
        self.assertEqual(len(readme_table.compare("", true)), 1)


class DeviceRecord(unittest.TestCase):
    """The record of the GPU run must be current; only a pending.txt that accounts for every change may say otherwise."""

    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.root = pathlib.Path(self.folder.name)
        for name, text in (
            ("src/cuda/k.cu", "int f() { return 1; }  // one\n"),
            ("src/gemm/p.hpp", "#define A 1\n"),
            ("tests/cuda/k_test.cu", "int t;\n"),
            ("cmake/BillfishOptions.cmake", "set(CMAKE_CUDA_FLAGS x)\nset(OTHER y)\n"),
            ("src/formats/f.cpp", "int g;\n"),
        ):
            self.write(name, text)
        self.record()

    def tearDown(self):
        self.folder.cleanup()

    def write(self, name, text):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def record(self, result="passed"):
        passed = int(result == "passed")
        self.write(
            digest.RECORD,
            json.dumps(
                {
                    "device": "GPU",
                    "when": "now",
                    "passed": passed,
                    "failed": 1 - passed,
                    "digest": digest.digest(self.root),
                    "files": digest.file_digests(self.root),
                    "tests": [{"name": "a", "result": result, "ms": 1}],
                }
            ),
        )

    def passes(self):
        return digest.check(self.root)[0]

    def test_current_and_green_passes(self):
        self.assertTrue(self.passes())

    def test_a_failed_test_or_none_fails(self):
        self.record("failed")
        self.assertFalse(self.passes())
        self.record("skipped")
        self.assertFalse(self.passes())

    def test_comments_and_spaces_do_not_count(self):
        self.write("src/cuda/k.cu", "/* other */ int f()\n{\n  return 1;\n}\n")
        self.write("src/formats/f.cpp", "int h;\n")
        self.write("cmake/BillfishOptions.cmake", "# why\nset(CMAKE_CUDA_FLAGS x)\nset(OTHER z)\n")
        self.assertTrue(self.passes())

    def test_changed_code_fails(self):
        for name, text in (
            ("src/cuda/k.cu", "int f() { return 2; }\n"),
            ("src/gemm/p.hpp", "#define A 2\n"),
            ("tests/cuda/k_test.cu", "long t;\n"),
            ("src/cuda/new.cu", ""),
            ("cmake/BillfishOptions.cmake", "set(CMAKE_CUDA_FLAGS z)\n"),
            ("src/cuda/k.cu", 'char* f = "//a";\n'),
        ):
            with self.subTest(name):
                before = (self.root / name).read_text() if (self.root / name).exists() else None
                self.write(name, text)
                self.assertFalse(self.passes())
                if before is None:
                    (self.root / name).unlink()
                else:
                    self.write(name, before)
                self.assertTrue(self.passes())

    def test_strings_are_not_comments(self):
        self.assertNotEqual(digest.strip_source('a("//x");'), digest.strip_source('a("//y");'))
        self.assertNotEqual(digest.strip_source('a("x y");'), digest.strip_source('a("xy");'))
        self.assertNotEqual(digest.strip_source("a - -b"), digest.strip_source("a--b"))
        self.assertEqual(digest.strip_source("f(1'000'000); // a 'b\nint c;"), digest.strip_source("f(1'000'000);\nint c;"))

    def test_pending_must_list_every_change_and_a_reason(self):
        self.write("src/cuda/k.cu", "int f() { return 2; }\n")
        self.write("src/gemm/p.hpp", "#define A 2\n")
        self.write(digest.PENDING, "No machine with a GPU was free this week.\nsrc/cuda/\n")
        self.assertFalse(self.passes())
        self.write(digest.PENDING, "src/cuda/\nsrc/gemm/p.hpp\n")
        self.assertFalse(self.passes())
        self.write(digest.PENDING, "No machine with a GPU was free this week.\nsrc/cuda/\nsrc/gemm/p.hpp\n")
        self.assertTrue(self.passes())
        self.assertTrue(any("NOT TESTED ON A GPU" in line for line in digest.check(self.root)[1]))

    def test_pending_does_not_outlive_its_reason(self):
        self.write(digest.PENDING, "No machine with a GPU was free this week.\nsrc/cuda/\n")
        self.assertFalse(self.passes())

    def test_a_missing_or_broken_record_fails(self):
        (self.root / digest.RECORD).unlink()
        self.assertFalse(self.passes())
        self.write(digest.RECORD, "{")
        self.assertFalse(self.passes())


class Rebuild(unittest.TestCase):
    def test_the_first_build_without_work_counts(self):
        self.assertEqual(rebuild.check([("[3/3] Linking", 60.0), ("ninja: no work to do.", 0.4)]), [])

    def test_faults_are_seen(self):
        self.assertEqual(len(rebuild.check([("ninja: no work to do.", 6.0)])), 1)
        self.assertEqual(len(rebuild.check([("[1/1] Linking", 0.5)] * 3)), 1)


if __name__ == "__main__":
    unittest.main()
