"""Synthetic beating hearts show the finding that they were drawn for."""

from __future__ import annotations

import numpy as np
import pytest

from napari_medmeta.core import InputError
from napari_medmeta.core.heart_phantoms import HEART_FINDINGS, HEART_NAMES, beating_heart
from napari_medmeta.core.phantoms import Phantom


def ml(phantom: Phantom, structure: int) -> float:
    return float(np.count_nonzero(phantom.labels == structure)) * phantom.volume.geometry.voxel_volume_ml


@pytest.fixture(scope="module")
def hearts() -> dict[str, dict[str, Phantom]]:
    return {finding: beating_heart(finding, seed=3) for finding in HEART_FINDINGS}


def test_every_heart_has_all_structures_in_both_phases(hearts: dict[str, dict[str, Phantom]]) -> None:
    for heart in hearts.values():
        assert list(heart) == ["end-diastole", "end-systole"]
        assert all(ml(phantom, s) > 10 for phantom in heart.values() for s in HEART_NAMES)


def test_a_dilated_heart_ejects_little_and_a_normal_one_much(hearts: dict[str, dict[str, Phantom]]) -> None:
    left = {f: 1 - ml(h["end-systole"], 3) / ml(h["end-diastole"], 3) for f, h in hearts.items()}
    assert left["dilated cardiomyopathy"] < 0.42 < 0.45 < left["normal"]


def test_muscle_is_not_lost_in_a_beat(hearts: dict[str, dict[str, Phantom]]) -> None:
    for heart in hearts.values():
        assert ml(heart["end-systole"], 2) == pytest.approx(ml(heart["end-diastole"], 2), rel=0.05)


def test_the_same_seed_gives_the_same_patient_and_another_one_another() -> None:
    first, again, other = (beating_heart("normal", seed=seed)["end-diastole"] for seed in (1, 1, 2))
    assert np.array_equal(first.volume.array, again.volume.array)
    assert not np.array_equal(first.labels, other.labels)


def test_an_unknown_finding_is_refused() -> None:
    with pytest.raises(InputError, match="no synthetic heart"):
        beating_heart("broken")
