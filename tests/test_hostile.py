"""Code that misbehaves, by mistake or on purpose: the trial ends, the kernel lives, the outcome is true."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
from pathlib import Path

import psutil
import pytest
from test_processes import living

import labkit
from labkit.process import watch
from labkit.trials.trial import _launcher

TRIALS = "labkit-[0-9]*-*"  # folders of trials in the temporary folder


def python(code, **options):
    """Run code in a process of its own; returns what it printed. Raises if it fails."""
    command = [sys.executable, "-c", textwrap.dedent(code)]
    done = subprocess.run(command, capture_output=True, timeout=120, **options)
    assert done.returncode == 0, done.stderr.decode(errors="replace")[-3000:]
    return done.stdout.decode(errors="replace")


def descendants():
    return living(psutil.Process(_launcher.pid).children(recursive=True))


@pytest.fixture(scope="module", autouse=True)
def warm():
    assert labkit.run("1").ok


def test_output_that_the_terminal_cannot_show_is_replaced():
    shown = python(
        "import labkit; print(labkit.run('print(\"caf\\u00e9\")').status)",
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
    )
    assert shown.split() == ["caf?", "ok"]


def test_a_show_that_fails_leaves_no_trial_behind():
    class Fails:
        def output(self, text):
            raise RuntimeError("no paper")

        def status(self, text):
            pass

        waiting = status

        def progress(self, seconds, **sample):
            pass

        def close(self):
            pass

    with pytest.raises(RuntimeError, match="no paper"):
        labkit.Trial("import time; print('x', flush=True); time.sleep(60)", show=Fails()).run()
    assert descendants() == []
    assert labkit.run("2").result == 2


def test_any_number_of_interrupts_stops_one_trial_and_not_the_next(tmp_path):
    python(
        """
        import labkit, os, signal, threading, time

        def late(*_):
            pass  # pressed when the trial had ended: that is for the kernel

        def press():
            while not os.path.exists("begun"):
                time.sleep(0.01)
            for _ in range(20):
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(0.0005)

        for _ in range(2):
            signal.signal(signal.SIGINT, late)
            pressing = threading.Thread(target=press)
            pressing.start()
            assert labkit.run("import time; open('begun', 'w'); time.sleep(60)").status == "stopped"
            pressing.join()
            os.remove("begun")
            assert signal.getsignal(signal.SIGINT) is late
            outcome = labkit.run("3")
            assert (outcome.status, outcome.result) == ("ok", 3), outcome
        signal.signal(signal.SIGINT, signal.default_int_handler)
        assert labkit.run("3").ok
        try:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(5)
        except KeyboardInterrupt:
            print("interrupts are as they were")
        """,
        cwd=tmp_path,
    )


def test_what_is_written_to_every_descriptor_is_no_message():
    code = """
        import os
        for fd in range(1, 100):
            try:
                os.write(fd, b'junk\\n[1]\\n{"event": "done", "status": "wrong"}x\\n')
            except OSError:
                pass
        41 + 1
    """
    outcome = labkit.run(textwrap.dedent(code))
    assert (outcome.status, outcome.result) == ("ok", 42)


@pytest.mark.parametrize("end", ["42", "1 / 0"])
def test_with_every_descriptor_closed_the_end_is_still_known(end):
    outcome = labkit.run(f"import os\nos.closerange(3, 200)\n{end}")
    assert (outcome.status, outcome.result) == (("ok", 42) if end == "42" else ("error", None))
    assert outcome.ok or outcome.error.type == "ZeroDivisionError"


@pytest.mark.parametrize("seed", [-1, "a", 1.5, 2**32])
def test_a_seed_that_cannot_be_is_refused_before_anything_starts(seed):
    with pytest.raises(labkit.LabkitError, match="2\\*\\*32 - 1"):
        labkit.run("1", seed=seed)


def test_an_exception_without_a_text_is_shown_as_such():
    outcome = labkit.run("class Bad(Exception):\n    def __str__(self): return 1 / 0\nraise Bad")
    assert (outcome.status, outcome.error.type) == ("error", "Bad")
    assert "ZeroDivisionError" in outcome.error.message and "line 3" in outcome.error.traceback


def test_a_failure_of_labkits_own_is_not_the_readers(monkeypatch):
    monkeypatch.setattr(labkit.Trial, "_write", with_an_impossible_seed(labkit.Trial._write))
    outcome = labkit.run("1")
    assert outcome.status == "error" and "labkit could not run the trial" in outcome.error.message
    assert "set_random_seed" in outcome.error.traceback


def with_an_impossible_seed(write):
    def changed(trial, folder):
        trial.seed = "impossible"
        write(trial, folder)

    return changed


def test_a_process_that_exits_by_itself_leaves_its_last_words():
    outcome = labkit.run("import os, sys\nprint('no such flag', file=sys.stderr)\nos._exit(3)")
    assert outcome.status == "crashed"
    assert "exit status 3" in outcome.error.message and "no such flag" in outcome.error.message


def test_a_flag_that_tensorflow_does_not_know_is_told(monkeypatch):
    monkeypatch.setenv("TF_XLA_FLAGS", "--no_such_flag=1")
    outcome = labkit.run("import keras; keras.ops.zeros(3)")
    assert outcome.status == "crashed" and "--no_such_flag" in outcome.error.message


def test_a_progress_bar_on_stderr_is_seen_as_it_runs(tmp_path):
    """Each part is passed on when the next one begins, and is waited for here."""
    seen = []

    class Show(labkit.trials.console.Console):
        def output(self, text):
            seen.append(text)
            for part in re.findall(r"(\d) of 4", "".join(seen)):
                (tmp_path / part).touch()

    code = """
    import pathlib, sys, time
    for i in range(4):
        sys.stderr.write(f"\\r{i} of 4")
        while i and not pathlib.Path(folder, str(i - 1)).exists():
            time.sleep(0.01)
    """
    trial = labkit.Trial(textwrap.dedent(code), show=Show(), params={"folder": str(tmp_path)})
    assert trial.run().ok
    assert "".join(seen).count("of 4") == 4


def test_a_long_line_is_kept_within_bounds():
    text = watch.TrimmedText(1000)
    for number in range(10_000):
        text.add(f"{number:05d}")
    kept = str(text)
    assert kept.startswith("00000" + "00001") and kept.endswith("09999")
    assert len(kept) < 1200 and f"{50_000 - 1000:,}"[:3] in kept
    outcome = labkit.run("import sys\nsys.stderr.write('x' * 10_000_000)")
    assert outcome.ok and len(outcome.log) < watch.LOG_CHARACTERS + 200_000


@pytest.mark.parametrize("how", ["timeout", "stopped", "killed"])
def test_a_profiled_trial_that_is_ended_leaves_no_files(how, tmp_path, monkeypatch):
    before = set(Path("/tmp").glob(f"labkit-{os.getpid()}-*"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    trial = labkit.Trial("import time; time.sleep(60)", profile=True, timeout=2)
    if how == "stopped":
        threading.Timer(1, trial.stop).start()
    elif how == "killed":
        trial = labkit.Trial("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", profile=True)
    assert trial.run().status == how
    assert list(tmp_path.iterdir()) == []
    assert set(Path("/tmp").glob(f"labkit-{os.getpid()}-*")) == before


def test_where_nothing_was_allocated_there_is_no_timeline_and_that_is_said():
    assert labkit.run("1", profile=True).note == "There is no timeline: nothing was allocated on the device."


def test_what_is_lost_while_the_record_is_read_is_the_timeline_alone():
    code = """
    import os, signal
    from labkit.inside import recorder
    recorder.read = lambda path: os.kill(os.getpid(), signal.SIGKILL)
    7
    """
    outcome = labkit.run(textwrap.dedent(code), profile=True)
    assert outcome.ok and outcome.result == 7 and outcome.timeline is None
    assert "its record was being read when it was ended" in outcome.note


def test_code_that_autograph_generates_goes_with_the_trial(tmp_path):
    code = f"""
    import tempfile, tensorflow as tf
    tempfile.tempdir = {str(tmp_path)!r}
    [int(x) for x in tf.data.Dataset.range(2).map(lambda x: x + 1)]
    """
    outcome = labkit.run(textwrap.dedent(code))
    assert outcome.result == [1, 2]
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_kernel_left_is_removed_by_the_next(tmp_path):
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    code = (
        "import labkit, os, signal; "
        "labkit.Trial._launcher = lambda *_: os.kill(os.getpid(), signal.SIGKILL); labkit.run('1')"
    )
    subprocess.run([sys.executable, "-c", code], env=env)
    assert list(tmp_path.glob(TRIALS))
    python("import labkit; assert labkit.run('1').ok", env=env)
    assert not list(tmp_path.glob(TRIALS))


def test_data_that_is_copied_along_is_said():
    data = bytes(101 * 2**20)
    sweep = labkit.sweep(lambda batch_size: len(data), values=[1, 2])
    assert [outcome.result for outcome in sweep] == 2 * [len(data)]
    assert all("load the data inside the function" in outcome.note for outcome in sweep)


def test_a_parameter_that_run_keeps_for_itself_is_said():
    def train(seed=7):
        return seed

    outcome = labkit.run(train, seed=3)
    assert outcome.result == 7 and "'seed'" in outcome.note


def test_a_variable_deleted_in_the_kernel_is_deleted_in_the_trial():
    python(
        """
        import labkit, os
        os.environ["MINE"] = "1"
        assert labkit.run("import os; os.environ.get('MINE')").result == "1"
        del os.environ["MINE"]
        assert labkit.run("import os; os.environ.get('MINE')").result is None
        """
    )


@pytest.mark.parametrize("how", ["timeout", "stopped"])
def test_a_launcher_that_is_stopped_cannot_hang_the_kernel(how):
    trial = labkit.Trial("import time; time.sleep(60)", timeout=2 if how == "timeout" else None)
    threading.Timer(1, lambda: os.kill(_launcher.pid, signal.SIGSTOP)).start()
    if how == "stopped":
        threading.Timer(1.5, trial.stop).start()
    before = _launcher.pid
    assert trial.run().status == how
    assert labkit.run("4").result == 4
    assert not psutil.pid_exists(before)


def test_being_ended_is_no_way_to_end_well():
    assert labkit.run("import signal; signal.pause(); 1", timeout=1).status == "timeout"


def test_a_fork_of_the_readers_own_does_not_speak_for_the_trial():
    outcome = labkit.run(
        "import os, time\npid = os.fork()\nif pid:\n    time.sleep(1)\n'child' if pid == 0 else 'trial'"
    )
    assert (outcome.status, outcome.result) == ("ok", "trial")


class Exits:
    def __reduce__(self):
        return sys.exit, (3,)


def test_a_result_that_exits_when_it_is_loaded_does_not_exit_the_kernel():
    outcome = labkit.run(lambda: Exits())
    assert outcome.ok and "could not be loaded" in outcome.note


def test_a_working_folder_that_was_deleted_is_no_hindrance(tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert labkit.run("5").result == 5


def test_a_temporary_folder_that_cannot_be_written_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    with pytest.raises(labkit.LabkitError, match="set TMPDIR"):
        labkit.run("1")


def test_a_temporary_folder_without_room_is_told(tmp_path, monkeypatch):
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", tmp_path], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("a small disk can be mounted by root alone")
    try:
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        with pytest.raises(labkit.LabkitError, match="No space left on device.*set TMPDIR"):
            labkit.run("len(data)", data=bytes(2**20))
        assert list(tmp_path.iterdir()) == []
    finally:
        subprocess.run(["umount", tmp_path], check=True)


@pytest.mark.parametrize(
    "call",
    [
        lambda: labkit.run("1", timeout="5"),
        lambda: labkit.run("1", timeout=True),
        lambda: labkit.sweep("1", values=5),
        lambda: labkit.sweep("1", values=[1], repeats=1.5),
        lambda: labkit.estimate("1", at=5),
        lambda: labkit.find_batch_size("1", memory_limit="1 GiB", maximum=1),
    ],
)
def test_what_cannot_be_meant_is_refused_in_words(call):
    with pytest.raises(labkit.LabkitError):
        call()


def test_a_plain_error_is_not_hidden_under_a_missing_timeline():
    outcome = labkit.run("1 / 0", profile=True)
    assert outcome.status == "error" and "timeline" not in str(outcome)
    with pytest.raises(labkit.LabkitError) as raised:
        labkit.estimate("1 / 0")
    assert "ZeroDivisionError" in str(raised.value) and "timeline" not in str(raised.value)
    with pytest.raises(labkit.LabkitError, match="No training step"):
        labkit.estimate("batch_size + 1")


@pytest.mark.parametrize("path", ["/dev/zero", "/proc/kmsg", "/proc/self/mem", "fifo"])
@pytest.mark.parametrize("kind", [str, Path])
def test_files_without_an_end_are_not_read(path, kind, tmp_path):
    if path == "fifo":
        path = str(tmp_path / "fifo")
        os.mkfifo(path)
    elif not os.access(path, os.R_OK):
        pytest.skip(f"{path} cannot be read here")
    answer = []

    def diagnose():
        try:
            answer.append(labkit.diagnose(kind(path)))
        except labkit.LabkitError as e:
            answer.append(e)

    thread = threading.Thread(target=diagnose, daemon=True)
    thread.start()
    thread.join(20)
    assert answer, f"{path} is still being read"
    assert path == "/proc/kmsg" or isinstance(answer[0], labkit.LabkitError)


def test_utf_16_is_read_from_bytes_too():
    text = "OOM when allocating tensor with shape[64,100,100,32] and type float"
    assert labkit.diagnose(text.encode("utf-16")).shape == (64, 100, 100, 32)


def test_a_log_cannot_take_over_the_terminal():
    error = "OOM when allocating tensor with shape[8,9] and type float \x1b]0;title\x07 \x9b31m"
    text = f"{error}\n[[{{{{node a/b\x1b]8;;x\x07}}}}]]"
    shown = str(labkit.diagnose(text))
    assert not {"\x1b", "\x07", "\x9b"} & set(shown)


def test_nothing_is_left_after_all_this():
    with contextlib.suppress(psutil.Error):
        assert descendants() == []
    own = list(Path(tempfile.gettempdir()).glob(f"labkit-{os.getpid()}-*"))
    assert own == []
