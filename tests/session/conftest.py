"""A small scan, and the few moves that most session tests begin with."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from napari_medmeta.core import Box, Geometry, LabelArray, MaskArray, Proposal, SliceRef
from napari_medmeta.session import Session

SHAPE = (5, 6, 7)


@pytest.fixture
def geometry() -> Geometry:
    """Five axial slices of 6 x 7 voxels."""
    return Geometry.from_parts(SHAPE, spacing_mm=(4.0, 1.0, 1.0))


@pytest.fixture
def session(geometry: Geometry) -> Session:
    """A session in memory with liver (1) and spleen (2); the liver is active."""
    session = Session.create(geometry, fingerprint="a scan")
    session.add_structure("liver")
    session.add_structure("spleen")
    session.set_active(1)
    return session


@pytest.fixture
def square() -> Callable[..., MaskArray]:
    """Make a mask of an axial slice, true in rows and columns from ``start`` to below ``stop``."""

    def make(start: int, stop: int, shape: tuple[int, int] = SHAPE[1:]) -> MaskArray:
        mask = np.zeros(shape, dtype=bool)
        mask[start:stop, start:stop] = True
        return mask

    return make


@pytest.fixture
def propose() -> Callable[..., Proposal]:
    """Show a session a proposal: ``labels`` (I, J, K), with an expected Dice for each axial slice."""

    def make(
        session: Session, labels: LabelArray, *, covered: Box | None = None, dice: dict[int, float] | None = None
    ) -> Proposal:
        box = Box.whole(session.geometry.shape)
        proposal = Proposal(
            session.generation,
            box,
            labels.astype(np.uint8),
            np.full(box.shape, 0.9, dtype=np.float32),
            covered or box,
            slice_dice={SliceRef(0, i): d for i, d in (dice or {}).items()},
        )
        session.set_proposal(proposal)
        return proposal

    return make
