"""The errors a user can meet, as one small tree.

MedmetaError
├── InputError                what was given cannot be used
│   ├── UnreadableFileError       not an image, truncated, or damaged
│   ├── UnsupportedImageError     an image, but not a 3D volume of finite numbers
│   ├── GeometryMismatchError     two arrays that should share a grid do not
│   ├── VolumeTooLargeError       would not fit into memory
│   └── AnnotationError           the painted examples cannot be used
├── MissingExamplesError      nothing wrong, but something must be painted first
├── StorageError              disk full, no permission, damaged session file
├── WeightsError              trained weights missing or not usable
└── Cancelled                 the user stopped the work
"""

from __future__ import annotations

__all__ = [
    "AnnotationError",
    "Cancelled",
    "GeometryMismatchError",
    "InputError",
    "MedmetaError",
    "MissingExamplesError",
    "StorageError",
    "UnreadableFileError",
    "UnsupportedImageError",
    "VolumeTooLargeError",
    "WeightsError",
]


class MedmetaError(Exception):
    """An error that tells what was expected, what was found and what to do next.

    Parameters
    ----------
    found
        What is wrong, in words a radiologist understands.
    expected
        What would have been right.
    next_step
        What the user can do about it.
    """

    def __init__(self, found: str, *, expected: str = "", next_step: str = "") -> None:
        self.found = found
        self.expected = expected
        self.next_step = next_step
        super().__init__(self.message)

    @property
    def message(self) -> str:
        """The whole sentence shown in the panel and on the command line."""
        parts = [_sentence(self.found)]
        if self.expected:
            parts.append(_sentence(f"Expected: {self.expected}"))
        if self.next_step:
            parts.append(_sentence(self.next_step))
        return " ".join(parts)


def _sentence(text: str) -> str:
    text = text.strip()
    return text if text.endswith((".", "!", "?", ":")) else f"{text}."


class InputError(MedmetaError, ValueError):
    """What was given cannot be used."""


class UnreadableFileError(InputError):
    """The file is not an image, or it is truncated or damaged."""


class UnsupportedImageError(InputError):
    """The file is an image, but not a 3D volume of finite numbers."""


class GeometryMismatchError(InputError):
    """Two arrays that should lie on the same grid do not."""


class VolumeTooLargeError(InputError):
    """The volume would not fit into memory."""

    fits_voxels: int | None = None
    """About how many voxels would fit, where that is known."""


class AnnotationError(InputError):
    """The painted examples cannot be used."""


class MissingExamplesError(MedmetaError):
    """Something must be painted before a proposal can be made."""


class StorageError(MedmetaError, OSError):
    """The disk is full, the folder is not writable, or a session file is damaged."""


class WeightsError(MedmetaError):
    """Trained weights are missing or cannot be used."""


class Cancelled(MedmetaError):
    """The user stopped the work."""

    def __init__(self, found: str = "The work was stopped") -> None:
        super().__init__(found)
