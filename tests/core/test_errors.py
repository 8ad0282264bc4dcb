from __future__ import annotations

import pytest

from napari_medmeta.core import errors
from napari_medmeta.core.errors import Cancelled, InputError, MedmetaError, StorageError


def test_a_message_tells_what_was_found_what_was_expected_and_what_to_do() -> None:
    error = MedmetaError("The image is flat", expected="a volume", next_step="Choose another file")
    assert str(error) == error.message == "The image is flat. Expected: a volume. Choose another file."


def test_only_what_was_found_is_needed() -> None:
    assert MedmetaError("  The disk is full! ").message == "The disk is full!"


@pytest.mark.parametrize("name", errors.__all__)
def test_every_error_belongs_to_the_tree_drawn_at_the_top_of_its_file(name: str) -> None:
    error = getattr(errors, name)
    assert issubclass(error, MedmetaError)
    assert errors.__doc__ is not None
    assert name in errors.__doc__


def test_input_errors_are_value_errors_and_storage_errors_are_os_errors() -> None:
    assert issubclass(InputError, ValueError)
    assert issubclass(StorageError, OSError)
    assert str(StorageError("No room", next_step="Free some")) == "No room. Free some."


def test_cancelled_needs_no_words() -> None:
    assert Cancelled().message == "The work was stopped."
