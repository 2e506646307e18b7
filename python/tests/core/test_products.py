# SPDX-License-Identifier: Apache-2.0
"""Products and packing against float64, on odd shapes, strided inputs, every type, and memory that must not be copied."""

import gc

import numpy as np
import pytest
from conftest import matrix

import billfish


def close(y, reference, x, dense):
    """Within 2^-9 of the sum of magnitudes: two roundings of a 16-bit weight and output (2^-10 of each term at most), and f32 sums."""
    bound = np.abs(x.astype(np.float64)) @ np.abs(dense) * 2.0**-9 + 1e-7
    return bool((np.abs(y.astype(np.float64) - reference) <= bound).all())


@pytest.mark.parametrize("kind", ["u4b8", "u4", "u8b128", "u8"])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("shape", [(1, 64, 64, -1), (3, 96, 48, 32), (17, 256, 200, 128), (5, 90, 33, -1)])
def test_product_agrees_with_float64(kind, dtype, shape):
    m, k, n, group = shape
    codes, scales, zeros, dense = matrix(k, n, group, kind)
    w = billfish.pack(codes, scales, zeros, group_size=group, type=kind)
    assert (w.k, w.n, w.type, w.group_size) == (k, n, kind, group if group != k else -1)
    np.testing.assert_allclose(w.dequantize(), dense, rtol=2e-7, atol=0)
    x = np.random.default_rng(1).standard_normal((m, k)).astype(dtype)
    y = w.matmul(x)
    assert y.dtype == dtype and y.shape == (m, n)
    assert close(y, x.astype(np.float64) @ dense, x, dense)
    assert np.array_equal(x @ w, y), "the same call must give the same bits"


@pytest.mark.parametrize("lead", [(), (4,), (2, 3), (2, 1, 3), (0,), (0, 5)])
def test_leading_dimensions_are_kept(lead):
    codes, scales, _, dense = matrix(64, 64)
    w = billfish.pack(codes, scales)
    x = np.random.default_rng(2).standard_normal((*lead, 64)).astype(np.float32)
    y = w.matmul(x)
    assert y.shape == (*lead, 64)
    assert close(y.reshape(-1, 64), x.reshape(-1, 64).astype(np.float64) @ dense, x.reshape(-1, 64), dense)


def test_rows_of_a_wider_array_are_read_and_written_in_place():
    codes, scales, _, dense = matrix(64, 64)
    w = billfish.pack(codes, scales)
    wide = np.random.default_rng(3).standard_normal((5, 200)).astype(np.float32)
    target = np.full((5, 100), np.nan, np.float32)
    x, out = wide[:, 7:71], target[:, 10:74]
    assert w.matmul(x, out=out) is out
    assert close(out, x.astype(np.float64) @ dense, x, dense)
    assert np.isnan(target[:, :10]).all() and np.isnan(target[:, 74:]).all(), "written outside of out"


def test_activation_order_and_bias():
    k, n, group = 128, 64, 32
    codes, scales, _, _ = matrix(k, n, group)
    rng = np.random.default_rng(4)
    g_idx = (rng.permutation(k) // group).astype(np.int32)
    bias = rng.standard_normal(n).astype(np.float32)
    dense = (codes.astype(np.float64) - 8) * scales[g_idx].astype(np.float64)
    w = billfish.pack(codes, scales, group_size=group, g_idx=g_idx, bias=bias)
    np.testing.assert_allclose(w.dequantize(), dense, rtol=2e-7)
    assert w.perm is not None and sorted(w.perm.tolist()) == list(range(k))
    x = rng.standard_normal((3, k)).astype(np.float32)
    assert close(w.matmul(x) - bias, x.astype(np.float64) @ dense, x, dense)
    assert close(w.matmul(x, bias=False), x.astype(np.float64) @ dense, x, dense)


def test_precisions_and_batch_invariance():
    codes, scales, _, dense = matrix(512, 256, 128)
    w = billfish.pack(codes, scales, group_size=128)
    x = np.random.default_rng(5).standard_normal((9, 512)).astype(np.float32)
    norm = np.linalg.norm(x.astype(np.float64) @ dense)
    for precision, limit in [("full", 1e-4), ("bf16", 6e-3), ("int8", 2e-2)]:
        error = np.linalg.norm(w.matmul(x, precision=precision) - x.astype(np.float64) @ dense) / norm
        assert error < limit, (precision, error)
    whole = w.matmul(x, batch_invariant=True)
    for i in range(len(x)):
        assert np.array_equal(w.matmul(x[i : i + 1], batch_invariant=True)[0], whole[i])


def test_results_do_not_depend_on_the_number_of_threads():
    codes, scales, _, _ = matrix(512, 512, 128)
    w = billfish.pack(codes, scales, group_size=128)
    x = np.random.default_rng(6).standard_normal((33, 512)).astype(np.float32)
    before = billfish.threads()
    results = []
    for count in (1, 2, 3):
        billfish.set_threads(count)
        assert billfish.threads() == count
        results.append(w.matmul(x))
    billfish.set_threads(before)
    assert np.array_equal(results[0], results[1]) and np.array_equal(results[0], results[2])


def test_parts_are_views_that_outlive_their_weights():
    codes, scales, _, _ = matrix(64, 64)
    w = billfish.pack(codes, scales)
    assert np.shares_memory(w.codes, w.codes)
    view, copy = w.codes, w.codes.copy()
    del w
    gc.collect()
    assert np.array_equal(view, copy)


def test_marlin_arrays_are_borrowed_not_copied():
    codes, scales, _, dense = matrix(128, 64, 32)
    w = billfish.pack(codes, scales, group_size=32)
    own_codes, own_scales = w.codes.copy(), w.scales.copy()
    borrowed = billfish.from_marlin(own_codes, own_scales, k=128, n=64, group_size=32)
    del own_scales
    gc.collect()
    np.testing.assert_allclose(borrowed.dequantize(), dense, rtol=2e-7)
    own_codes[:] = 0x77777777
    assert np.abs(borrowed.dequantize()).max() < np.abs(dense).max(), "a change of the array must be seen"


def test_dlpack_and_readonly_and_buffers_go_in():
    codes, scales, _, dense = matrix(64, 64)
    codes.setflags(write=False)
    w = billfish.pack(codes, scales)
    x = np.random.default_rng(7).standard_normal((2, 64)).astype(np.float32)

    class OnlyDlpack:
        def __dlpack__(self, **options):
            return x.__dlpack__(**options)

        def __dlpack_device__(self):
            return x.__dlpack_device__()

    expected = w.matmul(x)
    assert np.array_equal(w.matmul(OnlyDlpack()), expected)
    x.setflags(write=False)
    assert np.array_equal(w.matmul(x), expected)
    assert np.array_equal(w.matmul(memoryview(np.ascontiguousarray(x))), expected)


def test_repack_agrees_with_pack():
    codes, scales, _, _ = matrix(64, 128, 32)
    words = np.zeros((8, 128), np.uint32)
    for j in range(8):
        words |= codes[j::8].astype(np.uint32) << np.uint32(4 * j)
    w = billfish.pack(codes, scales, group_size=32)
    assert np.array_equal(billfish.repack_gptq_to_marlin(words.view(np.int32), 64, 128), w.codes)
    assert np.array_equal(billfish.repack_scales_to_marlin(scales, 64, 128, 32), w.scales)


def test_bench_and_explain():
    codes, scales, _, _ = matrix(256, 256)
    timing = billfish.bench(billfish.pack(codes, scales), m=2, rounds=3)
    assert timing.samples == 3 and 0 < timing.minimum <= timing.median <= timing.maximum and timing.gigaflops > 0
    assert "sm80" in billfish.explain(16, 4096, 4096, group_size=128, device="sm_90")
    assert isinstance(billfish.explain_json(1, 64, 64, device="cpu"), dict)
