"""The methods that are judged: peers and our own engine, each behind `Method`."""

from napari_medmeta.bench.methods.base import Method
from napari_medmeta.bench.methods.registry import DEFAULT_METHODS, available_methods, build_methods

__all__ = ["DEFAULT_METHODS", "Method", "available_methods", "build_methods"]
