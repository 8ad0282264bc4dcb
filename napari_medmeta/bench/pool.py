"""Spread work over processes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from typing import Any, TypeVar

__all__ = ["each_result"]

T = TypeVar("T")


def each_result(function: Callable[..., Iterator[T]], work: Iterable[tuple[Any, ...]], *, jobs: int = 1) -> Iterator[T]:
    """Yield what ``function(*item)`` yields for every item of ``work``, in any order.

    With one job each result comes as soon as it is there; with more, the results of one item come together.
    """
    if jobs <= 1:
        for item in work:
            yield from function(*item)
        return
    # Spawned, as torch and ITK start threads that a fork would not carry over.
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        futures = [pool.submit(_all_results, function, item) for item in work]
        try:
            for future in as_completed(futures):
                yield from future.result()
        finally:
            for future in futures:
                future.cancel()


def _all_results(function: Callable[..., Iterator[T]], item: tuple[Any, ...]) -> list[T]:
    return list(function(*item))
