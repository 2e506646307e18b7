# SPDX-License-Identifier: Apache-2.0
"""A Linear of a torch module, quantised to 4 bits and put back in its place. `python torch_linear.py`"""

import torch

import billfish
from billfish.torch import QuantLinear


def main() -> None:
    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() and billfish._core.cuda_devices() else "cpu"
    model = torch.nn.Sequential(torch.nn.Linear(256, 512), torch.nn.SiLU(), torch.nn.Linear(512, 64)).eval()
    x = torch.randn(8, 256)
    with torch.no_grad():
        before = model(x)
        for i in (0, 2):
            linear = model[i]
            codes, scales, zeros = billfish.round_to_nearest(linear.weight.detach().t().contiguous().numpy(), group_size=64)
            weights = billfish.pack(codes, scales, zeros, group_size=64, bias=linear.bias.detach().half().numpy())
            model[i] = QuantLinear.from_weights(weights)
        model = model.to(device)
        dtype = torch.float16 if device == "cuda" else torch.float32
        after = model(x.to(device, dtype)).float().cpu()
    print(model)
    print(f"worst difference that 4 bits make: {(after - before).abs().max():.3f} of {before.abs().max():.3f}")


if __name__ == "__main__":
    main()
