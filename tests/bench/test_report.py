"""The report says what the runs say: on the page, in the CSVs and in Markdown."""

from __future__ import annotations

import csv
import random
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from napari_medmeta.bench import sections
from napari_medmeta.bench.by_hand import seconds_by_hand
from napari_medmeta.bench.cases import Case
from napari_medmeta.bench.human_time import TimeModel
from napari_medmeta.bench.interactive_store import Action, Round, SessionKey, SessionRun
from napari_medmeta.bench.photos import photo, worst_slice
from napari_medmeta.bench.plan import Plan, Skipped
from napari_medmeta.bench.protocol import Anatomy, Task, anatomy_of
from napari_medmeta.bench.report import Setting, write_report
from napari_medmeta.bench.run import keys_of_plan, run_plan
from napari_medmeta.bench.setting import without_folders
from napari_medmeta.bench.store import Run, RunKey, RunStore
from napari_medmeta.core import Geometry, Modality, Volume

DICE = {("medmeta", "a_1"): 0.8, ("medmeta", "b_1"): 0.6, ("vote", "a_1"): 0.7, ("vote", "b_1"): 0.9}
NOWHERE = Path("nowhere")


def run(method: str, case: str, dice: float, *, k: int = 3, **key: str) -> Run:
    known = RunKey(case, method, k, key.get("placement", "even"), 0, "1", key.get("painting", "exact"))
    between, ends = {1: dice}, {1: dice / 2}
    return Run(known, 0, (3,), {1: dice}, between, ends, leak={1: 1.5}, short={1: 0.25}, seconds=2.0, peak_mb=321.0)


def session(case: str, method: str = "medmeta", policy: str = "suggestion") -> SessionRun:
    rounds = (
        Round(0, 4, Action.PAINTED, 1, {1: 0.70}, 30.0, 2.0),
        Round(1, 6, Action.CORRECTED, 1, {1: 0.88}, 20.0, 2.0),
        Round(2, 5, Action.ACCEPTED, 0, {1: 0.96}, 4.0, 2.0),
    )
    return SessionRun(SessionKey(case, method, policy, 0, "1"), 0, rounds)


def a_case(name: str) -> Case:
    return Case(name, NOWHERE, NOWHERE, structure_names=((1, "liver"),))


@pytest.fixture
def runs() -> list[Run]:
    return [run(method, case, dice, k=k) for k in (1, 3) for (method, case), dice in DICE.items()]


@pytest.fixture
def setting() -> Setting:
    plan = Plan((a_case("a_1"), a_case("b_1")), ("vote", "medmeta"))
    return Setting(plan, "napari-medmeta bench --data cases", (Skipped("c_1", "No structure is large enough"),))


def report(folder: Path, *args: object) -> tuple[str, str]:
    """Return the pages written, HTML and Markdown."""
    write_report(folder, *args, pictures=False)  # type: ignore[arg-type]
    return (folder / "report.html").read_text("utf-8"), (folder / "report.md").read_text("utf-8")


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_where_nothing_was_painted_exactly_the_other_painting_is_the_main_one(setting, tmp_path):
    drawn = [run(method, case, dice, painting="drawn") for (method, case), dice in DICE.items()]
    _, markdown = report(tmp_path, drawn, [], setting)
    assert "| medmeta | 0.700 [0.60, 0.80] |" in markdown
    assert "Examples were painted in the way `drawn`." in markdown


def test_known_figures_stand_on_every_page(runs, setting, tmp_path):
    html, markdown = report(tmp_path, runs, [], setting)
    # Of 0.8 and 0.6, and of 0.7 and 0.9; the best peer of each case is the only one.
    assert "| medmeta | 0.700 [0.60, 0.80] | 0.700 [0.60, 0.80] |" in markdown
    assert "painted in the way" not in markdown
    assert "| vote | **0.800 [0.70, 0.90]** |" in markdown
    assert "<td>medmeta</td><td>0.700 [0.60, 0.80]</td>" in html
    # Ours minus the vote: +0.1 and -0.3.
    assert "| vote | -0.100 [-0.300, +0.100], 50% |" in markdown
    assert "| medmeta | 0.700 | 0.350 | 1.50 | 0.25 |" in markdown
    assert "<td>medmeta</td><td>2.00</td>" in html


def test_every_run_and_structure_has_a_row(runs, setting, tmp_path):
    report(tmp_path, runs, [], setting)
    found = rows(tmp_path / "runs.csv")
    assert len(found) == len(runs)
    (row,) = (r for r in found if (r["method"], r["case"], r["k"]) == ("medmeta", "a_1", "3"))
    assert (row["dice"], row["name"], row["source"], row["painting"]) == ("0.8", "liver", "a", "exact")
    assert (row["leak"], row["short"], row["peak_mb"]) == ("1.5", "0.25", "321.0")


def test_the_order_of_the_runs_changes_nothing(runs, setting, tmp_path):
    sessions = [session("a_1"), session("b_1"), session("a_1", "vote", "equal"), session("b_1", "vote", "equal")]
    first = report(tmp_path, runs, sessions, setting)
    mixed = random.Random(1)
    mixed.shuffle(runs)
    mixed.shuffle(sessions)
    (tmp_path / "report.md").unlink()
    assert report(tmp_path, runs, sessions, setting) == first


def test_a_failed_run_counts_as_nothing_and_is_told(runs, setting, tmp_path):
    failed = replace(run("vote", "a_1", 0.0), dice={}, failure="cannot read /data/me/secret/weights.pt")
    kept = [r for r in runs if r.key != failed.key]
    html, markdown = report(tmp_path, [*kept, failed], [], setting)
    told = "vote, exact painting, a_1, k=3, even placement: cannot read weights.pt (counted as 0)"
    assert told in markdown
    assert told in html
    assert "secret" not in html + markdown
    assert "| vote | **0.800 [0.70, 0.90]** | 0.450 [0.00, 0.90] |" in markdown


def test_what_was_skipped_is_told_with_the_command_and_the_machine(runs, setting, tmp_path):
    html, markdown = report(tmp_path, runs, [], replace(setting, wall_seconds=3725.0))
    for words in ("c_1: No structure is large enough", "napari-medmeta bench --data cases", "seed 0", "1 h 2 min"):
        assert words in html
        assert words in markdown


def test_random_placement_and_noise_have_tables_of_their_own(runs, setting, tmp_path):
    more = [run(m, c, d / 2, placement="random") for (m, c), d in DICE.items()]
    more += [run("medmeta", c, 0.5, painting="jitter-1") for c in ("a_1", "b_1")]
    _, markdown = report(tmp_path, [*runs, *more], [], setting)
    assert "## With random placement of painted slices" in markdown
    assert "| medmeta | 0.350 [0.30, 0.40] |" in markdown
    assert "| medmeta | 2 | 0.700 | 0.500 (-0.200) |" in markdown


def test_a_method_that_ran_on_few_cases_does_not_shrink_the_main_table(runs, setting, tmp_path):
    slow = [run("unet", "a_1", 0.3), run("medmeta-shape", "a_1", 0.2)]
    _, markdown = report(tmp_path, [*runs, *slow], [], setting)
    main, _, rest = markdown.partition("## Slow methods")
    assert "k=3 (2 cases)" in main
    assert "unet" not in main.partition("## Left out")[0]
    assert "| unet |  | 0.300 [0.30, 0.30] |" in rest
    assert "| medmeta-shape |  | 0.200 [0.20, 0.20] |" in markdown


def test_sessions_are_told_by_slices_and_seconds(runs, setting, tmp_path):
    html, markdown = report(tmp_path, runs, [session("a_1"), session("b_1")], setting)
    # 0.85 after the second slice and 30 + 2 + 20 + 2 s, 0.95 after the third and 6 s more; one of two accepted.
    line = "| medmeta | suggestion | 100% | 2 | 54 | 100% | 3 | 60 | 100% | 3 | 60 |"
    assert line in markdown
    assert "| medmeta | suggestion | 0.700 | 0.880 | 0.960 | 0.960 | 0.960 | 0.960 | 50% | 60 |" in markdown
    assert "seconds of attention" in html
    found = rows(tmp_path / "sessions.csv")
    assert [r["seconds_so_far"] for r in found[:3]] == ["32.0", "54.0", "60.0"]
    assert found[0]["dice_by_structure"] == "1:0.7"


def test_without_runs_the_sessions_are_told_alone(setting, tmp_path):
    html, markdown = report(tmp_path, [], [session("a_1")], setting)
    assert "Interactive: one slice a round" in html
    assert "| medmeta | suggestion |" in markdown


class _References(HTMLParser):
    """Collects what a page would load."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.found += [v or "" for name, v in attrs if name in ("src", "href", "xlink:href", "data", "srcset")]


def test_the_page_needs_nothing_else(runs, setting, tmp_path):
    html, _ = report(tmp_path, runs, [session("a_1")], setting)
    page = _References()
    page.feed(html)
    assert {"svg", "table", "style"} <= page.tags
    assert not {"script", "link", "iframe", "b"} & page.tags
    assert all(r.startswith(("#", "data:")) for r in page.found)
    assert not re.search(r"url\(\s*['\"]?(?!#)", html)
    assert "@import" not in html
    # Names of the XML dialects of a drawing; nothing is fetched from there.
    assert {re.sub(r"[#/][^/]*$", "", a) for a in re.findall(r"https?://[^\s\"'<]+", html)} <= {
        "http://www.w3.org/2000",
        "http://www.w3.org/1999",
    }


def test_names_are_shown_and_not_obeyed(runs, setting, tmp_path):
    odd = "<b>x</b>|_1"
    named = [replace(r, key=replace(r.key, case=odd)) if r.key.case == "b_1" else r for r in runs]
    html, markdown = report(tmp_path, named, [], replace(setting, skipped=(Skipped(odd, "a & b"),)))
    assert "<b>" not in html
    assert "&lt;b&gt;x&lt;/b&gt;" in html
    assert "a &amp; b" in html
    assert "<b>" not in markdown


def test_the_same_runs_draw_the_same_bytes(runs, setting, tmp_path):
    pages = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        report(tmp_path / name, runs, [session("a_1")], setting)
        pages.append({p.name: p.read_bytes() for p in (tmp_path / name / "images").glob("*.svg")})
    assert pages[0] == pages[1]
    assert {"benchmark-slices-even.svg", "benchmark-seconds.svg", "benchmark-looks.svg"} <= set(pages[0])
    assert all(b"<dc:date>" not in svg for svg in pages[0].values())


def test_without_matplotlib_the_page_says_so(runs, setting, tmp_path, monkeypatch):
    monkeypatch.setattr(sections, "can_draw", lambda: False)
    html, markdown = report(tmp_path, runs, [session("a_1")], setting)
    assert "matplotlib is not installed" in html
    assert "<svg" not in html
    assert "![" not in markdown
    assert "0.700 [0.60, 0.80]" in html


def test_a_page_keeps_its_own_text_and_gets_the_summary_where_it_wants_it(runs, setting, tmp_path):
    page = tmp_path / "docs" / "benchmarks.md"
    page.parent.mkdir()
    summary = "<!-- summary: begin (written by `napari-medmeta bench`, not by hand) -->\n<!-- summary: end -->"
    page.write_text(f"# Measured\n\n{summary}\n\nOur own words.\n", encoding="utf-8")
    for _ in range(2):
        write_report(tmp_path, runs, [], setting, page=page, pictures=False)
    text = page.read_text("utf-8")
    order = [text.index(words) for words in ("## Mean Dice", "benchmark-slices-even.svg", "Our own words.", "## By s")]
    assert order == sorted(order)
    assert text.count("## Mean Dice") == 1
    assert (page.parent / "images" / "benchmark-slices-even.svg").is_file()


def test_the_worst_cases_are_shown_beside_the_runs_and_never_on_the_public_page(cases, tmp_path):
    plan = Plan(cases[:1], ("medmeta", "interpolation-dome"), ks=(3,), boundaries=False)
    store = RunStore(tmp_path / "runs.jsonl")
    run_plan(plan, store)
    steps: list[float] = []
    runs = store.wanted(keys_of_plan(plan))
    page = tmp_path / "public.md"
    write_report(tmp_path, runs, [], Setting(plan, ""), page=page, progress=lambda done, stage: steps.append(done))
    html = (tmp_path / "report.html").read_text("utf-8")
    assert html.count("data:image/png;base64,") == 1
    assert "alpha_1: Dice" in html
    assert "base64" not in page.read_text("utf-8")
    assert not list(tmp_path.rglob("*.png"))
    assert steps[-1] == 1.0


def test_a_case_whose_files_are_gone_is_told_instead_of_shown(runs, setting, tmp_path):
    write_report(tmp_path, runs, [], setting)
    html = (tmp_path / "report.html").read_text("utf-8")
    assert "b_1: there is no picture" in html
    assert "data:image/png" not in html


@pytest.fixture
def square() -> Anatomy:
    truth = np.zeros((8, 12, 12), dtype=np.uint8)
    truth[1:7, 2:12, 2:12] = 1
    return anatomy_of(truth, Geometry.from_parts(truth.shape, spacing_mm=(5.0, 1.0, 1.0)))


def test_the_worst_slice_is_the_one_with_most_wrong_voxels_that_was_not_painted(square):
    task: Task = square.task(k=1)
    labels = np.array(square.truth)
    labels[5, :4] = 0
    labels[task.painted[0]] = 0
    assert worst_slice(labels, task) == 5


def test_a_picture_shows_scan_truth_and_proposal_side_by_side(square, tmp_path):
    volume = Volume(square.truth.astype(np.float32), square.geometry)
    task = square.task(k=1)
    png = photo(volume, task, np.zeros_like(square.truth), index=5)
    (tmp_path / "x.png").write_bytes(png)
    image = np.asarray(Image.open(tmp_path / "x.png"))
    third = image.shape[1] // 3
    scan, truth, proposal = image[:, :third], image[:, third : 2 * third], image[:, -third:]
    assert not _is_coloured(scan)
    assert _is_coloured(truth)
    assert not _is_coloured(proposal)


def test_painting_by_hand_is_drawing_every_outline(square):
    # Six slices of a square of 10 by 10 voxels of 1 mm: 36 voxels of edge.
    times = TimeModel()
    assert seconds_by_hand(square) == pytest.approx(6 * (times.view(0) + times.draw([36.0])))


@pytest.mark.parametrize(
    ("told", "kept"),
    [
        ("cannot read /data/me/data/x.nii.gz now", "cannot read x.nii.gz now"),
        (r"cannot read C:\scans\x.nii now", "cannot read x.nii now"),
        ("and/or 3/4 of it", "and/or 3/4 of it"),
        ("k=3: 1/2", "k=3: 1/2"),
    ],
)
def test_folders_are_left_out_of_what_is_told(told, kept):
    assert without_folders(told) == kept


def _is_coloured(image: np.ndarray) -> bool:
    return bool((np.ptp(image.astype(int), axis=-1) > 20).mean() > 0.05)


def test_the_same_failure_on_many_cases_is_told_once(runs, setting, tmp_path):
    failed = [replace(run("vote", f"c_{i}", 0.0), dice={}, failure="Paint one whole slice") for i in range(6)]
    _, markdown = report(tmp_path, [*runs, *failed], [], setting)
    assert "- vote, exact painting, 6 runs on c_0, c_1, c_2, c_3 and 2 more: Paint one whole slice" in markdown
    assert markdown.count("Paint one whole slice") == 1


def test_soft_tissue_on_ct_is_shown_in_its_own_window_and_air_in_another(square, tmp_path):
    task = square.task(k=1)
    greys = {}
    for name, inside in (("liver", 40.0), ("lung", -850.0)):
        hu = np.where(square.truth > 0, inside, -1000.0).astype(np.float32)
        volume = Volume(hu, square.geometry, Modality.CT)
        (tmp_path / "x.png").write_bytes(photo(volume, task, square.truth, index=5))
        greys[name] = np.asarray(Image.open(tmp_path / "x.png"))[140, 140]
    # 40 HU is the middle of the soft-tissue window; for the lung the greys are those of its neighbourhood.
    assert greys["liver"].tolist() == pytest.approx([127, 127, 127], abs=2)
    assert greys["lung"].min() > 200
