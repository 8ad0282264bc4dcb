"""Read many damaged copies of one scan and report what happened; run by test_damaged_files.py.

A process of its own, with limited memory, so that a crash or a runaway allocation is seen as what it is.
Usage: fuzz_reading.py SCAN COUNT SEED, where SCAN is a DICOM folder, or a file; the files of its folder take turns.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import warnings
from collections import Counter
from pathlib import Path

import numpy as np

from napari_medmeta.core import MedmetaError, Volume
from napari_medmeta.io import can_read, describe, read_volume

MEMORY_BYTES = 4 * 2**30
HEADER_BYTES = 700
"""Where byte flips are aimed at: the headers of all formats lie in the first part of these tiny files."""


def limit_memory() -> None:
    """Let every larger allocation fail (Linux and macOS)."""
    try:
        import resource
    except ImportError:
        return
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))


def mutate(data: bytes, rng: np.random.Generator) -> tuple[str, bytes]:
    """Return what was done to ``data``, and the result."""
    kind = str(rng.choice(["header", "header", "flip", "flips", "cut", "insert", "drop", "digit", "zeros"]))
    out = bytearray(data)
    header = min(len(out), HEADER_BYTES)
    if kind == "header":
        out[int(rng.integers(header))] = int(rng.integers(256))
    elif kind == "flip":
        out[int(rng.integers(len(out)))] ^= 1 << int(rng.integers(8))
    elif kind == "flips":
        for place in rng.integers(0, header, 6):
            out[place] = int(rng.integers(256))
    elif kind == "cut":
        del out[int(rng.integers(len(out))) :]
    elif kind == "insert":
        place = int(rng.integers(len(out)))
        out[place:place] = bytes(rng.integers(1, 256, int(rng.integers(1, 9)), dtype=np.uint8))
    elif kind == "drop":
        place = int(rng.integers(len(out)))
        del out[place : place + int(rng.integers(1, 9))]
    elif kind == "digit":
        places = [n for n, byte in enumerate(out) if chr(byte).isdigit()] or [0]
        out[int(rng.choice(places))] = ord("0") + int(rng.integers(10))
    else:
        place = int(rng.integers(header))
        out[place : place + 8] = bytes(8)
    return kind, bytes(out)


def complaint(kind: str, volume: Volume, whole: Volume) -> str | None:
    """Return why a damaged file must not have opened as this volume, or None when it may."""
    if not np.isfinite(volume.array).all() or not all(0 < s < 1000 for s in volume.geometry.spacing_mm):
        return "an impossible image"
    if kind == "cut":
        return "a truncated file opened" if volume.array.size == whole.array.size or not volume.notes else None
    if volume.array.size == whole.array.size:
        return None
    fewer_slices = volume.array.shape[1:] == whole.array.shape[1:] and len(volume.array) < len(whole.array)
    if fewer_slices and volume.notes:  # a DICOM slice at the end could not be used, and the user is told
        return None
    return f"another size, {volume.array.shape} with the notes {volume.notes}"


def run(scan: Path, count: int, seed: int) -> dict[str, object]:
    """Read ``count`` damaged copies."""
    rng = np.random.default_rng(seed)
    whole = read_volume(scan)
    happened: Counter[str] = Counter()
    failures: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "copy")
        shutil.copytree(scan if scan.is_dir() else scan.parent, copy)
        files = {path: path.read_bytes() for path in sorted(copy.iterdir())}
        while (number := sum(happened.values())) < count:
            target = list(files)[int(rng.integers(len(files)))]
            kind, data = mutate(files[target], rng)
            if data.strip() == files[target].strip():  # a text header may end without a line break
                continue
            target.write_bytes(data)
            happened[attempt(copy if scan.is_dir() else copy / scan.name, kind, whole, failures, number)] += 1
            target.write_bytes(files[target])
    return {"happened": dict(happened), "failures": failures}


def attempt(path: Path, kind: str, whole: Volume, failures: list[str], number: int) -> str:
    """Read one damaged copy and return what happened."""
    try:
        can_read(path)
        volume = read_volume(path)
    except MedmetaError as error:
        if len(error.message) < 20:
            failures.append(f"{number} {kind}: no sentence: {error.message}")
        return "refused"
    except Exception as error:  # the very thing that must not happen
        failures.append(f"{number} {kind}: {type(error).__name__}: {error}")
        return "failed"
    if number % 10 == 0:
        describe(path)
    wrong = complaint(kind, volume, whole)
    if wrong is not None:
        failures.append(f"{number} {kind}: {wrong}")
        return "failed"
    return "opened"


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    limit_memory()
    print(json.dumps(run(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))))
