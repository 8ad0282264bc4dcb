"""Seconds and memory of a piece of work."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psutil

__all__ = ["Usage", "measured"]

SAMPLE_SECONDS = 0.02
"""Short against the seconds a proposal takes; a sample costs some microseconds."""
_MB = 1024.0**2


@dataclass
class Usage:
    """What the work took; filled in when it ends.

    Parameters
    ----------
    seconds, cpu_seconds
        Wall-clock time, and processor time of the whole process.
    peak_mb, added_mb
        Most resident memory of the process meanwhile, and its growth over the start.
    """

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_mb: float = 0.0
    added_mb: float = 0.0


@contextmanager
def measured() -> Iterator[Usage]:
    """Measure the block; memory is sampled from a thread, so native libraries count too."""
    process, usage, done = psutil.Process(), Usage(), threading.Event()
    before = process.memory_info().rss / _MB
    peak = [before]

    def watch() -> None:
        while not done.wait(SAMPLE_SECONDS):
            peak[0] = max(peak[0], process.memory_info().rss / _MB)

    watcher = threading.Thread(target=watch, daemon=True, name="memory sampler")
    wall, cpu = time.perf_counter(), time.process_time()
    watcher.start()
    try:
        yield usage
    finally:
        usage.seconds, usage.cpu_seconds = time.perf_counter() - wall, time.process_time() - cpu
        done.set()
        watcher.join()
        usage.peak_mb = max(peak[0], process.memory_info().rss / _MB)
        usage.added_mb = usage.peak_mb - before
