# SPDX-License-Identifier: Apache-2.0
"""quantize: what an interrupted run leaves and the next one makes of it, and how much memory a run needs."""

import json
import os
import random
import resource
import shutil
import signal
import struct
import time

import support
from quantize_models import Quantize, files_of, gauss, write_model
from support import BAD_INPUT, CliTest


class Interrupted(Quantize):
    """Runs that end by a signal after so many layers, and what the next one makes of them."""

    def stop_after(self, layers, number, arguments):
        """Sends the signal once that many layers are in the journal; the exit code."""
        journal = self.path("out.unfinished", "journal")

        def wait(process):
            while process.poll() is None:
                try:
                    with open(journal, "rb") as file:
                        if file.read().count(b"\nlayer ") >= layers:
                            return
                except FileNotFoundError:
                    pass
                time.sleep(0.001)

        return self.interrupt(number, wait, "quantize", *arguments)

    def test_a_killed_run_goes_on_to_the_same_bytes(self):
        model, calibration = self.model(shards=2), self.calibration()
        for method in ("gptq", "awq"):
            arguments = [model, self.path("out"), "--method", method, "--group", 32, "--calibration", calibration]
            self.run_tool("quantize", model, self.path("whole"), *arguments[2:])
            stops = 0
            for layers in (0, 1, 4, 9, 13):
                for number in (signal.SIGKILL, signal.SIGTERM):
                    code = self.stop_after(layers, number, [*arguments, "--resume", "--threads", 1])
                    stops += code in (-signal.SIGKILL, 128 + signal.SIGTERM)
                    if os.path.exists(self.path("out")):  # it was quicker: that is whole
                        self.assertEqual(files_of(self.path("out")), files_of(self.path("whole")))
                        shutil.rmtree(self.path("out"))
            self.assertGreater(stops, 2)
            found = self.json_of("quantize", *arguments, "--resume")
            self.assertEqual(len(found["layers"]), 14)
            self.assertEqual(files_of(self.path("out")), files_of(self.path("whole")))
            self.assertEqual(support.leftovers(self.folder, {"model", "samples.safetensors", "out", "whole"}), [])
            shutil.rmtree(self.path("out"))
            shutil.rmtree(self.path("whole"))

    def unfinished(self, arguments):
        """A folder with a few finished layers."""
        for _ in range(20):
            if self.stop_after(3, signal.SIGKILL, arguments) == -signal.SIGKILL:
                return
            shutil.rmtree(self.path("out"))
        self.fail("the tool is quicker than the test")

    def test_finished_layers_are_neither_lost_nor_mixed_with_others(self):
        model = self.model()
        arguments = [model, self.path("out"), "--method", "gptq", "--group", 32, "--calibration", self.calibration(), "--threads", 1]
        self.unfinished(arguments)
        self.fails(BAD_INPUT, ["out.unfinished", "--resume"], "quantize", *arguments)
        self.fails(BAD_INPUT, ["out.unfinished", "other options"], "quantize", *arguments, "--bits", 8, "--resume")
        os.utime(os.path.join(model, "model.safetensors"), (1, 1))
        self.fails(BAD_INPUT, ["out.unfinished", "another input"], "quantize", *arguments, "--resume")
        shutil.rmtree(self.path("out.unfinished"))
        self.run_tool("quantize", *arguments, "--resume")

    def test_a_report_names_the_layers_that_it_has_not_seen(self):
        arguments = [self.model(), self.path("out"), "--method", "gptq", "--group", 32, "--calibration", self.calibration(), "--threads", 1]
        self.unfinished(arguments)
        with open(self.path("out.unfinished", "journal"), "rb") as file:
            finished = file.read().count(b"\nlayer ")
        said = self.run_tool("quantize", *arguments, "--resume", "--report", self.path("report")).stdout
        self.assertIn("the report is not complete", said)
        with open(self.path("report", "report.json"), encoding="utf-8") as file:
            document = json.load(file)
        self.assertFalse(document["complete"])
        self.assertLessEqual(1, len(document["unseen"]))
        self.assertLessEqual(len(document["unseen"]), finished)
        self.assertEqual(set(document["unseen"]), {layer["name"] for layer in document["layers"] if layer["tokens"] == 0})
        with open(self.path("report", "report.md"), encoding="utf-8") as file:
            line = next(line for line in file if line.startswith("**Not complete:**"))
        for name in document["unseen"]:
            self.assertIn(f"`{name}`", line)

    def test_damaged_remains_are_made_again(self):
        model = self.model()
        arguments = [model, self.path("out"), "--method", "gptq", "--group", 32, "--calibration", self.calibration(), "--threads", 1]
        self.run_tool("quantize", model, self.path("whole"), *arguments[2:])

        def flip(name, position):
            with open(self.path("out.unfinished", name), "r+b") as file:
                data = file.read()
                at = position % len(data)
                file.seek(at)
                file.write(bytes([data[at] ^ 1]))

        for damage in (
            lambda: flip("checkpoint/model.safetensors", -100_000),
            lambda: flip("checkpoint/model.safetensors", 100),
            lambda: flip("journal", -3),
            lambda: os.truncate(self.path("out.unfinished", "journal"), 700),
            lambda: shutil.rmtree(self.path("out.unfinished", "checkpoint")),
            lambda: os.remove(self.path("out.unfinished", "journal")),
        ):
            self.unfinished(arguments)
            damage()
            self.run_tool("quantize", *arguments, "--resume")
            self.assertEqual(files_of(self.path("out")), files_of(self.path("whole")))
            shutil.rmtree(self.path("out"))
            self.assertFalse(os.path.exists(self.path("out.unfinished")))

    def test_two_runs_do_not_write_to_one_place(self):
        import fcntl

        os.mkdir(self.path("out.unfinished"))
        lock = os.open(self.path("out.unfinished"), os.O_RDONLY)
        fcntl.flock(lock, fcntl.LOCK_EX)
        self.fails(BAD_INPUT, "another process", "quantize", self.model(), self.path("out"), "--method", "rtn", "--group", 32)
        os.close(lock)

    def test_a_full_disk_keeps_what_is_done_or_leaves_nothing(self):
        def limit():
            resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

        self.run_tool("quantize", self.model(), self.path("out"), "--method", "rtn", "--group", 32, expect=BAD_INPUT, preexec_fn=limit)
        self.assertEqual(os.listdir(self.folder), ["model"])


class Large(CliTest):
    N, K, LAYERS = 1024, 8192, 6  # 16 MB a layer

    def test_memory_is_that_of_the_largest_layer(self):
        block = struct.pack("<1024e", *gauss(random.Random(1), 1024))
        data = b"".join(block[i % 512 * 2 :] + block[: i % 512 * 2] for i in range(self.N * self.K // 1024))
        tensors = {f"model.layers.{i}.mlp.up_proj.weight": ("F16", [self.N, self.K], data) for i in range(self.LAYERS)}
        model = write_model(self.path("model"), tensors)
        peak = self.peak_bytes("quantize", model, self.path("out"), "--method", "rtn")
        weights = self.N * self.K
        # In f16 as read, in f32 before and after, codes in a byte, packed and unpacked in half a byte each; the program itself.
        layer = weights * (2 + 4 + 4 + 1 + 1)
        self.assertLess(peak, 1.5 * layer + 64 * 1024 * 1024)
        self.assertLess(layer, self.LAYERS * len(data) * 1.1)  # else the whole model would pass too


if __name__ == "__main__":
    support.main()
