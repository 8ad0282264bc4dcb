"""Lesions are learnt from scans of the same kind only: CT numbers say nothing of MR values, nor the reverse."""

from __future__ import annotations

from napari_medmeta.core import InputError, Modality
from napari_medmeta.core.diagnosis import comparable

__all__ = ["require_alike"]


def require_alike(learnt: Modality, searched: Modality, *, name: str) -> str:
    """Refuse to learn lesions from a scan of another kind; return a sentence where that is only likely, or nothing.

    Parameters
    ----------
    learnt, searched
        The kind of the scan with the lesions, and of the one on which their like is looked for.
    name
        What messages call the scan with the lesions.

    Raises
    ------
    InputError
        When both files say what they are, and it is not the same.
    """
    if learnt is not searched and Modality.OTHER not in (learnt, searched):
        raise InputError(
            f"{name} is a scan of another kind ({learnt})",
            expected=f"{searched}, as the scan to be searched",
            next_step="Learn from lesions on a scan of the same kind",
        )
    if comparable(learnt, searched):
        return ""
    # Files other than DICOM do not say what they are; that they look like a CT is a guess.
    ct, unlike = (name, "the scan") if learnt is Modality.CT else ("The scan", name)
    return f"{ct} looks like a CT and {unlike} does not. Lesions are learnt only from the same kind of scan."
