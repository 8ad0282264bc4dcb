"""Fewer voxels that still speak for every class."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["balanced", "thinned"]


def thinned(classes: Tensor, most: int) -> Tensor:
    """Return ascending indices of about ``most`` of the (n,) voxels: every n-th of each class.

    Drawn voxels stand in random order within each class, so this is a fair thinning; a class of a few
    voxels keeps at least one.
    """
    step = max(1, round(len(classes) / most))
    return torch.cat([(classes == c).nonzero()[::step, 0] for c in classes.unique()]).sort().values


def balanced(classes: Tensor, most: int) -> Tensor:
    """Return indices of at most ``most`` of the (n,) voxels, the first ones of each class, as many of each."""
    present = classes.unique()
    each = max(1, most // max(1, len(present)))
    return torch.cat([(classes == c).nonzero()[:each, 0] for c in present])
