"""The honest score in the panel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ui_fakes import SHAPE

from napari_medmeta.core import SliceRef
from napari_medmeta.ui import score as score_module


def test_without_a_scan_there_is_no_score(panel_only: Any) -> None:
    assert panel_only.score.text() == "No scan is open."


def test_the_score_follows_what_is_done(panel: Any, qtbot: Any) -> None:
    assert panel.score.text() == "No slice is finished yet."
    mask = np.zeros(SHAPE[1:], dtype=bool)
    mask[5:10, 6:12] = True
    session = panel.case.controller.session
    session.paint(SliceRef(0, 2), mask, value=1)
    qtbot.waitUntil(lambda: session.proposal is not None and session.proposal.generation == session.generation)
    panel.case.controller.look_at(SliceRef(0, 3))
    panel.case.controller.accept_slice()
    qtbot.waitUntil(lambda: panel.score.text().startswith("2 slices done"))
    assert "1 of 1 proposals accepted unchanged" in panel.score.text()
    assert "Accepted: 1" in panel.score.details()


def test_closing_the_scan_closes_the_score(panel: Any) -> None:
    panel.close_case()
    assert panel.score.text() == "No scan is open."


def test_the_audit_trail_is_saved_from_the_panel(panel: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "audit.csv"
    monkeypatch.setattr(score_module, "ask_audit", lambda case, parent: target)
    panel.score.save_audit()
    assert "add the structure Liver" in target.read_text(encoding="utf-8-sig")
    assert "audit.csv" in panel.message()


def test_an_audit_trail_that_cannot_be_written_is_said_so(
    panel: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(score_module, "ask_audit", lambda case, parent: tmp_path / "nowhere" / "audit.csv")
    panel.score.save_audit()
    assert "There is no folder" in panel.message()
