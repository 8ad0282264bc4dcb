"""The command line as a whole, ``info`` and ``bench``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from napari_medmeta import __version__, cli
from napari_medmeta.core import Geometry
from napari_medmeta.core.phantoms import simple_blobs
from napari_medmeta.io import write_image, write_labels
from napari_medmeta.session import Session


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    volume = simple_blobs().volume
    return write_image(tmp_path / "scan.nii.gz", volume.array, volume.geometry)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    phantom = simple_blobs(shape=(14, 32, 32), spacing_mm=(4.0, 1.5, 1.5))
    folder = tmp_path / "cases" / "blobs_1"
    folder.mkdir(parents=True)
    write_image(folder / "image.nii.gz", phantom.volume.array, phantom.volume.geometry)
    write_labels(folder / "label.nii.gz", phantom.labels, phantom.volume.geometry)
    return tmp_path / "cases"


def test_version_is_told(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["--version"])
    assert stop.value.code == 0
    assert __version__ in capsys.readouterr().out


def test_without_a_command_the_usage_is_told(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main([])
    assert stop.value.code == 2
    assert "COMMAND" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["segment", "info", "bench", "demo"])
def test_every_command_has_help(command, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main([command, "--help"])
    assert stop.value.code == 0
    assert command in capsys.readouterr().out


def test_help_loads_nothing_heavy():
    code = (
        "import sys\nfrom napari_medmeta.cli import main\n"
        "try:\n    main(['segment', '--help'])\nexcept SystemExit:\n    pass\n"
        "print(sorted({'torch', 'napari', 'qtpy', 'SimpleITK', 'monai', 'sklearn', 'skimage'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("[]")


def test_info_tells_size_spacing_and_range(scan, capsys):
    assert cli.main(["info", str(scan)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "shape: 24 x 48 x 48" in lines
    assert "spacing mm: 3 x 1 x 1" in lines
    assert any(line.startswith("value range: ") and " to " in line for line in lines)


def test_what_a_pipe_has_no_letter_for_is_printed_all_the_same(tmp_path):
    session = Session.create(Geometry.from_parts((4, 4, 4)), fingerprint="a scan", path=tmp_path / "case.medmeta")
    session.add_structure("肝 liver")
    session.close()
    code = "import sys; from napari_medmeta.cli import main; sys.exit(main(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", code, "session", str(tmp_path / "case.medmeta")],
        env={**os.environ, "PYTHONIOENCODING": "cp1252"},
        capture_output=True,
        check=True,
    )
    assert b"1 \\u809d liver: 0.0 ml" in done.stdout


def test_info_as_json_can_be_read_back(scan, capsys):
    assert cli.main(["info", str(scan), "--json"]) == 0
    assert "24" in json.dumps(json.loads(capsys.readouterr().out))


def test_info_on_something_else_is_refused(tmp_path, capsys):
    (tmp_path / "letter.txt").write_text("Dear colleague")
    assert cli.main(["info", str(tmp_path / "letter.txt")]) == 2
    assert "letter.txt" in capsys.readouterr().err


def test_bench_writes_runs_tables_and_csv(data, tmp_path):
    out = tmp_path / "out"
    methods = ["--methods", "interpolation,interpolation-dome", "--k", "1,3,5", "--placement", "even"]
    assert cli.main(["bench", "--data", str(data), "--out", str(out), *methods]) == 0
    assert (out / "runs.jsonl").read_text().count("\n") == 6
    assert "interpolation-dome" in (out / "report.md").read_text()
    assert len((out / "runs.csv").read_text().splitlines()) == 1 + 6 * 2


def test_bench_goes_on_where_it_was(data, tmp_path):
    call = ["bench", "--data", str(data), "--out", str(tmp_path / "out"), "--methods", "interpolation-dome"]
    call += ["--placement", "even"]
    cli.main([*call, "--k", "1"])
    cli.main([*call, "--k", "1,3"])
    lines = (tmp_path / "out" / "runs.jsonl").read_text().splitlines()
    assert [json.loads(line)["k"] for line in lines] == [1, 3]


def test_bench_sets_its_tables_into_a_page_of_our_own(data, tmp_path):
    page = tmp_path / "benchmarks.md"
    call = ["bench", "--data", str(data), "--out", str(tmp_path / "out"), "--methods", "interpolation", "--k", "3"]
    assert cli.main([*call, "--report", str(page)]) == 0
    assert "tables: begin" in page.read_text()


def test_the_report_does_not_tell_where_the_scans_lie(data, tmp_path, monkeypatch):
    call = ["bench", "--data", str(data), "--out", str(tmp_path / "out"), "--methods", "interpolation", "--k", "3"]
    monkeypatch.setattr(sys, "argv", ["napari-medmeta", *call])
    assert cli.main(call) == 0
    page = (tmp_path / "out" / "report.md").read_text()
    assert str(tmp_path) not in page
    assert "bench --data cases --out out --methods interpolation --k 3" in page


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--methods", "magic"], "no method 'magic'"),
        (["--cases", "nobody"], "no case nobody"),
        (["--k", "0"], "cannot be used"),
    ],
)
def test_bench_refuses_what_does_not_exist(data, tmp_path, capsys, options, words):
    assert cli.main(["bench", "--data", str(data), "--out", str(tmp_path / "out"), *options]) == 2
    assert words in capsys.readouterr().err


def test_the_engine_segments_a_scan_from_the_command_line(tmp_path):
    phantom = simple_blobs(shape=(16, 40, 40))
    painted = np.zeros_like(phantom.labels)
    painted[[4, 8, 12]] = phantom.labels[[4, 8, 12]]
    image = write_image(tmp_path / "scan.nrrd", phantom.volume.array, phantom.volume.geometry)
    labels = write_labels(tmp_path / "examples.nrrd", painted, phantom.volume.geometry)
    call = ["segment", str(image), "--examples", str(labels), "--output", str(tmp_path / "out.mha"), "--device", "cpu"]
    assert cli.main(call) == 0
    assert (tmp_path / "out.mha").exists()
