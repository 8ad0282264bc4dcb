"""The words that every part of napari-medmeta shares: numpy, scipy and the standard library only."""

from napari_medmeta.core.annotation import Origin, SliceExample, Structure, Support, guess_axis, support_from_labels
from napari_medmeta.core.errors import (
    AnnotationError,
    Cancelled,
    GeometryMismatchError,
    InputError,
    MedmetaError,
    MissingExamplesError,
    StorageError,
    UnreadableFileError,
    UnsupportedImageError,
    VolumeTooLargeError,
    WeightsError,
)
from napari_medmeta.core.geometry import DISPLAY_CODES, Geometry, GridMap
from napari_medmeta.core.jobs import CancelToken, Progress, silent
from napari_medmeta.core.proposal import Proposal
from napari_medmeta.core.types import (
    BACKGROUND,
    MAX_STRUCTURES,
    UNLABELLED,
    Box,
    FloatArray,
    LabelArray,
    MaskArray,
    Modality,
    SliceRef,
    Triple,
    label_slice,
)
from napari_medmeta.core.volume import Volume, require_contrast

__all__ = [
    "BACKGROUND",
    "DISPLAY_CODES",
    "MAX_STRUCTURES",
    "UNLABELLED",
    "AnnotationError",
    "Box",
    "CancelToken",
    "Cancelled",
    "FloatArray",
    "Geometry",
    "GeometryMismatchError",
    "GridMap",
    "InputError",
    "LabelArray",
    "MaskArray",
    "MedmetaError",
    "MissingExamplesError",
    "Modality",
    "Origin",
    "Progress",
    "Proposal",
    "SliceExample",
    "SliceRef",
    "StorageError",
    "Structure",
    "Support",
    "Triple",
    "UnreadableFileError",
    "UnsupportedImageError",
    "Volume",
    "VolumeTooLargeError",
    "WeightsError",
    "guess_axis",
    "label_slice",
    "require_contrast",
    "silent",
    "support_from_labels",
]
