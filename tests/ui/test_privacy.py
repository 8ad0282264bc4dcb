"""The whole loop without a network, and nothing of the patient in what it leaves behind."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_medmeta import io
from napari_medmeta.core import SliceRef
from napari_medmeta.session import SliceState
from napari_medmeta.ui.reader import get_reader

PRIVATE = ("Doe", "Jane", "PAT0815", "19700102", "1970-01-02", "20010203", "2001-02-03")
SHAPE = (6, 20, 24)


@pytest.fixture
def series(tmp_path: Path, write_ct_series: Callable[..., Path]) -> Path:
    """A series of a named patient, whose folder bears the name too, as many exports do."""
    pixels = np.random.default_rng(0).integers(0, 40, SHAPE)
    pixels[:, 5:10, 6:12] += 100
    return write_ct_series(tmp_path / "Doe_Jane_19700102", pixels)


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let every attempt to reach the network fail, and list them."""
    attempts: list[str] = []

    def refuse(name: str) -> Callable[..., Any]:
        def refused(*arguments: object, **_: object) -> Any:
            attempts.append(f"{name}{arguments}")
            raise OSError("the network is forbidden here")

        return refused

    for name in ("create_connection", "getaddrinfo", "gethostbyname"):
        monkeypatch.setattr(socket, name, refuse(name))
    monkeypatch.setattr(socket, "socket", refuse("socket"))
    return attempts


def drop(viewer: Any, path: Path) -> None:
    reader = get_reader(str(path))
    assert reader is not None
    for data, arguments, kind in reader(str(path)):
        getattr(viewer, f"add_{kind}")(data, **arguments)


def whole_loop(viewer: Any, panel: Any, series: Path, out: Path, qtbot: Any) -> None:
    """Open, paint, propose, accept, save everything, and open the session again."""
    drop(viewer, series)
    qtbot.waitUntil(lambda: panel.case is not None, timeout=20_000)
    controller = panel.case.controller
    session = controller.session
    controller.add_structure("Liver")
    mask = np.zeros(SHAPE[1:], dtype=bool)
    mask[5:10, 6:12] = True
    session.paint(SliceRef(0, 2), mask, value=1)
    qtbot.waitUntil(lambda: is_whole(session) and not controller.work.busy, timeout=120_000)
    open_states = (SliceState.PROPOSED, SliceState.TO_REVIEW)
    proposed = next(SliceRef(0, i) for i, state in enumerate(session.axis_overview(0)) if state in open_states)
    panel.case.layers.go_to(proposed)
    assert controller.accept_slice()
    assert session.slice_state(proposed) is SliceState.ACCEPTED
    assert controller.save(out / "result.nii.gz", with_proposals=False)
    assert controller.save(out / "result.nrrd", with_proposals=False)
    assert controller.save(out / "anonymous.dcm", with_proposals=False, anonymous=True)
    assert panel.measurements.export(out / "table.csv")
    assert panel.measurements.export(out / "table.json")
    painted = np.array(controller.labels)
    viewer.layers.clear()
    qtbot.waitUntil(lambda: panel.case is None)
    drop(viewer, series)
    qtbot.waitUntil(lambda: panel.case is not None, timeout=20_000)
    assert np.array_equal(panel.case.controller.labels, painted)


def is_whole(session: Any) -> bool:
    proposal = session.proposal
    return proposal is not None and proposal.generation == session.generation and proposal.covered.shape == SHAPE


def test_the_whole_loop_needs_no_network_and_keeps_nothing_of_the_patient(
    viewer: Any, panel_only: Any, series: Path, offline: list[str], tmp_path: Path, qtbot: Any
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    whole_loop(viewer, panel_only, series, out, qtbot)
    panel_only.close_case()
    assert offline == []
    sessions = sorted((tmp_path / "sessions").rglob("*"))
    assert sessions
    for file in (*sessions, *out.iterdir()):
        assert words_in(file) == [], file.name
        assert not [word for word in PRIVATE if word.lower() in file.name.lower()]


def words_in(file: Path) -> list[str]:
    content = file.read_bytes().lower()
    return [w for w in PRIVATE for code in ("utf-8", "utf-16-le") if w.lower().encode(code) in content]


def test_the_search_would_find_a_name(tmp_path: Path, series: Path) -> None:
    volume = io.read_volume(series)
    named = io.save_labels(
        tmp_path / "named.dcm", np.ones(SHAPE, np.uint8), volume.geometry, source=io.ScanSource(series)
    )
    assert {"Doe", "Jane", "PAT0815", "19700102", "20010203"} <= set(words_in(named))


@pytest.mark.slow
def test_the_real_engine_needs_no_network_either(
    viewer: Any, make_panel: Callable[..., Any], series: Path, offline: list[str], tmp_path: Path, qtbot: Any
) -> None:
    engine = pytest.importorskip("napari_medmeta.engine")
    panel = make_panel(viewer, make_engine=lambda: engine.Segmenter(device="cpu"))
    out = tmp_path / "out"
    out.mkdir()
    whole_loop(viewer, panel, series, out, qtbot)
    assert offline == []
