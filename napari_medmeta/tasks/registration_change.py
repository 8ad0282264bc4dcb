"""How much each structure has grown or shrunk since the prior scan, and the same as a table on disk."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from napari_medmeta.core import Geometry, InputError, LabelArray
from napari_medmeta.core.replacing import replacing

__all__ = [
    "CHANGE_SUFFIXES",
    "VolumeChange",
    "change_row",
    "require_change_path",
    "volume_changes",
    "write_changes",
]

CHANGE_SUFFIXES = (".csv", ".json")


@dataclass(frozen=True, slots=True)
class VolumeChange:
    """The volume of one structure, then and now.

    Parameters
    ----------
    structure, name
        Its label value, and what it is called.
    prior_ml, today_ml
        Volumes in millilitres.
    """

    structure: int
    name: str
    prior_ml: float
    today_ml: float

    @property
    def change_ml(self) -> float:
        """How much it has grown, below 0 where it has shrunk."""
        return self.today_ml - self.prior_ml

    @property
    def change_percent(self) -> float | None:
        """The same as a share of the prior volume; None where there was nothing."""
        return 100 * self.change_ml / self.prior_ml if self.prior_ml else None

    def in_words(self) -> str:
        """Return one line, such as "Liver: 1500.0 ml before, 1420.0 ml today (-80.0 ml, -5 %)"."""
        percent = "" if self.change_percent is None else f", {self.change_percent:+.0f} %"
        volumes = f"{self.prior_ml:.1f} ml before, {self.today_ml:.1f} ml today"
        return f"{self.name}: {volumes} ({self.change_ml:+.1f} ml{percent})"


def volume_changes(
    prior: LabelArray,
    prior_grid: Geometry,
    today: LabelArray,
    today_grid: Geometry,
    *,
    names: Mapping[int, str],
) -> tuple[VolumeChange, ...]:
    """Return the change of every structure of ``prior`` (on ``prior_grid``) to ``today`` (on ``today_grid``)."""
    then, now = np.bincount(prior.ravel(), minlength=256), np.bincount(today.ravel(), minlength=256)
    return tuple(
        VolumeChange(
            int(s),
            names.get(int(s), f"structure {s}"),
            float(then[s]) * prior_grid.voxel_volume_ml,
            float(now[s]) * today_grid.voxel_volume_ml,
        )
        for s in np.flatnonzero(then[1:255]) + 1
    )


def write_changes(path: Path | str, changes: Sequence[VolumeChange]) -> Path:
    """Write one row a structure as CSV or JSON, by the suffix; return the path.

    Raises
    ------
    InputError
        When the suffix is neither.
    StorageError
        When the file cannot be written.
    """
    path = Path(path)
    require_change_path(path)
    rows = [change_row(change) for change in changes]
    text = json.dumps(rows, indent=2, ensure_ascii=False) + "\n" if path.suffix.lower() == ".json" else _csv(rows)
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")
    return path


def require_change_path(path: Path) -> None:
    """Raise `InputError` unless ``path`` is a name that `write_changes` can write."""
    if path.suffix.lower() not in CHANGE_SUFFIXES:
        raise InputError(f"{path.name} is not a table that can be written", expected=" or ".join(CHANGE_SUFFIXES))


def change_row(change: VolumeChange) -> dict[str, object]:
    """Return one structure's change with rounded numbers, as it stands in a table."""
    percent = change.change_percent
    return {
        "structure": change.structure,
        "name": change.name,
        "prior_ml": round(change.prior_ml, 4),
        "today_ml": round(change.today_ml, 4),
        "change_ml": round(change.change_ml, 4),
        "change_percent": None if percent is None else round(percent, 2),
    }


def _csv(rows: Sequence[Mapping[str, object]]) -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, list(change_row(VolumeChange(1, "", 0, 0))), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()
