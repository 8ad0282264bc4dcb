"""Independent pieces of work side by side, each on its share of the processor's cores."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import torch

__all__ = ["ALONE", "Crew", "crew_for"]

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

MOST_WORKERS = 4
"""Pieces that are worked on at once, at most: there are seven sources and four left-out slices to share out, and each
piece needs memory of its own."""


@dataclass(frozen=True)
class Crew:
    """Threads that work through a list together.

    torch splits every single step over all cores, which pays for large steps. The engine's are many and small: on two
    cores a proposal took 11.5 processor seconds that way where one thread needs 8.3. Whole pieces of work, one thread
    each, lose nothing.

    Parameters
    ----------
    workers
        Pieces at once; with 1 they are done one after the other by whoever asks.
    threads
        Cores that torch may use within one piece.
    """

    workers: int = 1
    threads: int = 1

    def map(self, work: Callable[[_Item], _Result], items: Sequence[_Item]) -> Iterator[_Result]:
        """Yield ``work`` of each item, in order.

        Raises
        ------
        Exception
            What ``work`` raised first, once the pieces under way have ended; no further ones are begun.
        """
        if self.workers < 2 or len(items) < 2:
            yield from map(work, items)
            return
        # A new thread would split its steps over all cores again.
        shares = (self.threads, torch.get_num_threads())
        pool = ThreadPoolExecutor(self.workers, "napari-medmeta engine", _take_share, shares)
        try:
            yield from pool.map(work, items)
        finally:
            pool.shutdown(cancel_futures=True)


def _take_share(own: int, others: int) -> None:
    """Let torch use ``own`` cores in this thread, and ``others`` in threads that begin later.

    The number holds for the thread that sets it, but each new thread begins with the one that was set last: the engine
    of a scan that is opened meanwhile would keep this share for good.
    """
    torch.get_num_threads()  # A thread begins when it first asks: a number that was set before would be lost.
    torch.set_num_threads(own)
    setter = threading.Thread(target=torch.set_num_threads, args=(others,), name="napari-medmeta cores")
    setter.start()
    setter.join()


ALONE = Crew()
"""One piece after the other."""


def crew_for(device: torch.device) -> Crew:
    """Return the crew for ``device``: the cores that torch may use here, and nobody where a graphics card works."""
    if device.type != "cpu":
        return ALONE
    cores = torch.get_num_threads()
    workers = min(MOST_WORKERS, cores)
    return Crew(workers, max(1, cores // workers))
