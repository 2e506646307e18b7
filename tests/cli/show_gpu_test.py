# SPDX-License-Identifier: Apache-2.0
"""`billfish show` and `billfish gpu` on a machine without a GPU: what they print (snapshots of it in tests/cli/snapshots), their pictures
and refusals. Snapshots are written anew with BILLFISH_WRITE_SNAPSHOTS=1."""

import json
import os
import pathlib
import xml.etree.ElementTree

import support
from support import BAD_INPUT, DEVICE, SOURCE, UNSUPPORTED, USAGE, CliTest

SNAPSHOTS = pathlib.Path(SOURCE, "tests", "cli", "snapshots")
H200 = os.path.join(SOURCE, "bench", "devices", "h200.json")
SVG = "{http://www.w3.org/2000/svg}"


class ShowAndGpu(CliTest):
    def setUp(self):
        super().setUp()
        # A device of fixed facts, so that outputs do not change when the committed one is measured anew.
        document = {"schema": 1, "when": "2026-01-02T03:04:05Z",
                    "facts": {"name": "NVIDIA Test", "driver": "1.2.3", "major": 9, "minor": 0, "multiprocessors": 132, "clock_mhz": 1980,
                              "memory_clock_mhz": 3201, "memory_bus_bits": 6144, "registers_per_sm": 65536, "threads_per_sm": 2048,
                              "blocks_per_sm": 32, "threads_per_block": 1024, "driver_cuda": 13000, "runtime_cuda": 0,
                              "memory_bytes": 150000000000, "l2_bytes": 62914560, "shared_per_sm": 233472, "shared_per_block": 232448,
                              "shared_reserved": 1024},
                    "measured": {"read_gbps": 4690.0, "copy_gbps": 4200.0, "l2_gbps": 6000.0, "shared_gbps": 31000.0, "memory_ns": 600.0,
                                 "l2_ns": 200.0, "launch_us": 2.5, "graph_us": 1.25, "round_trip_us": 6.0, "mma_tflops": 600.0,
                                 "wgmma_tflops": 900.0}}
        self.document = document
        self.device = self.path("device.json")
        pathlib.Path(self.device).write_text(json.dumps(document))

    def snapshot(self, name, *arguments):
        text = self.run_tool(*arguments).stdout.replace(self.folder, "FOLDER")
        file = SNAPSHOTS / f"{name}.txt"
        if os.environ.get("BILLFISH_WRITE_SNAPSHOTS"):
            file.write_text(text)
        self.assertEqual(text, file.read_text(), f"{file} is not what `billfish {' '.join(map(str, arguments))}` prints")
        return text

    def picture(self, *names):
        root = xml.etree.ElementTree.parse(self.path(*names)).getroot()
        return root, " ".join("".join(text.itertext()) for text in root.iter(SVG + "text"))

    # ------------------------------------------------------------------------------------------------------------- show

    def test_packing_as_text(self):
        self.snapshot("packing-gptq", "show", "packing", "--n", 64, "--k", 16, "--format", "gptq", "--lines", 4)
        self.snapshot("packing-awq", "show", "packing", "--n", 64, "--k", 16, "--format", "awq", "--type", "u4", "--lines", 4)

    def test_packing_verified_in_every_format(self):
        for name, types in (("gptq", "u4b8 u4 u8b128 u8"), ("gptq_v2", "u4b8 u4"), ("awq", "u4b8 u4"),
                            ("compressed-tensors", "u4b8 u4 u8b128 u8"), ("raw", "u4b8 u4 u8b128 u8")):
            for weight in types.split():
                text = self.run_tool("show", "packing", "--n", 72, "--k", 48, "--group", 16, "--format", name, "--type", weight,
                        "--lines", 1,
                                     "--verify").stdout
                self.assertIn("packed    3456 codes are where the picture says", text, (name, weight))
                self.assertIn("unpacked  the same bytes", text, (name, weight))
                self.assertIn("rows right", text, (name, weight))

    def test_packing_verified_where_columns_do_not_fill_the_last_word(self):
        for n, k, name, weight in ((60, 16, "gptq", "u4b8"), (57, 32, "gptq", "u4"), (61, 16, "gptq", "u8b128"), (60, 16, "gptq_v2", "u4")):
            text = self.run_tool("show", "packing", "--n", n, "--k", k, "--format", name, "--type", weight, "--verify").stdout
            self.assertIn("unpacked  the same ", text)
            self.assertIn("rows right", text)

    def test_packing_as_a_picture_has_a_cell_a_code_on_both_sides(self):
        for format_name, weight in (("gptq", "u4b8"), ("awq", "u4"), ("gptq", "u8b128")):
            self.run_tool("show", "packing", "--format", format_name, "--type", weight, "--svg", self.path("p.svg"))
            root, words = self.picture("p.svg")
            cells = [text.text for text in root.iter(SVG + "text") if text.text and text.text.count(",") == 1 and text.text[0].isdigit()]
            self.assertEqual(len(cells), 2 * 16 * 64, format_name)
            self.assertEqual(len(set(cells)), 16 * 64, format_name)
            self.assertIn("Marlin bytes", words)

    def test_a_picture_replaces_no_other_kind_of_file(self):
        with open(self.path("notes.txt"), "w", encoding="ascii") as file:
            file.write("mine")
        self.fails(USAGE, ["notes.txt", "no SVG picture"], "show", "packing", "--svg", self.path("notes.txt"))
        with open(self.path("notes.txt"), encoding="ascii") as file:
            self.assertEqual(file.read(), "mine")
        for _ in range(2):  # the second replaces the first
            self.run_tool("show", "packing", "--svg", self.path("p.svg"))

    def test_a_picture_makes_no_folders(self):
        there = self.path("missing", "p.svg")
        for command in (["plan", "--m", "1", "--n", "64", "--k", "64"], ["packing"]):
            self.fails(BAD_INPUT, ["missing is no folder", "make it first"], "show", *command, "--svg", there)
        self.assertFalse(os.path.exists(self.path("missing")))

    def test_dequant_agrees_with_the_library_for_every_type(self):
        self.snapshot("dequant", "show", "dequant", "--word", "0x89abcdef")
        for weight in ("u4b8", "u4", "u8b128", "u8"):
            for act in ("f16", "bf16"):
                for word in ("0", "ffffffff", "80402010", "7f80ff01"):
                    self.run_tool("show", "dequant", "--word", word, "--type", weight, "--act", act, "--lane", 31)

    def test_plan_names_tiles_stages_and_the_reduction(self):
        for arguments in (["--m", 16, "--n", 4096, "--k", 4096], ["--m", 2000, "--n", 11008, "--k", 4096], ["--m", 1, "--n", 200,
                "--k", 1000],
                          ["--m", 8, "--n", 4096, "--k", 4096, "--device", "sm_80"], ["--m", 3, "--n", 640, "--k", 512, "--type", "u4"]):
            text = self.run_tool("show", "plan", *arguments, "--svg", self.path("plan.svg")).stdout
            for words in ("tiles of", "blocks ", "reduction ", "shared memory "):
                self.assertIn(words, text)
            root, words = self.picture("plan.svg")
            for title in ("C: ", "K of the first tile", "Shared memory of a block", "reduction: "):
                self.assertIn(title, words)
            self.assertLess(float(root.get("height")), 1200)

    def test_a_zeroed_workspace_shows_the_streaming_plan(self):
        """Few tokens; each block's items in order, every item once."""
        problem = ["--m", 1, "--n", 4096, "--k", 4096]
        self.assertNotIn("stream", self.run_tool("show", "plan", *problem).stdout)
        for m, n in ((1, 4096), (8, 11008), (3, 200)):
            text = self.run_tool("show", "plan", "--m", m, "--n", n, "--k", 4096, "--zeroed-workspace", "--svg", self.path("p.svg")).stdout
            self.assertIn(f"m={m} n={n} k=4096 u4b8 group 128 f16, zeroed workspace", text)
            self.assertIn("sm90 stream-8", text)
            _, words = self.picture("p.svg")
            self.assertIn("zeroed workspace", words)
        found = self.json_of("gpu", "kernel-config", *problem, "--zeroed-workspace", "--device-facts", self.device)
        self.assertIn("stream-8", found["launch"])
        self.assertEqual(found["blocks"], 132)
        plan = self.json_of("explain", *problem, "--device", "sm_90", "--zeroed-workspace")
        self.assertIs(plan["problem"]["zeroed_workspace"], True)
        self.assertIs(self.json_of("explain", *problem, "--device", "sm_90")["problem"]["zeroed_workspace"], False)

    def test_show_refuses(self):
        for expect, words, arguments in (
            (USAGE, "are all needed", ["plan", "--m", 1]),
            (UNSUPPORTED, "sm_90", ["plan", "--m", 1, "--n", 64, "--k", 64, "--device", "cpu"]),
            (USAGE, "--word", ["dequant", "--word", "xyz"]), (USAGE, "--lane", ["dequant", "--lane", 32]),
            (USAGE, "--act", ["dequant", "--act", "f32"]), (USAGE, "--zero", ["dequant", "--zero", 16, "--type", "u4"]),
            (USAGE, "--scale", ["dequant", "--scale", "nan"]), (USAGE, "--scale", ["dequant", "--scale", "inf"]),
            (USAGE, "--scale", ["dequant", "--scale", "1e300"]),
            (USAGE, "--format", ["packing", "--format", "zip"]), (USAGE, "--n", ["packing", "--n", 0]),
            (UNSUPPORTED, "AWQ", ["packing", "--format", "awq", "--type", "u8"]),
            (USAGE, "--svg", ["packing", "--n", 4096, "--k", 4096, "--svg", self.path("x.svg")])):
            self.fails(expect, words, "show", *arguments)
        self.assertFalse(os.path.exists(self.path("x.svg")))
        self.fails(USAGE, "subcommand", "show")

    # -------------------------------------------------------------------------------------------------------------- gpu

    def test_snapshot_of_a_recorded_device(self):
        self.snapshot("gpu-snapshot", "gpu", "snapshot", "--device-facts", self.device, "--visualize")
        document = self.json_of("gpu", "snapshot", "--device-facts", self.device)
        self.assertEqual(document["facts"]["multiprocessors"], 132)
        self.assertAlmostEqual(document["theoretical"]["read_gbps"], 2 * 3201e6 * 6144 / 8 * 1e-9)
        self.assertAlmostEqual(document["theoretical"]["tensor_tflops"], 132 * 1980e6 * 4096 * 1e-12)
        self.run_tool("gpu", "snapshot", "--device-facts", self.device, "--visualize", "--out", self.path("out"))
        again = json.loads(pathlib.Path(self.path("out", "snapshot.json")).read_text())
        self.assertEqual(again["measured"], self.document["measured"])
        _, words = self.picture("out", "memory.svg")
        self.assertIn("6.00 TB/s measured", words)

    def test_a_figure_that_cannot_be_is_left_out_and_said(self):
        self.document["measured"]["shared_gbps"] = 62170.0
        pathlib.Path(self.device).write_text(json.dumps(self.document))
        found = self.json_of("gpu", "snapshot", "--device-facts", self.device)
        self.assertFalse(found["measured"]["shared_gbps"])
        self.assertEqual(len(found["missing"]), 1)
        self.assertIn("shared memory, read left out: 62170 GB/s were measured", found["missing"][0])
        text = self.run_tool("gpu", "snapshot", "--device-facts", self.device).stdout
        self.assertRegex(text, "shared memory, read +not measured")

    def test_a_snapshot_can_be_read_back(self):
        self.run_tool("gpu", "snapshot", "--device-facts", self.device, "--out", self.path("out"))
        first = self.json_of("gpu", "kernel-config", "264;256", "--device-facts", self.device)
        second = self.json_of("gpu", "kernel-config", "264;256", "--device-facts", self.path("out", "snapshot.json"))
        first.pop("source"), second.pop("source")
        self.assertEqual(first, second)

    def test_kernel_config_as_text(self):
        self.snapshot("kernel-config", "gpu", "kernel-config", "128,4,1;256,1,1", "--smem", 49152, "--regs", 96, "--device-facts",
                self.device)

    def test_occupancy_by_hand(self):
        """Blocks a multiprocessor by each limit, and what is left for the last wave."""
        for launch, options, limits, by, last in (
            ("512;256", ["--smem", 49152, "--regs", 96], {"threads": 8, "blocks": 32, "registers": 2, "shared": 4}, "registers", 248),
            ("132;1024", [], {"threads": 2, "blocks": 32, "registers": None, "shared": 228}, "threads", 132),
            # 18 warps of 2 blocks are 5 on the fullest quarter, and 5 x 32 x 104 registers are too many.
            ("1;288", ["--regs", 104], {"threads": 7, "blocks": 32, "registers": 1, "shared": 228}, "registers", 1),
            ("1;288", ["--regs", 96], {"threads": 7, "blocks": 32, "registers": 2, "shared": 228}, "registers", 1),
            ("100000;32", [], {"threads": 64, "blocks": 32, "registers": None, "shared": 228}, "blocks", 100000 % (32 * 132)),
            ("1;32", ["--smem", 232448], {"threads": 64, "blocks": 32, "registers": None, "shared": 1}, "shared memory", 1)):
            found = self.json_of("gpu", "kernel-config", launch, *options, "--device-facts", self.device)
            self.assertEqual((found["limits"], found["limited_by"], found["last_wave"]), (limits, by, last), launch)
            self.assertEqual(found["blocks_per_sm"], min(v for v in limits.values() if v is not None))
            self.assertEqual(found["places"], 132 * found["blocks_per_sm"])
            self.assertAlmostEqual(found["waves"], int(launch.split(";")[0]) / found["places"])
            self.assertAlmostEqual(found["bytes_needed"], 600 * 4690)

    def test_kernel_config_of_a_plan_and_its_picture(self):
        found = self.json_of("gpu", "kernel-config", "--m", 16, "--n", 4096, "--k", 4096, "--device-facts", self.device, "--svg",
                self.path("k.svg"))
        self.assertGreater(found["bytes_in_flight"], 0)
        root, words = self.picture("k.svg")
        self.assertIn("132 multiprocessors", words)
        self.assertGreaterEqual(len(list(root.iter(SVG + "rect"))), 132)

    def test_without_a_gpu_the_recorded_h200_stands_in(self):
        found = self.json_of("gpu", "kernel-config", "132;128")
        self.assertEqual(found["device"], "NVIDIA H200")
        self.assertEqual(json.loads(pathlib.Path(H200).read_text())["facts"]["multiprocessors"], 132)

    def test_without_a_gpu_every_other_command_says_what_is_missing(self):
        for arguments in (["snapshot"], ["monitor", 1], ["benchmark"]):
            done = self.run_tool("gpu", *arguments, expect=DEVICE)
            self.assertIn("CUDA", done.stderr)
            self.assertNotIn("use --device cpu", done.stderr)
            self.assertEqual(done.stdout, "")

    def test_gpu_benchmark_refuses_what_is_no_gpu(self):
        for device in ("cpu", "foo"):
            self.fails(USAGE, ["cuda or cuda:INDEX"], "gpu", "benchmark", "--device", device)

    def test_gpu_refuses(self):
        for words, arguments in ((["GRID;BLOCK"], ["128"]), (["GRID;BLOCK"], ["1;2;3"]), (["GRID;BLOCK"], ["1,2,3,4;1"]),
                (["GRID;BLOCK"], ["0;1"]),
                                 (["1024"], ["1;1025"]), (["232448"], ["1;32", "--smem", 232449]), (["--regs"], ["1;32", "--regs", 256]),
                                 (["65536"], ["1;1024", "--regs", 255]), (["not both"], ["1;32", "--m", 1, "--n", 1, "--k", 1]),
                                 (["are all needed"], []),
                                 (["--device foo", "sm_90"], ["1;32", "--device", "foo"]), (["sm_80"], ["1;32", "--device", "sm_80"]),
                                 (["65535"], ["1,65536;32"]), (["65535"], ["1,1,65536;32"]), (["64"], ["1;1,1,65"])):
            self.fails(USAGE, words, "gpu", "kernel-config", *arguments, "--device-facts", self.device)
        self.run_tool("gpu", "kernel-config", "70000,65535,1;1,1,64", "--device", "sm_90", "--device-facts", self.device)
        for text, words in (("{}", "no facts"), ('{"facts": {"major": 9}}', "facts.multiprocessors"), ("x", "no facts"),
                            ('{"facts": {"major": -1}}', "major"), ('{"facts": {"major": "9"}}', "major")):
            pathlib.Path(self.path("bad.json")).write_text(text)
            self.fails(BAD_INPUT, [self.path("bad.json"), words], "gpu", "kernel-config", "1;32", "--device-facts", self.path("bad.json"))
        self.fails(USAGE, "subcommand", "gpu")
        pathlib.Path(self.path("file")).write_text("x")
        self.fails(BAD_INPUT, self.path("file"), "gpu", "snapshot", "--device-facts", self.device, "--out", self.path("file", "inside"))


if __name__ == "__main__":
    support.main()
