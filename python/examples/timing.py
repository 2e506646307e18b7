# SPDX-License-Identifier: Apache-2.0
"""Times a 4-bit layer against the same layer in float32, at several numbers of rows. `python timing.py`"""

import numpy as np

import billfish
from billfish.profiling import Benchmarker

K, N = 1024, 1024


def main() -> None:
    dense = np.random.default_rng(0).standard_normal((K, N)).astype(np.float32)
    codes, scales, zeros = billfish.round_to_nearest(dense, group_size=128)
    weights = billfish.pack(codes, scales, zeros, group_size=128)
    print(f"{weights}: {weights.nbytes / 1e6:.1f} MB instead of {dense.nbytes / 1e6:.1f} MB")
    for m in (1, 16, 64):
        x = np.random.default_rng(m).standard_normal((m, K)).astype(np.float32)
        benchmarker = Benchmarker(num_iterations=10)
        benchmarker.benchmark_function(lambda: weights.matmul(x), f"4-bit, {m} rows")
        benchmarker.benchmark_function(lambda: x @ dense, f"float32, {m} rows")
        benchmarker.print_results()


if __name__ == "__main__":
    main()
