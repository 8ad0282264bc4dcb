"""A real CT from the Imaging Data Commons, fetched when asked for by the commons' own client.

The client (idc-index) is an optional extra. What was fetched is kept, so that the sample opens offline
the second time; a fetch that was stopped halfway leaves nothing that looks whole.
"""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from napari.utils.notifications import show_info, show_warning
from qtpy.QtCore import QEventLoop, Qt, QTimer
from qtpy.QtWidgets import QApplication, QProgressDialog

from napari_medmeta import io
from napari_medmeta.core import InputError, MedmetaError, StorageError
from napari_medmeta.ui.opening import user_folder
from napari_medmeta.ui.scan import layer_arguments

__all__ = ["PUBLIC_CT", "PublicScan", "SeriesClient", "fetch", "public_ct_sample"]

LayerData = tuple[Any, dict[str, Any], str]

POLL_MS = 100
BYTES_IN_MB = 1_000_000


@dataclass(frozen=True, slots=True)
class PublicScan:
    """A series that anybody may use: its DICOM UID, a name to show, and whom to thank."""

    series_uid: str
    name: str
    credit: str


PUBLIC_CT = PublicScan(
    "1.3.6.1.4.1.14519.5.2.1.6450.3304.206210010421226090542971714778",
    "CT of an abdomen (CPTAC-CCRCC)",
    "Clinical Proteomic Tumor Analysis Consortium, CPTAC-CCRCC, CC BY 4.0, doi:10.7937/k9/tcia.2018.oblamn27.",
)
"""71 slices in the portal venous phase, 38 MB: large enough to be real, small enough to wait for."""


class SeriesClient(Protocol):
    """What we need of `idc_index.IDCClient`; the argument names are the client's own."""

    def get_series_size(self, seriesInstanceUID: str) -> float:
        """Return the size of a series in megabytes."""
        ...

    def download_dicom_series(
        self,
        seriesInstanceUID: str,
        downloadDir: str,
        *,
        show_progress_bar: bool,
        dirTemplate: str | None,
    ) -> None:
        """Write the files of a series into a folder."""
        ...


def public_ct_sample() -> list[LayerData]:
    """Return a real CT, downloaded the first time; nothing, and a message, when it cannot be had."""
    home = user_folder().parent / "samples"
    try:
        folder = home / PUBLIC_CT.series_uid
        if not folder.is_dir():
            fetched = _fetch_in_window(PUBLIC_CT, home)
            if fetched is None:
                return []
            folder = fetched
        volume = io.read_volume(folder)
    except MedmetaError as error:
        show_warning(error.message)
        return []
    show_info(PUBLIC_CT.credit)
    array, arguments = layer_arguments(volume)
    return [(array, {**arguments, "name": PUBLIC_CT.name}, "image")]


def fetch(scan: PublicScan, home: Path, *, make_client: Callable[[], SeriesClient]) -> Path:
    """Download ``scan`` into a folder of its own below ``home``, and return that folder.

    Raises
    ------
    InputError
        When it cannot be downloaded, or what arrives is no readable scan.
    StorageError
        When ``home`` cannot be written.
    """
    part = _part(scan, home)
    try:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
    except OSError as error:
        raise StorageError(f"{home} cannot be written", next_step="Make room, or allow writing there") from error
    try:
        make_client().download_dicom_series(scan.series_uid, str(part), show_progress_bar=False, dirTemplate=None)
        if not any(part.rglob("*.dcm")):
            # Without a network the client's downloader only writes to its log.
            raise _offline(scan)
        io.read_volume(part)
    except MedmetaError:
        shutil.rmtree(part, ignore_errors=True)
        raise
    except Exception as error:  # the client's errors are whatever its libraries raise
        shutil.rmtree(part, ignore_errors=True)
        raise _offline(scan) from error
    return part.rename(home / scan.series_uid)


def make_idc_client() -> SeriesClient:
    """Return the client of the Imaging Data Commons.

    Raises
    ------
    InputError
        When it is not installed.
    """
    try:
        module: Any = importlib.import_module("idc_index")
    except ImportError as error:
        raise InputError(
            "The client of the Imaging Data Commons is not installed",
            next_step='Install it with: pip install "napari-medmeta[samples]"',
        ) from error
    client: SeriesClient = module.IDCClient()
    return client


def _fetch_in_window(scan: PublicScan, home: Path) -> Path | None:
    """Fetch ``scan`` while a small window tells how far it is; None when the user stopped it."""
    if QApplication.instance() is None:
        return fetch(scan, home, make_client=make_idc_client)
    dialog = QProgressDialog(f"Downloading {scan.name} …", "Stop", 0, 0)
    dialog.setWindowTitle("Imaging Data Commons")
    dialog.setWindowModality(Qt.WindowModality.ApplicationModal)
    dialog.setMinimumDuration(0)
    sizes: list[float] = []

    def make() -> SeriesClient:
        client = make_idc_client()
        sizes.append(client.get_series_size(scan.series_uid))
        return client

    # A download only waits for the network; it shares nothing with the engine's thread.
    pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="napari-medmeta sample")
    future = pool.submit(fetch, scan, home, make_client=make)
    try:
        _wait(future, dialog, lambda: (_megabytes(_part(scan, home)), sizes[0] if sizes else 0.0))
        return future.result() if future.done() else None
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        dialog.close()
        dialog.deleteLater()


def _wait(future: Future[Path], dialog: QProgressDialog, progress: Callable[[], tuple[float, float]]) -> None:
    loop, timer = QEventLoop(), QTimer()

    def look() -> None:
        done, total = progress()
        if total > 0:
            dialog.setMaximum(max(1, round(total)))
            dialog.setValue(min(round(done), round(total) - 1))
        if future.done() or dialog.wasCanceled():
            loop.quit()

    timer.timeout.connect(look)
    timer.start(POLL_MS)
    loop.exec()
    timer.stop()


def _part(scan: PublicScan, home: Path) -> Path:
    return home / f"{scan.series_uid}.part"


def _megabytes(folder: Path) -> float:
    return sum(file.stat().st_size for file in folder.rglob("*.dcm") if file.is_file()) / BYTES_IN_MB


def _offline(scan: PublicScan) -> InputError:
    return InputError(
        f"{scan.name} could not be downloaded",
        expected="a connection to the Imaging Data Commons",
        next_step="Check the internet connection and try again; the synthetic samples work offline",
    )
