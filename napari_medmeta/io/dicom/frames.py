"""One image slice of a DICOM object, as a small value: the rest of the package never sees a header."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

__all__ = ["Frame", "ImageFile"]


@dataclass(frozen=True, slots=True)
class ImageFile:
    """What all frames of one DICOM file share.

    The lowest ``bits_stored`` of the ``bits_allocated`` count. ``description`` holds nothing of the
    patient. The tag of the pixels comes after ``header_bytes``.
    """

    path: Path
    instance_uid: str
    series_uid: str
    modality: str
    description: str
    rows: int
    columns: int
    frames: int
    samples: int
    photometric: str
    bits_allocated: int
    bits_stored: int
    signed: bool
    transfer_syntax: str
    padding: int | None
    header_bytes: int

    @property
    def frame_bytes(self) -> int:
        """Bytes of one uncompressed frame."""
        return self.rows * self.columns * self.samples * self.bits_allocated // 8

    @property
    def pixel_bytes(self) -> int:
        """Bytes of all uncompressed frames."""
        return self.frames * self.frame_bytes


@dataclass(frozen=True, slots=True)
class Frame:
    """One slice: where it lies and how its stored values become real ones.

    ``position`` (x, y, z) is the centre of its first pixel, ``orientation`` the directions in which
    columns and rows count up (two unit vectors), both LPS; ``spacing_mm`` is the distance between rows
    and between columns. None where the file does not say. ``marks`` are what may tell apart images of
    one place, such as ("echo", "2"), in the order in which they are tried.
    """

    file: ImageFile
    index: int
    position: tuple[float, ...] | None
    orientation: tuple[float, ...] | None
    spacing_mm: tuple[float, ...] | None
    slope: float | None
    intercept: float | None
    kind: tuple[str, ...]
    marks: tuple[tuple[str, str], ...]

    @property
    def rescale(self) -> tuple[float, float]:
        """Slope and intercept; 1 and 0 where the file has none (MR)."""
        return 1.0 if self.slope is None else self.slope, 0.0 if self.intercept is None else self.intercept

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """Type of the stored values, native byte order."""
        return np.dtype(f"{'i' if self.file.signed else 'u'}{self.file.bits_allocated // 8}")
