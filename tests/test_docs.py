"""The documents: links lead somewhere, and what they say of commands and keys is so."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from napari_medmeta import cli, io
from napari_medmeta.core.phantoms import torso_ct

REPO = Path(__file__).parents[1]
DOCUMENTS = sorted([*REPO.glob("*.md"), *REPO.glob("docs/**/*.md"), *REPO.glob("sample_data/*.md")])
LINK = re.compile(r"\]\(([^)#\s]+)(#[^)\s]*)?\)")


def name_of(path: Path) -> str:
    return path.relative_to(REPO).as_posix()


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_every_relative_link_leads_to_a_file(document):
    links = [target for target, _ in LINK.findall(document.read_text(encoding="utf-8"))]
    assert [link for link in links if "://" not in link and not (document.parent / link).exists()] == []


def test_every_document_can_be_reached_from_the_first_page():
    reached, waiting = set(), [REPO / "README.md", REPO / "docs" / "index.md"]
    while waiting:
        document = waiting.pop()
        if document in reached or document.suffix != ".md":
            continue
        reached.add(document)
        links = [target for target, _ in LINK.findall(document.read_text(encoding="utf-8")) if "://" not in target]
        waiting += [(document.parent / link).resolve() for link in links]
    assert {name_of(d) for d in DOCUMENTS} - {name_of(d) for d in reached} <= {"sample_data/README.md"}


def test_every_command_is_told_of_on_the_page_of_the_command_line(capsys):
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    commands = re.findall(r"^    ([a-z]+) ", capsys.readouterr().out, flags=re.MULTILINE)
    page = (REPO / "docs" / "how-to" / "command-line.md").read_text(encoding="utf-8")
    assert {"segment", "demo"} <= set(commands)
    assert [command for command in commands if f"napari-medmeta {command}" not in page] == []


def test_the_first_page_shows_the_loop_in_pictures():
    assert "docs/images/story.png" in (REPO / "README.md").read_text(encoding="utf-8")
    assert (REPO / "docs" / "images" / "story.png").stat().st_size < 500_000


def test_the_first_page_says_that_this_is_no_medical_device():
    assert "Not a medical device" in (REPO / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("command", ["segment", "info", "demo", "bench", "train", "session"])
def test_options_that_the_documents_name_exist(command, capsys):
    with pytest.raises(SystemExit):
        cli.main([command, "--help"])
    known = set(re.findall(r"--[a-z][a-z-]*", capsys.readouterr().out))
    for document in DOCUMENTS:
        for line in document.read_text(encoding="utf-8").splitlines():
            if f"napari-medmeta {command}" in line:
                assert set(re.findall(r"--[a-z][a-z-]*", line)) <= known, f"{name_of(document)}: {line}"


@pytest.mark.gui
@pytest.mark.parametrize("name", ["README.md", "docs/keys.md"])
def test_the_key_tables_name_every_key(name):
    from napari_medmeta.ui.keys import KEYS

    text = (REPO / name).read_text(encoding="utf-8")
    assert [row.key for row in KEYS if row.key not in text] == []


@pytest.mark.gui
def test_the_reference_of_keys_says_what_the_plugin_says():
    from napari_medmeta.ui.keys import KEYS

    rows = [f"| {row.key} | {row.does} | {row.instead_of} |" for row in KEYS]
    text = (REPO / "docs" / "keys.md").read_text(encoding="utf-8")
    assert [row for row in rows if row not in text] == []


def test_the_example_script_runs_and_saves(tmp_path):
    script, result = REPO / "examples" / "interactive_loop.py", tmp_path / "liver.nii.gz"
    done = subprocess.run([sys.executable, script, result], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "ml of liver" in done.stdout
    assert result.is_file()


def test_the_tutorials_dicom_series_is_the_synthetic_torso(tmp_path):
    subprocess.run([sys.executable, REPO / "examples" / "torso_dicom.py", tmp_path / "torso"], check=True)
    volume, torso = io.read_volume(tmp_path / "torso"), torso_ct().volume
    volume.geometry.require_same_grid(torso.geometry, what="series")
    assert volume.modality == "CT"
    assert np.array_equal(volume.array, torso.array)


def test_the_example_script_is_short():
    code = (REPO / "examples" / "interactive_loop.py").read_text(encoding="utf-8").split('"""')[2]
    statements = [line for line in code.splitlines() if line.strip() and not line.startswith(("import", "from"))]
    assert len(statements) <= 20


def test_every_make_target_of_the_documents_exists():
    targets = set(re.findall(r"^([a-z-]+):", (REPO / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))
    named = {t for d in DOCUMENTS for t in re.findall(r"(?:`|    )make ([a-z-]+)", d.read_text(encoding="utf-8"))}
    assert named <= targets


def test_every_test_that_the_documents_name_exists():
    named = re.findall(r"`([a-z_/]+\.py)::(\w+)`", (REPO / "docs" / "loop-checks.md").read_text(encoding="utf-8"))
    assert named
    texts = {file: (REPO / "tests" / file).read_text(encoding="utf-8") for file, _ in named}
    assert [f"{file}::{test}" for file, test in named if f"def {test}(" not in texts[file]] == []


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    pytest.importorskip("mkdocs", reason="mkdocs is not installed: pip install 'napari-medmeta[docs]'")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", folder]
    done = subprocess.run(command, cwd=REPO, capture_output=True, text=True)
    # Strict: a link or picture that leads nowhere fails the build.
    assert done.returncode == 0, done.stderr
    return folder


def test_every_document_becomes_a_page(site):
    sources = [path.relative_to(REPO / "docs") for path in REPO.glob("docs/**/*.md")]
    pages = [path.with_suffix(".html") for path in [*sources, Path("CHANGELOG.md")]]
    assert [page.as_posix() for page in pages if not (site / page).is_file()] == []


def test_the_pages_fetch_nothing_from_elsewhere(site):
    fetched = re.compile(r'<(script|img|iframe)[^>]*src="(https?:)?//|<link[^>]*stylesheet"[^>]*href="(https?:)?//')
    assert fetched.search('<script async src="https://example.org/a.js">')
    assert [page.name for page in site.rglob("*.html") if fetched.search(page.read_text(encoding="utf-8"))] == []
