# SPDX-License-Identifier: Apache-2.0
"""What is wrong must be refused, by the right exception, with a message that names the argument and what is supported."""

import numpy as np
import pytest
from conftest import matrix

import billfish

F32 = np.float32


@pytest.fixture(scope="module")
def w():
    codes, scales, _, _ = matrix(64, 64)
    return billfish.pack(codes, scales)


@pytest.mark.parametrize(
    "x, error, words",
    [
        (np.zeros((2, 64)), ValueError, "x is float64; supported are float32, float16 and bfloat16"),
        (np.zeros((2, 64), np.int32), ValueError, "x is int32"),
        (np.zeros((2, 63), F32), ValueError, "its last dimension must be 64"),
        (np.zeros((), F32), ValueError, "its last dimension must be 64"),
        (np.zeros((2, 128), F32)[:, ::2], ValueError, "x has a stride of 2 elements within a row"),
        (np.zeros((2, 64), F32)[:, ::-1], ValueError, "stride of -1"),
        (np.zeros((2, 64), F32)[::-1], ValueError, "x has a row stride of -64"),
        (np.zeros((3, 4, 64), F32).transpose(1, 0, 2), ValueError, "rows that do not lie at one stride"),
        ([[1.0] * 64], TypeError, "x is a list; it must be a NumPy array or an object with __dlpack__"),
        (None, TypeError, "x is a"),
    ],
)
def test_inputs(w, x, error, words):
    with pytest.raises(error) as raised:
        w.matmul(x)
    assert words in str(raised.value)


@pytest.mark.parametrize(
    "out, words",
    [
        (np.zeros((2, 63), F32), "its last dimension must be 64"),
        (np.zeros((3, 64), F32), "it must be that of x"),
        (np.zeros((2, 64)), "out is float64"),
        (np.zeros((2, 128), F32)[:, ::2], "stride of 2"),
    ],
)
def test_outputs(w, out, words):
    with pytest.raises(ValueError) as raised:
        w.matmul(np.zeros((2, 64), F32), out=out)
    assert words in str(raised.value)


def test_a_read_only_output_is_refused(w):
    out = np.zeros((1, 64), F32)
    out.setflags(write=False)
    with pytest.raises(TypeError, match="out must be a writable"):
        w.matmul(np.zeros((1, 64), F32), out=out)


def test_options(w):
    x = np.zeros((1, 64), F32)
    with pytest.raises(ValueError, match="precision is 'fp4'; supported are full, bf16, int8"):
        w.matmul(x, precision="fp4")
    with pytest.raises(ValueError, match="no_such"):
        w.matmul(x, implementation="no_such")
    with pytest.raises(TypeError, match="x @ weights"):
        w @ x
    with pytest.raises(ValueError, match="threads is -1"):
        billfish.set_threads(-1)
    before = billfish.threads()
    with pytest.raises(ValueError, match="threads is 4097; it must be 0 .* to 4096"):
        billfish.set_threads(4097)
    assert billfish.threads() == before  # later calls are as before
    with pytest.raises(ValueError, match="rounds is 0"):
        billfish.bench(w, rounds=0)
    with pytest.raises(ValueError, match="dtype is 'float64'"):
        billfish.bench(w, dtype="float64")


class OnCuda:
    """Says that it lies on a GPU, in a capsule made of nothing that may be read."""

    def __init__(self, array):
        self.array = array

    def __dlpack__(self, **options):
        import ctypes

        class Tensor(ctypes.Structure):
            _fields_ = [
                ("data", ctypes.c_void_p),
                ("device_type", ctypes.c_int32),
                ("device_id", ctypes.c_int32),
                ("ndim", ctypes.c_int32),
                ("code", ctypes.c_uint8),
                ("bits", ctypes.c_uint8),
                ("lanes", ctypes.c_uint16),
                ("shape", ctypes.c_void_p),
                ("strides", ctypes.c_void_p),
                ("byte_offset", ctypes.c_uint64),
                ("context", ctypes.c_void_p),
                ("deleter", ctypes.c_void_p),
            ]

        self.shape = (ctypes.c_int64 * 2)(*self.array.shape)
        self.tensor = Tensor(0x1000, 2, 0, 2, 2, 32, 1, ctypes.addressof(self.shape), None, 0, None, None)
        make = ctypes.pythonapi.PyCapsule_New
        make.restype, make.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
        return make(ctypes.addressof(self.tensor), b"dltensor", None)

    def __dlpack_device__(self):
        return (2, 0)


def test_memory_of_a_gpu_is_refused_before_it_is_read(w):
    with pytest.raises(ValueError, match="x is on cuda:0; this layer works on the cpu"):
        w.matmul(OnCuda(np.zeros((2, 64), F32)))


@pytest.mark.parametrize(
    "change, error, words",
    [
        ({"codes": np.zeros((64, 64), np.int32)}, ValueError, "codes is int32; it must be uint8"),
        ({"codes": np.zeros(64, np.uint8)}, ValueError, "codes has shape [64]; it must be [K, N]"),
        ({"codes": np.zeros((64, 128), np.uint8)[:, ::2]}, ValueError, "codes has a stride of 2 elements in dimension 1"),
        ({"codes": np.full((64, 64), 16, np.uint8)}, ValueError, "16"),
        ({"scales": np.ones((2, 64), np.float16)}, ValueError, "scales has shape [2, 64]; it must be [1, 64]"),
        ({"scales": np.ones((1, 64))}, ValueError, "scales is float64"),
        ({"scales": np.full((1, 64), np.inf, np.float16)}, ValueError, "scales"),
        ({"zeros": np.zeros((1, 64), np.uint8), "type": "u4b8"}, ValueError, "types u4b8 and u8b128 have none"),
        ({"type": "u4"}, ValueError, "zeros is None"),
        ({"type": "u5"}, ValueError, "type is 'u5'; supported are u4b8, u4, u8b128, u8"),
        ({"group_size": 0}, ValueError, "group_size is 0"),
        ({"g_idx": np.full(64, 7, np.int32)}, ValueError, "g_idx"),
        ({"bias": np.zeros(63, F32)}, ValueError, "bias has shape [63]; it must be [64]"),
    ],
)
def test_packing(change, error, words):
    codes, scales, _, _ = matrix(64, 64)
    arguments = {"codes": codes, "scales": scales, **change}
    with pytest.raises(error) as raised:
        billfish.pack(**arguments)
    assert words in str(raised.value)


def test_marlin_arrays():
    codes, scales, _, _ = matrix(64, 64)
    w = billfish.pack(codes, scales)
    with pytest.raises(ValueError, match=r"codes has shape \[4, 128\]; it must be \[8, 128\]"):
        billfish.from_marlin(w.codes, w.scales, k=128, n=64)
    with pytest.raises(ValueError, match="must be arrays, not None"):
        billfish.from_marlin(None, w.scales, k=64, n=64)
    with pytest.raises(ValueError, match="k is 0"):
        billfish.from_marlin(w.codes, w.scales, k=0, n=64)


@pytest.mark.parametrize(
    ("name", "index", "value", "words"),
    [
        ("perm", 5, 64, r"perm\[5\] is 64; it must be 0 to 63"),
        ("perm", 63, -1, r"perm\[63\] is -1; it must be 0 to 63"),
        ("perm", 1, 0, r"perm\[1\] is 0, which an earlier entry is too"),
        ("g_idx", 63, 2, r"g_idx\[63\] is 2; it must be 0 to 1"),
        ("g_idx", 0, -7, r"g_idx\[0\] is -7; it must be 0 to 1"),
        ("g_idx", 40, 0, r"g_idx\[40\] is 0 after 1; it must be sorted"),
    ],
)
def test_marlin_orders_that_point_elsewhere(name, index, value, words):
    codes, scales, _, _ = matrix(64, 64)
    w = billfish.pack(codes, scales)
    both = np.concatenate([scales, scales])
    order = {"perm": np.arange(64, dtype=np.int32), "g_idx": np.repeat(np.arange(2, dtype=np.int32), 32)}
    right = billfish.from_marlin(w.codes, both, k=64, n=64, group_size=32, **order)
    assert np.isfinite(right.dequantize()).all()
    order[name][index] = value
    with pytest.raises(ValueError, match=words):
        billfish.from_marlin(w.codes, both, k=64, n=64, group_size=32, **order)


def test_repacking():
    with pytest.raises(ValueError, match="k is 24; it must be a multiple of 16"):
        billfish.repack_gptq_to_marlin(np.zeros((3, 64), np.int32), 24, 64)
    with pytest.raises(ValueError, match="bits is 3"):
        billfish.repack_gptq_to_marlin(np.zeros((3, 64), np.int32), 32, 64, bits=3)
    with pytest.raises(ValueError, match="it must be float16, bfloat16"):
        billfish.repack_scales_to_marlin(np.zeros((1, 64), F32), 32, 64, -1)
    with pytest.raises(ValueError, match="group_size is 0"):
        billfish.repack_scales_to_marlin(np.zeros((1, 64), np.float16), 32, 64, 0)


def test_library_refusals_become_the_right_exceptions(tmp_path):
    with pytest.raises(FileNotFoundError):
        billfish.open(tmp_path / "nothing")
    bad = tmp_path / "bad.safetensors"
    bad.write_bytes(b"\x08\0\0\0\0\0\0\0{}")
    with pytest.raises(ValueError):
        billfish.open(bad)
    codes, scales, _, _ = matrix(64, 64, 32, "u8b128")
    with pytest.raises(NotImplementedError):  # AWQ has no 8 bits
        billfish.write_checkpoint(tmp_path / "awq", "awq", {"a": billfish.PlainMatrix(codes, scales, group_size=32, type="u8b128")})
    codes, scales, _, _ = matrix(64, 64, 32)
    with pytest.raises((OSError, ValueError)):
        billfish.write_checkpoint(bad / "below", "gptq", {"a": billfish.PlainMatrix(codes, scales, group_size=32)})


def test_what_is_no_layer_is_not_written(tmp_path):
    codes, scales, _, _ = matrix(64, 64, 32)
    whole = billfish.PlainMatrix(codes, scales, group_size=32)
    for layers, error, words in (
        ({"a": codes}, TypeError, r"layers\['a'\] is ndarray; it must be a PlainMatrix"),
        ({3: whole}, TypeError, "the key 3; names must be str"),
        ([whole], TypeError, "layers is list; it must be a mapping"),
        ({}, ValueError, "layers is empty"),
    ):
        with pytest.raises(error, match=words):
            billfish.write_checkpoint(tmp_path / "out", "gptq", layers)
    assert not (tmp_path / "out").exists()
