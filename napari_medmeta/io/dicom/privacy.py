"""Descriptions without the patient: technologists type names and dates into free-text fields."""

from __future__ import annotations

import re

from pydicom.dataset import Dataset

__all__ = ["harmless_description", "private_words"]

PRIVATE_TAGS = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "OtherPatientIDs",
    "AccessionNumber",
    "ReferringPhysicianName",
    "StudyDate",
    "StudyID",
    "InstitutionName",
)
SHORTEST_PRIVATE_WORD = 3
"""Initials and one-digit numbers would match half of all descriptions."""

EMPTY_WORDS = ("none", "null", "unknown", "n/a", "anonymous", "anonymized")
"""What anonymising programs put in place of a description."""

LONGEST_DESCRIPTION = 48
DATE_LIKE = re.compile(r"\d{5,}|\d{1,4}[.\-/]\d{1,2}[.\-/]\d{2,4}")
"""Five digits in a row are a number of somebody, or a date; protocols hold none."""


def private_words(header: Dataset) -> frozenset[str]:
    """Return the words, in small letters, that must not be shown."""
    text = " ".join(str(header.get(name) or "") for name in PRIVATE_TAGS).lower()
    return frozenset(w for w in re.split(r"[\W_]+", text) if len(w) >= SHORTEST_PRIVATE_WORD)


def harmless_description(text: str, private: frozenset[str]) -> str:
    """Return ``text`` when nothing in it can point to the patient, else nothing.

    A part of the patient's name inside a longer word is enough to drop the whole description. Long ones are cut
    after that was looked at: what is left of a name is still somebody's.
    """
    plain = " ".join(re.sub(r"[^\w.+()/ \-]", " ", text).split())
    small = plain.lower()
    if DATE_LIKE.search(plain) or any(word in small for word in private) or small in EMPTY_WORDS:
        return ""
    return plain[:LONGEST_DESCRIPTION].rstrip()
