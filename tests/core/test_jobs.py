from __future__ import annotations

import threading

import pytest

from napari_medmeta.core import Cancelled, CancelToken, silent


def test_work_goes_on_until_it_is_cancelled() -> None:
    token = CancelToken()
    token.raise_if_cancelled()
    assert not token.cancelled
    token.cancel()
    assert token.cancelled
    with pytest.raises(Cancelled):
        token.raise_if_cancelled()


def test_another_thread_sees_that_the_work_is_cancelled() -> None:
    token, stopped = CancelToken(), threading.Event()

    def work() -> None:
        try:
            while True:
                token.raise_if_cancelled()
        except Cancelled:
            stopped.set()

    thread = threading.Thread(target=work)
    thread.start()
    token.cancel()
    thread.join(timeout=10)
    assert stopped.is_set()


def test_tokens_are_independent() -> None:
    one, other = CancelToken(), CancelToken()
    one.cancel()
    assert not other.cancelled


def test_progress_may_go_to_nobody() -> None:
    silent(0.5, "features")
