"""The package is drawn from its file list: rooms, their layers, and what readers import."""

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

import labkit
from labkit import plots

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "labkit"
ROOMS = sorted(path.parent for path in PACKAGE.rglob("__init__.py") if path.parent != PACKAGE)
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
FOR_READERS = {"labkit", "labkit.widgets", "labkit.exercises", "labkit.plots"}


def modules(room):
    return [path for path in room.glob("*.py") if path.name != "__init__.py"]


def lint_imports(folder):
    """What import-linter says of the package in a folder, and its exit status."""
    command = [Path(sys.executable).parent / "lint-imports", "--no-cache"]
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, env={"PYTHONPATH": str(folder)}
    )
    return done.stdout + done.stderr, done.returncode


@pytest.fixture
def copied(tmp_path):
    shutil.copytree(PACKAGE, tmp_path / "labkit", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_every_room_imports_only_rooms_below(copied):
    shown, status = lint_imports(copied)
    assert status == 0 and "Contracts: 2 kept, 0 broken" in shown, shown


@pytest.mark.parametrize(
    ("file", "line", "broken"),
    [
        (
            "logs/reader.py",
            "from ..explain import causes",
            "labkit.logs is not allowed to import labkit.explain",
        ),
        ("sizes.py", "from . import machine", "labkit.sizes is not allowed to import labkit.machine"),
        (
            "widgets/batch_size_lab.py",
            "from ..commands import main",
            "labkit.widgets is not",
        ),
        ("logs/forms.py", "from . import reader", "no circles BROKEN"),
        ("attic.py", "", "labkit.attic"),
    ],
)
def test_an_arrow_upward_a_circle_and_a_module_without_a_place_are_refused(copied, file, line, broken):
    with open(copied / "labkit" / file, "a") as module:
        module.write(f"\n\ndef late():\n    {line or 'pass'}\n")
    shown, status = lint_imports(copied)
    assert status != 0 and broken in shown, shown


def test_the_drawing_in_contributing_is_the_one_that_is_checked():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = [tuple(layer.split(" | ")) for layer in contracts[0]["layers"]]
    drawn = re.findall(r"^    ((?:\w+   ?)*\w+) {4,}\S", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE)
    assert [tuple(row.split()) for row in drawn if row.split()[0] != "make"] == layers[1:]


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: str(room.relative_to(PACKAGE)))
def test_a_room_says_what_happens_there_and_has_few_files(room):
    first_line = (room / "__init__.py").read_text().partition("\n")[0]
    assert re.fullmatch(r'"""[A-Z].{20,}\."""', first_line), first_line
    kinds = {re.sub(r"\d+", "", path.stem) for path in modules(room)}  # lesson00 to lesson11 are one
    assert len(modules(room)) >= 3 and len(kinds) <= 7, kinds


def test_no_module_is_called_like_a_function_of_the_front_door():
    functions = {name for name in labkit.__all__ if not name[0].isupper()}
    assert functions > {"run", "sweep", "estimate", "diagnose"}
    assert functions & {path.stem for path in PACKAGE.rglob("*.py")} == set()
    assert functions & {path.name for path in ROOMS} == set()
    assert functions & set(plots.__all__) == set()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_lessons_import_only_what_readers_import(path):
    imported = set()
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type != "code":
            continue
        code = re.sub(r"^( *)[%!].*", r"\1pass", cell.source, flags=re.MULTILINE)
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.ImportFrom):
                imported.add(node.module)
            elif isinstance(node, ast.Import):
                imported |= {name.name for name in node.names}
    of_labkit = {name for name in imported if name.partition(".")[0] == "labkit"}
    assert {re.sub(r"(labkit\.exercises)\.lesson\d\d$", r"\1", name) for name in of_labkit} <= FOR_READERS


def test_importing_labkit_brings_none_of_the_heavy_packages():
    heavy = {"tensorflow", "keras", "matplotlib", "numpy", "ipywidgets", "hypothesis"}
    code = f"import sys, labkit; print({heavy} & set(sys.modules))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "set()"
