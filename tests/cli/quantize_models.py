# SPDX-License-Identifier: Apache-2.0
"""Small models in f16, bf16 or f32 and samples of their layers' inputs, for the tests of quantize."""

import json
import math
import os
import random
import struct

import support
from support import CliTest

HIDDEN, INNER, TOKENS = 64, 96, 160
LINEAR = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"]
SHAPES = {"mlp.gate_proj": (INNER, HIDDEN), "mlp.up_proj": (INNER, HIDDEN), "mlp.down_proj": (HIDDEN, INNER)}
SAME_INPUT = {"self_attn.k_proj": "self_attn.q_proj", "self_attn.v_proj": "self_attn.q_proj", "mlp.up_proj": "mlp.gate_proj"}


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
    return {
        "same_input": json.dumps(
            {f"model.layers.{b}.{layer}": f"model.layers.{b}.{source}" for b in range(blocks) for layer, source in SAME_INPUT.items()}
        )
    }


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
        support.write_safetensors(
            self.path(name), self.samples if tensors is None else tensors, same_input() if metadata is None else metadata
        )
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
            k, n, values = self.weights(checkpoint, name[: -len(".weight")])
            self.assertEqual([n, k], shape)
            size = k if group == -1 else group
            for column in range(0, n, 7):
                for begin in range(0, k, size):
                    old = original[column * k + begin : column * k + begin + size]
                    new = [values[row * n + column] for row in range(begin, begin + size)]
                    # 2 amax / 14 is the widest step that a writer may choose (amax / 7); f16 scales round by 2^-11.
                    step = max(abs(value) for value in old) / ((1 << (bits - 1)) - 1) * 1.001
                    for a, b in zip(old, new):
                        self.assertLessEqual(abs(a - b), step, (name, column))
