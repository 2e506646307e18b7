# SPDX-License-Identifier: Apache-2.0
"""`billfish bench` on a CPU and bench/table.py: the files that a run leaves, going on after a cut, tables, and refusals."""
import csv
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

BIN = os.environ["BILLFISH_BIN"]
SOURCE = pathlib.Path(os.environ["BILLFISH_SOURCE_DIR"])
TABLE = SOURCE / "bench" / "table.py"
QUICK = ["bench", "--device", "cpu", "--threads", "2", "--seconds", "0.02"]
SMALL = [*QUICK, "--n", "192", "--k", "256"]
SCHEMA = ["kind", "m", "n", "k", "type", "group", "act", "precision", "implementation", "threads", "us_median", "us_min", "us_max",
          "us_p10", "us_p90", "samples", "gbps", "gflops", "t_over_roofline", "vs_baseline", "worst_error", "bound"]


def run(*arguments, **settings):
    return subprocess.run([BIN, *arguments], capture_output=True, text=True, timeout=300, **settings)


class Bench(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.out = pathlib.Path(self.folder.name) / "run"

    def tearDown(self):
        self.folder.cleanup()

    def results(self):
        return json.loads((self.out / "results.json").read_text())

    def test_a_run_leaves_rows_that_hold_what_the_schema_says(self):
        done = run(*SMALL, "--m", "1", "3", "--precision", "full,bf16,int8", "--out", str(self.out))
        self.assertEqual(done.returncode, 0, done.stderr)
        results = self.results()
        self.assertEqual(results["schema"], 1)
        self.assertTrue(results["valid"])
        self.assertGreater(results["ceilings"]["read_gbps"], 0)
        self.assertGreater(results["ceilings"]["f32_gflops"], 0)
        kinds = [row["kind"] for row in results["rows"]]
        self.assertEqual(kinds.count("gemm"), 6)
        self.assertEqual(kinds.count("pack"), 1)
        self.assertEqual(kinds.count("baseline"), 4)  # f32 and bf16, two M
        for row in results["rows"]:
            self.assertLessEqual(set(SCHEMA), set(row))
            self.assertLessEqual(row["us_min"], row["us_p10"])
            self.assertLessEqual(row["us_p10"], row["us_median"])
            self.assertLessEqual(row["us_median"], row["us_p90"])
            self.assertLessEqual(row["us_p90"], row["us_max"])
            if row["kind"] == "gemm":
                self.assertGreater(row["vs_baseline"], 0)
                self.assertLessEqual(row["worst_error"], row["bound"])
                self.assertTrue(row["correct"])
                # 2 m n k over time, in the units that are printed.
                self.assertAlmostEqual(row["gflops"] * row["us_median"], 2e-3 * row["m"] * 192 * 256, delta=1e-6 * row["m"] * 192 * 256)
        with open(self.out / "performance_results.csv") as file:
            rows = list(csv.DictReader(file))
        self.assertEqual(len(rows), len(results["rows"]))
        self.assertEqual([row["kind"] for row in rows], kinds)
        self.assertAlmostEqual(float(rows[-1]["us_median"]), results["rows"][-1]["us_median"])

    def test_the_same_command_goes_on_where_it_stopped(self):
        first = run(*SMALL, "--m", "1,2", "--out", str(self.out))
        self.assertEqual(first.returncode, 0, first.stderr)
        before = self.results()
        before["rows"] = [row for row in before["rows"] if row["m"] != 2]  # as if it had been cut
        (self.out / "results.json").write_text(json.dumps(before))
        second = run(*SMALL, "--m", "1,2", "--out", str(self.out))
        self.assertEqual(second.returncode, 0, second.stderr)
        after = self.results()
        self.assertEqual(after["when"], before["when"])
        self.assertEqual(after["rows"][:len(before["rows"])], before["rows"])
        self.assertEqual([row["m"] for row in after["rows"] if row["kind"] == "gemm"], [1, 2])

    def test_the_folder_of_another_command_is_refused_and_kept(self):
        self.assertEqual(run(*SMALL, "--m", "1", "--out", str(self.out)).returncode, 0)
        before = (self.out / "results.json").read_bytes()
        done = run(*SMALL, "--m", "1,2", "--out", str(self.out))
        self.assertEqual(done.returncode, 3)
        self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
        for words in ("another command", "--m 1 ", "another folder"):
            self.assertIn(words, done.stderr)
        self.assertEqual((self.out / "results.json").read_bytes(), before)
        self.assertEqual(run(*SMALL, "--m", "1", "--out", str(self.out), "--minutes", "1").returncode, 0)

    def test_another_file_is_not_overwritten(self):
        self.out.mkdir()
        (self.out / "results.json").write_text("{\"rows\": 3}")
        done = run(*SMALL, "--m", "1", "--out", str(self.out))
        self.assertEqual(done.returncode, 3)
        self.assertIn("not a results.json of a benchmark", done.stderr)
        self.assertEqual((self.out / "results.json").read_text(), "{\"rows\": 3}")

    def test_json_is_alone_on_stdout(self):
        done = run(*SMALL, "--m", "1", "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(json.loads(done.stdout)["schema"], 1)

    def test_every_type_and_odd_shape_is_measured(self):
        for extra in (["--type", "u4", "--act", "bf16"], ["--type", "u8b128", "--group", "-1", "--act", "f32"],
                      ["--type", "u8", "--group", "32"]):
            done = run(*QUICK, "--n", "77", "--k", "130", "--m", "5", *extra)
            self.assertEqual(done.returncode, 0, (extra, done.stderr))

    def test_shapes_by_name_and_by_file(self):
        for file in sorted((SOURCE / "bench" / "shapes").glob("*.txt")):
            lines = [line.split("#")[0].split() for line in file.read_text().splitlines()]
            for words in filter(None, lines):
                self.assertGreaterEqual(len(words), 3, file)
                self.assertEqual(int(words[0]) % 128, 0, file)
        shapes = pathlib.Path(self.folder.name) / "mine.txt"
        shapes.write_text("# mine\n256 64 a small one\n\n128 64\n")
        done = run(*QUICK, "--shapes", str(shapes), "--m", "1", "--out", str(self.out))
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual({(row["k"], row["n"]) for row in self.results()["rows"]}, {(256, 64), (128, 64)})

    def test_refusals_say_what_is_wrong(self):
        broken = pathlib.Path(self.folder.name) / "broken.txt"
        broken.write_text("4096 4096 fine\n4096 none\n")
        for arguments, code, words in ((["--shapes", "no-such-model"], 3, "no-such-model"), (["--shapes", str(broken)], 3, ":2:"),
                                       (["--m", "0"], 2, "--m"), (["--n", "64"], 2, "--k"), (["--group", "0"], 2, "--group"),
                                       (["--cliff"], 2, "--device cuda"), (["--type", "u5"], 2, "u5"), (["--precision", "f8"], 2, "f8")):
            done = run("bench", "--device", "cpu", *arguments)
            self.assertEqual(done.returncode, code, (arguments, done.stderr))
            self.assertIn(words, done.stderr)
            self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)


def cell(m, ratio, peer, dependent=True):
    return {"kind": "gemm", "type": "u4b8", "group": 128, "act": "f16", "implementation": "sm90", "m": m, "n": 64, "k": 64,
            "us_median": 1.0, "t_over_roofline": ratio, "vs_cublas": peer, "vs_best_peer": peer, "best_peer": "x",
            "dependent_launch": dependent}


class Table(unittest.TestCase):
    def table(self, rows, valid=True):
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump({"schema": 1, "device": "d", "when": "w", "command": "c", "valid": valid, "ceilings": {}, "rows": rows}, file)
            file.flush()
            return subprocess.run([sys.executable, str(TABLE), file.name, "--check"], capture_output=True, text=True, timeout=60)

    good = [cell(m, 0.85, 1.3) for m in (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192)]

    def test_a_good_run_passes(self):
        done = self.table(self.good)
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertNotIn("MISSED", done.stdout)

    def test_a_missed_floor_a_slow_cell_an_absent_row_and_an_invalid_run_do_not(self):
        for rows, valid, words in ((self.good + [cell(1, 40.0, 1.3)], True, "MISSED"),
                                   (self.good + [cell(16, 0.85, 0.99)], True, "1.010 x x"),
                                   (self.good[1:4] + self.good[5:], True, "not measured"), (self.good, False, "NOT VALID"),
                                   (self.good + [cell(1, 0.85, 0.9, False)], True, "isolated launches")):
            done = self.table(rows, valid)
            self.assertEqual(done.returncode, 1, (words, done.stdout))
            self.assertIn(words, done.stdout)


if __name__ == "__main__":
    unittest.main()
