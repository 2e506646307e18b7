# SPDX-License-Identifier: Apache-2.0
"""Quantising from Python: what comes out is what the words say, and what Python raises ends the work."""

import json
import re

import numpy as np
import pytest

import billfish
from billfish import quantize

F32 = np.float32


def layer(n=48, k=128, tokens=200, seed=0):
    """Weights [n, k] and samples [tokens, k] with correlated channels, some of them loud."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((tokens, k)) @ (np.eye(k) + 0.3 * rng.standard_normal((k, k)) / np.sqrt(k))
    x[:, ::29] *= 15
    return rng.standard_normal((n, k)).astype(F32), x.astype(F32)


def by_hand(q):
    """float64 [N, K] out of codes, scales and zeros."""
    k = q.codes.shape[0]
    rows = np.arange(k) // (q.group_size if q.group_size > 0 else k)
    zeros = q.zeros[rows].astype(float) if q.zeros is not None else {"u4b8": 8.0, "u8b128": 128.0}[q.type]
    return ((q.codes - zeros) * q.scales[rows].astype(float)).T


@pytest.mark.parametrize("method", ["rtn", "gptq", "awq"])
@pytest.mark.parametrize("type", ["u4b8", "u4", "u8b128", "u8"])
@pytest.mark.parametrize("group_size", [-1, 32])
def test_matrix(method, type, group_size):
    w, x = layer()
    q = quantize.matrix(w, method, type=type, group_size=group_size, samples=x)
    dense = by_hand(q)
    assert np.allclose(q.dequantize(), dense, rtol=1e-6, atol=1e-6)
    steps = {"u4b8": 15, "u4": 15, "u8b128": 255, "u8": 255}[type]
    assert np.abs(w - dense).max() < 12 * np.abs(w).max() / steps
    norm = np.linalg.norm
    assert q.weight_error == pytest.approx(norm(w - dense) / norm(w), rel=1e-3)
    assert q.output_error == pytest.approx(norm(x @ (w - dense).T) / norm(x @ w.T), rel=1e-2)
    if method == "gptq":
        assert q.output_error < 0.9 * q.nearest_output_error
    assert np.allclose(x @ q.pack(), x @ dense.T, atol=1e-3 * np.abs(x @ dense.T).max())


def test_samples_and_moments_say_the_same():
    w, x = layer()
    moments = quantize.hessian_add(x[150:].astype(np.float16), quantize.hessian_add(x[:150]))
    assert moments.count == 200
    assert np.allclose(moments.hessian, 2 / 200 * x.T.astype(float) @ x, atol=2e-3 * moments.hessian.max())
    of_moments, of_samples = (quantize.matrix(w, samples=s, group_size=32) for s in (moments, x))
    assert of_moments.output_error == pytest.approx(of_samples.output_error, rel=0.02)
    strided = np.zeros((200, 160), F32)
    strided[:, :128] = x
    again = quantize.matrix(w, samples=strided[:, :128], group_size=32)
    assert np.array_equal(again.codes, of_samples.codes)


def test_clip_and_act_order_and_bfloat16_scales():
    w, x = layer(seed=3)
    plain = quantize.matrix(w, "rtn", samples=x, group_size=64)
    clipped = quantize.matrix(w, "rtn", samples=x, group_size=64, clip=True)
    assert clipped.output_error <= plain.output_error and clipped.clipped_groups > 0
    for order in ("static", "group"):
        assert quantize.matrix(w, samples=x, group_size=64, act_order=order).output_error < plain.output_error
    wide = quantize.matrix(w, "rtn", samples=x, group_size=64, scale_type="bfloat16")
    assert wide.scales.dtype == np.uint16
    assert wide.weight_error == pytest.approx(np.linalg.norm(w - wide.dequantize()) / np.linalg.norm(w), rel=1e-3)
    assert wide.plain().scales.dtype == F32


def test_awq_scales_of_layers_that_share_an_input():
    w, x = layer()
    found = quantize.awq_scales([w[:10], w[10:]], x, group_size=64)
    assert found.scales.shape == (128,) and found.losses.shape == (21,) and found.losses[found.best] == found.losses.min()
    q = quantize.matrix(w * found.scales, "awq", samples=x / found.scales, group_size=64)
    dense = by_hand(q) / found.scales
    error = np.linalg.norm(x @ (w - dense).T) / np.linalg.norm(x @ w.T)
    assert error == pytest.approx(found.losses[found.best], rel=0.02)
    assert error < 0.9 * quantize.matrix(w, "rtn", samples=x, group_size=64).output_error
    assert np.array_equal(quantize.awq_scales(w, x, group_size=64).scales, found.scales)


@pytest.mark.parametrize(
    "call, error, words",
    [
        (lambda w, x: quantize.matrix(w.astype(float)), ValueError, "weights is float64; it must be float32"),
        (lambda w, x: quantize.matrix(w[0], "rtn"), ValueError, "weights has shape [128]; it must have two dimensions"),
        (lambda w, x: quantize.matrix(w, "best"), ValueError, "method is 'best'; supported are rtn, gptq, awq"),
        (lambda w, x: quantize.matrix(w, "rtn", group_size=0), ValueError, "group_size is 0"),
        (lambda w, x: quantize.matrix(w, "rtn", type="u3"), ValueError, "type is 'u3'"),
        (lambda w, x: quantize.matrix(w, "gptq"), ValueError, "samples"),
        (lambda w, x: quantize.matrix(w, samples=x[:, :5]), ValueError, "samples has shape [200, 5]; its last dimension must be 128"),
        (lambda w, x: quantize.matrix(w, samples=x.astype(int)), ValueError, "samples is int64; supported are float32"),
        (lambda w, x: quantize.matrix(w, samples=np.where(x == x[7, 9], np.nan, x).astype(F32)), ValueError, "sample 7, input 9"),
        (lambda w, x: quantize.matrix(np.where(w == w[3, 4], np.inf, w).astype(F32), "rtn"), ValueError, "output 3, input 4"),
        (lambda w, x: quantize.awq_scales([w, w[:, :64]], x), ValueError, "weights[1] has shape [48, 64]"),
        (lambda w, x: quantize.matrix(w, "rtn", device="tpu"), ValueError, "device is 'tpu'; use 'cpu', 'cuda' or 'cuda:INDEX'"),
        (lambda w, x: quantize.matrix(w, "rtn", device="cuda:63"), RuntimeError, ""),  # in words of a build with, or without CUDA
        (lambda w, x: quantize.awq_scales([], x[:, :0]), ValueError, "weights is an empty list"),
        (lambda w, x: quantize.hessian_add(x, quantize.Moments(np.zeros((3, 3), F32), 1)), ValueError, "hessian has shape [3, 3]"),
        (lambda w, x: quantize.hessian_add(x[0]), ValueError, "x has shape [128]; it must have two dimensions"),
        (lambda w, x: quantize.hessian_add([1.0]), TypeError, "x is a list"),
    ],
)
def test_refusals(call, error, words):
    w, x = layer()
    with pytest.raises(error) as raised:
        call(w, x)
    assert words in str(raised.value)


def write_safetensors(path, tensors, metadata=None):
    header, data = ({"__metadata__": metadata} if metadata else {}), b""
    kinds = {"float32": "F32", "float16": "F16", "int64": "I64"}
    for name, value in tensors.items():
        offsets = [len(data), len(data) + value.nbytes]
        header[name] = {"dtype": kinds[value.dtype.name], "shape": list(value.shape), "data_offsets": offsets}
        data += value.tobytes()
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


@pytest.fixture
def source(tmp_path):
    """A model of two linear layers that share an input, and its calibration file."""
    w, x = layer(n=192, k=128)
    (tmp_path / "model").mkdir()
    (tmp_path / "model/config.json").write_text('{"model_type": "llama"}')
    names = ["model.layers.0.self_attn.q_proj", "model.layers.0.self_attn.k_proj"]
    weights = {names[0]: w[:128], names[1]: w[128:]}
    norm = {"model.layers.0.input_layernorm.weight": np.ones(128, F32)}
    write_safetensors(tmp_path / "model/model.safetensors", {**norm, **{f"{name}.weight": v for name, v in weights.items()}})
    same = {"same_input": json.dumps({names[1]: names[0]})}
    write_safetensors(tmp_path / "calibration.safetensors", {names[0] + ".X": x.astype(np.float16)}, same)
    return tmp_path, weights


@pytest.mark.parametrize("format", ["marlin", "gptq", "compressed-tensors"])
def test_a_model(source, format):
    folder, weights = source
    told, finished = [], []
    reports = quantize.model(
        folder / "model",
        folder / "out",
        "gptq",
        calibration=folder / "calibration.safetensors",
        format=format,
        group_size=64,
        progress=lambda *values: told.append(values),
        layer_done=lambda report: finished.append(report.name),
    )
    assert sorted(finished) == sorted(weights) and len(told) > 0 and told[-1][1] <= told[-1][2]
    with billfish.open(folder / "out") as checkpoint:
        assert len(checkpoint.layers) == 2
        for report in reports:
            assert report.type == "u4b8" and report.group_size == 64 and report.output_error < report.nearest_output_error
            assert report.magnitudes.shape == (128,) and 0 < report.held_out_error < 0.5 and 0.9 < report.held_out_cosine <= 1
            dense, w = checkpoint.layers[report.name].dequantize().T, weights[report.name]
            assert np.linalg.norm(w - dense) / np.linalg.norm(w) == pytest.approx(report.weight_error, rel=1e-3)


def test_layers_can_be_chosen(source):
    folder, weights = source
    planned = quantize.plan(folder / "model", layers=r"k_proj$")
    assert {layer.name for layer in planned if not layer.left} == {name for name in weights if name.endswith("k_proj")}
    assert any(layer.name.endswith("q_proj") and layer.left for layer in planned)
    reports = quantize.model(folder / "model", folder / "out", "rtn", layers=lambda name: "q_proj" in name)
    assert [report.name for report in reports] == ["model.layers.0.self_attn.q_proj"]
    with pytest.raises(re.error):
        quantize.plan(folder / "model", layers="(")


@pytest.mark.parametrize("callback", ["progress", "layer_done", "layers"])
def test_what_a_callback_raises_stops_the_work(source, callback):
    folder, _ = source

    def stop(*values):
        raise ZeroDivisionError(callback)

    with pytest.raises(ZeroDivisionError, match=callback):
        quantize.model(folder / "model", folder / "out", "rtn", **{callback: stop})
    assert not (folder / "out").exists()
    assert len(quantize.model(folder / "model", folder / "out", "rtn", resume=True)) == 2


def test_models_that_cannot_be_quantised(source):
    folder, _ = source
    with pytest.raises(FileNotFoundError):
        quantize.model(folder / "nowhere", folder / "out", "rtn")
    with pytest.raises(ValueError, match="calibration"):
        quantize.model(folder / "model", folder / "out", "gptq")
    with pytest.raises(ValueError, match="format"):
        quantize.model(folder / "model", folder / "out", "rtn", format="gguf")
