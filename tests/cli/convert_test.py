# SPDX-License-Identifier: Apache-2.0
"""pack and unpack: the exact bytes, the way back, and what an interrupted, refused or disk-full run leaves behind."""

import array
import json
import os
import random
import resource
import shutil
import signal
import struct
import subprocess
import time

import support
from support import BAD_INPUT, BIN, OK, UNSUPPORTED, USAGE, CliTest, Gptq, fixture, fixtures, read_npy

LAYER = "model.layers.0.mlp.up_proj"


# Where the packed form keeps things, written down from docs/formats.md a second time.

def code_place(k, n, padded_n, bits):
    """(word, lowest bit) of a code in packed weights."""
    kk, nn = k % 16, n % 64
    warp, half, lane, b0, b1 = nn // 16, nn % 16 // 8, nn % 8 * 4 + kk % 8 // 2, kk % 2, kk // 8
    if bits == 4:
        return k // 16 * 2 * padded_n + n // 64 * 128 + lane * 4 + warp, 4 * (4 * b0 + 2 * half + b1)
    return k // 16 * 4 * padded_n + n // 64 * 256 + lane * 8 + 2 * warp + half, 8 * (2 * b0 + b1)


def grouped_scale(n):
    return n // 64 * 64 + 8 * (n % 8) + n % 64 // 8


def column_scale(n):
    r = n % 32
    return n // 32 * 32 + 8 * (r % 8 // 2) + 2 * (r // 8) + r % 2


def zero_place(group, n, padded_n, bits):
    c, i, j = n // 64, n % 8, n % 64 // 8
    if bits == 4:
        return group * (padded_n // 8) + 8 * c + i, 4 * (0, 4, 1, 5, 2, 6, 3, 7)[j]
    return group * (padded_n // 4) + 16 * c + 2 * i + j // 4, 8 * (0, 2, 1, 3)[j % 4]


class Pack(CliTest):
    def make(self, layer, name="model", **options):
        return support.write_gptq(self.path(name), {LAYER: layer}, group_size=layer.group if layer.groups > 1 else -1, bits=layer.bits,
                                  desc_act=layer.g_idx != sorted(layer.g_idx), **options)

    def test_packed_bytes_lie_where_the_formats_page_says(self):
        for layer in (Gptq(80, 72, group=32, symmetric=False, seed=1), Gptq(64, 200, group=-1, seed=2),
                      Gptq(48, 40, group=16, bits=8, seed=3),
                      Gptq(96, 136, group=32, act_order=True, seed=4), Gptq(48, 72, group=16, bits=8, symmetric=False, seed=5)):
            shutil.rmtree(self.path("model"), ignore_errors=True)
            shutil.rmtree(self.path("packed"), ignore_errors=True)
            self.run_tool("pack", self.make(layer), self.path("packed"))
            tensors = support.read_model(self.path("packed"))
            words = support.words_of(tensors[LAYER + ".qweight"][2])
            scales = support.floats_of(tensors[LAYER + ".scales"][2], tensors[LAYER + ".scales"][0])
            padded_n, mask = -(-layer.n // 64) * 64, (1 << layer.bits) - 1
            self.assertEqual(tensors[LAYER + ".qweight"][1], [-(-layer.k // 16), padded_n * layer.bits // 2])
            self.assertEqual(struct.unpack("<2q", tensors[LAYER + ".weight_shape"][2]), (layer.n, layer.k))
            rows = sorted(range(layer.k), key=lambda k: layer.g_idx[k])  # a stable sort: the activation order
            if layer.g_idx != sorted(layer.g_idx):
                self.assertEqual(list(struct.unpack(f"<{layer.k}i", tensors[LAYER + ".perm"][2])), rows)
            for packed_k, k in enumerate(rows):
                for n in range(layer.n):
                    word, bit = code_place(packed_k, n, padded_n, layer.bits)
                    self.assertEqual(words[word] >> bit & mask, layer.codes[k][n], (k, n))
            place = grouped_scale if layer.groups > 1 else column_scale
            for g in range(layer.groups):
                for n in range(layer.n):
                    self.assertEqual(scales[g * padded_n + place(n)], layer.scales[g][n], (g, n))
            half = 1 << (layer.bits - 1)
            if any(zero != half for row in layer.zeros for zero in row):
                zeros = support.words_of(tensors[LAYER + ".qzeros"][2])
                for g in range(layer.groups):
                    for n in range(layer.n):
                        word, bit = zero_place(g, n, padded_n, layer.bits)
                        self.assertEqual(zeros[word] >> bit & mask, layer.zeros[g][n], (g, n))

    def test_every_fixture_comes_back_byte_for_byte(self):
        for name in fixtures():
            packed, again = self.path(name + "-packed"), self.path(name + "-again")
            self.run_tool("pack", fixture(name), packed, "--skip-unsupported")
            self.run_tool("unpack", packed, again)
            before, after = support.read_model(fixture(name)), support.read_model(again)
            self.assertEqual(sorted(before), sorted(after), name)
            for tensor, value in before.items():
                self.assertEqual(after[tensor], value, f"{name} {tensor}")

    def test_shapes_that_need_padding_come_back_byte_for_byte(self):
        for index, layer in enumerate((Gptq(48, 8, group=32), Gptq(208, 72, group=128, symmetric=False, bias=True),
                                       Gptq(16, 1000, group=-1),
                                       Gptq(112, 40, group=32, act_order=True), Gptq(96, 24, group=64, bits=8, symmetric=False))):
            model = self.make(layer, f"model{index}", extra={"model.norm.weight": support.random_tensor(33)})
            self.run_tool("pack", model, self.path(f"packed{index}"))
            self.run_tool("unpack", self.path(f"packed{index}"), self.path(f"again{index}"))
            self.assertEqual(support.read_model(model), support.read_model(self.path(f"again{index}")))

    def test_zero_points_of_zero_survive_the_borrow(self):
        layer = Gptq(64, 64, group=32, symmetric=False)
        for g in range(layer.groups):
            for n in range(layer.n):
                layer.zeros[g][n] = (0, 0, 15, 0, 1, 0, 0, 8)[(n + g) % 8]
        model = self.make(layer)
        self.run_tool("pack", model, self.path("packed"))
        self.run_tool("unpack", self.path("packed"), self.path("again"))
        self.assertEqual(support.read_model(model), support.read_model(self.path("again")))
        self.run_tool("dequantize", self.path("packed"), LAYER, "--out", self.path("w.npy"))
        self.assertEqual(read_npy(self.path("w.npy"))[2], [support.to_f32(layer.weight(k, n)) for k in range(64) for n in range(64)])

    def test_sharding_configs_and_other_files_are_kept(self):
        layers = {f"model.layers.{i}.mlp.up_proj": Gptq(64, 64, group=32, seed=i) for i in range(3)}
        model = support.write_gptq(self.path("model"), layers, group_size=32, shards=3,
                                   extra={"model.norm.weight": support.random_tensor(64)})
        with open(os.path.join(model, "tokenizer.json"), "w", encoding="utf-8") as file:
            file.write("{}")
        self.run_tool("pack", model, self.path("packed"))
        names = os.listdir(self.path("packed"))
        self.assertEqual(sum(name.endswith(".safetensors") for name in names), 3)
        self.assertIn("tokenizer.json", names)
        with open(self.path("packed", "model.safetensors.index.json"), encoding="utf-8") as file:
            weight_map = json.load(file)["weight_map"]
        tensors = support.read_model(self.path("packed"))
        self.assertEqual(sorted(weight_map), sorted(tensors))
        self.assertEqual(tensors["model.norm.weight"], support.random_tensor(64))
        document = self.json_of("inspect", self.path("packed"), "--deep")
        self.assertEqual([layer["name"] for layer in document["layers"]], sorted(layers))
        self.assertTrue(all(layer["supported"] for layer in document["layers"]))
        self.assertEqual(document["format"], "marlin")
        with open(self.path("packed", "config.json"), encoding="utf-8") as file:
            self.assertNotEqual(json.load(file)["quantization_config"].get("checkpoint_format"), "gptq")

    def test_a_single_file_becomes_a_single_file(self):
        model = self.make(Gptq(64, 64, group=32))
        self.run_tool("pack", os.path.join(model, "model.safetensors"), self.path("packed.safetensors"))
        self.assertTrue(os.path.isfile(self.path("packed.safetensors")))
        self.run_tool("unpack", self.path("packed.safetensors"), self.path("again.safetensors"))
        self.assertEqual(support.read_model(self.path("again.safetensors")), support.read_model(model))

    def test_every_target_format_holds_the_same_values(self):
        layer = Gptq(128, 64, group=32, symmetric=False, seed=6)
        model = self.make(layer)
        self.run_tool("pack", model, self.path("packed"))
        for target in ("gptq", "gptq_v2", "awq", "compressed-tensors"):
            self.run_tool("unpack", self.path("packed"), self.path(target), "--format", target)
            document = self.json_of("inspect", self.path(target))
            self.assertEqual(document["format"].replace("_v2", ""), target.replace("_v2", ""))
            self.run_tool("verify", self.path(target), "--against", model, "--m", 1)

    def test_formats_that_cannot_hold_a_layer_are_unsupported(self):
        for index, layer in enumerate((Gptq(64, 64, group=32, act_order=True), Gptq(64, 64, group=32, bits=8))):
            self.run_tool("pack", self.make(layer, f"model{index}"), self.path(f"packed{index}"))
            self.fails(UNSUPPORTED, LAYER, "unpack", self.path(f"packed{index}"), self.path("awq"), "--format", "awq")
            self.assertFalse(os.path.exists(self.path("awq")))
        for word in ("raw", "gguf"):
            self.fails(USAGE, word, "unpack", self.path("packed0"), self.path("out"), "--format", word)

    def test_unsupported_layers_stop_unless_skipped(self):
        good, bad = "model.layers.0.mlp.down_proj", LAYER
        model = support.write_gptq(self.path("model"), {good: Gptq(64, 64, group=32), bad: Gptq(64, 64, group=32, bits=2)}, group_size=32,
                                   dynamic={r"+:.*up_proj": {"bits": 2}})
        self.fails(UNSUPPORTED, [bad, "2"], "pack", model, self.path("packed"))
        self.assertFalse(os.path.exists(self.path("packed")))
        self.run_tool("pack", model, self.path("packed"), "--skip-unsupported")
        before, after = support.read_model(model), support.read_model(self.path("packed"))
        for name in before:
            if name.startswith(bad):
                self.assertEqual(after[name], before[name])
        self.assertNotEqual(after[good + ".qweight"], before[good + ".qweight"])
        self.run_tool("unpack", self.path("packed"), self.path("again"))
        self.assertEqual(support.read_model(self.path("again")), before)
        self.fails(UNSUPPORTED, bad, "dequantize", model, bad, "--out", self.path("w.npy"))
        self.fails(UNSUPPORTED, bad, "verify", model, "--m", 1)
        self.run_tool("verify", model, "--m", 1, "--skip-unsupported")

    def test_layers_are_chosen_by_a_safe_expression(self):
        layers = {f"model.layers.{i}.mlp.{part}_proj": Gptq(64, 64, group=32, seed=i) for i in range(2) for part in ("up", "down")}
        model = support.write_gptq(self.path("model"), layers, group_size=32)
        self.run_tool("pack", model, self.path("packed"), "--layers", r"mlp\.up_proj$")
        before, after = support.read_model(model), support.read_model(self.path("packed"))
        for name in layers:
            same = before[name + ".qweight"] == after[name + ".qweight"]
            self.assertEqual(same, name.endswith("down_proj"), name)
        self.fails(USAGE, ["--layers", "none of the 4 layers"], "pack", model, self.path("x"), "--layers", "attention")
        self.fails(USAGE, "--layers", "pack", model, self.path("x"), "--layers", "(up")
        started = time.monotonic()
        self.fails(USAGE, "none", "pack", model, self.path("x"), "--layers", "(a*)*" * 20 + "$z")
        self.assertLess(time.monotonic() - started, 10)
        self.assertEqual(support.leftovers(self.folder, {"model", "packed"}), [])

    def test_the_input_is_never_the_output(self):
        model = self.make(Gptq(64, 64, group=32))
        before = support.read_model(model)
        self.fails(USAGE, "input and output", "pack", model, model + "/")
        os.symlink(model, self.path("link"))
        self.fails(USAGE, "input and output", "pack", model, self.path("link"))
        self.assertEqual(support.read_model(model), before)

    def test_an_output_that_cannot_be_written_leaves_nothing(self):
        model = self.make(Gptq(64, 64, group=32))
        self.run_tool("pack", model, self.path("missing", "packed"), expect=BAD_INPUT)
        with open(self.path("file"), "w", encoding="ascii") as file:
            file.write("mine")
        self.run_tool("pack", model, self.path("file", "packed"), expect=BAD_INPUT)
        os.mkdir(self.path("full"))
        with open(self.path("full", "mine"), "w", encoding="ascii") as file:
            file.write("mine")
        self.run_tool("pack", model, self.path("full"), expect=BAD_INPUT)
        self.assertEqual(os.listdir(self.path("full")), ["mine"])
        self.assertEqual(support.leftovers(self.folder, {"model", "file", "full"}), [])


class Large(CliTest):
    """A model whose packing takes long enough to be interrupted: random codes, written without building them in Python."""

    LAYERS, K, N = 24, 4096, 4096

    @classmethod
    def setUpClass(cls):
        cls.base = support.tempfile.mkdtemp(prefix="billfish-large-")
        cls.addClassCleanup(shutil.rmtree, cls.base, ignore_errors=True)
        rng = random.Random(1)
        zeros = array.array("I", [0x77777777]).tobytes() * (cls.K // 128 * cls.N // 8)
        scales = struct.pack("<4096e", *[rng.uniform(0.002, 0.02) for _ in range(4096)]) * (cls.K // 128 * cls.N // 4096)
        tensors = {}
        for i in range(cls.LAYERS):
            prefix = f"model.layers.{i}.mlp.up_proj"
            tensors[prefix + ".qweight"] = ("I32", [cls.K // 8, cls.N], rng.randbytes(cls.K * cls.N // 2))
            tensors[prefix + ".qzeros"] = ("I32", [cls.K // 128, cls.N // 8], zeros)
            tensors[prefix + ".scales"] = ("F16", [cls.K // 128, cls.N], scales)
        cls.model = support.write_gptq(os.path.join(cls.base, "model"), {}, extra=tensors, shards=2)
        started = time.monotonic()
        subprocess.run([BIN, "pack", cls.model, os.path.join(cls.base, "whole")], check=True, stdout=subprocess.DEVNULL)
        cls.seconds = time.monotonic() - started
        cls.whole = cls.digest(os.path.join(cls.base, "whole"))

    @staticmethod
    def digest(folder):
        return {name: hash(data) for name, (_, _, data) in support.read_model(folder).items()}

    def interrupted(self, number, moment):
        """(exit code, was the target there) after the signal `number` at `moment` seconds."""
        out = self.path("out")
        code = self.interrupt(number, lambda process: time.sleep(moment), "pack", self.model, out)
        there = os.path.exists(out)
        if there:  # then it is whole
            self.assertEqual(self.digest(out), self.whole)
            shutil.rmtree(out)
        return code, there

    def test_interruption_at_random_moments_leaves_nothing(self):
        rng, interrupted = random.Random(), 0
        for turn, number in enumerate((signal.SIGINT, signal.SIGTERM) * 18):
            if turn >= 12 and interrupted:
                break
            # The machine may have become faster since the whole run was timed: then look earlier.
            code, there = self.interrupted(number, rng.uniform(0.01, self.seconds / 4 ** (turn // 12)))
            # A signal before the handler is in place ends the process in the usual way.
            self.assertIn(code, (128 + number, OK, -number))
            self.assertTrue(there or code != OK)
            self.assertEqual(os.listdir(self.folder), [])
            if code == 128 + number:
                self.assertIn("interrupted; nothing is left half-written", self.last_words)
                interrupted += 1
        self.assertGreater(interrupted, 0)

    def test_kill_at_random_moments_leaves_no_half_written_target(self):
        rng = random.Random()
        for _ in range(8):
            self.interrupted(signal.SIGKILL, rng.uniform(0.01, self.seconds))
        # What a killed run left beside the target does not stop the next one.
        self.run_tool("pack", self.model, self.path("out"))
        self.assertEqual(self.digest(self.path("out")), self.whole)

    def test_memory_stays_bounded_by_the_largest_layer(self):
        peak = self.peak_bytes("pack", self.model, self.path("out"), "--threads", 2)
        layer = self.K * self.N // 2 + self.K // 128 * self.N * 2 + self.K // 128 * self.N // 2
        self.assertLess(peak, 2 * layer + 256 * 1024 * 1024)

    def test_links_as_targets(self):
        """One that leads nowhere is refused before any work is done; one to an empty folder fills that folder and stays."""
        for name, target in (("astray", "nowhere"), ("itself", "itself")):
            os.symlink(target, self.path(name))
            done = self.fails(BAD_INPUT, "leads nowhere", "pack", self.model, self.path(name))
            self.assertEqual(done.stdout, "")
            self.assertTrue(os.path.islink(self.path(name)))
        os.mkdir(self.path("empty"))
        os.symlink("empty", self.path("link"))
        self.run_tool("pack", self.model, self.path("link"))
        self.assertTrue(os.path.islink(self.path("link")))
        self.assertEqual(self.digest(self.path("empty")), self.whole)

    def test_a_full_disk_is_an_error_that_leaves_nothing(self):
        def limit():  # what can be written to one file; the system reports it as a write error, as a full disk does
            resource.setrlimit(resource.RLIMIT_FSIZE, (20_000_000, 20_000_000))

        self.run_tool("pack", self.model, self.path("out"), expect=BAD_INPUT, preexec_fn=limit)
        self.assertEqual(os.listdir(self.folder), [])
        name = "model.layers.0.mlp.up_proj"
        self.run_tool("dequantize", self.model, name, "--out", self.path("w.npy"), expect=BAD_INPUT, preexec_fn=limit)
        self.run_tool("extract", self.model, name, "--out", self.path("raw"), expect=BAD_INPUT,
                      preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)))
        self.assertEqual([file for _, _, files in os.walk(self.folder) for file in files], [])

    def test_a_really_full_disk_is_an_error_that_leaves_nothing(self):
        mount = ["mount", "-t", "tmpfs", "-o", "size=40m", "tmpfs", self.folder]
        if os.geteuid() != 0 or subprocess.run(mount, stderr=subprocess.DEVNULL, check=False).returncode != 0:
            # Not allowed to mount: the same through a limit on the file, with another size than above.
            self.run_tool("pack", self.model, self.path("out"), expect=BAD_INPUT,
                          preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (40_000_000, 40_000_000)))
        else:
            self.addCleanup(subprocess.run, ["umount", self.folder], check=True)
            self.fails(BAD_INPUT, "space", "pack", self.model, self.path("out"))
            self.fails(BAD_INPUT, "space", "dequantize", self.model, "model.layers.0.mlp.up_proj", "--out", self.path("w.npy"))
        self.assertEqual(os.listdir(self.folder), [])


if __name__ == "__main__":
    support.main()
