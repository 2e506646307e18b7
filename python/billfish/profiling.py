# SPDX-License-Identifier: Apache-2.0
"""Timing of Python callables: on the CPU by the library's clock, on CUDA by torch's events. Nothing here is measured twice.

CUDATimer times one region, Benchmarker many calls of a function, profile_scope names a region for torch's profiler and NVTX.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from . import _core


def _cuda() -> Any:
    """torch.cuda if torch is loaded and has a device, else None: torch is never imported for a timer's sake."""
    torch = sys.modules.get("torch")
    return torch.cuda if torch is not None and torch.cuda.is_available() else None


class CUDATimer:
    """Milliseconds of what is enqueued on torch's current stream between enter and exit, or between start() and stop().

    Without torch or without a GPU it times the CPU, so that the same script runs everywhere; `device` says which it was.

    >>> with CUDATimer() as timer:
    ...     _ = sum(range(1000))
    >>> timer.elapsed_ms() > 0
    True
    """

    def __init__(self) -> None:
        cuda = _cuda()
        self.device = "cpu" if cuda is None else "cuda"
        self._cuda = cuda
        self._begin = self._end = 0.0
        self._events: tuple[Any, Any] | None = None

    def start(self) -> None:
        """Begins the region."""
        if self._cuda is not None:
            self._events = (self._cuda.Event(enable_timing=True), self._cuda.Event(enable_timing=True))
            self._events[0].record()
        self._begin = _core.now()

    def stop(self) -> None:
        """Ends it. Does not wait for the GPU."""
        if self._events is not None:
            self._events[1].record()
        self._end = _core.now()

    def elapsed_ms(self) -> float:
        """Milliseconds of the region; waits for its end."""
        if self._end == 0.0:
            raise RuntimeError("the timer has not been stopped")
        if self._events is None:
            return (self._end - self._begin) * 1e3
        self._events[1].synchronize()
        return float(self._events[0].elapsed_time(self._events[1]))

    def __enter__(self) -> CUDATimer:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None) -> None:
        self.stop()


@dataclass(frozen=True)
class Result:
    """Milliseconds of one function's calls."""

    name: str
    device: str
    samples: int
    median_ms: float
    p10_ms: float
    p90_ms: float
    min_ms: float
    max_ms: float


class Benchmarker:
    """Times functions one after another and prints them as a table.

    >>> bench = Benchmarker(num_iterations=5)
    >>> bench.benchmark_function(lambda: sum(range(100)), "sum").samples
    5
    """

    def __init__(self, num_iterations: int = 100, warmup: int = 5) -> None:
        if num_iterations < 1 or warmup < 0:
            raise ValueError(f"num_iterations is {num_iterations} and warmup {warmup}; the first must be 1 or more, the second 0 or more")
        self.num_iterations, self.warmup = num_iterations, warmup
        self.results: list[Result] = []

    def benchmark_function(self, fn: Callable[[], object], name: str) -> Result:
        """Calls fn() num_iterations times after the warm-up; on a GPU the calls are enqueued and timed by events."""
        for _ in range(self.warmup):
            fn()
        timers = [CUDATimer() for _ in range(self.num_iterations)]
        for timer in timers:
            with timer:
                fn()
        values = sorted(timer.elapsed_ms() for timer in timers)

        def at(fraction: float) -> float:
            position = fraction * (len(values) - 1)
            low = int(position)
            high = min(low + 1, len(values) - 1)
            return values[low] + (position - low) * (values[high] - values[low])

        result = Result(name, timers[0].device, len(values), at(0.5), at(0.1), at(0.9), values[0], values[-1])
        self.results.append(result)
        return result

    def table(self) -> str:
        """The results so far, one a line; the last column is the time over the fastest one's."""
        if not self.results:
            return "nothing was timed yet"
        width = max(len("name"), *(len(r.name) for r in self.results))
        fastest = min(r.median_ms for r in self.results) or 1e-9
        lines = [f"{'name':{width}}  device  median ms     p10 ms     p90 ms  x fastest"]
        for r in self.results:
            lines.append(
                f"{r.name:{width}}  {r.device:6}  {r.median_ms:9.4f}  {r.p10_ms:9.4f}  {r.p90_ms:9.4f}  {r.median_ms / fastest:9.2f}"
            )
        return "\n".join(lines)

    def print_results(self) -> None:
        """Prints table()."""
        print(self.table())


@contextlib.contextmanager
def profile_scope(name: str) -> Iterator[None]:
    """Names what runs inside for torch's profiler, and for NVTX on a GPU. Without torch it does nothing.

    >>> with profile_scope("layer 0"):
    ...     pass
    """
    torch = sys.modules.get("torch")
    if torch is None:
        yield
        return
    cuda = _cuda()
    with torch.profiler.record_function(name):
        if cuda is not None:
            cuda.nvtx.range_push(name)
        try:
            yield
        finally:
            if cuda is not None:
                cuda.nvtx.range_pop()
