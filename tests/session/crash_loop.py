"""Kill a working session again and again, and compare what is left with what was acknowledged.

Usage: crash_loop.py FOLDER KILLS SEED. Run by test_crash.py in a process of its own, because forking is
safe and quick only where no threads run and little is imported.

Each round forks a child that opens the session file and does random verbs, telling its parent the number
of events after each. The parent kills it with SIGKILL at a random moment, opens a copy of what lies on the
disk, and compares it with a session in memory to which the same verbs were done.
"""

from __future__ import annotations

import os
import random
import select
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from napari_medmeta.core import Box, Geometry, MedmetaError, Proposal, SliceRef
from napari_medmeta.session import PaintMode, Session
from napari_medmeta.session.preview import ProposalStack

GEOMETRY = Geometry.from_parts((6, 16, 16), spacing_mm=(4.0, 1.0, 1.0))
SHAPE = GEOMETRY.shape


def stopped() -> float:
    """A clock that stands still: how long a verb took is no part of what is compared."""
    return 0.0


def next_event(session: Session, seed: int) -> None:
    """Do the one verb that follows from the seed and the number of events so far."""
    number = events_in(session)
    attempt = 0
    while events_in(session) == number:
        rng = np.random.default_rng([seed, number, attempt])
        attempt += 1
        try:
            verb(session, rng)
        except MedmetaError:
            continue


def events_in(session: Session) -> int:
    return len(session._records)


def verb(session: Session, rng: np.random.Generator) -> None:
    axis = int(rng.choice([0, 0, 0, 1, 2]))
    ref = SliceRef(axis, int(rng.integers(SHAPE[axis])))
    value = int(rng.integers(0, 4))
    ijk = tuple(int(rng.integers(n)) for n in SHAPE)
    rows, columns = (n for a, n in enumerate(SHAPE) if a != axis)
    flag = bool(rng.integers(2))
    choices = {
        "add": lambda: session.add_structure(str(rng.choice(["liver", "spleen", "kidney", "tumour"]))),
        "rename": lambda: session.rename_structure(value, f"organ {rng.integers(9)}"),
        "recolour": lambda: session.recolour_structure(value, f"#{rng.integers(16**6):06x}"),
        "lock": lambda: session.lock_structure(value, flag and rng.random() < 0.5),
        "remove": lambda: session.remove_structure(value) if rng.random() < 0.2 else None,
        "active": lambda: session.set_active(value),
        "mode": lambda: session.set_mode(PaintMode.SCRIBBLE if flag else PaintMode.COMPLETE),
        "auto": lambda: setattr(session, "auto_propose", flag),
        "click": lambda: session.click(ijk, value=value, axis=axis),
        "complete": lambda: session.mark_complete(ref),
        "forget": lambda: session.remove_example(ref),
        "weigh": lambda: session.weigh_example(ref, float(rng.choice([0.0, 0.5, 1.0]))),
        "whole": lambda: session.paint_slice(ref, blob(rng, (rows, columns)).astype(np.uint8)),
        "import": lambda: session.import_labels(rng.choice([0, 0, 0, 0, 0, 0, 0, 1], SHAPE), axis=axis),
        "propose": lambda: session.set_proposal(proposal(session.generation, rng)),
        "component": lambda: session.accept_component(ijk),
        "confident": lambda: session.accept_confident(0.8),
        "reject": lambda: session.reject_slice(ref),
    }
    often = {
        "paint": lambda: session.paint(ref, blob(rng, (rows, columns)), value=value),
        "accept": lambda: session.accept_slice(ref),
        "undo": session.undo,
        "redo": session.redo,
    }
    chosen = often if rng.random() < 0.5 else choices
    list(chosen.values())[int(rng.integers(len(chosen)))]()


def blob(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    row, column, radius = rng.integers(shape[0]), rng.integers(shape[1]), rng.integers(1, 6)
    return np.asarray((rows - row) ** 2 + (columns - column) ** 2 <= radius**2)


def proposal(generation: int, rng: np.random.Generator) -> Proposal:
    labels = rng.integers(0, 4, SHAPE).astype(np.uint8)
    dice = {SliceRef(0, i): float(rng.random()) for i in range(SHAPE[0])}
    whole = Box.whole(SHAPE)
    return Proposal(generation, whole, labels, np.ones(SHAPE, np.float32), whole, slice_dice=dice)


def work(path: Path, seed: int, acknowledge: int) -> None:
    """The child: open, and do verbs until killed."""
    session = Session.open(path, fingerprint="scan", geometry=GEOMETRY, clock=stopped)
    while True:
        next_event(session, seed)
        os.write(acknowledge, events_in(session).to_bytes(4, "little"))


def one_kill(path: Path, seed: int, delay: float, *, at_work: bool) -> int:
    """Fork, kill after ``delay`` seconds, and return the last acknowledged number of events (0: none).

    With ``at_work`` the time runs from the first acknowledgement on, else from the fork: the child may
    then be killed while it opens the file and repairs what the last kill left.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(reading)
            work(path, seed, writing)
        finally:
            os._exit(status)
    os.close(writing)
    if at_work:
        select.select([reading], [], [], 30)
    time.sleep(delay)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if not os.WIFSIGNALED(status):
        raise SystemExit(f"the child ended by itself with status {status}")
    acknowledged = b""
    while block := os.read(reading, 65536):
        acknowledged += block
    os.close(reading)
    return int.from_bytes(acknowledged[-4:], "little")


def copied(path: Path, folder: Path) -> Path:
    """Copy the file with its log, so that looking does not repair what the next child has to repair."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for file in path.parent.glob(f"{path.name}*"):
        shutil.copy(file, folder / file.name)
    return folder / path.name


def everything(session: Session) -> tuple[object, ...]:
    state, history = session._state, session._history
    return (
        state.structures,
        dict(state.records),
        frozenset(state.rejected),
        state.active,
        state.mode,
        state.auto_propose,
        state.generation,
        [(p.number, p.text) for p in history.done],
        [(p.number, p.text) for p in history.undone],
        [(e.number, e.verb, e.sentence, e.parameters) for e in session.events()],
        session.labels.tobytes(),
        session.status.tobytes(),
        state.voxels[1:].tolist(),
    )


def main(folder: Path, kills: int, seed: int) -> None:
    path = folder / "case.medmeta"
    Session.create(GEOMETRY, fingerprint="scan", path=path).close()
    reference = Session.create(GEOMETRY, fingerprint="scan", clock=stopped)
    moments = random.Random(seed)
    midway = 0
    # Where there is one, a folder in memory: only the child's own file has to be on a disk.
    look = Path(tempfile.mkdtemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else folder))
    for number in range(kills):
        acknowledged = one_kill(path, seed, moments.uniform(0.0, 0.04), at_work=moments.random() < 0.75)
        found = Session.open(copied(path, look), fingerprint="scan", geometry=GEOMETRY)
        if events_in(found) < max(acknowledged, events_in(reference)):
            raise SystemExit(f"kill {number}: {acknowledged} acknowledged, {events_in(found)} found")
        midway += events_in(found) > max(acknowledged, events_in(reference))
        while events_in(reference) < events_in(found):
            next_event(reference, seed)
        if everything(found) != everything(reference):
            raise SystemExit(f"kill {number}: the state differs after {events_in(found)} events")
        found.close()
        # A proposal is not kept in the file: whoever opens it next has none.
        reference._state.proposals = ProposalStack()
        reference._overview.preview.recount(reference._state)
    found = Session.open(path, clock=stopped)
    while reference.can_undo:
        reference.undo()
        found.undo()
        if everything(found)[:-1] != everything(reference)[:-1]:
            raise SystemExit("undoing after reopening differs")
    print(f"{kills} kills, {events_in(found)} events, {midway} kills between commit and acknowledgement")
    found.close()
    shutil.rmtree(look)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
