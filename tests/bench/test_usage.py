"""Seconds and memory of a piece of work."""

from __future__ import annotations

import time

import numpy as np
import pytest

from napari_medmeta.bench.usage import measured


def test_waiting_takes_seconds_but_no_processor_time():
    with measured() as usage:
        time.sleep(0.2)
    assert usage.seconds >= 0.2
    assert usage.cpu_seconds < 0.15


def test_memory_that_is_given_back_still_counts_as_peak():
    with measured() as usage:
        block = np.ones(80_000_000, dtype=np.uint8)
        time.sleep(0.1)
        del block
    assert usage.added_mb > 60
    assert usage.peak_mb > usage.added_mb


def test_work_that_fails_is_measured_too():
    with pytest.raises(ValueError, match="stop"), measured() as usage:
        raise ValueError("stop")
    assert usage.seconds > 0
