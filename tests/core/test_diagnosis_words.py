"""Measurements of a case: what they are called, how they are read, what is refused."""

from __future__ import annotations

import math

import pytest

from napari_medmeta.core import InputError, Modality
from napari_medmeta.core.diagnosis import RESEARCH_AID, Feature, KnownCase, MeasuredCase, Quantity, comparable

VOLUME = Feature(Quantity.VOLUME, "left ventricle", "end-diastole")


def test_a_volume_is_read_in_millilitres() -> None:
    assert VOLUME.words == "left ventricle, volume at end-diastole"
    assert VOLUME.shown(math.log(240.2)) == "240 ml"
    assert VOLUME.shown(math.log(1.234)) == "1.23 ml"


def test_a_share_between_phases_and_between_structures_is_read_as_one() -> None:
    ejected = Feature(Quantity.VOLUME, "left ventricle", "end-systole", "left ventricle", "end-diastole")
    beside = Feature(Quantity.VOLUME, "right ventricle", "end-systole", "left ventricle", "end-systole")
    assert ejected.words == "left ventricle, volume at end-systole as a share of that at end-diastole"
    assert beside.words == "right ventricle, volume at end-systole as a share of the left ventricle's"
    assert ejected.shown(math.log(0.353)) == "0.35"


def test_brightness_has_a_sign_and_is_no_logarithm() -> None:
    bright = Feature(Quantity.BRIGHTNESS, "liver")
    assert (bright.words, bright.shown(1.25), bright.shown(-0.5)) == ("liver, brightness", "+1.2", "-0.5")


@pytest.mark.parametrize("values", [{}, {VOLUME: math.nan}, {VOLUME: math.inf}])
def test_a_case_without_finite_measurements_is_refused(values: dict[Feature, float]) -> None:
    with pytest.raises(InputError):
        MeasuredCase(Modality.MR, values)


@pytest.mark.parametrize("finding", ["", "  ", " normal", "x" * 101, "a\nb"])
def test_a_finding_needs_a_clean_name(finding: str) -> None:
    with pytest.raises(InputError, match="name for a finding"):
        KnownCase("1", finding, "2026-01-01", MeasuredCase(Modality.MR, {VOLUME: 1.0}))


def test_phases_and_structures_are_those_of_the_measurements() -> None:
    case = MeasuredCase(Modality.MR, {VOLUME: 1.0, Feature(Quantity.WIDTH, "aorta", "end-systole"): 0.0})
    assert case.phases == ("end-diastole", "end-systole")
    assert case.structures == ("aorta", "left ventricle")


def test_ct_is_compared_with_ct_only() -> None:
    assert comparable(Modality.CT, Modality.CT)
    assert comparable(Modality.MR, Modality.OTHER)
    assert not comparable(Modality.CT, Modality.OTHER)


def test_the_notice_says_that_it_is_no_diagnosis() -> None:
    assert "not for diagnosis" in RESEARCH_AID
