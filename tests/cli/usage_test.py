# SPDX-License-Identifier: Apache-2.0
"""The command line itself: help, exit codes, one-line errors, lists, JSON alone on stdout."""

import json
import os
import subprocess

import support
from support import BAD_INPUT, BIN, COMMANDS, DEVICE, OK, USAGE, CliTest


class Usage(CliTest):
    def test_help_lists_every_command(self):
        text = self.run_tool("--help").stdout
        for command in COMMANDS:
            self.assertIn(f"\n  {command} ", text)

    def test_every_command_has_help_with_an_example(self):
        for command in COMMANDS:
            text = self.run_tool(command, "--help").stdout
            self.assertIn(f"billfish {command}", text)
            self.assertIn("Example:", text)

    def test_without_a_command_it_says_which_there_are(self):
        done = self.fails(USAGE, ["inspect", "demo"])
        self.assertEqual(done.stdout, "")

    def test_an_unknown_command_names_the_known_ones(self):
        self.fails(USAGE, ["frobnicate", "inspect", "verify"], "frobnicate")

    def test_an_unknown_option_points_to_help(self):
        self.fails(USAGE, ["--frobnicate", "billfish inspect --help"], "inspect", "x", "--frobnicate")

    def test_missing_arguments_are_wrong_usage(self):
        for command in COMMANDS:
            if command not in ("demo", "implementations", "version", "bench"):
                self.fails(USAGE, "--help", command)

    def test_a_missing_path_is_bad_input(self):
        missing = self.path("missing")
        for arguments in (["inspect", missing], ["verify", missing], ["pack", missing, self.path("out")],
                          ["unpack", missing, self.path("out")], ["dequantize", missing, "layer", "--out", self.path("w.npy")],
                          ["matmul", missing, "layer", "--input", missing, "--out", self.path("y.npy")],
                          ["extract", missing, "layer", "--out", self.path("raw")],
                          ["percolumn", missing, self.path("p.bin"), "--n", 1, "--groups", 1],
                          ["check", "b", "128", "--qweight", missing]):
            self.fails(BAD_INPUT, missing, *arguments)
        self.assertEqual(os.listdir(self.folder), [])

    def test_control_characters_in_a_path_stay_on_one_line(self):
        self.fails(BAD_INPUT, "", "inspect", self.path("two\nlines\x1b[31m"))

    def test_version_and_implementations(self):
        version = self.json_of("version")
        self.assertEqual(version["schema"], 1)
        self.assertEqual(version["tool"], version["library"])
        self.assertIn(version["library"], self.run_tool("--version").stdout)
        listed = self.json_of("implementations")["implementations"]
        names = [entry["name"] for entry in listed]
        self.assertEqual(sorted(names), sorted(["sm90", "sm80", "cpu_amx", "cpu_avx512", "cpu_avx2", "cpu_scalar", "reference"]))
        for entry in listed:
            self.assertEqual(entry["available"], entry["reason"] == "", entry)
        self.assertTrue(all(entry["available"] for entry in listed if entry["name"] in ("cpu_scalar", "reference")))
        text = self.run_tool("implementations").stdout
        for name in names:
            self.assertIn(name, text)

    def test_no_device_is_exit_5(self):
        for command in (["check", "r", "128"], ["verify", support.fixture("gptq_v1_g128_sym")], ["demo"]):
            self.fails(DEVICE, ["--device cuda", "--device cpu"], *command, "--device", "cuda")
        model = support.fixture("gptq_v1_g128_sym")  # is not looked at
        self.fails(DEVICE, ["--device cuda", "--device cpu"], "quantize", model, self.path("out"), "--method", "rtn", "--device", "cuda")
        self.fails(USAGE, "tpu", "check", "r", "128", "--device", "tpu")

    def test_lists_take_commas_and_spaces_in_any_place(self):
        path = support.fixture("gptq_v1_g32_desc_act")
        for arguments in (["--m", "1,2,5", path], ["--m", "1", "2", "5", path], ["--m", "1 2 5", path], [path, "--m", "1,", "2,5"],
                          ["--m=1,2", "5", path], ["--m", "1", "2", "5", "--json", path]):
            document = self.json_of("verify", *[a for a in arguments if a != "--json"])
            self.assertEqual([row["m"] for row in document["layers"][0]["products"]], [1, 2, 5], arguments)
        self.fails(USAGE, ["--m", "'x'"], "verify", path, "--m", "1,x")
        for empty in ("1,,2", ",1", "1, ,2", ",", "", " "):
            self.fails(USAGE, ["--m", "empty"], "verify", path, "--m", empty)
        self.fails(USAGE, ["--m", "-3"], "verify", path, "--m", "-3")

    def test_sizes_and_times_of_a_benchmark_name_what_is_wrong(self):
        for n, k, option in ((0, 64, "--n"), (64, 0, "--k"), (-64, 64, "--n"), (0, 0, "--n")):
            self.fails(USAGE, [option, "must be positive"], "bench", "--n", n, "--k", k)
        self.fails(USAGE, "--model-dim", "bench", "--device", "cpu", "--model-dim", 0)
        self.fails(USAGE, "--lines", "show", "packing", "--lines", -5)
        self.fails(USAGE, ["--method", "'magic'", "rtn, gptq, awq"], "quantize", "in", "out", "--method", "magic")
        for option in ("--seconds", "--min-time"):
            self.fails(USAGE, [option, "-1", "0 to 3600"], "bench", "--n", 64, "--k", 64, "--device", "cpu", option, -1)

        for option, values in (("--seconds", ("nan", "inf", "3601")), ("--most-seconds", ("nan", "-1", "inf")),
                               ("--minutes", ("nan", "-1", "inf")), ("--seed", ("-1", "99999999999999999999", "x"))):
            for value in values:
                self.fails(USAGE, option, "bench", "--n", 64, "--k", 64, "--device", "cpu", option, value)

    def test_empty_lists_of_a_benchmark_are_refused(self):
        for option in ("--models", "--m", "--act", "--shapes", "--limit-k"):
            for empty in ("", ",", " "):
                self.fails(USAGE, [option, "empty"], "bench", "--device", "cpu", option, empty)

    def test_numbers_are_decimal_and_fit_in_64_bits(self):
        problem = ("explain", "--n", 64, "--k", 64, "--m")
        self.fails(USAGE, ("--m", "010 begins with a zero"), *problem, "010")
        self.fails(USAGE, ("--group", "is beyond 64 bits"), *problem, 8, "--group", "9" * 20)
        self.fails(USAGE, ("--seed", "is beyond 64 bits"), "check", "r", "128", "--seed", "9" * 20)
        self.fails(USAGE, ("--model-dim", "0 is not above 0"), "bench", "--model-dim", 0)
        self.run_tool(*problem, "+8", "--group", "-1")
        self.fails(USAGE, ("--m", "-1", "0 or more"), *problem, -1)

    def test_negative_numbers_are_values(self):
        for arguments in (["check", "r", "-1", "--k", "64", "--n", "64"], ["check", "--k", "64", "--n", "64", "r", "-1"]):
            self.assertIn("PASSED", self.run_tool(*arguments).stdout)

    def test_a_full_disk_behind_stdout_is_an_error(self):
        with open("/dev/full", "w", encoding="ascii") as full:
            done = subprocess.run([BIN, "version"], stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
        self.assertEqual(done.returncode, BAD_INPUT)
        self.assertIn("standard output", done.stderr)

    def test_closed_streams_are_no_crash_and_no_file_takes_their_place(self):
        path, out = support.fixture("gptq_v1_g128_sym"), self.path("packed")
        for words, code in (("inspect missing 2>&-", BAD_INPUT), (f"inspect '{path}' >&-", BAD_INPUT),
                            (f"inspect '{path}' >/dev/null 2>&- <&-", OK), (f"pack '{path}' '{out}' >&- 2>&- <&-", BAD_INPUT),
                            (f"verify '{path}' >/dev/null 2>&-", OK)):
            done = subprocess.run(["sh", "-c", f"'{BIN}' {words}"], timeout=60, check=False, stderr=subprocess.DEVNULL)
            self.assertEqual(done.returncode, code, words)
        self.assertIn("0 failed", self.run_tool("verify", out, "--against", path).stdout)

    def test_a_full_disk_behind_stderr_changes_no_exit_code(self):
        for arguments, code in ((["inspect", self.path("none")], BAD_INPUT), (["frobnicate"], USAGE), (["gpu", "snapshot"], DEVICE),
                                (["inspect", "--frobnicate"], USAGE), (["version"], OK)):
            with open("/dev/full", "w", encoding="ascii") as full:
                done = subprocess.run([BIN, *arguments], stdout=subprocess.DEVNULL, stderr=full, timeout=60, check=False,
                                      env=dict(os.environ, CUDA_VISIBLE_DEVICES=""))
            self.assertEqual(done.returncode, code, arguments)

    def test_a_reader_that_goes_away_is_not_an_error(self):
        done = subprocess.run(["sh", "-c", f"'{BIN}' inspect '{support.fixture('gptq_v1_g128_sym')}' --json; echo $? >&2"],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
        self.assertEqual(done.stderr.strip(), "0")
        closed = subprocess.run(["sh", "-c", f"('{BIN}' inspect '{support.fixture('gptq_v1_g128_sym')}'; echo $? >&2) | true"],
                                stderr=subprocess.PIPE, text=True, timeout=60, check=False)
        self.assertEqual(closed.stderr.strip(), "0")

    def test_a_reader_that_goes_away_in_the_middle_is_not_an_error(self):
        """More than a buffer: the write fails while the command still prints."""
        long = "show packing --n 128 --k 128 --lines 100000"
        done = subprocess.run(["bash", "-c", f"'{BIN}' {long} | head -n 1; exit ${{PIPESTATUS[0]}}"], capture_output=True, text=True,
                              timeout=60, check=False)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        for words in (f"{long} >/dev/full", f"{long} >&-"):
            done = subprocess.run(["sh", "-c", f"'{BIN}' {words}"], capture_output=True, text=True, timeout=60, check=False)
            self.assertEqual(done.returncode, BAD_INPUT, words)
            self.assertIn("could not write to standard output", done.stderr)

    def test_json_is_alone_on_stdout(self):
        path = support.fixture("gptq_v1_g128_sym")
        for arguments in (["inspect", path], ["verify", path, "--m", 1], ["check", "r", 128, "--k", 128, "--n", 64],
                          ["explain", "--m", 1, "--n", 64, "--k", 128], ["pack", path, self.path("packed")], ["implementations"],
                          ["version"]):
            self.assertEqual(json.loads(self.run_tool(*arguments, "--json").stdout).get("schema", 1), 1)

    def test_the_word_types_of_others_are_understood(self):
        for ours, theirs in (("u4b8", "uint4b8"), ("u4", "uint4"), ("u8b128", "uint8b128"), ("u8", "uint8")):
            arguments = ["explain", "--m", 1, "--n", 64, "--k", 128, "--device", "cpu", "--type"]
            self.assertEqual(self.run_tool(*arguments, ours).stdout, self.run_tool(*arguments, theirs).stdout)
        self.fails(USAGE, ["--type", "'u5'", "u4b8"], "explain", "--m", 1, "--n", 64, "--k", 128, "--type", "u5")

    def test_an_unknown_implementation_is_refused_by_name(self):
        done = self.run_tool("check", "r", "128", "--k", 128, "--n", 64, "--implementation", "warp_drive", expect=USAGE)
        self.assertIn("warp_drive", done.stderr)


class Explain(CliTest):
    def explain(self, *arguments, expect=OK):
        return self.json_of("explain", "--m", 16, "--n", 11008, "--k", 4096, "--group", 128, *arguments, expect=expect)

    def test_a_problem_without_rows_columns_or_depth_is_explained(self):
        for device in ("cpu", "sm_80", "sm_90"):
            for m, n, k in ((1, 0, 64), (300, 0, 64), (0, 64, 64), (1, 64, 0), (0, 0, 0)):
                shown = self.json_of("explain", "--m", m, "--n", n, "--k", k, "--device", device)
                self.assertTrue(any(candidate["chosen"] for candidate in shown["candidates"]), (device, m, n, k))

    def test_devices_that_are_not_here_are_explained(self):
        for device in ("cpu", "sm_80", "sm_90"):
            text = json.dumps(self.explain("--device", device))
            for name in ("reference", "cpu_scalar", "sm80", "sm90"):
                self.assertIn(f'"{name}"', text)

    def test_every_refusal_has_a_reason(self):
        text = self.run_tool("explain", "--m", 16, "--n", 4096, "--k", 4096, "--device", "cpu").stdout
        self.assertIn("chosen", text)
        for line in text.splitlines():
            if line.startswith("  ") and line.split()[1:2] == ["no"]:
                self.assertGreater(len(line.split()), 3, line)

    def test_forcing_an_implementation_chooses_it(self):
        text = self.run_tool("explain", "--m", 1, "--n", 64, "--k", 128, "--device", "cpu", "--implementation", "cpu_scalar").stdout
        line = next(line for line in text.splitlines() if line.strip().startswith("cpu_scalar"))
        self.assertIn("chosen", line)


if __name__ == "__main__":
    support.main()
