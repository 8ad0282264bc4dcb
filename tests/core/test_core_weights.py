"""Folders of own weights: what they replace, and which are refused."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from napari_medmeta.core import WeightsError
from napari_medmeta.core.weights import (
    ENCODER,
    FAMILY_NAMES,
    FUSION,
    PARTS,
    own_parts,
    parts_in_use,
    require_fitting,
    shipped_parts,
)


def put(folder: Path, name: str, data: bytes = b"weights", *, encoder: str = "") -> str:
    """Write a part with its record and return its digest."""
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.safetensors").write_bytes(data)
    sha256 = hashlib.sha256(data).hexdigest()
    training = {"stands_on": {"encoder": encoder}} if encoder else {}
    (folder / f"{name}.json").write_text(json.dumps({"format": 1, "training": training, "sha256": sha256}))
    return sha256


def test_the_package_brings_every_part() -> None:
    assert tuple(shipped_parts()) == PARTS
    assert not any(part.own for part in shipped_parts().values())


def test_every_shipped_family_was_trained_with_the_shipped_encoder() -> None:
    parts = shipped_parts()
    assert {parts[name].encoder for name in FAMILY_NAMES} == {parts[ENCODER].sha256}


def test_what_a_folder_holds_replaces_and_the_rest_stays(tmp_path: Path) -> None:
    sha256 = put(tmp_path, FUSION)
    parts = parts_in_use(tmp_path)
    assert (parts[FUSION].own, parts[FUSION].sha256) == (True, sha256)
    assert {name: part for name, part in parts.items() if name != FUSION} == {
        name: part for name, part in shipped_parts().items() if name != FUSION
    }


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"no folder .*nowhere.*Check the name"):
        own_parts(tmp_path / "nowhere")


def test_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(WeightsError, match=r"holds no weights.*fusion\.safetensors"):
        own_parts(tmp_path)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ("no record", "siamese.json is missing"),
        ("no weights", "siamese.safetensors is missing"),
        ("swapped", "not the file that siamese.json tells of"),
        ("torn record", "siamese.json is no record"),
        ("other record", "siamese.json is no record"),
    ],
)
def test_files_that_do_not_belong_together_are_refused(tmp_path: Path, damage: str, words: str) -> None:
    put(tmp_path, FUSION)
    put(tmp_path, "siamese")
    weights, record = tmp_path / "siamese.safetensors", tmp_path / "siamese.json"
    if damage == "no record":
        record.unlink()
    elif damage == "no weights":
        weights.unlink()
    elif damage == "swapped":
        weights.write_bytes(b"others")
    else:
        record.write_text('{"format"' if damage == "torn record" else "[1, 2]")
    with pytest.raises(WeightsError, match=words):
        own_parts(tmp_path)


def test_own_families_need_the_encoder_that_they_were_trained_with(tmp_path: Path) -> None:
    put(tmp_path, "maml", encoder="another one")
    with pytest.raises(WeightsError, match=r"maml in .* not trained with the encoder of the package"):
        require_fitting(tmp_path, ())
    encoder = put(tmp_path, ENCODER)
    put(tmp_path, "maml", encoder=encoder)
    require_fitting(tmp_path, ())


def test_an_own_encoder_needs_own_families_where_they_are_used(tmp_path: Path) -> None:
    put(tmp_path, ENCODER)
    require_fitting(tmp_path, ())
    with pytest.raises(WeightsError, match=r"reptile of the package were not trained.*--learner reptile"):
        require_fitting(tmp_path, ("reptile",))


def test_families_of_the_embedding_are_trained_again_by_its_name(tmp_path: Path) -> None:
    put(tmp_path, ENCODER)
    with pytest.raises(WeightsError, match="--learner embedding"):
        require_fitting(tmp_path, ("prototypical",))


def test_a_record_that_does_not_tell_its_encoder_is_taken_at_its_word(tmp_path: Path) -> None:
    put(tmp_path, "maml")
    require_fitting(tmp_path, ("maml",))
