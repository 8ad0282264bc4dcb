from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.uid import DeflatedExplicitVRLittleEndian, RLELossless, SegmentationStorage

from napari_medmeta.core import (
    InputError,
    Modality,
    UnreadableFileError,
    UnsupportedImageError,
    VolumeTooLargeError,
)
from napari_medmeta.io import can_read, describe, list_series, read_volume
from napari_medmeta.io.dicom.privacy import harmless_description

Write = Callable[..., Path]


def the_only_problem(folder: Path) -> str:
    (info,) = list_series(folder)
    assert info.problem is not None
    return info.problem


def test_slices_are_sorted_by_position_not_by_name(write_slice: Write, numbers: np.ndarray, tmp_path: Path) -> None:
    for name, n in [("a", 2), ("b", 0), ("c", 3), ("d", 1)]:
        write_slice(numbers[n], position=(0, 0, 3.0 * n), name=name)
    assert np.array_equal(read_volume(tmp_path / "scan").array, numbers - 1024)


def test_the_grid_is_that_of_the_slices(write_series: Write, numbers: np.ndarray) -> None:
    geometry = read_volume(write_series(numbers)).geometry
    assert np.allclose(geometry.spacing_mm, (3.0, 0.75, 0.5))
    assert geometry.origin_mm == (-10.0, 20.0, 0.0)
    assert geometry.axis_codes == ("S", "P", "L")


def test_slope_and_intercept_give_hounsfield_units(write_series: Write, numbers: np.ndarray) -> None:
    volume = read_volume(write_series(numbers, RescaleSlope=2, RescaleIntercept=-1000))
    assert np.array_equal(volume.array, numbers * 2 - 1000)
    assert volume.array.dtype == np.int16
    assert volume.modality is Modality.CT


def test_each_slice_is_scaled_by_its_own_slope(write_slice: Write, numbers: np.ndarray, tmp_path: Path) -> None:
    for n, plane in enumerate(numbers):
        write_slice(plane, position=(0, 0, n), RescaleSlope=0.5 + n, RescaleIntercept=0, Modality="PT")
    volume = read_volume(tmp_path / "scan")
    assert volume.array.dtype == np.float32
    assert np.allclose(volume.array, numbers * (0.5 + np.arange(4))[:, None, None])
    assert volume.modality is Modality.OTHER


def test_a_ct_whose_scaling_changes_on_the_way_is_told(write_slice: Write, numbers: np.ndarray, tmp_path: Path) -> None:
    for n, plane in enumerate(numbers):
        write_slice(plane, position=(0, 0, n), RescaleIntercept=-1000 - n)
    assert "different grey-value scalings" in read_volume(tmp_path / "scan").notes[0]


def test_scaling_in_some_slices_only_is_damage(write_slice: Write, numbers: np.ndarray, tmp_path: Path) -> None:
    write_slice(numbers[0], position=(0, 0, 0))
    write_slice(numbers[1], position=(0, 0, 1), RescaleSlope=None, RescaleIntercept=None)
    assert "Some slices say" in the_only_problem(tmp_path / "scan")


def test_mr_without_a_scaling_keeps_its_values(write_series: Write, numbers: np.ndarray) -> None:
    pixels = numbers.astype(np.uint16)
    volume = read_volume(write_series(pixels, Modality="MR", RescaleSlope=None, RescaleIntercept=None))
    assert volume.modality is Modality.MR
    assert volume.array.dtype == np.uint16
    assert np.array_equal(volume.array, pixels)


def test_bits_beside_the_stored_ones_are_dropped(write_series: Write, numbers: np.ndarray) -> None:
    overlay = numbers.astype(np.uint16) | 0x8000
    volume = read_volume(write_series(overlay, BitsStored=12, HighBit=11, RescaleIntercept=0))
    assert np.array_equal(volume.array, numbers)


def test_the_sign_of_twelve_bit_values_is_kept(write_series: Write, numbers: np.ndarray) -> None:
    twelve = ((numbers - 60) & 0x0FFF).astype(np.int16)  # as written by scanners that do not extend the sign
    volume = read_volume(write_series(twelve, BitsStored=12, HighBit=11, RescaleIntercept=0))
    assert np.array_equal(volume.array, numbers - 60)


def test_the_filler_outside_the_circle_is_told(write_series: Write, numbers: np.ndarray) -> None:
    volume = read_volume(write_series(numbers, PixelPaddingValue=1))
    assert "filler value -1023" in volume.notes[0]


oblique = settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@oblique
@given(angles=st.tuples(*[st.floats(-3, 3)] * 3), distance=st.floats(0.5, 9), tilt=st.sampled_from([0.0, 0.0, 0.3]))
def test_any_acquisition_lies_where_its_header_says(
    write_slice: Write, numbers: np.ndarray, tmp_path: Path, angles: Any, distance: float, tilt: float
) -> None:
    shutil.rmtree(tmp_path / "scan", ignore_errors=True)
    turn = np.reshape(sitk.Euler3DTransform((0.0, 0.0, 0.0), *angles).GetMatrix(), (3, 3))
    row, column, normal = turn.T
    step = distance * (normal + tilt * column)
    for n, plane in enumerate(numbers):
        write_slice(
            plane,
            position=[float(f"{v:.8g}") for v in n * step + (5, 6, 7)],
            ImageOrientationPatient=[float(f"{v:.8f}") for v in (*row, *column)],
        )
    geometry = read_volume(tmp_path / "scan").geometry
    expected = 3 * step + (5, 6, 7) + 2 * 0.75 * column + 4 * 0.5 * row
    assert np.allclose(geometry.to_world((3, 2, 4)), expected, atol=1e-4)
    assert geometry.is_sheared == (tilt > 0)


def test_gantry_tilt_is_kept_and_told(write_slice: Write, numbers: np.ndarray, tmp_path: Path) -> None:
    c, s = np.cos(np.deg2rad(18.5)), np.sin(np.deg2rad(18.5))
    for n, plane in enumerate(numbers):
        write_slice(
            plane, position=(0, 0, 4 * n), ImageOrientationPatient=[1, 0, 0, 0, float(f"{c:.9f}"), float(f"{-s:.9f}")]
        )
    volume = read_volume(tmp_path / "scan")
    assert volume.geometry.is_sheared
    assert np.allclose(volume.geometry.affine[:3, 0], (0, 0, 4))
    assert "by 18.5 degrees (gantry tilt)" in volume.notes[0]


def test_a_missing_slice_is_named_with_its_gap(write_series: Write, numbers: np.ndarray) -> None:
    problem = the_only_problem(write_series(numbers, z=(0, 3, 9, 12)))
    assert "1 slice is missing after slice 2: the gap there is 6 mm instead of 3 mm" in problem


def test_several_missing_slices_are_counted(write_series: Write, numbers: np.ndarray) -> None:
    assert "2 slices are missing after slice 3" in the_only_problem(write_series(numbers, z=(0, 3, 6, 15)))


def test_uneven_slices_are_refused_with_the_distances(write_series: Write, numbers: np.ndarray) -> None:
    problem = the_only_problem(write_series(numbers, z=(0, 4.2, 5.3, 12.7)))
    assert "4.2 mm after slice 1, then 1.1 mm after slice 2, then 7.4 mm after slice 3" in problem


def test_slightly_uneven_slices_open_with_a_note(write_series: Write, numbers: np.ndarray) -> None:
    volume = read_volume(write_series(numbers, z=(0, 3.1, 6, 9)))
    assert "varies by up to 0.1 mm" in volume.notes[0]


def test_rounded_positions_are_not_worth_a_word(write_series: Write, numbers: np.ndarray) -> None:
    assert read_volume(write_series(numbers, z=(0, 3.01, 6, 9.01))).notes == ()


def test_mixed_sizes_are_refused(write_slice: Write, numbers: np.ndarray, tmp_path: Path) -> None:
    write_slice(numbers[0], position=(0, 0, 0))
    write_slice(np.zeros((8, 8), np.int16), position=(0, 0, 3))
    assert "different sizes: 5 x 6 and 8 x 8 pixels" in the_only_problem(tmp_path / "scan")


def test_mixed_pixel_sizes_are_refused(write_slice: Write, numbers: np.ndarray, tmp_path: Path) -> None:
    write_slice(numbers[0], position=(0, 0, 0))
    write_slice(numbers[1], position=(0, 0, 3), PixelSpacing=[0.7, 0.5])
    assert "different pixel sizes" in the_only_problem(tmp_path / "scan")


def test_a_single_slice_is_no_volume(write_series: Write, numbers: np.ndarray) -> None:
    folder = write_series(numbers[:1])
    with pytest.raises(UnsupportedImageError, match="single slice"):
        read_volume(folder)
    with pytest.raises(UnsupportedImageError, match="single slice"):
        read_volume(next(folder.iterdir()))


def test_several_series_must_be_chosen_from(write_series: Write, numbers: np.ndarray) -> None:
    folder = write_series(numbers)
    write_series(numbers + 500, SeriesInstanceUID="1.2.3.9", SeriesDescription="bone")
    with pytest.raises(InputError, match=r"2 volumes: thin soft, 4 slices every 3 mm \(1\.2\.3\.4\); bone"):
        read_volume(folder)
    assert np.array_equal(read_volume(folder, series="1.2.3.9").array, numbers + 500 - 1024)
    assert [info.uid for info in list_series(folder)] == ["1.2.3.4", "1.2.3.9"]


def test_a_series_that_is_not_there_is_refused(write_series: Write, numbers: np.ndarray) -> None:
    with pytest.raises(InputError, match=r"no series 9\.9"):
        read_volume(write_series(numbers), series="9.9")


def test_a_scout_view_beside_the_scan_is_left_out_and_told(write_series: Write, numbers: np.ndarray) -> None:
    folder = write_series(numbers)
    write_series(numbers[:1], z=[50], ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    volume = read_volume(folder)
    assert np.array_equal(volume.array, numbers - 1024)
    assert "scout view" in volume.notes[0]
    assert read_volume(folder, series="1.2.3.4").notes == volume.notes


def test_slices_of_another_direction_are_told_apart(write_series: Write, numbers: np.ndarray) -> None:
    folder = write_series(numbers)
    write_series(numbers[:1], ImageOrientationPatient=[1, 0, 0, 0, 0, -1])
    shapes = [(info.slices, info.problem is None) for info in list_series(folder)]
    assert shapes == [(4, True), (1, False)]


def test_radial_slices_are_refused(write_slice: Write, numbers: np.ndarray, tmp_path: Path) -> None:
    for n, plane in enumerate(numbers):
        c, s = np.cos(n * 0.7), np.sin(n * 0.7)
        write_slice(plane, position=(0, 0, 0), ImageOrientationPatient=[round(c, 8), round(s, 8), 0, 0, 0, -1])
    assert "not parallel" in the_only_problem(tmp_path / "scan")


@pytest.mark.parametrize(
    ("attribute", "label"),
    [
        ("EchoNumbers", "echo"),
        ("EchoTime", "echo time"),
        ("TemporalPositionIdentifier", "time point"),
        ("TriggerTime", "heart phase"),
        ("AcquisitionNumber", "acquisition"),
        ("InversionTime", "inversion time"),
    ],
)
def test_images_of_one_place_are_told_apart(
    write_series: Write, numbers: np.ndarray, attribute: str, label: str
) -> None:
    write_series(numbers, **{attribute: 1})
    folder = write_series(numbers + 500, **{attribute: 2})
    first, second = list_series(folder)
    assert (first.description, second.description) == (f"thin soft {label} 1", f"thin soft {label} 2")
    assert np.array_equal(read_volume(folder, series="1.2.3.4#2").array, numbers + 500 - 1024)
    with pytest.raises(InputError, match="2 volumes"):
        read_volume(folder, series="1.2.3.4")


def test_heart_phases_are_told_apart_although_their_times_differ_a_little(
    write_slice: Write, numbers: np.ndarray, tmp_path: Path
) -> None:
    for n, plane in enumerate(numbers):
        for phase in range(3):
            write_slice(plane + 200 * phase, position=(0, 0, 8 * n), TriggerTime=40 * phase + n, Modality="MR")
    folder = tmp_path / "scan"
    assert [i.description for i in list_series(folder)] == [f"thin soft heart phase {n}" for n in (1, 2, 3)]
    assert np.array_equal(read_volume(folder, series="1.2.3.4#2").array, numbers + 200 - 1024)


def test_two_echoes_at_two_times_are_four_volumes(write_series: Write, numbers: np.ndarray) -> None:
    for echo in (1, 2):
        for time in (1, 2):
            folder = write_series(numbers, EchoNumbers=echo, TemporalPositionIdentifier=time)
    words = {info.description for info in list_series(folder) if info.problem is None}
    assert words == {f"thin soft echo {echo} time point {time}" for echo in (1, 2) for time in (1, 2)}


def test_water_and_fat_in_one_series_are_told_apart(write_series: Write, numbers: np.ndarray) -> None:
    write_series(numbers, ImageType=["DERIVED", "PRIMARY", "WATER"])
    folder = write_series(numbers, ImageType=["DERIVED", "PRIMARY", "FAT"])
    assert [info.description for info in list_series(folder)] == ["thin soft FAT", "thin soft WATER"]


def test_image_types_that_differ_within_one_volume_do_not_split_it(
    write_slice: Write, numbers: np.ndarray, tmp_path: Path
) -> None:
    for n, plane in enumerate(numbers):
        kind = ["ORIGINAL", "PRIMARY", "AXIAL", *(["ADD"] if n % 2 else [])]
        write_slice(plane, position=(0, 0, n), ImageType=kind)
    assert len(read_volume(tmp_path / "scan").array) == 4


def test_images_of_one_place_that_nothing_tells_apart_are_refused(write_series: Write, numbers: np.ndarray) -> None:
    folder = write_series(numbers)
    write_series(numbers + 500)
    for n, file in enumerate(sorted(folder.iterdir())):
        data = pydicom.dcmread(file)
        data.SOPInstanceUID = f"1.2.{n + 1}"
        data.save_as(file)
    assert "at the same place" in the_only_problem(folder)


def test_a_file_that_is_there_twice_counts_once(write_series: Write, numbers: np.ndarray) -> None:
    folder = write_series(numbers)
    shutil.copy(folder / "slice001.dcm", folder / "copy.dcm")
    volume = read_volume(folder)
    assert len(volume.array) == 4
    assert "1 slice was there twice" in volume.notes[0]


def test_slices_that_all_carry_the_same_uid_are_still_slices(write_series: Write, numbers: np.ndarray) -> None:
    folder = write_series(numbers, SOPInstanceUID="1.2.3")
    assert np.array_equal(read_volume(folder).array, numbers - 1024)


def test_sub_folders_are_searched_and_other_files_ignored(
    write_slice: Write, numbers: np.ndarray, tmp_path: Path
) -> None:
    for n, plane in enumerate(numbers):
        write_slice(plane, position=(0, 0, n), name=f"disc{n % 2}/IM{n}")
    (tmp_path / "scan" / "README.txt").write_text("hello")
    (tmp_path / "scan" / "DICOMDIR").write_bytes(bytes(128) + b"DICM")
    assert can_read(tmp_path / "scan")
    assert len(read_volume(tmp_path / "scan").array) == 4


def test_a_missing_folder_has_no_series(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFileError, match="no file or folder gone"):
        list_series(tmp_path / "gone")


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(UnsupportedImageError, match="no DICOM images"):
        read_volume(tmp_path)


@pytest.mark.parametrize(
    ("modality", "word"),
    [("SEG", "a segmentation"), ("RTSTRUCT", "contours"), ("SR", "a report"), ("RTDOSE", "dose"), ("PR", "display")],
)
def test_what_is_no_scan_is_called_by_its_name(
    write_slice: Write, numbers: np.ndarray, modality: str, word: str
) -> None:
    path = write_slice(numbers[0], position=(0, 0, 0), Modality=modality)
    with pytest.raises(UnsupportedImageError, match=word):
        read_volume(path)


def test_a_report_in_the_scans_folder_does_not_matter(write_series: Write, numbers: np.ndarray) -> None:
    folder = write_series(numbers)
    write_series(numbers[:1], Modality="SR", SeriesInstanceUID="1.2.3.7", SOPClassUID=SegmentationStorage)
    assert read_volume(folder).notes == ()


def test_colour_is_refused(write_series: Write, numbers: np.ndarray) -> None:
    folder = write_series(numbers.astype(np.uint8), SamplesPerPixel=3, PhotometricInterpretation="RGB")
    assert "in colour" in the_only_problem(folder)


@pytest.mark.parametrize("missing", ["ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"])
def test_slices_without_a_place_are_refused(write_series: Write, numbers: np.ndarray, missing: str) -> None:
    assert "does not say" in the_only_problem(write_series(numbers, **{missing: None}))


def test_impossible_directions_are_refused(write_series: Write, numbers: np.ndarray) -> None:
    folder = write_series(numbers, ImageOrientationPatient=[1, 0, 0, 0.7, 0.7, 0])
    assert "impossible" in the_only_problem(folder)


def test_a_mosaic_is_refused(write_series: Write, numbers: np.ndarray) -> None:
    assert "mosaic" in the_only_problem(write_series(numbers, ImageType=["ORIGINAL", "PRIMARY", "MOSAIC"]))


def test_a_truncated_slice_is_refused(write_series: Write, numbers: np.ndarray) -> None:
    folder = write_series(numbers)
    path = folder / "slice002.dcm"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(UnreadableFileError, match="incomplete"):
        read_volume(folder)


def test_pixels_beyond_rows_times_columns_are_refused(write_series: Write, numbers: np.ndarray) -> None:
    with pytest.raises(UnreadableFileError, match="more pixels"):
        read_volume(write_series(numbers, Rows=5))


def test_a_size_the_file_cannot_hold_is_refused_before_memory_is_taken(
    write_series: Write, numbers: np.ndarray
) -> None:
    assert "incomplete" in the_only_problem(write_series(numbers, Rows=60000, Columns=60000))


def test_a_scan_too_large_for_memory_says_what_it_takes(write_series: Write, numbers: np.ndarray) -> None:
    with pytest.raises(VolumeTooLargeError, match=r"0\.9 kB of memory"):
        read_volume(write_series(numbers), memory_limit_bytes=500)


def test_a_damaged_last_slice_is_told(write_series: Write, numbers: np.ndarray) -> None:
    folder = write_series(numbers)
    (folder / "slice003.dcm").write_bytes(b"nothing left")
    volume = read_volume(folder)
    assert len(volume.array) == 3
    assert "1 DICOM file of the folder could not be read" in volume.notes[0]


def test_nothing_of_the_patient_is_in_name_or_notes(write_series: Write, numbers: np.ndarray) -> None:
    folder = write_series(numbers, PixelPaddingValue=1).rename
    volume = read_volume(folder(Path(str(folder.__self__)).with_name("Doe_Jane")))  # type: ignore[attr-defined]
    text = " ".join([volume.name, *volume.notes]).lower()
    assert volume.name == "thin soft"
    assert not any(word in text for word in ("doe", "jane", "pat0815", "1970"))


@pytest.mark.parametrize("text", ["DOE JANE abd", "janes knee", "for PAT0815", "abd 02.01.1970", "id 4711234", "None"])
def test_a_description_that_points_to_the_patient_is_dropped(
    write_series: Write, numbers: np.ndarray, text: str
) -> None:
    assert read_volume(write_series(numbers, SeriesDescription=text)).name == "CT series"


@pytest.mark.parametrize("name", ["Janes", "DoeJane", "pat0815"])
@pytest.mark.parametrize("begins", range(40, 49))
def test_what_is_cut_off_a_long_description_is_looked_at_too(name: str, begins: int) -> None:
    text = "abdomen portal venous phase thin slices of the upper part"[: begins - 1] + f" {name}"
    assert harmless_description(text, frozenset({"jane", "pat0815"})) == ""


def test_a_long_description_is_cut() -> None:
    text = "abdomen portal venous phase thin slices of the upper part"
    assert harmless_description(text, frozenset()) == text[:48].rstrip()


def test_file_names_are_not_in_the_notes(write_slice: Write, write_series: Write, numbers: np.ndarray) -> None:
    folder = write_series(numbers)
    cut = write_slice(numbers[0], position=(0, 0, 0), name="Doe_Jane.dcm", SeriesInstanceUID="1.2.3.8")
    cut.write_bytes(cut.read_bytes()[:-10])
    (note,) = read_volume(folder).notes
    assert "one file is incomplete" in note
    assert "Doe" not in note


def test_frames_of_an_enhanced_object_are_sorted_by_position(write_multiframe: Write, numbers: np.ndarray) -> None:
    volume = read_volume(write_multiframe(numbers, z=(9, 6, 3, 0)))
    assert np.array_equal(volume.array, numbers[::-1] - 1000)
    assert volume.geometry.origin_mm == (-10.0, 20.0, 0.0)
    assert np.allclose(volume.geometry.spacing_mm, (3.0, 0.75, 0.5))


def test_missing_frames_of_an_enhanced_object_are_refused(write_multiframe: Write, numbers: np.ndarray) -> None:
    with pytest.raises(UnsupportedImageError, match="missing after slice 1"):
        read_volume(write_multiframe(numbers, z=(0, 6, 9, 12)))


def test_frames_without_their_description_are_damage(write_multiframe: Write, numbers: np.ndarray) -> None:
    with pytest.raises(UnreadableFileError, match="describes 3 of 4 frames"):
        read_volume(write_multiframe(numbers, z=(0, 3, 6)))


def test_a_film_without_positions_is_refused(write_slice: Write, numbers: np.ndarray) -> None:
    path = write_slice(numbers[0], position=(0, 0, 0), NumberOfFrames=4, PixelData=numbers.tobytes())
    with pytest.raises(UnsupportedImageError, match="4 pictures"):
        read_volume(path)


def test_a_big_endian_file_reads_as_a_little_endian_one(write_series: Write, numbers: np.ndarray) -> None:
    folder = write_series(numbers)
    for path in folder.iterdir():
        data = pydicom.dcmread(path)
        data.PixelData = data.pixel_array.astype(">i2").tobytes()
        data.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRBigEndian
        pydicom.dcmwrite(path, data, implicit_vr=False, little_endian=False, force_encoding=True)
    assert np.array_equal(read_volume(folder).array, numbers - 1024)


def test_rle_is_unpacked(write_series: Write, numbers: np.ndarray) -> None:
    folder = write_series(numbers)
    for path in folder.iterdir():
        data = pydicom.dcmread(path)
        data.compress(RLELossless, generate_instance_uid=False)
        data.save_as(path)
    assert np.array_equal(read_volume(folder).array, numbers - 1024)


def test_rle_frames_of_an_enhanced_object_are_unpacked(write_multiframe: Write, numbers: np.ndarray) -> None:
    path = write_multiframe(numbers, z=(9, 6, 3, 0))
    data = pydicom.dcmread(path)
    data.compress(RLELossless, generate_instance_uid=False)
    data.save_as(path)
    assert np.array_equal(read_volume(path).array, numbers[::-1] - 1000)


@pytest.fixture
def large() -> np.ndarray:
    """(2, 64, 64) int16; JPEG 2000 halves an image several times."""
    return np.random.default_rng(0).integers(-1000, 2000, (2, 64, 64)).astype(np.int16)


@pytest.mark.parametrize("compressor", ["JPEG", "JPEG2000"])
def test_lossless_jpeg_is_unpacked(write_series: Write, large: np.ndarray, compressor: str) -> None:
    folder = write_series(large)
    for path in folder.iterdir():
        compress(path, compressor)
    assert np.array_equal(read_volume(folder).array, large - 1024)


def compress(path: Path, compressor: str) -> None:
    """Let GDCM compress the pixels and put them into our file."""
    packed = path.with_suffix(".packed")
    writer = sitk.ImageFileWriter()
    writer.SetImageIO("GDCMImageIO")
    writer.SetUseCompression(True)
    writer.SetCompressor(compressor)
    writer.SetFileName(str(packed))
    writer.Execute(sitk.GetImageFromArray(pydicom.dcmread(path).pixel_array))
    data, source = pydicom.dcmread(path), pydicom.dcmread(packed)
    assert source.file_meta.TransferSyntaxUID.is_compressed
    data.PixelData = source.PixelData
    data["PixelData"].VR = "OB"
    data.file_meta.TransferSyntaxUID = source.file_meta.TransferSyntaxUID
    data.save_as(path)
    packed.unlink()


def test_damaged_compressed_pixels_are_refused(write_series: Write, large: np.ndarray) -> None:
    folder = write_series(large)
    path = folder / "slice001.dcm"
    compress(path, "JPEG")
    content = bytearray(path.read_bytes())
    content[-40:-8] = bytes(32)
    path.write_bytes(content[:-8])
    with pytest.raises(UnreadableFileError):
        read_volume(folder)


@pytest.mark.parametrize(
    ("syntax", "word"), [(DeflatedExplicitVRLittleEndian, "deflated"), ("1.2.840.10008.1.2.4.102", "MPEG-4")]
)
def test_a_compression_that_cannot_be_read_is_named(
    write_series: Write, numbers: np.ndarray, syntax: str, word: str
) -> None:
    folder = write_series(numbers)
    for path in folder.iterdir():
        content = path.read_bytes()
        old = b"1.2.840.10008.1.2.1\0"
        new = syntax.encode() + b"\0" * (len(syntax) % 2)
        header = content.replace(
            b"UI" + len(old).to_bytes(2, "little") + old, b"UI" + len(new).to_bytes(2, "little") + new
        )
        path.write_bytes(header)
    with pytest.raises(UnsupportedImageError, match=word):
        read_volume(folder)


def test_a_folder_is_described_by_its_series(write_series: Write, numbers: np.ndarray) -> None:
    facts = describe(write_series(numbers))
    assert facts["kind"] == "DICOM folder"
    assert facts["series"] == [
        {
            "uid": "1.2.3.4",
            "description": "thin soft",
            "modality": "CT",
            "slices": 4,
            "spacing_mm": [3.0, 0.75, 0.5],
            "shape": [4, 6, 5],
            "notes": [],
        }
    ]
    assert facts["value_range"] == [-1023, -904]
