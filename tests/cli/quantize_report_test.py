# SPDX-License-Identifier: Apache-2.0
"""`billfish quantize --demo`, the reports that --report leaves, and docs/quantize.md, whose commands run here on the demo's own model."""
import csv
import json
import math
import os
import random
import re
import shutil
import signal
import struct
import subprocess
import tempfile
import time
import unittest
import xml.etree.ElementTree

import support
from support import BAD_INPUT, BIN, INTERRUPTED, OK, SOURCE, USAGE, CliTest

PAGE = os.path.join(SOURCE, "docs", "quantize.md")
COLUMNS = ["method", "error of weights", "of outputs", "on samples kept aside", "from the file", "cosine", "memory", "time", "oracle"]
MARK = "<!-- made by billfish quantize --report -->"
LAYER = "model.layers.0.self_attn.k_proj"


def read(*names):
    with open(os.path.join(*names), encoding="utf-8") as file:
        return file.read()


def rows_of(*names):
    with open(os.path.join(*names), newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def fences(text):
    """The fenced blocks of a page, each as a list of lines."""
    return [block.split("\n")[1:-1] for block in re.findall(r"^```.*?^```", text, re.MULTILINE | re.DOTALL)]


class Shared:
    """One demo for all tests: its model, samples and checkpoints in demo/, its reports in demo-report/."""
    folder = done = None


def setUpModule():
    Shared.folder = tempfile.mkdtemp(prefix="billfish-test-")
    unittest.addModuleCleanup(shutil.rmtree, Shared.folder, ignore_errors=True)
    Shared.done = subprocess.run([BIN, "quantize", "--demo", "demo", "--report", "demo-report", "--threads", "2"], cwd=Shared.folder,
                                 stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300, check=False)


class Quantized(CliTest):
    def shared_path(self, *names):
        return os.path.join(Shared.folder, *names)

    def quantize(self, *arguments, **options):
        return self.run_tool("quantize", self.shared_path("demo", "model"), self.path("out"), *arguments, **options)

    def check_links(self, folder, at_least):
        text = read(folder, "report.md")
        targets = [target for target in re.findall(r"\]\(([^)]+)\)", text) if not target.startswith("#")]
        for target in targets:
            self.assertTrue(os.path.getsize(os.path.join(folder, target)) > 0, target)
        pictures = [target for target in targets if target.endswith(".svg")]
        self.assertGreaterEqual(len(pictures), at_least, folder)
        for picture in pictures:
            root = xml.etree.ElementTree.parse(os.path.join(folder, picture)).getroot()
            self.assertTrue(root.tag.endswith("svg"))
            with open(os.path.join(folder, picture[:-4] + ".png"), "rb") as file:
                self.assertEqual(file.read(8), b"\x89PNG\r\n\x1a\n", picture)
        return text


class Demo(Quantized):
    def test_every_method_is_tabled_and_right(self):
        self.assertEqual((Shared.done.returncode, Shared.done.stderr), (OK, ""), Shared.done.stdout)
        lines = Shared.done.stdout.splitlines()
        header = next(i for i, line in enumerate(lines) if line.startswith("method"))
        self.assertEqual(re.split(r"  +", lines[header].strip()), COLUMNS)
        table = {row[0]: row for row in (re.split(r"  +", line.strip()) for line in lines[header + 1:header + 4])}
        self.assertEqual(set(table), {"rtn", "gptq", "awq"})
        for row in table.values():
            self.assertEqual(len(row), len(COLUMNS), row)
            self.assertEqual(row[3], row[4])  # what was reported, and what the written file gives
            self.assertEqual(row[-1], "right")
        for method in ("gptq", "awq"):  # far from a draw on a model with outliers
            self.assertLess(float(table[method][2]), 0.8 * float(table["rtn"][2]))
            self.assertLess(float(table[method][3]), 0.8 * float(table["rtn"][3]))
            self.assertGreater(float(table[method][5]), float(table["rtn"][5]))
        self.assertIn("Everything was right", lines[-1])

    def test_its_checkpoints_are_for_the_other_commands(self):
        for method in ("rtn", "gptq", "awq"):
            inspected = json.loads(self.run_tool("inspect", self.shared_path("demo", method), "--json").stdout)
            self.assertEqual(len(inspected["layers"]), 14)
        self.run_tool("verify", self.shared_path("demo", "gptq"), "--m", "3")

    def test_a_folder_with_something_in_it_is_refused(self):
        self.fails(USAGE, ["--demo", "not an empty folder"], "quantize", "--demo", self.shared_path("demo"), "--report",
                   self.path("report"))
        self.assertFalse(os.path.exists(self.path("report")))

    def test_options_that_it_would_not_heed_are_refused(self):
        for extra in (["--method", "gptq"], ["--clip"], ["--layers", "mlp"], [self.path("out"), "--resume"]):
            self.fails(USAGE, "--demo makes its own model", "quantize", "--demo", self.path("demo"), *extra)
        self.assertEqual(os.listdir(self.folder), [])


class Reports(Quantized):
    def test_everything_a_report_names_is_there(self):
        for method, at_least in (("rtn", 7), ("gptq", 7), ("awq", 8)):
            text = self.check_links(self.shared_path("demo-report", method), at_least)
            self.assertTrue(text.startswith(MARK))
            self.assertNotIn("Not complete", text)
            for heading in ("Error of every layer", "Outputs on samples kept aside", "Weights before and after", "Salient channels",
                            "Error against group size", "Memory before and after", "Time of every layer", "Notes and fallbacks"):
                self.assertIn(f"## {heading}", text)
            self.assertIn("left as it is", text)  # embeddings and head, with their reasons
        self.check_links(self.shared_path("demo-report"), 1)

    def test_csv_has_every_layer_and_the_numbers_of_the_json(self):
        for method in ("rtn", "gptq", "awq"):
            folder = self.shared_path("demo-report", method)
            rows, document = rows_of(folder, "layers.csv"), json.loads(read(folder, "report.json"))
            self.assertTrue(document["complete"])
            self.assertEqual([row["layer"] for row in rows], [layer["name"] for layer in document["layers"]])
            self.assertEqual(len(rows), 14)
            for row, layer in zip(rows, document["layers"]):
                self.assertEqual((int(row["n"]), int(row["k"]), int(row["tokens"])), (layer["n"], layer["k"], 4096 - 4096 // 8))
                for name in ("weight_error", "output_error", "nearest_output_error", "held_out_error", "held_out_cosine"):
                    self.assertAlmostEqual(float(row[name]), layer[name], delta=1e-5 * abs(layer[name]))
                self.assertAlmostEqual(sum(layer["values"]["before"]), 100, places=6)  # per cent of the weights
                self.assertAlmostEqual(sum(layer["grid"]["after"]), 100, places=6)
                self.assertEqual(layer["salient"], sorted(layer["salient"], key=lambda channel: -channel[1]))
            sizes = {int(row["group"]) for row in rows_of(folder, "groups.csv")}
            self.assertLessEqual({32, 64, 128, 256, 512}, sizes)
            self.assertEqual(len({row["layer"] for row in rows_of(folder, "channels.csv")}), 14)

    def test_the_error_of_weights_is_that_of_the_files(self):
        original = support.read_model(self.shared_path("demo", "model"))[LAYER + ".weight"]
        weights = support.floats_of(original[2], original[0])
        n, k = original[1]
        tensors = support.read_model(self.shared_path("demo", "rtn"))
        words = support.words_of(tensors[LAYER + ".qweight"][2])
        scales = support.floats_of(tensors[LAYER + ".scales"][2], tensors[LAYER + ".scales"][0])
        error = size = 0.0
        for j in range(k):
            for i in range(n):
                code = words[j // 8 * n + i] >> (4 * (j % 8)) & 15
                weight = weights[i * k + j]
                error += (weight - scales[j // 128 * n + i] * (code - 8)) ** 2
                size += weight * weight
        row = next(row for row in rows_of(self.shared_path("demo-report", "rtn"), "layers.csv") if row["layer"] == LAYER)
        self.assertAlmostEqual(float(row["weight_error"]), math.sqrt(error / size), delta=1e-4 * float(row["weight_error"]))

    def test_without_gnuplot_there_are_words(self):
        done = self.quantize("--method", "rtn", "--report", self.path("report"), environment={"BILLFISH_GNUPLOT": "/no/such/gnuplot"})
        self.assertIn("without pictures: /no/such/gnuplot is not installed here", done.stdout)
        text = read(self.path("report"), "report.md")
        self.assertIn("No pictures: /no/such/gnuplot is not installed here", text)
        self.assertNotIn(".svg", text)
        self.assertEqual(len(rows_of(self.path("report"), "layers.csv")), 14)

    def test_names_are_no_markup_and_odd_layers_no_trouble(self):
        """A name full of Markdown, zeros only, one weight, weights below f16's normal range."""
        rng = random.Random(2)
        tensors = {"a|b`c*d": ([5, 7], [rng.gauss(0, 1) for _ in range(35)]), "zero": ([8, 40], [0.0] * 320), "one": ([1, 1], [0.5]),
                   "tiny": ([4, 64], [1e-7 * rng.gauss(0, 1) for _ in range(256)])}
        support.write_safetensors(self.path("odd.safetensors"), {name + ".weight": ("F32", shape, struct.pack(f"<{len(values)}f", *values))
                                                                 for name, (shape, values) in tensors.items()})
        self.run_tool("quantize", self.path("odd.safetensors"), self.path("out"), "--method", "rtn", "--group", "-1", "--format",
                      "compressed-tensors", "--report", self.path("report"))
        text = self.check_links(self.path("report"), 4)
        rows = [line for line in text.split("## Weights before")[0].splitlines() if line.startswith("| `") and " x " in line]
        self.assertEqual(len(rows), 4)
        self.assertEqual({len(re.findall(r"(?<!\\)\|", row)) for row in rows}, {6})  # cells, not names, part the row
        self.assertEqual([row["layer"] for row in rows_of(self.path("report"), "layers.csv")], sorted(tensors))
        for layer in json.loads(read(self.path("report"), "report.json"))["layers"]:
            self.assertAlmostEqual(sum(layer["grid"]["after"]), 100, places=6)

    def test_a_place_that_cannot_hold_a_report_is_found_before_any_work(self):
        with open(self.path("file"), "w", encoding="ascii") as file:
            file.write("mine")
        os.mkdir(self.path("other"))
        with open(self.path("other", "report.md"), "w", encoding="ascii") as file:
            file.write("# Another report\n")
        for folder, code, words in ((self.path("file", "report"), BAD_INPUT, "cannot make this folder"),
                                    (self.path("other"), USAGE, "not one of billfish quantize"),
                                    (self.path("out", "report"), USAGE, "appears only when it is whole"),
                                    (self.shared_path("demo", "model", "report"), USAGE, "which is read")):
            self.fails(code, ["--report", words], "quantize", self.shared_path("demo", "model"), self.path("out"), "--method", "rtn",
                       "--report", folder)
            self.assertEqual(support.leftovers(self.folder, {"file", "other"}), [])
        self.assertEqual(read(self.path("other"), "report.md"), "# Another report\n")

    def test_an_earlier_report_is_not_trusted(self):
        """What --resume finds in report.json may be anything."""
        self.quantize("--method", "rtn", "--layers", "mlp", "--report", self.path("report"))
        document = json.loads(read(self.path("report"), "report.json"))
        shutil.rmtree(self.path("out"))
        layer = document["layers"][0]
        layer.update(values={"low": -1, "high": 1, "before": [1, 2, 3], "after": [1]}, trials=[[1e300] * 6, [32, None, "x", [], {}, 1], 5],
                     salient="none", n=1e300, seconds=None, grid={"low": 1, "high": 1, "before": [], "after": [1, 2]})
        document["layers"] += [7, {"name": 5}, {"name": "stranger"}]
        for text in (json.dumps(document), "[" * 200 + "]" * 200, "{", ""):
            with open(self.path("report", "report.json"), "w", encoding="ascii") as file:
                file.write(text)
            self.quantize("--method", "rtn", "--layers", "mlp", "--report", self.path("report"), "--resume",
                          environment={"BILLFISH_GNUPLOT": "/no/such/gnuplot"})
            self.assertEqual(len(rows_of(self.path("report"), "layers.csv")), 6)
            shutil.rmtree(self.path("out"))

    def test_an_interrupted_run_leaves_a_report_that_says_so_and_goes_on(self):
        report = self.path("report")
        command = ["quantize", self.shared_path("demo", "model"), self.path("out"), "--method", "gptq", "--threads", "1", "--calibration",
                   self.shared_path("demo", "calibration.safetensors"), "--report", report]
        with subprocess.Popen([BIN, *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
            deadline = time.monotonic() + 60
            while time.monotonic() < deadline and running.poll() is None:
                if os.path.exists(os.path.join(report, "report.md")) and rows_of(report, "layers.csv"):
                    break
                time.sleep(0.002)
            running.send_signal(signal.SIGINT)
            self.assertEqual(running.wait(timeout=60), INTERRUPTED)
        text, early = read(report, "report.md"), rows_of(report, "layers.csv")
        self.assertIn("**Not complete:**", text)
        self.assertTrue(1 <= len(early) < 14, early)
        self.assertEqual([name for name in os.listdir(report) if ".part-" in name], [])
        self.run_tool(*command, "--resume")
        document = json.loads(read(report, "report.json"))
        self.assertEqual(document["complete"], document["unseen"] == [])  # a layer may be done that the report had no time to see
        self.assertTrue(set(document["unseen"]).isdisjoint(row["layer"] for row in early))
        self.assertEqual(len(document["layers"]), 14)
        self.assertEqual("Not complete" in self.check_links(report, 7), document["unseen"] != [])
        kept = {row["layer"]: row["output_error"] for row in early}
        for layer in document["layers"]:
            if layer["name"] in kept:
                self.assertAlmostEqual(layer["output_error"], float(kept[layer["name"]]), delta=1e-5)
                self.assertTrue(layer["grid"]["after"], "what the first run saw of it is still drawn")


class Page(Quantized):
    def test_its_commands_run(self):
        """Every line of a fence that begins with `billfish`, in order, in a folder with the demo's files."""
        commands = [line for block in fences(read(PAGE)) for line in block if line.startswith("billfish ")]
        self.assertGreaterEqual(len(commands), 6)
        for line in commands:
            words = line.split("#")[0].split()
            if "--demo" in words:
                continue  # that is what setUpClass ran
            done = subprocess.run([BIN, *words[1:]], cwd=Shared.folder, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                                  timeout=120, check=False)
            self.assertEqual(done.returncode, OK, f"{line}\n{done.stdout[-1000:]}\n{done.stderr[-1000:]}")

    def test_its_table_is_the_demos(self):
        headers = [re.split(r"  +", line.strip()) for block in fences(read(PAGE)) for line in block if line.startswith("method ")]
        self.assertIn(COLUMNS, headers)

    def test_its_pictures_are_those_that_a_report_draws(self):
        drawn = {name for folder in (("demo-report",), ("demo-report", "gptq"), ("demo-report", "awq"))
                 for name in os.listdir(self.shared_path(*folder)) if name.endswith(".svg")}
        named = set(re.findall(r"\(pictures/quantize-([a-z_]+)\.svg\)", read(PAGE)))
        self.assertGreaterEqual(len(named), 5)
        self.assertLessEqual({name + ".svg" for name in named}, drawn)


if __name__ == "__main__":
    support.main()
