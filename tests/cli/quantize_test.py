# SPDX-License-Identifier: Apache-2.0
"""quantize: whole models into every format, what stays as it is, and calibration files that do not fit."""

import json
import math
import os
import random
import shutil
import struct

import support
from quantize_models import (
    HIDDEN,
    Quantize,
    files_of,
    gauss,
    model_tensors,
    samples,
    tensor,
)
from support import BAD_INPUT, UNSUPPORTED, USAGE

FORMATS = ("gptq", "gptq_v2", "awq", "compressed-tensors")


class Formats(Quantize):
    def test_every_format_is_read_back_with_its_weights_near(self):
        model = self.model()
        for name in FORMATS:
            out = self.path("out-" + name)
            self.run_tool("quantize", model, out, "--method", "rtn", "--group", 32, "--format", name)
            seen = self.json_of("inspect", out, "--deep")
            self.assertEqual(seen["format"], name)
            self.assertEqual(len(seen["layers"]), 14)
            for layer in seen["layers"]:
                self.assertEqual((layer["group"], layer["act_order"], layer["supported"]), (32, False, True))
                self.assertEqual(layer["type"], "u4" if name == "awq" else "u4b8")
            self.check_nearest(out, 32, 4)
            self.run_tool("verify", out, "--m", 1)

    def test_marlins_own_format_holds_whole_tiles(self):
        square = model_tensors(shapes={"mlp.gate_proj": (128, HIDDEN), "mlp.up_proj": (128, HIDDEN), "mlp.down_proj": (HIDDEN, 128)})
        model = self.model(tensors=square)
        self.run_tool("quantize", model, self.path("out"), "--method", "rtn", "--group", -1, "--format", "marlin")
        self.assertEqual(self.json_of("inspect", self.path("out"))["format"], "marlin")
        self.check_nearest(self.path("out"), -1, 4, square)

    def test_bits_groups_and_zero_points(self):
        model = self.model()
        for bits, group, zeros, format_name in (
            (8, 32, False, "gptq"),
            (8, -1, True, "compressed-tensors"),
            (4, -1, True, "gptq_v2"),
            (4, 32, False, "awq"),
        ):
            out = self.path(f"out-{bits}-{group}-{format_name}")
            self.run_tool(
                "quantize",
                model,
                out,
                "--method",
                "rtn",
                "--bits",
                bits,
                "--group",
                group,
                "--format",
                format_name,
                "--zero-points" if zeros else "--no-zero-points",
            )
            types = {layer["type"] for layer in self.json_of("inspect", out, "--deep")["layers"]}
            self.assertEqual(types, {{(4, False): "u4b8", (4, True): "u4", (8, False): "u8b128", (8, True): "u8"}[bits, zeros]})
            self.check_nearest(out, group, bits)

    def test_what_is_not_quantised_stays_bit_for_bit(self):
        for dtype, shards in (("F16", 1), ("BF16", 3), ("F32", 1)):
            tensors = model_tensors(dtype=dtype)
            model = self.model(f"model-{dtype}", tensors, shards=shards)
            with open(os.path.join(model, "pytorch_model.bin"), "wb") as file:
                file.write(b"the same weights again")
            out = self.path(f"out-{dtype}")
            self.run_tool("quantize", model, out, "--method", "rtn", "--group", 32)
            written = support.read_model(out)
            for name, value in tensors.items():
                if name.endswith("_proj.weight"):
                    self.assertNotIn(name, written)
                else:
                    self.assertEqual(written[name], value, name)
            self.assertEqual(
                sorted(name for name in os.listdir(out) if name.endswith(".safetensors")),
                sorted(name for name in os.listdir(model) if name.endswith(".safetensors")),
            )
            self.assertTrue(os.path.exists(os.path.join(out, "tokenizer.json")))
            self.assertFalse(os.path.exists(os.path.join(out, "pytorch_model.bin")))
            if shards > 1:
                with open(os.path.join(out, "model.safetensors.index.json"), encoding="utf-8") as file:
                    index = json.load(file)
                self.assertEqual(set(index["weight_map"]), set(written))
                for name, file_name in index["weight_map"].items():
                    self.assertIn(name, support.read_safetensors(os.path.join(out, file_name))[0])
            self.assertEqual(support.leftovers(self.folder, {"out-F16", "out-BF16", "out-F32", "model-F16", "model-BF16", "model-F32"}), [])

    def test_configs_name_what_is_quantised_and_what_is_not(self):
        model = self.model()
        configs = {}
        for name in ("gptq", "awq", "compressed-tensors"):
            self.run_tool("quantize", model, self.path(name), "--method", "rtn", "--group", 32, "--format", name, "--layers", "self_attn")
            with open(self.path(name, "config.json"), encoding="utf-8") as file:
                config = json.load(file)
            self.assertEqual(config["model_type"], "llama")
            configs[name] = config["quantization_config"]
        self.assertEqual(
            (configs["gptq"]["bits"], configs["gptq"]["group_size"], configs["gptq"]["sym"], configs["gptq"]["desc_act"]),
            (4, 32, True, False),
        )
        self.assertEqual(
            sorted(configs["gptq"]["dynamic"]),
            sorted(f"-:^model\\.layers\\.{b}\\.mlp\\.{p}_proj$" for b in (0, 1) for p in ("gate", "up", "down")),
        )
        left = sorted(["lm_head"] + [f"model.layers.{b}.mlp.{p}_proj" for b in (0, 1) for p in ("gate", "up", "down")])
        self.assertEqual(sorted(configs["awq"]["modules_to_not_convert"]), left)
        self.assertEqual(sorted(configs["compressed-tensors"]["ignore"]), left)

    def test_one_matrix_in_a_numpy_file(self):
        rng = random.Random(5)
        values = gauss(rng, 40 * 64)
        support.write_npy(self.path("up.npy"), values, (40, 64))
        self.run_tool("quantize", self.path("up.npy"), self.path("out"), "--method", "rtn", "--group", 32)
        k, n, weights = self.weights(self.path("out"), "up")
        self.assertEqual((k, n), (64, 40))
        self.assertLess(max(abs(values[j * 64 + i] - weights[i * 40 + j]) for j in range(40) for i in range(64)), 0.03)
        support.write_npy(self.path("cube.npy"), values, (4, 10, 64))
        self.fails(BAD_INPUT, "[4, 10, 64]", "quantize", self.path("cube.npy"), self.path("out2"), "--method", "rtn")
        values[65] = math.nan
        support.write_npy(self.path("bad.npy"), values, (40, 64))
        self.fails(
            BAD_INPUT, ["bad.npy", "[1,1]", "NaN"], "quantize", self.path("bad.npy"), self.path("out2"), "--method", "rtn", "--group", 32
        )
        self.assertEqual(support.leftovers(self.folder, {"up.npy", "out", "weights.npy", "cube.npy", "bad.npy"}), [])

    def test_a_single_file_becomes_a_directory_that_loads(self):
        model = self.model()
        self.run_tool("quantize", os.path.join(model, "model.safetensors"), self.path("out"), "--method", "rtn", "--group", 32)
        self.assertEqual(sorted(os.listdir(self.path("out"))), ["config.json", "model.safetensors", "quantize_config.json"])
        self.assertEqual(len(self.json_of("inspect", self.path("out"))["layers"]), 14)


class Methods(Quantize):
    def test_gptq_and_awq_beat_round_to_nearest_on_samples_that_they_did_not_see(self):
        model, calibration = self.model(), self.calibration()
        mean = {}
        for method in ("rtn", "gptq", "awq"):
            found = self.json_of(
                "quantize", model, self.path(method), "--method", method, "--group", 32, "--calibration", calibration, "--format", "gptq"
            )
            self.assertEqual(len(found["layers"]), 14)
            for layer in found["layers"]:
                self.assertGreater(layer["held_out_cosine"], 0.9)
                self.assertLessEqual(layer["output_error"], layer["nearest_output_error"] * 1.02 + 1e-6)
            mean[method] = sum(math.log(layer["held_out_error"]) for layer in found["layers"])
            self.run_tool("verify", self.path(method), "--m", 2)
        self.assertLess(mean["gptq"], mean["rtn"])
        self.assertLess(mean["awq"], mean["rtn"])

    def test_the_same_bytes_whatever_the_number_of_threads(self):
        model, calibration = self.model(), self.calibration()
        for method in (["gptq", "--act-order", "group", "--clip"], ["awq", "--clip"], ["rtn", "--clip"]):
            written = []
            for threads in (1, 3):
                out = self.path(f"{method[0]}-{threads}")
                self.run_tool(
                    "quantize", model, out, "--method", *method, "--group", 32, "--calibration", calibration, "--threads", threads
                )
                written.append(files_of(out))
            self.assertEqual(written[0], written[1])

    def test_gptq_has_the_static_order_unless_told_otherwise(self):
        model, calibration, written = self.model(), self.calibration(), {}
        for order in ([], ["static"], ["none"]):
            out = self.path("out-" + "".join(order))
            words = ["--act-order", *order] if order else []
            self.run_tool("quantize", model, out, "--method", "gptq", *words, "--group", 32, "--calibration", calibration)
            written["".join(order)] = files_of(out)
        self.assertEqual(written[""], written["static"])
        self.assertNotEqual(written[""], written["none"])

    def test_second_moments_do_as_well_as_the_samples_they_are_of(self):
        model = self.model()
        out = {}
        for name, (_, (tokens, k), data) in self.samples.items():
            rows = struct.unpack(f"<{tokens * k}f", data)
            h = [0.0] * (k * k)
            for t in range(tokens):
                row = rows[t * k : (t + 1) * k]
                for i in range(k):
                    factor = 2.0 / tokens * row[i]
                    for j in range(k):
                        h[i * k + j] += factor * row[j]
            out[name[:-2] + ".H"] = tensor(h, (k, k), "F32")
            out[name[:-2] + ".count"] = ("I64", [1], struct.pack("<q", tokens))
        found = self.json_of("quantize", model, self.path("out"), "--method", "gptq", "--group", 32, "--calibration", self.calibration(out))
        for layer in found["layers"]:
            self.assertIsNone(layer["held_out_error"])
            self.assertLess(layer["output_error"], layer["nearest_output_error"])

    def test_experts_without_tokens_are_rounded_and_said(self):
        rng = random.Random(3)
        tensors, samples_of = {}, {}
        for expert, tokens in ((0, 100), (1, 5), (2, 0), (3, None)):
            name = f"model.layers.0.mlp.experts.{expert}.up_proj"
            tensors[name + ".weight"] = tensor(gauss(rng, 32 * 64), (32, 64))
            if tokens is not None:
                samples_of[name + ".X"] = tensor(samples(tokens, 64, expert), (tokens, 64), "F32")
        tensors["model.layers.0.mlp.gate.weight"] = tensor(gauss(rng, 4 * 64), (4, 64))
        found = self.json_of(
            "quantize",
            self.model(tensors=tensors),
            self.path("out"),
            "--method",
            "gptq",
            "--group",
            32,
            "--calibration",
            self.calibration(samples_of, {}),
        )
        notes = [layer["note"] for layer in found["layers"]]
        self.assertEqual(notes[0], "")
        self.assertEqual(notes[1], "too few tokens (5, 32 are needed): round to nearest")
        self.assertIn("too few tokens (0", notes[2])
        self.assertIn("too few tokens (0", notes[3])
        self.assertEqual(found["left"], [{"name": "model.layers.0.mlp.gate", "reason": "a router"}])

    def test_awq_wants_a_model_whose_wiring_is_known(self):
        model = self.model(config={"model_type": "frobnicator"})
        calibration = self.calibration()
        arguments = ["quantize", model, self.path("out"), "--method", "awq", "--group", 32, "--calibration", calibration]
        self.fails(UNSUPPORTED, ["frobnicator", "--no-fold"], *arguments)
        found = self.json_of(*arguments, "--no-fold")
        for layer in found["layers"]:
            self.assertIn("frobnicator", layer["note"])
        before, after = support.read_model(model), support.read_model(self.path("out"))
        for name in before:
            if "layernorm" in name:
                self.assertEqual(before[name], after[name])

    def test_a_report_is_written(self):
        self.run_tool(
            "quantize",
            self.model(),
            self.path("out"),
            "--method",
            "gptq",
            "--group",
            32,
            "--calibration",
            self.calibration(),
            "--report",
            self.path("report"),
        )
        with open(self.path("report", "report.md"), encoding="utf-8") as file:
            self.assertIn("model.layers.0.mlp.up_proj", file.read())


class Choices(Quantize):
    def test_what_is_not_a_linear_layer_stays(self):
        rng = random.Random(1)
        shapes = {
            "model.embed_tokens": (32, 64),
            "lm_head": (32, 64),
            "model.layers.0.mlp.gate": (8, 64),
            "model.layers.0.mlp.up_proj": (32, 64),
            "model.layers.0.mlp.shared_expert_gate": (8, 64),
            "classifier": (8, 64),
            "pooler.dense": (64, 64),
            "transformer.wte": (32, 64),
            "q_norm": (2, 64),
        }
        tensors = {name + ".weight": tensor(gauss(rng, n * k), (n, k)) for name, (n, k) in shapes.items()}
        tensors["model.layers.0.mlp.experts.gate_up_proj"] = tensor(gauss(rng, 2 * 32 * 64), (2, 32, 64))
        tensors["model.norm.weight"] = tensor(gauss(rng, 64), (64,))
        model = self.model(tensors=tensors)
        plan = self.json_of("quantize", model, "--method", "rtn", "--group", 32, "--dry-run")
        self.assertEqual([layer["name"] for layer in plan["layers"]], ["model.layers.0.mlp.up_proj"])
        left = {entry["name"]: entry["reason"] for entry in plan["left"]}
        self.assertEqual(set(left), set(shapes) - {"model.layers.0.mlp.up_proj"} | {"model.layers.0.mlp.experts.gate_up_proj"})
        self.assertIn("three dimensions", left["model.layers.0.mlp.experts.gate_up_proj"])
        # --layers has the last word on heads and routers, not on what is no linear layer.
        plan = self.json_of("quantize", model, "--method", "rtn", "--group", 32, "--dry-run", "--layers", "lm_head|gate|embed|norm")
        self.assertEqual(
            sorted(layer["name"] for layer in plan["layers"]),
            ["lm_head", "model.layers.0.mlp.gate", "model.layers.0.mlp.shared_expert_gate"],
        )
        self.fails(USAGE, ["--layers", "nothing"], "quantize", model, self.path("out"), "--method", "rtn", "--layers", "nothing")
        self.fails(USAGE, "--layers", "quantize", model, self.path("out"), "--method", "rtn", "--layers", "(up")
        self.assertEqual(os.listdir(self.folder), ["model"])

    def test_gpt2s_transposed_layers_are_refused_by_the_length_of_a_bias(self):
        rng = random.Random(1)
        tensors = {
            "h.0.attn.c_attn.weight": tensor(gauss(rng, 64 * 192), (64, 192)),
            "h.0.attn.c_attn.bias": tensor(gauss(rng, 192), (192,)),
            "h.0.attn.c_proj.weight": tensor(gauss(rng, 64 * 64), (64, 64)),
            "h.0.attn.c_proj.bias": tensor(gauss(rng, 64), (64,)),
        }
        self.fails(
            UNSUPPORTED, ["c_attn", "Conv1D"], "quantize", self.model(tensors=tensors, config={}), self.path("out"), "--method", "rtn"
        )
        # StarCoder has layers of the same names that are stored as usual.
        tensors["h.0.attn.c_attn.weight"] = tensor(gauss(rng, 64 * 192), (192, 64))
        plan = self.json_of(
            "quantize",
            self.model("other", tensors=tensors, config={"model_type": "gpt_bigcode"}),
            "--method",
            "rtn",
            "--dry-run",
            "--group",
            32,
        )
        self.assertEqual(len(plan["layers"]), 2)

    def test_a_head_that_is_tied_stays_even_if_asked_for(self):
        model = self.model(config={"model_type": "llama", "tie_word_embeddings": True})
        self.fails(UNSUPPORTED, "tied", "quantize", model, self.path("out"), "--method", "rtn", "--layers", "lm_head", "--group", 32)

    def test_a_layer_that_the_format_cannot_hold_is_named(self):
        rng = random.Random(1)
        tensors = {
            name: tensor(gauss(rng, n * k), (n, k)) for name, n, k in (("a.weight", 64, 64), ("b.weight", 30, 64), ("c.weight", 64, 96))
        }
        model = self.model(tensors=tensors)
        self.fails(
            UNSUPPORTED, ["'b'", "n = 30", "--skip-unsupported"], "quantize", model, self.path("out"), "--method", "rtn", "--group", 32
        )
        self.fails(
            UNSUPPORTED,
            ["'c'", "96", "group 32 or -1"],
            "quantize",
            model,
            self.path("out"),
            "--method",
            "rtn",
            "--group",
            64,
            "--layers",
            "[ac]",
        )
        found = self.json_of("quantize", model, self.path("out"), "--method", "rtn", "--group", 64, "--skip-unsupported")
        self.assertEqual([layer["name"] for layer in found["layers"]], ["a"])
        self.assertEqual([entry["name"] for entry in found["left"]], ["b", "c"])
        # compressed-tensors holds any n and k.
        self.run_tool("quantize", model, self.path("ct"), "--method", "rtn", "--group", -1, "--format", "compressed-tensors")

    def test_a_quantised_model_is_not_quantised_again(self):
        self.run_tool("quantize", self.model(), self.path("out"), "--method", "rtn", "--group", 32)
        self.fails(UNSUPPORTED, "quantised already", "quantize", self.path("out"), self.path("again"), "--method", "rtn")

    def test_odd_matrices_are_quantised_or_refused(self):
        for n, k in ((1, 64), (64, 1), (1, 1), (8, 8)):
            rng = random.Random(n * 100 + k)
            model = self.model(f"m{n}x{k}", {"a.weight": tensor(gauss(rng, n * k), (n, k), "F32")})
            out = self.path(f"o{n}x{k}")
            self.run_tool("quantize", model, out, "--method", "rtn", "--group", -1, "--format", "compressed-tensors", "--scale-type", "f32")
            self.assertEqual(self.weights(out, "a")[:2], (k, n))
            if (n, k) != (8, 8):
                self.fails(UNSUPPORTED, ["'a'", "GPTQ"], "quantize", model, self.path("x"), "--method", "rtn", "--group", -1)

    def test_zeros_and_constants_come_back_as_they_are(self):
        weights = [0.0] * 64 + [0.5] * 64 + [-0.25] * 32 + [0.0] * 32 + gauss(random.Random(1), 64 * 5)
        model = self.model(tensors={"a.weight": tensor(weights, (8, 64))})
        for zeros in ("--zero-points", "--no-zero-points"):
            out = self.path("out" + zeros)
            self.run_tool("quantize", model, out, "--method", "rtn", "--group", 32, zeros)
            self.assertEqual(self.json_of("inspect", out)["format"], "gptq_v2" if zeros == "--zero-points" else "gptq")
            k, n, values = self.weights(out, "a")
            for row in range(3):
                for i in range(k):
                    # A constant is exact up to the rounding of its scale to f16, or within half a step (0.25 / 15) of the symmetric grid.
                    self.assertAlmostEqual(values[i * n + row], weights[row * 64 + i], delta=0.02 * 0.5)


class BadInput(Quantize):
    def refused(self, words, tensors=None, samples_of=None, metadata=None, code=BAD_INPUT, method="gptq"):
        for name in ("model", "samples.safetensors"):
            shutil.rmtree(self.path(name), ignore_errors=True)
        model, calibration = self.model(tensors=tensors), self.calibration(samples_of, metadata)
        self.fails(code, words, "quantize", model, self.path("out"), "--method", method, "--group", 32, "--calibration", calibration)
        self.assertEqual(support.leftovers(self.folder, {"model", "samples.safetensors"}), [])

    def with_value(self, tensors, name, index, value):
        dtype, shape, data = tensors[name]
        size, code = (4, "<f") if dtype == "F32" else (2, "<e")
        return {**tensors, name: (dtype, shape, data[: index * size] + struct.pack(code, value) + data[(index + 1) * size :])}

    def test_weights_that_are_not_finite_are_named(self):
        name = "model.layers.1.mlp.up_proj.weight"
        self.refused([name, "[2,3]", "NaN"], self.with_value(self.tensors, name, 2 * HIDDEN + 3, math.nan))
        self.refused([name, "[0,1]", "infinite"], self.with_value(self.tensors, name, 1, -math.inf), method="rtn")

    # All of them would be copied through, and nothing could read the result.
    def test_what_stands_beside_a_weight_must_let_the_layer_be_read(self):
        layer = "model.layers.1.mlp.up_proj"
        n = self.tensors[layer + ".weight"][1][0]
        for suffix, other, words in (
            ("bias", tensor([0.5] * (2 * n), (n, 2)), ["has shape", f"[{n},2]", f"expected [{n}]"]),
            ("bias", tensor([0.5] * (n + 8), (n + 8,)), [f"[{n + 8}]", f"expected [{n}]"]),
            ("bias", ("I32", [n], bytes(4 * n)), ["I32", "F32, F16 and BF16"]),
            ("qzeros", ("I32", [1, n // 8], bytes(n // 2)), ["a part of the quantised layer", "rename or remove"]),
        ):
            self.refused([f"{layer}.{suffix}", *words], {**self.tensors, f"{layer}.{suffix}": other}, method="rtn")

    def test_samples_that_are_not_finite_are_named(self):
        name = "model.layers.0.self_attn.q_proj.X"
        self.refused([name, "[7,9]", "NaN"], samples_of=self.with_value(self.samples, name, 7 * HIDDEN + 9, math.nan))
        self.refused([name, "[159,0]", "infinite"], samples_of=self.with_value(self.samples, name, 159 * HIDDEN, math.inf), method="awq")

    def test_samples_of_another_width_or_model(self):
        name = "model.layers.0.mlp.down_proj.X"
        self.refused([name, "[10,64]", "k = 96"], samples_of={**self.samples, name: tensor(samples(10, 64, 1), (10, 64), "F32")})
        self.refused(
            ["another model", "'model.layers.0.mlp.down_proj.X'", "'bert.0.X'"], samples_of={"bert.0.X": tensor([1.0] * 64, (1, 64), "F32")}
        )
        partial = {key: value for key, value in self.samples.items() if key != name}
        self.refused(["no samples of layer 'model.layers.0.mlp.down_proj'", "1 of 14"], samples_of=partial)
        self.refused(["I32", name], samples_of={**self.samples, name: ("I32", [1, 96], bytes(96 * 4))})

    def test_damaged_second_moments_and_metadata(self):
        name = "model.layers.0.mlp.down_proj"
        rest = {key: value for key, value in self.samples.items() if not key.startswith(name)}
        h = tensor([float(i % 97 == 0) for i in range(96 * 96)], (96, 96), "F32")
        count = ("I64", [], struct.pack("<q", 50))
        self.refused([name + ".count"], samples_of={**rest, name + ".H": h})
        self.refused([name + ".H", "[96,96]"], samples_of={**rest, name + ".H": tensor([1.0] * 96, (1, 96), "F32"), name + ".count": count})
        self.refused([name + ".count", "-50"], samples_of={**rest, name + ".H": h, name + ".count": ("I64", [], struct.pack("<q", -50))})
        self.refused(["same_input"], metadata={"same_input": "[1]"})
        self.refused(["same_input", "'a'"], metadata={"same_input": '{"a": 1}'})

    def test_samples_that_are_all_zero_or_few(self):
        """H is singular: dead inputs, and fewer tokens than inputs. Both are answered, not refused."""
        name = "model.layers.0.mlp.down_proj.X"
        few = {**self.samples, name: tensor(samples(40, 96, 4), (40, 96), "F32")}
        few["model.layers.0.self_attn.o_proj.X"] = tensor([0.0] * (64 * 64), (64, 64), "F32")
        found = self.json_of(
            "quantize", self.model(), self.path("out"), "--method", "gptq", "--group", 32, "--calibration", self.calibration(few)
        )
        layers = {layer["name"]: layer for layer in found["layers"]}
        self.assertEqual(layers["model.layers.0.mlp.down_proj"]["note"], "fewer tokens (35) than inputs (96)")
        self.assertEqual(layers["model.layers.0.self_attn.o_proj"]["dead_columns"], 64)
        self.assertEqual(set(self.weights(self.path("out"), "model.layers.0.self_attn.o_proj")[2]), {0.0})

    def test_wrong_usage(self):
        model = self.model()
        for words, arguments in (
            (["--method", "gptq"], []),
            (["--method", "magic"], ["--method", "magic"]),
            (["--bits", "3"], ["--method", "rtn", "--bits", 3]),
            (["--group", "48"], ["--method", "rtn", "--group", 48]),
            (["--calibration"], ["--method", "gptq"]),
            (["--format"], ["--method", "rtn", "--format", "gguf"]),
            (["--act-order"], ["--method", "rtn", "--act-order", "group"]),
        ):
            self.fails(USAGE, words, "quantize", model, self.path("out"), *arguments)
        self.fails(USAGE, "OUT", "quantize", model, "--method", "rtn")
        self.fails(USAGE, "input and output", "quantize", model, model, "--method", "rtn")
        self.fails(BAD_INPUT, "within the input", "quantize", model, os.path.join(model, "out"), "--method", "rtn")
        self.fails(BAD_INPUT, self.path("missing"), "quantize", self.path("missing"), self.path("out"), "--method", "rtn")
        self.fails(
            BAD_INPUT, self.path("missing"), "quantize", model, self.path("out"), "--method", "gptq", "--calibration", self.path("missing")
        )
        os.mkdir(self.path("full"))
        with open(self.path("full", "precious"), "w", encoding="utf-8"):
            pass
        self.fails(BAD_INPUT, "not empty", "quantize", model, self.path("full"), "--method", "rtn", "--group", 32)
        self.fails(UNSUPPORTED, "AWQ holds 4-bit", "quantize", model, self.path("out"), "--method", "rtn", "--bits", 8, "--format", "awq")
        self.assertEqual(sorted(os.listdir(self.folder)), ["full", "model"])

    def test_seeds_are_whole_numbers_that_fit(self):
        for seed in ("-1", "18446744073709551616", "1x"):
            self.fails(USAGE, f"--seed is '{seed}'", "quantize", self.path("model"), self.path("out"), "--method", "rtn", f"--seed={seed}")

    def test_a_missing_input_leaves_no_report(self):
        self.fails(BAD_INPUT, "modle", "quantize", self.path("modle"), self.path("out"), "--method", "rtn", "--report", self.path("report"))
        self.assertEqual(os.listdir(self.folder), [])


class Notes(Quantize):
    """What a person has to know of the samples, on the terminal and in the report."""

    def run_on(self, change, *more, environment=None):
        changed = {}
        for name, (dtype, shape, data) in self.samples.items():
            values = support.floats_of(data, dtype)
            changed[name] = tensor([change(name, i // shape[1], i % shape[1], value) for i, value in enumerate(values)], shape, "F32")
        shutil.rmtree(self.path("out"), ignore_errors=True)
        model = self.path("model") if os.path.exists(self.path("model")) else self.model()
        arguments = [model, self.path("out"), "--group", 32, "--calibration", self.calibration(changed), "--report", self.path("report")]
        said = self.run_tool("quantize", *arguments, *more, environment=environment).stdout
        with open(self.path("report", "report.md"), encoding="utf-8") as file:
            return said, file.read()

    def test_inputs_that_no_sample_had(self):
        said, report = self.run_on(lambda name, token, i, value: 0.0 if i < 3 else value, "--method", "gptq")
        self.assertIn("\n42 inputs of 14 layers were zero in every sample", said)
        self.assertNotIn("warning", said)
        self.assertIn("3 of 64 inputs were zero in every sample; their weights became 0 (12 layers)", report)
        many = "model.layers.1.mlp.down_proj"
        said, report = self.run_on(lambda name, token, i, value: 0.0 if name == many + ".X" and i < 25 else value, "--method", "gptq")
        self.assertIn("\nwarning: 25 inputs of 1 layer were zero in every sample", said)
        self.assertIn(f"in 1 layer more than a quarter of the inputs, in {many} 25 of 96", said)
        self.assertIn("Warning: 25 of 96 inputs", report)
        said, _ = self.run_on(lambda name, token, i, value: value, "--method", "gptq")
        self.assertNotIn("zero in every sample", said)

    def test_a_picture_that_cannot_be_drawn_is_left_out(self):
        said, report = self.run_on(lambda name, token, i, value: 0.0, "--method", "gptq")
        self.assertIn("\nthe picture groups could not be drawn: gnuplot ended with", said)
        self.assertIn("Without some pictures: the picture groups could not be drawn", report)
        self.assertNotIn("(groups.svg)", report)
        self.assertIn("(errors.svg)", report)

    def test_no_lapack(self):
        said, report = self.run_on(lambda name, token, i, value: value, "--method", "rtn", environment={"BILLFISH_LAPACK": "/nothing"})
        self.assertIn("and 13 layers more: errors of outputs were not measured: no LAPACK was found", said)
        self.assertIn("errors of outputs were not measured", report)

    def test_damping_that_had_to_be_raised(self):
        k = HIDDEN
        indefinite = [1.0 if i // k == i % k else 0.9 if i // k < 2 and i % k < 2 else 0.0 for i in range(k * k)]
        indefinite[1] = indefinite[k] = 1.05  # an eigenvalue of -0.05
        layer = "model.layers.0.self_attn.o_proj"
        count = ("I64", [1], struct.pack("<q", 900))
        calibration = self.calibration({layer + ".H": tensor(indefinite, (k, k), "F32"), layer + ".count": count}, {})
        arguments = [self.model(), self.path("out"), "--group", 32, "--method", "gptq", "--layers", "0.self_attn.o_proj"]
        said = self.run_tool("quantize", *arguments, "--calibration", calibration).stdout
        self.assertIn(f"{layer}: damping had to be raised from 0.01 to 0.1", said)


if __name__ == "__main__":
    support.main()
