"""Few-shot segmentation of CT and MRI inside napari, learning from the scan on screen."""

__version__ = "0.1.0"

__all__ = ["__version__"]
