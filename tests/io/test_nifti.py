from __future__ import annotations

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from napari_medmeta.core import Geometry, MedmetaError, UnreadableFileError, UnsupportedImageError, VolumeTooLargeError
from napari_medmeta.io import read_volume

AFFINE = np.array([[-0.5, 0, 0, 10], [0, -0.75, 0, 20], [0, 0, 3, -30], [0, 0, 0, 1.0]])


def save(path: Path, data: np.ndarray, *, affine: np.ndarray | None = AFFINE, **header: object) -> Path:
    """Write ``data`` in the file's (i, j, k) order; further header fields as keywords."""
    image = nib.Nifti1Image(data, affine, dtype=data.dtype)
    for key, value in header.items():
        image.header[key] = value
    path.write_bytes(image.to_bytes())
    return path


def patch(path: Path, **fields: object) -> Path:
    """Change header fields of a file in place, whatever nibabel thinks of it."""
    data = path.read_bytes()
    header = nib.Nifti1Header(data[:348], check=False)
    for key, value in fields.items():
        header[key] = value
    path.write_bytes(header.binaryblock + data[348:])
    return path


@pytest.fixture
def ijk() -> np.ndarray:
    return (np.arange(120, dtype=np.int16) - 60).reshape(5, 6, 4)


@pytest.fixture
def scan(tmp_path: Path, ijk: np.ndarray) -> Path:
    return save(tmp_path / "scan.nii", ijk)


def test_the_array_comes_in_slices_rows_columns(scan: Path, ijk: np.ndarray) -> None:
    assert np.array_equal(read_volume(scan).array, ijk.transpose(2, 1, 0))


def test_whole_numbers_keep_their_type(scan: Path) -> None:
    assert read_volume(scan).array.dtype == np.int16


def test_the_grid_is_the_files_in_lps(scan: Path) -> None:
    geometry = read_volume(scan).geometry
    assert geometry.spacing_mm == (3.0, 0.75, 0.5)
    assert geometry.origin_mm == (-10.0, -20.0, -30.0)
    assert geometry.axis_codes == ("S", "P", "L")


def test_a_compressed_file_reads_as_the_plain_one(scan: Path, tmp_path: Path) -> None:
    packed = tmp_path / "scan.nii.gz"
    packed.write_bytes(gzip.compress(scan.read_bytes()))
    assert read_volume(packed).fingerprint == read_volume(scan).fingerprint


def test_a_version_2_file_reads_as_version_1(scan: Path, ijk: np.ndarray, tmp_path: Path) -> None:
    second = tmp_path / "second.nii"
    second.write_bytes(nib.Nifti2Image(ijk, AFFINE).to_bytes())
    assert read_volume(second).fingerprint == read_volume(scan).fingerprint


def test_a_big_endian_file_reads_as_a_little_endian_one(scan: Path, ijk: np.ndarray, tmp_path: Path) -> None:
    image = nib.Nifti1Image(ijk, AFFINE, nib.Nifti1Header(endianness=">"))
    image.set_data_dtype(np.dtype(">i2"))
    swapped = tmp_path / "swapped.nii"
    swapped.write_bytes(image.to_bytes())
    assert swapped.read_bytes()[:4] == (348).to_bytes(4, "big")
    assert read_volume(swapped).fingerprint == read_volume(scan).fingerprint


def test_double_precision_becomes_single(tmp_path: Path, ijk: np.ndarray) -> None:
    volume = read_volume(save(tmp_path / "double.nii", ijk.astype(np.float64) / 4))
    assert volume.array.dtype == np.float32
    assert np.array_equal(volume.array, ijk.transpose(2, 1, 0) / 4)


def test_whole_numbers_stay_whole_under_a_whole_scaling(scan: Path, ijk: np.ndarray) -> None:
    volume = read_volume(patch(scan, scl_slope=2, scl_inter=-1024))
    assert volume.array.dtype == np.int16
    assert np.array_equal(volume.array, ijk.transpose(2, 1, 0) * 2 - 1024)
    assert any("scaled" in note for note in volume.notes)


def test_a_fractional_scaling_gives_fractions(scan: Path, ijk: np.ndarray) -> None:
    volume = read_volume(patch(scan, scl_slope=0.5, scl_inter=0.25))
    assert volume.array.dtype == np.float32
    assert np.array_equal(volume.array, ijk.transpose(2, 1, 0) * 0.5 + 0.25)


def test_a_scaling_beyond_16_bits_takes_32(scan: Path, ijk: np.ndarray) -> None:
    volume = read_volume(patch(scan, scl_slope=1000, scl_inter=0))
    assert volume.array.dtype == np.int32
    assert np.array_equal(volume.array, ijk.transpose(2, 1, 0).astype(int) * 1000)


@pytest.mark.parametrize("slope", [0.0, np.nan])
def test_a_missing_slope_means_no_scaling(scan: Path, slope: float) -> None:
    assert read_volume(patch(scan, scl_slope=slope, scl_inter=5)).array.min() == -60


def test_a_fourth_axis_of_length_1_is_no_harm(tmp_path: Path, ijk: np.ndarray) -> None:
    assert read_volume(save(tmp_path / "four.nii", ijk[..., None])).array.shape == (4, 6, 5)


def test_a_time_series_is_refused_with_the_number_of_volumes(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedImageError, match="7 volumes"):
        read_volume(save(tmp_path / "four.nii", np.zeros((3, 3, 3, 7), np.int16)))


@pytest.mark.parametrize("shape", [(5, 6), (5, 6, 1)])
def test_a_2d_image_is_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    with pytest.raises(UnsupportedImageError, match="2D"):
        read_volume(save(tmp_path / "flat.nii", np.zeros(shape, np.int16)))


@pytest.mark.parametrize("dtype", [[("R", "u1"), ("G", "u1"), ("B", "u1")]])
def test_a_colour_image_is_refused(tmp_path: Path, dtype: object) -> None:
    data = np.zeros((3, 3, 3), dtype=dtype)  # type: ignore[call-overload]
    with pytest.raises(UnsupportedImageError, match="colour"):
        read_volume(save(tmp_path / "colour.nii", data))


def test_a_complex_image_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedImageError, match="complex"):
        read_volume(save(tmp_path / "complex.nii", np.zeros((3, 3, 3), np.complex64)))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_voxels_that_are_no_numbers_are_refused(tmp_path: Path, bad: float) -> None:
    data = np.zeros((3, 3, 3), np.float32)
    data[1, 1, 1] = bad
    with pytest.raises(UnsupportedImageError, match="1 voxels"):
        read_volume(save(tmp_path / "bad.nii", data))


def test_double_precision_beyond_single_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedImageError, match="infinite"):
        read_volume(save(tmp_path / "huge.nii", np.full((3, 3, 3), 1e300)))


def test_two_positions_that_agree_are_not_worth_a_word(scan: Path) -> None:
    assert read_volume(patch(scan, qform_code=1, sform_code=1)).notes == ()


def test_of_two_positions_that_differ_the_sform_is_taken_and_told(tmp_path: Path, ijk: np.ndarray) -> None:
    image = nib.Nifti1Image(ijk, AFFINE)
    moved = AFFINE.copy()
    moved[0, 3] += 25
    image.set_sform(AFFINE, code=1)
    image.set_qform(moved, code=1)
    path = tmp_path / "two.nii"
    path.write_bytes(image.to_bytes())
    volume = read_volume(path)
    assert volume.geometry.origin_mm == (-10.0, -20.0, -30.0)
    assert "differ by up to 25 mm" in volume.notes[0]


def test_the_qform_alone_is_enough(tmp_path: Path, ijk: np.ndarray) -> None:
    image = nib.Nifti1Image(ijk, None)
    image.set_qform(AFFINE, code=1)
    path = tmp_path / "qform.nii"
    path.write_bytes(image.to_bytes())
    volume = read_volume(path)
    assert np.allclose(volume.geometry.ras_affine[:, [2, 1, 0, 3]], AFFINE, atol=1e-5)
    assert volume.notes == ()


def test_an_unusable_sform_gives_way_to_the_qform(scan: Path) -> None:
    good = read_volume(patch(scan, qform_code=1)).geometry
    volume = read_volume(patch(scan, srow_x=[0, 0, 0, 0]))
    assert volume.geometry.same_grid(good)
    assert "not usable" in volume.notes[0]


def test_without_a_usable_position_matrix_the_file_is_refused(scan: Path) -> None:
    with pytest.raises(UnreadableFileError, match="neither"):
        read_volume(patch(scan, srow_x=[np.nan] * 4, qform_code=0))


def test_a_file_without_position_codes_opens_with_a_warning(tmp_path: Path, ijk: np.ndarray) -> None:
    volume = read_volume(save(tmp_path / "lost.nii", ijk, affine=None, pixdim=[1, 0.5, 0.75, 3, 0, 0, 0, 0]))
    assert volume.geometry.spacing_mm == (3.0, 0.75, 0.5)
    assert "left and right" in volume.notes[0]


def test_a_sheared_sform_stays_sheared(tmp_path: Path, ijk: np.ndarray) -> None:
    affine = AFFINE.copy()
    affine[1, 2] = 0.8
    volume = read_volume(save(tmp_path / "sheared.nii", ijk, affine=affine, qform_code=0))
    assert volume.geometry.is_sheared
    assert np.allclose(volume.geometry.ras_affine[:, [2, 1, 0, 3]], affine, atol=1e-6)


@pytest.mark.parametrize(("unit", "factor"), [(1, 1000.0), (3, 0.001)])
def test_other_units_become_millimetres(tmp_path: Path, ijk: np.ndarray, unit: int, factor: float) -> None:
    path = save(tmp_path / "unit.nii", ijk, affine=np.diag([0.5 / factor, 0.5 / factor, 2 / factor, 1]))
    volume = read_volume(patch(path, xyzt_units=unit))
    assert np.allclose(volume.geometry.spacing_mm, (2, 0.5, 0.5))
    assert "mm" in volume.notes[-1]


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
@pytest.mark.parametrize("packed", [False, True])
def test_a_truncated_file_is_refused(scan: Path, tmp_path: Path, share: float, packed: bool) -> None:
    data = gzip.compress(scan.read_bytes()) if packed else scan.read_bytes()
    path = tmp_path / ("cut.nii.gz" if packed else "cut.nii")
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(UnreadableFileError):
        read_volume(path)


def test_a_flipped_bit_in_compressed_voxels_is_noticed(scan: Path, tmp_path: Path) -> None:
    data = bytearray(gzip.compress(scan.read_bytes()))
    data[-6] ^= 1  # in the checksum's own neighbourhood, where unpacking alone would not stumble
    path = tmp_path / "flip.nii.gz"
    path.write_bytes(data)
    with pytest.raises(UnreadableFileError, match="damaged"):
        read_volume(path)


def test_more_voxels_than_the_header_says_are_refused(scan: Path) -> None:
    with pytest.raises(UnreadableFileError, match="more voxels"):
        read_volume(patch(scan, dim=[3, 5, 6, 3, 1, 1, 1, 1]))


def test_zero_bytes_after_the_voxels_are_padding(scan: Path) -> None:
    before = read_volume(scan).fingerprint
    scan.write_bytes(scan.read_bytes() + bytes(64))
    assert read_volume(scan).fingerprint == before


def test_a_header_that_claims_too_much_is_refused_before_memory_is_taken(scan: Path, tmp_path: Path) -> None:
    patch(scan, dim=[3, 32000, 32000, 32000, 1, 1, 1, 1])
    packed = tmp_path / "bomb.nii.gz"
    packed.write_bytes(gzip.compress(scan.read_bytes()))
    for path in (scan, packed):
        with pytest.raises(UnreadableFileError, match="65536000000352 bytes"):
            read_volume(path, memory_limit_bytes=10**18)


def test_a_scan_too_large_for_memory_is_refused_with_what_it_takes(scan: Path) -> None:
    with pytest.raises(VolumeTooLargeError, match=r"4 x 6 x 5 voxels; opening it takes 0\.2 kB"):
        read_volume(scan, memory_limit_bytes=100)


@pytest.mark.parametrize(
    "fields",
    [
        {"dim": [9, 5, 6, 4, 1, 1, 1, 1]},
        {"dim": [3, -5, 6, 4, 1, 1, 1, 1]},
        {"dim": [3, 0, 6, 4, 1, 1, 1, 1]},
        {"datatype": 77},
        {"bitpix": 32},
        {"vox_offset": np.nan},
        {"vox_offset": 12},
        {"vox_offset": 1e30},
        {"magic": b"ni1"},
        {"scl_slope": 2, "scl_inter": np.inf},
        {"srow_z": [0, 0, 1e9, 0]},
        {"srow_z": [0, 0, 3, 1e9]},
    ],
)
def test_a_header_that_contradicts_itself_is_refused(scan: Path, fields: dict[str, object]) -> None:
    with pytest.raises(MedmetaError):
        read_volume(patch(scan, **fields))


@pytest.mark.parametrize("content", [b"", b"hello", bytes(1000), b"\x1f\x8b", b"\x1f\x8b" + bytes(50)])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_a_file_that_is_no_image_is_refused(tmp_path: Path, content: bytes, suffix: str) -> None:
    path = tmp_path / f"text{suffix}"
    path.write_bytes(content)
    with pytest.raises(UnreadableFileError):
        read_volume(path)


def test_the_name_is_the_files_without_its_suffix(scan: Path, tmp_path: Path) -> None:
    packed = tmp_path / "liver.v2.nii.gz"
    packed.write_bytes(gzip.compress(scan.read_bytes()))
    assert read_volume(packed).name == "liver.v2"


def test_the_grid_agrees_with_nibabel_on_every_real_case(shared_data: Path) -> None:
    for path in sorted(shared_data.glob("cases/*/image.nii.gz")):
        image = nib.load(path)
        volume = read_volume(path)
        expected = Geometry(volume.geometry.shape, np.diag([-1, -1, 1, 1.0]) @ image.affine[:, [2, 1, 0, 3]])
        assert volume.geometry.same_grid(expected), path
        assert volume.array.dtype == (np.float32 if image.get_data_dtype().kind == "f" else image.get_data_dtype())
