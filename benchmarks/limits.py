"""Measure the stated limits on this machine, print them, and exit with 1 when one is exceeded.

Run with ``python benchmarks/limits.py``; ``--json FILE`` also writes the figures.
Limits: two CPU cores, 256 x 256 x 100 voxels, 3 structures, 3 example slices.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from suites.scene import Scene, make_scene

from napari_medmeta.cli.segment import peak_memory_bytes

CORES = 2


@dataclass(frozen=True)
class Figure:
    """One measured figure and the limit it must stay below; no limit means told only."""

    name: str
    value: float
    unit: str
    limit: float | None = None

    @property
    def kept(self) -> bool:
        return self.limit is None or self.value < self.limit

    def line(self) -> str:
        bound = "" if self.limit is None else f"   (limit {self.limit:g} {self.unit})"
        return f"{'ok  ' if self.kept else 'OVER'} {self.name:<52} {self.value:8.2f} {self.unit}{bound}"


def measure(scene: Scene, *, device: str = "cpu") -> list[Figure]:
    """Return seconds of each step of the loop and the peak memory of this process."""
    import torch

    from napari_medmeta.engine import Segmenter

    torch.set_num_threads(CORES)
    segmenter = Segmenter(device=device)
    start = time.perf_counter()
    segmenter.set_volume(scene.volume)
    features = time.perf_counter() - start
    visible, whole = _proposal_seconds(segmenter, scene, more=False)
    visible_more, whole_more = _proposal_seconds(segmenter, scene, more=True)
    return [
        Figure("features, once for each scan", features, "s"),
        Figure("first proposal on the visible slice", visible, "s", 1.0),
        Figure("first proposal of the whole volume", whole, "s", 8.0),
        Figure("visible slice after one more painted slice", visible_more, "s", 0.7),
        Figure("whole volume after one more painted slice", whole_more, "s", 7.0),
        Figure("peak memory", peak_memory_bytes() / 1e9, "GB", 2.5),
    ]


def _proposal_seconds(segmenter: object, scene: Scene, *, more: bool) -> tuple[float, float]:
    support = scene.more if more else scene.support
    start = time.perf_counter()
    answers = segmenter.propose(support, focus=scene.focus)  # type: ignore[attr-defined]
    next(answers)
    visible = time.perf_counter() - start
    for _ in answers:
        pass
    return visible, time.perf_counter() - start


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, and return 1 when a limit is exceeded."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args(argv)
    figures = measure(make_scene(), device=args.device)
    print("\n".join(figure.line() for figure in figures))
    if args.json:
        args.json.write_text(json.dumps([{**asdict(f), "kept": f.kept} for f in figures], indent=2) + "\n")
    return 0 if all(figure.kept for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(main())
