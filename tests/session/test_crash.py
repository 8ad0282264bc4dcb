"""A session that is killed at any moment keeps all that it acknowledged."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

KILLS = 200


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="forking needs a POSIX system")
@pytest.mark.timeout(300)
def test_200_kills_at_random_moments_lose_no_acknowledged_event(tmp_path: Path) -> None:
    script = Path(__file__).with_name("crash_loop.py")
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path), str(KILLS), "2026"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    counts = re.match(r"(\d+) kills, (\d+) events", done.stdout)
    assert counts is not None
    kills, events = map(int, counts.groups())
    assert kills == KILLS
    # Most children got to work before they were killed.
    assert events > KILLS
