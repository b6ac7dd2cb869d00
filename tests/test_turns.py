"""Trials of several kernels and users share a machine: each waits for room, and tells so."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from types import SimpleNamespace

import pytest

import labkit
from labkit import machine
from labkit.errors import LabkitError, Stopped
from labkit.trials.turns import PROCESS, turn

MIB = 2**20


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A folder for tickets, and a budget of room for two trials of 256 MiB."""
    tickets = tmp_path / "turns"
    monkeypatch.setenv("LABKIT_TURNS", str(tickets))
    monkeypatch.setenv("LABKIT_BUDGET", str(2 * (256 * MIB + PROCESS)))
    return tickets


class Waiting:
    """A trial with a limit that takes its turn in a thread."""

    def __init__(self, limit=256 * MIB):
        self.limit, self.device = limit, machine.device()
        self.stop_asked, self.ended = threading.Event(), threading.Event()
        self.told, self.reserved = [], None
        self.began, self.stopped = threading.Event(), threading.Event()
        self.thread = threading.Thread(target=self.take, daemon=True)
        self.thread.start()

    def take(self):
        try:
            with turn(self, os.getpid(), SimpleNamespace(status=self.told.append)) as self.reserved:
                self.began.set()
                self.ended.wait(60)
        except Stopped:
            self.stopped.set()

    def end(self):
        self.ended.set()
        self.thread.join()

    def waits(self):
        """Whether it has told that it waits, and has not begun."""
        deadline = time.monotonic() + 30
        while not self.told and not self.began.is_set() and time.monotonic() < deadline:
            time.sleep(0.01)
        return bool(self.told) and not self.began.is_set()


def began(waiting):
    return waiting.began.wait(30)


def test_those_that_do_not_fit_wait_in_the_order_in_which_they_came(folder):
    first, second = Waiting(), Waiting()
    assert began(first) and began(second)
    large = Waiting(1024 * MIB)
    assert large.waits()
    assert large.told[0] == (
        "waiting for room: 2 other trials hold 1.50 GiB of 1.50 GiB, and this one needs 1.50 GiB"
    )
    small = Waiting()
    assert small.waits()
    first.end()
    assert not small.began.wait(0.5)  # the large one came before it
    second.end()
    assert began(large)
    large.end()
    assert began(small) and small.reserved == 256 * MIB + PROCESS
    small.end()
    assert not list(folder.iterdir())


def test_a_trial_without_a_limit_takes_all_that_a_site_leaves_it(monkeypatch):
    alone = Waiting(None)
    assert began(alone) and alone.reserved == machine.memory_setting("LABKIT_BUDGET")
    alone.end()
    monkeypatch.setenv("LABKIT_TRIAL_MEMORY", "1 GiB")
    alone = Waiting(None)
    assert began(alone) and alone.reserved == 2**30
    alone.end()


def test_on_a_gpu_the_turn_is_for_that_gpu_even_if_its_driver_no_longer_answers(folder, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    gpu = machine.Device("gpu", "T4", "GPU_0_bfc", 2**30, "GPU-aa11")
    with turn(SimpleNamespace(limit=MIB, device=gpu), os.getpid(), None):
        (ticket,) = folder.iterdir()
        assert json.loads(ticket.read_text())["of"] == "GPU-aa11"


def test_stopping_one_that_waits_stops_it_alone(folder):
    first = Waiting(1024 * MIB)
    assert began(first)
    second = Waiting()
    assert second.waits()
    second.stop_asked.set()
    assert second.stopped.wait(30)
    assert len(list(folder.iterdir())) == 1
    first.end()


HOLDS = """
    import os, sys, threading
    from types import SimpleNamespace
    from labkit import machine
    from labkit.trials.turns import turn
    trial = SimpleNamespace(limit=2**30, device=machine.device(), stop_asked=threading.Event())
    with turn(trial, os.getpid(), SimpleNamespace(status=print)):
        print("holds", flush=True)
        sys.stdin.read()
"""


@contextlib.contextmanager
def another_kernel(code=HOLDS):
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    with process:
        yield process
        process.kill()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGABRT])
def test_a_reservation_vanishes_with_its_process_however_it_dies(folder, how):
    with another_kernel() as other:
        assert other.stdout.readline() == "holds\n"
        mine = Waiting()
        assert mine.waits()
        other.send_signal(how)
        assert began(mine)
        mine.end()
    nobody = Waiting()
    assert began(nobody)
    assert len(list(folder.iterdir())) == 1  # what the dead one left is gone
    nobody.end()


JUNK = [
    b"", b"{", b"[]", b"\xff\xfe", b"null", b'{"of": "host"}', b"9" * 5000, b"[" * 1000,
    b'{"of": "host", "bytes": NaN, "pid": 1}', b'{"of": "host", "bytes": 1e999, "pid": 1}',
]  # fmt: skip


@pytest.mark.parametrize("junk", JUNK)
def test_what_is_no_ticket_is_passed_over(folder, junk):
    folder.mkdir()
    (folder / "junk").write_bytes(junk)
    with open(folder / "junk") as file:
        locked(file)
        mine = Waiting()
        assert began(mine)
        mine.end()


def locked(file):
    import fcntl

    fcntl.flock(file, fcntl.LOCK_EX)


def test_links_pipes_and_folders_are_not_followed(folder, tmp_path):
    folder.mkdir()
    os.mkfifo(folder / "pipe")
    (folder / "folder").mkdir()
    (folder / "zeros").symlink_to("/dev/zero")
    private = tmp_path / "private"
    private.write_text(json.dumps({"of": "host", "bytes": 2**50, "pid": 1}))
    (folder / "link").symlink_to(private)
    with open(private) as file:
        locked(file)
        mine = Waiting()
        assert began(mine)
        mine.end()


@pytest.mark.parametrize("claim", [2**62, -(2**70), 2**70, 10**400])
def test_a_neighbour_that_claims_too_much_costs_waiting_which_can_be_switched_off(folder, claim, monkeypatch):
    folder.mkdir()
    (folder / "claim").write_text(json.dumps({"of": "host", "bytes": claim, "pid": 2**70}))
    with open(folder / "claim") as file:
        locked(file)
        mine = Waiting()
        assert mine.waits() == (claim == 2**62)  # more than any machine has is no claim
        mine.stop_asked.set()
        mine.end()
        monkeypatch.setenv("LABKIT_TURNS", "off")
        mine = Waiting()
        assert began(mine) and mine.reserved is None
        mine.end()


def test_without_a_folder_for_tickets_nobody_waits(folder, tmp_path):
    folder.write_text("a file")
    mine = Waiting()
    assert began(mine) and mine.reserved is None
    mine.end()


def test_a_budget_that_is_no_size_is_told_by_its_name(monkeypatch):
    monkeypatch.setenv("LABKIT_BUDGET", "plenty")
    with pytest.raises(LabkitError, match="LABKIT_BUDGET.*'plenty'"):
        labkit.run("1")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_another_user_waits_too_and_cannot_touch_a_ticket(folder):
    folder.parent.chmod(0o755)
    for above in folder.parents:
        if above.stat().st_uid == 0 and str(above).startswith("/tmp/"):
            above.chmod(0o755)
    mine = Waiting(1024 * MIB)
    assert began(mine)
    (ticket,) = folder.iterdir()
    child = os.fork()
    if child == 0:
        os._exit(as_another_user(ticket))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert mine.began.is_set() and ticket.exists()
    mine.end()


def as_another_user(ticket):
    """0 if a user of no rights waits for the ticket, and can neither write nor remove it."""
    os.setgid(65534)
    os.setuid(65534)
    for attempt in (ticket.unlink, lambda: ticket.write_text("{}"), lambda: ticket.rename(f"{ticket}x")):
        with contextlib.suppress(PermissionError):
            attempt()
            return 1
    other = Waiting()
    return 0 if other.waits() else 2


TRIAL = """
    import os, pathlib, labkit
    from labkit.trials.trial import Trial
    from labkit.trials.console import Console

    class Told(Console):
        def status(self, text):
            if "room" in text:
                print(text, flush=True)
                pathlib.Path(os.environ["WAITS"]).touch()

    code = '''
    import os, pathlib, time
    began = time.time()
    while not pathlib.Path(os.environ["WAITS"]).exists():
        time.sleep(0.05)
    began, time.time()
    '''
    outcome = Trial(code, memory_limit="700 MiB", timeout=240, echo=False, show=Told()).run()
    assert outcome.ok, outcome
    print("ran", *outcome.result, flush=True)
"""


def test_trials_of_two_kernels_run_one_after_the_other_where_there_is_room_for_one(tmp_path, monkeypatch):
    """Each runs until one has said that it waits."""
    monkeypatch.setenv("WAITS", str(tmp_path / "waits"))
    with another_kernel(TRIAL) as one, another_kernel(TRIAL) as other:
        printed = [process.communicate(timeout=300)[0].splitlines() for process in (one, other)]
    spans = sorted(tuple(map(float, lines[-1].split()[1:])) for lines in printed)
    assert spans[0][1] <= spans[1][0]
    assert any("1 other trial holds 1.18 GiB of 1.50 GiB" in line for line in sum(printed, []))


def test_a_trial_within_a_trial_does_not_wait_for_it():
    inner = "import labkit; labkit.run('1 + 1', memory_limit='256 MiB').result"
    assert labkit.run(inner, memory_limit="1 GiB").result == 2
