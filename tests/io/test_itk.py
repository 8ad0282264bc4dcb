from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from napari_medmeta.core import Geometry, MedmetaError, UnreadableFileError, UnsupportedImageError, VolumeTooLargeError
from napari_medmeta.io import read_volume, write_image
from napari_medmeta.io.itk import slicer_names

SUFFIXES = [".nrrd", ".mha", ".mhd"]


@pytest.fixture(params=SUFFIXES)
def scan(request: pytest.FixtureRequest, tmp_path: Path, numbers: np.ndarray, grid: Geometry) -> Path:
    return write_image(tmp_path / f"scan{request.param}", numbers, grid)


@pytest.fixture
def nrrd(tmp_path: Path, numbers: np.ndarray, grid: Geometry) -> Path:
    return write_image(tmp_path / "scan.nrrd", numbers, grid)


@pytest.fixture
def pair(tmp_path: Path, numbers: np.ndarray, grid: Geometry) -> Path:
    """A header with an uncompressed data file beside it."""
    path = write_image(tmp_path / "scan.mhd", numbers, grid)
    (tmp_path / "scan.raw").write_bytes(numbers.tobytes())
    text = path.read_text().replace("CompressedData = True", "CompressedData = False").replace(".zraw", ".raw")
    path.write_text("".join(line for line in text.splitlines(True) if "CompressedDataSize" not in line))
    return path


def replace_text(path: Path, old: str, new: str) -> Path:
    data = path.read_bytes()
    assert old.encode() in data
    path.write_bytes(data.replace(old.encode(), new.encode(), 1))
    return path


def test_voxels_and_grid_come_back(scan: Path, numbers: np.ndarray, grid: Geometry) -> None:
    volume = read_volume(scan)
    assert np.array_equal(volume.array, numbers)
    assert volume.array.dtype == np.int16
    assert volume.geometry.same_grid(grid)
    assert volume.notes == ()


def test_voxels_and_grid_are_those_of_simpleitk(scan: Path) -> None:
    image = sitk.ReadImage(str(scan))
    volume = read_volume(scan)
    assert np.array_equal(volume.array, sitk.GetArrayFromImage(image))
    for index in [(0, 0, 0), (4, 5, 3), (1, 2, 3)]:
        assert np.allclose(volume.geometry.to_world(index[::-1]), image.TransformIndexToPhysicalPoint(index))


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
@pytest.mark.parametrize("dtype", ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4"])
def test_every_type_of_voxel_is_kept(tmp_path: Path, suffix: str, dtype: str, grid: Geometry) -> None:
    array = (np.arange(120).reshape(4, 6, 5) % 100).astype(dtype)
    volume = read_volume(write_image(tmp_path / f"scan{suffix}", array, grid))
    assert volume.array.dtype == np.dtype(dtype)
    assert np.array_equal(volume.array, array)


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_double_precision_becomes_single(tmp_path: Path, suffix: str, numbers: np.ndarray, grid: Geometry) -> None:
    path = write_image(tmp_path / f"scan{suffix}", numbers / 4, grid)
    assert read_volume(path).array.dtype == np.float32


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_an_uncompressed_file_reads_as_well(tmp_path: Path, suffix: str, numbers: np.ndarray) -> None:
    path = tmp_path / f"plain{suffix}"
    sitk.WriteImage(sitk.GetImageFromArray(numbers), str(path), useCompression=False)
    assert np.array_equal(read_volume(path).array, numbers)


def test_an_uncompressed_pair_reads_as_well(pair: Path, numbers: np.ndarray) -> None:
    assert np.array_equal(read_volume(pair).array, numbers)


def test_a_ras_nrrd_lies_where_simpleitk_puts_it(nrrd: Path) -> None:
    replace_text(nrrd, "left-posterior-superior", "right-anterior-superior")
    image = sitk.ReadImage(str(nrrd))
    assert np.allclose(read_volume(nrrd).geometry.to_world((3, 2, 1)), image.TransformIndexToPhysicalPoint((1, 2, 3)))


def test_a_file_without_a_direction_opens_with_a_warning(tmp_path: Path, numbers: np.ndarray) -> None:
    path = tmp_path / "plain.nrrd"
    header = "NRRD0004\ntype: short\ndimension: 3\nsizes: 5 6 4\nspacings: 1 1 2\nendian: little\nencoding: raw\n\n"
    path.write_bytes(header.encode() + numbers.tobytes())
    volume = read_volume(path)
    assert np.array_equal(volume.array, numbers)
    assert "left and right" in volume.notes[0]


def test_a_file_without_a_voxel_size_is_refused(tmp_path: Path, numbers: np.ndarray) -> None:
    path = tmp_path / "plain.nrrd"
    header = "NRRD0004\ntype: short\ndimension: 3\nsizes: 5 6 4\nendian: little\nencoding: raw\n\n"
    path.write_bytes(header.encode() + numbers.tobytes())
    with pytest.raises(UnreadableFileError, match="no voxel size"):
        read_volume(path)


def test_a_sheared_nrrd_keeps_its_shear(nrrd: Path, numbers: np.ndarray) -> None:
    lines = nrrd.read_bytes().split(b"\n")
    place = next(n for n, line in enumerate(lines) if line.startswith(b"space directions"))
    lines[place] = b"space directions: (0.5,0,0) (0,0.75,0) (0,0.9,3)"
    nrrd.write_bytes(b"\n".join(lines))
    volume = read_volume(nrrd)
    assert volume.geometry.is_sheared
    assert np.allclose(volume.geometry.affine[:3, 0], [0, 0.9, 3])


@pytest.mark.parametrize("share", [0.05, 0.6, 0.95])
def test_a_truncated_file_is_refused(scan: Path, share: float) -> None:
    data = scan.with_suffix(".zraw") if scan.suffix == ".mhd" else scan
    data.write_bytes(data.read_bytes()[: int(data.stat().st_size * share)])
    with pytest.raises(UnreadableFileError):
        read_volume(scan)


def test_a_truncated_uncompressed_file_is_refused(pair: Path) -> None:
    data = pair.with_suffix(".raw")
    data.write_bytes(data.read_bytes()[:-2])
    with pytest.raises(UnreadableFileError, match="incomplete"):
        read_volume(pair)


def test_more_voxels_than_the_header_says_are_refused(scan: Path) -> None:
    old = "sizes: 5 6 4" if scan.suffix == ".nrrd" else "DimSize = 5 6 4"
    with pytest.raises(UnreadableFileError, match="more voxels"):
        read_volume(replace_text(scan, old, old.replace("4", "3")))


def test_fewer_voxels_than_the_header_says_are_refused(scan: Path) -> None:
    old = "sizes: 5 6 4" if scan.suffix == ".nrrd" else "DimSize = 5 6 4"
    with pytest.raises(UnreadableFileError, match="fewer voxels|damaged"):
        read_volume(replace_text(scan, old, old.replace("4", "9")))


def test_a_header_that_claims_too_much_is_refused_before_memory_is_taken(scan: Path) -> None:
    old = "sizes: 5 6 4" if scan.suffix == ".nrrd" else "DimSize = 5 6 4"
    with pytest.raises(VolumeTooLargeError, match="GB"):
        read_volume(replace_text(scan, old, old.replace("5 6 4", "50000 60000 40000")))


def test_a_packed_bomb_is_not_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "bomb.mha"
    header = "ObjectType = Image\nNDims = 3\nBinaryData = True\nCompressedData = True\nDimSize = 4 4 4\n"
    header += "ElementSpacing = 1 1 1\nElementType = MET_SHORT\nElementDataFile = LOCAL\n"
    path.write_bytes(header.encode() + zlib.compress(bytes(50_000_000)))
    with pytest.raises(UnreadableFileError, match="more voxels"):
        read_volume(path)


def test_a_wrong_size_of_the_packed_voxels_is_noticed(scan: Path) -> None:
    if scan.suffix == ".nrrd":
        pytest.skip("the format does not give it")
    text = scan.read_bytes()
    size = text.split(b"CompressedDataSize = ")[1].split(b"\n")[0].decode()
    with pytest.raises(UnreadableFileError, match="bytes"):
        read_volume(replace_text(scan, f"CompressedDataSize = {size}", f"CompressedDataSize = {int(size) - 9}"))


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "../scan.raw", "..", ".", "sub/scan.raw", "C:\\scan.raw", "LIST", "slice%03d.raw 1 4 1"]
)
def test_a_data_file_elsewhere_is_refused(pair: Path, name: str) -> None:
    replace_text(pair, "ElementDataFile = scan.raw", f"ElementDataFile = {name}")
    with pytest.raises(UnreadableFileError, match="outside its own folder"):
        read_volume(pair)


def test_a_link_out_of_the_folder_is_refused(pair: Path, tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    header = pair.rename(inner / "scan.mhd")
    (inner / "scan.raw").symlink_to(tmp_path / "scan.raw")
    with pytest.raises(UnreadableFileError, match="outside its own folder"):
        read_volume(header)


def test_a_missing_data_file_is_named(pair: Path) -> None:
    pair.with_suffix(".raw").unlink()
    with pytest.raises(UnreadableFileError, match=r"scan\.raw .* is missing"):
        read_volume(pair)


def test_a_nrrd_with_its_voxels_elsewhere_is_refused(nrrd: Path) -> None:
    replace_text(nrrd, "encoding: gzip\n", "encoding: gzip\ndata file: /etc/passwd\n")
    with pytest.raises(UnsupportedImageError, match="another file"):
        read_volume(nrrd)


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_a_colour_image_is_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"colour{suffix}"
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((4, 4, 4, 3), np.uint8), isVector=True), str(path))
    with pytest.raises(UnsupportedImageError, match="colour|volumes"):
        read_volume(path)


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_a_2d_image_is_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"flat{suffix}"
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((4, 4), np.int16)), str(path))
    with pytest.raises(UnsupportedImageError, match="2D"):
        read_volume(path)


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_a_time_series_is_refused_and_a_single_time_point_is_not(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"four{suffix}"
    image = sitk.GetImageFromArray(np.ones((3, 4, 5, 6), np.int16), isVector=False)
    sitk.WriteImage(image, str(path))
    with pytest.raises(UnsupportedImageError, match="3 volumes"):
        read_volume(path)
    sitk.WriteImage(image[..., :1], str(path))
    assert read_volume(path).array.shape == (4, 5, 6)


def test_voxels_that_are_no_numbers_are_refused(tmp_path: Path, numbers: np.ndarray, grid: Geometry) -> None:
    array = numbers.astype(np.float32)
    array[0, 0, 0] = np.nan
    with pytest.raises(UnsupportedImageError, match="1 voxels"):
        read_volume(write_image(tmp_path / "bad.nrrd", array, grid))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("type: short", "type: shirt"),
        ("dimension: 3", "dimension: 2"),
        ("sizes: 5 6 4", "sizes: 5 6 -4"),
        ("endian: little", "endian: middle"),
        ("encoding: gzip", "encoding: hex"),
        ("encoding: gzip", "encoding: gzip\nbyte skip: 4"),
        ("space directions: (", "space directions: (nan"),
        ("NRRD000", "NERD000"),
    ],
)
def test_a_damaged_nrrd_header_is_refused(nrrd: Path, old: str, new: str) -> None:
    with pytest.raises(MedmetaError):
        read_volume(replace_text(nrrd, old, new))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("MET_SHORT", "MET_SHORTS"),
        ("NDims = 3", "NDims = 2"),
        ("DimSize = 5 6 4", "DimSize = 5 6 -4"),
        ("CompressedData = True", "CompressedData = Yes"),
        ("BinaryData = True", "BinaryData = False"),
        ("ElementSpacing = 0.5", "ElementSpacing = 0.5.5"),
        ("ElementSpacing = 0.5", "ElementSpacing = 0"),
        ("ElementSpacing", "ElementSpicing"),
        ("ObjectType = Image", "ObjectType = Tube"),
    ],
)
def test_a_damaged_metaimage_header_is_refused(
    tmp_path: Path, numbers: np.ndarray, grid: Geometry, old: str, new: str
) -> None:
    path = write_image(tmp_path / "scan.mha", numbers, grid)
    with pytest.raises(MedmetaError):
        read_volume(replace_text(path, old, new))


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("content", [b"", b"hello", bytes(1000), b"NRRD0004\n" * 9, b"NDims = 3\n" * 9])
def test_a_file_that_is_no_image_is_refused(tmp_path: Path, content: bytes, suffix: str) -> None:
    path = tmp_path / f"text{suffix}"
    path.write_bytes(content)
    with pytest.raises(UnreadableFileError):
        read_volume(path)


@pytest.mark.parametrize("line", ["DimSize : 9 9 9 = 1", "DimSize = 9 9 9", "no separator"])
def test_a_header_line_that_two_readers_would_read_differently_is_refused(
    tmp_path: Path, numbers: np.ndarray, grid: Geometry, line: str
) -> None:
    path = write_image(tmp_path / "scan.mha", numbers, grid)
    with pytest.raises(UnreadableFileError):
        read_volume(replace_text(path, "NDims = 3\n", f"NDims = 3\n{line}\n"))


def test_further_entries_of_a_metaimage_header_are_no_hindrance(tmp_path: Path, numbers: np.ndarray) -> None:
    image = sitk.GetImageFromArray(numbers)
    image.SetMetaData("0008|0060", "CT")
    image.SetMetaData("a comment", "x" * 3000)
    sitk.WriteImage(image, str(tmp_path / "scan.mha"))
    assert np.array_equal(read_volume(tmp_path / "scan.mha").array, numbers)


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
@pytest.mark.parametrize("size", [127, 128, 129])
def test_a_scan_of_one_value_unpacks_to_its_full_size(tmp_path: Path, suffix: str, size: int) -> None:
    grid = Geometry.from_parts((size, 128, 128))
    array = np.zeros(grid.shape, np.uint8)  # packs a thousandfold: many bytes out for hardly any in
    assert read_volume(write_image(tmp_path / f"flat{suffix}", array, grid)).array.shape == grid.shape


def test_a_segment_without_a_usable_number_has_no_name() -> None:
    values = {"Segment0": "2", "Segment1": "²", "Segment2": "two", "Segment3": ""}
    pairs = {f"{key}_LabelValue": value for key, value in values.items()} | {f"{key}_Name": key for key in values}
    assert slicer_names(pairs) == {2: "Segment0"}
