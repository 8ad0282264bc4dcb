"""The stated limits of time and memory, measured in a fresh process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.timing
def test_the_stated_limits_of_time_and_memory_are_kept(repo: Path, tmp_path: Path):
    out = tmp_path / "limits.json"
    subprocess.run([sys.executable, str(repo / "benchmarks" / "limits.py"), "--json", str(out)], check=False)
    figures = json.loads(out.read_text())
    over = [f"{f['name']}: {f['value']:.2f} {f['unit']}, limit {f['limit']}" for f in figures if not f["kept"]]
    assert not over
