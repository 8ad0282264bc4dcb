"""The methods that are judged: peers and our own engine, each behind `Method`."""

from napari_medmeta.bench.methods.base import Method, Proposing
from napari_medmeta.bench.methods.registry import available_methods, build_methods, missing_methods

__all__ = ["Method", "Proposing", "available_methods", "build_methods", "missing_methods"]
