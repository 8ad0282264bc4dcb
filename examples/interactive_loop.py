"""The interactive loop from Python: paint, propose, correct, accept, save.

Usage: python examples/interactive_loop.py [RESULT.nii.gz]
"""

import sys

import numpy as np

from napari_medmeta.core import SliceRef
from napari_medmeta.core.phantoms import torso_ct
from napari_medmeta.engine import Segmenter
from napari_medmeta.io import write_labels
from napari_medmeta.session import Session

case = torso_ct(shape=(32, 96, 96))  # for a scan of your own: volume = napari_medmeta.io.read_volume(path)
volume, by_hand = case.volume, (case.labels == 1).astype(np.uint8)  # stands in for the hand that paints

session = Session.create(volume.geometry, fingerprint=volume.fingerprint)
session.add_structure("liver")
engine = Segmenter()
engine.set_volume(volume)

for painted in (11, 17):  # the second one corrects the proposal that came from the first
    session.paint_slice(SliceRef(0, painted), by_hand[painted])
    for proposal in engine.propose(session.support(), focus=SliceRef(0, 14)):  # slice 14 first, then all
        session.set_proposal(proposal)
    print(f"With slice {painted} painted, the expected Dice is {proposal.expected_dice[1]:.2f}. {session.hint()}")

session.accept_slice(SliceRef(0, 14))
session.accept_confident(0.0)  # accepts what else is proposed
print(f"{session.voxel_count(1) * volume.geometry.voxel_volume_ml:.0f} ml of liver")
print(write_labels(sys.argv[1] if len(sys.argv) > 1 else "liver.nii.gz", session.labels, volume.geometry))
