"""The example library: what was learnt of each structure, kept in one SQLite file for the next patient.

The file holds samples of features and a few numbers per structure (see `core.library`), no image, no mask
and nothing that names a patient. session/sealed.py tells how it is written and shared by several windows.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_medmeta.core import InputError, Modality
from napari_medmeta.core.library import MAX_SAMPLES, KeptSamples, LibraryEntry, same_name
from napari_medmeta.session.sealed import FileKind, SealedFile
from napari_medmeta.session.storage import seal, transaction

__all__ = ["LIBRARY_SUFFIX", "Library"]

LIBRARY_SUFFIX = ".medlib"

MAX_CHANNELS = 1024

KIND = FileKind(
    name="library",
    file="library file",
    full="library of structures",
    one="a structure",
    application_id=0x4D4D4C31,  # spells MML1
    version=1,
    table="entry",
    schema=(
        "CREATE TABLE entry (id TEXT PRIMARY KEY, structure TEXT NOT NULL, about TEXT NOT NULL, "
        "seal BLOB NOT NULL, samples BLOB NOT NULL)"
    ),
    max_row_bytes=64 * 2**20,
)


class Library(SealedFile[LibraryEntry]):
    """All kept structures in one file; see `SealedFile` for its verbs."""

    kind = KIND

    def entries(self, structure: str | None = None) -> tuple[LibraryEntry, ...]:
        """Return all entries, or those of one structure by its name, in the order in which they were kept."""
        return tuple(e for e in self.kept() if structure is None or same_name(e.structure, structure))

    def names(self) -> tuple[str, ...]:
        """Return the structures' names, each once, in the order in which they were first kept."""
        kept: list[str] = []
        for (name,) in self._rows("structure"):
            if not any(same_name(name, other) for other in kept):
                kept.append(name)
        return tuple(kept)

    def rename(self, entry: str, structure: str) -> None:
        """Give the structure of the entry with the id ``entry`` another name."""
        renamed = replace(self._one(entry), structure=" ".join(structure.split()))
        with self._open() as connection, transaction(connection):
            _, name, about, mark, _ = self._row(renamed)
            connection.execute(
                "UPDATE entry SET structure = ?, about = ?, seal = ? WHERE id = ?", (name, about, mark, entry)
            )

    def _one(self, entry: str) -> LibraryEntry:
        found = next((e for e in self.entries() if e.id == entry), None)
        if found is None:
            raise InputError("This entry is not in the library any more", next_step="Look at the list again")
        return found

    def _row(self, item: LibraryEntry) -> tuple[str, str, str, bytes, bytes]:
        text, blob = _about(item), _packed(item.samples)
        return item.id, item.structure, text, seal(b"", (item.id, item.structure, text), blob), blob

    def _item(self, row: Sequence[Any]) -> LibraryEntry:
        return _entry(row, self.path)


def _about(entry: LibraryEntry) -> str:
    about = {
        "colour": entry.colour,
        "modality": str(entry.modality),
        "spacing_mm": [*entry.spacing_mm],
        "day": entry.day,
        "features": entry.features,
        "volume_ml": entry.volume_ml,
        "extent_mm": [*entry.extent_mm],
        "largest_share": entry.largest_share,
        "count": len(entry.samples.inside),
        "channels": entry.samples.features.shape[1],
    }
    # Only where there is any, so that what was kept before is written as it was.
    if entry.trust:
        about["trust"] = {**entry.trust}
    if entry.samples.embedding is not None:
        about |= {"encoder": entry.encoder, "embedding": entry.samples.embedding.shape[1]}
    return json.dumps(about, separators=(",", ":"))


def _packed(samples: KeptSamples) -> bytes:
    arrays = (samples.features, samples.places, samples.offsets_mm, samples.ml)
    # Half precision is finer than any feature is known, and halves the file.
    blob = b"".join(a.astype("<f2" if n == 0 else "<f4").tobytes() for n, a in enumerate(arrays))
    learnt = b"" if samples.embedding is None else samples.embedding.astype("<f2").tobytes()
    return blob + samples.inside.astype(np.uint8).tobytes() + learnt


def _entry(row: Sequence[Any], path: Path) -> LibraryEntry:
    entry, structure, text, mark, blob = row
    texts = all(isinstance(v, str) for v in (entry, structure, text))
    if not texts or not isinstance(blob, bytes) or seal(b"", (entry, structure, text), blob) != mark:
        raise KIND.damaged(path)
    try:
        about = json.loads(text)
        sizes = {name: int(about[name]) for name in ("count", "channels")}
        samples = _samples(blob, **sizes, learnt=int(about.get("embedding", 0)))
        return LibraryEntry(
            id=entry,
            structure=structure,
            colour=str(about["colour"]),
            modality=Modality(about["modality"]),
            spacing_mm=_three(about["spacing_mm"]),
            day=str(about["day"]),
            features=str(about["features"]),
            volume_ml=float(about["volume_ml"]),
            extent_mm=_three(about["extent_mm"]),
            largest_share=float(about["largest_share"]),
            samples=samples,
            trust={str(name): float(factor) for name, factor in about.get("trust", {}).items()},
            encoder=str(about.get("encoder", "")),
        )
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, InputError) as error:
        raise KIND.damaged(path) from error


def _samples(blob: bytes, *, count: int, channels: int, learnt: int) -> KeptSamples:
    if not 0 < count <= MAX_SAMPLES or not 0 < channels <= MAX_CHANNELS or not 0 <= learnt <= MAX_CHANNELS:
        raise ValueError("no entry of ours")
    widths = (2 * channels, 4 * 3, 4 * 3, 4, 1, 2 * learnt)
    if len(blob) != count * sum(widths):
        raise ValueError("the samples are cut off")
    parts, start = [], 0
    for width in widths:
        parts.append(blob[start : start + count * width])
        start += count * width
    features, embedding = (
        np.frombuffer(parts[n], dtype="<f2").astype(np.float32).reshape(count, width)
        for n, width in ((0, channels), (5, learnt))
    )
    places, offsets, ml = (_floats(part) for part in parts[1:4])
    inside = np.frombuffer(parts[4], dtype=np.uint8).astype(bool)
    places, offsets = places.reshape(count, 3), offsets.reshape(count, 3)
    return KeptSamples(features, places, offsets, inside, ml, embedding if learnt else None)


def _floats(part: bytes) -> npt.NDArray[np.float32]:
    return np.frombuffer(part, dtype="<f4").astype(np.float32)


def _three(values: Sequence[float]) -> tuple[float, float, float]:
    a, b, c = (float(v) for v in values)
    return a, b, c
