"""Write the synthetic scans of sample_data/ again, with their truth and checksums.

Usage: python scripts/make_sample_data.py [FOLDER]
"""

from __future__ import annotations

import gzip
import hashlib
import sys
from pathlib import Path

import nibabel as nib
import numpy as np

from napari_medmeta.core.geometry import Geometry
from napari_medmeta.core.phantoms import Phantom, brain_mr, torso_ct

SEED = 0


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    scans = {
        "torso-ct": torso_ct(shape=(48, 96, 96), seed=SEED),
        "brain-mr": brain_mr(shape=(48, 108, 96), seed=SEED),
    }
    files = [path for name, phantom in scans.items() for path in write(phantom, folder, name)]
    lines = [f"{hashlib.sha256(voxels(path)).hexdigest()}  {path.name}\n" for path in files]
    (folder / "SHA256SUMS").write_text("".join(lines), encoding="utf-8")


def write(phantom: Phantom, folder: Path, name: str) -> list[Path]:
    scan, labels = folder / f"{name}.nii.gz", folder / f"{name}-labels.nii.gz"
    save(scan, phantom.volume.array, phantom.volume.geometry)
    save(labels, phantom.labels, phantom.volume.geometry)
    return [scan, labels]


def save(path: Path, array: np.ndarray, geometry: Geometry) -> None:
    # nibabel wants (x, y, z); our axes are (z, y, x).
    affine = geometry.ras_affine[:, [2, 1, 0, 3]]
    image = nib.Nifti1Image(np.ascontiguousarray(array.transpose(2, 1, 0)), affine)
    image.header.set_xyzt_units("mm")
    # No time and no name in the archive, so that the same scan gives the same file.
    path.write_bytes(gzip.compress(image.to_bytes(), mtime=0))


def voxels(path: Path) -> bytes:
    """Return what is hashed: the uncompressed file, as compressors differ between machines."""
    return gzip.decompress(path.read_bytes())


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1] / "sample_data")
