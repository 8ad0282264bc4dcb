"""``napari-medmeta segment`` end to end: what it writes, and what it refuses without writing anything."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

from napari_medmeta import cli
from napari_medmeta.bench.methods.interpolation import SignedDistance
from napari_medmeta.cli import segment
from napari_medmeta.core import Box, CancelToken, Geometry, LabelArray, Progress, Proposal, Support, Volume, silent
from napari_medmeta.core.phantoms import Phantom, simple_blobs
from napari_medmeta.io import read_labels, read_named_labels, read_volume, write_image, write_labels

PAINTED = (6, 12, 18)


class Interpolating:
    """An engine that needs no torch and paints over the examples, so that keeping them is tested."""

    supports: list[Support]

    def __init__(self, *, device: str = "auto", **_: object) -> None:
        self.device = "cpu" if device == "auto" else device

    def memory_estimate_bytes(self, shape: tuple[int, ...]) -> int:
        return 1000

    def set_volume(self, volume: Volume, *, progress: Progress = silent, cancel: CancelToken | None = None) -> None:
        progress(1.0, "features")
        self.volume = volume

    def segment(self, support: Support, *, progress: Progress = silent, cancel: CancelToken | None = None) -> Proposal:
        self.supports.append(support)
        labels = SignedDistance(dome=True).segment(self.volume, support)
        for example in support.examples:
            labels[example.ref.slicer] = 9
        sure = np.ones(support.shape, dtype=np.float32)
        whole = Box.whole(support.shape)
        return Proposal(0, whole, labels, sure, whole, expected_dice={1: 0.9, 2: 0.8}, seconds={"fusion": 0.5})


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> type[Interpolating]:
    import napari_medmeta.engine

    class Fresh(Interpolating):
        supports: list[Support] = []  # noqa: RUF012

    monkeypatch.setattr(napari_medmeta.engine, "Segmenter", Fresh, raising=False)
    return Fresh


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return simple_blobs(shape=(24, 48, 48))


@pytest.fixture
def painted(phantom: Phantom) -> LabelArray:
    labels = np.zeros_like(phantom.labels)
    labels[list(PAINTED)] = phantom.labels[list(PAINTED)]
    return labels


@pytest.fixture
def files(tmp_path: Path, phantom: Phantom, painted: LabelArray) -> tuple[Path, Path, Path]:
    """Scan, examples, and where to write."""
    image = write_image(tmp_path / "scan.nii.gz", phantom.volume.array, phantom.volume.geometry)
    examples = write_labels(tmp_path / "examples.nii.gz", painted, phantom.volume.geometry)
    (tmp_path / "out").mkdir()
    return image, examples, tmp_path / "out" / "result.nii.gz"


def run(image: Path, examples: Path, output: Path, *more: str) -> int:
    return cli.main(["segment", str(image), "--examples", str(examples), "--output", str(output), *more])


def test_painted_slices_are_kept_and_the_others_are_proposed(engine, files, phantom, painted):
    assert run(*files) == 0
    found, geometry = read_labels(files[2])
    assert geometry.same_grid(phantom.volume.geometry)
    for index in PAINTED:
        assert np.array_equal(found[index], painted[index])
    assert found[9].any()
    assert 9 not in found


def test_every_slice_with_a_label_is_a_complete_example(engine, files):
    run(*files)
    (support,) = engine.supports
    assert [(e.ref.axis, e.ref.index, e.is_complete) for e in support.examples] == [(0, i, True) for i in PAINTED]


def test_slices_names_further_examples_also_empty_ones(engine, files):
    assert run(*files, "--slices", "0,23") == 0
    assert [e.ref.index for e in engine.supports[0].examples] == [0, 6, 12, 18, 23]
    found, _ = read_labels(files[2])
    assert not found[[0, 23]].any()


def test_the_axis_can_be_named(engine, files):
    assert run(*files, "--axis", "1", "--quiet") == 0
    assert {e.ref.axis for e in engine.supports[0].examples} == {1}


def test_voxels_of_the_unlabelled_value_are_unknown(engine, files, phantom, painted):
    painted[6, :10] = 200
    write_labels(files[1], painted, phantom.volume.geometry)
    assert run(*files, "--unlabelled", "200") == 0
    example = engine.supports[0].examples[0]
    assert not example.known[:10].any()
    assert example.known[10:].all()


def test_the_report_tells_seconds_memory_device_and_expected_dice(engine, files, tmp_path):
    assert run(*files, "--report", str(tmp_path / "report.json")) == 0
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["expected_dice"] == {"1": 0.9, "2": 0.8}
    assert set(report["seconds"]) == {"read", "features", "proposal", "write"}
    assert report["device"] == "cpu"
    assert report["peak_memory_mb"] > 10
    assert "napari-medmeta" in report["versions"]


def test_the_report_holds_no_file_name(engine, files, tmp_path):
    named = files[0].rename(tmp_path / "Doe^Jane.nii.gz")
    assert run(named, *files[1:], "--report", str(tmp_path / "report.json")) == 0
    assert "Doe" not in (tmp_path / "report.json").read_text()


def test_quiet_prints_nothing(engine, files, capsys):
    assert run(*files, "--quiet") == 0
    assert capsys.readouterr() == ("", "")


def test_without_quiet_the_result_is_named(engine, files, capsys):
    run(*files)
    out = capsys.readouterr().out
    assert str(files[2]) in out
    assert "structure 1: expected Dice 0.90" in out


def test_ctrl_c_exits_with_130_and_writes_nothing(engine, files, monkeypatch, capsys):
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(engine, "segment", interrupted)
    assert run(*files) == 130
    assert not files[2].exists()
    assert "Traceback" not in capsys.readouterr().err


# --- refused, each with one clear sentence and nothing written ---

Break = Callable[[tuple[Path, Path, Path], Phantom, LabelArray], tuple[Path, Path, Path]]


def truncated(files, phantom, painted):
    files[0].write_bytes(files[0].read_bytes()[:5000])
    return files


def not_an_image(files, phantom, painted):
    files[0].write_bytes(b"Dear colleague, thank you for referring this patient.")
    return files


def unknown_kind(files, phantom, painted):
    text = files[0].with_name("letter.txt")
    text.write_text("Dear colleague")
    return text, *files[1:]


def missing_file(files, phantom, painted):
    return files[0].with_name("elsewhere.nii.gz"), *files[1:]


def flat(files, phantom, painted):
    sitk.WriteImage(sitk.GetImageFromArray(phantom.volume.array[0]), str(files[0]))
    return files


def series_of_volumes(files, phantom, painted):
    nib.save(nib.Nifti1Image(np.zeros((8, 8, 8, 5), np.int16), np.eye(4)), files[0])
    return files


def not_numbers(files, phantom, painted):
    array = phantom.volume.array.astype(np.float32)
    array[3, 4, 5] = np.nan
    write_image(files[0], array, phantom.volume.geometry)
    return files


def infinite(files, phantom, painted):
    array = phantom.volume.array.astype(np.float32)
    array[3, 4, 5] = np.inf
    write_image(files[0], array, phantom.volume.geometry)
    return files


def other_grid(files, phantom, painted):
    shifted = Geometry.from_parts(painted.shape, spacing_mm=(3.0, 1.0, 1.0), origin_mm=(500.0, 0.0, 0.0))
    write_labels(files[1], painted, shifted)
    return files


def other_shape(files, phantom, painted):
    smaller = painted[:, :-1]
    write_labels(files[1], smaller, Geometry.from_parts(smaller.shape, spacing_mm=(3.0, 1.0, 1.0)))
    return files


def empty_label(files, phantom, painted):
    write_labels(files[1], painted * 0, phantom.volume.geometry)
    return files


def one_structure_without_background(files, phantom, painted):
    labels = np.full(painted.shape, 255, dtype=np.uint8)
    labels[6] = 1
    write_labels(files[1], labels, phantom.volume.geometry)
    return files


def fractions_as_labels(files, phantom, painted):
    write_image(files[1], painted.astype(np.float32) + 0.5, phantom.volume.geometry)
    return files


def folder_without_images(files, phantom, painted):
    folder = files[0].with_name("dicom")
    folder.mkdir()
    (folder / "readme.txt").write_text("no images here")
    return folder, *files[1:]


def empty_folder(files, phantom, painted):
    folder = files[0].with_name("dicom")
    folder.mkdir()
    return folder, *files[1:]


def no_output_folder(files, phantom, painted):
    return *files[:2], files[2].parent / "nowhere" / "result.nii.gz"


def output_of_unknown_kind(files, phantom, painted):
    return *files[:2], files[2].with_name("result.png")


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (truncated, "scan.nii.gz"),
        (not_an_image, "scan.nii.gz"),
        (unknown_kind, "letter.txt"),
        (missing_file, "elsewhere.nii.gz"),
        (flat, "2D image"),
        (series_of_volumes, "4D image"),
        (not_numbers, "NaN or infinite"),
        (infinite, "NaN or infinite"),
        (other_grid, "does not lie on the scan's grid"),
        (other_shape, "does not lie on the scan's grid"),
        (empty_label, "no structure"),
        (one_structure_without_background, "one structure only"),
        (fractions_as_labels, "whole numbers"),
        (folder_without_images, "no"),
        (empty_folder, "is empty"),
        (no_output_folder, "There is no folder"),
        (output_of_unknown_kind, ".nii.gz"),
    ],
)
def test_bad_input_is_refused_with_one_sentence_and_nothing_written(
    engine, files, phantom, painted, tmp_path, capsys, broken: Break, words: str
):
    image, examples, output = broken(files, phantom, painted)
    before = sorted(tmp_path.rglob("*"))
    assert run(image, examples, output, "--report", str(tmp_path / "report.json")) == 2
    said = capsys.readouterr().err
    assert words in said
    assert said.startswith("napari-medmeta: ")
    assert "Traceback" not in said
    assert sorted(tmp_path.rglob("*")) == before
    assert not engine.supports


def test_an_example_slice_outside_of_the_scan_is_refused(engine, files, capsys):
    assert run(*files, "--slices", "24") == 2
    assert "Slice 24 does not exist" in capsys.readouterr().err


def test_a_scan_too_large_for_memory_says_how_much_it_would_take(engine, files, monkeypatch, capsys):
    monkeypatch.setattr(engine, "memory_estimate_bytes", lambda self, shape: 50 * 2**30)
    monkeypatch.setattr(segment, "available_memory_bytes", lambda: 8 * 2**30)
    assert run(*files) == 2
    assert "50.0 GB" in capsys.readouterr().err
    assert not files[2].exists()


def test_a_full_memory_is_told_in_words(engine, files, monkeypatch, capsys):
    def exhausted(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(engine, "set_volume", exhausted)
    assert run(*files) == 2
    assert "memory is full" in capsys.readouterr().err


@pytest.mark.skipif(os.name == "nt", reason="file size limits are POSIX")
def test_a_full_disk_leaves_nothing_half_written(engine, files, tmp_path, capsys):
    import resource

    output = files[2].with_name("result.nii")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        code = run(*files[:2], output, "--report", str(tmp_path / "report.json"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert code == 2
    assert "disk is full" in capsys.readouterr().err
    assert not list(output.parent.iterdir())
    assert not (tmp_path / "report.json").exists()


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions")
def test_a_folder_that_may_not_be_written_is_refused_before_the_work(engine, files, monkeypatch, capsys):
    if os.geteuid() == 0:
        # Root may write anywhere: the question is answered for it as it would be for anybody else.
        monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
    else:
        files[2].parent.chmod(0o500)
    assert run(*files) == 2
    assert "You may not write" in capsys.readouterr().err
    assert not engine.supports


def test_an_older_result_survives_a_refusal(engine, files, phantom, painted):
    files[2].write_bytes(b"older")
    empty_label(files, phantom, painted)
    assert run(*files) == 2
    assert files[2].read_bytes() == b"older"


def test_a_label_value_out_of_range_is_a_usage_error(files, capsys):
    with pytest.raises(SystemExit) as stop:
        run(*files, "--unlabelled", "300")
    assert stop.value.code == 2
    assert "300" in capsys.readouterr().err


def test_measurements_are_those_of_what_was_written(engine, files, phantom, tmp_path):
    table = tmp_path / "table.json"
    assert run(*files, "--measurements", str(table), "--names", "1=Liver") == 0
    labels, geometry = read_labels(files[2])
    rows = {row["structure"]: row for row in json.loads(table.read_text(encoding="utf-8"))["structures"]}
    assert rows["Liver"]["voxels"] == np.count_nonzero(labels == 1)
    assert rows["structure 2"]["volume_ml"] == pytest.approx(
        np.count_nonzero(labels == 2) * geometry.voxel_volume_ml, abs=1e-4
    )
    assert rows["Liver"]["mean"] == pytest.approx(phantom.volume.array[labels == 1].mean(), abs=1e-3)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--measurements", "table.xlsx"), ".csv or .json"),
        (("--measurements", "no/such/folder/table.csv"), "no folder"),
    ],
)
def test_a_table_that_cannot_be_written_is_refused_at_once(engine, files, capsys, more, words):
    assert run(*files, *more) == 2
    assert words in capsys.readouterr().err
    assert not engine.supports


@pytest.mark.parametrize("text", ["Liver", "0=Liver", "x=Liver", "1=", "300=Liver"])
def test_names_that_name_nothing_are_refused(engine, files, capsys, text):
    with pytest.raises(SystemExit):
        run(*files, "--names", text)
    assert "write 1=Liver,2=Spleen" in capsys.readouterr().err


def test_a_dicom_segmentation_of_a_nifti_scan_is_refused_at_once(engine, files, capsys, tmp_path):
    assert run(files[0], files[1], tmp_path / "seg.dcm") == 2
    assert "did not come from one" in capsys.readouterr().err
    assert not engine.supports


@pytest.fixture
def series(tmp_path: Path, phantom: Phantom, write_ct_series: Callable[..., Path]) -> Path:
    """The phantom as a DICOM series."""
    spacing = phantom.volume.geometry.spacing_mm
    return write_ct_series(tmp_path / "series", phantom.volume.array, spacing_mm=spacing)


def test_a_series_gets_a_dicom_segmentation_that_is_read_back(engine, files, series, painted, tmp_path):
    geometry = read_volume(series).geometry
    examples = write_labels(tmp_path / "on_series.nrrd", painted, geometry, names={1: "Liver", 2: "Spleen"})
    output = tmp_path / "seg.dcm"
    assert run(series, examples, output, "--names", "2=Kidney left") == 0
    found = read_named_labels(output, like=geometry, source=series)
    assert dict(found.names) == {1: "Liver", 2: "Kidney left"}
    assert np.array_equal(found.labels[6], painted[6])
    assert pydicom.dcmread(output).PatientID == "PAT0815"
    # And what was written can be the examples of a next run.
    assert run(series, output, tmp_path / "again.nii.gz") == 0


def test_an_anonymous_segmentation_holds_nothing_of_the_patient(engine, series, painted, tmp_path):
    examples = write_labels(tmp_path / "on_series.nii.gz", painted, read_volume(series).geometry)
    output = tmp_path / "seg.dcm"
    assert run(series, examples, output, "--anonymous", "--quiet") == 0
    assert not [word for word in (b"Doe", b"PAT0815", b"20010203") if word in output.read_bytes()]


def test_a_series_without_what_a_reference_needs_is_refused_before_the_work(engine, series, painted, tmp_path, capsys):
    examples = write_labels(tmp_path / "on_series.nii.gz", painted, read_volume(series).geometry)
    for file in series.iterdir():
        data = pydicom.dcmread(file)
        del data.FrameOfReferenceUID
        data.save_as(file)
    assert run(series, examples, tmp_path / "seg.dcm") == 2
    assert "does not say in which coordinate system" in capsys.readouterr().err
    assert not engine.supports


def test_one_learner_may_answer_alone(files, monkeypatch, tmp_path):
    import torch

    from napari_medmeta.engine import choices, segmenter
    from napari_medmeta.engine.embedding import Encoder
    from napari_medmeta.engine.learners.registry import built

    torch.manual_seed(0)
    monkeypatch.setattr(segmenter, "shipped_encoder", lambda *_: Encoder().eval())
    learners = tuple(m.eval().requires_grad_(False) for m in built("memory_augmented").values())
    monkeypatch.setattr(choices, "shipped_learners", lambda name, folder=None: learners)
    report = tmp_path / "report.json"
    assert run(*files, "--learner", "memory_augmented", "--report", str(report)) == 0
    assert json.loads(report.read_text())["learner"] == "memory_augmented"
    found, _ = read_labels(files[2])
    assert set(np.unique(found)) == {0, 1, 2}


def test_an_unknown_learner_is_refused_with_those_there_are(engine, files, capsys):
    assert run(*files, "--learner", "wizard") != 0
    error = capsys.readouterr().err
    assert "wizard" in error
    assert "siamese" in error
    assert not files[2].exists()


def test_a_learner_without_a_memory_has_no_say_in_what_comes_from_the_library(engine, files, tmp_path, capsys):
    given = ["segment", str(files[0]), "--from-library", "--learner", "siamese", "--output", str(files[2])]
    assert cli.main(given) != 0
    assert "knows of one scan only" in capsys.readouterr().err


def test_own_weights_answer_and_the_report_names_them(files, tmp_path):
    import torch

    from napari_medmeta.core.weights import own_parts
    from napari_medmeta.engine.learners.registry import DEFAULT_SOURCES
    from napari_medmeta.engine.network import FusionNetwork, NetworkConfig
    from napari_medmeta.engine.weights import save_weights

    network = FusionNetwork(NetworkConfig(DEFAULT_SOURCES))
    # It would add whatever it is asked about everywhere: only the left-out check holds it back.
    torch.nn.init.constant_(network.presence[-1].bias, 1.0)
    own, report = tmp_path / "own", tmp_path / "report.json"
    save_weights(own, network, training={})
    assert run(*files, "--weights", str(own), "--report", str(report)) == 0
    sha256 = own_parts(own)["fusion"].sha256
    assert json.loads(report.read_text())["weights"] == {"fusion": sha256[:16]}
    found, _ = read_labels(files[2])
    assert set(np.unique(found)) == {0, 1, 2}


def test_without_own_weights_the_report_says_that_they_are_the_shipped_ones(engine, files, tmp_path):
    report = tmp_path / "report.json"
    assert run(*files, "--report", str(report)) == 0
    assert json.loads(report.read_text())["weights"] == "shipped"


@pytest.mark.parametrize(("made", "words"), [(False, "There is no folder"), (True, "holds no weights")])
def test_a_folder_without_weights_is_refused_before_the_scan_is_read(engine, files, tmp_path, capsys, made, words):
    own = tmp_path / "own"
    if made:
        own.mkdir()
    files[0].unlink()
    assert run(*files, "--weights", str(own)) == 2
    assert words in capsys.readouterr().err
    assert not files[2].exists()


def test_own_weights_take_no_part_where_no_learner_with_a_memory_answers(engine, files, tmp_path, capsys):
    given = ["segment", str(files[0]), "--from-library", "--weights", str(tmp_path), "--output", str(files[2])]
    assert cli.main(given) == 2
    assert "no trained weights take part" in capsys.readouterr().err
