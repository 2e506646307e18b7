# SPDX-License-Identifier: Apache-2.0
"""Workspaces of zeros: no two streams or captures share one, graphs keep theirs, and what is used up is done without."""

import pytest
import torch
from conftest import make, needs_cuda

import billfish.torch as bt
from billfish import _core
from billfish.torch import zeros

RESERVE, BASE = 1 << 20, 1 << 40  # bytes, and a made-up address


@pytest.fixture
def ledger():
    made = _core.ZeroLedger()
    made.reserve(0, BASE, RESERVE)
    return made


def test_owners_never_share_memory(ledger):
    owners = [(0, stream, stream + 7, False) for stream in (0, 16, 32)]
    owners += [(0, 16, capture, True) for capture in (1, 2)]  # two graphs captured on one stream
    owners += [(0, 32, 2, True)]  # a capture that forked to another stream
    owners += [(0, 16, 99, False)]  # a new stream at the address of one that is gone
    places = sorted(ledger.lend(*owner, 1000, 3000) for owner in owners)
    assert places[0] == BASE and places[-1] + 3000 <= BASE + RESERVE
    assert all(after - before >= 3000 and before % 256 == 0 for before, after in zip(places, places[1:]))
    assert sorted(ledger.lend(*owner, 3000, 3000) for owner in owners) == places, "and keep it"


def test_an_owner_that_needs_more_gets_more_and_later_less_is_enough(ledger):
    first = ledger.lend(0, 16, 1, True, 1024, 1024)
    more = ledger.lend(0, 16, 1, True, 4096, 4096)
    assert first != more and ledger.lend(0, 16, 1, True, 1024, 1024) == more
    assert ledger.left(0) == RESERVE - 5 * 1024


def test_what_is_used_up_is_done_without_until_there_is_more(ledger):
    assert ledger.lend(0, 16, 1, True, RESERVE + 1, 0) == 0
    assert ledger.lend(1, 16, 1, False, 16, 16) == 0 and ledger.left(1) == 0, "another device"
    assert ledger.lend(0, 16, 1, True, RESERVE, 0) == BASE
    assert ledger.lend(0, 32, 2, False, 16, 16) == 0
    ledger.reserve(0, 2 * BASE, RESERVE)
    assert ledger.lend(0, 32, 2, False, 16, 16) == 2 * BASE
    assert ledger.lend(0, 16, 1, True, RESERVE, 0) == BASE, "a graph's piece stays the graph's"


def test_no_reserve_where_nothing_gains():
    make(64, 64)
    bt.reserve_workspace("cpu")
    assert all(memory.is_cuda for memory in zeros._kept)
    with pytest.raises(ValueError, match="device is 64; supported are 0 to 63"):
        _core.reserve_zeros(64, BASE, RESERVE)


@pytest.fixture(autouse=True)
def cleared():
    """Other tests' copies of activations (an activation order) lie behind what must be zeros; `untouched` does not tell them apart."""
    if zeros._kept:
        torch.cuda.synchronize()
        for memory in zeros._kept:
            memory.zero_()
        torch.cuda.synchronize()


def untouched():
    torch.cuda.synchronize()
    return not any(bool(memory.any()) for memory in zeros._kept)


@needs_cuda
def test_graphs_of_one_stream_replay_at_once_on_two_beside_eager_calls():
    case = make(4096, 1024, 128, "u4b8", "cuda")
    xs = [torch.randn(m, 4096, device="cuda", dtype=torch.float16) for m in (16, 5)]
    expected = [case.module(x) for x in xs]
    graphs = [torch.cuda.CUDAGraph() for _ in xs]
    outputs = []
    for graph, x in zip(graphs, xs, strict=True):
        with torch.cuda.graph(graph):
            outputs.append([case.module(x) for _ in range(20)])
    streams = [torch.cuda.Stream() for _ in xs]
    for _ in range(20):
        for stream, graph in zip(streams, graphs, strict=True):
            with torch.cuda.stream(stream):
                graph.replay()
        eager = [case.module(xs[0]) for _ in range(20)]
        torch.cuda.synchronize()
        assert all(torch.equal(y, expected[0]) for y in eager)
        for ys, wanted in zip(outputs, expected, strict=True):
            assert all(torch.equal(y, wanted) for y in ys)
    assert untouched()


@needs_cuda
def test_a_stream_takes_zeros_once_and_every_capture_its_own():
    case = make(4096, 1024, 128, "u4b8", "cuda")
    x = torch.randn(16, 4096, device="cuda", dtype=torch.float16)
    gains = torch.cuda.get_device_capability() == (9, 0)
    with torch.cuda.stream(torch.cuda.Stream()):
        case.module(x)
        left = _core.zeros_left(0)
        for m in (1, 16, 17, 7):
            case.module(x[:m])
        assert _core.zeros_left(0) == left and (left > 0) == gains
    for _ in range(2):
        before = _core.zeros_left(0)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            y = [case.module(x) for _ in range(3)]
        assert (before - _core.zeros_left(0) > 0) == gains
        graph.replay()
        torch.cuda.synchronize()
        assert all(torch.equal(one, case.module(x)) for one in y)
    assert untouched()


@needs_cuda
def test_inputs_that_lie_badly_change_nothing_for_those_after_them():
    case = make(4096, 1024, 128, "u4b8", "cuda")
    wide = torch.randn(4, 5003, device="cuda", dtype=torch.float16)
    x = wide[:, :4096].contiguous()
    expected = case.module(x)
    for bad in (wide[:, :4096], wide[:, 1:4097]):
        torch.testing.assert_close(case.module(bad).float(), case.module(bad.contiguous()).float(), rtol=1e-2, atol=1e-1)
        assert torch.equal(case.module(x), expected)  # copies of such inputs stay behind what must be zeros


@needs_cuda
def test_a_capture_without_zeros_is_right_all_the_same():
    case = make(4096, 1024, 128, "u4b8", "cuda")
    x = torch.randn(4, 4096, device="cuda", dtype=torch.float16)
    wanted = case.module(x).float()
    bt.reserve_workspace("cuda", 256)
    try:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            y = case.module(x)
        graph.replay()
        torch.cuda.synchronize()
        torch.testing.assert_close(y.float(), wanted, rtol=1e-2, atol=1e-2)  # another plan: another order of the sums
    finally:
        bt.reserve_workspace("cuda")
    assert untouched()


@needs_cuda
def test_compiled_into_cuda_graphs():
    """Graphs of torch.compile check that nothing in their memory outlives a call."""
    case = make(512, 256, 128, "u4b8", "cuda")
    compiled = torch.compile(case.module, fullgraph=True, mode="reduce-overhead")
    for m in (1, 16):
        x = torch.randn(m, 512, device="cuda", dtype=torch.float16)
        for _ in range(4):
            torch.compiler.cudagraph_mark_step_begin()
            torch.testing.assert_close(compiled(x), case.module(x), rtol=1e-3, atol=1e-3)
    assert untouched()
