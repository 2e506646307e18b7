# SPDX-License-Identifier: Apache-2.0
"""Checkpoints: every format there and back, use after close, threads that share one, the GIL, and Ctrl-C while packing."""

import os
import signal
import threading
import time

import numpy as np
import pytest
from conftest import matrix

import billfish


@pytest.mark.parametrize(
    "format, kind", [("gptq", "u4b8"), ("gptq_v2", "u4"), ("awq", "u4"), ("compressed-tensors", "u4b8"), ("gptq", "u8b128")]
)
def test_every_format_packs_and_comes_back(tmp_path, format, kind):
    codes, scales, zeros, dense = matrix(128, 128, 32, kind)
    source, packed, back = tmp_path / "source", tmp_path / "packed", tmp_path / "back"
    billfish.write_checkpoint(source, format, {"a.b": billfish.PlainMatrix(codes, scales, zeros, group_size=32, type=kind)})
    with billfish.open(source) as checkpoint:
        assert len(checkpoint.layers) == 1 and checkpoint.layers[0].name == "a.b"
        np.testing.assert_allclose(checkpoint.layers["a.b"].dequantize(), dense, rtol=2e-7)
        checkpoint.pack(packed)
    with billfish.open(packed) as checkpoint:
        layer = checkpoint.layers[0]
        np.testing.assert_allclose(layer.dequantize(), dense, rtol=2e-7)
        assert layer.format == "marlin"
        checkpoint.unpack(back)
    with billfish.open(back) as checkpoint:
        np.testing.assert_allclose(checkpoint.layers[0].dequantize(), dense, rtol=2e-7)


def test_what_a_checkpoint_says(model):
    path, dense = model
    with billfish.open(path) as checkpoint:
        assert checkpoint.format == "gptq" and checkpoint.config["quant_method"] == "gptq"
        assert [layer.name for layer in checkpoint.layers] == list(dense)
        layer = checkpoint.layers[1]
        assert (layer.k, layer.n, layer.group_size, layer.type, layer.supported) == (256, 192, 64, "u4b8", True)
        assert "model.layers.2.mlp.up_proj: K=64 N=128 u4b8" in checkpoint.inspect()
        assert checkpoint.tensors == []
        assert checkpoint.layers.keys() == list(dense)
        assert layer.name in checkpoint.layers and layer in checkpoint.layers
        assert "model.layers.1.mlp.up_pro" not in checkpoint.layers and 1 not in checkpoint.layers
        with pytest.raises(KeyError, match="model.layers.1.mlp.up_proj"):  # the nearest name
            checkpoint.layers["model.layers.1.mlp.up_pro"]
        with pytest.raises(IndexError):
            checkpoint.layers[3]


def test_use_after_close_is_refused(model):
    path, _ = model
    checkpoint = billfish.open(path)
    layers, layer, weights = checkpoint.layers, checkpoint.layers[0], checkpoint.layers[1].weights()
    expected = weights.dequantize()
    checkpoint.close()
    checkpoint.close()
    assert checkpoint.closed
    uses = [
        lambda: checkpoint.layers,
        lambda: checkpoint.format,
        lambda: checkpoint.config,
        lambda: checkpoint.tensors,
        lambda: checkpoint.inspect(),
        lambda: checkpoint.pack(path.parent / "out"),
        lambda: layers[0],
        lambda: layer.weights(),
        lambda: layer.matmul(np.zeros((1, 128), np.float32)),
    ]
    for use in uses:
        with pytest.raises(ValueError, match="is closed"):
            use()
    assert not (path.parent / "out").exists()
    assert np.array_equal(weights.dequantize(), expected), "weights that were taken out stay valid"


def test_weights_borrowed_from_a_packed_file_outlive_it(model, tmp_path):
    path, dense = model
    with billfish.open(path) as checkpoint:
        checkpoint.pack(tmp_path / "packed")
    with billfish.open(tmp_path / "packed") as checkpoint:
        weights = checkpoint.layers[1].weights()
    for file in (tmp_path / "packed").iterdir():
        file.unlink()
    np.testing.assert_allclose(weights.dequantize(), list(dense.values())[1], rtol=2e-7)


def test_threads_share_a_checkpoint_while_one_closes_it(model):
    path, dense = model
    for attempt in range(20):
        checkpoint = billfish.open(path)
        layers = list(checkpoint.layers)
        failures, closed = [], []

        def work(seed, layers=layers, failures=failures, closed=closed):
            rng = np.random.default_rng(seed)
            for _ in range(8):
                layer = layers[rng.integers(len(layers))]
                x = rng.standard_normal((2, layer.k)).astype(np.float32)
                try:
                    y = layer.matmul(x)
                except ValueError as error:
                    closed.append(str(error))
                    return
                if not np.allclose(y, x @ dense[layer.name], atol=1e-2):
                    failures.append(layer.name)

        threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
        for thread in threads:
            thread.start()
        if attempt % 2:
            checkpoint.close()
        for thread in threads:
            thread.join()
        assert not failures and all("is closed" in text for text in closed)
        assert closed == [] or attempt % 2


def test_long_calls_release_the_gil():
    codes, scales, _, _ = matrix(2048, 2048, 128)
    w = billfish.pack(codes, scales, group_size=128)
    x = np.random.default_rng(0).standard_normal((2048, 2048)).astype(np.float32)

    def ticks_during_a_call():
        thread = threading.Thread(target=w.matmul, args=(x,))
        thread.start()
        ticks = 0
        while thread.is_alive():
            time.sleep(1e-4)  # wakes up only if the interpreter can be had
            ticks += 1
        return ticks

    # A call that keeps the interpreter leaves a tick before it and one after it, however long it
    # takes; one attempt of many is enough, as a busy machine may not let this thread run at all.
    assert any(ticks_during_a_call() >= 5 for _ in range(20))


def test_progress_is_told_and_its_exception_stops_the_work(model):
    path, _ = model
    out = path.parent / "packed"
    seen = []
    with billfish.open(path) as checkpoint:
        checkpoint.pack(out, progress=lambda layer, done, total: seen.append((layer, done, total)))
        assert seen and seen[-1][1] <= seen[-1][2] and any(name.startswith("model.layers.0") for name, _, _ in seen)

        def stop(layer, done, total):
            raise LookupError("enough")

        with pytest.raises(LookupError, match="enough"):
            checkpoint.pack(path.parent / "other", progress=stop)
    assert sorted(os.listdir(path.parent)) == ["model", "packed"], "something half-written was left"


def test_control_c_interrupts_packing_and_leaves_nothing(model):
    path, _ = model
    calls = []

    def interrupt(layer, done, total):
        calls.append(layer)
        if len(calls) == 2:
            os.kill(os.getpid(), signal.SIGINT)  # as the terminal would

    with billfish.open(path) as checkpoint, pytest.raises(KeyboardInterrupt):
        checkpoint.pack(path.parent / "out", progress=interrupt)
    assert len(calls) <= 4
    assert os.listdir(path.parent) == ["model"]


def test_a_forked_child_can_multiply():
    codes, scales, _, dense = matrix(256, 256)
    w = billfish.pack(codes, scales)
    x = np.ones((64, 256), np.float32)
    expected = w.matmul(x)
    child = os.fork()
    if child == 0:
        os._exit(0 if np.array_equal(w.matmul(x), expected) else 1)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            assert status == 0
            return
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    pytest.fail("the child waits for threads that it does not have")
