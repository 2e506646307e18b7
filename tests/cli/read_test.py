# SPDX-License-Identifier: Apache-2.0
"""inspect, dequantize, matmul: what is in a checkpoint, and its values, against the producers' own and against plain Python."""

import json
import math
import os
import random
import shutil
import stat
import struct

import support
from support import BAD_INPUT, UNSUPPORTED, USAGE, CliTest, Gptq, fixture, fixtures, read_npy, to_f16, to_f32, write_npy

LAYER = "model.layers.0.mlp.up_proj"


class Inspect(CliTest):
    KEYS = {"name", "n", "k", "type", "group", "act_order", "zero_points", "scale_type", "bias", "bytes", "supported", "reason"}

    def test_every_fixture_is_described_as_its_producer_made_it(self):
        self.assertGreaterEqual(len(fixtures()), 5)
        for name in fixtures():
            document = self.json_of("inspect", fixture(name), "--deep")
            self.assertEqual(document["schema"], 1)
            self.assertEqual(document["path"], fixture(name))
            self.assertTrue(document["why"])
            self.assertIsInstance(document["config"], dict)
            layers = {layer["name"]: layer for layer in document["layers"]}
            with open(fixture(name + "/ref/meta.json"), encoding="utf-8") as file:
                made = json.load(file)["layers"]
            self.assertGreater(len(made), 0)
            for expected in made:
                layer = layers[expected["name"]]
                self.assertLessEqual(self.KEYS, set(layer))
                self.assertEqual((layer["k"], layer["n"]), (expected["K"], expected["N"]), expected["name"])
                if layer["supported"]:
                    self.assertIn("4" if expected["bits"] == 4 else "8", layer["type"])
                    self.assertEqual(layer["act_order"], expected["act_order"], expected["name"])
                    self.assertEqual(layer["bias"], expected["bias"], expected["name"])
                else:
                    self.assertTrue(layer["reason"])

    def test_totals_and_bytes_add_up_to_the_tensors_on_disk(self):
        for name in fixtures():
            document = self.json_of("inspect", fixture(name))
            on_disk = sum(len(data) for _, _, data in support.read_model(fixture(name)).values())
            self.assertEqual(document["totals"]["bytes"], on_disk, name)
            listed = sum(entry["bytes"] for entry in document["layers"] + document["unquantized"])
            self.assertEqual(listed, on_disk, name)
            self.assertGreater(document["totals"]["bytes_f16"], 0)

    def test_symmetry_from_the_config_is_marked_and_deep_looks_at_the_zeros(self):
        layer = Gptq(128, 64, symmetric=False)
        model = support.write_gptq(self.path("model"), {LAYER: layer}, symmetric=True)  # the config lies
        shallow = self.json_of("inspect", model)["layers"][0]
        self.assertTrue(shallow["type_from_config"])
        self.assertIn("*", self.run_tool("inspect", model).stdout)
        deep = self.json_of("inspect", model, "--deep")["layers"][0]
        self.assertEqual((deep["type"], deep["zero_points"], deep["type_from_config"]), ("u4", True, False))

    def test_a_single_file_and_sharded_directories_are_read(self):
        layers = {f"model.layers.{i}.mlp.up_proj": Gptq(128, 64, seed=i) for i in range(3)}
        extra = {"model.norm.weight": support.random_tensor(64)}
        one = support.write_gptq(self.path("one"), layers, extra=extra)
        many = support.write_gptq(self.path("many"), layers, extra=extra, shards=4)
        first, second = self.json_of("inspect", one), self.json_of("inspect", many)
        for key in ("layers", "unquantized", "totals", "format"):
            self.assertEqual(first[key], second[key])
        file = self.json_of("inspect", os.path.join(one, "model.safetensors"))
        self.assertEqual([layer["name"] for layer in file["layers"]], [layer["name"] for layer in first["layers"]])
        index = self.json_of("inspect", os.path.join(many, "model.safetensors.index.json"))
        self.assertEqual(index["layers"], first["layers"])
        self.assertEqual(first["unquantized"], [{"name": "model.norm.weight", "dtype": "F16", "shape": [64], "bytes": 128}])

    def test_damaged_files_are_bad_input(self):
        model = support.write_gptq(self.path("model"), {LAYER: Gptq(128, 64)})
        file = os.path.join(model, "model.safetensors")
        with open(file, "rb") as source:
            whole = source.read()
        for data in (b"", whole[:7], whole[:100], whole[:-1], struct.pack("<Q", 1 << 60) + whole[8:], whole + b"x"):
            with open(file, "wb") as target:
                target.write(data)
            self.fails(BAD_INPUT, "model.safetensors", "inspect", model)
            self.fails(BAD_INPUT, "model.safetensors", "pack", model, self.path("out"))
        self.assertEqual(support.leftovers(self.folder, {"model"}), [])

    def test_an_empty_directory_is_bad_input(self):
        os.mkdir(self.path("empty"))
        self.fails(BAD_INPUT, "empty", "inspect", self.path("empty"))


class Dequantize(CliTest):
    def test_every_fixture_gives_the_producers_own_values(self):
        compared = 0
        for name in fixtures():
            supported = {layer["name"]: layer["supported"] for layer in self.json_of("inspect", fixture(name))["layers"]}
            for file in sorted(os.listdir(fixture(name + "/ref"))):
                if not file.endswith(".npy") or not supported.get(file[:-4], True):
                    continue
                self.run_tool("dequantize", fixture(name), file[:-4], "--out", self.path("w.npy"))
                shape, dtype, values = read_npy(self.path("w.npy"))
                expected_shape, _, expected = read_npy(fixture(f"{name}/ref/{file}"))
                self.assertEqual((shape, dtype), (expected_shape, "<f4"))
                # The tools round the product to f16, or to bf16 where the scales are bf16: compare after rounding alike.
                wrong = sum(to_f16(a) != to_f16(b) for a, b in zip(values, expected))
                if wrong:
                    wrong = sum(abs(a - b) > 2.0**-8 * abs(a) for a, b in zip(values, expected))
                self.assertEqual(wrong, 0, f"{name} {file}")
                compared += 1
        self.assertGreaterEqual(compared, 12)

    def test_values_are_scale_times_code_minus_zero(self):
        for layer in (Gptq(96, 72, group=32, symmetric=False, seed=3), Gptq(80, 40, group=32, act_order=True, seed=4),
                      Gptq(64, 24, group=-1, bits=8, seed=5)):
            model = support.write_gptq(self.path("model"), {LAYER: layer}, group_size=32 if layer.groups > 1 else -1, bits=layer.bits,
                                       desc_act=layer.g_idx != sorted(layer.g_idx))
            self.run_tool("dequantize", model, LAYER, "--out", self.path("w.npy"))
            shape, _, values = read_npy(self.path("w.npy"))
            self.assertEqual(shape, (layer.k, layer.n))
            self.assertEqual(values, [to_f32(layer.weight(k, n)) for k in range(layer.k) for n in range(layer.n)])

    def test_names_from_files_cannot_speak_to_the_terminal(self):
        name = "l\x1b[31mred\x07\n.q"
        model = support.write_gptq(self.path("model"), {name: Gptq(128, 64)}, extra={"e\x1b[2J": ("F16", [2], b"1234")})
        for arguments in (["inspect", model], ["pack", model, self.path("out")], ["verify", model, "--m", 1]):
            done = self.run_tool(*arguments)
            self.assertNotIn("\x1b", done.stdout + done.stderr)
            self.assertIn("l?[31mred?; .q", done.stdout)
        self.assertEqual(self.json_of("inspect", model)["layers"][0]["name"], name)

    def test_a_config_that_is_no_object_is_a_damaged_model(self):
        """Silently going on without it would guess the format from the tensors' names."""
        model = support.write_gptq(self.path("model"), {LAYER: Gptq(128, 64)})
        for text, words in (("", "is empty"), ("\n", "is empty"), ("[]", "not a JSON object"), ("<html>", "not a JSON object")):
            with open(os.path.join(model, "config.json"), "w", encoding="ascii") as file:
                file.write(text)
            self.fails(BAD_INPUT, ["config.json", words], "inspect", model)

    def test_an_unknown_layer_is_bad_input_and_names_a_near_one(self):
        model = support.write_gptq(self.path("model"), {LAYER: Gptq(128, 64)})
        self.fails(BAD_INPUT, ["up_prj", LAYER], "dequantize", model, "model.layers.0.mlp.up_prj", "--out", self.path("w.npy"))
        self.assertFalse(os.path.exists(self.path("w.npy")))

    def test_an_output_that_cannot_be_written_leaves_nothing(self):
        model = support.write_gptq(self.path("model"), {LAYER: Gptq(128, 64)})
        self.fails(BAD_INPUT, "no-folder", "dequantize", model, LAYER, "--out", self.path("no-folder", "w.npy"))
        os.mkdir(self.path("folder"))
        self.fails(BAD_INPUT, "folder", "dequantize", model, LAYER, "--out", self.path("folder"))
        os.mkfifo(self.path("pipe"))  # as /dev/full or /dev/stdout: it must not be replaced by a file
        self.fails(BAD_INPUT, "regular file", "dequantize", model, LAYER, "--out", self.path("pipe"))
        self.assertTrue(stat.S_ISFIFO(os.stat(self.path("pipe")).st_mode))
        self.fails(BAD_INPUT, "/dev/stdout is not a regular file", "dequantize", model, LAYER, "--out", "/dev/stdout")  # here a pipe
        for name, target in (("astray", "nowhere"), ("itself", "itself")):
            os.symlink(target, self.path(name))
            self.fails(BAD_INPUT, "leads nowhere", "dequantize", model, LAYER, "--out", self.path(name))
            self.assertTrue(os.path.islink(self.path(name)))
        self.assertEqual(support.leftovers(self.folder, {"model", "folder", "pipe", "astray", "itself"}), [])


class Matmul(CliTest):
    def setUp(self):
        super().setUp()
        self.layer = Gptq(96, 40, group=32, symmetric=False, bias=True, seed=7)
        self.model = support.write_gptq(self.path("model"), {LAYER: self.layer}, group_size=32)
        rng = random.Random(9)
        self.x = [to_f16(rng.uniform(-1, 1)) for _ in range(3 * 96)]

    def matmul(self, x, *arguments, **options):
        return self.run_tool("matmul", self.model, LAYER, "--input", x, "--out", self.path("y.npy"), *arguments, **options)

    def check_product(self, rows, values, tolerance, bias=True):
        layer = self.layer
        for i in range(rows):
            for n in range(layer.n):
                terms = [self.x[i * layer.k + k] * layer.weight(k, n) for k in range(layer.k)]
                exact = sum(terms) + (layer.bias[n] if bias else 0)
                magnitude = sum(abs(t) for t in terms) + abs(layer.bias[n])
                self.assertLessEqual(abs(values[i * layer.n + n] - exact), tolerance * magnitude, (i, n))

    def test_products_of_f32_and_f16_in_both_header_versions(self):
        for dtype in ("<f4", "<f2"):
            for version in (1, 2):
                write_npy(self.path("x.npy"), self.x, (3, 96), dtype, version)
                self.matmul(self.path("x.npy"))
                shape, out_type, values = read_npy(self.path("y.npy"))
                self.assertEqual((shape, out_type), ((3, 40), "<f4"))
                self.check_product(3, values, 2.0**-15)

    def test_an_input_is_never_overwritten(self):
        x, tensors = self.path("x.npy"), self.path("model", "model.safetensors")
        write_npy(x, self.x, (3, 96))
        os.symlink(x, self.path("link.npy"))
        os.link(tensors, self.path("other-name"))
        before = [self.bytes_of(path) for path in (x, tensors)]
        for out in (x, self.path("model", "..", "x.npy"), self.path("link.npy"), tensors, self.path("other-name")):
            self.fails(USAGE, [out, "would overwrite"], "matmul", self.model, LAYER, "--input", x, "--out", out)
        for model in (self.model, tensors):
            self.fails(USAGE, ["--out " + tensors, "would overwrite"], "dequantize", model, LAYER, "--out", tensors)
        self.assertEqual([self.bytes_of(path) for path in (x, tensors)], before)
        self.run_tool("dequantize", self.model, LAYER, "--out", x)  # any other file may be replaced

    def bytes_of(self, path):
        with open(path, "rb") as file:
            return file.read()

    def test_no_rows_run_nothing_and_say_so(self):
        write_npy(self.path("x.npy"), [], (0, 96))
        self.assertIn("by nothing (no rows)", self.matmul(self.path("x.npy")).stdout)
        self.assertEqual(read_npy(self.path("y.npy"))[0], (0, 40))

    def test_a_vector_gives_a_vector(self):
        write_npy(self.path("x.npy"), self.x[:96], (96,))
        self.matmul(self.path("x.npy"))
        shape, _, values = read_npy(self.path("y.npy"))
        self.assertEqual(shape, (40,))
        self.check_product(1, values, 2.0**-15)

    def test_bias_types_and_precisions(self):
        write_npy(self.path("x.npy"), self.x, (3, 96), "<f2")
        for arguments, tolerance, dtype, bias in ((["--no-bias"], 2.0**-15, "<f4", False), (["--out-type", "f16"], 2.0**-10, "<f2", True),
                                                  (["--out-type", "bf16"], 2.0**-7, "<f4", True),
                                                  (["--precision", "bf16"], 2.0**-8, "<f4", True),
                                                  (["--precision", "int8"], 2.0**-6, "<f4", True),
                                                  (["--act", "bf16"], 2.0**-7, "<f4", True)):
            self.matmul(self.path("x.npy"), *arguments)
            _, out_type, values = read_npy(self.path("y.npy"))
            self.assertEqual(out_type, dtype, arguments)
            self.check_product(3, values, tolerance, bias)

    def test_outputs_that_overflow_are_told(self):
        write_npy(self.path("x.npy"), self.x, (3, 96))
        self.assertNotIn("infinite", self.matmul(self.path("x.npy")).stdout)
        x = list(self.x)
        x[96 + 5] = 1e5  # beyond f16
        write_npy(self.path("x.npy"), x, (3, 96))
        self.assertNotIn("infinite", self.matmul(self.path("x.npy")).stdout)
        self.assertIn("outputs are infinite or not a number", self.matmul(self.path("x.npy"), "--act", "f16").stdout)
        _, _, values = read_npy(self.path("y.npy"))
        told = json.loads(self.matmul(self.path("x.npy"), "--act", "f16", "--json").stdout)["not_finite"]
        self.assertEqual(told, sum(not math.isfinite(value) for value in values))
        self.assertGreater(told, 0)

    def test_every_available_implementation_and_thread_count(self):
        write_npy(self.path("x.npy"), self.x, (3, 96))
        results = {}
        for entry in self.json_of("implementations")["implementations"]:
            if not entry["available"] or entry["device"] != "cpu":
                continue
            for threads in (1, 2):
                done = self.matmul(self.path("x.npy"), "--implementation", entry["name"], "--threads", threads, "--json")
                self.assertEqual(json.loads(done.stdout)["implementation"], entry["name"])
                _, _, values = read_npy(self.path("y.npy"))
                self.check_product(3, values, 2.0**-15)
                self.assertEqual(results.setdefault(entry["name"], values), values, "bits depend on the thread count")
        self.assertGreaterEqual(len(results), 2)

    def test_no_rows_give_no_rows(self):
        write_npy(self.path("x.npy"), [], (0, 96))
        self.matmul(self.path("x.npy"))
        self.assertEqual(read_npy(self.path("y.npy")), ((0, 40), "<f4", []))

    def test_packed_and_unpacked_give_the_same_bits(self):
        write_npy(self.path("x.npy"), self.x, (3, 96))
        self.matmul(self.path("x.npy"))
        before = read_npy(self.path("y.npy"))
        self.run_tool("pack", self.model, self.path("packed"))
        self.run_tool("matmul", self.path("packed"), LAYER, "--input", self.path("x.npy"), "--out", self.path("z.npy"))
        self.assertEqual(read_npy(self.path("z.npy")), before)

    def test_every_bad_input_array_is_refused(self):
        good = dict(values=self.x, shape=(3, 96))
        for words, change in ((["float32", "<f8"], {"dtype": "<f8"}), ("Fortran", {"fortran": True}),
                              ([">f4", "float32"], {"header": "{'descr': '>f4', 'fortran_order': False, 'shape': (3, 96), }"}),
                              ("[3, 95]", {"values": self.x[:285], "shape": (3, 95)}), ("[3, 96, 1]", {"shape": (3, 96, 1)}),
                              ("[]", {"values": self.x[:1], "shape": ()}),
                              ("bytes", {"values": self.x[:-1]}), ("bytes", {"values": self.x + [1.0]}),
                              ("too large", {"header": "{'descr': '<f4', 'fortran_order': False, 'shape': (9223372036854775, 999999), }"}),
                              ("2^63", {"header": "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999, 96), }"}),
                              ("whole number", {"header": "{'descr': '<f4', 'fortran_order': False, 'shape': (-3, 96), }"}),
                              ("quoted", {"header": "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (3, 96), }"}),
                              ("header", {"header": "{'descr': '<f4', 'fortran_order': False, "}),
                              ("header", {"header": "import os"})):
            write_npy(self.path("x.npy"), **{**good, **change})
            self.fails(BAD_INPUT, words, "matmul", self.model, LAYER, "--input", self.path("x.npy"), "--out", self.path("y.npy"))
        write_npy(self.path("x.npy"), **good)
        with open(self.path("x.npy"), "rb") as file:
            whole = file.read()
        for data in (b"", whole[:5], whole[:9], whole[:40], b"PK\3\4" + whole[4:], whole[:6] + b"\7" + whole[7:],
                     whole[:8] + b"\xff\xff" + whole[10:]):
            with open(self.path("x.npy"), "wb") as file:
                file.write(data)
            self.fails(BAD_INPUT, "x.npy", "matmul", self.model, LAYER, "--input", self.path("x.npy"), "--out", self.path("y.npy"))
        self.assertFalse(os.path.exists(self.path("y.npy")))

    def test_wrong_words_are_wrong_usage(self):
        write_npy(self.path("x.npy"), self.x, (3, 96))
        for arguments in (["--precision", "fp4"], ["--out-type", "f64"], ["--act", "f64"], ["--threads", "-2"], ["--threads", "many"]):
            self.matmul(self.path("x.npy"), *arguments, expect=USAGE)
        self.matmul(self.path("x.npy"), "--implementation", "sm90", expect=UNSUPPORTED)

    def test_an_unreadable_input_file_is_bad_input(self):
        shutil.copytree(self.model, self.path("copy"))
        self.fails(BAD_INPUT, "not a file", "matmul", self.model, LAYER, "--input", self.path("copy"), "--out", self.path("y.npy"))


if __name__ == "__main__":
    support.main()
