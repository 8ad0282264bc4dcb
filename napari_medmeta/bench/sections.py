"""What a report says, in which order: the main table and the curves first, details last."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from napari_medmeta.bench import drawings, tables
from napari_medmeta.bench.attention import Sessions
from napari_medmeta.bench.cases import DEVELOPMENT_CASES
from napari_medmeta.bench.document import Block, Bullets, Code, Document, Picture, Section, Text
from napari_medmeta.bench.figures import can_draw
from napari_medmeta.bench.interactive_store import SessionRun
from napari_medmeta.bench.results import (
    OURS,
    VOTE,
    Results,
    by_placement,
    is_variant,
    main_painting,
    noisy_dice,
    split_by_coverage,
)
from napari_medmeta.bench.setting import Setting, left_out, made_by
from napari_medmeta.bench.store import EXACT, Run
from napari_medmeta.bench.tables_interactive import goals, progress

__all__ = ["compose", "main_results"]

NO_DRAWING = "The curves are left out, as matplotlib is not installed (pip install 'napari-medmeta[peers]')."
MEAN = "The mean over a scan's structures, then over the scans; brackets hold 95 % of bootstrap samples of the scans."


def compose(
    runs: Sequence[Run],
    sessions: Sequence[SessionRun],
    setting: Setting,
    *,
    photos: Sequence[Block] = (),
    by_hand: Mapping[str, float] | None = None,
) -> Document:
    """Put the whole report together.

    Parameters
    ----------
    photos
        Pictures of the worst cases, for the page that is not published.
    by_hand
        Seconds that each case of a session would take to paint by hand.
    """
    order = setting.plan.methods
    results = main_results(runs, setting)
    found = Sessions(sessions, order=order) if sessions else None
    sections = [
        *_groups(results),
        *_other_placements(runs, setting),
        *_parts(results),
        *_comparison(results),
        *_breakdown(results, setting),
        *_interactive(found, by_hand or {}),
        *_noise(runs, results, order),
        *_variants(runs, setting),
        *_slow(runs, setting),
        *_cases(results),
        _section(f"The {len(photos)} worst cases of {OURS}", *photos, detail=True) if photos else None,
        _section("Left out or failed", _bullets(left_out(setting, runs, sessions))),
        _section("How this was made", Code(setting.command), *map(Text, made_by(setting, runs, sessions))),
    ]
    return Document(_summary(results, found, painting=main_painting(runs)), tuple(s for s in sections if s))


def main_results(runs: Sequence[Run], setting: Setting) -> Results | None:
    """Return the runs of the main table: one painting, the first placement, no variant, no method of few cases."""
    placed = by_placement(r for r in runs if not is_variant(r.key.method))
    first = next(iter(placed.values()), [])
    kept, _ = split_by_coverage(first)
    return _results(kept, setting)


def _results(runs: Sequence[Run], setting: Setting) -> Results | None:
    results = Results(runs, order=setting.plan.methods, source=setting.source)
    return results if any(results.cases(k) for k in results.ks) else None


def _summary(results: Results | None, sessions: Sessions | None, *, painting: str) -> tuple[Section, ...]:
    blocks: list[Block | None] = [] if can_draw() else [Text(NO_DRAWING)]
    if results is not None:
        way = "" if painting == EXACT else f" Examples were painted in the way `{painting}`."
        blocks = [Text(f"{MEAN} Bold is the best.{way}"), tables.means(results), *blocks]
        blocks.append(_drawn(lambda: drawings.over_painted(results)))
    if sessions is not None:
        blocks.append(_drawn(lambda: drawings.over_seconds(sessions)))
    section = _section("Mean Dice on the slices that were not painted", *blocks)
    return (section,) if section else ()


def _groups(results: Results | None) -> list[Section | None]:
    if results is None or not any(c in DEVELOPMENT_CASES for k in results.ks for c in results.cases(k)):
        return []
    names = {"held out": "Cases on which no constant was chosen", "development": "Cases on which constants were chosen"}
    return [
        _section(title, tables.means(results, group=group))
        for group, title in names.items()
        if all(results.cases(k, group=group) for k in results.ks)
    ]


def _other_placements(runs: Sequence[Run], setting: Setting) -> list[Section | None]:
    placed = by_placement(r for r in runs if not is_variant(r.key.method))
    sections = []
    for placement in list(placed)[1:]:
        results = main_results(placed[placement], setting)
        if results is not None:
            picture = drawings.over_painted(results) if can_draw() else None
            sections.append(_section(f"With {placement} placement of painted slices", tables.means(results), picture))
    return sections


def _parts(results: Results | None) -> list[Section | None]:
    if results is None:
        return []
    others = [k for k in results.ks if k != results.middle]
    further = [b for k in others for b in (Text(f"With k={k}:"), tables.ends(results, k))]
    return [
        _section(
            f"Between and beyond the painted slices, k={results.middle}",
            Text("Leak and short are slices by which a proposal goes beyond a structure's true ends or stops before."),
            tables.ends(results, results.middle),
        ),
        _section("Between and beyond the painted slices, other k", *further, detail=True) if further else None,
        _section(
            "Surfaces",
            Text("HD95 leaves out structures of which nothing was proposed, so read it beside the Dice."),
            boundary,
        )
        if (boundary := tables.boundaries(results))
        else None,
        _section("Time and memory, medians", tables.costs(results)),
        _section("Expected Dice against the true one, by structure", table, _drawn(lambda: drawings.trust(results)))
        if (table := tables.calibrations(results))
        else None,
    ]


def _comparison(results: Results | None) -> list[Section | None]:
    if results is None or OURS not in results.methods or not results.peers:
        return []
    words = (
        f"Mean difference, {OURS} minus the other, [95 % interval], and the share of cases on which {OURS} is better."
    )
    title = f"{OURS} against each other method, paired by case"
    sections = [_section(title, Text(words), tables.against_each(results))]
    if VOTE in results.methods:
        margin = f"Cases on which the vote is better by more than {tables.MARGIN}."
        sections.append(
            _section(f"Where {OURS} loses to the vote", Text(margin), tables.losses(results, VOTE), detail=True)
        )
    return sections


def _breakdown(results: Results | None, setting: Setting) -> list[Section | None]:
    if results is None:
        return []
    middle = results.middle
    others = [k for k in results.ks if k != middle]
    return [
        _section(
            f"By source, k={middle}",
            tables.by_source(results, middle),
            *(tables.by_source(results, k, folded=f"k={k}") for k in others),
        ),
        _section(
            f"By structure, k={middle}",
            tables.by_structure(results, middle, setting.structure_name),
            *(tables.by_structure(results, k, setting.structure_name, folded=f"k={k}") for k in others),
            detail=True,
        ),
    ]


def _interactive(sessions: Sessions | None, by_hand: Mapping[str, float]) -> list[Section | None]:
    if sessions is None:
        return []
    intro = (
        f"A simulated radiologist paints one slice, then looks at one more each round, on {sessions.count} scans; who "
        "chooses the slice stands beside the method. A goal is reached when every structure of the scan has it. "
        "Medians are over all scans, where never counts as later than anything; a dash means that half of the scans "
        "or more never got there."
    )
    words = [intro]
    if by_hand:
        words.append(f"Painting every slice by hand would take {np.median(list(by_hand.values())):.0f} s (median).")
    return [
        _section(
            "Interactive: one slice a round",
            Text(" ".join(words)),
            goals(sessions, by_hand),
            progress(sessions),
            _drawn(lambda: drawings.over_looks(sessions)),
            _drawn(lambda: drawings.policies(sessions)),
        )
    ]


def _noise(runs: Sequence[Run], results: Results | None, order: Sequence[str]) -> list[Section | None]:
    if results is None:
        return []
    dice = noisy_dice(runs, results.middle, placement=results.placement)
    if not dice:
        return []
    text = "Mean Dice by the way in which the examples were painted, and the change against exact painting."
    return [_section(f"Painting that errs, k={results.middle}", Text(text), tables.paintings(dice, order=order))]


def _variants(runs: Sequence[Run], setting: Setting) -> list[Section | None]:
    names = {r.key.method for r in runs if is_variant(r.key.method)}
    results = _subset(runs, setting, keep=lambda method: method in names or method == OURS) if names else None
    if results is None:
        return []
    text = (
        f"{OURS}-NAME is the engine with its source NAME alone, {OURS}-without-NAME the engine without it, "
        f"{OURS}-fixed-trust the engine that does not test its sources on the painted slices."
    )
    words = f"{OURS} minus each, paired by case:"
    blocks: list[Block] = [tables.means(results, oracle=False), Text(words), tables.against_each(results)]
    return [_section(f"Parts of {OURS}", Text(text), *(blocks if OURS in results.methods else blocks[:1]))]


def _slow(runs: Sequence[Run], setting: Setting) -> list[Section | None]:
    placed = by_placement(r for r in runs if not is_variant(r.key.method))
    first = next(iter(placed.values()), [])
    _, slow = split_by_coverage(first)
    results = _results(first, setting) if slow else None
    if results is None:
        return []
    text = f"These methods ran on some of the cases only: {', '.join(slow)}. All methods on those cases:"
    return [_section("Slow methods", Text(text), tables.means(results))]


def _subset(runs: Sequence[Run], setting: Setting, *, keep: Callable[[str], bool]) -> Results | None:
    return _results(next(iter(by_placement(r for r in runs if keep(r.key.method)).values()), []), setting)


def _cases(results: Results | None) -> list[Section | None]:
    if results is None:
        return []
    return [_section("By case", *(tables.by_case(results, k, folded=f"k={k}") for k in results.ks), detail=True)]


def _drawn(draw: Callable[[], Picture | None]) -> Picture | None:
    return draw() if can_draw() else None


def _bullets(items: Sequence[str]) -> Block:
    return Bullets(tuple(items)) if items else Text("Nothing.")


def _section(title: str, *blocks: Block | None, detail: bool = False) -> Section | None:
    kept = tuple(b for b in blocks if b is not None)
    return Section(title, kept, detail) if kept else None
