"""Every asv benchmark runs once, on a scan small enough for that."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

SMALL = (24, 48, 48)
SUITES = ("engine", "files", "imports", "screen", "session")
KINDS = ("time_", "peakmem_")


@pytest.fixture(scope="module")
def suites(repo: Path) -> Iterator[dict[str, Any]]:
    """Import the suites as asv does, on a small scan."""
    sys.path.insert(0, str(repo / "benchmarks"))
    modules = {name: importlib.import_module(f"suites.{name}") for name in SUITES}
    scene = sys.modules["suites.scene"]
    before, scene.SHAPE = scene.SHAPE, SMALL
    yield modules
    scene.SHAPE = before
    sys.path.remove(str(repo / "benchmarks"))
    for name in [n for n in sys.modules if n == "suites" or n.startswith("suites.")]:
        del sys.modules[name]


@pytest.mark.slow
@pytest.mark.parametrize("name", SUITES)
def test_every_benchmark_of_a_suite_runs(suites, name):
    classes = [c for _, c in inspect.getmembers(suites[name], inspect.isclass) if c.__module__ == f"suites.{name}"]
    ran = [benchmark for cls in classes for benchmark in _run_once(cls)]
    assert ran


def test_a_suite_that_is_not_listed_here_is_noticed(repo: Path):
    found = {path.stem for path in (repo / "benchmarks" / "suites").glob("*.py")}
    assert found == {*SUITES, "__init__", "scene"}


def _run_once(cls: type) -> Iterator[str]:
    """Call every benchmark of a class with its first parameter, set up afresh as asv does."""
    cache = [cls().setup_cache()] if hasattr(cls, "setup_cache") else []
    arguments = [*cache, *getattr(cls, "params", ())[:1]]
    for benchmark in (n for n in dir(cls) if n.startswith(KINDS)):
        suite = cls()
        getattr(suite, "setup", lambda *_: None)(*arguments)
        try:
            getattr(suite, benchmark)(*arguments)
        finally:
            getattr(suite, "teardown", lambda *_: None)(*arguments)
        yield benchmark
