"""The methods that are judged: peers and our own engine, each behind `Method`."""

from napari_medmeta.bench.methods.base import Method, Proposing
from napari_medmeta.bench.methods.registry import (
    ablation_methods,
    available_methods,
    build_methods,
    is_slow,
    joined_methods,
    learner_methods,
    missing_methods,
    source_methods,
    weighted_methods,
)

__all__ = [
    "Method",
    "Proposing",
    "ablation_methods",
    "available_methods",
    "build_methods",
    "is_slow",
    "joined_methods",
    "learner_methods",
    "missing_methods",
    "source_methods",
    "weighted_methods",
]
