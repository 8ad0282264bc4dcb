"""The real command, killed halfway through each protocol, goes on to the same figures."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from napari_medmeta.bench.interactive_store import SessionStore
from napari_medmeta.bench.store import RunStore


def command(data: Path, out: Path) -> list[str]:
    options = ["--methods", "interpolation,interpolation-dome", "--k", "1,3", "--protocol", "slices,interactive"]
    options += ["--interactive-subset", "all", "--no-pictures"]
    program = "import sys; from napari_medmeta.cli import main; sys.exit(main(sys.argv[1:]))"
    return [sys.executable, "-c", program, "bench", "--data", str(data), "--out", str(out), *options]


def killed_after(lines: int, file: Path, arguments: list[str]) -> None:
    process = subprocess.Popen(arguments, stderr=subprocess.DEVNULL)
    end = time.monotonic() + 120
    while time.monotonic() < end and process.poll() is None and (not file.exists() or count(file) < lines):
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()


def count(file: Path) -> int:
    return file.read_bytes().count(b"\n")


def figures(out: Path) -> tuple[object, object]:
    runs = {r.key: (r.painted, dict(r.dice), dict(r.leak), dict(r.hausdorff_mm)) for r in RunStore(out / "runs.jsonl")}
    sessions = {
        s.key: [(r.slice, r.action, dict(r.dice), r.human_seconds) for r in s.rounds]
        for s in SessionStore(out / "sessions.jsonl")
    }
    return runs, sessions


@pytest.mark.slow
@pytest.mark.timeout(900)  # five programs one after another, each of which loads torch
@pytest.mark.skipif(os.name == "nt", reason="SIGKILL")
def test_a_benchmark_killed_in_both_protocols_ends_with_the_same_figures(cases_folder, tmp_path):
    broken, whole = tmp_path / "broken", tmp_path / "whole"
    killed_after(8, broken / "runs.jsonl", command(cases_folder, broken))
    assert 8 <= count(broken / "runs.jsonl") < 24
    killed_after(4, broken / "sessions.jsonl", command(cases_folder, broken))
    assert 4 <= count(broken / "sessions.jsonl") < 18
    for out in (broken, whole):
        subprocess.run(command(cases_folder, out), check=True, stderr=subprocess.DEVNULL)
    assert count(broken / "runs.jsonl") == count(whole / "runs.jsonl") == 24
    assert count(broken / "sessions.jsonl") == count(whole / "sessions.jsonl") == 18
    assert figures(broken) == figures(whole)
