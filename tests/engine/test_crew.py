"""Pieces of work side by side: in order, on shared cores, and with the answers of one after the other."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch

from napari_medmeta.core import Support
from napari_medmeta.core.phantoms import Phantom
from napari_medmeta.engine import Segmenter
from napari_medmeta.engine.choices import engine_config, learner_names
from napari_medmeta.engine.crew import ALONE, Crew, crew_for
from napari_medmeta.engine.learners.head import VoxelHead, logits_of

Paint = Callable[..., Support]

LONGEST = 20.0
"""Seconds after which a test that waits for another thread gives up."""


@pytest.fixture
def two_cores() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_results_come_in_the_order_of_the_items_whichever_ends_first() -> None:
    def work(delay: float) -> float:
        time.sleep(delay)
        return delay

    assert list(Crew(3).map(work, [0.05, 0.0, 0.02, 0.0])) == [0.05, 0.0, 0.02, 0.0]


def test_pieces_are_worked_on_at_once() -> None:
    both_here = threading.Barrier(2, timeout=LONGEST)
    assert sorted(Crew(2).map(lambda n: both_here.wait() * 0 + n, [1, 2])) == [1, 2]


def test_alone_whoever_asks_does_the_work() -> None:
    me = threading.get_ident()
    assert list(ALONE.map(lambda _: threading.get_ident(), range(3))) == [me] * 3


def test_one_piece_needs_no_crew() -> None:
    assert list(Crew(4).map(lambda _: threading.get_ident(), [0])) == [threading.get_ident()]


def test_what_a_piece_raises_is_raised_and_the_rest_is_left() -> None:
    begun = []

    def work(n: int) -> None:
        begun.append(n)
        time.sleep(0.01)
        raise ValueError(f"piece {n}")

    with pytest.raises(ValueError, match="piece 0"):
        list(Crew(2).map(work, range(100)))
    assert len(begun) < 100


def test_each_piece_has_its_share_of_the_cores_and_afterwards_all_are_back(two_cores: None) -> None:
    assert set(Crew(2, 1).map(lambda _: torch.get_num_threads(), range(4))) == {1}
    later: list[int] = []
    thread = threading.Thread(target=lambda: later.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert (torch.get_num_threads(), later) == (2, [2])


def test_an_engine_that_begins_while_another_works_has_all_cores(two_cores: None) -> None:
    all_at_work, done = threading.Barrier(3, timeout=LONGEST), threading.Event()
    found: list[Crew] = []

    def other_engine() -> None:
        all_at_work.wait()
        found.append(crew_for(torch.device("cpu")))
        done.set()

    def work(_: int) -> int:
        all_at_work.wait()
        done.wait(LONGEST)
        return torch.get_num_threads()

    other = threading.Thread(target=other_engine)
    other.start()
    assert list(Crew(2, 1).map(work, [1, 2])) == [1, 1]
    other.join()
    assert found == [Crew(2, 1)]


@pytest.mark.parametrize(("cores", "crew"), [(1, Crew(1, 1)), (2, Crew(2, 1)), (8, Crew(4, 2))])
def test_the_crew_shares_out_the_cores_that_torch_may_use(cores: int, crew: Crew, two_cores: None) -> None:
    torch.set_num_threads(cores)
    assert crew_for(torch.device("cpu")) == crew


def test_on_a_graphics_card_nobody_else_works() -> None:
    assert crew_for(torch.device("cuda")) == ALONE


def test_heads_of_several_threads_do_not_mix_their_weights() -> None:
    torch.manual_seed(0)
    head, inputs = VoxelHead(), torch.randn(2, 30, 19)
    starts = [{name: torch.randn(2, *p.shape) for name, p in head.named_parameters()} for _ in range(40)]
    alone = [logits_of(head, weights, inputs) for weights in starts]
    together = Crew(4).map(lambda weights: logits_of(head, weights, inputs), starts)
    assert all(torch.equal(a, b) for a, b in zip(alone, together, strict=True))


@pytest.mark.parametrize("name", learner_names())
def test_a_crew_gives_the_answer_of_one_worker(name: str, two_cores: None, paint: Paint, phantom: Phantom) -> None:
    segmenter = Segmenter(device="cpu", config=engine_config(name))
    segmenter.set_volume(phantom.volume)
    answers = []
    for cores in (1, 2):
        torch.set_num_threads(cores)
        answers.append(segmenter.segment(paint(7, 12, 17)))
    assert np.array_equal(answers[0].labels, answers[1].labels)
    assert np.allclose(answers[0].confidence, answers[1].confidence, atol=1e-4)
