"""A lesson opened on its own, as on Colab: its first cell installs labkit, and its links lead on."""

import os
import re
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
RUN_CELL = """
import sys
from IPython.core.interactiveshell import InteractiveShell
done = InteractiveShell.instance().run_cell(sys.stdin.read())
print("labkit" in sys.modules and sys.modules["labkit"].__file__)
sys.exit(not done.success)
"""
REPO = re.search(r"git\+https://github.com/(\S+)", NOTEBOOKS[0].read_text())[1].rstrip('\\n",')
NOTE = "Note: you may need to restart the kernel to use updated packages."  # by IPython, at each %pip


def cells(path, kind):
    return [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == kind]


def set_up(path):
    """The first code cell up to where it may import labkit."""
    before, install, _ = re.split(r"(?m)(^    %pip install .*\n)", cells(path, "code")[0])
    return before + install


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """A Python with everything that this one has, except labkit."""
    folder = tmp_path_factory.mktemp("bare")
    venv.create(folder, symlinks=True)
    site = Path(sysconfig.get_path("purelib", vars={"base": str(folder)}))
    (site / "all.pth").write_text(sysconfig.get_path("purelib"))  # whose own .pth files have no effect there
    return folder, site


def run_cell(python, folder, **environ):
    hosts = ("COLAB_RELEASE_TAG", "KAGGLE_KERNEL_RUN_TYPE", "PYTHONPATH")
    env = {name: value for name, value in os.environ.items() if name not in hosts} | environ
    source = cells(ROOT / "notebooks/00-start-here.ipynb", "code")[0]
    command = [python, "-c", RUN_CELL]
    return subprocess.run(command, cwd=folder, env=env, input=source, capture_output=True, text=True)


def test_every_lesson_is_set_up_in_the_same_way():
    assert len({set_up(path) for path in NOTEBOOKS}) == 1


def test_where_labkit_is_nothing_is_installed(tmp_path):
    for host in ({}, {"COLAB_RELEASE_TAG": "release"}):
        done = run_cell(sys.executable, tmp_path, PIP_INDEX_URL="nowhere", **host)
        assert done.returncode == 0 and done.stdout == f"{ROOT / 'labkit' / '__init__.py'}\n", done


def test_elsewhere_a_sentence_says_what_to_do(bare):
    done = run_cell(bare[0] / "bin/python", bare[0], KAGGLE_USERNAME="a reader with Kaggle's command line")
    assert done.returncode == 1 and "make install" in done.stdout and done.stdout.endswith("False\n"), done
    assert not list(bare[1].glob("keras_memory_labkit*"))


@pytest.mark.parametrize("host", ["COLAB_RELEASE_TAG", "KAGGLE_KERNEL_RUN_TYPE"])
def test_on_colab_and_kaggle_labkit_alone_is_installed_and_there_at_once(bare, host):
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    folder, site = bare
    before = {path.name for path in site.iterdir()}
    (address,) = set(re.findall(r"git\+(\S+)", set_up(NOTEBOOKS[0])))
    git = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": f"url.{ROOT.as_uri()}.insteadOf"}  # instead of GitHub
    done = run_cell(folder / "bin/python", folder, GIT_CONFIG_VALUE_0=address, **git, **{host: "Interactive"})
    assert done.returncode == 0, done
    assert done.stdout == f"{NOTE}\n{site / 'labkit' / '__init__.py'}\n"
    new = {path.name for path in site.iterdir()} - before
    assert {name.partition("-")[0] for name in new} == {"labkit", "keras_memory_labkit"}
    subprocess.run(
        [folder / "bin/python", "-m", "pip", "uninstall", "-qy", "keras-memory-labkit"], check=True
    )


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_links_lead_somewhere_when_only_the_notebook_is_there(path):
    """A link beside the notebook may lead to a lesson only; on Colab those have a link of their own."""
    text = "\n".join(cells(path, "markdown"))
    targets = re.findall(r"\]\(([^)\s]+)\)", text)
    beside = [target for target in targets if not re.match(r"https://|#", target)]
    assert [target for target in beside if not re.fullmatch(r"[\w-]+\.ipynb(#cell-id=[\w-]+)?", target)] == []
    ours = [
        match[1] for match in map(re.compile(rf".*/{REPO}/(?:blob/)?HEAD/([^#]+)").match, targets) if match
    ]
    assert ours and [name for name in ours if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("path", NOTEBOOKS[:-1], ids=lambda path: path.stem)
def test_the_last_cell_says_where_to_click_in_each_place(path):
    last = cells(path, "markdown")[-1]
    for name in ("JupyterLab", "Colab", "VS Code"):
        assert name in last
    following = re.search(r"\*\*Next lesson:\*\* \[[^]]+\]\(([^)]+)\)", last)
    assert following is None or f"/notebooks/{following[1]})" in last
