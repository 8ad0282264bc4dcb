"""Seeded propagation by random walks, as Biomedisa uses it between painted slices."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from skimage.segmentation import random_walker

from napari_medmeta.bench.methods.stack import region_of
from napari_medmeta.core import LabelArray, Support, Volume

__all__ = ["RandomWalker"]


@dataclass(frozen=True)
class RandomWalker:
    """Random walker (Grady 2006) from the painted slices, background seeded around the bound in plane.

    ``beta`` is far above the library's 130: on the development cases 130, 2,000 and 20,000 gave a mean Dice of
    0.68, 0.77 and 0.81 with three examples. Seeding background beyond the ends as well cost 0.01 to 0.05.
    """

    beta: float = 20_000.0
    name: str = "random-walker"
    version: str = "5"

    def segment(self, volume: Volume, support: Support) -> LabelArray:
        """Return (I, J, K) labels of highest probability inside each structure's bound."""
        region = region_of(volume, support, strokes=True)
        full = np.zeros((1 + len(region.stack.structures), *region.image.shape), dtype=np.float32)
        if region.seeds.all():
            # A region without an open voxel: scikit-image would answer in another axis order.
            np.put_along_axis(full, region.seeds[None].astype(np.intp) - 1, 1.0, axis=0)
            return region.labels_from(full)
        with warnings.catch_warnings():
            # The solver warns of its own fallback and of tiny matrices; neither changes the answer's meaning.
            warnings.simplefilter("ignore")
            probability = random_walker(
                region.image,
                region.seeds,
                beta=self.beta,
                mode="cg_j",
                tol=1e-3,
                spacing=np.asarray(region.spacing_mm) / min(region.spacing_mm),
                return_full_prob=True,
            )
        # One row for each seed value that occurs, ascending.
        for row, value in enumerate(np.unique(region.seeds[region.seeds > 0])):
            full[value - 1] = probability[row]
        return region.labels_from(full)
