"""What the radiologist said about a scan: verbs, one history, and a file that survives a crash.

Numpy, psygnal and SQLite only: no torch, no Qt, no napari.
"""

from napari_medmeta.session.engine import Segmenting
from napari_medmeta.session.model import Change, EventRecord, PaintMode, SliceState, Topic
from napari_medmeta.session.score import Outcome, Score
from napari_medmeta.session.session import Session

__all__ = ["Change", "EventRecord", "Outcome", "PaintMode", "Score", "Segmenting", "Session", "SliceState", "Topic"]
