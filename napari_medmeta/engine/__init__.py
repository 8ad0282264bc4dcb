"""The few-shot engine: torch, and nothing of ours but core."""

from napari_medmeta.engine.segmenter import EngineConfig, Segmenter

__all__ = ["EngineConfig", "Segmenter"]
