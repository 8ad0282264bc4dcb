from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from napari_medmeta.core import Geometry, MaskArray, SliceRef
from napari_medmeta.session import Session

Square = Callable[..., MaskArray]


def test_a_new_session_was_nowhere(session: Session) -> None:
    assert session.last_slice() is None


def test_it_is_the_slice_of_the_newest_stroke_or_click(session: Session, square: Square) -> None:
    session.paint(SliceRef(0, 2), square(1, 3), value=1)
    assert session.last_slice() == SliceRef(0, 2)
    session.click((3, 4, 5), value=1, axis=1)
    assert session.last_slice() == SliceRef(1, 4)
    session.set_active(2)
    assert session.last_slice() == SliceRef(1, 4)


def test_it_is_known_again_after_reopening(tmp_path: Path, geometry: Geometry, square: Square) -> None:
    path = tmp_path / "case.medmeta"
    session = Session.create(geometry, fingerprint="a scan", path=path)
    session.add_structure("liver")
    session.paint(SliceRef(0, 3), square(1, 3), value=1)
    session.close()
    again = Session.open(path)
    assert again.last_slice() == SliceRef(0, 3)
    again.close()
