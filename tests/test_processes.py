"""The warm launcher's life: started on first use, gone with its kernel, replaced when it dies."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import time
import uuid
from pathlib import Path

import psutil
import pytest

import labkit
from labkit import gpus, machine
from labkit.process.launcher import Launcher
from labkit.trials.trial import _launcher

ROOT = Path(__file__).parent.parent


def start_script(body, **environ):
    """A Python process of its own that uses labkit, marked so that all its offspring can be found."""
    mark = f"LABKIT_TEST_{uuid.uuid4().hex}"
    script = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(body)],
        env={**os.environ, mark: "1", **environ},
        stdout=subprocess.PIPE,
        text=True,
    )
    return script, mark


def living(processes, mark="", command=""):
    """Those that are no zombies, with a mark in their environment and a text in their command line.

    Each may end while it is looked at.
    """
    found = []
    for process in processes:
        with contextlib.suppress(psutil.Error):
            is_meant = (not mark or mark in process.environ()) and command in " ".join(process.cmdline())
            if is_meant and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def marked(mark, command=""):
    """Living processes of this machine that carry the mark in their environment."""
    return living(psutil.process_iter(), mark, command)


def all_gone(mark, seconds=60):
    deadline = time.monotonic() + seconds
    while marked(mark) and time.monotonic() < deadline:
        time.sleep(0.1)
    return not marked(mark)


def test_the_launcher_serves_many_trials_and_is_replaced_when_it_dies():
    assert labkit.run("1").ok
    first = _launcher.pid
    assert labkit.run("2").ok
    assert _launcher.pid == first
    os.kill(first, signal.SIGKILL)
    assert labkit.run("3").ok
    assert _launcher.pid != first


def test_a_trial_whose_launcher_is_killed_is_killed_and_the_next_one_runs():
    def train(launcher):
        import os
        import time

        os.kill(launcher, 9)
        time.sleep(60)

    labkit.run("1")
    outcome = labkit.run(train, launcher=_launcher.pid)
    assert outcome.status == "killed"
    assert "launcher" in str(outcome)
    assert labkit.run("1").ok


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGTERM])
def test_nothing_is_left_of_a_kernel_that_is_killed_during_a_trial(sent):
    script, mark = start_script(
        """
        import labkit
        labkit.run(
            "import subprocess, time; subprocess.Popen(['sleep', '999']); print('go'); time.sleep(999)"
        )
        """
    )
    assert script.stdout.readline() == "go\n"
    assert len(marked(mark)) == 4  # the script, its launcher, the trial and what that started
    script.send_signal(sent)
    script.wait()
    assert all_gone(mark)


def test_the_launcher_goes_away_when_idle_and_comes_back_when_needed():
    script, mark = start_script(
        """
        import labkit, time
        from labkit.trials.trial import _launcher
        print(labkit.run("1").status, flush=True)
        while _launcher._process.poll() is None: time.sleep(0.1)
        print("gone", flush=True)
        print(labkit.run("1").status, flush=True)
        """,
        LABKIT_IDLE_SECONDS="1",
    )
    assert script.communicate(timeout=180)[0].split() == ["ok", "gone", "ok"]
    assert all_gone(mark)


@pytest.mark.parametrize("said", ["10 min", "-1", "nan"])
def test_a_setting_of_the_idle_time_that_is_no_time_is_named(monkeypatch, said):
    monkeypatch.setenv("LABKIT_IDLE_SECONDS", said)
    with pytest.raises(labkit.LabkitError, match="LABKIT_IDLE_SECONDS must be a number of seconds"):
        machine.idle_seconds()
    monkeypatch.setenv("LABKIT_IDLE_SECONDS", "")
    assert machine.idle_seconds() == 600


def test_files_beside_the_notebook_are_not_taken_for_those_of_python(tmp_path, monkeypatch):
    for name in ("random", "copy", "queue", "json"):
        (tmp_path / f"{name}.py").write_text("raise ImportError('not the one of Python')")
    monkeypatch.chdir(tmp_path)
    launcher = Launcher()
    launcher.start(fork=False)
    while not launcher.ready:
        launcher.receive()  # or raises what the process has printed
    launcher.close()
    monkeypatch.setattr(machine, "_PROBE", machine._PROBE.replace("tensorflow as tf", "random") + "\n#")
    assert "not the one of Python" not in str(machine.ask_tensorflow())


def test_what_is_installed_beside_labkit_is_not_taken_for_modules_of_python(tmp_path):
    shutil.copytree(ROOT / "labkit", tmp_path / "labkit")
    (tmp_path / "argparse.py").write_text("raise ImportError('not the one of Python')")
    script, _ = start_script(
        f"""
        import sys
        sys.path[:] = [path for path in sys.path if path]
        sys.path.insert(next(i for i, path in enumerate(sys.path) if "-packages" in path), {str(tmp_path)!r})
        import labkit
        outcome = labkit.run("import labkit, argparse; (labkit.__file__, argparse.__file__)")
        print(outcome.result == (labkit.__file__, __import__("argparse").__file__), labkit.__file__)
        """,
        PYTHONPATH="",
    )
    assert script.communicate(timeout=240)[0].split() == ["True", str(tmp_path / "labkit" / "__init__.py")]


@pytest.mark.parametrize(
    ("ends", "words"),
    [
        ("os.kill(os.getpid(), signal.SIGILL)", "signal 4 .*lack instructions that TensorFlow needs"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "signal 9 .*the host's memory runs out"),
        ("os._exit(3)", "exit status 3"),
        ("raise ImportError('a library is missing')", "a library is missing"),
    ],
)
def test_how_a_start_ends_is_told_where_nothing_was_printed(ends, words, tmp_path, monkeypatch):
    (tmp_path / "tensorflow.py").write_text(f"import os, signal\n{ends}\n")
    script, _ = start_script(
        """
        import labkit
        try:
            print(labkit.run("1"))
        except labkit.LabkitError as e:
            print(e)
        """,
        PYTHONPATH=f"{tmp_path}{os.pathsep}{ROOT}",
    )
    assert re.search(
        f"TensorFlow could not be started:\n(.*\n)*.*{words}", script.communicate(timeout=240)[0]
    )


def test_a_library_that_is_missing_is_named_also_without_forking(tmp_path):
    (tmp_path / "tensorflow.py").write_text("raise ImportError('a library is missing')")
    script, _ = start_script(
        "import labkit; print(labkit.run('1'))", LABKIT_FORK="0", PYTHONPATH=f"{tmp_path}{os.pathsep}{ROOT}"
    )
    assert "could not run the trial: ImportError: a library is missing" in script.communicate(timeout=240)[0]


def test_without_forking_each_trial_has_a_fresh_process():
    script, mark = start_script(
        """
        import labkit
        print(labkit.run("1").status)
        print(labkit.run("import os; os.abort()").status)
        print(labkit.run("import keras; keras.ops.zeros((4, 2**18))", memory_limit="16 MiB").peak_bytes)
        """,
        LABKIT_FORK="0",
    )
    assert script.communicate(timeout=240)[0].split() == ["ok", "crashed", str(4 * 2**20 + 256)]
    assert all_gone(mark)


def test_a_process_that_has_opened_a_gpu_is_not_forked():
    script, mark = start_script(
        """
        import labkit, psutil
        from labkit.process import launcher
        from labkit.trials.trial import _launcher
        opened = "import sys, labkit.gpus as gpus; gpus.is_open = lambda: sys.argv[-1] == '1'"
        launcher._MAIN = f"{opened}; {launcher._MAIN}"
        for _ in range(2):
            outcome = labkit.run("import os, tensorflow as tf; os.getpid()")
            print(outcome.status, psutil.Process(_launcher.pid).cmdline()[-1])
        """
    )
    assert script.communicate(timeout=240)[0].splitlines() == ["ok 0"] * 2
    assert all_gone(mark)


def test_a_gpu_that_this_process_has_opened_is_seen(monkeypatch):
    assert not gpus.is_open()
    monkeypatch.setattr(gpus.os, "readlink", lambda path: "/dev/nvidiactl")
    assert gpus.is_open()


def test_a_script_without_tensorflow_is_told_how_to_install_it(tmp_path):
    script, _ = start_script(
        """
        import importlib.util, labkit
        importlib.util.find_spec = lambda name: None
        try:
            labkit.run("1")
        except labkit.LabkitError as e:
            print(e)
        """
    )
    assert "pip install tensorflow" in script.communicate(timeout=60)[0]


def test_what_few_trainings_need_is_imported_by_the_trial_that_uses_it():
    def uses(attribute):
        import sys

        import keras
        import tensorflow as tf

        @tf.function
        def traced(x):  # AutoGraph asks every module for its file
            return x if tf.reduce_sum(x) > 0 else -x

        traced(tf.ones(3))
        heavy = {"".join(["skl", "earn"]), "matplotlib.pyplot"}
        before = heavy & {*sys.modules}
        for name in attribute.split("."):
            keras = getattr(keras, name)
        return before, heavy & {*sys.modules}, keras.__name__

    parts = {"wrappers.SKLearnClassifier": "sklearn", "visualization.plot_image_gallery": "matplotlib.pyplot"}
    for attribute, needed in parts.items():
        before, after, name = labkit.run(uses, attribute=attribute).result
        assert before == set() and needed in after
        assert name == attribute.rpartition(".")[2]


def test_what_a_trial_names_is_imported_once_for_all():
    assert labkit.run("import sys; 'sklearn' in sys.modules").result is True
