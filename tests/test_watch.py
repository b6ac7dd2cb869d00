"""What is made of the output and the events of a trial while it runs, and of its refused requests.

Real trials that are watched are in test_run.py, test_hostile.py and test_processes.py.
"""

import json
import os
import random
import threading
from types import SimpleNamespace

import pytest

from labkit.inside.folder import TrialFolder
from labkit.process import watch
from labkit.process.launcher import LauncherGone
from labkit.process.watch import TrimmedText, Watch


class Shown(list):
    """What a Show is told, as (method, argument)."""

    def output(self, text):
        self.append(text)

    def waiting(self, seconds):
        self.append(("waiting", seconds))

    def progress(self, seconds, **facts):
        self.append(("progress", seconds, facts))


@pytest.fixture
def watched(tmp_path):
    return Watch(None, TrialFolder(tmp_path), Shown(), SimpleNamespace(limit=7, timeout=None, reserved=None))


# Output and events


@pytest.mark.parametrize(
    ("parts", "shown"),
    [
        (["a\nb", "c\n"], ["a\n", "bc\n"]),
        (["1 of 2\r2 of", " 2\r\n"], ["1 of 2\r", "2 of 2\r"]),
        (["2026-11-26 10:00:00.1: I x.cc:1] chatter\nmine\n"], ["mine\n"]),
        (["2026-11-26 10:00:00", ".1: I x.cc:1] chatter\n", "\n\n"], []),
        (["x" * watch.HALF_LINE, "\n"], ["x" * watch.HALF_LINE + "\n"]),
        (["x" * watch.HALF_LINE + "x", "\n"], ["x" * watch.HALF_LINE + "x"]),
    ],
)
def test_errors_are_shown_line_by_line_without_chatter(watched, parts, shown):
    for part in parts:
        watched._take_output(1, part)
    assert (watched.show, str(watched.log)) == (shown, "".join(parts))


def test_output_is_shown_at_once(watched):
    watched._take_output(0, "half a line")
    watched._take_output(0, "")
    watched._take_output(0, "\n\n")
    assert watched.show == ["half a line", "\n\n"]


def test_events_come_in_lines_and_others_write_to_the_pipe_too(watched):
    started = json.dumps({"event": "started"}).encode()
    watched._take_events(b'{"event": "sample", "peak": 1, "steps": 2}\n' + started[:5])
    assert (watched.sample, watched.started, watched.seconds) == ({"peak": 1, "steps": 2}, None, None)
    watched._take_events(started[5:] + b'\nnoise\n[1]\n3\n{"peak": 4}\n{"event": "sample", "peak": 5}\n')
    assert watched.sample == {"peak": 5, "steps": 2} and watched.seconds >= 0
    watched._take_events(b'{"event": "done", "status": "ok"}\n{"event": "other", "status": "oom"}\n')
    assert watched.done == {"status": "ok"}


def test_of_a_trial_that_is_being_ended_no_report_is_taken(watched):
    watched.folder.report.write_text('{"status": "oom"}')
    watched.ending = "timeout"
    watched._take_events(b'{"event": "done", "status": "ok"}\n')
    watched._read_report()
    assert watched.done == {}
    watched.ending = None
    watched._read_report()
    assert watched.done == {"status": "oom"}
    watched.folder.report.write_text('{"status": "other"}')
    watched._read_report()
    assert watched.done == {"status": "oom"}


@pytest.mark.parametrize("report", [None, "", '{"status"'])
def test_a_report_that_cannot_be_read_is_none(watched, report):
    if report is not None:
        watched.folder.report.write_text(report)
    watched._read_report()
    assert watched.done == {}


def test_what_the_launcher_tells(watched):
    def gone():
        raise LauncherGone

    assert not watched.never_began
    told = [{"event": "forked"}, {"event": "starved", "held": 1}]
    watched.launcher = SimpleNamespace(receive=lambda: told)
    watched._read_launcher()
    assert (watched.starved, watched.exit, watched._over) == (told[1], None, False)
    told[:] = [{"event": "exit", "code": 3}]
    watched._read_launcher()
    assert (watched.exit, watched.lost, watched._over) == (told[0], False, True)
    watched.exit, watched.launcher = None, SimpleNamespace(receive=gone)
    watched._read_launcher()
    assert (watched.lost, watched._over, watched.never_began) == (True, True, True)
    watched.ending = "stopped"
    assert not watched.never_began
    watched.ending, watched.started = None, 1.0
    assert not watched.never_began


# A trial from its beginning to its end: here, what the launcher answers is written down


class Answers:
    """In the launcher's place: does what is written down for each request, through real pipes."""

    def __init__(self, **answers):
        self.answers, self.asked, self.messages, self.ends = answers, [], [], []
        self._told, self._tell = os.pipe()

    def fileno(self):
        return self._told

    def send(self, request, ends=()):
        self.asked.append(request["do"])
        self.ends += map(os.dup, ends)
        self.answers[request["do"]](self)

    def kill(self):
        self.asked.append("killed")
        self.tell(None)

    def tell(self, message):
        self.messages.append(message)
        os.write(self._tell, b".")

    def write(self, end, data):
        os.write(self.ends[end], data)

    def receive(self):
        os.read(self._told, 100)
        told, self.messages = self.messages, []
        if None in told:
            raise LauncherGone
        return told

    def close(self):
        for end in (self._told, self._tell, *self.ends):
            os.close(end)


EXIT = {"event": "exit", "code": -9}


def starts(launcher):
    launcher.write(2, b'{"event": "started"}\n')


def exits(launcher):
    launcher.tell(EXIT)


def ignores(launcher):
    pass


@pytest.fixture
def follow(watched):
    """Follow a trial to its end with these answers, and see that no pipe stays open."""
    watched.trial.stop_asked = threading.Event()

    def follow(**answers):
        before = set(os.listdir("/proc/self/fd"))
        watched.launcher = Answers(**answers)
        try:
            watched.follow()
        finally:
            watched.launcher.close()
            assert set(os.listdir("/proc/self/fd")) == before
        return watched

    return follow


@pytest.mark.parametrize("closes", [True, False])
def test_all_that_a_trial_says_is_taken_until_its_end(follow, watched, closes):
    def runs(launcher):
        launcher.write(0, b"\xff\n" + "é".encode()[:1])
        launcher.write(1, b"half a line")
        launcher.write(2, b'{"event": "sample", "peak": 3}\n')
        launcher.tell({"event": "forked"})
        launcher.tell(EXIT)
        while closes and launcher.ends:
            os.close(launcher.ends.pop())

    watched.trial.timeout = 1e-9  # counts once it has started
    watched.folder.report.write_text('{"status": "oom"}')
    found = follow(run=runs)
    assert (found.exit, found.ending, found.sample, found.done) == (
        EXIT,
        None,
        {"peak": 3},
        {"status": "oom"},
    )
    assert sorted(found.show) == ["half a line\n", "\ufffd\n"]
    assert found.launcher.asked == ["run"]


@pytest.mark.parametrize("timeout", [None, 500])
def test_a_trial_in_time_is_not_ended(follow, watched, timeout, monkeypatch):
    def runs(launcher):
        starts(launcher)
        exits(launcher)

    monkeypatch.setattr(watch.time, "monotonic", lambda: 1000)
    watched.trial.timeout = timeout
    found = follow(run=runs)
    assert (found.ending, found.show) == (None, [("progress", 0, {"limit": 7})])


@pytest.mark.parametrize(
    ("ending", "exit", "ago", "killed"),
    [
        ("stopped", None, 5.1, True),
        ("stopped", None, 5, False),
        ("stopped", EXIT, 6, False),
        (None, None, 6, False),
    ],
)
def test_a_launcher_has_five_seconds_to_end_a_trial(watched, monkeypatch, ending, exit, ago, killed):
    monkeypatch.setattr(watch.time, "monotonic", lambda: 1000)
    watched.launcher = Answers()
    watched.ending, watched.exit, watched._ended_at = ending, exit, 1000 - ago
    watched._insist()
    assert watched.launcher.asked == ["killed"] * killed
    watched.launcher.close()


@pytest.mark.parametrize("how", ["stopped", "timeout"])
def test_a_trial_is_ended_once(follow, watched, how):
    watched.trial.timeout = 1e-9
    if how == "stopped":
        watched.trial.stop_asked.set()
    found = follow(run=starts, kill=exits)
    assert (found.ending, found.exit, found.lost, found.launcher.asked) == (how, EXIT, False, ["run", "kill"])


@pytest.mark.parametrize("how", ["stopped", "timeout"])
def test_a_launcher_that_does_not_end_its_trial_is_killed(follow, watched, how, monkeypatch):
    monkeypatch.setattr(watch, "INSIST_SECONDS", 1e-9)
    watched.trial.timeout = 1e-9
    if how == "stopped":
        watched.trial.stop_asked.set()
    found = follow(run=starts, kill=ignores)
    assert found.lost and found.launcher.asked[:3] == ["run", "kill", "killed"]


def test_without_a_launcher_a_trial_never_begins(follow):
    def gone(launcher):
        raise LauncherGone

    found = follow(run=gone)
    assert found.never_began and found.launcher.asked == ["run"]


@pytest.mark.parametrize("kill", [exits, ignores])
def test_whatever_is_raised_while_it_is_shown_the_trial_is_ended(follow, watched, kill, monkeypatch):
    def shown(text):
        raise KeyboardInterrupt

    monkeypatch.setattr(watch, "INSIST_SECONDS", 1e-9)
    watched.show = SimpleNamespace(output=shown)
    with pytest.raises(KeyboardInterrupt):
        follow(run=lambda launcher: launcher.write(0, b"x"), kill=kill)
    assert (watched.ending, watched._over) == ("stopped", True)
    assert watched.launcher.asked[:2] == ["run", "kill"]


# Refused requests


def test_tensorflow_waits_ten_seconds_from_the_first_refusal_on(watched, monkeypatch):
    def waits(now, dumps, steps=5):
        for at in dumps:
            (watched.folder.path / f"dump.{int(at * 1e6)}").touch()
        watched.sample["steps"] = steps
        monkeypatch.setattr(watch.time, "time", lambda: now)
        return watched.waiting_seconds()

    assert waits(1000, []) is None
    assert waits(1003, [1000, 999]) == 7
    assert waits(1009.5, [1005]) == 0.5  # another op is refused meanwhile
    assert waits(1010, []) is None
    assert waits(1010.5, [1010]) is None  # the wait is over
    assert waits(1012, [1011]) == 9  # another wait
    assert waits(1013, [], steps=6) is None  # the training goes on
    assert waits(1031, [1030], steps=6) == 9
    watched.done = {"status": "ok"}
    assert waits(1032, [], steps=6) is None


def test_progress_is_shown_once_it_has_begun_unless_it_waits(watched, monkeypatch):
    watched._show_progress()
    assert watched.show == []
    watched.sample, watched.started = {"steps": 2}, 75
    monkeypatch.setattr(watch.time, "monotonic", lambda: 100)
    watched._show_progress()
    assert watched.seconds == 25
    monkeypatch.setattr(watched, "waiting_seconds", lambda: 0.5)
    watched._show_progress()
    assert watched.show == [("progress", 25, {"limit": 7, "steps": 2}), ("waiting", 0.5)]


def test_what_linux_kills_from_the_beginning_on_counts(watched, monkeypatch):
    kills = watched._kills_before
    for more, killed in [(0, False), (1, True)]:
        monkeypatch.setattr(watch.machine, "kernel_oom_kills", lambda more=more: kills + more)
        assert watched.kernel_killed() == killed


# Text that is trimmed


@pytest.mark.parametrize("seed", range(20))
def test_of_a_long_text_beginning_and_end_are_kept(seed):
    rng, text, trimmed = random.Random(seed), "", TrimmedText(100)
    for _ in range(30):
        part = "".join(rng.choices("abcdef", k=rng.choice([0, 1, 7, 30, 49, 50, 51, 120])))
        text += part
        trimmed.add(part)
        if len(text) <= 100:
            assert str(trimmed) == text
        head, gap, tail = str(trimmed).partition("\n[... ")
        number, _, tail = tail.partition(" characters left out ...]\n")
        assert (head if gap else head[:50]) == text[:50]
        assert not gap or (text.endswith(tail) and 50 <= len(tail) < 50 + 120)
        assert gap or len(text) < 100 + 120
        assert not gap or int(number.replace(",", "")) == len(text) - 50 - len(tail) > 0
