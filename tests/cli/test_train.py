"""``napari-medmeta train``: what it hands on, and what it refuses before anything is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from napari_medmeta.cli import main
from napari_medmeta.training.origin import Start


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What training was asked for, by the name of its options; nothing is trained."""
    found: dict[str, Any] = {}

    def family(name: str, source: object, out: Path, config: object, **options: Any) -> tuple[Path, ...]:
        found.update(options, learner=name, config=config)
        return (out / f"{name}.safetensors",)

    def fusion(source: object, out: Path, config: object, **options: Any) -> Path:
        found.update(options, learner="fusion", config=config)
        return out / "fusion.safetensors"

    monkeypatch.setattr("napari_medmeta.training.families.train_family", family)
    monkeypatch.setattr("napari_medmeta.training.fusion.train_fusion", fusion)
    monkeypatch.setattr("napari_medmeta.training.curves.draw_curves", lambda *_: None)
    return found


def test_training_begins_from_nothing_unless_told_otherwise(asked: dict[str, Any], tmp_path: Path) -> None:
    assert main(["train", "--out", str(tmp_path)]) == 0
    assert (asked["learner"], asked["start"], asked["weights"], asked["resume"]) == ("fusion", None, None, False)


def test_training_goes_on_from_the_shipped_weights_or_from_a_folder(asked: dict[str, Any], tmp_path: Path) -> None:
    assert main(["train", "--out", str(tmp_path), "--start", "shipped"]) == 0
    assert asked["start"] == Start(None)
    assert main(["train", "--learner", "maml", "--out", str(tmp_path), "--start", "mine", "--weights", "base"]) == 0
    assert (asked["learner"], asked["start"], asked["weights"]) == ("maml", Start(Path("mine")), Path("base"))


def test_start_and_resume_exclude_each_other(asked: dict[str, Any], tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "checkpoint.ckpt").touch()
    assert main(["train", "--out", str(tmp_path), "--start", "shipped", "--resume"]) != 0
    assert "--resume and --start were both given" in capsys.readouterr().err
    assert not asked
    assert main(["train", "--out", str(tmp_path), "--resume"]) == 0
    assert asked["resume"]


@pytest.mark.parametrize("options", [("--start", "nowhere"), ("--weights", "nowhere")])
def test_a_folder_that_is_not_there_is_refused_before_training(
    tmp_path: Path, capsys: Any, options: tuple[str, str]
) -> None:
    given = ["train", "--learner", "maml", "--out", str(tmp_path / "out"), *options]
    assert main(given) != 0
    assert "There is no folder nowhere" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_corrections_are_for_the_fusion_network_alone(asked: dict[str, Any], tmp_path: Path, capsys: Any) -> None:
    assert main(["train", "--out", str(tmp_path), "--corrections", "0.25"]) == 0
    assert asked["config"].corrections == 0.25
    asked.clear()
    assert main(["train", "--learner", "maml", "--out", str(tmp_path), "--corrections", "0.25"]) != 0
    assert main(["train", "--out", str(tmp_path), "--corrections", "2"]) != 0
    assert "0 to 1, for the fusion network alone" in capsys.readouterr().err
    assert not asked
