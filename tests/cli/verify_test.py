# SPDX-License-Identifier: Apache-2.0
"""verify: passes what is right, and catches every planted fault."""

import os
import resource
import shutil
import struct

import support
from convert_test import code_place, column_scale, grouped_scale, zero_place
from support import CHECK_FAILED, UNSUPPORTED, CliTest, Gptq, fixture, fixtures

LAYER = "model.layers.0.mlp.up_proj"


class Verify(CliTest):
    def test_every_fixture_passes_packed_and_not(self):
        for name in fixtures():
            self.run_tool("pack", fixture(name), self.path(name), "--skip-unsupported")
            for arguments in ([fixture(name)], [self.path(name), "--against", fixture(name)]):
                document = self.json_of("verify", *arguments, "--m", "1,5", "--skip-unsupported")
                self.assertTrue(document["passed"], name)
                self.assertEqual(document["failed"], 0)
                products = [row for layer in document["layers"] for row in layer.get("products", [])]
                self.assertGreaterEqual(len(products), 2)
                for row in products:
                    self.assertLessEqual(row["worst"]["error"], row["worst"]["bound"])
                    self.assertLess(row["relative_error"], 1e-3)

    def test_a_model_without_quantised_layers_is_unsupported_as_for_pack(self):
        os.mkdir(self.path("plain"))
        support.write_safetensors(self.path("plain/model.safetensors"), {"w": ("F16", [2, 2], bytes(8))})
        for command in (["verify", self.path("plain")], ["pack", self.path("plain"), self.path("out")]):
            self.assertIn("quantised layer", self.run_tool(*command, expect=UNSUPPORTED).stderr)

    def test_every_implementation_and_precision_stays_within_its_bound(self):
        name = fixture("gptq_v1_g32_desc_act")
        for entry in self.json_of("implementations")["implementations"]:
            if entry["available"] and entry["device"] == "cpu":
                self.run_tool("verify", name, "--m", "1,3,17", "--implementation", entry["name"])
        for arguments in (["--precision", "bf16"], ["--precision", "int8"], ["--act", "f32"], ["--act", "bf16", "--out-type", "bf16"],
                          ["--out-type", "f16"]):
            self.run_tool("verify", name, "--m", "1,3,17", *arguments)

    def test_the_text_names_the_worst_element_the_bound_and_the_outcome(self):
        text = self.run_tool("verify", fixture("gptq_v1_g128_sym"), "--m", 1).stdout
        for words in ("pass model.layers.0", "worst error", "bound", "relative error", "PASSED"):
            self.assertIn(words, text)


class PlantedFaults(CliTest):
    def setUp(self):
        super().setUp()
        self.layer = Gptq(128, 72, group=32, symmetric=False, bias=True, seed=11)
        self.model = support.write_gptq(self.path("model"), {LAYER: self.layer}, group_size=32)
        self.run_tool("pack", self.model, self.path("packed"))
        self.file = self.path("packed", "model.safetensors")
        self.tensors, self.metadata = support.read_safetensors(self.file)

    def rewrite(self, name, data):
        dtype, shape, _ = self.tensors[f"{LAYER}.{name}"]
        support.write_safetensors(self.file, {**self.tensors, f"{LAYER}.{name}": (dtype, shape, bytes(data))}, self.metadata)

    def caught(self, what, least=1, most=None):
        done = self.run_tool("verify", self.path("packed"), "--against", self.model, "--m", 1, expect=CHECK_FAILED)
        self.assertIn("FAIL " + LAYER, done.stdout)
        document = self.json_of("verify", self.path("packed"), "--against", self.model, "--m", 1, expect=CHECK_FAILED)
        found = document["layers"][0]["against"]
        self.assertFalse(document["passed"])
        self.assertGreaterEqual(found[what], least, found)
        for other in {"codes", "zeros", "scales", "biases"} - {what}:
            self.assertEqual(found[other], 0, found)
        if most is not None:
            self.assertLessEqual(found[what], most)

    def test_untouched_it_passes(self):
        self.run_tool("verify", self.path("packed"), "--against", self.model)

    def test_one_code(self):
        words = support.words_of(self.tensors[LAYER + ".qweight"][2])
        word, bit = code_place(77, 65, 128, 4)
        words[word] ^= 1 << bit
        self.rewrite("qweight", words.tobytes())
        self.caught("codes", 1, 1)

    def test_one_zero_point(self):
        words = support.words_of(self.tensors[LAYER + ".qzeros"][2])
        word, bit = zero_place(2, 70, 128, 4)
        words[word] ^= 8 << bit
        self.rewrite("qzeros", words.tobytes())
        self.caught("zeros")

    def test_one_scale(self):
        data = bytearray(self.tensors[LAYER + ".scales"][2])
        data[2 * (128 + grouped_scale(3))] ^= 1
        self.rewrite("scales", data)
        self.caught("scales")

    def test_one_bias(self):
        data = bytearray(self.tensors[LAYER + ".bias"][2])
        data[20] ^= 1
        self.rewrite("bias", data)
        self.caught("biases", 1, 1)

    def test_two_columns_swapped(self):
        words = support.words_of(self.tensors[LAYER + ".qweight"][2])
        for k in range(128):
            (first, low), (second, high) = code_place(k, 5, 128, 4), code_place(k, 6, 128, 4)
            ours, theirs = words[first] >> low & 15, words[second] >> high & 15
            words[first] = words[first] & ~(15 << low) | theirs << low
            words[second] = words[second] & ~(15 << high) | ours << high
        self.rewrite("qweight", words.tobytes())
        self.caught("codes", 64, 256)

    def test_grouped_scales_in_the_per_column_order(self):
        scales = struct.unpack("<512e", self.tensors[LAYER + ".scales"][2])
        changed = list(scales)
        for g in range(4):
            for n in range(128):
                changed[g * 128 + column_scale(n)] = scales[g * 128 + grouped_scale(n)]
        self.rewrite("scales", struct.pack("<512e", *changed))
        self.caught("scales", 4)

    def test_per_column_scales_in_the_grouped_order(self):
        self.layer = Gptq(64, 72, group=-1, seed=12)
        shutil.rmtree(self.model)
        shutil.rmtree(self.path("packed"))
        support.write_gptq(self.model, {LAYER: self.layer}, group_size=-1)
        self.run_tool("pack", self.model, self.path("packed"))
        self.tensors, self.metadata = support.read_safetensors(self.file)
        scales = struct.unpack("<128e", self.tensors[LAYER + ".scales"][2])
        changed = list(scales)
        for n in range(128):
            changed[grouped_scale(n)] = scales[column_scale(n)]
        self.rewrite("scales", struct.pack("<128e", *changed))
        self.caught("scales", 4)

    def test_a_layer_that_is_missing_or_has_another_shape(self):
        other = {LAYER: Gptq(128, 64, group=32), "model.layers.1.mlp.up_proj": Gptq(128, 64, group=32)}
        support.write_gptq(self.path("other"), other, group_size=32)
        for left, right in ((self.path("packed"), self.path("other")), (self.path("other"), self.path("packed"))):
            done = self.run_tool("verify", left, "--against", right, "--m", 1, expect=CHECK_FAILED)
            self.assertIn("model.layers.1.mlp.up_proj", done.stdout)
            self.assertIn("shape differs", done.stdout)


class Demo(CliTest):
    def test_the_story_is_right_and_leaves_nothing(self):
        text = self.run_tool("demo", environment={"TMPDIR": self.folder}).stdout
        for words in ("made", "inspect", "pack", "verify", "multiply", "GFLOP/s", "vs unquantised", "bound", "Memory",
                      "Everything was right"):
            self.assertIn(words, text)
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        document = self.json_of("demo", environment={"TMPDIR": self.folder})
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        self.assertTrue(document["passed"])
        # The whole story in under 20 seconds, on one core at that; CPU time, so that a busy machine does not matter.
        self.assertLess(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 20)
        self.assertEqual(sorted({row["m"] for row in document["rows"]}), [1, 16, 256])
        self.assertGreater(document["bytes_f16"] / document["bytes"], 3.5)
        for row in document["rows"]:
            self.assertLessEqual(row["worst_error"], row["bound"])
            self.assertGreater(row["vs_unquantized"], 0)
        self.assertEqual(os.listdir(self.folder), [])

    def test_a_folder_that_cannot_be_written_is_bad_input(self):
        self.fails(support.BAD_INPUT, "TMPDIR", "demo", environment={"TMPDIR": self.path("missing")})


if __name__ == "__main__":
    support.main()
