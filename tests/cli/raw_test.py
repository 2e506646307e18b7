# SPDX-License-Identifier: Apache-2.0
"""check, extract, percolumn: the real-weight smoke test, on random weights and on raw files."""

import os
import random
import shutil
import struct

import support
from support import BAD_INPUT, UNSUPPORTED, USAGE, CliTest, Gptq, floats_of, to_f16

LAYER = "model.layers.0.mlp.up_proj"


class Check(CliTest):
    def raw_files(self, k, n, groups, seed=1):
        rng = random.Random(seed)
        scales = struct.pack(f"<{groups * n}e", *[rng.uniform(0.002, 0.02) for _ in range(groups * n)])
        for name, data in (("q.bin", rng.randbytes(k * n // 2)), ("s.bin", scales)):
            with open(self.path(name), "wb") as file:
                file.write(data)
        self.run_tool("percolumn", self.path("s.bin"), self.path("p.bin"), "--n", n, "--groups", groups)
        return self.path("q.bin"), self.path("s.bin"), self.path("p.bin")

    def test_random_weights_of_the_default_size_are_right_in_both_group_modes(self):
        for group in ("-1", "128"):
            document = self.json_of("check", "r", group)
            self.assertEqual((document["m"], document["k"], document["n"]), (1, 2048, 11008))
            self.assertTrue(document["passed"])
            self.assertLessEqual(document["worst"]["error"], document["worst"]["bound"])
            self.assertEqual((len(document["weights"]), len(document["scales"]), len(document["outputs"])), (8, 8, 20))
            self.assertGreater(document["largest"], 0.1)  # the original tool gave zeros for 128
            self.assertTrue(all(document["outputs"]))

    def test_the_reference_is_not_checked_against_itself_unasked(self):
        problem = ("check", "r", "7", "--k", 56, "--n", 64)
        self.fails(UNSUPPORTED, ["only the reference", "multiples of 16"], *problem)
        self.assertTrue(self.json_of(*problem, "--implementation", "reference")["passed"])

    def test_raw_files_are_right_in_both_group_modes(self):
        q, s, p = self.raw_files(256, 192, 2)
        for group, scales in (("128", s), ("-1", p)):
            document = self.json_of("check", "b", group, "--k", 256, "--n", 192, "--qweight", q, "--scales", scales)
            self.assertTrue(document["passed"])
            with open(q, "rb") as file:
                word = support.words_of(file.read(4))[0]
            with open(scales, "rb") as file:
                scale = floats_of(file.read(2), "F16")[0]
            self.assertEqual(document["words"][0], f"{word:08x}")
            self.assertEqual(document["scales"][0], scale)
            self.assertEqual(support.to_f32(document["weights"][0]), support.to_f32(scale * ((word & 15) - 8)))

    def test_the_default_file_names_are_those_of_the_guide(self):
        q, s, p = self.raw_files(128, 64, 1)
        os.rename(q, self.path("up_proj_qweight.bin"))
        os.rename(s, self.path("up_proj_scales.bin"))
        os.rename(p, self.path("up_proj_scales_percolumn.bin"))
        for group in ("-1", "128"):
            self.run_tool("check", "b", group, "--k", 128, "--n", 64, cwd=self.folder)

    def test_other_shapes_types_and_rows(self):
        for arguments in (["r", "32", "--k", 208, "--n", 72, "--m", 17], ["r", "-1", "--k", 16, "--n", 8, "--type", "u8b128"],
                          ["r", "64", "--k", 64, "--n", 1, "--m", 3],
                          ["r", "16", "--k", 48, "--n", 832, "--act", "bf16", "--out-type", "bf16"],
                          ["r", "128", "--k", 256, "--n", 64, "--precision", "int8"],
                          ["r", "128", "--k", 256, "--n", 64, "--m", 0]):
            self.assertIn("PASSED", self.run_tool("check", *arguments).stdout)

    def test_the_text_shows_what_people_compare(self):
        text = self.run_tool("check", "r", "128", "--k", 128, "--n", 64).stdout
        for words in ("first words of codes", "first weights", "first scales", "first 20 outputs", "largest absolute output", "bound",
                      "PASSED"):
            self.assertIn(words, text)

    def test_a_wrong_file_size_is_explained(self):
        q, s, p = self.raw_files(256, 192, 2)
        self.fails(BAD_INPUT, [q, "24576", str(2048 * 11008 // 2), "K=2048", "N=11008"], "check", "b", "128", "--qweight", q, "--scales", s)
        shape = ["--k", 256, "--n", 192, "--qweight", q]
        self.fails(BAD_INPUT, ["384", "768", "check b -1"], "check", "b", "128", *shape, "--scales", p)
        self.fails(BAD_INPUT, ["768", "384", "2 groups"], "check", "b", "-1", *shape, "--scales", s)
        self.fails(BAD_INPUT, ["768", "1536"], "check", "b", "64", *shape, "--scales", s)

    def test_wrong_words_are_wrong_usage(self):
        for arguments in (["x", "128"], ["r", "0"], ["r", "-2"], ["r", "128", "--k", 0], ["r", "128", "--k", 12], ["r", "128", "--m", -1],
                          ["r", "128", "--type", "u4"], ["r", "many"], ["r", "128", "--k", 9223372036854775800, "--n", 4096]):
            self.run_tool("check", *arguments, expect=USAGE)

    def test_f16_outputs_that_overflow_to_infinity_are_right(self):
        q, _, _ = self.raw_files(256, 64, 2)
        with open(self.path("large.bin"), "wb") as file:
            file.write(struct.pack("<128e", *[65504.0] * 128))
        files = ("check", "b", "128", "--k", 256, "--n", 64, "--qweight", q, "--scales", self.path("large.bin"))
        self.assertTrue(self.json_of(*files, "--out-type", "f16")["passed"])
        document = self.json_of(*files, "--out-type", "bf16")
        self.assertTrue(document["passed"])
        self.assertGreater(document["largest"], 65504)

    def test_scales_that_are_not_finite_are_bad_input_and_name_their_own_file(self):
        q, _, _ = self.raw_files(256, 64, 2)
        for value, word in ((float("nan"), "NaN"), (float("-inf"), "infinite")):
            with open(self.path("bad.bin"), "wb") as file:
                file.write(struct.pack("<128e", *[0.01] * 70, value, *[0.01] * 57))
            words = (f"bad.bin: the scale of group 1, column 6 is {word}", "must be finite")
            self.fails(BAD_INPUT, words, "check", "b", "128", "--k", 256, "--n", 64, "--qweight", q, "--scales", self.path("bad.bin"))
            self.fails(BAD_INPUT, words, "percolumn", self.path("bad.bin"), self.path("out.bin"), "--n", 64, "--groups", 2)
            self.assertFalse(os.path.exists(self.path("out.bin")))


class Extract(CliTest):
    def extract(self, layer, **options):
        model = support.write_gptq(self.path("model"), {LAYER: layer}, group_size=layer.group, bits=layer.bits,
                                   desc_act=layer.g_idx != sorted(layer.g_idx), symmetric=True)
        return self.run_tool("extract", model, LAYER, "--out", self.path("raw"), **options)

    def read(self, name):
        with open(self.path("raw", name), "rb") as file:
            return file.read()

    def test_the_files_are_the_checkpoints_own_bytes_and_check_accepts_them(self):
        for bits in (4, 8):
            layer = Gptq(256, 72, group=64, bits=bits)
            self.extract(layer)
            tensors = layer.tensors("x")
            self.assertEqual(self.read("up_proj_qweight.bin"), tensors["x.qweight"][2])
            self.assertEqual(self.read("up_proj_scales.bin"), tensors["x.scales"][2])
            shape = ["--k", 256, "--n", 72, "--type", "u4b8" if bits == 4 else "u8b128", "--qweight",
                     self.path("raw", "up_proj_qweight.bin")]
            self.run_tool("check", "b", "64", *shape, "--scales", self.path("raw", "up_proj_scales.bin"))
            self.run_tool("check", "b", "-1", *shape, "--scales", self.path("raw", "up_proj_scales_percolumn.bin"))

    def test_a_packed_checkpoint_gives_the_same_files(self):
        layer = Gptq(256, 72, group=64)
        self.extract(layer)
        expected = [self.read(name) for name in sorted(os.listdir(self.path("raw")))]
        self.run_tool("pack", self.path("model"), self.path("packed"))
        self.run_tool("extract", self.path("packed"), LAYER, "--out", self.path("raw"))
        self.assertEqual([self.read(name) for name in sorted(os.listdir(self.path("raw")))], expected)

    def test_percolumn_scales_are_the_mean_of_each_column(self):
        layer = Gptq(256, 24, group=64)
        self.extract(layer)
        means = floats_of(self.read("up_proj_scales_percolumn.bin"), "F16")
        self.assertEqual(means, [to_f16(sum(layer.scales[g][n] for g in range(4)) / 4) for n in range(24)])
        self.run_tool("percolumn", self.path("raw", "up_proj_scales.bin"), self.path("p.bin"), "--n", 24, "--groups", 4)
        with open(self.path("p.bin"), "rb") as file:
            self.assertEqual(file.read(), self.read("up_proj_scales_percolumn.bin"))

    def test_a_layers_name_leads_nowhere_but_into_the_folder(self):
        os.mkdir(self.path("raw"))
        for name in ("l." + self.path("outside", "up"), "l../../up", "l/up"):
            model = support.write_gptq(self.path("hostile"), {name: Gptq(128, 64)})
            self.run_tool("extract", model, name, "--out", self.path("raw"))
            self.assertEqual(sorted(os.listdir(self.path("raw"))), ["up_qweight.bin", "up_scales.bin", "up_scales_percolumn.bin"])
            self.assertEqual(sorted(os.listdir(self.folder)), ["hostile", "raw"])
            shutil.rmtree(self.path("hostile"))

    def test_what_raw_files_cannot_hold_is_unsupported(self):
        self.extract(Gptq(128, 64, symmetric=False), expect=UNSUPPORTED)
        self.extract(Gptq(128, 64, group=32, act_order=True), expect=UNSUPPORTED)
        self.assertFalse(os.path.exists(self.path("raw")))

    def test_percolumn_explains_a_wrong_size_and_wrong_numbers(self):
        with open(self.path("s.bin"), "wb") as file:
            file.write(bytes(96))
        self.fails(BAD_INPUT, ["96", "100", "[5, 10]"], "percolumn", self.path("s.bin"), self.path("p.bin"), "--n", 10, "--groups", 5)
        for n, groups in ((0, 1), (1, 0), (-1, 1), (1 << 40, 1 << 40)):
            self.run_tool("percolumn", self.path("s.bin"), self.path("p.bin"), "--n", n, "--groups", groups, expect=USAGE)
        self.fails(USAGE, "would overwrite", "percolumn", self.path("s.bin"), self.path("s.bin"), "--n", 12, "--groups", 4)
        self.assertEqual(os.path.getsize(self.path("s.bin")), 96)
        self.assertFalse(os.path.exists(self.path("p.bin")))


if __name__ == "__main__":
    support.main()
