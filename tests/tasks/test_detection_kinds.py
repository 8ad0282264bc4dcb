"""Lesions are learnt from the same kind of scan."""

from __future__ import annotations

import pytest

from napari_medmeta.core import InputError, Modality
from napari_medmeta.tasks.detection_kinds import require_alike


def test_a_ct_is_not_searched_for_lesions_of_an_mr() -> None:
    assert require_alike(Modality.CT, Modality.CT, name="x.nii") == ""
    with pytest.raises(InputError, match=r"x.nii is a scan of another kind \(MR\). Expected: CT"):
        require_alike(Modality.MR, Modality.CT, name="x.nii")


@pytest.mark.parametrize(
    ("learnt", "searched", "words"),
    [
        (Modality.CT, Modality.OTHER, "x.nii looks like a CT and the scan does not."),
        (Modality.OTHER, Modality.CT, "The scan looks like a CT and x.nii does not."),
    ],
)
def test_where_a_file_does_not_say_what_it_is_it_is_only_told(learnt: Modality, searched: Modality, words: str) -> None:
    assert require_alike(learnt, searched, name="x.nii").startswith(words)


@pytest.mark.parametrize("kind", [Modality.MR, Modality.OTHER])
def test_what_may_well_be_an_mr_is_taken_for_one(kind: Modality) -> None:
    assert require_alike(kind, Modality.OTHER, name="x.nii") == ""
