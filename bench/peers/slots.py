# SPDX-License-Identifier: Apache-2.0
"""A machine that others use: timing slots, and how busy the others were all the same. Used by cpu.py.

Slots are files to lock, named by BILLFISH_BENCH_LOCKS (a:b), that the others lock likewise: whoever does heavy work holds them shared,
whoever times holds them alone, so that neither disturbs the other. Without the variable nothing is locked.
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


class Busy:
    """Processors' time from now on: all of it less that of this process and of `processes`."""

    def __init__(self, processes):
        self.processes, self.begin = processes, time.monotonic()
        self.before = self.seconds()

    def seconds(self):
        with open("/proc/stat") as file:
            user, nice, system, _, _, *interrupts = map(int, file.readline().split()[1:9])
        ticks = user + nice + system + sum(interrupts)
        for process in [os.getpid(), *self.processes]:
            try:
                with open(f"/proc/{process}/stat") as file:
                    ticks -= sum(map(int, file.read().rpartition(")")[2].split()[11:13]))
            except FileNotFoundError:  # it died: its share counts as the others'
                pass
        return ticks / os.sysconf("SC_CLK_TCK")

    def others(self):
        """How many processors others have kept busy, on average."""
        return round((self.seconds() - self.before) / (time.monotonic() - self.begin), 3)
