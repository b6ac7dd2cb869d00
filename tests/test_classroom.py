"""A small class on a real JupyterHub; benchmarks/classroom.py holds a larger one."""

import importlib.util
import re
import shutil
import threading
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROXY = "configurable-http-proxy"


@pytest.fixture(scope="module")
def classroom(tmp_path_factory):
    if not (shutil.which(PROXY) or (ROOT / ".venv" / "bin" / PROXY).exists()):
        pytest.skip("JupyterHub's proxy is not installed: it needs npm, and comes with make hub")
    path = ROOT / "benchmarks" / "classroom.py"
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(path.parent))
        patch.setenv("LABKIT_TURNS", str(tmp_path_factory.mktemp("turns")))
        spec = importlib.util.spec_from_file_location("classroom", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        yield module


@pytest.fixture
def at_once(classroom, monkeypatch):
    """Both learners have a kernel before either runs a cell, however slowly their servers start."""
    opened, both = classroom.Learner.open, threading.Barrier(2)

    def open_and_wait(learner, lesson):
        kernel = opened(learner, lesson)
        both.wait(300)
        return kernel

    monkeypatch.setattr(classroom.Learner, "open", open_and_wait)


def test_learners_who_run_a_lesson_at_once_wait_for_each_other_and_lose_nothing(classroom, at_once):
    learners, peak, left = classroom.hold(2, "00-start-here.ipynb", "1 GiB", cells=4)
    assert [one.cells.errors for one in learners] == [[], []]
    assert [one.cells.deaths for one in learners] == [0, 0]
    assert [one.cells.done for one in learners] == [4, 4]
    assert any("waiting for room: 1 other trial holds" in text for one in learners for text in one.cells.told)
    assert left == 0
    assert peak > 2 * 200 * 2**20  # two kernels were seen


def test_every_variable_that_the_workshop_sets_is_one_that_is_read():
    texts = [path.read_text() for path in (ROOT / "workshop").iterdir() if path.is_file()]
    read = "".join(path.read_text() for path in [*ROOT.glob("labkit/**/*.py"), *ROOT.glob("scripts/*.py")])
    named = set(re.findall(r"LABKIT_\w+", "".join(texts)))
    assert {"LABKIT_BUDGET", "LABKIT_TRIAL_MEMORY", "LABKIT_TURNS"} <= named
    assert [name for name in named if name not in read] == []
