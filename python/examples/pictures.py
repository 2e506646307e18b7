# SPDX-License-Identifier: Apache-2.0
"""Draws what quantising does to a layer, and where its codes lie when packed, into ./pictures. `python pictures.py`"""

import numpy as np

import billfish
from billfish.visualization import VisualizationHelper


def main() -> None:
    dense = np.random.default_rng(0).standard_normal((256, 256)).astype(np.float32)
    helper = VisualizationHelper("pictures")
    for kind in ("u4b8", "u8b128"):
        codes, scales, zeros = billfish.round_to_nearest(dense, group_size=64, type=kind)
        weights = billfish.pack(codes, scales, zeros, group_size=64, type=kind)
        print(helper.plot_quantization_error(dense, weights, f"error_{kind}.png"))
        print(helper.plot_weight_distribution({"before": dense, kind: weights.dequantize()}, f"weights_{kind}.png"))
    print(helper.plot_packing())


if __name__ == "__main__":
    main()
