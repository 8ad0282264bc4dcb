from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from napari_medmeta.core import Geometry, GeometryMismatchError, InputError, StorageError
from napari_medmeta.io import read_labels, read_volume, write_image, write_labels

SUFFIXES = [".nii", ".nii.gz", ".nrrd", ".mha", ".mhd"]
RAS = np.diag([-1.0, -1.0, 1.0, 1.0])

in_one_folder = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@st.composite
def scanned_grids(draw: st.DrawFn) -> Geometry:
    """Any oblique grid a scanner could give, right- or left-handed."""
    shape = draw(st.tuples(*[st.integers(2, 6)] * 3))
    spacing = draw(st.tuples(*[st.floats(0.2, 9.0)] * 3))
    origin = draw(st.tuples(*[st.floats(-900, 900)] * 3))
    angles = draw(st.tuples(*[st.floats(-3.1, 3.1)] * 3))
    turn = sitk.Euler3DTransform((0.0, 0.0, 0.0), *angles).GetMatrix()
    direction = np.reshape(turn, (3, 3))[:, draw(st.permutations(range(3)))]
    return Geometry.from_parts(shape, spacing_mm=spacing, origin_mm=origin, direction=direction)


@pytest.fixture
def labels() -> np.ndarray:
    array = np.zeros((4, 6, 5), dtype=np.uint8)
    array[1:3, 2:4, 1:4] = 1
    array[3, 5, 4] = 255
    return array


def place(folder: Path, suffix: str) -> Path:
    """Return a path whose stem no other format has: ITK takes the voxels of a.nii when it is asked for a.nii.gz."""
    return folder / f"labels-{suffix.replace('.', '')}{suffix}"


def some_labels(shape: tuple[int, int, int]) -> np.ndarray:
    return (np.arange(np.prod(shape)) % 256).astype(np.uint8).reshape(shape)


@in_one_folder
@given(grid=scanned_grids(), suffix=st.sampled_from(SUFFIXES))
def test_labels_come_back_on_the_very_same_grid(tmp_path: Path, grid: Geometry, suffix: str) -> None:
    array = some_labels(grid.shape)
    again, geometry = read_labels(write_labels(place(tmp_path, suffix), array, grid), like=grid)
    assert np.array_equal(again, array)
    assert np.allclose(geometry.affine, grid.affine, atol=1e-3)


@in_one_folder
@given(grid=scanned_grids(), suffix=st.sampled_from(SUFFIXES))
def test_simpleitk_reads_the_same_voxels_at_the_same_places(tmp_path: Path, grid: Geometry, suffix: str) -> None:
    array = some_labels(grid.shape)
    image = sitk.ReadImage(str(write_labels(place(tmp_path, suffix), array, grid)))
    assert image.GetPixelID() == sitk.sitkUInt8
    assert np.array_equal(sitk.GetArrayFromImage(image), array)
    for index in np.ndindex(2, 2, 2):
        corner = np.array(index) * (np.array(grid.shape) - 1)
        assert np.allclose(image.TransformIndexToPhysicalPoint(corner[::-1].tolist()), grid.to_world(corner), atol=0.01)


@in_one_folder
@given(grid=scanned_grids(), suffix=st.sampled_from([".nii", ".nii.gz"]))
def test_nibabel_reads_the_same_voxels_at_the_same_places(tmp_path: Path, grid: Geometry, suffix: str) -> None:
    array = some_labels(grid.shape)
    image = nib.load(write_labels(place(tmp_path, suffix), array, grid))
    assert image.get_data_dtype() == np.uint8
    assert np.array_equal(np.asarray(image.dataobj).transpose(2, 1, 0), array)
    assert np.allclose(RAS @ image.affine[:, [2, 1, 0, 3]], grid.affine, atol=1e-3)
    assert np.allclose(image.get_qform(), image.get_sform(), atol=0.01)


def test_a_tilted_grid_is_kept_in_nifti(tmp_path: Path, labels: np.ndarray, sheared_grid: Geometry) -> None:
    again, _ = read_labels(write_labels(tmp_path / "labels.nii.gz", labels, sheared_grid), like=sheared_grid)
    assert np.array_equal(again, labels)


@pytest.mark.parametrize("suffix", [".nrrd", ".mha", ".mhd"])
def test_a_tilted_grid_is_refused_elsewhere(
    tmp_path: Path, labels: np.ndarray, sheared_grid: Geometry, suffix: str
) -> None:
    with pytest.raises(InputError, match=r"\.nii\.gz"):
        write_labels(tmp_path / f"labels{suffix}", labels, sheared_grid)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_only_the_file_itself_is_left(tmp_path: Path, labels: np.ndarray, grid: Geometry, suffix: str) -> None:
    write_labels(tmp_path / f"labels{suffix}", labels, grid)
    beside = {"labels.zraw"} if suffix == ".mhd" else set()
    assert {p.name for p in tmp_path.iterdir()} == {f"labels{suffix}"} | beside


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_writing_again_replaces_the_older_file(tmp_path: Path, labels: np.ndarray, grid: Geometry, suffix: str) -> None:
    path = tmp_path / f"labels{suffix}"
    write_labels(path, np.zeros_like(labels), grid)
    write_labels(path, labels, grid)
    assert np.array_equal(read_labels(path)[0], labels)


def test_the_same_labels_give_the_same_bytes(tmp_path: Path, labels: np.ndarray, grid: Geometry) -> None:
    one = write_labels(tmp_path / "one.nii.gz", labels, grid).read_bytes()
    assert write_labels(tmp_path / "two.nii.gz", labels, grid).read_bytes() == one


def test_the_suffix_may_be_in_capitals(tmp_path: Path, labels: np.ndarray, grid: Geometry) -> None:
    assert np.array_equal(read_labels(write_labels(tmp_path / "LABELS.NII.GZ", labels, grid))[0], labels)


def test_names_are_kept_as_slicers_segments(tmp_path: Path, labels: np.ndarray, grid: Geometry) -> None:
    path = write_labels(tmp_path / "labels.nrrd", labels, grid, names={1: "left\nkidney", 2: "Milz (groß)"})
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    assert reader.GetMetaData("Segment0_Name") == "left kidney"
    assert reader.GetMetaData("Segment1_LabelValue") == "2"
    assert np.array_equal(read_labels(path)[0], labels)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_names_do_no_harm_to_any_format(tmp_path: Path, labels: np.ndarray, grid: Geometry, suffix: str) -> None:
    path = write_labels(tmp_path / f"labels{suffix}", labels, grid, names={1: "liver", 254: "x" * 2000})
    assert np.array_equal(read_labels(path, like=grid)[0], labels)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_image_keeps_its_values_and_type(tmp_path: Path, numbers: np.ndarray, grid: Geometry, suffix: str) -> None:
    volume = read_volume(write_image(tmp_path / f"scan{suffix}", numbers - 60, grid))
    assert np.array_equal(volume.array, numbers - 60)
    assert volume.array.dtype == np.int16


@pytest.mark.parametrize("name", ["labels.txt", "labels", "labels.gz", "labels.dcm"])
def test_an_unknown_suffix_is_refused(tmp_path: Path, labels: np.ndarray, grid: Geometry, name: str) -> None:
    with pytest.raises(InputError, match="cannot be written"):
        write_labels(tmp_path / name, labels, grid)


@pytest.mark.parametrize("bad", [np.full((4, 6, 5), -1), np.full((4, 6, 5), 256), np.zeros((4, 6, 5), np.float32)])
def test_what_is_no_label_is_not_written_as_one(tmp_path: Path, bad: np.ndarray, grid: Geometry) -> None:
    with pytest.raises(InputError, match="whole numbers"):
        write_labels(tmp_path / "labels.nii", bad, grid)


def test_labels_of_another_shape_are_refused(tmp_path: Path, grid: Geometry) -> None:
    with pytest.raises(GeometryMismatchError):
        write_labels(tmp_path / "labels.nii", np.zeros((2, 2, 2), np.uint8), grid)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_missing_folder_is_named(tmp_path: Path, labels: np.ndarray, grid: Geometry, suffix: str) -> None:
    with pytest.raises(StorageError, match="There is no folder"):
        write_labels(tmp_path / "no" / f"labels{suffix}", labels, grid)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_without_permission_nothing_is_written(
    tmp_path: Path, labels: np.ndarray, grid: Geometry, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "replace", refuse)  # chmod would not stop a test that runs as root
    with pytest.raises(StorageError, match="may not write"):
        write_labels(tmp_path / f"labels{suffix}", labels, grid)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_another_program_holds_is_named_and_stays(
    tmp_path: Path, labels: np.ndarray, grid: Geometry, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:  # as Windows does while a spreadsheet or a viewer shows the file
        raise PermissionError(errno.EACCES, "Access is denied")

    path = write_labels(tmp_path / "labels.nii.gz", labels, grid)
    before = path.read_bytes()
    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(StorageError, match=r"labels.nii.gz cannot be replaced.* Close it there"):
        write_labels(path, labels * 0, grid)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_named(tmp_path: Path, labels: np.ndarray, grid: Geometry) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(StorageError, match="may not write"):
        write_labels(tmp_path / "labels.nii.gz", labels, grid)


@pytest.fixture
def almost_full_disk() -> Iterator[None]:
    """Let no file grow beyond 20 kB, as on a disk that fills up (Linux and macOS)."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.usefixtures("almost_full_disk")
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_full_disk_leaves_the_older_file_whole(tmp_path: Path, suffix: str) -> None:
    grid = Geometry.from_parts((40, 40, 40))
    path = tmp_path / f"labels{suffix}"
    small = Geometry.from_parts((3, 3, 3))
    older = np.ones((3, 3, 3), np.uint8)
    write_labels(path, older, small)
    noise = np.random.default_rng(0).integers(0, 255, grid.shape, dtype=np.uint8)
    with pytest.raises(StorageError, match="disk is full|could not be written"):
        write_labels(path, noise, grid)
    assert np.array_equal(read_labels(path, like=small)[0], older)
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".writing")]
