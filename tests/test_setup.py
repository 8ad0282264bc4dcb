"""The set-up scripts say what to do when they cannot do it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[1] / "scripts"

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="these scripts are for Linux")


def run(script: str, *arguments: str, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **({"PATH": str(path)} if path else {})}
    shell = shutil.which("sh") or "sh"
    return subprocess.run([shell, SCRIPTS / script, *arguments], env=environment, capture_output=True, text=True)


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A PATH on which there is nothing but an `id` of somebody who is not root, and an apt-get."""
    for name, body in {"id": "echo 1000", "apt-get": "exit 1"}.items():
        program = tmp_path / name
        program.write_text(f"#!{shutil.which('sh')}\n{body}\n")
        program.chmod(0o755)
    return tmp_path


def test_somebody_who_may_not_install_packages_is_told_the_command(bare):
    done = run("system_packages.sh", "display", path=bare)
    assert done.returncode == 1
    assert "sudo apt-get install -y --no-install-recommends xvfb xauth libgl1" in done.stderr


def test_the_command_fits_on_one_line_for_copying(bare):
    line = next(x for x in run("system_packages.sh", "display", path=bare).stderr.splitlines() if "apt-get" in x)
    assert line.rstrip().endswith("fonts-dejavu-core")


def test_an_unknown_request_is_refused(bare):
    assert run("system_packages.sh", "sound", path=bare).returncode == 2


def test_without_a_supported_python_the_versions_are_named(tmp_path):
    done = run("make_venv.sh", "", str(tmp_path / "venv"))
    assert done.returncode == 1
    assert "3.11" in done.stderr
    assert not (tmp_path / "venv").exists()
