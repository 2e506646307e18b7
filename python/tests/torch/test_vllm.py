# SPDX-License-Identifier: Apache-2.0
"""The drop-in functions, called as vLLM's layers and tests call them: shapes, strides, bias, act order, zero points, refusals."""

import numpy as np
import pytest
import torch
from conftest import assert_close, dtypes, make

import billfish
import billfish.torch as bt
from billfish.torch import scalar_types

SHAPES = [(64, 128), (256, 1024), (2368, 1664)]  # (N, K) that the community's tests use
TYPES = {"u4b8": scalar_types.uint4b8, "u4": scalar_types.uint4, "u8b128": scalar_types.uint8b128, "u8": scalar_types.uint8}


def gptq_words(codes, bits):
    per = 32 // bits
    words = np.zeros((codes.shape[0] // per, codes.shape[1]), np.uint32)
    for j in range(per):
        words |= codes[j::per].astype(np.uint32) << np.uint32(bits * j)
    return torch.from_numpy(words.view(np.int32))


def awq_words(codes):
    order = [0, 2, 4, 6, 1, 3, 5, 7]
    words = np.zeros((codes.shape[0], codes.shape[1] // 8), np.uint32)
    for i, j in enumerate(order):
        words |= codes[:, j::8].astype(np.uint32) << np.uint32(4 * i)
    return torch.from_numpy(words.view(np.int32))


def call(a, codes, scales, kind, n, k, zeros=None, g_idx=None, perm=None, bias=None, c=None, **options):
    workspace = bt.marlin_make_workspace_new(a.device)
    return bt.marlin_gemm(a, c, codes, bias, scales, None, None, zeros, g_idx, perm, workspace, TYPES[kind], a.shape[0], n, k, **options)


def test_type_ids_are_the_known_ones():
    assert scalar_types.uint4b8.id == 4 << 8 | 8 << 17
    assert scalar_types.uint8b128.id == 8 << 8 | 128 << 17
    assert scalar_types.uint4.id == 4 << 8
    assert scalar_types.float8_e4m3fn.id == 4 | 3 << 8 | 1 << 16 | 1 << 49 | 2 << 50
    assert [t.size_bits for t in (scalar_types.uint4b8, scalar_types.float4_e2m1f, scalar_types.float8_e4m3fn)] == [4, 4, 8]


@pytest.mark.parametrize("n, k", SHAPES)
@pytest.mark.parametrize("group", [-1, 32, 128])
@pytest.mark.parametrize("m", [1, 26])
def test_symmetric_products_as_a_caller_makes_them(device, n, k, group, m):
    case = make(k, n, group, "u4b8", "cpu")
    codes = bt.gptq_marlin_repack(gptq_words(case.codes, 4).to(device), torch.empty(0, dtype=torch.int32, device=device), k, n, 4)
    assert np.array_equal(codes.cpu().numpy(), case.weights.codes)
    a = torch.randn(m, k, device=device, dtype=torch.float16)
    scales = bt.marlin_permute_scales(torch.from_numpy(case.scales).to(device), k, n, group)
    assert np.array_equal(scales.cpu().numpy(), case.weights.scales)
    out = call(a, codes, scales, "u4b8", n, k, use_fp32_reduce=True)
    assert_close(out, a, case.dense)
    reference = a.cpu().double() @ case.dense
    assert (out.cpu().double() - reference).abs().mean() / reference.abs().mean() < 0.04  # the community's own criterion


@pytest.mark.parametrize("kind", ["u4", "u8b128"])
def test_zero_points_and_eight_bits(device, kind):
    n, k, group, bits = 128, 256, 64, 4 if kind == "u4" else 8
    case = make(k, n, group, kind, "cpu")
    scales = bt.marlin_permute_scales(torch.from_numpy(case.scales).to(device), k, n, group)
    zeros = None
    if kind == "u4":
        codes = bt.awq_marlin_repack(awq_words(case.codes).to(device), k, n, 4)
        zeros = bt.awq_to_marlin_zero_points(awq_words(case.zeros).to(device), k // group, n, 4)
        plain = bt.marlin_zero_points(torch.from_numpy(case.zeros.astype(np.int32)).to(device), k // group, n, 4)
        assert torch.equal(zeros, plain)
        assert np.array_equal(zeros.cpu().numpy(), case.weights.zeros)
    else:
        codes = bt.gptq_marlin_repack(gptq_words(case.codes, bits).to(device), None, k, n, bits)
    assert np.array_equal(codes.cpu().numpy(), case.weights.codes)
    for dtype in dtypes(device):
        a = torch.randn(7, k, device=device, dtype=dtype)
        assert_close(call(a, codes, scales.to(dtype) if device == "cuda" else scales, kind, n, k, zeros=zeros), a, case.dense)


def test_eight_bit_zero_points_lie_as_the_packer_puts_them(device):
    case = make(128, 64, 32, "u8", "cpu")
    zeros = bt.marlin_zero_points(torch.from_numpy(case.zeros.astype(np.int32)).to(device), 4, 64, 8)
    assert np.array_equal(zeros.cpu().numpy(), case.weights.zeros)


def test_activation_order(device):
    n, k, group = 128, 256, 32
    case = make(k, n, group, "u4b8", "cpu", act_order=True)
    rng = np.random.default_rng(0)
    rng.integers(0, 16, (k, n), dtype=np.uint8)
    perm = torch.from_numpy(case.weights.perm.copy())
    g_idx_sorted = torch.arange(k, dtype=torch.int32) // group
    original = torch.empty_like(g_idx_sorted)
    original[perm.long()] = g_idx_sorted
    sorted_again, order = bt.marlin_sort_g_idx(original.to(device))
    assert torch.equal(sorted_again.cpu(), g_idx_sorted) and torch.equal(order.cpu(), perm)
    codes = bt.gptq_marlin_repack(gptq_words(case.codes, 4).to(device), order, k, n, 4)
    assert np.array_equal(codes.cpu().numpy(), case.weights.codes)
    scales = bt.marlin_permute_scales(torch.from_numpy(case.scales).to(device), k, n, group)
    a = torch.randn(5, k, device=device, dtype=torch.float16)
    assert_close(call(a, codes, scales, "u4b8", n, k, g_idx=sorted_again, perm=order), a, case.dense)
    with pytest.raises(NotImplementedError, match="shard of K"):
        call(a, codes, scales, "u4b8", n, k, g_idx=sorted_again, perm=order, is_k_full=False)


def test_strided_activations_bias_and_given_output(device):
    n, k = 128, 1024
    case = make(k, n, 128, "u4b8", device)
    codes, scales = case.module._arguments[:2]
    wide = torch.randn(32, k * 3, device=device, dtype=torch.float16)
    a = wide[:, k : 2 * k]
    bias = torch.randn(n, dtype=torch.float16)
    permuted = bt.marlin_permute_bias(bias.to(device))
    c = torch.full((32, n), float("nan"), device=device, dtype=torch.float16)
    out = call(a, codes, scales, "u4b8", n, k, bias=permuted, c=c)
    assert out is c
    assert_close(out, a, case.dense, bias)
    assert torch.equal(call(a, codes, scales, "u4b8", n, k, bias=permuted), out)


def test_empty_tensors_mean_none_and_no_rows_return_at_once(device):
    case = make(128, 64, 32, "u4b8", device)
    codes, scales = case.module._arguments[:2]
    nothing = bt.marlin_make_empty_g_idx(device)
    a = torch.randn(2, 128, device=device, dtype=torch.float16)
    assert_close(call(a, codes, scales, "u4b8", 64, 128, zeros=nothing, g_idx=nothing, perm=nothing), a, case.dense)
    assert call(a[:0], codes, scales, "u4b8", 64, 128).shape == (0, 64)


def test_workspace_is_left_alone(device):
    case = make(128, 64, 32, "u4b8", device)
    codes, scales = case.module._arguments[:2]
    workspace = bt.marlin_make_workspace_new(device)
    a = torch.randn(200, 128, device=device, dtype=torch.float16)
    bt.marlin_gemm(a, None, codes, None, scales, None, None, None, None, None, workspace, TYPES["u4b8"].id, 200, 64, 128)
    assert not workspace.any()


@pytest.mark.parametrize(
    "change, error, words",
    [
        ({"b_type_id": scalar_types.float8_e4m3fn.id}, NotImplementedError, "supported are uint4b8"),
        ({"is_zp_float": True}, NotImplementedError, "float zero points"),
        ({"a_scales_or_none": torch.ones(1)}, NotImplementedError, "8-bit activations"),
        ({"global_scale_or_none": torch.ones(1)}, NotImplementedError, "4-bit floating-point"),
        ({"size_m": 3}, ValueError, "size_m is 3"),
        ({"size_k": 120}, ValueError, "size_k is 120; it must be a multiple of 16"),
        ({"size_n": 72}, ValueError, "size_n is 72; it must be a multiple of 64"),
        ({"b_scales": torch.ones(3, 64, dtype=torch.float16)}, ValueError, "b_scales has 3 rows"),
        ({"c_or_none": torch.empty(2, 63, dtype=torch.float16)}, ValueError, "c is float16 [2, 63]"),
    ],
)
def test_refusals(change, error, words):
    case = make(128, 64, 32, "u4b8", "cpu")
    codes, scales = case.module._arguments[:2]
    arguments = {
        "a": torch.randn(2, 128, dtype=torch.float16),
        "c_or_none": None,
        "b_q_weight": codes,
        "b_bias_or_none": None,
        "b_scales": scales,
        "a_scales_or_none": None,
        "global_scale_or_none": None,
        "b_zeros_or_none": None,
        "g_idx_or_none": None,
        "perm_or_none": None,
        "workspace": bt.marlin_make_workspace_new("cpu"),
        "b_type_id": scalar_types.uint4b8.id,
        "size_m": 2,
        "size_n": 64,
        "size_k": 128,
        **change,
    }
    with pytest.raises(error) as raised:
        bt.marlin_gemm(**arguments)
    assert words in str(raised.value)


def test_repack_refusals():
    words = torch.zeros((16, 64), dtype=torch.int32)
    none = torch.empty(0, dtype=torch.int32)
    with pytest.raises(ValueError, match="size_n is 72"):
        bt.gptq_marlin_repack(words, none, 128, 72, 4)
    with pytest.raises(ValueError, match="num_bits is 3"):
        bt.gptq_marlin_repack(words, none, 128, 64, 3)
    with pytest.raises(NotImplementedError, match="is_a_8bit"):
        bt.gptq_marlin_repack(words, none, 128, 64, 4, True)
    with pytest.raises(NotImplementedError, match="num_bits is 8"):
        bt.awq_marlin_repack(words, 16, 256, 8)
    with pytest.raises(ValueError, match="perm has shape"):
        bt.gptq_marlin_repack(words, torch.zeros(5, dtype=torch.int32), 128, 64, 4)


def test_another_namespace():
    bt.register_operators("billfish_test_namespace")
    bt.register_operators("billfish_test_namespace")
    assert torch.ops.billfish_test_namespace.marlin_gemm.default is not None
    case = make(64, 64, -1, "u4b8")
    x = torch.randn(2, 64)
    assert torch.equal(torch.ops.billfish_test_namespace.gemm(x, *case.module._arguments), case.module(x))
    assert billfish.version()
