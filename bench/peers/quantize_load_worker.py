# SPDX-License-Identifier: Apache-2.0
"""What quantize_load.py has done in other environments: quantize_load_worker.py ROLE FOLDER; the last line printed is JSON."""
import glob
import json
import os
import sys

import numpy as np
import torch


def models(folder):
    """Tiny models, and samples for every linear layer."""
    import tiny_models
    from safetensors.torch import save_file
    from transformers import AutoModelForCausalLM

    for kind in ("llama", "qwen2"):
        path = os.path.join(folder, kind)
        tiny_models.make_model(path, kind=kind, hidden=128, intermediate=192, heads=2, head_dim=64, layers=2, seed=len(kind))
        model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
        samples = {}

        def hook(_, x, __, name=""):
            samples.setdefault(name + ".X", []).append(x[0].reshape(-1, x[0].shape[-1]).half())

        for name, module in model.named_modules():
            if isinstance(module, torch.nn.Linear) and name != "lm_head":
                module.register_forward_hook(lambda *a, name=name: hook(*a, name=name))
        with torch.no_grad():
            model(input_ids=tiny_models.token_rows(8, 128))
        save_file({name: torch.cat(parts) for name, parts in samples.items()}, os.path.join(folder, kind + ".safetensors"))
    return {}


def wanted(folder):
    """name -> [K, N] float64, as billfish dequantises."""
    paths = glob.glob(os.path.join(glob.escape(folder) + ".weights", "*.npy"))
    return {os.path.basename(path)[:-4]: np.load(path).astype(np.float64) for path in paths}


def compared(folder, weights, allowed):
    """weights: name -> [K, N]. `allowed`, of the largest weight: what the reader's own rounding of products may be."""
    ours = wanted(folder)
    assert set(ours) == set(weights), f"{sorted(set(ours) ^ set(weights))}"
    worst = max(np.abs(ours[name] - np.asarray(value, np.float64)).max() / np.abs(ours[name]).max() for name, value in weights.items())
    return {"layers": len(weights), "worst": float(worst), "allowed": allowed}


def tensors_of(folder):
    from safetensors.torch import load_file

    out = {}
    for path in glob.glob(os.path.join(glob.escape(folder), "*.safetensors")):
        out.update(load_file(path))
    return out


def layers_of(tensors, part):
    for key in tensors:
        if key.endswith("." + part):
            name = key[:-len(part) - 1]
            yield name, {other[len(name) + 1:]: value for other, value in tensors.items() if other.startswith(name + ".")}


def gptqmodel(folder):
    from gptqmodel import BACKEND, GPTQModel

    model = GPTQModel.load(folder, backend=BACKEND.TORCH, device="cpu", dtype=torch.float16)
    modules = {name: module for name, module in model.model.named_modules() if hasattr(module, "qweight")}
    weights = {name: module.dequantize_weight().float().numpy() for name, module in modules.items()}
    return compared(folder, weights, 2.0**-11)  # its products are f16


def autoawq(folder):
    from awq.utils.packing_utils import dequantize_gemm

    with open(os.path.join(folder, "config.json")) as file:
        config = json.load(file)["quantization_config"]
    weights = {}
    for name, part in layers_of(tensors_of(folder), "qweight"):
        group = config["group_size"] if config["group_size"] > 0 else part["qweight"].shape[0]
        weights[name] = dequantize_gemm(part["qweight"], part["qzeros"], part["scales"], config["bits"], group).float().numpy()
    return compared(folder, weights, 2.0**-11)


def llmcompressor(folder):
    """By the config in the checkpoint: scheme and compressor are what compressed-tensors itself makes of it."""
    from compressed_tensors.compressors import PackedQuantizationCompressor
    from compressed_tensors.quantization import QuantizationConfig

    with open(os.path.join(folder, "config.json")) as file:
        config = QuantizationConfig.model_validate(json.load(file)["quantization_config"])
    scheme = next(iter(config.config_groups.values()))
    weights = {}
    for name, part in layers_of(tensors_of(folder), "weight_packed"):
        part.pop("bias", None)
        part["weight_scale"] = part["weight_scale"].float()  # its products have the type of the scales
        weights[name] = PackedQuantizationCompressor.decompress(part, scheme)["weight"].float().t().numpy()
    return compared(folder, weights, 2.0**-23)


if __name__ == "__main__":
    answer = {role.__name__: role for role in (models, gptqmodel, autoawq, llmcompressor)}[sys.argv[1]](sys.argv[2])
    print()
    print(json.dumps(answer))
