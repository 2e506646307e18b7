# SPDX-License-Identifier: Apache-2.0
"""QuantLinear's state dicts, replace_linears and transformers: tiny random models against the same models with dequantised weights."""

import copy
import os
import pathlib
import re
import runpy

import numpy as np
import pytest
import torch
from conftest import assert_close, make

import billfish
import billfish.torch as bt

transformers = pytest.importorskip("transformers")
SOURCE = pathlib.Path(os.environ["BILLFISH_SOURCE"])


@pytest.mark.parametrize(
    "format, kind, act_order",
    [
        ("gptq", "u4b8", False),
        ("gptq", "u4", False),
        ("gptq_v2", "u4", False),
        ("gptq", "u8b128", False),
        ("gptq", "u4b8", True),
        ("awq", "u4", False),
        ("compressed-tensors", "u4b8", False),
        ("compressed-tensors", "u4", False),
        ("compressed-tensors", "u8b128", False),
    ],
)
def test_state_dicts_go_out_and_in_code_for_code(format, kind, act_order):
    case = make(128, 64, 32, kind, bias=True, act_order=act_order)
    source = bt.QuantLinear.from_weights(case.weights, format=format)
    state = source.state_dict()
    names = {
        "awq": {"qweight", "qzeros", "scales", "bias"},
        "compressed-tensors": {"weight_packed", "weight_scale", "weight_shape", "bias"}
        | ({"weight_zero_point"} if kind == "u4" else set()),
    }.get(format, {"qweight", "qzeros", "scales", "g_idx", "bias"})
    assert set(state) == names
    target = bt.QuantLinear(
        128, 64, True, bits=4 if kind.startswith("u4") else 8, group_size=32, format=format, symmetric=kind != "u4", act_order=act_order
    )
    missing, unexpected = target.load_state_dict(state)
    assert not missing and not unexpected and target.packed
    assert target.weight_type == kind
    x = torch.randn(3, 128)
    assert torch.equal(target(x), source(x))
    assert_close(target(x), x, case.dense, torch.from_numpy(case.weights.bias.copy()))
    for name, tensor in target.state_dict().items():
        assert torch.equal(tensor, state[name]), name


def test_buffers_filled_by_hand_are_packed(device):
    case = make(128, 64, 32)
    state = bt.QuantLinear.from_weights(case.weights).state_dict()
    module = bt.QuantLinear(128, 64, group_size=32, device=device)
    with pytest.raises(RuntimeError, match="not packed"):
        module(torch.zeros(1, 128, device=device))
    for name, tensor in state.items():
        getattr(module, name).copy_(tensor)
    assert module.pack() is module
    module.pack()
    x = torch.randn(2, 128, device=device, dtype=torch.float16)
    assert_close(module(x), x, case.dense)
    assert "u4b8" in repr(module)


def test_wrong_state_dicts_say_what_is_wrong():
    case = make(128, 64, 32)
    state = bt.QuantLinear.from_weights(case.weights).state_dict()
    module = bt.QuantLinear(128, 64, group_size=32)
    with pytest.raises(RuntimeError, match=r"qweight has shape \[8, 64\]; it must be \[16, 64\]"):
        module.load_state_dict({**state, "qweight": state["qweight"][:8]})
    with pytest.raises(RuntimeError, match="Missing key.*scales"):
        module.load_state_dict({name: tensor for name, tensor in state.items() if name != "scales"})
    with pytest.raises(RuntimeError, match="scales"):
        module.load_state_dict({**state, "scales": torch.full_like(state["scales"], float("inf"))})
    assert not module.packed
    with pytest.raises(RuntimeError, match="Unexpected key.*weight"):
        module.load_state_dict({**state, "weight": state["scales"]})
    with pytest.raises(ValueError, match="bits is 3"):
        bt.QuantLinear(64, 64, bits=3)
    with pytest.raises(NotImplementedError, match="AWQ modules"):
        bt.QuantLinear(64, 64, bits=8, format="awq")
    with pytest.raises(RuntimeError, match="meta device"):
        bt.QuantLinear(64, 64, device="meta").pack()


def test_moving_copying_and_casting(device):
    case = make(128, 64, 32)
    module = copy.deepcopy(case.module).to(device)
    scales = module._arguments[1]
    assert scales.device.type == device and scales.dtype == torch.float16
    module = torch.nn.Sequential(module).to(torch.bfloat16)
    x = torch.randn(3, 128, device=device, dtype=torch.float16)
    assert_close(module(x), x, case.dense)
    assert module[0]._arguments[1].dtype == torch.float16, "a cast of activations must not round stored scales"
    torch.testing.assert_close(module[0].dequantize(), case.dense.float().t(), rtol=1e-6, atol=0)


def tiny(kind, **options):
    shared = {
        "vocab_size": 128,
        "hidden_size": 64,
        "intermediate_size": 192,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 64,
        "tie_word_embeddings": False,
        **options,
    }
    torch.manual_seed(0)
    config = {"llama": transformers.LlamaConfig, "qwen2": transformers.Qwen2Config}[kind](**shared)
    return transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()


def quantised(model, path, format="gptq"):
    """Writes the model with its layers' Linears quantised (beside lm_head), and rounds the model itself to what the checkpoint means."""
    from safetensors.torch import load_file, save_file

    layers = {}
    for name, linear in model.named_modules():
        if isinstance(linear, torch.nn.Linear) and name != "lm_head":
            dense = linear.weight.detach().t().contiguous().numpy()
            asymmetric = "u4" if format == "awq" else "u4b8"
            codes, scales, zeros = billfish.round_to_nearest(dense, 32, asymmetric)
            bias = None if linear.bias is None else linear.bias.detach().numpy()
            layers[name] = billfish.PlainMatrix(codes, scales, zeros, bias, 32, asymmetric)
            rounded = billfish.pack(codes, scales, zeros, group_size=32).dequantize()
            with torch.no_grad():
                linear.weight.copy_(torch.from_numpy(rounded).t())
    billfish.write_checkpoint(path, format, layers)
    file = next(path.glob("*.safetensors"))
    tensors = load_file(file)
    for name, tensor in model.state_dict().items():
        if name.rpartition(".")[0] not in layers:
            tensors[name] = tensor.contiguous()
    save_file(tensors, file, {"format": "pt"})
    import json

    config = json.loads((path / "config.json").read_text())
    config = {**model.config.to_dict(), "quantization_config": config["quantization_config"]}
    (path / "config.json").write_text(json.dumps(config, default=str))
    return layers


@pytest.mark.parametrize("kind", ["llama", "qwen2"])
@pytest.mark.parametrize("format", ["gptq", "awq", "compressed-tensors"])
def test_replace_linears_gives_the_dequantised_models_logits(kind, format, tmp_path):
    model = tiny(kind)
    layers = quantised(model, tmp_path / "model", format)
    tokens = torch.randint(0, 128, (2, 11))
    with torch.no_grad():
        expected = model(tokens).logits
        replaced = bt.replace_linears(model, tmp_path / "model")
        assert sorted(replaced) == sorted(layers)
        assert isinstance(model.model.layers[1].mlp.up_proj, bt.QuantLinear)
        torch.testing.assert_close(model(tokens).logits, expected, rtol=1e-3, atol=2e-4)


def test_replace_linears_refuses_before_it_replaces(tmp_path):
    model = tiny("llama")
    quantised(model, tmp_path / "model")
    narrow = tiny("llama", intermediate_size=128)
    with pytest.raises(ValueError, match=r"Linear\(128, 64\) in the model and \[192, 64\]"):
        bt.replace_linears(narrow, tmp_path / "model")
    assert not any(isinstance(module, bt.QuantLinear) for module in narrow.modules())
    with pytest.raises(KeyError, match="no module"):
        bt.replace_linears(torch.nn.Linear(3, 3), tmp_path / "model")
    some = ["model.layers.0.mlp.up_proj"]
    assert bt.replace_linears(model, tmp_path / "model", only=some) == some
    with billfish.open(tmp_path / "model") as checkpoint:
        checkpoint.close()
        with pytest.raises(ValueError, match="is closed"):
            bt.replace_linears(model, checkpoint)


@pytest.mark.parametrize("kind", ["llama", "qwen2"])
def test_from_pretrained_loads_a_packed_checkpoint(kind, tmp_path, device):
    import billfish.torch.transformers as registration

    model = tiny(kind)
    quantised(model, tmp_path / "model")
    with billfish.open(tmp_path / "model") as checkpoint:
        checkpoint.pack(tmp_path / "packed")
    tokens = torch.randint(0, 128, (2, 9))
    with torch.no_grad():
        expected = model(tokens).logits
        dtype = torch.float32 if device == "cpu" else torch.float16
        loaded = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "packed", dtype=dtype).to(device)
        assert isinstance(loaded.hf_quantizer, registration.BillfishQuantizer)
        count = sum(isinstance(module, bt.QuantLinear) for module in loaded.modules())
        assert count == 14
        logits = loaded(tokens.to(device)).logits.cpu().float()
    torch.testing.assert_close(logits, expected, rtol=1e-3 if device == "cpu" else 2e-2, atol=2e-4 if device == "cpu" else 2e-2)
    generated = loaded.generate(tokens.to(device), max_new_tokens=4, do_sample=False)
    assert generated.shape == (2, 13)


def test_the_page_is_true(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = (SOURCE / "docs/python.md").read_text(encoding="ascii")
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert any("billfish.torch" in block for block in blocks)
    space = {"__name__": "page"}
    for block in blocks:
        exec(compile(block, "docs/python.md", "exec"), space)


@pytest.mark.parametrize("name", ["torch_linear.py", "tiny_model.py"])
def test_examples(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(SOURCE / "python/examples" / name), run_name="__main__")
    assert "worst difference" in capsys.readouterr().out


def test_bfloat16_goes_through_the_numpy_layer():
    case = make(64, 64)
    x = torch.randn(3, 64, dtype=torch.bfloat16)
    out = torch.empty(3, 64, dtype=torch.bfloat16)
    assert case.weights.matmul(x, out=out) is out
    assert_close(out, x, case.dense)
    assert case.weights.matmul(x).dtype == np.float32
    scales = torch.rand(1, 64).to(torch.bfloat16)
    w = billfish.pack(case.codes, scales)
    assert w.scale_type == "bfloat16" and w.scales.dtype == np.uint16
    module = bt.QuantLinear.from_weights(w)
    assert module._arguments[1].dtype == torch.bfloat16
    np.testing.assert_allclose(w.dequantize(), (case.codes.astype(np.float32) - 8) * scales.float().numpy())


def fetch_elsewhere(name, home):
    """billfish.fetch in a process of its own: the client reads its settings when it is imported."""
    import subprocess
    import sys

    code = f"import billfish\ntry:\n    print(billfish.fetch({name!r}))\nexcept Exception as error:\n    print(type(error).__name__, error)"
    environment = {**os.environ, "HF_HOME": str(home), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_fetch_obeys_the_cache_and_offline_mode(tmp_path):
    said = fetch_elsewhere("somebody/something", tmp_path)
    assert said.startswith("OSError somebody/something is not in the local cache"), said
    repository = tmp_path / "hub/models--somebody--something"
    snapshot = repository / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    (repository / "refs").mkdir()
    (repository / "refs/main").write_text("0" * 40)
    assert fetch_elsewhere("somebody/something", tmp_path) == str(snapshot)
