"""The report of a benchmark: one HTML page, every figure as CSV, and a shorter Markdown page for the documentation."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from napari_medmeta.bench.by_hand import seconds_for_case
from napari_medmeta.bench.csvs import write_runs, write_sessions
from napari_medmeta.bench.html import write_html
from napari_medmeta.bench.interactive_store import SessionRun
from napari_medmeta.bench.markdown import write_markdown
from napari_medmeta.bench.photos import photos
from napari_medmeta.bench.sections import compose, main_results
from napari_medmeta.bench.setting import Setting
from napari_medmeta.bench.store import Run
from napari_medmeta.core import MedmetaError
from napari_medmeta.core.jobs import Progress, silent

__all__ = ["Setting", "write_report"]

WORST = 10


def write_report(
    out: Path,
    runs: Sequence[Run],
    sessions: Sequence[SessionRun],
    setting: Setting,
    *,
    page: Path | None = None,
    pictures: bool = True,
    progress: Progress = silent,
) -> tuple[Path, ...]:
    """Write the report of finished runs and sessions, in any order, and return the files.

    Parameters
    ----------
    out
        Folder for ``report.html``, ``runs.csv`` and, with sessions, ``sessions.csv``.
    page
        Markdown page to set the tables into, its own text is kept; ``report.md`` in ``out`` by default.
    pictures
        Whether to show our worst cases. Their proposals are made again, which takes as long as they took before.
    """
    runs, sessions = sorted(runs, key=lambda r: r.key), sorted(sessions, key=lambda s: s.key)
    results = main_results(runs, setting)
    worst = results.worst(results.middle, count=WORST) if pictures and results is not None else ()
    shown = tuple(photos(worst, setting, progress=progress)) if worst else ()
    document = compose(runs, sessions, setting, photos=shown, by_hand=_by_hand(sessions, setting))
    files = [
        write_html(out / "report.html", document, title="napari-medmeta benchmark"),
        write_markdown(page or out / "report.md", document),
        write_runs(out / "runs.csv", runs, setting.case_by_id),
    ]
    if sessions:
        files.append(write_sessions(out / "sessions.csv", sessions, setting.case_by_id))
    return tuple(files)


def _by_hand(sessions: Sequence[SessionRun], setting: Setting) -> dict[str, float]:
    found = {}
    for name in sorted({s.key.case for s in sessions} & set(setting.case_by_id)):
        # Files may have moved since the sessions were run; their own figures stand without this one.
        with suppress(MedmetaError):
            found[name] = seconds_for_case(setting.case_by_id[name])
    return found
