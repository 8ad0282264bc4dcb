from __future__ import annotations

import numpy as np
import pytest

from napari_medmeta.core import StorageError
from napari_medmeta.session.packing import either, pack, present_values, unpack


@pytest.mark.parametrize("values", [[7], [0, 3], [2, 254], [0, 1, 2], list(range(200))])
@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (7, 8), (2, 3, 4), (33, 17)])
def test_what_is_packed_comes_back(values: list[int], shape: tuple[int, ...]) -> None:
    array = np.random.default_rng(0).choice(values, shape).astype(np.uint8)
    assert np.array_equal(unpack(pack(array), shape), array)


def test_a_slice_of_one_structure_takes_a_bit_a_voxel_before_it_is_compressed() -> None:
    noise = np.random.default_rng(0).integers(0, 2, (64, 64)).astype(np.uint8) * 9
    assert len(pack(noise)) < noise.size / 8 + 32


def test_what_is_unpacked_cannot_be_written_to() -> None:
    for values in ([1], [0, 1], [0, 1, 2]):
        array = unpack(pack(np.resize(np.array(values, np.uint8), (3, 4))), (3, 4))
        with pytest.raises(ValueError, match="read-only"):
            array[0, 0] = 5


@pytest.mark.parametrize("size", [(3, 4), (8, 9)])
def test_bits_that_are_too_few_or_too_many_are_refused(size: tuple[int, int]) -> None:
    packed = pack(np.resize(np.array([0, 1], np.uint8), (5, 8)))
    with pytest.raises(StorageError):
        unpack(packed, size)


@pytest.mark.parametrize("size", [1, 7, 8, 9, 64, 1001])
def test_the_values_present_are_found(size: int) -> None:
    rng = np.random.default_rng(size)
    for _ in range(20):
        array = np.repeat(rng.integers(0, 256, size), rng.integers(1, 30)).astype(np.uint8)
        assert present_values(array) == sorted(set(array.tolist()))


def test_either_chooses_as_where_does() -> None:
    rng = np.random.default_rng(1)
    mask = rng.random((6, 7)) < 0.5
    one, other = (rng.integers(0, 256, (6, 7)).astype(np.uint8) for _ in range(2))
    assert np.array_equal(either(mask, one, other), np.where(mask, one, other))
    assert np.array_equal(either(mask[:, ::2], np.uint8(5), other[:, ::2]), np.where(mask[:, ::2], 5, other[:, ::2]))
