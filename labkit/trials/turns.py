"""Trials of all kernels and users of one machine take turns where its memory is not enough for all at once.

Each reserves what it may take with a ticket: a file that its process keeps locked, in a folder that all
share. A trial waits as long as its own ticket and those before it exceed the budget. A process that dies,
however it does, loses the lock, and with it the reservation. Others can read a ticket, but neither change nor
remove it; the worst that they can do is to hold tickets of their own.

LABKIT_BUDGET   the most that all trials together may take: of the GPU where there is one, else of host memory
LABKIT_TURNS    the folder of the tickets instead of /tmp/labkit-turns; "off" to wait for nobody
"""

import contextlib
import json
import os
import stat
import time
import uuid
from pathlib import Path

import psutil

from .. import machine
from ..errors import Stopped
from ..inside.folder import lock
from ..process.watch import POLL_SECONDS
from ..sizes import MIB, format_size

try:
    import fcntl
except ImportError:  # Windows, where no trial can run
    fcntl = None

FOLDER = "/tmp/labkit-turns"
PROCESS = 512 * MIB  # what a trial may take beside its limit: its process, or on a GPU CUDA's context
LONGEST = 1000  # bytes of a ticket
MOST = 2**63  # bytes that a ticket may claim


@contextlib.contextmanager
def turn(trial, pid, show):
    """Wait until there is room for a Trial, and keep the room meanwhile; yields the bytes reserved.

    pid    the process whose children the trial is among
    show   a labkit.process.progress.Show, told of the waiting

    Yields None where no turns can be taken. Raises Stopped if the trial is stopped while it waits.
    """
    folder = _folder()
    if folder is None:
        yield None
        return

    def wait(text):
        show.status(text)
        time.sleep(POLL_SECONDS)  # a handler of an interrupt may set the event: it must not be waited on here
        if trial.stop_asked.is_set():
            raise Stopped("Stopped before the trial began.")

    with contextlib.ExitStack() as stack:
        with _gate(folder, wait):
            before = _tickets(folder, _resource(trial.device))
            need = _need(trial, before)
            stack.enter_context(_taken(folder, {"of": _resource(trial.device), "bytes": need, "pid": pid}))
        while before := [ticket for ticket in before if ticket.held()]:
            reserved, budget = sum(ticket.bytes for ticket in before), _budget(trial.device, before)
            if reserved + need <= budget:
                break
            wait(_waiting_text(len(before), reserved, budget, need))
        yield need


def _waiting_text(others, reserved, budget, need):
    hold = "other trial holds" if others == 1 else "other trials hold"
    return (
        f"waiting for room: {others} {hold} {format_size(reserved)} of {format_size(budget)}, "
        f"and this one needs {format_size(need)}"
    )


def _resource(device):
    return "host" if device.kind == "cpu" else device.uuid


def _need(trial, before):
    """Bytes that the trial may take: its limit and what its process needs, or all that there is."""
    most = _budget(trial.device, before)
    if trial.device.kind == "cpu":
        most = min(most, machine.trial_memory() or most)
    return min(trial.limit + PROCESS, most) if trial.limit else most


def _budget(device, before):
    """Bytes for all trials together: what a site says, or what is free and what they hold already."""
    if said := machine.memory_setting("LABKIT_BUDGET"):
        return said
    if device.kind == "gpu":
        return device.memory_bytes
    host = machine.host_memory()
    return host.available - machine.reserve(host) + sum(ticket.filled() for ticket in before)


def _folder():
    """The folder that all share; None where there can be none, or where it is switched off."""
    name = os.environ.get("LABKIT_TURNS") or FOLDER
    if name.lower() in ("off", "0"):
        return None
    with contextlib.suppress(OSError):
        os.mkdir(name)
        os.chmod(name, 0o1777)
    usable = os.path.isdir(name) and not os.path.islink(name) and os.access(name, os.W_OK)
    return Path(name) if usable else None


@contextlib.contextmanager
def _gate(folder, wait):
    """Nobody else takes a ticket meanwhile."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        while not lock(fd, fcntl.LOCK_EX):
            wait("waiting for another trial to take its turn")
        yield
    finally:
        os.close(fd)


@contextlib.contextmanager
def _taken(folder, said):
    """Hold a ticket that says so; without one where none can be written."""
    path, fd = folder / f"{os.getpid()}-{uuid.uuid4().hex}", None
    try:
        with contextlib.suppress(OSError):
            fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
            lock(fd, fcntl.LOCK_EX)
            os.fchmod(fd, 0o644)  # whatever the umask
            os.write(fd, json.dumps(said).encode())
        yield
    finally:
        if fd is not None:
            path.unlink(missing_ok=True)
            os.close(fd)


def _tickets(folder, resource):
    """The tickets of the resource that are held; those that this user's processes left are removed."""
    found = []
    for path in folder.iterdir():
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError, RecursionError):
            ticket = _Ticket(path)
            if not ticket.held():
                ticket.remove()
            elif ticket.resource == resource:
                found.append(ticket)
    return found


class _Ticket:
    """Somebody's ticket. What another user has written can raise anything that JSON and sizes can."""

    def __init__(self, path):
        self.path = path
        with self._open() as file:
            said = json.loads(file.read(LONGEST))
        self.resource, self.bytes, self.pid = said["of"], said["bytes"], said["pid"]
        if not (isinstance(self.bytes, int) and 0 < self.bytes < MOST and isinstance(self.pid, int)):
            raise ValueError(f"{path} is no ticket")

    def _open(self):
        """The file for reading, if it is one: not what a link or a FIFO would lead to."""
        fd = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise ValueError(f"{self.path} is not a file")
        return open(fd)

    def held(self):
        """Whether its process still holds it."""
        try:
            with self._open() as file:
                return not lock(file.fileno(), fcntl.LOCK_SH)
        except (OSError, ValueError):
            return False

    def remove(self):
        if self.path.stat().st_uid == os.getuid():
            self.path.unlink()

    def filled(self):
        """Bytes of host memory that its trial holds already; of another user's, less what cannot be told."""
        held = 0
        with contextlib.suppress(psutil.Error, OverflowError, ValueError):
            for process in psutil.Process(self.pid).children(recursive=True):
                held += _own_bytes(process)
        return min(held, self.bytes)


def _own_bytes(process):
    """Bytes of host memory that the process shares with no other."""
    try:
        return process.memory_full_info().uss
    except psutil.AccessDenied:
        return max(0, process.memory_info().rss - PROCESS)
