# SPDX-License-Identifier: Apache-2.0
"""Timing slots on a machine that others use: files to lock, named by BILLFISH_BENCH_LOCKS (a:b), that they lock likewise. cpu.py asks.

Whoever does heavy work holds them shared, whoever times holds them alone, so that neither disturbs the other. Without the variable all of
this does nothing.
"""
import fcntl
import os
import time


class Slots:
    def __init__(self, hold, rest):
        """A slot ends at the first chance after `hold` seconds; the next one begins `rest` seconds later at the earliest."""
        self.files = [open(path, "a") for path in os.environ.get("BILLFISH_BENCH_LOCKS", "").split(":") if path]
        self.hold, self.rest, self.begin, self.end = hold, rest, None, 0.0

    def share(self):
        """For work that loads the machine, but is not timed."""
        self.leave()
        for file in self.files:
            fcntl.flock(file, fcntl.LOCK_SH)

    def take(self):
        """For what is timed. Call it before each piece: it lets others in between where the slot has lasted long enough."""
        if self.begin is not None and time.monotonic() - self.begin > self.hold:
            self.leave()
        if self.begin is None and self.files:
            for file in self.files:
                fcntl.flock(file, fcntl.LOCK_UN)
            time.sleep(max(0.0, self.end + self.rest - time.monotonic()))
            for file in self.files:
                fcntl.flock(file, fcntl.LOCK_EX)
            self.begin = time.monotonic()

    def leave(self):
        if self.begin is not None:
            self.begin, self.end = None, time.monotonic()
        for file in self.files:
            fcntl.flock(file, fcntl.LOCK_UN)
