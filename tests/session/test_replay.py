"""Replaying a session file gives the same segmentation bit for bit."""

from __future__ import annotations

import importlib.util
import sqlite3
from contextlib import closing
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from napari_medmeta.session import Session

EVENTS = 150


@pytest.fixture(scope="module")
def loop() -> ModuleType:
    """The crash test's random radiologist."""
    spec = importlib.util.spec_from_file_location("crash_loop", Path(__file__).with_name("crash_loop.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def worked(loop: ModuleType, path: Path, seed: int) -> Session:
    session = Session.create(loop.GEOMETRY, fingerprint="scan", path=path, clock=loop.stopped)
    while loop.events_in(session) < EVENTS:
        loop.next_event(session, seed)
    return session


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_from_the_events_alone_and_from_a_checkpoint(loop: ModuleType, tmp_path: Path, seed: int) -> None:
    path = tmp_path / "case.medmeta"
    session = worked(loop, path, seed)
    verbs = {e.verb for e in session.events()}
    assert {"undo", "redo", "paint"} <= verbs
    before = loop.everything(session)
    session.close()
    with_checkpoint = Session.open(path)
    assert loop.everything(with_checkpoint) == before
    with_checkpoint.close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DELETE FROM checkpoint")
        connection.commit()
    from_events = Session.open(path)
    assert loop.everything(from_events) == before
    from_events.close()


def test_undo_and_redo_over_all_of_it_come_back_to_the_same_bits(loop: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "case.medmeta"
    session = worked(loop, path, 4)
    while session.can_redo:
        session.redo()
    labels, status = session.labels.copy(), session.status.copy()
    session.close()
    again = Session.open(path)
    while again.can_undo:
        again.undo()
    assert not again.labels.any()
    while again.can_redo:
        again.redo()
    again.close()
    final = Session.open(path)
    assert np.array_equal(final.labels, labels)
    assert np.array_equal(final.status, status)
    final.close()
