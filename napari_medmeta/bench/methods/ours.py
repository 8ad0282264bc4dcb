"""Our own engine as one of the methods: whole, without a part, with one more, or one part alone."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from napari_medmeta import __version__
from napari_medmeta.core import InputError, LabelArray, Proposal, SliceRef, Support, Volume
from napari_medmeta.core.weights import ENCODER, FUSION, Part, own_parts, parts_in_use

if TYPE_CHECKING:
    from napari_medmeta.engine import EngineConfig, Segmenter

__all__ = [
    "LEARNER",
    "Engine",
    "PreparedEngine",
    "ablation_names",
    "code_digest",
    "joined_names",
    "learner_names",
    "source_names",
]

WITHOUT = "without-"
"""``without-NAME`` leaves the source NAME out."""
FIXED_TRUST = "fixed-trust"
"""All sources with their fixed weights: no painted slice is left out to fit them."""

UNTRAINED = "without-network"
"""All sources, fused by the left-out check alone, without the network that corrects them."""

UNADAPTED = "without-adaptation"
"""The network as it was trained: its last layer is not fitted to the painted slices."""

UNLEARNT = "without-meta-training"
"""The sources that need nothing learnt beforehand, as they stand in where the trained weights are missing."""


LEARNER = "learner-"
"""``learner-NAME`` is a meta-trained family of learners alone."""

WITH = "with-"
"""``with-NAME`` adds such a family to the sources, and leaves out the network, which was trained without it."""


@dataclass(frozen=True)
class Engine:
    """The engine of this project, without a window and as a user gets it.

    Parameters
    ----------
    variant
        What is changed: a source of evidence that stands alone, ``without-NAME``, ``without-network``,
        ``without-adaptation``, ``without-meta-training``, ``fixed-trust``, ``with-FAMILY`` or ``learner-FAMILY``;
        empty for the whole engine.
    weights
        Folder of own weights, which replace the shipped ones where it holds them.

    Raises
    ------
    InputError
        When the engine has no such part.
    WeightsError
        When the folder of own weights cannot be used.
    """

    device: str = "cpu"
    seed: int = 0
    variant: str = ""
    weights: Path | None = None

    def __post_init__(self) -> None:
        if self.weights is not None:
            own_parts(self.weights)
        known = ("", *source_names(), *ablation_names(), *learner_names(), *joined_names())
        if self.variant not in known:
            part = self.variant.removeprefix(WITHOUT)
            raise InputError(f"The engine has no source {part!r}", expected="one of " + ", ".join(known[1:]))

    @property
    def name(self) -> str:
        """Name in tables."""
        if self.variant.startswith(LEARNER):
            return self.variant
        return f"medmeta-{self.variant}" if self.variant else "medmeta"

    @cached_property
    def version(self) -> str:
        """The package's version and a digest of all that the answer depends on, so that no older one is reused.

        Comments and docstrings do not count: a better sentence must not repeat hours of runs.
        """
        digest = hashlib.blake2b(digest_size=4)
        for module in _imported(("napari_medmeta.engine.segmenter", *self._learner_modules())):
            digest.update(_statements(module).encode())
        for part in self._weights():
            digest.update(part.file.read_bytes())
        return f"{__version__}+{digest.hexdigest()}"

    def _learner_modules(self) -> tuple[str, ...]:
        return tuple(type(learner).__module__ for learner in self._config().learners)

    def _weights(self) -> tuple[Part, ...]:
        from napari_medmeta.engine.learners.registry import TRAINED

        config = self._config()
        families = {TRAINED[source.name][0] for source in config.learners if source.name in TRAINED}
        families |= {self._family()} - {""}
        names = [*sorted(families), *([ENCODER] if families else []), *([FUSION] if config.network else [])]
        parts = parts_in_use(self.weights)
        return tuple(parts[name] for name in names)

    def _family(self) -> str:
        if self.variant.startswith((LEARNER, WITH)):
            return self.variant.removeprefix(LEARNER).removeprefix(WITH)
        return ""

    def propose(self, volume: Volume, support: Support) -> Proposal:
        """Return the engine's proposal for the whole scan."""
        return self.prepared(volume).propose(volume, support)

    def prepared(self, volume: Volume) -> PreparedEngine:
        """Return the engine with the features of ``volume`` computed, as it is after opening a scan."""
        from napari_medmeta.engine import Segmenter

        segmenter = Segmenter(device=self.device, seed=self.seed, config=self._config())
        segmenter.set_volume(volume)
        return PreparedEngine(self.name, self.version, segmenter)

    def segment(self, volume: Volume, support: Support) -> LabelArray:
        """Return (I, J, K) labels of the engine's proposal."""
        return self.propose(volume, support).volume(support.shape)

    def _config(self) -> EngineConfig:
        from napari_medmeta.engine.choices import engine_config, joined_config
        from napari_medmeta.engine.learners import hand_made_learners

        if self.variant.startswith(LEARNER):
            return engine_config(self._family(), weights=self.weights)
        if self.variant.startswith(WITH):
            return joined_config(self._family(), weights=self.weights)
        whole = engine_config(weights=self.weights)
        if not self.variant:
            return whole
        if self.variant == FIXED_TRUST:
            return replace(whole, folds=0)
        if self.variant == UNADAPTED:
            return replace(whole, adapts=False)
        if self.variant == UNTRAINED:
            return replace(whole, network=False)
        if self.variant == UNLEARNT:
            return replace(whole, learners=hand_made_learners(), network=False)
        left_out = self.variant.removeprefix(WITHOUT)
        alone = left_out == self.variant
        chosen = tuple(x for x in whole.learners if (_slug(x.name) == left_out) == alone)
        # The network was trained on all sources together: without one of them it cannot take part.
        return replace(whole, learners=chosen, network=False)


@dataclass(frozen=True, eq=False)
class PreparedEngine:
    """The engine that has seen one scan; it answers for that scan only."""

    name: str
    version: str
    segmenter: Segmenter

    def propose(self, volume: Volume, support: Support) -> Proposal:
        """Return the proposal for the whole scan; a slice in the middle is answered first, as for the one on screen."""
        *_, last = self.segmenter.propose(support, focus=_middle_unpainted(support))
        return last

    def segment(self, volume: Volume, support: Support) -> LabelArray:
        """Return (I, J, K) labels of the proposal."""
        return self.propose(volume, support).volume(support.shape)


def _middle_unpainted(support: Support) -> SliceRef | None:
    """Return the slice without an example that is nearest to the middle one of the examples."""
    if not support.examples:
        return None
    refs = sorted(e.ref for e in support.examples)
    middle, taken = refs[len(refs) // 2], set(refs)
    free = (SliceRef(middle.axis, i) for i in range(support.shape[middle.axis]))
    return min((r for r in free if r not in taken), key=lambda r: abs(r.index - middle.index), default=None)


def source_names() -> tuple[str, ...]:
    """Return the names of the engine's sources of evidence."""
    from napari_medmeta.engine.learners.registry import DEFAULT_SOURCES

    return tuple(_slug(name) for name in DEFAULT_SOURCES)


def ablation_names() -> tuple[str, ...]:
    """Return the names of the engine's variants with one part left out."""
    return (*(WITHOUT + name for name in source_names()), FIXED_TRUST, UNTRAINED, UNADAPTED, UNLEARNT)


def _slug(name: str) -> str:
    return name.replace(" ", "-")


def learner_names() -> tuple[str, ...]:
    """Return the names of the engine's variants that are one meta-trained family of learners alone."""
    from napari_medmeta.engine.learners.registry import FAMILIES

    return tuple(LEARNER + name for name in FAMILIES)


def joined_names() -> tuple[str, ...]:
    """Return the names of the engine's variants with a meta-trained family of learners as one more source."""
    from napari_medmeta.engine.learners.registry import FAMILIES

    return tuple(WITH + name for name in FAMILIES)


def _imported(roots: Sequence[str]) -> tuple[str, ...]:
    """Return the engine's modules that ``roots`` import at their top, directly or not, and themselves."""
    found: set[str] = set()
    open_ends = list(roots)
    while open_ends:
        module = open_ends.pop()
        if module in found or find_spec(module) is None:
            continue
        found.add(module)
        for node in _tree(module).body:
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("napari_medmeta.engine"):
                open_ends.append(str(node.module))
    return tuple(sorted(found))


def code_digest(*modules: str) -> str:
    """Return a digest of the modules' code; comments, docstrings and layout do not count."""
    digest = hashlib.blake2b(digest_size=4)
    for module in modules:
        digest.update(_statements(module).encode())
    return digest.hexdigest()


def _statements(module: str) -> str:
    """Return the module's code without comments, docstrings and layout."""
    tree = _tree(module)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = [x for x in node.body if not _is_bare_string(x)]
    return ast.unparse(tree)


def _is_bare_string(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _tree(module: str) -> ast.Module:
    return ast.parse(_source(module))


def _source(module: str) -> bytes:
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        return b""
    return Path(spec.origin).read_bytes()
