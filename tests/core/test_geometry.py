from __future__ import annotations

import itertools

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from napari_medmeta.core import DISPLAY_CODES, Geometry, GeometryMismatchError, InputError

ALL_CODES = [codes for letters in itertools.permutations(("RL", "AP", "IS")) for codes in itertools.product(*letters)]

shapes = st.tuples(*[st.integers(1, 7)] * 3)
spacings = st.tuples(*[st.floats(0.2, 8.0)] * 3)
origins = st.tuples(*[st.floats(-500, 500)] * 3)


@st.composite
def rotations(draw: st.DrawFn) -> np.ndarray:
    """Any rotation, mirrored or not: the Q of a QR decomposition."""
    values = draw(hnp.arrays(np.float64, (3, 3), elements=st.floats(-1, 1)))
    q, _ = np.linalg.qr(values + 3 * np.eye(3)[draw(st.permutations(range(3)))])
    return q * np.array([draw(st.sampled_from([-1, 1])) for _ in range(3)])


@st.composite
def grids(draw: st.DrawFn, *, sheared: bool = False) -> Geometry:
    """Any grid; a sheared one leans by up to 35 degrees, as far as a gantry tilts."""
    spacing = draw(spacings)
    grid = Geometry.from_parts(draw(shapes), spacing_mm=spacing, origin_mm=draw(origins), direction=draw(rotations()))
    if not sheared:
        return grid
    affine = np.array(grid.affine)
    lean = draw(st.floats(0.01, 0.7)) * draw(st.sampled_from([-1, 1]))
    affine[:3, 0] += affine[:3, 1] / spacing[1] * spacing[0] * lean
    return Geometry(grid.shape, affine)


@pytest.fixture
def axial() -> Geometry:
    """Array axes to superior, posterior, left; 4 x 3 x 2 voxels of 5 x 2 x 1 mm."""
    return Geometry.from_parts((4, 3, 2), spacing_mm=(5, 2, 1), origin_mm=(10, 20, 30))


def test_an_index_becomes_its_place_in_the_patient(axial: Geometry) -> None:
    assert axial.to_world((1, 2, 1)).tolist() == [11, 24, 35]


def test_a_place_in_the_patient_becomes_its_index(axial: Geometry) -> None:
    assert axial.to_index((11, 24, 35)).tolist() == [1, 2, 1]


def test_many_points_are_mapped_at_once(axial: Geometry) -> None:
    assert axial.to_world(np.zeros((5, 2, 3))).shape == (5, 2, 3)


@given(grid=st.one_of(grids(), grids(sheared=True)), fraction=hnp.arrays(np.float64, 3, elements=st.floats(0, 1)))
def test_index_to_patient_and_back_is_exact(grid: Geometry, fraction: np.ndarray) -> None:
    index = fraction * (np.asarray(grid.shape) - 1)
    assert np.allclose(grid.to_index(grid.to_world(index)), index, atol=1e-8)


@given(grid=grids())
def test_spacing_direction_and_origin_rebuild_the_affine(grid: Geometry) -> None:
    again = Geometry.from_parts(
        grid.shape, spacing_mm=grid.spacing_mm, origin_mm=grid.origin_mm, direction=grid.direction
    )
    assert np.allclose(again.affine, grid.affine, atol=1e-9)


@given(grid=grids())
def test_axis_codes_are_those_of_nibabel(grid: Geometry) -> None:
    strength = np.sort(np.abs(grid.direction), axis=0)
    if (strength[2] - strength[1]).min() > 1e-3:  # at 45 degrees either letter is right
        assert grid.axis_codes == nib.aff2axcodes(grid.ras_affine)


def test_two_axes_at_45_degrees_never_share_a_letter() -> None:
    c = np.sqrt(0.5)
    grid = Geometry.from_parts((2, 2, 2), direction=np.array([[c, c, 0], [c, -c, 0], [0, 0, 1]]))
    assert {"RL".find(a) >= 0 for a in grid.axis_codes} == {True, False}
    assert len({"RLAPIS".index(a) // 2 for a in grid.axis_codes}) == 3


def test_the_voxel_volume_is_in_millilitres(axial: Geometry) -> None:
    assert axial.voxel_volume_ml == pytest.approx(0.01)


def test_the_axis_of_largest_spacing_is_through_plane(axial: Geometry) -> None:
    assert axial.through_plane_axis == 0


def test_of_equal_spacings_the_first_is_through_plane() -> None:
    assert Geometry.from_parts((2, 2, 2), spacing_mm=(1, 1.00000001, 1)).through_plane_axis == 0


def test_a_straight_grid_is_neither_oblique_nor_sheared(axial: Geometry) -> None:
    assert not axial.is_oblique
    assert not axial.is_sheared


@given(grid=grids(sheared=True))
def test_a_leaning_axis_is_shear(grid: Geometry) -> None:
    assert grid.is_sheared


@given(grid=grids())
def test_a_turned_grid_is_not_sheared(grid: Geometry) -> None:
    assert not grid.is_sheared


@given(grid=grids(), codes=st.sampled_from(ALL_CODES))
def test_reorienting_and_back_gives_the_very_same_voxels(grid: Geometry, codes: tuple[str, str, str]) -> None:
    array = np.arange(np.prod(grid.shape), dtype=np.int32).reshape(grid.shape)
    change = grid.reoriented(codes)
    assert change.is_exact
    assert np.array_equal(change.labels_to_original(change.image_to_working(array)), array)


@given(grid=grids(), codes=st.sampled_from(ALL_CODES))
def test_a_reoriented_grid_has_the_wanted_axis_codes(grid: Geometry, codes: tuple[str, str, str]) -> None:
    assert grid.reoriented(codes).working.axis_codes == codes


@given(grid=grids(), codes=st.sampled_from(ALL_CODES), data=st.data())
def test_a_reoriented_voxel_stays_at_its_place(
    grid: Geometry, codes: tuple[str, str, str], data: st.DataObject
) -> None:
    index = tuple(data.draw(st.integers(0, n - 1)) for n in grid.shape)
    array = np.zeros(grid.shape, dtype=np.uint8)
    array[index] = 1
    change = grid.reoriented(codes)
    moved = np.argwhere(change.labels_to_working(array))[0]
    assert np.allclose(change.working.to_world(moved), grid.to_world(index), atol=1e-8)


@given(grid=grids(sheared=True))
def test_a_deskewed_grid_holds_every_voxel_centre(grid: Geometry) -> None:
    straight = grid.deskewed()
    corners = np.array(list(itertools.product(*[(0, n - 1) for n in grid.shape])))
    index = straight.to_index(grid.to_world(corners))
    assert index.min() > -1e-3
    assert (index <= np.asarray(straight.shape) - 1 + 1e-3).all()


@given(grid=grids(sheared=True))
def test_a_deskewed_grid_is_right_angled_and_no_coarser(grid: Geometry) -> None:
    straight = grid.deskewed()
    assert not straight.is_sheared
    assert all(a <= b + 1e-9 for a, b in zip(straight.spacing_mm, grid.spacing_mm, strict=True))


def test_a_straight_grid_is_its_own_deskewed_one(axial: Geometry) -> None:
    assert axial.deskewed() is axial


def test_labels_on_a_tilted_scan_come_back_as_they_were_painted() -> None:
    affine = np.array(Geometry.from_parts((6, 12, 12), spacing_mm=(3, 1, 1)).affine)
    affine[1, 0] += 0.9
    grid = Geometry((6, 12, 12), affine)
    labels = np.zeros(grid.shape, dtype=np.uint8)
    labels[1:5, 3:9, 3:9] = 7
    change = grid.reoriented(DISPLAY_CODES)
    back = change.labels_to_original(change.labels_to_working(labels))
    assert not change.is_exact
    assert set(np.unique(back)) == {0, 7}
    assert np.mean(back != labels) < 0.05


TILTS = [(0.31, 0.0), (-0.12, 0.0), (0.2, 0.1), (-0.4, -0.07), (0.05, 0.3)]
"""Gantry tilt as a step per mm, and by how many radians the whole grid is turned."""


def tilted(step: float, turn: float) -> Geometry:
    affine = np.array(Geometry.from_parts((6, 9, 8), spacing_mm=(2.3, 0.9, 1.1), origin_mm=(-31.7, 12.9, 88.3)).affine)
    affine[1, 0] += 2.3 * step
    turned = np.eye(4)
    turned[:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    turned[1:3, 1:3] = turned[1:3, 1:3] @ [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    return Geometry((6, 9, 8), turned @ affine)


@pytest.mark.parametrize(("step", "turn"), TILTS)
def test_labels_reach_the_outermost_voxels_of_a_tilted_scan(step: float, turn: float) -> None:
    change = tilted(step, turn).reoriented(DISPLAY_CODES)
    assert not change.is_exact
    assert change.labels_to_original(np.full(change.working.shape, 7, np.uint8)).min() == 7


@pytest.mark.parametrize("step", [0.31, -0.12, 0.2, -0.4, 0.05])
def test_a_tilted_scan_keeps_its_outermost_voxels(step: float) -> None:
    grid = tilted(step, 0.0)
    change = grid.reoriented(DISPLAY_CODES)
    image = np.full(grid.shape, 100, np.int16)
    image[2, 4, 4] = -1000
    # Where the tilt begins, a corner of both grids is one and the same place.
    corners = change.working.to_index(grid.to_world([[0, 0, 0], [0, 8, 0], [5, 0, 0], [5, 8, 0]]))
    corner = min(corners, key=lambda index: float(np.abs(index - np.rint(index)).max()))
    assert np.allclose(corner, np.rint(corner), atol=1e-9)
    assert change.image_to_working(image)[tuple(np.rint(corner).astype(int))] == 100


@pytest.mark.parametrize(("step", "turn"), TILTS)
def test_beyond_a_tilted_scan_is_nothing(step: float, turn: float) -> None:
    grid = tilted(step, turn)
    change = grid.reoriented(DISPLAY_CODES)
    labels = change.labels_to_working(np.full(grid.shape, 7, np.uint8))
    index = grid.to_index(change.working.to_world(np.moveaxis(np.indices(change.working.shape), 0, -1)))
    outside = ((index < -0.51) | (index > np.asarray(grid.shape) - 0.49)).any(axis=-1)
    assert outside.any()
    assert not labels[outside].any()


def test_a_tilted_image_is_carried_to_its_place() -> None:
    affine = np.array(Geometry.from_parts((5, 20, 4), spacing_mm=(2, 1, 1)).affine)
    affine[1, 0] += 0.5
    grid = Geometry((5, 20, 4), affine)
    heights = grid.to_world(np.moveaxis(np.indices(grid.shape), 0, -1))[..., 1]  # grey value = posterior position
    change = grid.reoriented(DISPLAY_CODES)
    working = change.image_to_working(heights)
    places = change.working.to_world(np.moveaxis(np.indices(change.working.shape), 0, -1))[..., 1]
    inside = (slice(1, -1), slice(4, -4), slice(1, -1))
    assert np.allclose(working[inside], places[inside], atol=1e-6)


def test_grids_within_a_hundredth_of_a_millimetre_are_the_same(axial: Geometry) -> None:
    affine = np.array(axial.affine)
    affine[0, 3] += 0.005
    assert axial.same_grid(Geometry(axial.shape, affine))


def test_a_shifted_grid_is_another_one(axial: Geometry) -> None:
    affine = np.array(axial.affine)
    affine[0, 3] += 0.5
    assert not axial.same_grid(Geometry(axial.shape, affine))


def test_a_grid_of_another_shape_is_another_one(axial: Geometry) -> None:
    assert not axial.same_grid(Geometry((4, 3, 3), axial.affine))


def test_another_grid_is_refused_by_what_it_is(axial: Geometry) -> None:
    other = Geometry.from_parts((4, 3, 2), spacing_mm=(5, 2, 2))
    with pytest.raises(GeometryMismatchError, match="The labels does not lie|labels.nii does not lie") as caught:
        axial.require_same_grid(other, what="labels.nii")
    assert "5 x 2 x 2 mm" in caught.value.message
    assert "5 x 2 x 1 mm" in caught.value.message


def told(scan: Geometry, other: Geometry) -> tuple[str, str]:
    with pytest.raises(GeometryMismatchError) as caught:
        scan.require_same_grid(other, what="labels.nii")
    return caught.value.found, caught.value.expected


def test_only_what_differs_is_told(axial: Geometry) -> None:
    larger = Geometry((6, 3, 2), axial.affine)
    found, expected = told(axial, larger)
    assert "size 6 x 3 x 2 voxels" in found
    assert "4 x 3 x 2 voxels" in expected
    assert "mm away" in found
    assert "spacing" not in found
    assert "turned" not in found


def test_a_grid_elsewhere_is_told_by_how_far(axial: Geometry) -> None:
    affine = np.array(axial.affine)
    affine[:3, 3] += (30, 0, 40)
    assert told(axial, Geometry(axial.shape, affine))[0].endswith(": 50 mm away")


def test_a_grid_counted_the_other_way_is_told_in_the_patients_directions(axial: Geometry) -> None:
    other = axial.reoriented(("I", "P", "L")).working
    found, expected = told(axial, other)
    assert "slices counted towards the feet, rows towards the back" in found
    assert "slices counted towards the head, rows towards the back" in expected
    assert "mm away" not in found


def test_a_turned_grid_is_told_by_its_angle(axial: Geometry) -> None:
    angle = np.radians(20)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    assert "turned by 20 degrees" in told(axial, Geometry(axial.shape, turn @ axial.affine))[0]


def test_a_difference_too_small_for_words_is_told_at_the_corners() -> None:
    scan = Geometry.from_parts((400, 3, 3), spacing_mm=(1, 1, 1), origin_mm=(0, 0, 0))
    other = Geometry.from_parts((400, 3, 3), spacing_mm=(1.0002, 1, 1), origin_mm=(0, 0, -0.0399))
    assert "0.0399 mm away" in told(scan, other)[0]


@pytest.mark.parametrize("codes", ["IPL", "SPL", "RAI"])
def test_no_letters_stand_for_directions(axial: Geometry, codes: str) -> None:
    other = Geometry((5, 5, 5), axial.reoriented((codes[0], codes[1], codes[2])).working.affine)
    assert not {"IPL", "SPL", "RAI", "LPS"} & set(told(axial, other)[0].replace(",", "").split())


@pytest.mark.parametrize(
    ("shape", "affine"),
    [
        ((0, 3, 3), np.eye(4)),
        ((3, 3), np.eye(4)),
        ((3, 3, 3), np.eye(3)),
        ((3, 3, 3), np.full((4, 4), np.nan)),
        ((3, 3, 3), np.diag([1.0, 0.0, 1.0, 1.0])),
        ((3, 3, 3), np.array([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])),
    ],
)
def test_an_impossible_grid_is_refused(shape: tuple[int, ...], affine: np.ndarray) -> None:
    with pytest.raises(InputError):
        Geometry(shape, affine)  # type: ignore[arg-type]


def test_a_grid_cannot_be_changed(axial: Geometry) -> None:
    with pytest.raises(ValueError, match="read-only"):
        axial.affine[0, 0] = 2


@pytest.mark.parametrize("codes", [("L", "R", "S"), ("X", "P", "S")])
def test_an_impossible_orientation_is_refused(axial: Geometry, codes: tuple[str, str, str]) -> None:
    with pytest.raises(InputError):
        axial.reoriented(codes)


def test_an_array_of_another_shape_is_not_reoriented(axial: Geometry) -> None:
    with pytest.raises(GeometryMismatchError):
        axial.reoriented().image_to_working(np.zeros((2, 2, 2)))
