# SPDX-License-Identifier: Apache-2.0
"""`billfish bench` as users of the Marlin benchmark know it (models, limits, every implementation), what it leaves when it is cut short,
`billfish compare` and `billfish plot`."""

import copy
import csv
import json
import os
import pathlib
import signal
import subprocess
import time
import xml.etree.ElementTree

import support
from support import BAD_INPUT, BIN, CHECK_FAILED, INTERRUPTED, OK, SOURCE, UNSUPPORTED, USAGE, CliTest

QUICK = ["bench", "--device", "cpu", "--threads", "2", "--min-time", "0.01"]


class Models(CliTest):
    def results(self, folder="run"):
        return json.loads(pathlib.Path(self.path(folder), "results.json").read_text())

    def test_the_list_names_every_model_with_its_degrees(self):
        text = self.run_tool("bench", "--models", "list").stdout
        for name in ("meta-llama/Llama-2-7b-hf", "meta-llama/Llama-2-70b-hf", "meta-llama/Llama-3.1-405B", "mistralai/Mixtral-8x7B-v0.1",
                     "Qwen/Qwen2.5-72B", "deepseek-ai/DeepSeek-Coder-V2-Lite-Instruct", "CohereLabs/c4ai-command-a-03-2025", "ideal"):
            self.assertIn(f"\n{name} ", "\n" + text)
        self.assertIn("TP1, TP2, TP4, TP8", text)
        self.assertIn("32768 x 8192", text)

    def test_a_model_is_shared_out_among_devices(self):
        """Llama 2 7B on 8 devices: only the layer that --limit-k and --limit-n leave."""
        self.run_tool(*QUICK, "--models", "meta-llama/Llama-2-7b-hf/TP8", "--batch-sizes", "1", "--limit-k", "512", "--limit-n",
                "4096", "--act",
                      "f16", "--out", self.path("run"))
        shapes = {(row["k"], row["n"]) for row in self.results()["rows"]}
        self.assertEqual(shapes, {(512, 4096)})
        self.assertIn("--models meta-llama/Llama-2-7b-hf/TP8", self.results()["command"])

    def test_every_implementation_both_types_and_repacking_have_rows(self):
        self.run_tool(*QUICK, "--model-dim", "256", "--batch-sizes", "1", "4", "--out", self.path("run"))
        results = self.results()
        self.assertTrue(results["complete"])
        gemms = [row for row in results["rows"] if row["kind"] == "gemm"]
        self.assertEqual({row["act"] for row in gemms}, {"f16", "bf16"})
        here = {entry["name"] for entry in self.json_of("implementations")["implementations"]
                if entry["available"] and entry["name"] not in ("sm80", "sm90")}
        self.assertEqual({row["implementation"] for row in gemms}, here)
        self.assertTrue(all(row["status"] == "ok" and row["correct"] for row in gemms))
        for row in gemms:
            self.assertAlmostEqual(row["tokens_per_s"], row["m"] / row["us_median"] * 1e6, delta=1e-6 * row["tokens_per_s"])
            self.assertAlmostEqual(row["roofline_percent"] * row["t_over_roofline"], 100, delta=1e-6)
            self.assertGreater(row["memory_saved"], 3.5)
        self.assertEqual({row["kind"] for row in results["rows"]}, {"gemm", "baseline", "pack"})
        with open(self.path("run", "performance_results.csv"), encoding="ascii") as file:
            self.assertEqual([row["status"] for row in csv.DictReader(file)], ["ok"] * len(results["rows"]))
        summary = pathlib.Path(self.path("run", "summary.md")).read_text()
        for words in ("## Ceilings and conditions", "| M |", "## Repacking", "cpu_scalar full", "**"):
            self.assertIn(words, summary)

    def test_what_cannot_exist_is_skipped_with_its_reason(self):
        done = self.run_tool(*QUICK, "--model-dim", "256", "--batch-sizes", "1", "--act", "f16", "--limit-num-bits", "3", "4",
                "--limit-k-full",
                             "0", "1", "--limit-act-order", "0", "1", "--limit-group-size", "-1", "64", "--out", self.path("run"))
        for words in ("3-bit weights: 4 and 8 bits", "k_full = 0", "act order with one group"):
            self.assertIn("skipped: " + words, done.stdout)
        self.assertEqual(len(self.results()["skipped"]), 3)
        combinations = {(row["group"], row["act_order"]) for row in self.results()["rows"] if row["kind"] == "gemm"}
        self.assertEqual(combinations, {(-1, False), (64, False), (64, True)})

    def test_nothing_left_to_measure_is_a_wrong_command(self):
        self.fails(USAGE, "nothing is left to measure", *QUICK, "--model-dim", "256", "--limit-num-bits", "5")
        self.fails(USAGE, "nothing is left to measure", *QUICK, "--model-dim", "256", "--limit-k-full", "0")

    def test_slow_calls_are_skipped_with_their_limit(self):
        done = self.run_tool(*QUICK, "--model-dim", "512", "--batch-sizes", "4", "512", "--act", "f16", "--most-seconds", "0.05")
        self.assertIn("skipped: reference full: calls of more than 0.05 s (--most-seconds): 512 x 512 from M=512 on", done.stdout)

    def test_the_best_of_a_row_stands_in_a_table(self):
        text = self.run_tool(*QUICK, "--model-dim", "256", "--batch-sizes", "1", "--act", "f16").stdout
        self.assertIn("\nK=256 N=256 u4b8/128 f16\n", text)
        header = next(line for line in text.splitlines() if line.startswith("     M  "))
        self.assertIn("cpu_scalar full", header)
        self.assertNotIn("\x1b", text)  # bold is for terminals

    def test_refusals(self):
        for expect, words, arguments in (
            (BAD_INPUT, ["nonesuch", "--models list"], ["--models", "nonesuch/model"]),
            (BAD_INPUT, "TP1, TP2, TP4, TP8", ["--models", "meta-llama/Llama-2-7b-hf/TP3"]),
            (USAGE, "/TP", ["--models", "meta-llama/Llama-2-7b-hf/TPx"]), (USAGE, "--limit-k", ["--limit-k", "7"]),
            (USAGE, "--hot", ["--cold", "--hot"]), (USAGE, "choose one", ["--models", "ideal", "--shapes", "cpu"]),
            (USAGE, "--limit-group-size", ["--limit-group-size", "0"]), (USAGE, "--limit-act-order", ["--limit-act-order", "2"]),
            (USAGE, "--min-time", ["--min-time", "-1"]), (USAGE, "--act", ["--act", "f8"]), (BAD_INPUT, "../", ["--models",
                    "../../README"])):
            self.fails(expect, words, "bench", "--device", "cpu", *arguments)

    def test_an_unwritable_folder_is_said_before_anything_is_measured(self):
        file = self.path("file")
        pathlib.Path(file).write_text("x")
        begin = time.monotonic()
        self.fails(BAD_INPUT, file, *QUICK, "--model-dim", "4096", "--out", os.path.join(file, "inside"))
        self.assertLess(time.monotonic() - begin, 20)

    def test_an_interrupted_run_keeps_its_rows_and_says_so(self):
        out = self.path("run")
        what = ["--model-dim", "2048", "--act", "f16", "--batch-sizes", "1,2,4,8", "--implementation", "best", "--precision", "full,bf16"]
        command = [BIN, *QUICK[:-1], "1", *what, "--out", out]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                              env=dict(os.environ, CUDA_VISIBLE_DEVICES="")) as run:
            deadline = time.monotonic() + 120
            while time.monotonic() < deadline:
                try:
                    if len(self.results()["rows"]) >= 3:
                        break
                except (OSError, ValueError):
                    pass
                time.sleep(0.05)
            run.send_signal(signal.SIGINT)
            said = run.communicate(timeout=60)[1]
            self.assertEqual(run.returncode, INTERRUPTED)
        before = self.results()
        self.assertIn(f"interrupted; {len(before['rows'])} rows are kept in {out}/results.json, and the same command goes on", said)
        self.assertIn("Not complete", pathlib.Path(out, "summary.md").read_text())
        self.assertFalse(before["complete"])
        self.assertGreaterEqual(len(before["rows"]), 3)
        after = self.run_tool(*QUICK, *what, "--out", out, expect=None)
        self.assertEqual(after.returncode, OK)
        self.assertTrue(self.results()["complete"])
        self.assertEqual(self.results()["rows"][:len(before["rows"])], before["rows"])

    def test_a_run_whose_minutes_are_over_says_that_it_is_not_complete(self):
        command = [*QUICK, "--model-dim", "512", "--batch-sizes", "1", "--act", "f16", "--minutes", "0.00001"]
        done = self.run_tool(*command, "--out", self.path("run"), expect=None)
        self.assertEqual(done.returncode, OK)
        self.assertIn("not complete", done.stderr)
        self.assertIn("the same command goes on", done.stderr)
        self.assertFalse(self.results()["complete"])
        self.assertIn("--out FOLDER", self.run_tool(*command, expect=None).stderr)

    # A run that goes on says so on stderr: not an error.
    def run_tool(self, *arguments, expect=OK, **options):
        if expect is not None:
            return super().run_tool(*arguments, expect=expect, **options)
        return subprocess.run([BIN, *[str(a) for a in arguments]], capture_output=True, text=True, timeout=300, check=False,
                              env=dict(os.environ, CUDA_VISIBLE_DEVICES=""))


def row(m, us, spread=0.01, **other):
    return {"kind": "gemm", "m": m, "n": 4096, "k": 4096, "type": "u4b8", "group": 128, "act": "f16", "precision": "full",
            "implementation": "sm90", "threads": 0, "us_median": us, "us_min": us * (1 - spread), "us_max": us * (1 + spread),
            "us_p10": us * (1 - spread), "us_p90": us * (1 + spread), "samples": 9, "bytes": 8667136 + 16384 * m,
                    "operations": 2.0 * m * 4096**2,
            "read_gbps": 4700, "rate_gflops": 650000, "correct": True, "vs_baseline": 2.0, "worst_error": 0.1, "bound": 1.0,
            "dependent_launch": False, **other}


def run_of(rows, **other):
    return {"schema": 1, "device": "a device", "when": "2026-11-21T00:00:00Z", "command": "c", "valid": True, "complete": True,
            "ceilings": {"used_read_gbps": 4700, "used_f16_gflops": 650000}, "rows": rows, **other}


class Files(CliTest):
    def write(self, name, document):
        os.makedirs(self.path(name), exist_ok=True)
        pathlib.Path(self.path(name), "results.json").write_text(json.dumps(document))
        return self.path(name)


class Compare(Files):
    old = [row(1, 10.0), row(16, 20.0), row(64, 40.0)]

    def compare(self, new, *arguments, expect=OK, **other):
        return self.run_tool("compare", self.write("old", run_of(self.old)), self.write("new", run_of(new, **other)), *arguments,
                expect=expect)

    def test_the_same_run_has_not_moved(self):
        self.assertIn("3 cells, 0 moved", self.compare(self.old).stdout)

    def test_slower_beyond_spread_and_tolerance_is_exit_1(self):
        slower = [row(1, 10.0), row(16, 23.0), row(64, 40.0)]
        text = self.compare(slower, expect=CHECK_FAILED).stdout
        self.assertIn("SLOWER", text)
        self.assertIn("1.150", text)
        self.compare(slower, "--tolerance", "0.2")

    def test_within_the_spread_is_no_regression_however_large(self):
        self.compare([row(1, 10.0), row(16, 24.0, spread=0.5), row(64, 40.0)])

    def test_faster_is_not_a_regression(self):
        self.assertIn("faster", self.compare([row(1, 5.0), row(16, 20.0), row(64, 40.0)]).stdout)

    def test_a_product_that_became_wrong_is_exit_1(self):
        wrong = copy.deepcopy(self.old)
        wrong[1].update(correct=False, us_median=0)
        self.compare(wrong, expect=CHECK_FAILED)

    def test_cells_of_one_run_only_are_counted_and_json_is_alone(self):
        done = self.compare([row(1, 10.0), row(2, 11.0)], "--json")
        document = json.loads(done.stdout)
        self.assertEqual((document["only_old"], document["only_new"], len(document["cells"])), (2, 1, 1))

    def test_cut_short_and_other_devices_are_said(self):
        text = self.compare(self.old, complete=False, device="another").stdout
        self.assertIn("not complete", text)
        self.assertIn("two different devices", text)

    def test_refusals(self):
        old = self.write("old", run_of(self.old))
        self.fails(BAD_INPUT, "no cell in common", "compare", old, self.write("new", run_of([row(3, 1.0)])))
        self.fails(BAD_INPUT, "schema 2", "compare", old, self.write("new", run_of(self.old, schema=2)))
        self.fails(BAD_INPUT, self.path("none"), "compare", old, self.path("none"))
        pathlib.Path(self.path("text.json")).write_text("no json")
        self.fails(BAD_INPUT, "not a results.json", "compare", old, self.path("text.json"))
        self.fails(USAGE, "--tolerance", "compare", old, old, "--tolerance", "-1")


class Plot(Files):
    names = ("throughput_scaling", "latency_comparison", "speedup_heatmap", "roofline")

    def rows(self):
        rows = []
        for m in (1, 16, 64, 256):
            rows.append(row(m, 30.0 + m / 8, kind="baseline", implementation="cublas", type="", group=0, vs_baseline=0))
            rows.append(row(m, 10.0 + m / 4))
            rows.append(row(m, 8.0 + m / 4, dependent_launch=True))
        return rows

    def test_four_pictures_as_svg_and_png(self):
        run = self.write("run", run_of(self.rows(), device="a 'quoted' `device` $x"))
        self.run_tool("plot", run, "--out", self.path("pictures"))
        for name in self.names:
            root = xml.etree.ElementTree.parse(self.path("pictures", name + ".svg")).getroot()
            words = " ".join("".join(text.itertext()) for text in root.iter("{http://www.w3.org/2000/svg}text"))
            self.assertIn("2026-11-21", words, name)
            self.assertIn("a 'quoted' `device` $x", words, name)
            png = pathlib.Path(self.path("pictures", name + ".png")).read_bytes()
            self.assertEqual(png[:8], b"\x89PNG\r\n\x1a\n")
            self.assertGreater(len(png), 10000, name)
        words = pathlib.Path(self.path("pictures", "roofline.svg")).read_text()
        self.assertIn("measured ceilings: 4.70 TB/s, 650 TFLOP/s", words)
        self.assertIn("operations a byte", words)

    def test_a_run_that_was_cut_short_says_so_in_the_caption(self):
        run = self.write("run", run_of(self.rows(), complete=False, valid=False))
        done = subprocess.run([BIN, "plot", run, "--out", self.path("pictures")], capture_output=True, text=True, timeout=300, check=False)
        self.assertEqual(done.returncode, OK)
        self.assertIn("the run is not complete", done.stderr)
        self.assertIn("the run is not valid", done.stderr)
        for name in self.names:
            self.assertIn("NOT COMPLETE, NOT VALID", pathlib.Path(self.path("pictures", name + ".svg")).read_text(), name)

    def test_means_are_over_the_layers_that_all_have(self):
        large = [row(m, 1000.0, k=8192) for m in (1, 16)]  # of one contender only: it must not look slower for them
        self.run_tool("plot", self.write("run", run_of(self.rows() + large)), "--out", self.path("pictures"))
        for name in self.names[:2]:
            self.assertIn("geometric mean over the 1 of 2 layers that all have",
                          pathlib.Path(self.path("pictures", name + ".svg")).read_text())
        apart = [row(1, 10.0), row(1, 20.0, k=8192, dependent_launch=True)]
        done = self.run_tool("plot", self.write("apart", run_of(apart)), "--out", self.path("apart"))
        self.assertIn("no throughput_scaling, no latency_comparison", done.stdout)
        self.assertFalse(os.path.exists(self.path("apart", "latency_comparison.svg")))

    def test_one_cell_without_a_baseline_is_enough(self):
        run = self.write("run", run_of([row(1, 10.0, vs_baseline=None)]))
        self.assertIn("no speedup_heatmap", self.run_tool("plot", run, "--out", self.path("pictures")).stdout)

    def test_a_peers_run_of_more_programs_than_colours_is_drawn_and_says_whom_it_leaves_out(self):
        rows = [row(m, 10.0 + i, implementation=f"program {i} full", threads=2, operations=None, bytes=None, vs_baseline=None)
                for m in (1, 16) for i in range(10)]
        done = self.run_tool("plot", self.write("run", run_of(rows)), "--out", self.path("pictures"))
        self.assertIn("only 8 colours: program 8 full, program 9 full", done.stdout)
        self.assertIn("no roofline", done.stdout)
        self.assertIn(">program 0 full<", pathlib.Path(self.path("pictures", "throughput_scaling.svg")).read_text())

    def test_numbers_beyond_reason_are_not_drawn(self):
        wild = [row(1, 1e308, operations=1e308, bytes=1e-308), row(16, 1e-300)]
        self.fails(BAD_INPUT, "no timed products", "plot", self.write("wild", run_of(wild)), "--out", self.path("p"))
        self.run_tool("plot", self.write("mixed", run_of(self.rows() + wild)), "--out", self.path("p"))

    def test_refusals(self):
        run = self.write("run", run_of(self.rows()))
        done = self.fails(UNSUPPORTED, "gnuplot-nox", "plot", run, "--out", self.path("p"),
                environment={"BILLFISH_GNUPLOT": "no-such-program"})
        self.assertEqual(done.stdout, "")
        self.fails(BAD_INPUT, "no timed products", "plot", run, "--act", "bf16", "--out", self.path("p"))
        self.fails(BAD_INPUT, self.path("none"), "plot", self.path("none"), "--out", self.path("p"))
        self.fails(USAGE, "--out", "plot", run)
        self.assertFalse(os.path.exists(self.path("p")))

    def test_an_unwritable_folder(self):
        pathlib.Path(self.path("file")).write_text("x")
        run = self.write("run", run_of(self.rows()))
        self.fails(BAD_INPUT, self.path("file"), "plot", run, "--out", self.path("file", "inside"))


class CommittedRuns(CliTest):
    def test_every_committed_run_can_be_read(self):
        for results in pathlib.Path(SOURCE, "bench", "results").glob("*/results.json"):
            self.run_tool("compare", results, results.parent)


if __name__ == "__main__":
    support.main()
