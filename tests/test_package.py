"""The package as a whole: light imports, import rules, harmless code, the manifest in every kind of install."""

from __future__ import annotations

import ast
import doctest
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import napari_medmeta

PACKAGE = Path(napari_medmeta.__file__).parent
REPO = Path(__file__).parents[1]
MODULES = sorted(PACKAGE.rglob("*.py"))
HEAVY = ("torch", "napari", "qtpy", "PyQt6", "PySide6", "SimpleITK", "monai", "skimage", "sklearn", "matplotlib")


def run(*command: str | Path, **variables: str) -> str:
    """Run a command outside of the checkout and return what it printed."""
    environment = {**os.environ, **variables}
    done = subprocess.run(
        [str(part) for part in command], cwd=PACKAGE.parents[1], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    """Yield each call with the dotted name of what is called."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")


def modules_where(check: Callable[[ast.Module], bool]) -> list[str]:
    """Return the modules of the package whose code fulfils ``check``, as paths inside the package."""
    return [path.relative_to(PACKAGE).as_posix() for path in MODULES if check(parsed(path))]


@pytest.mark.parametrize("module", ["napari_medmeta", "napari_medmeta.core", "napari_medmeta.session"])
def test_importing_loads_nothing_heavy(module):
    code = f"import sys, json, {module}; print(json.dumps(sorted(m for m in {HEAVY!r} if m in sys.modules)))"
    assert json.loads(run(sys.executable, "-c", code)) == []


@pytest.mark.parametrize("module", ["napari_medmeta.io", "napari_medmeta.engine", "napari_medmeta.bench"])
def test_working_without_a_window_loads_no_gui(module):
    code = f"import sys, {module}; print([m for m in ('napari', 'qtpy', 'PyQt6') if m in sys.modules])"
    assert run(sys.executable, "-c", code).strip() == "[]"


def test_asking_the_command_for_help_loads_no_torch():
    code = (
        "import sys, contextlib, napari_medmeta.cli as cli\n"
        "with contextlib.suppress(SystemExit): cli.main(['--help'])\n"
        "print([m for m in ('torch', 'napari', 'qtpy') if m in sys.modules])"
    )
    assert run(sys.executable, "-c", code).splitlines()[-1] == "[]"


def test_the_import_rules_hold():
    run(Path(sys.executable).with_name("lint-imports"), "--config", REPO / "pyproject.toml", "--no-cache")


def test_nothing_is_unpickled_or_evaluated():
    calling = {"eval", "exec", "torch.load", "joblib.load", "compile", "os.system", "__import__"}
    importing = {"pickle", "shelve", "marshal", "dill"}

    def harmful(tree: ast.Module) -> bool:
        return any(
            name in calling or any(k.arg == "allow_pickle" for k in call.keywords) for name, call in calls(tree)
        ) or any(name.split(".")[0] in importing for name in imports(tree))

    assert modules_where(harmful) == []


def test_nothing_reaches_for_the_network():
    clients = {"socket", "urllib", "http", "requests", "httpx", "ftplib", "pooch"}
    assert modules_where(lambda tree: any(name.split(".")[0] in clients for name in imports(tree))) == []


def test_every_library_in_use_is_a_declared_dependency():
    # Named differently on the index than in Python; itk comes with the peers.
    other_names = {
        "PIL": "pillow",
        "itk": "itk-growcut",
        "labelprop": "deep-labelprop",
        "lightning_fabric": "lightning-fabric",
        "skimage": "scikit-image",
        "sklearn": "scikit-learn",
    }
    project = tomllib.loads((REPO / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    declared = list(project["dependencies"])
    for name in ("peers", "labelprop", "nninteractive", "samples", "train"):
        declared += extras[name]
    known = {re.split(r"[<>=!\[ ]", line)[0].lower() for line in declared}
    used = {name.split(".")[0] for path in MODULES for name in imports(parsed(path))}
    foreign = used - set(sys.stdlib_module_names) - {"napari_medmeta"}
    assert {name for name in foreign if other_names.get(name, name).lower() not in known} == set()


def test_the_library_prints_nothing():
    found = modules_where(lambda tree: "print" in [name for name, _ in calls(tree)])
    assert [name for name in found if not name.startswith("cli/")] == []


def test_no_private_name_of_napari_is_used():
    def private(tree: ast.Module) -> bool:
        attributes = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        return any(re.match(r"napari\.(.*\.)?_", name) for name in imports(tree)) or any(
            name.startswith("_qt_") for name in attributes
        )

    assert modules_where(private) == []


def test_every_module_says_what_it_is():
    assert modules_where(lambda tree: not ast.get_docstring(tree)) == []


def test_every_module_names_what_is_public():
    def silent(tree: ast.Module) -> bool:
        named = [ast.unparse(t) for node in tree.body if isinstance(node, ast.Assign) for t in node.targets]
        return len(tree.body) > 1 and "__all__" not in named

    assert [name for name in modules_where(silent) if not name.endswith("__main__.py")] == []


def test_every_public_name_exists():
    missing = []
    for path in (p for p in MODULES if p.name != "__main__.py" and "ui" not in p.parts):
        module = importlib.import_module(module_of(path))
        missing += [f"{module.__name__}.{name}" for name in getattr(module, "__all__", ()) if not hasattr(module, name)]
    assert missing == []


@pytest.mark.parametrize("package", ["core", "session"])
def test_the_examples_in_docstrings_are_right(package):
    results = [doctest.testmod(importlib.import_module(module_of(p))) for p in (PACKAGE / package).rglob("*.py")]
    assert sum(r.failed for r in results) == 0


def test_no_file_names_a_machine_or_a_home_folder():
    listed = subprocess.run(["git", "ls-files"], cwd=REPO, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    leak = re.compile(r"/(?:work|tmp|root|home)/\w|/opt/\w|[A-Z]:\\Users")
    found = []
    for name in listed.stdout.splitlines():
        path = REPO / name
        if path.suffix in {".gz", ".png", ".safetensors"} or path == Path(__file__) or not path.is_file():
            continue
        lines = path.read_text(encoding="utf-8").splitlines()
        found += [f"{name}:{n}" for n, line in enumerate(lines, 1) if leak.search(line)]
    assert found == []


def test_the_manifest_is_valid():
    run(Path(sys.executable).with_name("npe2"), "validate", PACKAGE / "napari.yaml")


def test_the_manifest_at_the_root_is_a_link_to_the_packages():
    assert (REPO / "napari.yaml").is_symlink()
    assert (REPO / "napari.yaml").resolve() == (PACKAGE / "napari.yaml").resolve()


DISCOVER = """
import napari_medmeta
from pathlib import Path
from npe2 import PluginManager
manager = PluginManager()
manager.discover()
manifest = manager.get_manifest("napari-medmeta")
for command in manifest.contributions.commands or ():
    assert command.python_name, command.id
print(Path(napari_medmeta.__file__).parent)
"""


def test_an_editable_install_is_found_by_the_plugin_manager():
    assert Path(run(sys.executable, "-c", DISCOVER).strip()) == PACKAGE


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the sources, so that building leaves nothing in the checkout."""
    folder = tmp_path_factory.mktemp("source")
    for name in ("napari_medmeta", "scripts"):
        shutil.copytree(REPO / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "MANIFEST.in", "README.md", "LICENSE", "napari.yaml", "Makefile"):
        shutil.copy(REPO / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    build = ("-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir")
    run(sys.executable, *build, out, source)
    return next(out.glob("*.whl"))


def test_a_source_archive_holds_what_a_build_and_a_reader_need(source, tmp_path):
    build = f"import os; os.chdir({str(source)!r}); import setuptools.build_meta as b; b.build_sdist({str(tmp_path)!r})"
    run(sys.executable, "-c", build)
    with tarfile.open(next(tmp_path.glob("*.tar.gz"))) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"pyproject.toml", "Makefile", "LICENSE", "napari_medmeta/napari.yaml", "scripts/make_venv.sh"} <= names


def test_a_wheel_holds_every_module_the_manifest_and_the_licence(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    expected = {f"napari_medmeta/{p.relative_to(PACKAGE).as_posix()}" for p in MODULES}
    assert expected | {"napari_medmeta/napari.yaml", "napari_medmeta/py.typed"} <= names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert not [name for name in names if name.startswith(("tests/", "sample_data/", "docs/"))]


def test_a_wheel_does_not_bring_back_modules_that_are_gone():
    told = run("make", "--dry-run", "--directory", REPO, "wheel").splitlines()
    cleared = next(n for n, line in enumerate(told) if line.split() == ["rm", "-rf", "build"])
    built = next(n for n, line in enumerate(told) if "pip" in line and " wheel " in line)
    assert cleared < built


def test_an_installed_wheel_is_found_by_the_plugin_manager(wheel, tmp_path):
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    # A folder on the path comes before the editable install, as site-packages would without it.
    found = run(sys.executable, "-c", DISCOVER, PYTHONPATH=str(tmp_path))
    assert Path(found.strip()) == tmp_path / "napari_medmeta"
