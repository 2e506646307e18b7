# SPDX-License-Identifier: Apache-2.0
"""A tiny random Llama, end to end: quantise, write as GPTQ, pack, replace its Linears, compare logits. `python tiny_model.py`"""

import tempfile

import torch
import transformers

import billfish
from billfish.torch import replace_linears


def main() -> None:
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=256, hidden_size=128, intermediate_size=256, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=4
    )
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    layers = {}
    for name, linear in model.named_modules():
        if isinstance(linear, torch.nn.Linear) and name != "lm_head":
            codes, scales, zeros = billfish.round_to_nearest(linear.weight.detach().t().contiguous().numpy(), group_size=64)
            layers[name] = billfish.PlainMatrix(codes, scales, zeros, group_size=64)
            rounded = billfish.pack(codes, scales, zeros, group_size=64).dequantize()
            with torch.no_grad():
                linear.weight.copy_(torch.from_numpy(rounded).t())
    tokens = torch.randint(0, 256, (1, 16))
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        billfish.write_checkpoint(f"{folder}/model", "gptq", layers)
        with billfish.open(f"{folder}/model") as checkpoint:
            checkpoint.pack(f"{folder}/packed")
        expected = model(tokens).logits
        names = replace_linears(model, f"{folder}/packed")
        logits = model(tokens).logits
    print(f"{len(names)} layers replaced; worst difference of a logit: {(logits - expected).abs().max():.2e} of {expected.abs().max():.2f}")


if __name__ == "__main__":
    main()
