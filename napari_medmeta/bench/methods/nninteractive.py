"""nnInteractive through its public Python session: painted slices as lassos, structure by structure."""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from napari_medmeta.bench.methods.stack import Stack, stack_of
from napari_medmeta.core import LabelArray, MaskArray, Support, Volume

__all__ = ["InteractiveSession", "NnInteractive"]


class InteractiveSession(Protocol):
    """What is used of ``nnInteractiveInferenceSession`` (version 2)."""

    def set_image(self, image: npt.NDArray[Any]) -> None:
        """Take a (1, I, J, K) image as it is."""

    def set_target_buffer(self, target_buffer: LabelArray) -> None:
        """Take the (I, J, K) array into which every answer is written."""

    def reset_interactions(self) -> None:
        """Forget all prompts and clear the target buffer."""

    def add_lasso_interaction(
        self, lasso_image: LabelArray, include_interaction: bool, *, interaction_bbox: list[list[int]]
    ) -> object:
        """Add a filled outline on one slice, cut out to ``interaction_bbox``, and predict."""

    def add_scribble_interaction(
        self, scribble_image: LabelArray, include_interaction: bool, *, interaction_bbox: list[list[int]]
    ) -> object:
        """Add strokes on one slice in the same way."""


@dataclass(frozen=True)
class NnInteractive:
    """nnInteractive (Isensee et al. 2025, arXiv 2503.08373) with the weights in a local folder.

    Every painted slice of a structure is a lasso around it, strokes are scribbles; where the answer still leaks
    into what is known as something else, a negative one takes the leak away. It predicts after every prompt, as
    its authors advise. Its answers are not bounded: it was trained to find the ends by itself. Where two
    structures claim a voxel, the one of higher number has it.

    Parameters
    ----------
    weights
        Folder of a trained model, as ``initialize_from_trained_model_folder`` expects it.
    """

    weights: Path
    device: str = "cuda"
    name: str = "nninteractive"

    @property
    def version(self) -> str:
        """Changes with the model too."""
        return f"1:{self.weights.name}"

    @cached_property
    def _session(self) -> InteractiveSession:
        import torch
        from nnInteractive.inference.inference_session import nnInteractiveInferenceSession

        session = nnInteractiveInferenceSession(device=torch.device(self.device))
        session.initialize_from_trained_model_folder(str(self.weights))
        ready: InteractiveSession = session
        return ready

    def segment(self, volume: Volume, support: Support) -> LabelArray:
        """Return (I, J, K) labels."""
        stack = stack_of(volume, support, strokes=True)
        out = np.zeros(volume.array.shape, dtype=np.uint8)
        # Its progress is printed line by line; the judge has a progress bar of its own.
        with contextlib.redirect_stdout(io.StringIO()):
            self._session.set_image(np.array(volume.array)[None])
            buffer = np.zeros(out.shape, dtype=np.uint8)
            self._session.set_target_buffer(buffer)
            for structure in stack.structures:
                self._session.reset_interactions()
                self._prompt(stack, structure, buffer)
                out[buffer > 0] = structure
        return stack.to_volume(np.moveaxis(out, stack.axis, 0))

    def _prompt(self, stack: Stack, structure: int, buffer: LabelArray) -> None:
        painted = stack.labels == structure
        for position in stack.painted_with(structure):
            self._add(stack, int(position), painted[position], include=True)
        answer = np.moveaxis(buffer, stack.axis, 0)
        for position, index in enumerate(stack.indices):
            leak = (answer[index] > 0) & stack.known[position] & ~painted[position]
            if leak.any():
                self._add(stack, position, leak, include=False)

    def _add(self, stack: Stack, position: int, mask: MaskArray, *, include: bool) -> None:
        index = int(stack.indices[position])
        rows, columns = (np.flatnonzero(mask.any(axis=1 - a)) for a in (0, 1))
        box = [[int(hit[0]), int(hit[-1]) + 1] for hit in (rows, columns)]
        crop = np.expand_dims(mask[slice(*box[0]), slice(*box[1])].astype(np.uint8), stack.axis)
        box.insert(stack.axis, [index, index + 1])
        session = self._session
        add = session.add_lasso_interaction if stack.complete[position] else session.add_scribble_interaction
        add(np.ascontiguousarray(crop), include, interaction_bbox=box)
