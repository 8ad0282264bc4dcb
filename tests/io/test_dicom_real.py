"""Every real DICOM series opens on the right grid, as ITK's own reader sees it, or is refused for its reason."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from napari_medmeta.core import Geometry, InputError, Modality, UnsupportedImageError
from napari_medmeta.io import can_read, describe, list_series, read_labels, read_volume, write_labels


@pytest.fixture(scope="module")
def dicom(shared_data: Path) -> Path:
    return shared_data / "dicom"


def by_gdcm(folder: Path) -> tuple[np.ndarray, Geometry]:
    """Return the voxels and the grid as SimpleITK's series reader gives them."""
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    image = reader.Execute()
    affine = np.eye(4)
    affine[:3, :3] = (np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing())[:, ::-1]
    affine[:3, 3] = image.GetOrigin()
    array = sitk.GetArrayFromImage(image)
    return array, Geometry(array.shape, affine)


PLAIN = {
    "cip_ct64": ((79, 64, 64), Modality.CT, "CT series"),
    "dcm_qa_ct_Philips_S21570_S2010": ((12, 512, 512), Modality.CT, "STD BRAIN 5MM"),
    "dcmqi_ct3slice": ((3, 512, 512), Modality.CT, "CT series"),
    "prostatex_0218_t2": ((20, 320, 320), Modality.MR, "t2_tse_tra_320_p2"),
    "torchio_dicom": ((17, 128, 88), Modality.CT, "CT series"),
    "udacity_s1_hippocrop": ((32, 51, 35), Modality.MR, "HippoCrop"),
}


@pytest.mark.parametrize("name", PLAIN)
def test_a_plain_series_has_the_voxels_and_places_that_itk_reads(dicom: Path, name: str) -> None:
    shape, modality, words = PLAIN[name]
    array, geometry = by_gdcm(dicom / name)
    volume = read_volume(dicom / name)
    assert volume.array.shape == shape
    assert (volume.modality, volume.name) == (modality, words)
    assert np.array_equal(volume.array, array)
    assert volume.geometry.same_grid(geometry)
    assert volume.array.dtype in (np.int16, np.uint16)


@pytest.mark.parametrize("name", PLAIN)
def test_labels_are_saved_on_the_grid_of_a_series(dicom: Path, name: str, tmp_path: Path) -> None:
    geometry = read_volume(dicom / name).geometry
    labels = (np.arange(np.prod(geometry.shape)) % 7).astype(np.uint8).reshape(geometry.shape)
    again, _ = read_labels(write_labels(tmp_path / "labels.nii.gz", labels, geometry), like=geometry)
    assert np.array_equal(again, labels)


def test_oblique_mr_is_oblique(dicom: Path) -> None:
    geometry = read_volume(dicom / "prostatex_0218_t2").geometry
    assert geometry.is_oblique
    assert not geometry.is_sheared
    assert np.allclose(geometry.spacing_mm, (3.6, 0.625, 0.625), atol=1e-6)


def test_a_series_lying_the_other_way_round_keeps_its_directions(dicom: Path) -> None:
    assert read_volume(dicom / "torchio_dicom").geometry.axis_codes == ("S", "A", "R")


def test_slices_whose_positions_were_rounded_are_even(dicom: Path) -> None:
    assert read_volume(dicom / "cip_ct64").notes == ()


def test_the_filler_of_the_three_slices_is_told(dicom: Path) -> None:
    volume = read_volume(dicom / "dcmqi_ct3slice")
    assert volume.notes == ("Voxels outside the scanner's circle hold the filler value -3024.",)


def test_the_tilted_head_is_not_opened_as_one_volume(dicom: Path) -> None:
    with pytest.raises(InputError, match="2 volumes") as caught:
        read_volume(dicom / "dcm_qa_ct_GE")
    assert "4.22 mm after slice 1, then 1.14 mm after slice 6, then 7.38 mm after slice 7" in caught.value.message


def test_both_halves_of_the_tilted_head_open_as_they_were_scanned(dicom: Path) -> None:
    upper, lower = list_series(dicom / "dcm_qa_ct_GE")
    assert (upper.slices, lower.slices) == (6, 6)
    for info, first_z, step in ((upper, 61.836, 7.38), (lower, 39.596, 4.22)):
        volume = read_volume(dicom / "dcm_qa_ct_GE", series=info.uid)
        assert volume.geometry.is_sheared
        assert np.allclose(volume.geometry.affine[:3, 0], (0, 0, step), atol=1e-6)
        assert np.allclose(volume.geometry.origin_mm, (-125, -123.5404569, first_z), atol=1e-3)
        assert any("18.5 degrees (gantry tilt)" in note for note in volume.notes)


def test_the_voxels_of_the_tilted_head_are_those_of_its_files(dicom: Path) -> None:
    array, _ = by_gdcm(dicom / "dcm_qa_ct_GE")
    upper, lower = (read_volume(dicom / "dcm_qa_ct_GE", series=i.uid) for i in list_series(dicom / "dcm_qa_ct_GE"))
    assert np.array_equal(np.concatenate([lower.array, upper.array]), array)


def test_labels_of_a_tilted_scan_are_saved_where_it_was_scanned(dicom: Path, tmp_path: Path) -> None:
    geometry = read_volume(dicom / "dcm_qa_ct_GE", series=list_series(dicom / "dcm_qa_ct_GE")[0].uid).geometry
    labels = np.zeros(geometry.shape, np.uint8)
    labels[2, 100:200, 100:200] = 1
    again, _ = read_labels(write_labels(tmp_path / "labels.nii.gz", labels, geometry), like=geometry)
    assert np.array_equal(again, labels)


def test_the_enhanced_object_opens_with_its_frames_sorted(dicom: Path) -> None:
    volume = read_volume(dicom / "dcmqi_multiframe" / "mf.dcm")
    image = sitk.ReadImage(str(dicom / "dcmqi_multiframe" / "mf.dcm"))
    assert np.array_equal(volume.array, sitk.GetArrayFromImage(image).reshape(3, 38, 23))
    assert np.allclose(volume.geometry.spacing_mm, (2.5, 0.7, 0.7))
    assert volume.geometry.origin_mm == (46.4649, 5.01881, -177.75)
    assert volume.modality is Modality.CT


def test_segmentation_objects_are_called_what_they_are(dicom: Path) -> None:
    with pytest.raises(UnsupportedImageError, match=r"a segmentation \(SEG\), not a scan"):
        read_volume(dicom / "dcmqi_ct3slice_seg")
    with pytest.raises(UnsupportedImageError, match=r"a segmentation \(SEG\), not a scan"):
        read_volume(dicom / "dcmqi_ct3slice_seg" / "liver.dcm")


@pytest.mark.parametrize("organ", ["heart", "liver", "spine"])
def test_the_label_files_beside_the_three_slices_lie_on_them(dicom: Path, organ: str) -> None:
    scan = read_volume(dicom / "dcmqi_ct3slice")
    labels, _ = read_labels(dicom / "dcmqi_ct3slice_seg" / f"{organ}_seg.nrrd", like=scan.geometry)
    assert labels.any()


def test_a_folder_above_several_series_lists_them_all(dicom: Path) -> None:
    series = list_series(dicom)
    assert len([info for info in series if info.problem is None]) == 9
    with pytest.raises(InputError, match="holds 9 volumes"):
        read_volume(dicom)


def test_every_other_folder_is_described(dicom: Path) -> None:
    for folder in sorted(p for p in dicom.iterdir() if p.is_dir() and p.name != "dcmqi_ct3slice_seg"):
        assert can_read(folder)
        assert describe(folder)["kind"] == "DICOM folder"
