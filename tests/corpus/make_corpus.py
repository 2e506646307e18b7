#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the seeds of the fuzz targets, good and bad, into the folders beside this file.

A seed named good-* must be accepted by its reader and one named bad-* refused: tests/formats/corpus_test.cpp checks it.
Inputs that a fuzzer found are added by hand as found-*, which must only not crash.
"""
import json
import os
import struct

HERE = os.path.dirname(os.path.abspath(__file__))


def write(target, name, content):
    folder = os.path.join(HERE, target)
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, name), "wb") as out:
        out.write(content if isinstance(content, bytes) else content.encode())


SIZES = {"I64": 8, "F64": 8, "I32": 4, "F32": 4, "F16": 2, "BF16": 2, "U8": 1, "F8_E4M3": 1}


def header(tensors, metadata=None):
    """tensors: [(name, dtype, shape)], laid out one after another."""
    out, at = {}, 0
    if metadata is not None:
        out["__metadata__"] = metadata
    for name, dtype, shape in tensors:
        count = SIZES[dtype]
        for extent in shape:
            count *= extent
        out[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + count]}
        at += count
    return json.dumps(out, separators=(",", ":")), at


def safetensors(text, data=b""):
    text = text.encode() if isinstance(text, str) else text
    return struct.pack("<Q", len(text)) + text + data


def entry(dtype="U8", shape=(2,), offsets=(0, 2)):
    return '{"dtype":"%s","shape":%s,"data_offsets":%s}' % (dtype, json.dumps(list(shape)), json.dumps(list(offsets)))


def make_safetensors():
    text, size = header([("a", "F16", [2, 3]), ("b", "I32", []), ("c", "U8", [0, 4]), ("d", "BF16", [5])], {"format": "pt"})
    write("safetensors", "good-several", safetensors(text, bytes(range(size))))
    write("safetensors", "good-none", safetensors("{}"))
    write("safetensors", "good-padded", safetensors(text + "     ", bytes(size)))
    bad = {
        "empty": b"",
        "short": b"\x02\0\0\0",
        "huge-header": struct.pack("<Q", 1 << 60) + b"{}",
        "truncated-header": safetensors(text)[:30],
        "truncated-data": safetensors(text, bytes(size - 1)),
        "leftover": safetensors(text, bytes(size + 1)),
        "hole": safetensors('{"a":%s,"b":%s}' % (entry(), entry(offsets=(3, 5))), bytes(5)),
        "overlap": safetensors('{"a":%s,"b":%s}' % (entry(), entry(offsets=(1, 3))), bytes(3)),
        "overflow": safetensors('{"a":%s}' % entry(shape=(1 << 40, 1 << 40)), bytes(2)),
        "dtype": safetensors('{"a":%s}' % entry(dtype="F7"), bytes(2)),
        "duplicate": safetensors('{"a":%s,"a":%s}' % (entry(), entry(offsets=(2, 4))), bytes(4)),
        "negative": safetensors('{"a":%s}' % entry(shape=(-2,)), bytes(2)),
        "nested": safetensors('{"a":' + "[" * 200),
        "float": safetensors('{"a":{"dtype":"U8","shape":[1e3],"data_offsets":[0,1000]}}', bytes(1000)),
        "utf8": safetensors(b'{"\xff":{}}'),
        "array": safetensors("[1]"),
    }
    for name, content in bad.items():
        write("safetensors", "bad-" + name, content)


def make_config():
    good = {
        "gptq": {"quant_method": "gptq", "bits": 4, "group_size": 128, "desc_act": False, "sym": True, "checkpoint_format": "gptq",
                 "dynamic": {"+:.*\\.18\\..*": {"bits": 8, "group_size": 32}, "-:lm_head": {}}},
        "awq": {"quant_method": "awq", "w_bit": 4, "q_group_size": 64, "zero_point": True, "version": "GEMM"},
        "auto-round": {"quant_method": "auto-round", "bits": 4, "group_size": 128, "sym": False, "packing_format": "auto_round:auto_awq",
                       "extra_config": {"model.layers.0.mlp.up_proj": {"bits": 8}}},
        "compressed-tensors": {"quant_method": "compressed-tensors", "format": "pack-quantized", "ignore": ["lm_head"], "config_groups": {
            "group_0": {"targets": ["Linear"], "weights": {"num_bits": 4, "type": "int", "symmetric": True, "strategy": "group",
                                                           "group_size": 128, "actorder": "static"}},
            "group_1": {"targets": ["re:.*o_proj"], "weights": {"num_bits": 8, "strategy": "channel", "group_size": None}}}},
        "packed": {"quant_method": "billfish", "billfish_version": 1, "source": {"quant_method": "gptq", "bits": 4, "group_size": -1}},
        "index": {"metadata": {"total_size": 9}, "weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}},
        "metadata": {"version": 1, "layers": {"model.layers.0.mlp.up_proj": {"source": "gptq", "group": 128}, "x": {"source": "awq", "group": -1}}},
    }
    for name, value in good.items():
        write("config", "good-" + name, json.dumps(value))
    bad = {"empty": "", "nested": '{"a":' + "[" * 100, "open-string": '{"quant_method":"gptq', "kind": '{"quant_method":7}', "bits": '{"bits":99}',
           "shard": '{"weight_map":{"a":"../x"}}', "brackets": '{"a":]}', "group": '{"group_size":0}', "not-json": "{a:1}", "array": "[]"}
    for name, value in bad.items():
        write("config", "bad-" + name, value)


def make_pattern():
    good = {"name": "up_proj\nmodel.layers.0.mlp.up_proj", "layers": "^model\\.layers\\.(0|1[0-9])\\..*$\nmodel.layers.12.x", "sets": "[^.]+\\.[]a-z_-]*\nab.c",
            "counts": "a{2,5}(?:bc){3}d{1,}?\naabcbcbcd", "hostile": "^(a+)+(a|a)*$\naaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab", "empty": "\n", "classes": "\\d\\w\\s\\D\\W\\S\n0a b.c"}
    bad = {"open": "(a\nx", "close": "a)\nx", "star": "*\nx", "range": "[z-a]\nx", "escape": "\\q\nx", "look": "(?=a)\nx", "large": "((a{999}){999}){999}\nx", "count": "a{2\nx"}
    for name, value in good.items():
        write("pattern", "good-" + name, value)
    for name, value in bad.items():
        write("pattern", "bad-" + name, value)


def folder(*files):
    """files: (digit, content); see fuzz/targets/checkpoint.hpp for the names behind the digits."""
    return b"".join(b"== %d\n" % digit + (content if isinstance(content, bytes) else content.encode()) for digit, content in files)


def tensors(entries, pattern=b"\0", metadata=None):
    return header(entries, metadata)[0].encode() + b"\n" + pattern


def config(value):
    return json.dumps({"model_type": "llama", "quantization_config": value})


def make_checkpoint():
    gptq = {"quant_method": "gptq", "bits": 4, "group_size": 16, "sym": True}
    layer = [("m.a.qweight", "I32", [4, 64]), ("m.a.qzeros", "I32", [2, 8]), ("m.a.scales", "F16", [2, 64]), ("m.a.g_idx", "I32", [32])]
    write("checkpoint", "good-gptq", folder((1, config(gptq)), (0, tensors(layer[:3], b"\x77"))))
    write("checkpoint", "good-gptq-order", folder((1, config(dict(gptq, desc_act=True))), (0, tensors(layer + [("m.a.bias", "F16", [64])], b"\x01\0\0\0\0\0\0\0"))))
    write("checkpoint", "good-gptq-8bit", folder((2, json.dumps({"bits": 8, "group_size": -1})), (0, tensors([
        ("m.qweight", "I32", [5, 12]), ("m.qzeros", "I32", [1, 3]), ("m.scales", "BF16", [1, 12])], b"\x12\x34\x56"))))
    write("checkpoint", "good-awq", folder((1, config({"quant_method": "awq", "w_bit": 4, "q_group_size": 16, "version": "gemm"})), (0, tensors([
        ("m.qweight", "I32", [32, 8]), ("m.qzeros", "I32", [2, 8]), ("m.scales", "F16", [2, 64])], b"\x21\x43\x05"))))
    shape = struct.pack("<qq", 10, 90)
    packed = [("m.weight_shape", "I64", [2]), ("m.weight_packed", "I32", [10, 12]), ("m.weight_scale", "BF16", [10, 3]), ("m.weight_zero_point", "I32", [2, 3])]
    ct = {"quant_method": "compressed-tensors", "format": "pack-quantized", "config_groups": {"g": {"weights": {"num_bits": 4, "group_size": 32}}}}
    write("checkpoint", "good-compressed", folder((1, config(ct)), (0, tensors(packed, shape))))
    write("checkpoint", "good-marlin", folder((0, tensors([("m.B", "I32", [2, 128]), ("m.s", "F16", [1, 64])], b"\x11\x22"))))
    mine = {"billfish": json.dumps({"version": 1, "layers": {"m": {"source": "gptq", "group": 16}}})}
    write("checkpoint", "good-packed", folder((0, tensors([("m.weight_shape", "I64", [2]), ("m.qweight", "I32", [2, 128]), ("m.scales", "F16", [2, 64]),
                                                          ("m.qzeros", "I32", [2, 8])], struct.pack("<qq", 60, 24), mine))))
    index = json.dumps({"weight_map": {"m.qweight": "model-00001-of-00002.safetensors", "m.scales": "model-00002-of-00002.safetensors"}})
    write("checkpoint", "good-shards", folder((3, index), (4, tensors([("m.qweight", "I32", [4, 64])])), (5, tensors([("m.scales", "F16", [2, 64])])), (1, config(gptq))))
    write("checkpoint", "bad-nothing", b"")
    write("checkpoint", "bad-no-scales", folder((0, tensors(layer[:2]))))
    write("checkpoint", "bad-shapes", folder((1, config(gptq)), (0, tensors([("m.qweight", "I32", [4, 64]), ("m.scales", "F16", [2, 63])]))))
    write("checkpoint", "bad-groups", folder((1, config(gptq)), (0, tensors(layer, b"\x37"))))
    write("checkpoint", "bad-experts", folder((0, tensors([("m.qweight", "I32", [2, 4, 64]), ("m.scales", "F16", [2, 2, 64])]))))
    write("checkpoint", "bad-float8", folder((0, tensors([("m.weight", "F8_E4M3", [8, 8]), ("m.weight_scale", "F32", [1])]))))
    write("checkpoint", "bad-truncated", folder((0, b"!" + safetensors(header(layer)[0], bytes(100)))))
    write("checkpoint", "bad-weight-shape", folder((0, tensors(packed, b"\xff"))))
    write("checkpoint", "bad-packed", folder((0, tensors([("m.weight_shape", "I64", [2]), ("m.qweight", "I32", [2, 128]), ("m.scales", "F16", [3, 64])],
                                                         struct.pack("<qq", 60, 24), mine))))


def make_quantize():
    """See fuzz/targets/quantize.hpp. The number of bytes chooses format, group and method there: spaces at the end go through them."""
    linear = [("model.layers.0.self_attn.%s_proj.weight" % part, "F16", [32, 32]) for part in "qkvo"]
    linear += [("model.layers.0.mlp.gate_proj.weight", "BF16", [64, 32]), ("model.layers.0.mlp.up_proj.weight", "BF16", [64, 32]),
               ("model.layers.0.mlp.down_proj.weight", "F32", [32, 64])]
    norms = [("model.layers.0.%s.weight" % name, "F16", [32]) for name in ("input_layernorm", "post_attention_layernorm")]
    others = [("model.embed_tokens.weight", "F16", [40, 32]), ("lm_head.weight", "F16", [40, 32]), ("m.experts.w", "F16", [2, 4, 32])]
    layers = [name[:-7] for name, _, _ in linear]
    x = [(layer + ".X", "F32", [80, 64 if "down" in layer else 32]) for layer in layers]
    h = [(layers[0] + ".H", "F32", [32, 32]), (layers[0] + ".count", "I64", [1])]
    same = {"same_input": json.dumps({layer: layers[0] for layer in layers if "down" not in layer})}
    llama, one = json.dumps({"model_type": "llama"}), b"\x00\x3c\x80\x3f"
    model = (0, tensors(linear + norms + others, one))
    for size in range(6):
        write("quantize", "good-llama-%d" % size, folder(model, (2, tensors(x, one)), (1, llama + " " * size)))
    write("quantize", "good-nearest", folder(model))
    write("quantize", "good-moments", folder((1, llama), model, (2, tensors(x[-1:] + h, one, same))))
    journal = "\n".join(["layer 'a%20b ff " + " ".join(["3fe0000000000000"] * 8) + " 1 2 3 4 'note", "scales 'a 3 2 3f800000 40000000 3ff0000000000000"])
    write("quantize", "good-journal", folder((3, journal), (1, llama), model))
    write("quantize", "bad-nothing", b"")
    write("quantize", "bad-width", folder((1, llama), model, (2, tensors([(layer + ".X", "F32", [80, 31]) for layer in layers], one))))
    write("quantize", "bad-other-model", folder((1, llama), model, (2, tensors([("bert.X", "F32", [80, 32])], one))))
    write("quantize", "bad-count", folder((1, llama), model, (2, tensors(x[1:] + h[:1], one))))
    write("quantize", "bad-same-input", folder((1, llama), model, (2, tensors(x, one, {"same_input": "[" * 100}))))
    write("quantize", "bad-not-finite", folder((1, llama), (0, tensors(linear + norms, b"\x00\x7e"))))
    write("quantize", "bad-no-layers", folder((1, llama), (0, tensors(others, one))))


def make_plans():
    plan = {"implementation": "sm90", "policy": "128x64", "tile_m": 64, "tile_n": 128, "splits": 2, "cluster": 2, "threads": 384,
            "blocks": 64, "detail": [0, 0, 0, 0]}
    entry = {"type": "u4b8", "act": "f16", "n": 4096, "k": 14336, "group": 128, "zeroed_workspace": True, "dependent_launch": True,
             "m_from": 33, "m_to": 64, "plan": plan}
    device = {"kind": "cuda", "architecture": 90, "multiprocessors": 132}

    def document(entries, **other):
        return json.dumps({"schema": 1, "device": device, "plans": entries, **other}, separators=(",", ":"))
    write("plans", "good-one", document([entry]))
    write("plans", "good-none", document([], device={"kind": "cpu", "name": "any"}))
    write("plans", "good-unknown-members", document([{**entry, "group": -1, "candidates": {"rows": [[1, {"plan": 2}]]}}], later={"plans": 1}))
    write("plans", "bad-schema", document([entry], schema=2))
    write("plans", "bad-device", document([entry], device={"kind": "cuda", "architecture": 90}))
    write("plans", "bad-plans", document({"0": entry}))
    write("plans", "bad-entry", document([entry, 7]))
    write("plans", "bad-type", document([{**entry, "type": "u3"}]))
    write("plans", "bad-range", document([{**entry, "m_from": 65}]))
    write("plans", "bad-negative", document([{**entry, "n": -1}]))
    write("plans", "bad-fraction", document([{**entry, "k": 0.5}]))
    write("plans", "bad-huge", document([{**entry, "n": 1 << 63}]))
    write("plans", "bad-overflow", document([entry]).replace("4096", "1e999"))
    write("plans", "bad-detail", document([{**entry, "plan": {**plan, "detail": [1]}}]))
    write("plans", "bad-missing", document([{name: entry[name] for name in entry if name != "plan"}]))
    write("plans", "bad-truncated", document([entry])[:-9])
    write("plans", "bad-nested", "[" * 100)


def make_raw():
    """See fuzz/targets/raw.hpp: columns and groups, then scales f16 [groups, columns]."""
    def document(n, groups, scales):
        return b"%d %d\n" % (n, groups) + struct.pack("<%de" % len(scales), *scales)
    layer = document(3, 4, [0.002 * i for i in range(1, 13)])
    good = {
        "one": document(1, 1, [1.0]),
        "layer": layer,
        "signs": document(2, 3, [-0.5, 0.25, 0.0, -0.0, 0.5, -0.0]),
        "largest": document(2, 16, [65504.0, -65504.0] * 16),
        "subnormal": document(2, 3, [2.0**-24, -3 * 2.0**-24, 0.0, -(2.0**-24), 2.0**-24, -0.0]),
        "tie": document(1, 2, [1.0, 1 + 2.0**-10]),
        "beside-a-tie": document(1, 4, [2.0, 2 + 2.0**-9, 2.0**-24, 0.0]),
    }
    bad = {
        "empty": b"",
        "no-line": b"1 1",
        "no-file": b"1 1\n",
        "truncated": layer[:-1],
        "leftover": layer + b"\0",
        "other-shape": b"4 4" + layer[3:],
        "huge": b"1099511627776 1048576" + layer[3:],
        "overflow": b"9223372036854775807 2" + layer[3:],
        "zero": b"0 4\n",
        "negative": b"-3 -4" + layer[3:],
        "nan": layer[:-2] + b"\x01\x7c",
        "infinite": layer[:-2] + b"\x00\xfc",
    }
    for name, content in good.items():
        write("raw", "good-" + name, content)
    for name, content in bad.items():
        write("raw", "bad-" + name, content)


def make_npy():
    def document(text, data=b"", version=1):
        return b"\x93NUMPY" + struct.pack("<BBH" if version == 1 else "<BBI", version, 0, len(text)) + text.encode() + data

    def array(shape, dtype="<f4", order="False", data=b"", **other):
        return document("{'descr': '%s', 'fortran_order': %s, 'shape': %s, }\n" % (dtype, order, shape), data, **other)
    data = bytes(range(24))
    good = {
        "f32": array("(2, 3)", data=data),
        "f16": array("(3, 4)", "<f2", data=data),
        "version-2": array("(2, 3)", data=data, version=2),
        "scalar": array("()", data=data[:4]),
        "vector": array("(6,)", data=data),
        "nothing": array("(0, 4)"),
        "fortran-vector": array("(1, 6)", order="True", data=data),
        "32-axes": array("(" + "1, " * 31 + "6)", data=data),
        "other-spelling": document('{"shape":(\t2,3 ) ,"fortran_order":False,"descr":"=f4"}  ', data),
    }
    bad = {
        "empty": b"",
        "magic": b"\x93NUMPX" + good["f32"][6:],
        "magic-alone": b"\x93NUMPY",
        "short": good["version-2"][:10],
        "version": array("(2, 3)", data=data, version=3),
        "huge-header": b"\x93NUMPY\2\0\xff\xff\xff\xff" + good["f32"][10:],
        "long-header": document(" " * 65537, version=2),
        "truncated-header": good["f32"][:40],
        "truncated-data": good["f32"][:-1],
        "leftover": good["f32"] + b"\0",
        "big-endian": array("(2, 3)", ">f4", data=data),
        "f64": array("(3,)", "<f8", data=data),
        "structured": document("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (6,), }", data),
        "fortran": array("(2, 3)", order="True", data=data),
        "order": array("(2, 3)", order="0", data=data),
        "huge": array("(1152921504606846976,)", data=data),
        "overflow": array("(1099511627776, 1099511627776)", data=data),
        "overflow-to-nothing": array("(4611686018427387904,)"),
        "nothing-of-huge": array("(2305843009213693952, 0)"),
        "beyond-2-63": array("(99999999999999999999,)", data=data),
        "negative": array("(-2, -3)", data=data),
        "33-axes": array("(" + "1, " * 32 + "6)", data=data),
        "no-shape": document("{'descr': '<f4', 'fortran_order': False, }", data[:4]),
        "no-type": document("{'fortran_order': False, 'shape': (6,), }", data),
        "key": document("{'descr': '<f4', 'fortran_order': False, 'shape': (6,), 'x': 1}", data),
        "open": document("{'descr': '<f4', 'fortran_order': False, 'shape': (6,), ", data),
        "open-quote": document("{'descr': '<f4, ", data),
        "open-tuple": document("{'shape': (6, ", data),
        "behind": document("{'descr': '<f4', 'shape': (6,)} {", data),
    }
    for name, content in good.items():
        write("npy", "good-" + name, content)
    for name, content in bad.items():
        write("npy", "bad-" + name, content)


def make_documents():
    """See fuzz/targets/documents.hpp: each of the tool's JSON files, and each of them wrong in one place."""
    def text(value):
        return json.dumps(value, separators=(",", ":"))

    row = {"kind": "gemm", "m": 16, "n": 4096, "k": 4096, "type": "u4b8", "group": 128, "act": "f16", "precision": "full",
           "implementation": "sm90", "threads": 0, "us_median": 10.5, "us_min": 10, "us_max": 12.25, "us_p10": 10.25, "us_p90": 11,
           "samples": 9, "vs_baseline": None, "bytes": 8929280, "operations": 536870912, "read_gbps": 4700, "rate_gflops": 650000,
           "act_order": False, "correct": True, "worst_error": 0.1, "bound": 1, "dependent_launch": False, "best_peer": "x", "plan": "64x64"}
    results = {"schema": 1, "device": "a device", "when": "2026-11-21T00:00:00Z", "command": "billfish bench", "valid": True, "complete": True,
               "ceilings": {"used_read_gbps": 4700, "f16_gflops": 1e6}, "warnings": ["busy"], "rows": [row, {**row, "kind": "baseline", "type": ""}]}
    cell = {"M": 1, "N": 4096, "K": 4096, "cublas_us": 13.5, "best_over_cublas": 0.628, "best": "x"}
    peers = {"device": "a device", "cells": [cell]}
    facts = {"name": "a device", "driver": "1.2.3", "major": 9, "minor": 0, "multiprocessors": 132, "clock_mhz": 1980, "memory_clock_mhz": 3201,
             "memory_bus_bits": 6144, "registers_per_sm": 65536, "threads_per_sm": 2048, "blocks_per_sm": 32, "threads_per_block": 1024,
             "memory_bytes": 150000000000, "l2_bytes": 62914560, "shared_per_sm": 233472, "shared_per_block": 232448, "shared_reserved": 1024}
    gpu = {"schema": 1, "when": "2026-01-02T03:04:05Z", "facts": facts, "measured": {"read_gbps": 4690.5, "l2_ns": None, "memory_ns": 600}}
    layer = {"name": "model.layers.0.mlp.up_proj", "n": 96, "k": 64, "type": "u4b8", "group": 32, "tokens": 80, "weight_error": 0.1,
             "output_error": 0.05, "nearest_weight_error": 0.1, "nearest_output_error": 0.08, "held_out_error": 0.06, "held_out_cosine": 0.99,
             "damping": 0.01, "dead_columns": 20, "groups": 192, "clipped_groups": 3, "bytes_before": 12288, "bytes_after": 3456, "seconds": 0.5,
             "note": "a note", "values": {"low": -1, "high": 1, "before": [50, 50], "after": [40, 60]},
             "grid": {"low": 0, "high": 16, "before": [50, 50], "after": [50, 50]}, "outside": 0.5, "salient": [[3, 2.5, 1, 0.1, 0.05]],
             "across": [[0, 1, 1, 0.1, 0.1]], "awq_losses": [1, 0.5], "trials": [[32, 4.5, 0.1, 0.05, 0.1, 0.08]], "no_trials": ""}
    report = {"schema": 1, "out": "out", "method": "rtn (round to nearest), 4 bits, groups of 128", "layers": [layer]}
    plan = {"type": "u4b8", "act": "f32", "n": 64, "k": 64, "group": 128, "zeroed_workspace": False, "dependent_launch": False, "m_from": 1,
            "m_to": 1, "plan": {"implementation": "avx2", "policy": "p", "tile_m": 4}, "us": 1.5, "model_us": 2}
    plans = {"schema": 1, "device": {"kind": "cpu", "name": "any"}, "given_up": ["x"], "plans": [plan, {**plan, "m_to": 16}]}
    good = {
        "results": results,
        "results-least": {"schema": 1, "rows": [{}]},
        "results-unknown-members": {**results, "device": None, "later": {"rows": 1}, "rows": [{**row, "later": []}]},
        "peers": peers,
        "peers-none": {"cells": []},
        "facts": gpu,
        "facts-not-measured": {"facts": facts},
        "report": report,
        "report-of-other-kinds": {**report, "layers": [7, {**layer, "n": "x", "k": 1e300, "note": 7, "values": [], "salient": [[1], 2]}]},
        "report-large": {**report, "layers": [{**layer, "n": 8e15, "k": 8e15, "tokens": -8e15, "bytes_before": 8e15, "dead_columns": 8e15}]},
        "plans": plans,
        "plans-none": {**plans, "plans": []},
        "plans-largest": {**plans, "plans": [{**plan, "m_to": 1 << 53}]},
    }
    bad = {
        "results-device": {**results, "device": 7},
        "results-when": {**results, "when": ["now"]},
        "results-command": {**results, "command": {}},
        "results-valid": {**results, "valid": "yes"},
        "results-schema": {**results, "schema": 2},
        "results-no-schema": {"rows": [row]},
        "results-schema-word": {**results, "schema": "1"},
        "results-rows": {**results, "rows": {"0": row}},
        "results-no-rows": {**results, "rows": []},
        "results-row": {**results, "rows": [row, 7]},
        "results-ceilings": {**results, "ceilings": [1]},
        "results-ceiling": {**results, "ceilings": {"read_gbps": "fast"}},
        "results-huge": {**results, "rows": [{**row, "m": 1e300}]},
        "results-fraction": {**results, "rows": [{**row, "n": 0.5}]},
        "results-negative": {**results, "rows": [{**row, "k": -1}]},
        "results-threads": {**results, "rows": [{**row, "threads": 1 << 40}]},
        "results-beyond-2-63": {**results, "rows": [{**row, "samples": 1 << 64}]},
        "results-word": {**results, "rows": [{**row, "us_median": "10.5"}]},
        "results-kind": {**results, "rows": [{**row, "kind": 1}]},
        "results-correct": {**results, "rows": [{**row, "correct": 1}]},
        "results-dependent-launch": {**results, "rows": [{**row, "dependent_launch": "on"}]},
        "peers-cells": {**peers, "cells": cell},
        "peers-cell": {**peers, "cells": [cell, None]},
        "peers-device": {**peers, "device": 200},
        "peers-best": {**peers, "cells": [{**cell, "best": 7}]},
        "peers-missing": {**peers, "cells": [{name: cell[name] for name in cell if name != "cublas_us"}]},
        "peers-huge": {**peers, "cells": [{**cell, "M": 1e300}]},
        "peers-fraction": {**peers, "cells": [{**cell, "N": 1.5}]},
        "peers-zero": {**peers, "cells": [{**cell, "cublas_us": 0}]},
        "facts-list": {"facts": [facts]},
        "facts-name": {"facts": {**facts, "name": 7}},
        "facts-missing": {"facts": {name: facts[name] for name in facts if name != "major"}},
        "facts-architecture": {"facts": {**facts, "major": 1e9}},
        "facts-fraction": {"facts": {**facts, "multiprocessors": 1.5}},
        "facts-huge": {"facts": {**facts, "memory_bytes": 1e300}},
        "facts-negative": {"facts": {**facts, "l2_bytes": -1}},
        "facts-measured": {**gpu, "measured": 7},
        "facts-figure": {**gpu, "measured": {"read_gbps": "fast"}},
        "report-other-output": {**report, "out": "another"},
        "report-layers": {**report, "layers": {"0": layer}},
        "plans-schema": {**plans, "schema": "1"},
        "plans-device": {**plans, "device": {"kind": "cuda"}},
        "plans-entry": {**plans, "plans": [plan, []]},
        "plans-plan": {**plans, "plans": [{**plan, "plan": 7}]},
        "plans-m": {**plans, "plans": [{**plan, "m_to": 0}]},
        "plans-time": {**plans, "plans": [{**plan, "us": "fast"}]},
        "plans-given-up": {**plans, "given_up": {"0": 1}},
        "array": [results],
        "word": "results",
    }
    for name, value in good.items():
        write("documents", "good-" + name, text(value))
    for name, value in bad.items():
        write("documents", "bad-" + name, text(value))
    write("documents", "bad-empty", b"")
    write("documents", "bad-truncated", text(results)[:-9])
    write("documents", "bad-zero-byte", text(results) + "\0rest")
    write("documents", "bad-overflow", text(results).replace("10.5", "1e999"))
    write("documents", "bad-utf-8", text(results).encode().replace(b"a device", b"a \xff"))
    write("documents", "bad-nested", '{"schema":1,"rows":[{}],"later":' + "[" * 100 + "]" * 100 + "}")
    write("documents", "bad-open-brackets", '{"schema":1,"rows":' + "[" * 4000)


def make_shapes():
    """See fuzz/targets/shapes.hpp: "K N label" lines; a model has "tp" lines, and n or k behind N."""
    good = {
        "list": "# K N label\n4096 14336 up_proj  # comment\n\n 128\t64\n14336 4096 down_proj",
        "model": "# K N split\ntp 1 2 4\n4096 12288 n query, key, value\n4096 4096 k attention output # comment\n",
        "largest": "2147483648 2147483648 x\n",
        "odd-model": "tp 3 1\n4096 4096 n\n",
        "several-tp": "tp 1\ntp 9999 # many\n64 9999 n x\n",
        "model-as-a-list": "64 64 n x\n",
    }
    bad = {
        "empty": "",
        "comment": "# nothing\n\n",
        "word": "4096 none\n",
        "one-number": "4096\n",
        "zero": "0 64 x\n",
        "negative": "64 -64 x\n",
        "large": "64 2147483649 x\n",
        "beyond-2-63": "64 99999999999999999999 x\n",
        "no-layers": "tp 1 2\n",
        "tp-zero": "tp 0\n64 64 n x\n",
        "tp-negative": "tp 1 -2\n64 64 n x\n",
        "tp-large": "tp 10000\n64 64 n x\n",
        "tp-word": "tp 1 two\n64 64 n x\n",
        "model-large": "tp 1\n64 4611686018427387904 n x\n",
        "model-split": "tp 1\n64 64 m x\n",
        "model-commented": "tp 1\n64 64 # n x\n",
        "zero-byte": b"64 \0 64 x\n",
    }
    for name, content in good.items():
        write("shapes", "good-" + name, content)
    for name, content in bad.items():
        write("shapes", "bad-" + name, content)


if __name__ == "__main__":
    make_safetensors()
    make_config()
    make_pattern()
    make_checkpoint()
    make_quantize()
    make_plans()
    make_raw()
    make_npy()
    make_documents()
    make_shapes()
