# SPDX-License-Identifier: Apache-2.0
"""Calibration files of tiny random models: every layer's inputs against hooks of the test's own, and quantising with them."""

import json

import numpy as np
import pytest
import torch

import billfish
from billfish import calibrate, quantize

transformers = pytest.importorskip("transformers")
safetensors = pytest.importorskip("safetensors")

SHAPE = dict(
    hidden_size=64,
    intermediate_size=96,
    num_attention_heads=2,
    num_key_value_heads=1,
    num_hidden_layers=2,
    vocab_size=64,
    max_position_embeddings=64,
    bos_token_id=1,
    eos_token_id=2,
    pad_token_id=3,
)
EXPERTS = dict(moe_intermediate_size=32, shared_expert_intermediate_size=32, num_experts=4, num_experts_per_tok=2, decoder_sparse_step=2)


def save(folder, kind):
    """A random model with a tokenizer of single letters."""
    torch.manual_seed(5)
    if kind == "llama":
        model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**SHAPE))
    elif kind == "qwen2":
        model = transformers.Qwen2ForCausalLM(transformers.Qwen2Config(**SHAPE))
    else:
        model = transformers.Qwen2MoeForCausalLM(transformers.Qwen2MoeConfig(**SHAPE, **EXPERTS))
    for value in model.parameters():
        if value.dim() > 1:
            value.data *= 4
    model.save_pretrained(folder)
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = {"<unk>": 0, "<s>": 1, "</s>": 2, "<pad>": 3, **{chr(ord("A") + i): 4 + i for i in range(60)}}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", pad_token="<pad>").save_pretrained(folder)
    return model.eval()


def rows(count=12, length=24):
    return np.random.default_rng(1).integers(4, 64, (count, length))


def inputs_of(model, sequences):
    """name -> [tokens, K], by hooks on every linear layer."""
    seen = {}
    hooks = [
        module.register_forward_hook(lambda _, x, __, name=name: seen.setdefault(name, []).append(x[0].reshape(-1, x[0].shape[-1])))
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear)
    ]
    with torch.no_grad():
        for row in sequences:
            model(input_ids=torch.as_tensor(row)[None])
    for hook in hooks:
        hook.remove()
    return {name: torch.cat(parts) for name, parts in seen.items()}


def read(path):
    with safetensors.safe_open(path, "pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, json.loads(file.metadata()["same_input"])


@pytest.mark.parametrize("kind", ["llama", "qwen2", "qwen2_moe"])
def test_samples_are_what_goes_into_every_layer(kind, tmp_path, capsys):
    model = save(tmp_path / "model", kind)
    np.save(tmp_path / "tokens.npy", rows())
    out = tmp_path / "calibration.safetensors"
    assert calibrate.main([str(tmp_path / "model"), "--tokens", str(tmp_path / "tokens.npy"), "--out", str(out)]) == 0
    assert "tokens each" in capsys.readouterr().out
    tensors, same = read(out)
    expected = inputs_of(model, rows())
    wanted = {layer.name for layer in quantize.plan(tmp_path / "model", format="compressed-tensors", group_size=-1) if not layer.left}
    assert wanted == {name.removesuffix(".X") for name in tensors} | set(same)
    assert same["model.layers.0.self_attn.k_proj"] == "model.layers.0.self_attn.q_proj"
    assert same["model.layers.1.self_attn.v_proj"] == "model.layers.1.self_attn.q_proj"
    assert same["model.layers.0.mlp.up_proj"] == "model.layers.0.mlp.gate_proj"
    for name in wanted:
        x = tensors[same.get(name, name) + ".X"]
        assert x.dtype == torch.float16 and x.shape[0] > 0
        if ".experts." not in name:
            assert torch.equal(x, expected[name].half()), name
    if kind == "qwen2_moe":
        part = "model.layers.1.mlp.experts."
        counts = [tensors[f"{part}{i}.gate_proj.X"].shape[0] for i in range(4)]
        assert sum(counts) == 2 * rows().size and same[part + "3.up_proj"] == part + "3.gate_proj"
        hidden = {row.numpy().tobytes() for row in expected["model.layers.1.mlp.shared_expert.gate_proj"].half()}
        assert all(row.numpy().tobytes() in hidden for row in tensors[part + "2.gate_proj.X"])
        gate, up, _ = model.model.layers[1].mlp.experts.gate_up_proj[2].split([32, 32, 0])
        x = tensors[part + "2.gate_proj.X"].float()
        inner = torch.nn.functional.silu(x @ gate.T) * (x @ up.T)
        assert torch.allclose(tensors[part + "2.down_proj.X"].float(), inner, atol=2e-2 * float(inner.detach().abs().max()))


def test_moments_are_those_of_the_samples(tmp_path):
    model = save(tmp_path / "model", "llama")
    (tmp_path / "tokens.txt").write_text("\n".join(" ".join(map(str, row)) for row in rows()))
    out = tmp_path / "moments.safetensors"
    arguments = [str(tmp_path / "model"), "--tokens", str(tmp_path / "tokens.txt"), "--out", str(out), "--store", "moments"]
    assert calibrate.main([*arguments, "--layers", r"layers\.1\.", "--max-tokens", "100"]) == 0
    tensors, same = read(out)
    expected = inputs_of(model, rows())
    assert {name.split(".H")[0] for name in tensors if name.endswith(".H")} | set(same) == {n for n in expected if ".1." in n}
    for name in ("model.layers.1.self_attn.q_proj", "model.layers.1.mlp.down_proj"):
        x = expected[name][:100].double()
        h = 2 / 100 * x.T @ x
        assert tensors[name + ".count"].tolist() == [100]
        assert torch.allclose(tensors[name + ".H"].double(), h, atol=1e-5 * float(h.max()))


@pytest.mark.parametrize("method, format", [("gptq", "gptq"), ("gptq", "compressed-tensors"), ("awq", "awq")])
def test_models_are_quantised_with_what_was_captured(method, format, tmp_path):
    save(tmp_path / "model", "llama")
    letters = [" ".join(chr(ord("A") + int(token) - 4) for token in row) for row in rows(40)]
    (tmp_path / "text").write_text("\n".join(letters))
    out = tmp_path / "calibration.safetensors"
    assert calibrate.main([str(tmp_path / "model"), "--text", str(tmp_path / "text"), "--lines", "--out", str(out)]) == 0
    options = dict(calibration=out, group_size=32, format=format, type="u4" if format == "awq" else "u4b8")
    reports = quantize.model(tmp_path / "model", tmp_path / "out", method, **options)
    assert len(reports) == 14 and all(0 < report.held_out_error < 0.5 for report in reports)
    with billfish.open(tmp_path / "out") as checkpoint:
        assert len(checkpoint.layers) == 14
    total = [sum(getattr(report, name) ** 2 for report in reports) for name in ("output_error", "nearest_output_error")]
    assert total[0] < total[1]


@pytest.mark.parametrize("type, group_size, scale_type", [("u4b8", 32, "float16"), ("u4", 32, "bfloat16"), ("u8b128", -1, "float32")])
def test_compressed_tensors_reads_what_was_written(type, group_size, scale_type, tmp_path):
    """By its own config class and compressor, every weight; with f32 scales, for its products have the type of the scales."""
    from compressed_tensors.compressors import PackedQuantizationCompressor
    from compressed_tensors.quantization import QuantizationConfig

    save(tmp_path / "model", "qwen2")
    options = dict(type=type, group_size=group_size, scale_type=scale_type, format="compressed-tensors")
    assert len(quantize.model(tmp_path / "model", tmp_path / "out", "rtn", **options)) == 14
    config = json.loads((tmp_path / "out/config.json").read_text())
    scheme = next(iter(QuantizationConfig.model_validate(config["quantization_config"]).config_groups.values()))
    with safetensors.safe_open(tmp_path / "out/model.safetensors", "pt") as file, billfish.open(tmp_path / "out") as checkpoint:
        names = file.keys()
        for layer in checkpoint.layers:
            part = {name.removeprefix(layer.name + "."): file.get_tensor(name) for name in names if name.startswith(layer.name + ".weight")}
            part["weight_scale"] = part["weight_scale"].float()
            dense = PackedQuantizationCompressor.decompress(part, scheme)["weight"].float().numpy()
            assert np.allclose(dense, layer.dequantize().T, rtol=1e-6, atol=0), layer.name


def test_text_is_cut_into_sequences(tmp_path):
    save(tmp_path / "model", "llama")
    (tmp_path / "text").write_text("A B C D\n\nE F G H I J\n")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "model")
    path = str(tmp_path / "text")
    assert calibrate.read_sequences(path, tokenizer, 4, False) == [[4, 5, 6, 7], [8, 9, 10, 11], [12, 13]]
    assert calibrate.read_sequences(path, tokenizer, 4, True) == [[4, 5, 6, 7], [8, 9, 10, 11]]


def test_refusals_leave_nothing_behind(tmp_path, capsys):
    save(tmp_path / "model", "llama")
    (tmp_path / "tokens.txt").write_text("4 5 6\n")
    for name, text in (("far.txt", "4 64\n"), ("below.txt", "-1\n"), ("words.txt", "4 five\n"), ("none.txt", "\n"), ("bad.npy", "4 5")):
        (tmp_path / name).write_text(text)
    before = sorted(path.name for path in tmp_path.iterdir())
    tokens = ["--tokens", str(tmp_path / "tokens.txt"), "--out", str(tmp_path / "out.safetensors")]
    for arguments, words in [
        ([str(tmp_path / "model"), *tokens, "--layers", "nothing"], "none of its 16 matrices is a layer to quantise"),
        ([str(tmp_path / "model"), *tokens, "--max-tokens", "-1"], "--max-tokens is -1"),
        ([str(tmp_path / "model"), *tokens, "--max-tokens", "0"], "--max-tokens is 0; it must be 1 or more"),
        ([str(tmp_path / "model"), *tokens[:2], "--out", str(tmp_path)], "is a directory; name a file"),
        ([str(tmp_path / "model"), "--tokens", str(tmp_path / "far.txt"), *tokens[2:]], "far.txt has the token id 64; the model's"),
        ([str(tmp_path / "model"), "--tokens", str(tmp_path / "below.txt"), *tokens[2:]], "below.txt has the token id -1"),
        ([str(tmp_path / "model"), "--tokens", str(tmp_path / "words.txt"), *tokens[2:]], "words.txt is not text of token ids"),
        ([str(tmp_path / "model"), "--tokens", str(tmp_path / "none.txt"), *tokens[2:]], "none.txt has no token ids"),
        ([str(tmp_path / "model"), "--tokens", str(tmp_path / "bad.npy"), *tokens[2:]], "bad.npy is not a .npy of numbers"),
        ([str(tmp_path / "nowhere"), *tokens], "no local path"),
        ([str(tmp_path / "model"), *tokens, "--layers", "("], "--layers '(' is no regular expression: missing )"),
    ]:
        assert calibrate.main(arguments) == 1
        assert words in capsys.readouterr().err
    model = torch.nn.Sequential(torch.nn.Embedding(64, 8), torch.nn.Linear(8, 8))
    model.forward = lambda input_ids: torch.nn.Sequential.forward(model, input_ids)
    for value, words in [(1e6, "0: sample 0, input 0 is 1e+06; its type does not hold it"), (float("nan"), "1: sample 0, input 0 is nan")]:
        with torch.no_grad():
            model[0].weight.fill_(value)
        with pytest.raises(ValueError) as raised:
            calibrate.capture(model, [[5, 6]], tmp_path / "out.safetensors")
        assert words[1:] in str(raised.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == before
