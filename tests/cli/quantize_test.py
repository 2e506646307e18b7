# SPDX-License-Identifier: Apache-2.0
"""quantize: whole models into every format, what stays as it is, calibration files that do not fit, and runs that are interrupted."""

import json
import math
import os
import random
import resource
import shutil
import signal
import struct
import subprocess
import time

import support
from support import BAD_INPUT, BIN, INTERRUPTED, OK, UNSUPPORTED, USAGE, CliTest

HIDDEN, INNER, TOKENS = 64, 96, 160
LINEAR = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"]
SHAPES = {"mlp.gate_proj": (INNER, HIDDEN), "mlp.up_proj": (INNER, HIDDEN), "mlp.down_proj": (HIDDEN, INNER)}
SAME_INPUT = {"self_attn.k_proj": "self_attn.q_proj", "self_attn.v_proj": "self_attn.q_proj", "mlp.up_proj": "mlp.gate_proj"}
FORMATS = {"gptq": "gptq", "gptq_v2": "gptq_v2", "awq": "awq", "compressed-tensors": "compressed-tensors", "marlin": "marlin"}


def bf16(values):
    out = b""
    for value in values:  # rounded toward zero: any bf16 will do
        out += struct.pack("<f", value)[2:]
    return out


def tensor(values, shape, dtype="F16"):
    data = bf16(values) if dtype == "BF16" else struct.pack(f"<{len(values)}{'e' if dtype == 'F16' else 'f'}", *values)
    return dtype, list(shape), data


def gauss(rng, count, spread=0.05):
    return [rng.gauss(0, spread) for _ in range(count)]


def model_tensors(blocks=2, dtype="F16", seed=1, shapes=None):
    rng = random.Random(seed)
    out = {"model.embed_tokens.weight": tensor(gauss(rng, 32 * HIDDEN), (32, HIDDEN), dtype)}
    for block in range(blocks):
        prefix = f"model.layers.{block}."
        for part in LINEAR:
            n, k = (shapes or SHAPES).get(part, (HIDDEN, HIDDEN))
            out[prefix + part + ".weight"] = tensor(gauss(rng, n * k), (n, k), dtype)
        out[prefix + "self_attn.q_proj.bias"] = tensor(gauss(rng, HIDDEN), (HIDDEN,), dtype)
        for norm in ("input_layernorm", "post_attention_layernorm"):
            out[f"{prefix}{norm}.weight"] = tensor([rng.uniform(0.5, 2) for _ in range(HIDDEN)], (HIDDEN,), dtype)
    out["lm_head.weight"] = tensor(gauss(rng, 32 * HIDDEN), (32, HIDDEN), dtype)
    return out


def write_model(folder, tensors, shards=1, config=None):
    os.makedirs(folder)
    with open(os.path.join(folder, "config.json"), "w", encoding="utf-8") as file:
        json.dump(config or {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "torch_dtype": "float16"}, file)
    with open(os.path.join(folder, "tokenizer.json"), "w", encoding="utf-8") as file:
        file.write("{}")
    if shards == 1:
        support.write_safetensors(os.path.join(folder, "model.safetensors"), tensors, {"format": "pt"})
        return folder
    names, places = list(tensors), {}
    for shard in range(shards):
        name = f"model-{shard + 1:05}-of-{shards:05}.safetensors"
        support.write_safetensors(os.path.join(folder, name), {key: tensors[key] for key in names[shard::shards]}, {"format": "pt"})
        places.update({key: name for key in names[shard::shards]})
    with open(os.path.join(folder, "model.safetensors.index.json"), "w", encoding="utf-8") as file:
        json.dump({"metadata": {"total_size": sum(len(data) for _, _, data in tensors.values())}, "weight_map": places}, file)
    return folder


def samples(tokens, k, seed):
    """Tokens whose channels differ in size and hang together."""
    rng = random.Random(seed)
    size = [math.exp(rng.gauss(0, 1)) for _ in range(k)]
    rows = []
    for _ in range(tokens):
        last = 0.0
        for channel in range(k):
            last = 0.7 * last + rng.gauss(0, 1)
            rows.append(last * size[channel])
    return rows


def calibration_tensors(blocks=2, tokens=TOKENS):
    out = {}
    for block in range(blocks):
        for part in LINEAR:
            if part not in SAME_INPUT:
                k = SHAPES.get(part, (HIDDEN, HIDDEN))[1]
                out[f"model.layers.{block}.{part}.X"] = tensor(samples(tokens, k, block * 10 + LINEAR.index(part)), (tokens, k), "F32")
    return out


def same_input(blocks=2):
    return {"same_input": json.dumps({f"model.layers.{b}.{layer}": f"model.layers.{b}.{source}" for b in range(blocks)
                                      for layer, source in SAME_INPUT.items()})}


def files_of(folder):
    out = {}
    for root, _, names in os.walk(folder):
        for name in names:
            with open(os.path.join(root, name), "rb") as file:
                out[os.path.relpath(os.path.join(root, name), folder)] = file.read()
    return out


class Quantize(CliTest):
    @classmethod
    def setUpClass(cls):
        cls.tensors = model_tensors()
        cls.samples = calibration_tensors()

    def model(self, name="model", tensors=None, **options):
        return write_model(self.path(name), tensors or self.tensors, **options)

    def calibration(self, tensors=None, metadata=None, name="samples.safetensors"):
        support.write_safetensors(self.path(name), self.samples if tensors is None else tensors, same_input() if metadata is None else metadata)
        return self.path(name)

    def weights(self, checkpoint, layer):
        """(k, n, values [k][n]) as the tool reads the checkpoint back."""
        out = self.path("weights.npy")
        self.run_tool("dequantize", checkpoint, layer, "--out", out)
        (k, n), _, values = support.read_npy(out)
        return k, n, values

    def check_nearest(self, checkpoint, group, bits, tensors=None):
        """Every weight is within half a step of what it was; a step is at most the group's range over the number of steps."""
        for name, (dtype, shape, data) in (tensors or self.tensors).items():
            if not name.endswith("_proj.weight"):
                continue
            original = support.floats_of(data, dtype)
            k, n, values = self.weights(checkpoint, name[:-len(".weight")])
            self.assertEqual([n, k], shape)
            size = k if group == -1 else group
            for column in range(0, n, 7):
                for begin in range(0, k, size):
                    old = original[column * k + begin:column * k + begin + size]
                    new = [values[row * n + column] for row in range(begin, begin + size)]
                    # 2 amax / 14 is the widest step that a writer may choose (amax / 7); f16 scales round by 2^-11.
                    step = max(abs(value) for value in old) / ((1 << (bits - 1)) - 1) * 1.001
                    for a, b in zip(old, new):
                        self.assertLessEqual(abs(a - b), step, (name, column))


class Formats(Quantize):
    def test_every_format_is_read_back_with_its_weights_near(self):
        model = self.model(tensors=model_tensors(shapes={**SHAPES, "mlp.gate_proj": (INNER, HIDDEN)}))
        for name in FORMATS:
            if name == "marlin":
                continue
            out = self.path("out-" + name)
            self.run_tool("quantize", model, out, "--method", "rtn", "--group", 32, "--format", name)
            seen = self.json_of("inspect", out, "--deep")
            self.assertEqual(seen["format"], FORMATS[name])
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
        for bits, group, zeros, format_name in ((8, 32, False, "gptq"), (8, -1, True, "compressed-tensors"), (4, -1, True, "gptq_v2"), (4, 32, False, "awq")):
            out = self.path(f"out-{bits}-{group}-{format_name}")
            self.run_tool("quantize", model, out, "--method", "rtn", "--bits", bits, "--group", group, "--format", format_name,
                          "--zero-points" if zeros else "--no-zero-points")
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
            self.assertEqual(sorted(name for name in os.listdir(out) if name.endswith(".safetensors")),
                             sorted(name for name in os.listdir(model) if name.endswith(".safetensors")))
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
        self.assertEqual((configs["gptq"]["bits"], configs["gptq"]["group_size"], configs["gptq"]["sym"], configs["gptq"]["desc_act"]), (4, 32, True, False))
        self.assertEqual(sorted(configs["gptq"]["dynamic"]), sorted(f"-:^model\\.layers\\.{b}\\.mlp\\.{p}_proj$" for b in (0, 1) for p in ("gate", "up", "down")))
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
        self.fails(BAD_INPUT, ["bad.npy", "[1,1]", "NaN"], "quantize", self.path("bad.npy"), self.path("out2"), "--method", "rtn", "--group", 32)
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
            found = self.json_of("quantize", model, self.path(method), "--method", method, "--group", 32, "--calibration", calibration, "--format", "gptq")
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
                self.run_tool("quantize", model, out, "--method", *method, "--group", 32, "--calibration", calibration, "--threads", threads)
                written.append(files_of(out))
            self.assertEqual(written[0], written[1])

    def test_second_moments_do_as_well_as_the_samples_they_are_of(self):
        model = self.model()
        out = {}
        for name, (_, (tokens, k), data) in self.samples.items():
            rows = struct.unpack(f"<{tokens * k}f", data)
            h = [0.0] * (k * k)
            for t in range(tokens):
                row = rows[t * k:(t + 1) * k]
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
        found = self.json_of("quantize", self.model(tensors=tensors), self.path("out"), "--method", "gptq", "--group", 32, "--calibration",
                             self.calibration(samples_of, {}))
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
        self.run_tool("quantize", self.model(), self.path("out"), "--method", "gptq", "--group", 32, "--calibration", self.calibration(), "--report",
                      self.path("report"))
        with open(self.path("report", "report.md"), encoding="utf-8") as file:
            self.assertIn("model.layers.0.mlp.up_proj", file.read())


class Choices(Quantize):
    def test_what_is_not_a_linear_layer_stays(self):
        rng = random.Random(1)
        shapes = {"model.embed_tokens": (32, 64), "lm_head": (32, 64), "model.layers.0.mlp.gate": (8, 64), "model.layers.0.mlp.up_proj": (32, 64),
                  "model.layers.0.mlp.shared_expert_gate": (8, 64), "classifier": (8, 64), "pooler.dense": (64, 64), "transformer.wte": (32, 64),
                  "q_norm": (2, 64)}
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
        self.assertEqual(sorted(layer["name"] for layer in plan["layers"]),
                         ["lm_head", "model.layers.0.mlp.gate", "model.layers.0.mlp.shared_expert_gate"])
        self.fails(USAGE, ["--layers", "nothing"], "quantize", model, self.path("out"), "--method", "rtn", "--layers", "nothing")
        self.fails(USAGE, "--layers", "quantize", model, self.path("out"), "--method", "rtn", "--layers", "(up")
        self.assertEqual(os.listdir(self.folder), ["model"])

    def test_gpt2s_transposed_layers_are_refused_by_the_length_of_a_bias(self):
        rng = random.Random(1)
        tensors = {"h.0.attn.c_attn.weight": tensor(gauss(rng, 64 * 192), (64, 192)), "h.0.attn.c_attn.bias": tensor(gauss(rng, 192), (192,)),
                   "h.0.attn.c_proj.weight": tensor(gauss(rng, 64 * 64), (64, 64)), "h.0.attn.c_proj.bias": tensor(gauss(rng, 64), (64,))}
        self.fails(UNSUPPORTED, ["c_attn", "Conv1D"], "quantize", self.model(tensors=tensors, config={}), self.path("out"), "--method", "rtn")
        # StarCoder has layers of the same names that are stored as usual.
        tensors["h.0.attn.c_attn.weight"] = tensor(gauss(rng, 64 * 192), (192, 64))
        plan = self.json_of("quantize", self.model("other", tensors=tensors, config={"model_type": "gpt_bigcode"}), "--method", "rtn", "--dry-run", "--group", 32)
        self.assertEqual(len(plan["layers"]), 2)

    def test_a_head_that_is_tied_stays_even_if_asked_for(self):
        model = self.model(config={"model_type": "llama", "tie_word_embeddings": True})
        self.fails(UNSUPPORTED, "tied", "quantize", model, self.path("out"), "--method", "rtn", "--layers", "lm_head", "--group", 32)

    def test_a_layer_that_the_format_cannot_hold_is_named(self):
        rng = random.Random(1)
        tensors = {name: tensor(gauss(rng, n * k), (n, k)) for name, n, k in (("a.weight", 64, 64), ("b.weight", 30, 64), ("c.weight", 64, 96))}
        model = self.model(tensors=tensors)
        self.fails(UNSUPPORTED, ["'b'", "n = 30", "--skip-unsupported"], "quantize", model, self.path("out"), "--method", "rtn", "--group", 32)
        self.fails(UNSUPPORTED, ["'c'", "96", "group 32 or -1"], "quantize", model, self.path("out"), "--method", "rtn", "--group", 64, "--layers", "[ac]")
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
        return {**tensors, name: (dtype, shape, data[:index * size] + struct.pack(code, value) + data[(index + 1) * size:])}

    def test_weights_that_are_not_finite_are_named(self):
        name = "model.layers.1.mlp.up_proj.weight"
        self.refused([name, "[2,3]", "NaN"], self.with_value(self.tensors, name, 2 * HIDDEN + 3, math.nan))
        self.refused([name, "[0,1]", "infinite"], self.with_value(self.tensors, name, 1, -math.inf), method="rtn")

    def test_samples_that_are_not_finite_are_named(self):
        name = "model.layers.0.self_attn.q_proj.X"
        self.refused([name, "[7,9]", "NaN"], samples_of=self.with_value(self.samples, name, 7 * HIDDEN + 9, math.nan))
        self.refused([name, "[159,0]", "infinite"], samples_of=self.with_value(self.samples, name, 159 * HIDDEN, math.inf), method="awq")

    def test_samples_of_another_width_or_model(self):
        name = "model.layers.0.mlp.down_proj.X"
        self.refused([name, "[10,64]", "k = 96"], samples_of={**self.samples, name: tensor(samples(10, 64, 1), (10, 64), "F32")})
        self.refused(["another model", "'model.layers.0.mlp.down_proj'", "'bert.0.X'"], samples_of={"bert.0.X": tensor([1.0] * 64, (1, 64), "F32")})
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
        self.refused(["same_input", "'a'"], metadata={"same_input": "{\"a\": 1}"})

    def test_samples_that_are_all_zero_or_few(self):
        """H is singular: dead inputs, and fewer tokens than inputs. Both are answered, not refused."""
        name = "model.layers.0.mlp.down_proj.X"
        few = {**self.samples, name: tensor(samples(40, 96, 4), (40, 96), "F32")}
        few["model.layers.0.self_attn.o_proj.X"] = tensor([0.0] * (64 * 64), (64, 64), "F32")
        found = self.json_of("quantize", self.model(), self.path("out"), "--method", "gptq", "--group", 32, "--calibration", self.calibration(few))
        layers = {layer["name"]: layer for layer in found["layers"]}
        self.assertEqual(layers["model.layers.0.mlp.down_proj"]["note"], "fewer tokens (35) than inputs (96)")
        self.assertEqual(layers["model.layers.0.self_attn.o_proj"]["dead_columns"], 64)
        self.assertEqual(set(self.weights(self.path("out"), "model.layers.0.self_attn.o_proj")[2]), {0.0})

    def test_wrong_usage(self):
        model = self.model()
        for words, arguments in ((["--method", "gptq"], []), (["--method", "magic"], ["--method", "magic"]), (["--bits", "3"], ["--method", "rtn", "--bits", 3]),
                                 (["--group", "48"], ["--method", "rtn", "--group", 48]), (["--calibration"], ["--method", "gptq"]),
                                 (["--format"], ["--method", "rtn", "--format", "gguf"]), (["--act-order"], ["--method", "rtn", "--act-order", "group"])):
            self.fails(USAGE, words, "quantize", model, self.path("out"), *arguments)
        self.fails(USAGE, "OUT", "quantize", model, "--method", "rtn")
        self.fails(USAGE, "input and output", "quantize", model, model, "--method", "rtn")
        self.fails(BAD_INPUT, "within the input", "quantize", model, os.path.join(model, "out"), "--method", "rtn")
        self.fails(BAD_INPUT, self.path("missing"), "quantize", self.path("missing"), self.path("out"), "--method", "rtn")
        self.fails(BAD_INPUT, self.path("missing"), "quantize", model, self.path("out"), "--method", "gptq", "--calibration", self.path("missing"))
        os.mkdir(self.path("full"))
        with open(self.path("full", "precious"), "w", encoding="utf-8"):
            pass
        self.fails(BAD_INPUT, "not empty", "quantize", model, self.path("full"), "--method", "rtn", "--group", 32)
        self.fails(UNSUPPORTED, "AWQ holds 4-bit", "quantize", model, self.path("out"), "--method", "rtn", "--bits", 8, "--format", "awq")
        self.assertEqual(sorted(os.listdir(self.folder)), ["full", "model"])


class Interrupted(Quantize):
    """Runs that end by a signal after so many layers, and what the next one makes of them."""

    def start(self, *arguments):
        return subprocess.Popen([BIN, "quantize", *[str(a) for a in arguments]], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, env=dict(os.environ, CUDA_VISIBLE_DEVICES=""))

    def stop_after(self, layers, number, arguments):
        """Sends the signal once that many layers are in the journal. Whether the process was quicker."""
        process = self.start(*arguments)
        journal = self.path("out.unfinished", "journal")
        while process.poll() is None:
            try:
                with open(journal, "rb") as file:
                    if file.read().count(b"\nlayer ") >= layers:
                        break
            except FileNotFoundError:
                pass
            time.sleep(0.001)
        process.send_signal(number)
        process.communicate(timeout=60)
        return process.returncode

    def test_a_killed_run_goes_on_to_the_same_bytes(self):
        model, calibration = self.model(shards=2), self.calibration()
        for method in ("gptq", "awq"):
            arguments = [model, self.path("out"), "--method", method, "--group", 32, "--calibration", calibration]
            self.run_tool("quantize", model, self.path("whole"), *arguments[2:])
            stops = 0
            for layers in (0, 1, 4, 9, 13):
                for number in (signal.SIGKILL, signal.SIGTERM):
                    stops += self.stop_after(layers, number, [*arguments, "--resume", "--threads", 1]) in (-signal.SIGKILL, INTERRUPTED)
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

        for damage in (lambda: flip("checkpoint/model.safetensors", -100_000), lambda: flip("checkpoint/model.safetensors", 100),
                       lambda: flip("journal", -3), lambda: os.truncate(self.path("out.unfinished", "journal"), 700),
                       lambda: shutil.rmtree(self.path("out.unfinished", "checkpoint")), lambda: os.remove(self.path("out.unfinished", "journal"))):
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
        data = b"".join(block[i % 512 * 2:] + block[:i % 512 * 2] for i in range(self.N * self.K // 1024))
        tensors = {f"model.layers.{i}.mlp.up_proj.weight": ("F16", [self.N, self.K], data) for i in range(self.LAYERS)}
        model = write_model(self.path("model"), tensors)
        process = subprocess.Popen([BIN, "quantize", model, self.path("out"), "--method", "rtn"], stdout=subprocess.DEVNULL)
        peak = 0
        while process.poll() is None:  # the peak only grows: the last reading counts
            try:
                with open(f"/proc/{process.pid}/status", encoding="ascii") as file:
                    peak = max([peak, *(int(line.split()[1]) for line in file if line.startswith("VmHWM"))])
            except (FileNotFoundError, ProcessLookupError):
                break
            time.sleep(0.002)
        self.assertEqual(process.wait(), OK)
        weights = self.N * self.K
        # In f16 as read, in f32 before and after, codes in a byte, packed and unpacked in half a byte each; the program itself.
        layer = weights * (2 + 4 + 4 + 1 + 1)
        self.assertGreater(peak, 0)
        self.assertLess(peak * 1024, 1.5 * layer + 64 * 1024 * 1024)
        self.assertLess(layer, self.LAYERS * len(data) * 1.1)  # else the whole model would pass too


if __name__ == "__main__":
    support.main()
