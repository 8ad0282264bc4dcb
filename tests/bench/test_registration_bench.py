"""The benchmark of the follow-up: that its trials know the truth, and that its tables say what was measured."""

from __future__ import annotations

import argparse

import numpy as np
import pytest
from scipy import ndimage

from napari_medmeta.bench import registration
from napari_medmeta.bench.cases import find_cases
from napari_medmeta.bench.document import Table
from napari_medmeta.bench.registration_methods import demons, none
from napari_medmeta.bench.registration_trials import Question, error_mm, load_trial, trials_of
from napari_medmeta.core import Geometry, InputError
from napari_medmeta.io import write_image, write_labels
from napari_medmeta.tasks.registration_map import Alignment

SHAPE = (12, 24, 24)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("cases")
    rng = np.random.default_rng(0)
    for name in ("acdc_9_ed", "acdc_9_es", "liver_1", "pat_t1c", "pat_flair"):
        folder = root / name
        folder.mkdir()
        geometry = Geometry.from_parts(SHAPE, spacing_mm=(4, 2, 2))
        labels = np.zeros(SHAPE, np.uint8)
        # The heart beats between its phases; a sequence shows the same body.
        labels[3:9, 8:16, 7 if name == "acdc_9_es" else 8 : 16] = 1
        image = 100 * labels + ndimage.gaussian_filter(rng.normal(size=SHAPE), 1.5) * 100
        write_image(folder / "image.nii.gz", image.astype(np.float32), geometry)
        write_labels(folder / "label.nii.gz", labels, geometry)
    return root


@pytest.fixture(scope="module")
def trials(data):
    return {t.question: t for t in trials_of(find_cases(data))}


def test_pairs_of_one_patient_are_found_and_the_rest_is_deformed(trials):
    ids = {q: (t.prior.id, t.today.id) for q, t in trials.items()}
    assert ids == {
        Question.HEART: ("acdc_9_ed", "acdc_9_es"),
        Question.SEQUENCE: ("pat_t1c", "pat_flair"),
        Question.KNOWN: ("liver_1", "liver_1"),
    }


def test_a_pair_with_a_development_case_is_a_development_pair(data, tmp_path):
    for name in ("acdc_001_ed", "acdc_001_es"):
        (tmp_path / name).symlink_to(data / "acdc_9_ed")
    (trial,) = trials_of(find_cases(tmp_path))
    assert not trial.today.is_development
    assert trial.is_development


def test_the_phases_of_a_heart_are_left_as_they_are(trials):
    loaded = load_trial(trials[Question.HEART], seed=0)
    assert loaded.places is None
    assert loaded.labels.sum() != loaded.truth.sum()


@pytest.mark.parametrize("question", [Question.KNOWN, Question.SEQUENCE])
def test_known_places_hold_the_same_label_before_and_today(trials, question):
    loaded = load_trial(trials[question], seed=0)
    assert loaded.places is not None
    now, before = loaded.places
    grid = loaded.today.geometry
    today = np.rint(grid.to_index(now)).astype(int)
    earlier = np.rint(grid.to_index(before)).astype(int)
    # Labels are taken by the nearest voxel on both sides, so they agree exactly.
    assert (loaded.truth[tuple(today.T)] == loaded.labels[tuple(earlier.T)]).all()
    assert np.linalg.norm(now - before, axis=1).mean() > 0.5


def test_the_seed_draws_the_map(trials):
    first, again, other = (load_trial(trials[Question.KNOWN], seed=s) for s in (0, 0, 1))
    np.testing.assert_array_equal(first.prior.array, again.prior.array)
    assert not np.array_equal(first.prior.array, other.prior.array)


def test_the_error_of_the_true_map_is_nothing_and_of_a_shift_the_shift():
    places = (np.array([[0.0, 0, 0], [5, 5, 5]]), np.array([[3.0, 4, 0], [8, 9, 5]]))
    shift = np.eye(4)
    shift[:3, 3] = (3, 4, 0)
    assert error_mm(Alignment(shift), places).tolist() == [0, 0]
    assert error_mm(Alignment(), places).tolist() == [5, 5]


def test_no_registration_moves_nothing_and_demons_move_something(trials):
    loaded = load_trial(trials[Question.KNOWN], seed=0)
    places = loaded.places
    assert places is not None
    ((still, _),) = none(loaded, 0).values()
    ((moved, _),) = demons(loaded, 0).values()
    np.testing.assert_array_equal(still.to_prior(places[0]), places[0])
    assert np.abs(moved.to_prior(places[0]) - places[0]).mean() > 0.1


def test_what_was_measured_is_not_measured_again(data, tmp_path, monkeypatch):
    options = argparse.Namespace(out=tmp_path, seed=0, methods=("none", "demons"))
    cases = find_cases(data, only=("liver_1", "acdc_9_ed", "acdc_9_es"))
    first = registration.evaluate(cases, options, lambda *_: None)
    monkeypatch.setattr(registration, "METHODS", {})
    again = registration.evaluate(cases, argparse.Namespace(**vars(options)), lambda *_: None)
    assert first.rows == again.rows
    (table,) = (b for b in again.blocks if isinstance(b, Table))
    questions = {row[0] for row in table.rows}
    assert questions == {str(Question.HEART), str(Question.KNOWN)}


def test_a_method_that_fails_is_told_and_the_others_go_on(data, tmp_path, monkeypatch):
    def broken(trial, seed):
        raise InputError("It does not fit")

    monkeypatch.setattr(registration, "METHODS", {"none": none, "broken": broken})
    options = argparse.Namespace(out=tmp_path, seed=0, methods=("none", "broken"))
    found = registration.evaluate(find_cases(data, only=("liver_1",)), options, lambda *_: None)
    assert [r.get("method") for r in found.rows] == ["no registration", None]
    assert "It does not fit" in str(found.blocks[-1])
