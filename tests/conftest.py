"""Fixtures that every package's tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REPO = Path(__file__).parents[1]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark everything under tests/ui as needing a display."""
    for item in items:
        if REPO / "tests" / "ui" in item.path.parents:
            item.add_marker(pytest.mark.gui)


@pytest.fixture(scope="session")
def repo() -> Path:
    """The root of the checkout."""
    return REPO


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real scans (cases/, dicom/), which is not part of the repository."""
    folder = Path(os.environ.get("MEDMETA_SHARED_DATA", REPO.parent / "shared" / "data"))
    if not (folder / "cases").is_dir():
        pytest.skip(f"no real scans in {folder}: set MEDMETA_SHARED_DATA to the folder that holds cases/ and dicom/")
    return folder
