#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""One peer in one process, asked by cpu.py through JSON lines: load {k, n, copies, threads}, time {m, seconds, check}, unload.

usage: cpu_worker.py LIBRARY billfish full|bf16|int8 | torch dense_f32|dense_bf16|int4pack | onnxruntime ACCURACY | openvino TYPE GROUP
All peers get the same weights: symmetric 4-bit codes with a scale per 128 of K, exact in f16 and bf16 alike, and the same activations.
"""
import json
import os
import sys
import time
import traceback

import numpy as np

GROUP = 128
MOST_M = 512
CHECKED_COLUMNS = 256


def exact_in_16_bits(values):
    """f32 values with 8 bits of mantissa: neither f16 nor bf16 rounds them."""
    return (np.ascontiguousarray(values, np.float32).view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)


class Layer:
    """codes [n, k] in 0..15 and scales [n, k / 128]; copy i is the same rows in another order, so all copies cost the same."""

    def __init__(self, k, n):
        random = np.random.default_rng(7)
        self.k, self.n = k, n
        self.codes = random.integers(0, 16, (n, k), dtype=np.uint8)
        self.scales = exact_in_16_bits(random.uniform(0.006, 0.02, (n, -(-k // GROUP))))
        self.x = exact_in_16_bits(random.standard_normal((MOST_M, k)))

    def copy(self, i):
        shift = 61 * i % self.n
        return np.roll(self.codes, shift, 0), np.roll(self.scales, shift, 0)

    def expected(self, m):
        columns = min(CHECKED_COLUMNS, self.n)
        w = (self.codes[:columns].astype(np.float64) - 8) * np.repeat(self.scales[:columns].astype(np.float64), GROUP, 1)[:, :self.k]
        return self.x[:m].astype(np.float64) @ w.T


class Billfish:
    """Through the C ABI, as any program would; the structs are those of billfish.h."""

    def __init__(self, library, precision):
        import ctypes as c
        self.c, self.precision = c, {"full": 0, "bf16": 1, "int8": 2}[precision]
        self.lib = c.CDLL(library)
        self.lib.billfish_last_error.restype = c.c_char_p
        self.lib.billfish_version_string.restype = c.c_char_p
        self.version = self.lib.billfish_version_string().decode()
        size, i64, ptr, i32, u32 = c.c_size_t, c.c_int64, c.c_void_p, c.c_int, c.c_uint32

        def struct(name, fields):
            return type(name, (c.Structure,), {"_fields_": fields})
        self.Matrix = struct("Matrix", [
            ("size", size), ("format", i32), ("type", i32), ("n", i64), ("k", i64), ("group", i64), ("codes", ptr), ("zeros", ptr),
            ("scales", ptr), ("g_idx", ptr), ("perm", ptr), ("bias", ptr), ("scale_type", i32), ("bias_type", i32), ("codes_bytes", i64),
            ("zeros_bytes", i64), ("scales_bytes", i64), ("device_kind", i32), ("device_index", i32), ("reserved", i64 * 6)])
        self.Weights = struct("Weights", [
            ("size", size), ("type", i32), ("scale_type", i32), ("n", i64), ("k", i64), ("group", i64), ("codes", ptr), ("scales", ptr),
            ("zeros", ptr), ("perm", ptr), ("g_idx", ptr), ("bias", ptr), ("bias_type", i32), ("flags", u32), ("device_kind", i32),
            ("device_index", i32), ("global_scale", ptr), ("float_zeros", ptr), ("k_offset", i64), ("experts", i64),
            ("reserved", i64 * 6)])
        self.Args = struct("Args", [
            ("size", size), ("m", i64), ("a", ptr), ("lda", i64), ("c", ptr), ("ldc", i64), ("a_type", i32), ("c_type", i32),
            ("precision", i32), ("flags", u32), ("workspace", ptr), ("workspace_bytes", size), ("implementation", c.c_char_p),
            ("parallel", ptr), ("reserved", i64 * 6)])
        self.Parallel = struct("Parallel", [
            ("size", size), ("pool", ptr), ("parallel_for", ptr), ("user", ptr), ("threads", i32), ("reserved", i32)])
        self.Sizes = struct("Sizes", [("size", size)] + [(part, i64) for part in ("codes", "scales", "zeros", "perm", "g_idx", "bias")])

    def check(self, status):
        if status != 0:
            raise RuntimeError(self.lib.billfish_last_error().decode())

    def load(self, layer, copies, threads):
        c = self.c
        pool = c.c_void_p()
        self.check(self.lib.billfish_pool_create(threads, c.byref(pool)))
        self.parallel = self.Parallel(size=c.sizeof(self.Parallel), pool=pool)
        self.layer, self.copies, self.kept = layer, [], []
        for i in range(copies):
            codes, scales = layer.copy(i)
            codes, scales = np.ascontiguousarray(codes.T), np.ascontiguousarray(scales.T.astype(np.float16))
            matrix = self.Matrix(size=c.sizeof(self.Matrix), format=4, type=0, n=layer.n, k=layer.k, group=GROUP, codes=codes.ctypes.data,
                                 scales=scales.ctypes.data, scale_type=1)
            sizes = self.Sizes(size=c.sizeof(self.Sizes))
            self.check(self.lib.billfish_packed_sizes_of(c.byref(matrix), c.byref(sizes)))
            memory = [np.empty(part + 64, np.uint8) for part in (sizes.codes, sizes.scales)]
            places = [(m.ctypes.data + 63) // 64 * 64 for m in memory]
            weights = self.Weights(size=c.sizeof(self.Weights), codes=places[0], scales=places[1])
            self.check(self.lib.billfish_pack(c.byref(matrix), c.byref(weights), c.byref(self.parallel), None))
            self.copies.append(weights)
            self.kept.append(memory)
        return sizes.codes + sizes.scales

    def prepare(self, m):
        c = self.c
        bf16 = (self.layer.x[:m].view(np.uint32) >> 16).astype(np.uint16)
        # f16 activations for `full` and int8, bf16 ones for `bf16`: what a model of that kind hands over.
        self.a = np.ascontiguousarray(bf16 if self.precision == 1 else self.layer.x[:m].astype(np.float16))
        self.y = np.full((m, self.layer.n), np.nan, np.float32)
        self.args = self.Args(size=c.sizeof(self.Args), m=m, a=self.a.ctypes.data, lda=self.layer.k, c=self.y.ctypes.data, ldc=self.layer.n,
                              a_type=2 if self.precision == 1 else 1, c_type=0, precision=self.precision,
                              parallel=c.addressof(self.parallel))
        needed = c.c_size_t()
        self.check(self.lib.billfish_gemm_workspace(c.byref(self.copies[0]), c.byref(self.args), c.byref(needed)))
        self.workspace = np.empty(needed.value + 64, np.uint8)
        self.args.workspace, self.args.workspace_bytes = (self.workspace.ctypes.data + 63) // 64 * 64, needed.value
        gemm, args = self.lib.billfish_gemm, c.byref(self.args)
        weights = [c.byref(w) for w in self.copies]

        def call(i):
            if gemm(weights[i % len(weights)], args, None) != 0:
                self.check(1)
        return call, 1

    def result(self, m):
        self.prepare(m)[0](0)
        return self.y


class Torch:
    def __init__(self, what):
        import torch
        self.torch, self.what, self.version = torch, what, torch.__version__
        self.type = torch.float32 if what == "dense_f32" else torch.bfloat16

    def load(self, layer, copies, threads):
        torch = self.torch
        torch.set_num_threads(threads)
        self.layer, self.copies = layer, []
        if self.what.startswith("dense"):
            copies = max(1, -(-165_000_000 // (layer.k * layer.n * self.type.itemsize)))
        for i in range(copies):
            codes, scales = layer.copy(i)
            if self.what == "int4pack":
                packed = torch.ops.aten._convert_weight_to_int4pack_for_cpu(torch.from_numpy(codes.astype(np.int32)), 1)
                s = torch.from_numpy(np.ascontiguousarray(scales.T))
                self.copies.append((packed, torch.stack([s, torch.zeros_like(s)], -1).contiguous().bfloat16()))
            else:
                w = torch.from_numpy((codes.astype(np.float32) - 8) * np.repeat(scales, GROUP, 1)[:, :layer.k]).to(self.type)
                self.copies.append(self.reordered(w))
        if self.what == "int4pack":
            return sum(part.numel() * part.element_size() for part in self.copies[0])
        return layer.k * layer.n * self.type.itemsize

    def reordered(self, w):
        """bf16 in oneDNN's own order, made once: its fast path, where the machine has the instructions for it."""
        if self.type == self.torch.bfloat16:
            try:
                return self.torch.ops.mkldnn._reorder_linear_weight(w, None)
            except RuntimeError:
                self.what = "dense_bf16 plain"
        return w

    def product(self, x, w):
        torch = self.torch
        if self.what == "int4pack":
            return torch.ops.aten._weight_int4pack_mm_for_cpu(x, w[0], GROUP, w[1])
        if self.what == "dense_bf16":
            return torch.ops.mkldnn._linear_pointwise(x, w, None, "none", [], "")
        return torch.nn.functional.linear(x, w)

    def prepare(self, m):
        x = self.torch.from_numpy(self.layer.x[:m].copy()).to(self.type)

        def call(i):
            with self.torch.inference_mode():
                return self.product(x, self.copies[i % len(self.copies)])
        return call, 1

    def result(self, m):
        return self.prepare(m)[0](0).float().numpy()


class OnnxRuntime:
    """One graph that multiplies by all copies in turn, timed as a whole: a second session's threads would spin in the first one's way."""

    def __init__(self, accuracy):
        import onnxruntime
        self.ort, self.accuracy, self.version = onnxruntime, int(accuracy), onnxruntime.__version__

    def load(self, layer, copies, threads):
        from onnx import TensorProto, helper, numpy_helper
        self.layer, self.count = layer, copies
        nodes, constants, outputs = [], [], []
        for i in range(copies):
            codes, scales = layer.copy(i)
            packed = (codes[:, 0::2] | (codes[:, 1::2] << 4)).reshape(layer.n, -1, GROUP // 2)
            constants.append(numpy_helper.from_array(packed, f"w{i}"))
            constants.append(numpy_helper.from_array(np.ascontiguousarray(scales).reshape(-1), f"s{i}"))
            nodes.append(helper.make_node("MatMulNBits", ["x", f"w{i}", f"s{i}"], [f"y{i}"], domain="com.microsoft", K=layer.k,
                                          N=layer.n, bits=4, block_size=GROUP, accuracy_level=self.accuracy))
            outputs.append(helper.make_tensor_value_info(f"y{i}", TensorProto.FLOAT, ["m", layer.n]))
        x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["m", layer.k])
        graph = helper.make_graph(nodes, "layers", [x], outputs, constants)
        operators = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
        model = helper.make_model(graph, opset_imports=operators, ir_version=10)
        wanted = self.ort.SessionOptions()
        wanted.intra_op_num_threads, wanted.inter_op_num_threads, wanted.log_severity_level = threads, 1, 3
        self.session = self.ort.InferenceSession(model.SerializeToString(), wanted, providers=["CPUExecutionProvider"])
        return layer.k * layer.n // 2 + layer.scales.size * 4

    def prepare(self, m):
        value = self.ort.OrtValue.ortvalue_from_numpy
        binding = self.session.io_binding()
        self.values = [value(np.ascontiguousarray(self.layer.x[:m]))]
        self.values += [value(np.zeros((m, self.layer.n), np.float32)) for _ in range(self.count)]
        binding.bind_ortvalue_input("x", self.values[0])
        for i in range(self.count):
            binding.bind_ortvalue_output(f"y{i}", self.values[1 + i])
        return (lambda i: self.session.run_with_iobinding(binding)), self.count

    def result(self, m):
        self.prepare(m)[0](0)
        return self.values[1].numpy()


class OpenVino:
    """Likewise one model with a result per copy."""

    def __init__(self, precision, group):
        import openvino
        self.ov, self.precision, self.group, self.version = openvino, precision, int(group), openvino.__version__

    def load(self, layer, copies, threads):
        ov = self.ov
        from openvino import opset13 as op
        self.layer, self.count, self.kept = layer, copies, []
        x = op.parameter([-1, layer.k], ov.Type.f32, "x")
        results = []
        for i in range(copies):
            codes, scales = layer.copy(i)
            packed = np.ascontiguousarray(codes[:, 0::2] | (codes[:, 1::2] << 4))
            zero = np.full(1, 0x88, np.uint8)
            half = scales.astype(np.float16).reshape(layer.n, -1, 1)
            weights = ov.Tensor(packed, [layer.n, layer.k // GROUP, GROUP], ov.Type.u4)
            zeros = ov.Tensor(zero, [1, 1, 1], ov.Type.u4)
            self.kept += [packed, zero, half, weights, zeros]  # the constants borrow this memory
            w = op.subtract(op.convert(ov.op.Constant(weights), np.float16), op.convert(ov.op.Constant(zeros), np.float16))
            w = op.reshape(op.multiply(w, ov.op.Constant(half)), np.array([layer.n, layer.k], np.int64), False)
            results.append(op.result(op.matmul(x, op.convert(w, np.float32), False, True), f"y{i}"))
        settings = {"INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1, "INFERENCE_PRECISION_HINT": self.precision,
                    "DYNAMIC_QUANTIZATION_GROUP_SIZE": self.group, "PERFORMANCE_HINT": "LATENCY"}
        self.model = ov.Core().compile_model(ov.Model(results, [x], "layers"), "CPU", settings)
        return layer.k * layer.n // 2 + layer.scales.size * 2

    def prepare(self, m):
        self.request = self.model.create_infer_request()
        self.request.set_input_tensor(self.ov.Tensor(np.ascontiguousarray(self.layer.x[:m])))
        return (lambda i: self.request.infer()), self.count

    def result(self, m):
        self.prepare(m)[0](0)
        return self.request.get_output_tensor(0).data


def make_peer(arguments):
    library, name, *rest = arguments
    if name == "billfish":
        return Billfish(library, *rest)
    return {"torch": Torch, "onnxruntime": OnnxRuntime, "openvino": OpenVino}[name](*rest)


def answer(peer, state, request):
    if request["do"] == "load":
        state["layer"], state["warm"] = Layer(request["k"], request["n"]), False
        return {"bytes": int(peer.load(state["layer"], request["copies"], request["threads"])), "version": peer.version}
    if request["do"] == "unload":
        for name in ("copies", "kept", "session", "model", "request", "values"):
            if hasattr(peer, name):
                delattr(peer, name)
        return {}
    m = request["m"]
    reply = {}
    if request["check"]:
        y = state["layer"].expected(m)
        got = np.asarray(peer.result(m), np.float64)[:, :y.shape[1]]
        error = float(np.linalg.norm(got - y) / np.linalg.norm(y))
        reply["relative_error"] = error if error == error else "not a number"
    call, products = peer.prepare(m)
    if not state["warm"]:  # every copy once: first touches and what is lazily packed
        state["warm"] = True
        for i in range(1 if products > 1 else len(peer.copies)):
            call(i)
    call(0)
    us, start, i = [], time.perf_counter(), 1
    while time.perf_counter() - start < request["seconds"] or len(us) * products < 3:
        begin = time.perf_counter()
        call(i)
        us.append((time.perf_counter() - begin) * 1e6 / products)
        i += 1
    reply["us"] = us
    return reply


def main():
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print does not get among the answers
    peer, state, broken = None, {}, ""
    try:
        peer = make_peer(sys.argv[1:])
    except Exception as error:  # an absent library or symbol: the driver records why and goes on
        traceback.print_exc()
        broken = f"{type(error).__name__}: {error}"[:300]
    for line in sys.stdin:
        try:
            reply = {"error": broken} if broken else answer(peer, state, json.loads(line))
        except Exception as error:
            traceback.print_exc()
            reply = {"error": f"{type(error).__name__}: {error}"[:300]}
        out.write(json.dumps(reply) + "\n")
        out.flush()


if __name__ == "__main__":
    main()
