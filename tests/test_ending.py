"""How a trial ended, from what its process left behind: its status, its error, and the Outcome around them.

Real trials that end in each of these ways are in test_run.py and test_hostile.py.
"""

import pickle
import signal
import sys
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
import records

import labkit
from labkit.gpus import Gpu
from labkit.inside import execute
from labkit.inside.folder import TrialFolder
from labkit.logs import dumpfile
from labkit.logs.failure import Failure
from labkit.outcome import STATUS_TEXT, Outcome, TrialError
from labkit.process import ending
from labkit.sizes import MIB

REPORT = {"type": "ValueError", "message": "x", "frames": [["model.py", 3, "train", "fit()"]]}
NOT_UTF_8 = {"done": {"status": "oom", "error": {**REPORT, "message": "a \udc80"}}}


@pytest.fixture
def watch(tmp_path):
    """What was observed of a trial that ended with exit status 0 and said nothing."""
    return SimpleNamespace(
        done={}, sample={}, exit={"code": 0}, ending=None, starved=None, lost=False, seconds=9.0, log="",
        folder=TrialFolder(tmp_path), trial=SimpleNamespace(timeout=2.5), kernel_killed=lambda: False,
        printed="",
    )  # fmt: skip


def ended(watch, **facts):
    vars(watch).update(facts)
    status, error = ending._status(watch)
    return status, error and error.type, error and error.by, error and error.message


@pytest.mark.parametrize(
    ("facts", "status", "error", "by", "words"),
    [
        ({"done": {"status": "ok"}}, "ok", None, None, ""),
        ({"done": {"status": "oom", "error": REPORT}}, "oom", "ValueError", "", "x"),
        ({"done": {"status": "ok"}, "ending": "timeout"}, "ok", None, None, ""),
        ({"ending": "timeout"}, "timeout", "Timeout", "", "after 2.5 s"),
        ({"ending": "stopped"}, "stopped", "Stopped", "", "was stopped"),
        ({}, "crashed", "Exit", "", "exit status 0 before"),
        ({"exit": {"code": 3}, "log": "\nlast\n"}, "crashed", "Exit", "", "status 3 before `train` returned"),
        ({"exit": {"code": 3}, "log": "\nlast\n"}, "crashed", "Exit", "", "\nIt printed last:\n  last"),
        ({"exit": {"code": 70}}, "crashed", "Exit", "", "status 70"),
        ({"exit": {"code": -6}}, "crashed", "SIGABRT", "", "native code"),
        ({"exit": {"code": -11}}, "crashed", "SIGSEGV", "", "native code"),
        ({"exit": {"code": -40}}, "crashed", "signal 40", "", "native code"),
        (NOT_UTF_8, "oom", "ValueError", "", "a \\udc80"),
        ({"exit": {"code": -6}, "log": "std::bad_alloc"}, "oom", "MemoryError", "", "bad_alloc"),
        ({"exit": {"code": -6}, "log": f"std::bad_alloc{'x' * 4000}"}, "crashed", "SIGABRT", "", ""),
        ({"exit": {"code": -9}, "log": "std::bad_alloc"}, "killed", "SIGKILL", "other", "Another process"),
        ({"exit": {"code": -15}}, "killed", "SIGTERM", "other", "Another process"),
        ({"exit": {"code": -2}}, "killed", "SIGINT", "other", ""),
        ({"exit": {"code": -1}}, "killed", "SIGHUP", "other", ""),
        ({"exit": None}, "killed", "SIGKILL", "other", ""),
        ({"exit": None, "lost": True}, "killed", "SIGKILL", "launcher", "launcher process"),
        ({"exit": {"code": -9}, "kernel_killed": lambda: True}, "killed", "SIGKILL", "kernel", "Linux"),
        ({"exit": {"code": -9}, "starved": {"held": 5 * MIB, "available": MIB}}, "oom", "HostMemory", "",
         "the trial held 5.00 MiB, with 1.00 MiB of"),
    ],
)  # fmt: skip
def test_status(watch, facts, status, error, by, words):
    found = ended(watch, **facts)
    assert found[:3] == (status, error, by)
    assert words in (found[3] or "")


def test_where_labkits_own_code_failed(watch):
    watch.folder.failure.write_text("Traceback\n  in x\nKeyError: 'y'\n\n")
    assert ended(watch, exit={"code": 70}) == (
        "error", "TrialFailed", "", "labkit could not run the trial: KeyError: 'y'",
    )  # fmt: skip
    assert ending._status(watch)[1].traceback == watch.folder.failure.read_text()
    assert ended(watch, exit={"code": 1})[0] == "crashed"
    watch.folder.failure.write_text("")  # the disk was full
    assert ended(watch, exit={"code": 70})[:2] == ("error", "TrialFailed")


@pytest.mark.parametrize(
    ("ago", "status", "words"),
    [(4.75, "oom", "when it was refused memory"), (5, "crashed", "in native code")],
)
def test_a_crash_soon_after_a_refusal_is_for_lack_of_memory(watch, monkeypatch, ago, status, words):
    monkeypatch.setattr(ending.dumpfile.time, "time", lambda: 1000)
    for at in (400, 1000 - ago):
        (watch.folder.path / f"dump.{int(at * 1e6)}").touch()
    *found, message = ended(watch, exit={"code": -11})
    assert found == [status, "SIGSEGV", ""] and words in message
    diagnosis = ending.outcome(trial(), watch).diagnosis
    assert diagnosis.failure.crashed if status == "oom" else diagnosis is None


def test_only_the_last_lines_are_quoted():
    assert ending._last_words("a\n\nb\n c\nd\ne\nf\n").splitlines()[2:] == [
        "  b",
        "   c",
        "  d",
        "  e",
        "  f",
    ]
    assert ending._last_words(" \n\n") == ""


def test_where_it_was_as_it_ended_is_told_of_the_readers_lines(watch, tmp_path):
    own = tmp_path / "model.py"
    own.write_text("a = 1\nfit()\n")
    frames = [(own, 2, "train"), (execute.__file__, 9, "run"), ("x.py", 1, "main")]
    lines = "\n".join(f'  File "{file}", line {line} in {name}' for file, line, name in frames)
    watch.folder.faults.write_text(
        f'Thread 1:\n  File "other.py", line 1 in f\n\nCurrent thread 2:\n{lines}\n'
    )
    watch.exit = {"code": -11}
    assert ending._status(watch)[1].traceback == f"{own}, line 2, in train()\n    fit()\n"
    (watch.folder.path / f"dump.{int(time.time() * 1e6)}").touch()
    for facts in (
        {"ending": "timeout"},
        {"ending": "stopped"},
        {"ending": None, "exit": {"code": -11}},
        {"exit": {"code": -9}},
        {"exit": {"code": 3}},
        {"exit": {"code": -6}, "log": "std::bad_alloc"},
        {"starved": {"held": 1, "available": 1}},
    ):
        vars(watch).update(facts)
        assert ending._status(watch)[1].traceback == f"{own}, line 2, in train()\n    fit()\n"


def test_lines_of_the_reader_are_known_by_names_that_are_not_ascii(watch, monkeypatch):
    own = "/home/jos\N{LATIN SMALL LETTER E WITH ACUTE}/\N{CJK UNIFIED IDEOGRAPH-732B}/labkit/execute.py"
    monkeypatch.setattr(execute, "__file__", own)
    escaped = own.encode("ascii", "backslashreplace").decode()
    watch.folder.faults.write_text(
        f'  File "/x\\U0001f600.py", line 1 in f\n  File "{escaped}", line 9 in run\n'
    )
    watch.ending = "timeout"
    assert ending._status(watch)[1].traceback == "/x\N{GRINNING FACE}.py, line 1, in f()\n"


@pytest.mark.parametrize(
    ("printed", "words"),
    [
        ("Traceback\nOSError: no process\n\n", "a new launcher. It printed last: OSError: no process"),
        ("2026-01-02 03:04:05.678901: I tensorflow/core/a.cc:1] x\n", "a new launcher."),
        ("", "a new launcher."),
    ],
)
def test_what_a_lost_launcher_printed_is_told(watch, printed, words):
    found = ended(watch, exit=None, lost=True, printed=printed)
    assert found[:3] == ("killed", "SIGKILL", "launcher") and found[3].endswith(words)


def test_what_a_site_allows_a_trial_is_named_where_that_ended_it(watch):
    watch.starved = {"held": 2 * MIB, "available": 9 * MIB, "allowed": MIB}
    found = ending.outcome(trial(), watch)
    assert found.diagnosis.cause == "host_memory" and "ran out" not in str(found.diagnosis.evidence)
    assert "held 2.00 MiB of it, and may take 1.00 MiB here (LABKIT_TRIAL_MEMORY)" in str(found)


def trial(**facts):
    device = SimpleNamespace(kind="cpu")
    given = {"params": {"batch_size": 64}, "device": device, "limit": 100 * MIB, "spare": 7, "profile": False}
    return SimpleNamespace(**{**given, **facts})


def test_an_outcome_has_what_was_reported_last_and_else_what_was_seen(watch):
    watch.folder.result.write_bytes(pickle.dumps([1, 2]))
    watch.sample = {"peak": 1, "current": 2, "note": "seen", "step_seconds": [3.0]}
    watch.done = {
        "status": "ok",
        "peak": 10,
        "wall_seconds": 4.0,
        "step_peak_bytes": [5],
        "samples_per_second": 6.0,
    }
    watch.exit, watch.log = {"code": 0, "host_peak_bytes": 8}, "text"
    found = ending.outcome(trial(), watch, note="more")
    assert (found.status, found.result, found.note, found.log) == ("ok", [1, 2], "seen more", "text")
    assert (found.peak_bytes, found.current_bytes, found.wall_seconds) == (10, 2, 4.0)
    assert (found.step_seconds, found.step_peak_bytes, found.samples_per_second) == ([3.0], [5], 6.0)
    assert (found.limit_bytes, found.host_limit_bytes, found.host_peak_bytes) == (100 * MIB, 7, 8)
    assert (found.params, found.device, found.diagnosis, found.timeline) == (
        {"batch_size": 64},
        "cpu",
        None,
        None,
    )


def test_an_outcome_of_nothing(watch):
    found = ending.outcome(trial(), watch)
    assert (found.status, found.wall_seconds, found.peak_bytes, found.note) == ("crashed", 9.0, None, "")
    assert (found.step_seconds, found.step_peak_bytes, found.host_peak_bytes) == ([], [], None)
    assert ending.outcome(trial(), SimpleNamespace(**{**vars(watch), "exit": None})).host_peak_bytes is None


def test_a_result_is_loaded_of_a_trial_that_returned_only(watch):
    watch.folder.result.write_bytes(pickle.dumps(1))
    watch.done = {"status": "error", "error": REPORT}
    assert ending.outcome(trial(), watch).result is None


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (pickle.dumps(3), ""),
        (None, ""),
        (b"broken", "could not be loaded"),
        (b"cno_such_module_xyz\nf\n.", "could not be loaded"),
        (b"ckeras.layers\nDense\n.", "keras.layers.Dense needs keras"),
        (b"ctensorflow\nconstant\n.", "tensorflow.constant needs tensorflow"),
    ],
)
def test_a_result_that_needs_tensorflow_is_left_out_and_that_is_said(watch, content, words, monkeypatch):
    for name in ("keras", "tensorflow"):  # another test of this process may have imported them
        monkeypatch.delitem(sys.modules, name, raising=False)
    if content:
        watch.folder.result.write_bytes(content)
    watch.done = {"status": "ok"}
    found = ending.outcome(trial(), watch)
    assert words in found.note and bool(found.note) == bool(words)
    assert (found.result == 3) == (content == pickle.dumps(3))


def test_a_result_may_need_what_the_kernel_has_and_modules_of_the_readers_own(watch, monkeypatch, tmp_path):
    (tmp_path / "module_of_the_readers_own.py").write_text("x = 5\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(sys.modules, "keras", SimpleNamespace(version="3"))
    watch.done = {"status": "ok"}
    for content, result in [(b"ckeras\nversion\n.", "3"), (b"cmodule_of_the_readers_own\nx\n.", 5)]:
        watch.folder.result.write_bytes(content)
        found = ending.outcome(trial(), watch)
        assert (found.result, found.note) == (result, "")


def test_an_interrupt_while_a_result_is_read_is_passed_on(watch, monkeypatch):
    def interrupt():
        raise KeyboardInterrupt

    monkeypatch.setitem(sys.modules, "module_of_the_readers_own", SimpleNamespace(interrupt=interrupt))
    watch.done = {"status": "ok"}
    watch.folder.result.write_bytes(b"cmodule_of_the_readers_own\ninterrupt\n(tR.")
    with pytest.raises(KeyboardInterrupt):
        ending.outcome(trial(), watch)


OOM = {
    "type": "ResourceExhaustedError", "frames": [],
    "message": "OOM when allocating tensor with shape[64,512,512] and type float on x by allocator cpu0",
}  # fmt: skip


def test_out_of_memory_is_diagnosed_with_what_the_trial_knows(watch):
    watch.done = {
        "status": "oom", "error": OOM, "peak": 9, "failed_in": "dense", "step_in_use": [1, 1, 1],
        "step_seconds": [1.0, 1.0, 1.0], "step_peak_bytes": [2, 9, 3],
    }  # fmt: skip
    found = ending.outcome(trial(), watch)
    failure = found.diagnosis.failure
    assert (failure.layer, failure.batch, failure.steps, failure.steps_peak_bytes) == ("dense", 64, 3, 9)
    assert (failure.limit_bytes, failure.crashed, found.peak_bytes) == (100 * MIB, False, 9)
    assert "labkit.try_fixes(" in found.diagnosis.fixes[-1].code
    assert found.diagnosis.fixes[-1].lesson == "09-smaller-steps.ipynb"
    grown = {**watch.done, "step_in_use": [MIB, 10 * MIB, 20 * MIB, 30 * MIB]}
    assert (
        ending.outcome(trial(), SimpleNamespace(**{**vars(watch), "done": grown})).diagnosis.cause == "growth"
    )


def test_a_layer_is_that_of_the_scope_or_that_which_was_running(watch):
    in_a_scope = {**OOM, "message": OOM["message"] + "\n\t [[{{node net/d/MatMul}}]]"}
    for error, scopes, layer in [
        (in_a_scope, {"net/d": "dense_7"}, "dense_7"),
        (in_a_scope, {"net/e": "dense_8"}, "conv"),
        (OOM, {"net/d": "dense_7"}, "conv"),
    ]:
        watch.done = {"status": "oom", "error": error, "scopes": scopes, "failed_in": "conv"}
        assert ending.outcome(trial(), watch).diagnosis.layer == layer
    watch.done = {"status": "oom", "error": in_a_scope, "failed_in": "conv"}
    assert ending.outcome(trial(), watch).diagnosis.layer == "conv"


FULL = "cudaSetDevice() on GPU:0 failed. Status: out of memory"  # seen on an H200 that others had filled


@pytest.mark.parametrize(
    ("limit", "used", "message", "cause", "words"),
    [
        (100 * MIB, 950 * MIB, FULL, "memory_taken_before_start", "Other processes hold 950 MiB"),
        (
            100 * MIB,
            900 * MIB,
            FULL,
            "memory_taken_before_start",
            "The driver itself refused",
        ),  # there was room
        (100 * MIB, None, FULL, "memory_taken_before_start", "The driver itself refused"),  # nobody tells
        (100 * MIB, 950 * MIB, OOM["message"], "memory_taken_before_start", "of the device's 0.98 GiB"),
        (100 * MIB, 900 * MIB, OOM["message"], "activations", ""),
        (None, 251 * MIB, OOM["message"], "memory_taken_before_start", "Other processes hold 251 MiB"),
        (None, 250 * MIB, OOM["message"], "activations", ""),
    ],
)
def test_what_others_hold_of_a_gpu_is_told_where_it_leaves_too_little(
    watch, monkeypatch, limit, used, message, cause, words
):
    monkeypatch.setattr(ending.machine, "gpu_in_use", lambda: used)
    monkeypatch.setattr(ending.gpus, "holders", lambda: ["Process 7 (python) holds 900 MiB."])
    watch.done = {"status": "oom", "error": {**OOM, "message": message}}
    on = SimpleNamespace(kind="gpu", memory_bytes=1000 * MIB)
    found = ending.outcome(trial(device=on, limit=limit), watch).diagnosis
    assert found.cause == cause
    assert words in str(found)
    taken = "Other processes" in words or "of the device's" in words
    assert ("Process 7" in str(found)) == taken == (found.confidence == "certain")
    assert ("nvidia-smi" in str(found)) == (cause == "memory_taken_before_start")


@pytest.mark.parametrize(("used", "full"), [(15_900, True), (8000, False)])
def test_a_gpu_that_cannot_be_opened_for_others_is_full(monkeypatch, used, full):
    card = Gpu("0", "GPU-0", "T4", "535", 16_000 * MIB, used * MIB)
    monkeypatch.setattr(execute.gpus, "visible_gpus", lambda: [card])
    busy = "cudaSetDevice() on GPU:0 failed. Status: CUDA-capable device(s) is/are busy or unavailable"
    assert execute._found_no_room(busy) == full
    assert not execute._found_no_room("cudaSetDevice() on GPU:0 failed. Status: invalid device ordinal")


def test_where_the_hosts_memory_ran_out_it_is_said_how_much_there_was(watch):
    vars(watch).update(exit={"code": -6}, log="std::bad_alloc")
    assert any(
        line.startswith("The trial could take 7 B:")
        for line in ending.outcome(trial(), watch).diagnosis.evidence
    )


def test_a_peak_of_nothing_is_unknown(watch):
    watch.done = {"status": "oom", "error": OOM, "step_peak_bytes": [0, 0]}
    assert ending.outcome(trial(), watch).diagnosis.failure.steps_peak_bytes is None


@pytest.mark.parametrize(
    ("params", "limit", "reported", "batch", "tries"),
    [
        ({"batch_size": 64}, 100 * MIB, 32, 64, True),
        ({"batch_size": 64}, 100 * MIB, (512, True), 512, True),
        ({"batch_size": 64}, 100 * MIB, (None, True), None, True),
        ({}, 100 * MIB, 32, 32, False),
        ({"batch_size": "64"}, 100 * MIB, 32, None, False),
        ({"batch_size": 64}, None, None, 64, False),
    ],
)
def test_batch_size_and_what_to_try(watch, params, limit, reported, batch, tries):
    size, evaluating = reported if isinstance(reported, tuple) else (reported, False)
    watch.done = {"status": "oom", "error": OOM, "batch_size": size, "evaluating": evaluating}
    found = ending.outcome(trial(params=params, limit=limit), watch).diagnosis
    assert found.failure.batch == batch
    call = 'labkit.try_fixes(train, memory_limit="100 MiB", batch_size=64)'
    assert (found.fixes[-1].code == call) == tries and ("try_fixes" in str(found)) == tries


def test_a_dump_of_the_first_refusal_tells_what_was_in_use(watch):
    chunk = b"\x08\x80\x02\x10\x80\x10\x40\x01"  # at 256, 2048 bytes, in use
    dump = b"\x1a" + bytes([len(chunk)]) + chunk + b"\x2a\x06\x10\x80\x10\x18\x80\x20"
    (watch.folder.path / "dump.1000000").write_bytes(dump)
    watch.done = {"status": "oom", "error": OOM, "peak": 3}
    found = ending.outcome(trial(), watch)
    assert found.memory_map.in_use_bytes == found.diagnosis.in_use_bytes == 2048
    assert found.peak_bytes == 4096
    watch.done["peak"] = 5000
    assert ending.outcome(trial(), watch).peak_bytes == 5000
    (watch.folder.path / "dump.1000000").write_bytes(dump[:5])
    assert ending.outcome(trial(), watch).memory_map is None
    (watch.folder.path / "dump.1000000").unlink()
    (watch.folder.path / "dump.1000000").mkdir()
    assert ending.outcome(trial(), watch).memory_map is None


def test_that_there_is_no_timeline_is_told_unless_something_else_went_wrong(watch):
    profiled = trial(profile=True)
    watch.starved = {"held": MIB, "available": MIB}
    assert "before its record could be saved" in ending.outcome(profiled, watch, "first").note
    assert ending.outcome(profiled, watch, "first").note.startswith("first There is no timeline")
    for how, words in [
        ({"starved": None}, "was ended."),
        ({"ending": "timeout"}, "2.5 s were over (timeout=)."),
        ({"ending": None, "starved": {"held": 1}}, "when the host's memory ran short."),
    ]:
        vars(watch).update(how, done={"status": "ok"})
        found = ending.outcome(profiled, watch)
        assert found.ok and words in found.note and found.note.endswith("profile=20.")
    watch.done = {"status": "ok", "no_timeline": "why"}
    assert ending.outcome(profiled, watch).note == "why"
    watch.done = {"status": "error", "error": REPORT, "no_timeline": "why"}
    assert ending.outcome(profiled, watch).note == ""
    watch.done = {"status": "oom", "error": OOM, "no_timeline": "why"}
    assert ending.outcome(profiled, watch).note == "why"


def test_the_timeline_ends_where_memory_was_refused(watch):
    blocks = [(n, -1, (n + 1) * MIB, None, "Op") for n in range(10)]
    record = replace(records.timeline(blocks).record, began=1e9)
    record.save(watch.folder.record)
    watch.done = {"status": "ok"}
    fits = ending.outcome(trial(profile=True), watch)
    assert (fits.timeline.events, fits.timeline.limit_bytes, fits.timeline.refused_bytes) == (
        10,
        100 * MIB,
        None,
    )
    watch.done = {"status": "error", "error": REPORT}
    assert ending.outcome(trial(profile=True), watch).timeline.events == 10
    watch.done = {"status": "oom", "error": OOM}
    whole = ending.outcome(trial(profile=True), watch)
    assert (whole.timeline.events, whole.timeline.refused_bytes) == (10, 64 * MIB)
    assert whole.diagnosis.confidence == "certain" and sum(whole.diagnosis.failure.held_by_category.values())
    (watch.folder.path / "dump.1000000000004500").touch()  # 4.5 ms after it began
    assert ending.outcome(trial(profile=True), watch).timeline.events == 5
    # A record of a few steps says nothing of what failed after them.
    watch.done["recorded_to_end"] = False
    few = ending.outcome(trial(profile=2), watch)
    assert (few.timeline.events, few.timeline.refused_bytes) == (10, None)
    assert few.diagnosis.failure.held_by_category is None and "after what the timeline shows" in few.note


# Dumps


def varint(value):
    return bytes([*(value >> 7 * n & 127 | 128 for n in range(9)), value >> 63])


@pytest.mark.parametrize("value", [0, 1, 127, 128, 2**14, 2**32, 2**63 - 1])
def test_numbers_of_a_dump(tmp_path, value):
    stats = b"\x10" + varint(value) + b"\x18" + varint(1)
    (tmp_path / "d").write_bytes(
        b"\x09" + 8 * b"x" + b"\x0d" + 4 * b"x" + b"\x2a" + bytes([len(stats)]) + stats
    )
    assert dumpfile.read(tmp_path / "d").in_use_bytes == value


@pytest.mark.parametrize("content", [b"\x1a\x09\x08", b"\x10\x80", b"\x0b", b"\x09xxx"])
def test_a_dump_that_is_cut_off_is_refused(tmp_path, content):
    (tmp_path / "d").write_bytes(content)
    with pytest.raises(ValueError, match="dump"):
        dumpfile.read(tmp_path / "d")


@pytest.mark.parametrize(
    ("seconds", "chosen"),
    [([], None), ([5], 5), ([5, 6], 6), ([5, 14], 14), ([5, 6, 14, 15], 14), ([16, 5, 14.1], 14.1)],
)
def test_the_dump_of_the_first_refusal_is_the_one_after_the_wait(seconds, chosen):
    paths = [f"dump.{int(at * 1e6)}" for at in seconds]
    assert dumpfile.newest_of_first_refusal(paths) == (chosen and f"dump.{int(chosen * 1e6)}")


def test_equal_chunks_are_counted_together():
    assert dumpfile.equal_groups({1000: 2, 990: 1, 989: 1, 500: 9}) == [(9, 500), (3, 1000), (1, 989)]
    assert dumpfile.equal_groups({}) == []


# The Outcome as text


@pytest.mark.parametrize("status", STATUS_TEXT)
def test_headline(status):
    assert Outcome(status).headline.endswith(STATUS_TEXT[status])
    assert Outcome(status).ok == (status == "ok")
    assert Outcome(status, peak_bytes=MIB).headline.endswith(f"{STATUS_TEXT[status]} · peak 1.00 MiB")
    assert Outcome(status, peak_bytes=MIB, limit_bytes=2 * MIB).headline.endswith("peak 1.00 MiB of 2.00 MiB")


@pytest.mark.parametrize(
    ("peak", "limit", "filled"),
    [(0, 9, None), (9, None, None), (None, 9, None), (1, 100, 1), (50, 100, 20), (9, 9, 40), (20, 9, 40)],
)
def test_bar(peak, limit, filled):
    said = str(Outcome("ok", peak_bytes=peak, limit_bytes=limit))
    assert (said.count("█"), said.count("░")) == ((filled, 40 - filled) if filled else (0, 0))


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"wall_seconds": 2.0}, "2.0 s"),
        ({"wall_seconds": 2.0, "step_seconds": [9.0]}, "2.0 s · 1 step, 9 s each (median)"),
        ({"wall_seconds": 2.0, "step_seconds": [9.0, 1.0, 3.0]}, "2.0 s · 3 steps, 2 s each (median)"),
        ({"wall_seconds": 2.0, "step_seconds": [9.0, 0.5]}, "2.0 s · 2 steps, 500 ms each (median)"),
        ({"wall_seconds": 2.0, "samples_per_second": 1234.4}, "2.0 s · 1,234 samples/s"),
        ({"wall_seconds": 2.0, "samples_per_second": 0.42}, "2.0 s · 0.42 samples/s"),
        ({"wall_seconds": 2.0, "step_seconds": [1.0]}, "2.0 s · 1 step, 1 s each (median)"),
        ({"wall_seconds": 2.0, "step_seconds": [1.5]}, "2.0 s · 1 step, 1.5 s each (median)"),
        ({"step_seconds": [1.0]}, None),
    ],
)
def test_times(facts, said):
    lines = str(Outcome("ok", **facts)).splitlines()
    assert lines[1:] == ([said] if said else [])


def test_what_an_outcome_says_of_its_error():
    error = TrialError("KeyError", "x", "model.py, line 1\n")
    assert str(Outcome("error", error=error, note="n")).splitlines()[1:] == [
        "n",
        "model.py, line 1",
        "KeyError: x",
    ]
    found = labkit.diagnose("Killed\n")
    card = str(Outcome("oom", error=error, diagnosis=found, note="n")).splitlines()
    assert card[1] == found.headline and card[-2:] == ["n", "model.py, line 1"]
    assert [line for line in card if line.startswith("What helps most")] == [
        f"What helps most: {found.fixes[0].sentence}"
    ]
    long = str(Outcome("error", error=TrialError("KeyError", "a" * 2000 + "b" * 3000)))
    assert long.splitlines()[1:] == [f"KeyError: {'a' * 1490}", "[...]", "b" * 1500]


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({}, ""),
        ({"layer": "dense"}, " in dense"),
        ({"requested_bytes": MIB}, ", asked for 1.00 MiB"),
        ({"layer": "dense", "requested_bytes": MIB}, " in dense, asked for 1.00 MiB"),
    ],
)
def test_ending_in_a_few_words(facts, said):
    assert Outcome("oom").ending == "✗ out of memory"
    assert (
        Outcome("oom", diagnosis=labkit.Diagnosis(failure=Failure(**facts))).ending
        == f"✗ out of memory{said}"
    )


def test_card():
    def card(**facts):
        return Outcome("error", **facts)._repr_mimebundle_()["text/html"]

    plain = card()
    assert plain == '<div role="group" aria-label="outcome of the trial"><b>! error</b></div>'
    full = card(
        peak_bytes=1, limit_bytes=2, wall_seconds=1.0, note="<n>", error=TrialError("E", "<m>", "<t>\n")
    )
    parts = [
        "</b><br><code>█",
        "░</code><br>1.0 s",
        "<ul><li>&lt;n&gt;</li></ul>",
        "<pre>&lt;t&gt;\nE: &lt;m&gt;</pre>",
    ]
    assert [part in full for part in parts] == 4 * [True]


def test_signals_that_kill_are_those_that_others_send():
    assert signal.SIGSEGV not in ending.KILLERS and len(ending.KILLERS) == 4
