# SPDX-License-Identifier: Apache-2.0
"""The gemm operator: right on every device, known to torch.compile and opcheck, capturable in CUDA graphs, cheap on the host."""

import gc
import json
import os
import sys
import threading
import time
import weakref

import pytest
import torch
from conftest import DEVICES, assert_close, dtypes, make, needs_cuda
from torch.utils.flop_counter import FlopCounterMode

import billfish.torch as bt
from billfish import _core


@pytest.mark.parametrize("kind", ["u4b8", "u4", "u8b128"])
@pytest.mark.parametrize("m", [1, 3, 17, 257])
def test_products(device, kind, m):
    case = make(256, 192, 64, kind, device)
    for dtype in dtypes(device):
        x = torch.randn(m, 256, device=device, dtype=dtype)
        assert_close(case.module(x), x, case.dense)


def test_odd_shapes_bias_and_activation_order(device):
    case = make(208, 72, 16, "u4b8", device, bias=True, act_order=True)
    bias = torch.from_numpy(case.weights.bias.copy())
    x = torch.randn(5, 208, device=device, dtype=torch.float16)
    assert_close(case.module(x), x, case.dense, bias)


@pytest.mark.parametrize("lead", [(), (3,), (2, 3), (0,), (2, 0, 3)])
def test_leading_dimensions(device, lead):
    case = make(64, 64, -1, "u4b8", device)
    x = torch.randn(*lead, 64, device=device, dtype=torch.float16)
    y = case.module(x)
    assert y.shape == (*lead, 64)
    assert_close(y.reshape(-1, 64), x.reshape(-1, 64), case.dense)


def test_strided_rows_are_read_in_place(device):
    case = make(128, 64, 32, "u4b8", device)
    wide = torch.full((4, 512), float("nan"), device=device, dtype=torch.float16)
    x = wide[:, 256:384]
    x.copy_(torch.randn(4, 128, dtype=torch.float16))
    assert not x.is_contiguous()
    assert_close(case.module(x), x, case.dense)


def test_same_bits_every_time(device):
    case = make(512, 256, 128, "u4b8", device)
    x = torch.randn(33, 512, device=device, dtype=torch.float16)
    first = case.module(x)
    assert all(torch.equal(first, case.module(x)) for _ in range(5))


def arguments(case):
    return case.module._arguments


def test_opcheck(device):
    for kind, act in [("u4b8", False), ("u4", False), ("u4b8", True)]:
        case = make(128, 64, 32, kind, device, act_order=act, bias=act)
        x = torch.randn(3, 128, device=device, dtype=torch.float16)
        torch.library.opcheck(bt.gemm, (x, *arguments(case)))
    torch.library.opcheck(bt.gemm, (torch.randn(0, 128, device=device, dtype=torch.float16), *arguments(case)))


def test_opcheck_of_the_marlin_operators(device):
    case = make(128, 64, 32, "u4b8", device)
    codes, scales = arguments(case)[0], arguments(case)[1]
    workspace = bt.marlin_make_workspace_new(device)
    a = torch.randn(3, 128, device=device, dtype=torch.float16)
    rest = (codes, None, scales, None, None, None, None, None, workspace, bt.scalar_types.uint4b8.id, 3, 64, 128, True, False, True, False)
    torch.library.opcheck(torch.ops.billfish.marlin_gemm.default, (a, None, *rest))
    c = torch.empty(3, 64, device=device, dtype=torch.float16)
    torch.library.opcheck(torch.ops.billfish.marlin_gemm_out.default, (a, c, *rest))
    qweight = torch.randint(-(2**31), 2**31 - 1, (16, 64), device=device, dtype=torch.int32)
    torch.library.opcheck(torch.ops.billfish.repack.default, (qweight, False, 128, 64, 4))


@pytest.mark.parametrize("dynamic", [False, True])
def test_compile_without_graph_breaks(device, dynamic):
    case = make(128, 64, 32, "u4b8", device)

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = case.module

        def forward(self, x):
            return torch.nn.functional.silu(self.linear(x * 2)) + 1

    model = Model()
    compiled = torch.compile(model, fullgraph=True, dynamic=dynamic, backend="inductor" if device == "cuda" else "aot_eager")
    for m in (1, 5, 5, 9):
        x = torch.randn(m, 128, device=device, dtype=torch.float16)
        torch.testing.assert_close(compiled(x), model(x), rtol=1e-2, atol=1e-2)


def test_compiled_drop_in_function_with_an_output(device):
    case = make(128, 64, 32, "u4b8", device)
    codes, scales = arguments(case)[0], arguments(case)[1]
    workspace = bt.marlin_make_workspace_new(device)

    def run(a, c):
        return bt.marlin_gemm(
            a, c, codes, None, scales, None, None, None, None, None, workspace, bt.scalar_types.uint4b8.id, a.shape[0], 64, 128
        )

    a = torch.randn(4, 128, device=device, dtype=torch.float16)
    c = torch.empty(4, 64, device=device, dtype=torch.float16)
    expected = run(a, None)
    assert torch.equal(torch.compile(run, fullgraph=True, backend="aot_eager")(a, c), expected)
    assert torch.equal(c, expected)


def test_threads_share_a_module(device):
    case = make(256, 128, 64, "u4b8", device)
    x = torch.randn(7, 256, device=device, dtype=torch.float16)
    expected, wrong = case.module(x), []

    def work():
        for _ in range(20):
            if not torch.equal(case.module(x), expected):
                wrong.append(1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


REFUSALS = [
    (lambda x, a: (x.double(), *a), "supported are float32, float16 and bfloat16"),
    (lambda x, a: (x[:, :-1], *a), "its last dimension must be 128"),
    (lambda x, a: (torch.cat([x, x], 1)[:, ::2], *a), "a has an inner stride of 2; it must be 1"),
    (lambda x, a: (x.expand(1, 128).expand(4, 128), *a), "a has a row stride of 0"),
    (lambda x, a: (x, a[0].long(), *a[1:]), "codes is dtype number 4"),
    (lambda x, a: (x, a[0][:, ::2].contiguous(), *a[1:]), "its shape must be [8, 128]"),
    (lambda x, a: (x, a[0].t().contiguous().t(), *a[1:]), "it must be contiguous"),
    (lambda x, a: (x, a[0], a[1][:1], *a[2:]), "its shape must be [4, 64]"),
    (lambda x, a: (x, a[0], a[1], a[0], *a[3:]), "zeros is given"),
    (lambda x, a: (x, *a[:6], a[6] | 1), "zeros is missing"),
    (lambda x, a: (x, *a[:6], 9), "which encode_config does not make"),
]


@pytest.mark.parametrize("change, words", REFUSALS)
def test_wrong_arguments_are_refused_by_name(device, change, words):
    case = make(128, 64, 32, "u4b8", device)
    x = torch.randn(1, 128, device=device, dtype=torch.float16)
    with pytest.raises((ValueError, RuntimeError)) as raised:
        bt.gemm(*change(x, arguments(case)))
    assert words in str(raised.value), str(raised.value)


@needs_cuda
def test_tensors_on_two_devices_are_refused():
    case = make(128, 64, 32, "u4b8", "cuda")
    with pytest.raises((ValueError, RuntimeError), match="cuda|device"):
        case.module(torch.randn(1, 128, dtype=torch.float16))
    with pytest.raises((ValueError, RuntimeError), match="float32|f32"):
        case.module(torch.randn(1, 128, device="cuda"))


@needs_cuda
def test_cuda_graphs_replay_with_new_inputs():
    case = make(512, 256, 128, "u4b8", "cuda")
    for m in (1, 16, 130):
        x = torch.randn(m, 512, device="cuda", dtype=torch.float16)
        case.module(x)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            y = case.module(x)
            z = case.module(x * 2)
        for _ in range(3):
            x.copy_(torch.randn_like(x))
            y.fill_(float("nan"))
            graph.replay()
            assert_close(y, x, case.dense)
            assert_close(z, x * 2, case.dense)


@needs_cuda
def test_streams_do_not_share_scratch_memory():
    case = make(4096, 1024, 128, "u4b8", "cuda")
    streams = [torch.cuda.Stream() for _ in range(4)]
    xs = [torch.randn(16, 4096, device="cuda", dtype=torch.float16) for _ in streams]
    expected = [case.module(x) for x in xs]
    torch.cuda.synchronize()
    for _ in range(20):
        results = []
        for stream, x in zip(streams, xs, strict=True):
            with torch.cuda.stream(stream):
                results.append(case.module(x))
        torch.cuda.synchronize()
        assert all(torch.equal(a, b) for a, b in zip(results, expected, strict=True))


@needs_cuda
def test_nothing_waits_for_the_device():
    case = make(1024, 1024, 128, "u4b8", "cuda")
    x = torch.randn(16, 1024, device="cuda", dtype=torch.float16)
    with torch.cuda.stream(torch.cuda.Stream()):
        kept = [case.module(x) for _ in range(10)]  # torch's allocator gets its memory now: asking the driver for it may wait
        torch.cuda.synchronize()
        del kept
        torch.cuda._sleep(200_000_000)  # about 0.1 s
        began = time.perf_counter()
        for _ in range(10):
            case.module(x)
        enqueued = time.perf_counter() - began
        torch.cuda.synchronize()
    assert enqueued < 0.03, f"{enqueued:.3f} s: a call waited"


def host_seconds(call, device, calls=2000, rounds=9):
    """Of one call, on the host: the least of several rounds. On a GPU the queue must not fill up, so it is emptied between rounds."""
    calls = 200 if device == "cuda" else calls
    best = float("inf")
    for _ in range(rounds):
        began = time.perf_counter()
        for _ in range(calls):
            call()
        best = min(best, (time.perf_counter() - began) / calls)
        if device == "cuda":
            torch.cuda.synchronize()
    return best


def test_host_cost_of_a_call_is_no_more_than_matmuls(device):
    """Tiny products, so that the host's work is all there is: the operator, the module, and torch.matmul on the dequantised weights."""
    case = make(64, 64, -1, "u4b8", device)
    threads = torch.get_num_threads()
    with torch.inference_mode():
        x = torch.randn(1, 64, device=device, dtype=torch.float16)
        # On the CPU: float32, the type that matmul is quickest in, and one thread on both sides.
        if device == "cpu":
            import billfish

            x = x.float()
            before = billfish.threads()
            billfish.set_threads(1)
            torch.set_num_threads(1)
        dense = case.dense.to(device, x.dtype)
        operator_arguments = arguments(case)
        linear = torch.nn.Linear(64, 64, bias=False, device=device, dtype=x.dtype)
        calls = {
            "torch.matmul": lambda: torch.matmul(x, dense),
            "operator": lambda: bt.gemm(x, *operator_arguments),
            "QuantLinear.forward": lambda: case.module.forward(x),
            "QuantLinear": lambda: case.module(x),
            "torch.nn.Linear": lambda: linear(x),
        }
        for call in calls.values():
            host_seconds(call, device, rounds=2)
        seconds = {name: host_seconds(call, device) for name, call in calls.items()}
        if device == "cpu":
            billfish.set_threads(before)
            torch.set_num_threads(threads)
    line = {"device": device, "torch": torch.__version__, **{name: round(value * 1e6, 3) for name, value in seconds.items()}}
    if device == "cuda":
        line["gpu"] = torch.cuda.get_device_name()
    print("host cost, us a call:", json.dumps(line))
    where = os.environ.get("BILLFISH_HOST_COST")
    if where:
        with open(where, "a", encoding="ascii") as file:
            file.write(json.dumps(line) + "\n")
    # The margins are for the noise of a shared machine and, on a CPU, for another processor's share of the products themselves.
    assert seconds["QuantLinear.forward"] < (1.1 if device == "cuda" else 1.25) * seconds["torch.matmul"], line
    assert seconds["QuantLinear"] < 1.5 * seconds["torch.nn.Linear"], line


def test_devices_are_said(capsys):
    with capsys.disabled():
        print(f" devices: {', '.join(DEVICES)}", end="")
    assert DEVICES[0] == "cpu"


@pytest.mark.parametrize("shortcuts", [True, False])
def test_outputs_are_freed_and_watchers_are_seen_by_the_short_way(device, shortcuts):
    """With torch's C++ functions and, as in a torch that hides them, without."""
    case = make(64, 64, -1, "u4b8", device)
    x = torch.randn(3, 64, device=device, dtype=torch.float16)
    expected = bt.gemm(x, *arguments(case))
    _core.use_torch_shortcuts(shortcuts)
    try:
        y = case.module._eager(x)
        assert torch.equal(y, expected) and sys.getrefcount(y) == 2  # y, and the argument of getrefcount
        gone = weakref.ref(y)
        del y
        assert gone() is None
        storages, objects = torch.cuda.memory_allocated() if device == "cuda" else 0, len(gc.get_objects())
        for _ in range(100):
            case.module(x)
        assert len(gc.get_objects()) < objects + 50
        assert device == "cpu" or torch.cuda.memory_allocated() == storages
        with FlopCounterMode(display=False):
            assert case.module._eager(x) is None
        assert case.module._eager(x) is not None
        seen = []
        torch.jit.trace(lambda a: (seen.append(case.module._eager(a)), a + 1)[1], x, check_trace=False)
        assert seen == [None]
    finally:
        _core.use_torch_shortcuts(True)


def test_the_short_way_and_the_operator_agree_and_unusual_inputs_take_the_operator(device):
    case = make(128, 64, 32, "u4b8", device, bias=True)
    module = case.module
    assert module._eager is not None, "this torch has DLPack's exchange functions"
    for dtype in dtypes(device):
        wide = torch.randn(6, 300, device=device, dtype=dtype)
        for x in (wide[:, :128], wide[:, :128].contiguous(), wide[:1, :128], wide[0, :128], wide[:, :128].contiguous().view(2, 3, 128)):
            eager = module._eager(x)
            assert eager is not None and torch.equal(eager, bt.gemm(x, *arguments(case)))
            assert eager.dtype == dtype and eager.device == x.device and eager.is_contiguous()
            assert torch.equal(module(x), eager)
    x = torch.randn(4, 128, device=device, dtype=torch.float16)
    assert module._eager(x[:0]) is None and module(x[:0]).shape == (0, 64)
    assert module._eager(x.t().contiguous().t()) is None
    assert module._eager(torch.nn.Parameter(x)) is None, "subclasses take the operator"
    assert module._eager(x.double()) is None and module._eager(x[:, :5]) is None and module._eager("x") is None
    with pytest.raises((ValueError, RuntimeError), match="its last dimension must be 128"):
        module(x[:, :5])


def test_tracing_sees_the_operator(device):
    case = make(128, 64, 32, "u4b8", device)
    x = torch.randn(4, 128, device=device, dtype=torch.float16)
    from torch.fx.experimental.proxy_tensor import make_fx

    graph = make_fx(case.module)(x)
    assert any(node.target is torch.ops.billfish.gemm.default for node in graph.graph.nodes)
    exported = torch.export.export(case.module, (x,))
    assert any(node.target is torch.ops.billfish.gemm.default for node in exported.graph.nodes)
    torch.testing.assert_close(exported.module()(x), case.module(x))
