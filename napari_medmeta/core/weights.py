"""Files of trained weights: which there are, what their records say, and which of them go together.

The package brings a file and a record of each part. A folder of somebody's own weights, which ``napari-medmeta train``
writes, replaces those parts that it holds; the others stay those of the package.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from napari_medmeta.core.errors import StorageError, WeightsError

__all__ = [
    "EMBEDDING_FAMILIES",
    "ENCODER",
    "FAMILY_NAMES",
    "FUSED_FAMILIES",
    "FUSION",
    "PARTS",
    "STANDS_ON",
    "Part",
    "has_part",
    "own_parts",
    "parts_in_use",
    "require_fitting",
    "shipped_parts",
]

ENCODER = "encoder"
"""Embeds a scan; all families of meta-learners work in its embedding."""

FUSION = "fusion"
"""The network that corrects what all sources say together."""

EMBEDDING_FAMILIES = ("prototypical", "matching")
"""Families whose losses shape the embedding: they are trained together with the encoder."""

FAMILY_NAMES = (*EMBEDDING_FAMILIES, "siamese", "memory_augmented", "meta_recurrent", "maml", "reptile")
"""Families of meta-learners that have weights."""

FUSED_FAMILIES = ("prototypical", "siamese", "reptile")
"""Families of which the engine that fuses all sources uses a member."""

PARTS = (ENCODER, *FAMILY_NAMES, FUSION)
"""Everything that has weights; NAME.safetensors and NAME.json, its record, belong together."""

STANDS_ON = "stands_on"
"""In a record's account of the training: the SHA-256 of the other weights that took part, by name."""

GO_ON_WITHOUT = "or go on with the weights of the package"


@dataclass(frozen=True)
class Part:
    """The weights of one part.

    Parameters
    ----------
    file
        The weights.
    sha256
        Of that file, as its record says.
    encoder
        SHA-256 of the encoder that it was trained with; empty where the record does not tell.
    own
        Whether it comes from somebody's own folder.
    """

    name: str
    file: Path | Traversable
    sha256: str
    encoder: str
    own: bool


def has_part(folder: Path, name: str) -> bool:
    """Return whether ``folder`` holds weights or record of a part."""
    return any((folder / f"{name}.{ending}").is_file() for ending in ("safetensors", "json"))


def own_parts(folder: Path) -> dict[str, Part]:
    """Return what ``folder`` holds, by name, with every file compared with its record.

    Raises
    ------
    WeightsError
        When there is no such folder, when it holds no weights, or when weights and record do not belong together.
    """
    if not folder.is_dir():
        raise WeightsError(
            f"There is no folder {folder}",
            expected="the folder into which napari-medmeta train wrote",
            next_step=f"Check the name, {GO_ON_WITHOUT}",
        )
    found = {name: _checked(folder, name) for name in PARTS if has_part(folder, name)}
    if not found:
        raise WeightsError(
            f"The folder {folder.name} holds no weights",
            expected="files such as fusion.safetensors and fusion.json, as napari-medmeta train writes them",
            next_step=f"Choose another folder, {GO_ON_WITHOUT}",
        )
    return found


def shipped_parts() -> dict[str, Part]:
    """Return what comes with the package, by name; what cannot be read is left out."""
    folder = resources.files("napari_medmeta") / "engine" / "weights_data"
    found = {}
    for name in PARTS:
        try:
            found[name] = _part(folder, name, own=False)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue
    return found


def parts_in_use(folder: Path | None) -> dict[str, Part]:
    """Return what an engine with the own weights in ``folder`` uses, by name; None: all of the package.

    Raises
    ------
    WeightsError
        As `own_parts`.
    """
    return shipped_parts() if folder is None else {**shipped_parts(), **own_parts(folder)}


def require_fitting(folder: Path, families: Iterable[str]) -> None:
    """Refuse own weights that cannot be used, or not together.

    Parameters
    ----------
    families
        Which families the engine uses; those in ``folder`` are looked at in any case.

    Raises
    ------
    WeightsError
        As `own_parts`, and when a family was trained with another encoder than the one in use.
    """
    parts = parts_in_use(folder)
    encoder = parts.get(ENCODER)
    looked_at = {*families, *(name for name in FAMILY_NAMES if name in parts and parts[name].own)}
    for name in (n for n in FAMILY_NAMES if n in looked_at and n in parts):
        part = parts[name]
        if encoder is not None and part.encoder not in ("", encoder.sha256):
            raise _for_another_encoder(folder, part, encoder)


def _for_another_encoder(folder: Path, part: Part, encoder: Part) -> WeightsError:
    whose, other = (f"in {folder.name}" if own else "of the package" for own in (part.own, encoder.own))
    learner = "embedding" if part.name in EMBEDDING_FAMILIES else part.name
    return WeightsError(
        f"The weights of {part.name} {whose} were not trained with the encoder {other}",
        expected="an encoder, and families that were trained with it",
        next_step=f"Run napari-medmeta train --learner {learner} --weights {folder.name} --out {folder.name}, "
        + GO_ON_WITHOUT,
    )


def _checked(folder: Path, name: str) -> Part:
    try:
        part = _part(folder, name, own=True)
        found = hashlib.sha256(part.file.read_bytes()).hexdigest()
    except FileNotFoundError as error:
        raise _torn(folder, name, f"{Path(error.filename).name} is missing") from error
    except OSError as error:
        raise StorageError(f"The weights of {name} in {folder.name} cannot be read ({error.strerror})") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _torn(folder, name, f"{name}.json is no record of weights") from error
    if found != part.sha256:
        raise _torn(folder, name, f"{name}.safetensors is not the file that {name}.json tells of")
    return part


def _torn(folder: Path, name: str, why: str) -> WeightsError:
    return WeightsError(
        f"The weights of {name} in {folder.name} cannot be used: {why}",
        expected=f"{name}.safetensors and {name}.json as napari-medmeta train wrote them together",
        next_step=f"Copy both files again, or train them again, {GO_ON_WITHOUT}",
    )


def _part(folder: Path | Traversable, name: str, *, own: bool) -> Part:
    record: Mapping[str, Any] = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    told = record["training"].get(STANDS_ON, {}).get(ENCODER, "")
    return Part(name, folder / f"{name}.safetensors", str(record["sha256"]), str(told), own)
