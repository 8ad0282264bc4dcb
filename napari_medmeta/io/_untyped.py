"""Libraries without type information, as Any, so that strict checking can hold for our own code."""

from __future__ import annotations

from typing import Any

import nibabel
import SimpleITK

__all__ = ["nib", "sitk"]

nib: Any = nibabel
sitk: Any = SimpleITK
