"""DICOM SEG: what is written on a series lands on its slices and opens with pydicom, highdicom and SimpleITK."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

from napari_medmeta import __version__
from napari_medmeta.core import GeometryMismatchError, InputError, MissingExamplesError
from napari_medmeta.io import list_series, read_volume, write_segmentation
from napari_medmeta.io.dicom.codes import segment_code

STUDY = {
    "StudyInstanceUID": "1.2.3",
    "FrameOfReferenceUID": "1.2.3.9",
    "StudyDate": "20010203",
    "AccessionNumber": "ACC4711",
    "SliceThickness": 3,
}


@pytest.fixture
def series(write_series: Callable[..., Path]) -> Path:
    pixels = (np.arange(4 * 6 * 5, dtype=np.int16)).reshape(4, 6, 5)
    return write_series(pixels, **STUDY)


def planes(path: Path) -> dict[tuple[int, float], np.ndarray]:
    """Return for each (segment number, z) the frame as pydicom reads it."""
    data = pydicom.dcmread(path)
    pixels = data.pixel_array.reshape(-1, data.Rows, data.Columns)
    found = {}
    for item, frame in zip(data.PerFrameFunctionalGroupsSequence, pixels, strict=True):
        whole = {e.keyword: e for e in (*data.SharedFunctionalGroupsSequence[0], *item)}
        z = float(whole["PlanePositionSequence"].value[0].ImagePositionPatient[2])
        found[int(whole["SegmentIdentificationSequence"].value[0].ReferencedSegmentNumber), z] = frame
    return found


def labelled(shape: tuple[int, ...]) -> np.ndarray:
    labels = np.zeros(shape, np.uint8)
    labels[1, 1:4, 2:4] = 3
    labels[2, 0, 0] = 3
    labels[1, 5, 4] = 9
    return labels


def test_labels_land_on_the_slices_and_empty_slices_are_left_out(series: Path, tmp_path: Path) -> None:
    volume = read_volume(series)
    labels = labelled(volume.geometry.shape)
    path = write_segmentation(tmp_path / "seg.dcm", labels, volume.geometry, source=series)
    found = planes(path)
    assert sorted(found) == [(1, 3.0), (1, 6.0), (2, 3.0)]
    assert np.array_equal(found[1, 3.0], labels[1] == 3)
    assert np.array_equal(found[1, 6.0], labels[2] == 3)
    assert np.array_equal(found[2, 3.0], labels[1] == 9)


def test_each_frame_points_to_the_image_it_was_painted_on(series: Path, tmp_path: Path) -> None:
    volume = read_volume(series)
    path = write_segmentation(tmp_path / "seg.dcm", labelled(volume.geometry.shape), volume.geometry, source=series)
    by_uid = {pydicom.dcmread(f).SOPInstanceUID: pydicom.dcmread(f) for f in series.iterdir()}
    for item in pydicom.dcmread(path).PerFrameFunctionalGroupsSequence:
        uid = item.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        assert by_uid[uid].ImagePositionPatient == item.PlanePositionSequence[0].ImagePositionPatient


def test_segments_say_what_they_are_and_who_made_them(series: Path, tmp_path: Path) -> None:
    volume = read_volume(series)
    path = write_segmentation(
        tmp_path / "seg.dcm",
        labelled(volume.geometry.shape),
        volume.geometry,
        source=series,
        names={3: "Kidney left", 9: "Zyste, größere"},
        colours={3: "#e69f00"},
    )
    kidney, cyst = (hd.seg.segread(path).get_segment_description(n) for n in (1, 2))
    assert (kidney.segment_label, kidney.segmented_property_type.value) == ("Kidney left", "64033007")
    side = kidney.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence[0]
    assert side.CodeMeaning == "Left"
    assert kidney.algorithm_type is hd.seg.SegmentAlgorithmTypeValues.SEMIAUTOMATIC
    algorithm = kidney.algorithm_identification[0]
    assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("napari-medmeta", __version__)
    assert "RecommendedDisplayCIELabValue" in kidney
    assert (cyst.segment_label, cyst.segmented_property_type.meaning) == ("Zyste, größere", "Tissue")
    data = pydicom.dcmread(path)
    assert (data.SegmentationType, data.Manufacturer, data.SoftwareVersions) == (
        "BINARY",
        "napari-medmeta",
        __version__,
    )


def test_it_belongs_to_the_patient_and_study_of_its_series(series: Path, tmp_path: Path) -> None:
    volume = read_volume(series)
    path = write_segmentation(tmp_path / "seg.dcm", labelled(volume.geometry.shape), volume.geometry, source=series)
    data = pydicom.dcmread(path)
    assert (data.PatientName, data.PatientID, data.StudyInstanceUID) == ("Doe^Jane", "PAT0815", "1.2.3")
    assert (data.FrameOfReferenceUID, data.StudyDate, data.Modality) == ("1.2.3.9", "20010203", "SEG")


def test_a_patients_name_in_another_alphabet_stays_whole(write_series: Callable[..., Path], tmp_path: Path) -> None:
    pixels = np.zeros((2, 6, 5), np.int16)
    folder = write_series(pixels, SpecificCharacterSet="ISO_IR 100", PatientName="Müller^Jörg", **STUDY)
    geometry = read_volume(folder).geometry
    labels = np.ones(geometry.shape, np.uint8)
    path = write_segmentation(tmp_path / "seg.dcm", labels, geometry, source=folder, names={1: "肝臓"})
    data = pydicom.dcmread(path)
    assert (str(data.PatientName), data.SegmentSequence[0].SegmentLabel) == ("Müller^Jörg", "肝臓")


def test_an_anonymous_file_holds_nothing_of_patient_and_study(series: Path, tmp_path: Path) -> None:
    volume = read_volume(series)
    labels = labelled(volume.geometry.shape)
    path = write_segmentation(tmp_path / "seg.dcm", labels, volume.geometry, source=series, anonymous=True)
    content = path.read_bytes()
    for private in (b"Doe", b"Jane", b"PAT0815", b"19700102", b"20010203", b"ACC4711"):
        assert private not in content
    data = pydicom.dcmread(path)
    assert (data.PatientName, data.PatientID, data.StudyDate, data.ContentDate) == ("", "", "", "19000101")
    assert sorted(planes(path)) == [(1, 3.0), (1, 6.0), (2, 3.0)]


def test_an_anonymous_file_does_not_tell_the_day_it_was_made(series: Path, tmp_path: Path) -> None:
    volume = read_volume(series)
    labels = labelled(volume.geometry.shape)
    path = write_segmentation(tmp_path / "seg.dcm", labels, volume.geometry, source=series, anonymous=True)
    for element in pydicom.dcmread(path).iterall():
        if element.VR in ("DA", "DT"):
            assert str(element.value) in ("", "19000101")


def test_slices_in_any_order_of_files_get_their_own_labels(write_slice: Callable[..., Path], tmp_path: Path) -> None:
    for z in (6.0, 0.0, 9.0, 3.0):
        write_slice(np.full((6, 5), int(z), np.int16), position=(-10, 20, z), **STUDY)
    volume = read_volume(tmp_path / "scan")
    labels = np.zeros(volume.geometry.shape, np.uint8)
    labels[2, 1, 1] = 1
    path = write_segmentation(tmp_path / "seg.dcm", labels, volume.geometry, source=tmp_path / "scan")
    assert sorted(planes(path)) == [(1, 6.0)]


def test_a_tilted_series_gets_its_labels_on_its_own_slices(write_slice: Callable[..., Path], tmp_path: Path) -> None:
    for n in range(4):
        write_slice(np.zeros((6, 5), np.int16), position=(-10.0, 20.0 + n, 3.0 * n), **STUDY)
    geometry = read_volume(tmp_path / "scan").geometry
    assert geometry.is_sheared
    labels = labelled(geometry.shape)
    path = write_segmentation(tmp_path / "seg.dcm", labels, geometry, source=tmp_path / "scan")
    frames = pydicom.dcmread(path).PerFrameFunctionalGroupsSequence
    places = {tuple(frame.PlanePositionSequence[0].ImagePositionPatient) for frame in frames}
    assert places == {(-10, 21, 3), (-10, 22, 6)}
    assert np.array_equal(planes(path)[1, 6.0], labels[2] == 3)


def test_frames_of_a_multi_frame_object_are_pointed_to_in_its_own_order(
    write_multiframe: Callable[..., Path], tmp_path: Path
) -> None:
    pixels = np.zeros((4, 6, 5), np.int16)
    source = write_multiframe(pixels, z=(9.0, 0.0, 6.0, 3.0), **{k: v for k, v in STUDY.items() if k[0] != "A"})
    geometry = read_volume(source).geometry
    labels = labelled(geometry.shape)
    path = write_segmentation(tmp_path / "seg.dcm", labels, geometry, source=source)
    found = planes(path)
    assert sorted(found) == [(1, 3.0), (1, 6.0), (2, 3.0)]
    assert np.array_equal(found[1, 6.0], labels[2] == 3)
    for item in pydicom.dcmread(path).PerFrameFunctionalGroupsSequence:
        z = float(item.PlanePositionSequence[0].ImagePositionPatient[2])
        frame = item.DerivationImageSequence[0].SourceImageSequence[0].ReferencedFrameNumber
        assert (9.0, 0.0, 6.0, 3.0)[int(frame) - 1] == z


def test_nothing_painted_is_not_written(series: Path, tmp_path: Path) -> None:
    geometry = read_volume(series).geometry
    with pytest.raises(MissingExamplesError, match="no voxel is labelled"):
        write_segmentation(tmp_path / "seg.dcm", np.zeros(geometry.shape, np.uint8), geometry, source=series)
    assert not (tmp_path / "seg.dcm").exists()


def test_labels_on_another_grid_are_refused(series: Path, tmp_path: Path) -> None:
    geometry = read_volume(series).geometry
    other = type(geometry)(geometry.shape, geometry.affine + np.eye(4)[:, [3, 3, 3, 0]] * 5)
    with pytest.raises(GeometryMismatchError, match="no volume on its grid"):
        write_segmentation(tmp_path / "seg.dcm", np.ones(geometry.shape, np.uint8), other, source=series)


@pytest.mark.parametrize("missing", ["StudyInstanceUID", "FrameOfReferenceUID"])
def test_a_series_that_cannot_be_pointed_to_is_refused(
    write_series: Callable[..., Path], tmp_path: Path, missing: str
) -> None:
    rest = {k: v for k, v in STUDY.items() if k != missing}
    folder = write_series(np.zeros((2, 6, 5), np.int16), **rest)
    geometry = read_volume(folder).geometry
    with pytest.raises(InputError, match="does not say"):
        write_segmentation(tmp_path / "seg.dcm", np.ones(geometry.shape, np.uint8), geometry, source=folder)


def test_unknown_attributes_of_a_patient_do_not_stop_it(write_series: Callable[..., Path], tmp_path: Path) -> None:
    odd: dict[str, Any] = {"PatientSex": "X", "PatientID": None, "PatientBirthDate": None}
    folder = write_series(np.zeros((2, 6, 5), np.int16), **odd, **STUDY)
    geometry = read_volume(folder).geometry
    path = write_segmentation(tmp_path / "seg.dcm", np.ones(geometry.shape, np.uint8), geometry, source=folder)
    assert pydicom.dcmread(path).PatientSex == ""


@pytest.mark.parametrize(
    ("name", "meaning", "side"),
    [
        ("Liver", "Liver", None),
        ("left kidney", "Kidney", "Left"),
        ("Lung_right", "Lung", "Right"),
        ("Left atrium", "Left atrium", None),
        ("Oesophagus", "Esophagus", None),
        ("tumour", "Neoplasm", None),
        ("something else", "Tissue", None),
        ("left", "Tissue", None),
    ],
)
def test_a_name_has_the_code_that_it_deserves(name: str, meaning: str, side: str | None) -> None:
    code = segment_code(name)
    assert (code.type.meaning, code.side.meaning if code.side else None) == (meaning, side)


USABLE = (
    "cip_ct64", "dcm_qa_ct_GE", "dcm_qa_ct_Philips_S21570_S2010", "dcmqi_ct3slice", "dcmqi_multiframe",
    "prostatex_0218_t2", "torchio_dicom", "udacity_s1_hippocrop",
)  # fmt: skip


@pytest.mark.parametrize("name", USABLE)
def test_every_real_series_gets_a_segmentation_that_opens_elsewhere(
    shared_data: Path, name: str, tmp_path: Path
) -> None:
    folder = shared_data / "dicom" / name
    for info in (s for s in list_series(folder) if s.problem is None):
        volume = read_volume(folder, series=info.uid)
        labels = np.zeros(volume.geometry.shape, np.uint8)
        _, rows, columns = labels.shape
        labels[1, rows // 4 : rows // 2, columns // 3 : columns // 2] = 2
        labels[2, rows // 2, columns // 2] = 5
        path = write_segmentation(
            tmp_path / "seg.dcm", labels, volume.geometry, source=folder, series=info.uid, names={2: "Liver"}
        )
        assert pydicom.dcmread(path).pixel_array.shape[0] == 2
        segmentation = hd.seg.segread(path)
        assert segmentation.number_of_segments == 2
        by_itk = sitk.GetArrayFromImage(sitk.ReadImage(str(path))).ravel()
        # The reader inside ITK (GDCM) unpacks whole bytes only: up to seven pixels behind them are not ours.
        whole = by_itk.size - by_itk.size % 8
        assert np.count_nonzero(by_itk[:whole]) == np.count_nonzero(labels)
        first = segmentation.PerFrameFunctionalGroupsSequence[0].PlanePositionSequence[0].ImagePositionPatient
        assert np.allclose(first, volume.geometry.to_world((1, 0, 0)), atol=0.05)
        uids = segmentation.get_source_image_uids()
        assert {uid[0] for uid in uids} == {pydicom.dcmread(f).StudyInstanceUID for f in folder.iterdir()}
