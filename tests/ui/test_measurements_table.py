"""The measurements in the panel: live, copied, exported, and never in the way."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qtpy.QtGui import QGuiApplication
from ui_fakes import SHAPE

from napari_medmeta.core import Box, SliceRef
from napari_medmeta.core.measurements import Measurement
from napari_medmeta.io import read_labels
from napari_medmeta.session import Change, Topic
from napari_medmeta.ui import dialogs, measurements_table
from napari_medmeta.ui.dialogs import (
    ANONYMOUS_SEG,
    NAMED_SEG,
    ask_save,
    ask_table,
    default_path,
    save_filters,
    with_suffix,
)
from napari_medmeta.ui.measurements import LiveMeasurements
from napari_medmeta.ui.measurements_table import MeasurementsBox, row_texts, row_tip


def square(value: int = 1, index: int = 2) -> tuple[SliceRef, np.ndarray, int]:
    mask = np.zeros(SHAPE[1:], dtype=bool)
    mask[5:9, 6:10] = True
    return SliceRef(0, index), mask, value


def paint(panel: Any, index: int = 2) -> None:
    ref, mask, value = square(index=index)
    panel.case.controller.session.paint(ref, mask, value=value)


def shown(panel: Any) -> Measurement:
    return panel.measurements.value()[0][1]


def test_what_is_painted_is_measured_by_itself(panel: Any, qtbot: Any) -> None:
    paint(panel)
    qtbot.waitUntil(lambda: bool(panel.measurements.value()) and shown(panel).voxels == 16, timeout=5000)
    found = shown(panel)
    assert found.volume_ml == pytest.approx(16 * 5 / 1000)
    assert found.longest is not None
    assert found.longest.length_mm == pytest.approx(5.0)
    panel.case.controller.undo()
    qtbot.waitUntil(lambda: shown(panel).voxels == 0, timeout=5000)


def test_a_renamed_structure_is_renamed_in_the_table(panel: Any, qtbot: Any) -> None:
    panel.case.controller.rename_structure(1, "Spleen")
    qtbot.waitUntil(lambda: [n for n, _ in panel.measurements.value()] == ["Spleen"], timeout=5000)


def test_only_changed_slices_are_measured_again(panel: Any) -> None:
    live = LiveMeasurements(panel.case.controller, np.asarray(panel.case.image.data))
    live.finish()
    assert not live.behind
    measured: list[Box] = []
    table = live._table
    assert table is not None
    update = table.update
    table.update = lambda labels, *, box: measured.append(box) or update(labels, box=box)  # type: ignore[method-assign]
    panel.case.controller.changed.connect(live.note)
    paint(panel, index=3)
    live.finish()
    assert [box.start[0] for box in measured] == [3]
    assert not live.note(Change(frozenset({Topic.PROPOSAL}), Box.whole(SHAPE)))


def test_nothing_is_measured_while_folded_away(panel: Any, qtbot: Any) -> None:
    qtbot.waitUntil(lambda: not panel.measurements._timer.isActive(), timeout=5000)
    panel.measurements._toggle.setChecked(False)
    paint(panel)
    assert not panel.measurements._timer.isActive()
    panel.measurements._toggle.setChecked(True)
    qtbot.waitUntil(lambda: shown(panel).voxels == 16, timeout=5000)


def test_all_numbers_are_copied(panel: Any) -> None:
    paint(panel)
    panel.measurements.copy()
    header, row = (line.split("\t") for line in QGuiApplication.clipboard().text().splitlines())
    assert (header[0], row[0]) == ("structure", "Liver")
    assert row[header.index("voxels")] == "16"


def test_the_table_is_exported(panel: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paint(panel)
    monkeypatch.setattr(measurements_table, "ask_table", lambda scan, parent: tmp_path / "table.csv")
    panel.measurements._export.click()
    with (tmp_path / "table.csv").open(newline="", encoding="utf-8") as handle:
        (row,) = csv.DictReader(handle)
    assert row["voxels"] == "16"
    assert "Saved as table.csv" in panel.message()
    assert panel.measurements.export(tmp_path / "table.json")
    assert json.loads((tmp_path / "table.json").read_text())["structures"][0]["voxels"] == 16


def test_a_table_that_cannot_be_written_is_told(panel: Any, tmp_path: Path) -> None:
    told = trouble(panel)
    assert not panel.measurements.export(tmp_path / "no" / "table.csv")
    assert "no folder" in told[0]


def trouble(panel: Any) -> list[str]:
    """Collect what goes wrong instead of showing it."""
    told: list[str] = []
    panel.case.controller.failed.disconnect(panel._show_error)
    panel.case.controller.failed.connect(lambda error: told.append(error.message))
    return told


def test_a_row_leads_to_the_slice_of_its_diameter(panel: Any) -> None:
    paint(panel, index=4)
    panel.measurements.copy()
    panel.measurements.chosen.emit(0)
    assert panel.case.layers.current() == SliceRef(0, 4)


def test_a_closed_scan_leaves_no_numbers(panel: Any) -> None:
    paint(panel)
    panel.measurements.copy()
    panel.close_case()
    assert panel.measurements.value() == ()
    assert not panel.measurements.export(Path("nowhere.csv"))


def test_rows_say_what_an_empty_structure_lacks(qtbot: Any) -> None:
    box = MeasurementsBox()
    qtbot.addWidget(box)
    box.set_value([("Liver", Measurement(1, unit="HU"))])
    assert row_texts(*box.value()[0]) == ("Liver", "0.0", "–", "– × –")
    assert "nothing is painted" in row_tip(*box.value()[0])


# -- saving ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "suffix", "expected"),
    [
        ("liver", ".nii.gz", "liver.nii.gz"),
        ("liver v1.2", ".dcm", "liver v1.2.dcm"),
        ("liver.NII.GZ", ".dcm", "liver.NII.GZ"),
        ("liver.json", ".csv", "liver.json"),
    ],
)
def test_a_name_gets_the_ending_of_its_format(name: str, suffix: str, expected: str) -> None:
    assert with_suffix(Path("folder") / name, suffix) == Path("folder") / expected


def test_dicom_is_offered_for_a_scan_that_came_from_dicom_only(panel: Any, tmp_path: Path) -> None:
    scan = panel.case.controller.scan
    assert not any("DICOM" in text for text in save_filters(scan))
    assert any("DICOM" in text for text in save_filters(replace(scan, source=tmp_path)))


def test_the_answer_says_whether_the_patient_is_left_out(
    panel: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = {"name": str(tmp_path / "out"), "filter": ANONYMOUS_SEG}
    monkeypatch.setattr(dialogs.QFileDialog, "getSaveFileName", lambda *_: (chosen["name"], chosen["filter"]))
    scan = replace(panel.case.controller.scan, source=tmp_path)
    answer = ask_save(scan, open_proposals=False)
    assert answer is not None
    assert (answer.path.name, answer.anonymous) == ("out.dcm", True)
    chosen["filter"] = "CSV (*.csv)"
    assert ask_table(scan) == tmp_path / "out.csv"
    chosen["name"] = ""
    assert ask_save(scan, open_proposals=False) is None


def test_dicom_comes_first_for_a_scan_that_came_from_dicom(panel: Any, tmp_path: Path) -> None:
    scan = panel.case.controller.scan
    dicom = replace(scan, source=tmp_path)
    assert next(iter(save_filters(dicom))) == NAMED_SEG
    assert default_path(dicom).suffix == ".dcm"
    assert default_path(scan).name.endswith(".nii.gz")


def test_the_kind_of_file_that_was_chosen_counts_where_the_name_was_left_as_it_was_offered(
    panel: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan = replace(panel.case.controller.scan, source=tmp_path)
    offered, nrrd = default_path(scan), "NRRD (*.nrrd)"
    monkeypatch.setattr(dialogs.QFileDialog, "getSaveFileName", lambda *_: (str(offered), nrrd))
    answer = ask_save(scan, open_proposals=False)
    assert answer is not None
    assert answer.path == offered.with_suffix(".nrrd")
    typed = offered.with_name("mine.dcm")
    monkeypatch.setattr(dialogs.QFileDialog, "getSaveFileName", lambda *_: (str(typed), nrrd))
    answer = ask_save(scan, open_proposals=False)
    assert answer is not None
    assert answer.path == typed


def test_a_file_that_the_dialog_did_not_ask_about_is_not_replaced_unasked(
    panel: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan = replace(panel.case.controller.scan, source=tmp_path)
    offered, nrrd = default_path(scan), "NRRD (*.nrrd)"
    offered.with_suffix(".nrrd").write_bytes(b"kept")
    monkeypatch.setattr(dialogs.QFileDialog, "getSaveFileName", lambda *_: (str(offered), nrrd))
    buttons = dialogs.QMessageBox.StandardButton
    monkeypatch.setattr(dialogs.QMessageBox, "question", lambda *_: buttons.No)
    assert ask_save(scan, open_proposals=False) is None
    monkeypatch.setattr(dialogs.QMessageBox, "question", lambda *_: buttons.Yes)
    assert ask_save(scan, open_proposals=False) is not None


def test_a_nifti_scan_is_not_saved_as_dicom(panel: Any, tmp_path: Path) -> None:
    paint(panel)
    told = trouble(panel)
    assert not panel.case.controller.save(tmp_path / "out.dcm", with_proposals=False)
    assert "did not come from one" in told[0]
    assert panel.case.controller.save(tmp_path / "out.nii.gz", with_proposals=False)
    assert read_labels(tmp_path / "out.nii.gz")[0].sum() == 16
