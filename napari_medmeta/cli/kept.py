"""What the commands of both libraries share: where one's own lies, and how an item is named by letters of its id."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from napari_medmeta.core.errors import InputError

if TYPE_CHECKING:
    from napari_medmeta.session.sealed import Kept

__all__ = ["SHORT", "named", "own_file"]

SHORT = 8
"""Letters of an id that are shown; as many as needed to tell it apart are enough to name it."""

_Item = TypeVar("_Item", bound="Kept")


def own_file(name: str) -> Path:
    """Return where the user's own file ``name`` lies, which the panel uses as well."""
    # Only Qt's core, which needs no display.
    from qtpy.QtCore import QStandardPaths

    base = QStandardPaths.writableLocation(QStandardPaths.StandardLocation.GenericDataLocation)
    return Path(base or Path.home()) / "napari-medmeta" / name


def named(kept: Iterable[_Item], prefix: str, *, one: str, several: str, command: str) -> _Item:
    """Return the only one of ``kept`` whose id begins with ``prefix``.

    Parameters
    ----------
    one, several
        What messages call what is kept.
    command
        Whose ``list`` shows it.

    Raises
    ------
    InputError
        When none does, or several.
    """
    # No letters at all begin every id: that names nothing.
    found = [item for item in kept if item.id.startswith(prefix)] if prefix.strip() else []
    if len(found) == 1:
        return found[0]
    what = f"{len(found)} {several} of the library begin" if found else f"No {one} of the library begins"
    raise InputError(f"{what} with {prefix}", next_step=f"See: napari-medmeta {command} list")
