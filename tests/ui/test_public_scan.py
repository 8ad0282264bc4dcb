"""The sample from the Imaging Data Commons, with a stand-in for its client: nothing here needs a network."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pydicom
import pytest
from napari.utils.notifications import notification_manager
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from napari_medmeta.core import InputError, Modality, StorageError
from napari_medmeta.ui import public_scan
from napari_medmeta.ui.public_scan import PUBLIC_CT, PublicScan, fetch, public_ct_sample

SCAN = PublicScan("1.2.3", "A scan", "Thanks to nobody.")


def write_series(folder: Path, *, slices: int = 3) -> None:
    series = generate_uid()
    for number in range(slices):
        data = Dataset()
        data.SOPClassUID, data.SOPInstanceUID, data.SeriesInstanceUID = CTImageStorage, generate_uid(), series
        data.StudyInstanceUID, data.Modality, data.InstanceNumber = series, "CT", number + 1
        data.ImagePositionPatient, data.ImageOrientationPatient = [0, 0, 5.0 * number], [1, 0, 0, 0, 1, 0]
        data.PixelSpacing, data.SliceThickness = [1, 1], 5
        data.Rows = data.Columns = 4
        data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
        data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 1
        data.RescaleSlope, data.RescaleIntercept = 1, 0
        data.PixelData = np.full((4, 4), number, dtype=np.int16).tobytes()
        data.file_meta = FileMetaDataset()
        data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        data.file_meta.MediaStorageSOPClassUID = CTImageStorage
        data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
        pydicom.dcmwrite(folder / f"{number}.dcm", data, enforce_file_format=True)


class FakeClient:
    """Speaks like `idc_index.IDCClient`."""

    def __init__(self, write: Callable[[Path], None] = write_series) -> None:
        self.asked: list[str] = []
        self._write = write

    def get_series_size(self, seriesInstanceUID: str) -> float:
        return 0.001

    def download_dicom_series(self, seriesInstanceUID: str, downloadDir: str, **options: Any) -> None:
        assert options == {"show_progress_bar": False, "dirTemplate": None}
        self.asked.append(seriesInstanceUID)
        self._write(Path(downloadDir))


def unreachable(folder: Path) -> None:
    raise ConnectionError("no route to host")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(public_scan, "user_folder", lambda: tmp_path / "sessions")
    return tmp_path / "samples"


def test_a_series_lands_in_a_folder_of_its_own(tmp_path: Path) -> None:
    client = FakeClient()
    folder = fetch(SCAN, tmp_path, make_client=lambda: client)
    assert folder == tmp_path / "1.2.3"
    assert client.asked == ["1.2.3"]
    assert len(list(folder.glob("*.dcm"))) == 3


@pytest.mark.parametrize("write", [unreachable, lambda folder: None], ids=["an error", "silence"])
def test_without_a_network_a_sentence_says_so_and_nothing_stays(tmp_path: Path, write: Any) -> None:
    with pytest.raises(InputError, match="Check the internet connection"):
        fetch(SCAN, tmp_path, make_client=lambda: FakeClient(write))
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_download_is_not_kept(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        fetch(SCAN, tmp_path, make_client=lambda: FakeClient(lambda f: (f / "0.dcm").write_bytes(b"no DICOM")))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    with pytest.raises(StorageError, match="cannot be written"):
        fetch(SCAN, blocked, make_client=FakeClient)


def test_the_sample_opens_as_a_ct_and_is_fetched_only_once(
    home: Path, monkeypatch: pytest.MonkeyPatch, qtbot: Any
) -> None:
    client = FakeClient()
    monkeypatch.setattr(public_scan, "make_idc_client", lambda: client)
    ((array, arguments, kind),) = public_ct_sample()
    assert kind == "image"
    assert array.shape == (3, 4, 4)
    assert arguments["scale"] == (5, 1, 1)
    assert arguments["metadata"]["napari_medmeta"].modality is Modality.CT
    assert len(public_ct_sample()) == 1
    assert client.asked == [PUBLIC_CT.series_uid]


def test_offline_the_sample_opens_nothing_and_says_why(home: Path, monkeypatch: pytest.MonkeyPatch, qtbot: Any) -> None:
    monkeypatch.setattr(public_scan, "make_idc_client", lambda: FakeClient(unreachable))
    assert public_ct_sample() == []
    assert "could not be downloaded" in notification_manager.records[-1].message


def test_without_the_client_its_installation_is_explained(
    home: Path, monkeypatch: pytest.MonkeyPatch, qtbot: Any
) -> None:
    monkeypatch.setitem(sys.modules, "idc_index", None)
    assert public_ct_sample() == []
    assert "napari-medmeta[samples]" in notification_manager.records[-1].message


def test_the_commons_own_client_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "idc_index", SimpleNamespace(IDCClient=FakeClient))
    assert isinstance(public_scan.make_idc_client(), FakeClient)


def test_a_download_can_be_stopped(home: Path, monkeypatch: pytest.MonkeyPatch, qtbot: Any) -> None:
    gate = threading.Event()
    monkeypatch.setattr(public_scan, "make_idc_client", lambda: FakeClient(lambda folder: gate.wait(10) and None))
    monkeypatch.setattr(public_scan.QProgressDialog, "wasCanceled", lambda self: True)
    assert public_ct_sample() == []
    gate.set()
    assert not (home / PUBLIC_CT.series_uid).exists()
