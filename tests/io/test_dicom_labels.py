"""DICOM SEG and RTSTRUCT come back as labels on the scan's grid, or are refused in plain words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import ExplicitVRLittleEndian, RTStructureSetStorage

from napari_medmeta.core import Geometry, GeometryMismatchError, InputError, UnreadableFileError, UnsupportedImageError
from napari_medmeta.io import (
    is_dicom_labels,
    list_series,
    read_labels,
    read_named_labels,
    read_volume,
    write_labels,
    write_segmentation,
)

SPACE = "1.2.3.9"
STUDY: dict[str, Any] = {"StudyInstanceUID": "1.2.3", "FrameOfReferenceUID": SPACE, "SliceThickness": 3}


@pytest.fixture
def series(write_series: Callable[..., Path]) -> Path:
    return write_series(np.zeros((4, 6, 5), np.int16), **STUDY)


@pytest.fixture
def geometry(series: Path) -> Geometry:
    return read_volume(series).geometry


def square(x: float, y: float, half: float, z: float) -> list[float]:
    """Return the corners of a square of 2 * half mm around (x, y), LPS mm."""
    corners = ((-1, -1), (1, -1), (1, 1), (-1, 1))
    return [v for a, b in corners for v in (x + a * half, y + b * half, z)]


@pytest.fixture
def write_contours(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes an RTSTRUCT: name of a structure -> its closed contours."""

    def write(contours: dict[str, Sequence[list[float]]], *, space: str = SPACE) -> Path:
        data = Dataset()
        data.SOPClassUID, data.SOPInstanceUID = RTStructureSetStorage, "1.2.3.77"
        data.Modality, data.FrameOfReferenceUID = "RTSTRUCT", space
        data.StructureSetROISequence, data.ROIContourSequence = Items(), Items()
        for number, (name, lines) in enumerate(contours.items(), start=4):
            region, drawn = Dataset(), Dataset()
            region.ROINumber, region.ROIName, region.ReferencedFrameOfReferenceUID = number, name, space
            drawn.ReferencedROINumber, drawn.ContourSequence = number, Items()
            for line in lines:
                item = Dataset()
                item.ContourGeometricType, item.NumberOfContourPoints = "CLOSED_PLANAR", len(line) // 3
                item.ContourData = [f"{v:.6g}" for v in line]
                drawn.ContourSequence.append(item)
            data.StructureSetROISequence.append(region)
            data.ROIContourSequence.append(drawn)
        data.file_meta = FileMetaDataset()
        data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID
        data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
        path = tmp_path / "contours.dcm"
        data.save_as(path, enforce_file_format=True)
        return path

    return write


# -- SEG ------------------------------------------------------------------------------------------


@given(labels=arrays(np.uint8, (4, 6, 5), elements=st.integers(0, 3)))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_written_as_seg_is_read_back(
    series: Path, geometry: Geometry, tmp_path: Path, labels: np.ndarray
) -> None:
    labels[0, 0, :3] = 1, 2, 3  # numbers without a gap, as segments have
    names = {1: "Liver", 2: "Spleen", 3: "Foo"}
    path = write_segmentation(tmp_path / "seg.dcm", labels, geometry, source=series, names=names)
    found = read_named_labels(path, like=geometry, source=series)
    assert np.array_equal(found.labels, labels)
    assert (found.names, found.notes) == (names, ())


def test_without_a_scan_a_seg_comes_on_its_own_grid(series: Path, geometry: Geometry, tmp_path: Path) -> None:
    labels = np.zeros(geometry.shape, np.uint8)
    labels[1, 2, 3] = labels[3, 1, 1] = 1
    path = write_segmentation(tmp_path / "seg.dcm", labels, geometry, source=series)
    found, own = read_labels(path)
    assert own.shape == (3, 6, 5)  # from the first to the last slice that holds something
    assert np.array_equal(found, labels[1:])
    assert own.same_grid(Geometry((3, 6, 5), geometry.affine + 3 * np.eye(4)[:, [0, 1, 3, 2]] * [[0], [0], [1], [0]]))


def test_frames_that_lie_the_other_way_round_are_turned(series: Path, geometry: Geometry, tmp_path: Path) -> None:
    labels = np.zeros(geometry.shape, np.uint8)
    labels[1, 2:4, 1:3] = labels[2, 5, 0] = 1
    path = write_segmentation(tmp_path / "seg.dcm", labels, geometry, source=series)
    turned = geometry.reoriented(("I", "A", "R"))
    found, _ = read_labels(path, like=turned.working)
    assert np.array_equal(found, turned.labels_to_working(labels))


def test_a_tilted_seg_is_read_back(write_slice: Callable[..., Path], tmp_path: Path) -> None:
    for n in range(4):
        write_slice(np.zeros((6, 5), np.int16), position=(-10.0, 20.0 + n, 3.0 * n), **STUDY)
    geometry = read_volume(tmp_path / "scan").geometry
    labels = np.zeros(geometry.shape, np.uint8)
    labels[1, 1:3, 1:3] = labels[3, 0, 4] = 1
    path = write_segmentation(tmp_path / "seg.dcm", labels, geometry, source=tmp_path / "scan")
    found, _ = read_labels(path, like=geometry)
    assert np.array_equal(found, labels)


def test_a_seg_that_lies_elsewhere_is_refused(series: Path, geometry: Geometry, tmp_path: Path) -> None:
    path = write_segmentation(tmp_path / "seg.dcm", np.ones(geometry.shape, np.uint8), geometry, source=series)
    affine = np.array(geometry.affine)
    affine[:3, 3] += (0.2, 0, 0)
    with pytest.raises(GeometryMismatchError, match="does not lie on the scan's grid"):
        read_labels(path, like=Geometry(geometry.shape, affine))


def test_a_seg_of_another_examination_is_refused(
    series: Path, geometry: Geometry, tmp_path: Path, edit: Callable[..., None]
) -> None:
    path = write_segmentation(tmp_path / "seg.dcm", np.ones(geometry.shape, np.uint8), geometry, source=series)
    edit(path, FrameOfReferenceUID="1.2.3.10")
    with pytest.raises(GeometryMismatchError, match="another frame of reference than this scan's"):
        read_labels(path, like=geometry, source=series)
    assert read_labels(path, like=geometry)[0].all()  # where the scan's is unknown, positions decide


def test_overlapping_segments_are_told(series: Path, geometry: Geometry, tmp_path: Path) -> None:
    path = write_segmentation(tmp_path / "seg.dcm", np.ones(geometry.shape, np.uint8), geometry, source=series)
    data = pydicom.dcmread(path)
    masks = np.zeros((*geometry.shape, 2), np.uint8)
    masks[1, 1:3, 1:3, 0] = masks[1, 2:4, 1:3, 1] = 1
    first = data.SegmentSequence[0]
    description = hd.seg.SegmentDescription.from_dataset(first)
    second = hd.seg.SegmentDescription.from_dataset(first)
    second.SegmentNumber, second.SegmentLabel = 2, "Other"
    images = [pydicom.dcmread(f) for f in sorted(series.iterdir())]
    for image in images:
        for keyword in ("AccessionNumber", "StudyID", "StudyDate", "StudyTime", "PatientSex"):
            setattr(image, keyword, "")
    hd.seg.Segmentation(
        images, masks, "BINARY", [description, second], "1.2.9", 1, "1.2.9.1", 1, "m", "m", "1", "1"
    ).save_as(path)
    found = read_named_labels(path, like=geometry)
    assert np.count_nonzero(found.labels == 1) == 2
    assert np.count_nonzero(found.labels == 2) == 4
    assert found.notes == ("2 voxels belong to several structures in the file; the later one was taken.",)


def test_a_damaged_seg_is_refused(series: Path, geometry: Geometry, tmp_path: Path) -> None:
    path = write_segmentation(tmp_path / "seg.dcm", np.ones(geometry.shape, np.uint8), geometry, source=series)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(UnreadableFileError, match="is damaged"):
        read_labels(path)


# -- RTSTRUCT -------------------------------------------------------------------------------------


def test_voxels_whose_centre_lies_inside_a_contour_are_filled(
    series: Path, geometry: Geometry, write_contours: Callable[..., Path]
) -> None:
    # Columns lie at x = -10, -9.5 ... and rows at y = 20, 20.75 ...; z = 3 is slice 1.
    path = write_contours({"GTV": [square(-9.0, 21.5, 0.8, 3.0)]})
    found = read_named_labels(path, like=geometry, source=series)
    expected = np.zeros(geometry.shape, np.uint8)
    expected[1, 1:4, 1:4] = 1
    assert np.array_equal(found.labels, expected)
    assert found.names == {1: "GTV"}


def test_a_contour_inside_another_is_a_hole(geometry: Geometry, write_contours: Callable[..., Path]) -> None:
    path = write_contours({"ring": [square(-9.0, 21.5, 0.8, 6.0), square(-9.0, 21.5, 0.2, 6.0)]})
    labels, _ = read_labels(path, like=geometry)
    assert labels.sum() == 8
    assert labels[2, 2, 2] == 0


def test_structures_have_their_names_and_the_later_one_wins(
    geometry: Geometry, write_contours: Callable[..., Path]
) -> None:
    path = write_contours({"A": [square(-9.0, 21.5, 0.8, 0.0)], "empty": [], "B": [square(-9.0, 21.5, 0.2, 0.0)]})
    found = read_named_labels(path, like=geometry)
    assert found.names == {1: "A", 2: "B"}
    assert found.labels[0, 2, 2] == 2
    assert "1 voxels lie inside several structures" in found.notes[0]


def test_contours_of_another_examination_are_refused(
    series: Path, geometry: Geometry, write_contours: Callable[..., Path]
) -> None:
    path = write_contours({"GTV": [square(-9.0, 21.5, 0.8, 3.0)]}, space="1.2.3.10")
    with pytest.raises(GeometryMismatchError, match="another frame of reference than this scan's"):
        read_labels(path, like=geometry, source=series)


@pytest.mark.parametrize(
    ("contour", "words"),
    [(square(-9.0, 21.5, 0.8, 4.5), "do not lie on this scan's slices"), (square(90, 21, 1, 3), "reach beyond")],
)
def test_contours_that_do_not_fit_the_scan_are_refused(
    geometry: Geometry, write_contours: Callable[..., Path], contour: list[float], words: str
) -> None:
    with pytest.raises(GeometryMismatchError, match=words):
        read_labels(write_contours({"GTV": [contour]}), like=geometry)


def test_contours_need_a_scan(write_contours: Callable[..., Path]) -> None:
    with pytest.raises(InputError, match="Open the scan first"):
        read_labels(write_contours({"GTV": [square(-9.0, 21.5, 0.8, 3.0)]}))


def test_a_file_without_contours_is_refused(geometry: Geometry, write_contours: Callable[..., Path]) -> None:
    with pytest.raises(UnsupportedImageError, match="no closed contour"):
        read_labels(write_contours({"GTV": []}), like=geometry)


# -- what holds labels ----------------------------------------------------------------------------


def test_a_dicom_file_without_labels_is_refused(series: Path, geometry: Geometry) -> None:
    image = next(series.iterdir())
    assert not is_dicom_labels(image)
    with pytest.raises(UnsupportedImageError, match="holds no labels"):
        read_labels(image, like=geometry)


def test_label_objects_are_known_by_their_header(
    series: Path, geometry: Geometry, tmp_path: Path, write_contours: Callable[..., Path]
) -> None:
    seg = write_segmentation(tmp_path / "seg.dcm", np.ones(geometry.shape, np.uint8), geometry, source=series)
    assert is_dicom_labels(seg)
    assert is_dicom_labels(write_contours({}))
    assert not is_dicom_labels(tmp_path)


def test_names_in_a_slicer_file_are_read_back(tmp_path: Path) -> None:
    geometry = Geometry.from_parts((2, 3, 4))
    labels = np.arange(24, dtype=np.uint8).reshape(2, 3, 4) % 3
    path = write_labels(tmp_path / "labels.seg.nrrd", labels, geometry, names={1: "Liver", 2: "Left: lung"})
    assert read_named_labels(path, like=geometry).names == {1: "Liver", 2: "Left: lung"}


def test_the_real_segmentation_matches_the_label_file_beside_it(shared_data: Path) -> None:
    folder = shared_data / "dicom"
    scan = read_volume(folder / "dcmqi_ct3slice")
    found = read_named_labels(
        folder / "dcmqi_ct3slice_seg" / "liver.dcm", like=scan.geometry, source=folder / "dcmqi_ct3slice"
    )
    expected, _ = read_labels(folder / "dcmqi_ct3slice_seg" / "liver_seg.nrrd", like=scan.geometry)
    assert found.names == {1: "Liver"}
    assert np.array_equal(found.labels > 0, expected > 0)


def test_real_overlapping_segments_are_read_with_a_note(shared_data: Path) -> None:
    folder = shared_data / "dicom"
    scan = read_volume(folder / "dcmqi_ct3slice")
    found = read_named_labels(folder / "dcmqi_ct3slice_seg" / "partial_overlaps.dcm", like=scan.geometry)
    assert len(found.names) == 5
    assert "belong to several structures" in found.notes[0]


def test_segmentations_of_all_real_series_come_back(shared_data: Path, tmp_path: Path) -> None:
    for folder in sorted(p for p in (shared_data / "dicom").iterdir() if not p.name.endswith("_seg")):
        for info in (s for s in list_series(folder) if s.problem is None):
            volume = read_volume(folder, series=info.uid)
            labels = np.zeros(volume.geometry.shape, np.uint8)
            _, rows, columns = labels.shape
            labels[1:3, rows // 4 : rows // 2, columns // 3 : columns // 2] = 1
            labels[2, rows // 2 :, 1] = 2
            path = write_segmentation(tmp_path / "seg.dcm", labels, volume.geometry, source=folder, series=info.uid)
            found, _ = read_labels(path, like=volume.geometry, source=folder)
            assert np.array_equal(found, labels), info.description
