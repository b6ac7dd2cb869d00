"""The warm process: it imports TensorFlow once and forks a child for each trial.

The kernel's labkit.process.launcher.Launcher talks to it in lines of JSON over a socket; the request to run a
trial comes with the write ends of its three pipes (output, errors, events). A fork can use a GPU as long as
its parent has not opened it (tried on an H200: benchmarks/results/gpu); importing TensorFlow does not. Where
it does, or with LABKIT_FORK=0, the server itself does not import TensorFlow, and keeps a spare child that has
imported it and waits.
"""

import contextlib
import ctypes
import gc
import importlib.machinery
import mmap
import os
import signal
import socket
import sys
import time
import traceback
import warnings

import psutil

from .. import gpus, machine
from ..inside.folder import TrialFolder
from .wire import Lines, readable

GROWS_BY = 6e9  # bytes a second, at most: NumPy fills about half of that
SHORTEST, LONGEST = 0.015, 0.25  # seconds between two looks at the memory
SHORTEST_WRITING, LONGEST_WRITING = 0.1, 2  # seconds in which a trial that is ended writes down where it is
PARTS = ("wrappers", "visualization")  # of Keras, which bring much along
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36


class Server:
    """The warm process itself. fork: whether it imports TensorFlow, and each trial is a fork of it."""

    def __init__(self, lines, fork):
        self.lines, self.fork = lines, fork
        self.parent = os.getppid()
        self.trial = self.spare = self.reserve = self.reserved = self.allowed = None
        self.pause, self.looked_at = LONGEST, 0.0
        self.woken, self._wake = os.pipe()
        os.set_blocking(self._wake, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._wake)
        prctl(PR_SET_CHILD_SUBREAPER, 1)

    def serve(self):
        """Serve until the kernel hangs up, dies, or sends no request for a long time."""
        if not self.fork:
            self.make_spare()
        self.lines.send({"event": "ready"})
        idle_since, allowed = time.monotonic(), machine.idle_seconds()
        while True:
            timeout = self.pause if self.trial else 1
            ready = readable([self.lines.socket, self.woken], timeout)
            self.guard()
            if self.woken in ready:
                os.read(self.woken, 4096)
                self.reap()
            if self.lines.socket in ready and not self.handle_messages():
                break
            if self.trial or ready:
                idle_since = time.monotonic()
            idle = time.monotonic() - idle_since
            if idle > allowed or os.getppid() != self.parent:
                break
        self.spare = None
        self.kill_descendants()

    def handle_messages(self):
        """Carry out what the kernel asks; False once it has hung up."""
        messages, fds = self.lines.receive()
        for message in messages or ():
            if message["do"] == "run":
                self.reserve, self.reserved = message["reserve"], message["reserved"]
                self.allowed = message["allowed"]
                self.pause = SHORTEST
                self.run(message["folder"], fds)
            elif self.trial:
                self.kill_trial()
        return messages is not None

    def guard(self):
        """End the trial before it takes more than a site allows, or the machine's memory is full.

        Half of the reserve stays free of the machine's memory, or of its container's; all of it as long as
        the trial holds more than it has reserved, so that a neighbor that does not is spared.
        """
        if not self.trial or not self.reserve:
            return
        available = machine.host_memory().available
        self.pause = min(max(SHORTEST, (available - self.reserve) / GROWS_BY), LONGEST)
        full = available < self.reserve // 2 or available < self.reserve and self.borrows()
        if full or self.holds_too_much():
            self.suspend()  # before all else: to count what it holds takes a while
            allowed = None if full else self.allowed
            self.tell("starved", available=available, held=self.held(), allowed=allowed)
            self.kill_trial(least=max(available, self.reserve // 2) - self.reserve // 4)
            self.reserve = None

    def borrows(self):
        return self.reserved is not None and self.held() > self.reserved

    def holds_too_much(self):
        """Whether it holds more than a site allows; looked at four times a second, for it takes longer."""
        now = time.monotonic()
        if self.allowed is None or now - self.looked_at < LONGEST:
            return False
        self.looked_at = now
        return self.held() > self.allowed

    def held(self):
        """Bytes that the trial and what it started hold by themselves; pages they share count once."""
        return sum(map(_held, self.descendants()))

    def suspend(self):
        """Stop the trial and whatever it has started, which then takes no more memory."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.trial, signal.SIGSTOP)
        for process in self.descendants():
            with contextlib.suppress(psutil.Error):
                process.suspend()

    def kill_trial(self, least=0):
        """Have it write down where each of its threads is, which ends it; then kill what is left.

        least   bytes of memory: once less is available, it is waited for a moment only
        """
        self.suspend()
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.trial, signal.SIGUSR1)
            os.kill(self.trial, signal.SIGCONT)
        trial, begun = psutil.Process(self.trial), time.monotonic()
        while _living(trial, None) and (waited := time.monotonic() - begun) < LONGEST_WRITING:
            if waited > SHORTEST_WRITING and machine.host_memory().available < least:
                break
            time.sleep(0.01)
        self.kill_descendants()

    def run(self, folder, fds):
        if self.fork:
            import_for(TrialFolder(folder).code)
            self.trial = self.child(lambda: run_trial(folder, fds))
        else:
            self.trial, waiting = self.spare
            Lines(waiting).send(folder, fds)
            waiting.close()
            self.spare = None
        for fd in fds:
            os.close(fd)

    def make_spare(self):
        """Fork a child that imports TensorFlow in advance and waits for a trial to run."""
        ours, theirs = socket.socketpair()

        def wait_and_run():
            ours.close()
            try:
                failed = import_tensorflow()
            except Exception:
                failed = traceback.format_exc()
            messages, fds = Lines(theirs).receive()
            if messages and failed:
                TrialFolder(messages[0]).failure.write_text(failed)
            elif messages:
                run_trial(messages[0], fds)

        self.spare = (self.child(wait_and_run), ours)
        theirs.close()

    def child(self, work):
        """Fork a child that calls `work` and ends; returns its process id."""
        with warnings.catch_warnings():  # TensorFlow's one helper thread holds no lock that a trial needs
            warnings.simplefilter("ignore", DeprecationWarning)
            pid = os.fork()
        if pid:
            return pid
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            os.setsid()
            for fd in (self.woken, self._wake):
                os.close(fd)
            self.lines.socket.close()
            work()
        finally:
            os._exit(70)

    def reap(self):
        """Collect children that have ended; if one is the trial, kill what it left behind and report."""
        ended = None
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
                if pid == 0:
                    break
                if pid == self.trial:
                    self.kill_descendants()
                    self.trial, ended = None, (os.waitstatus_to_exitcode(status), usage.ru_maxrss)
        if ended:
            self.report(*ended)
            if not self.fork:
                self.make_spare()

    def report(self, code, maxrss):
        host_peak = maxrss if sys.platform == "darwin" else maxrss * 1024
        self.tell("exit", code=code, host_peak_bytes=host_peak)

    def tell(self, event, **facts):
        """Send an event to the kernel, which may be gone: what is left to do here is done all the same."""
        with contextlib.suppress(OSError):
            self.lines.send({"event": event, **facts})

    def descendants(self):
        """The trial and every living process that it started, in whatever session; not the spare."""
        kept = self.spare[0] if self.spare else None
        return [child for child in psutil.Process().children(recursive=True) if _living(child, kept)]

    def kill_descendants(self):
        """Kill the trial and every process that it started, in whatever session; the spare stays.

        What may not be killed, as a program of another user, is left.
        """
        left = set()
        while children := [child for child in self.descendants() if child not in left]:
            for child in children:
                try:
                    child.kill()
                except psutil.AccessDenied:
                    left.add(child)
                except psutil.Error:
                    pass
            time.sleep(0.01)


def _living(process, kept):
    with contextlib.suppress(psutil.Error):
        return process.pid != kept and process.status() != psutil.STATUS_ZOMBIE
    return False


def _held(process):
    with contextlib.suppress(psutil.Error):
        memory = process.memory_full_info()
        return getattr(memory, "pss", memory.uss)
    return 0


def run_trial(folder, fds):
    out, err, events = fds
    os.dup2(out, 1)
    os.dup2(err, 2)
    os.close(out)
    os.close(err)
    from ..inside import child

    try:
        child.main(folder, events)
    except BaseException:
        TrialFolder(folder).failure.write_text(traceback.format_exc())
        raise


class Later:
    """Finds PARTS of Keras as modules that are empty until an attribute of theirs is asked for.

    They import scikit-learn and Matplotlib where these are installed, which takes long and few trainings
    need. A trial that uses such a part gets it then.
    """

    def __init__(self, loader):
        self._loader = loader

    @classmethod
    def find_spec(cls, name, path, target=None):
        if not name.startswith("keras.") or name.rpartition(".")[2] not in PARTS:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is not None:
            spec.loader = cls(spec.loader)
        return spec

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        def load(name):
            del module.__getattr__
            self._loader.exec_module(module)
            return getattr(module, name)

        module.__getattr__ = load


def import_tensorflow():
    """Import TensorFlow, Keras, and what watches a trial, in a way that a fork shares most of the memory."""
    sys.meta_path.insert(0, Later)
    gc.disable()  # hardly anything of all this is garbage, and to look for it again and again takes a while
    import keras  # noqa: F401
    import tensorflow  # noqa: F401

    from ..inside import child, copies, objects, recorder, steps  # noqa: F401

    gc.collect()
    gc.freeze()  # otherwise each child's first collection copies all of these pages
    gc.enable()


def import_for(code):
    """Import scikit-learn here, once for all trials, if the code of one, pickled in that file, names it."""
    if "sklearn.datasets" not in sys.modules and _names_sklearn(code):
        with contextlib.suppress(Exception):  # the trial that needs it will say so
            import sklearn.datasets  # noqa: F401
        gc.freeze()


def _names_sklearn(path):
    """Searched where it lies: code may take gigabytes of data along."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as code:
        return code.find(b"sklearn") >= 0


def prctl(option, value):
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def main():
    fd, fork = map(int, sys.argv[1:])
    if fork:
        import_tensorflow()
        if gpus.is_open():
            os.execv(sys.executable, [*sys.orig_argv[:-1], "0"])
    Server(Lines(socket.socket(fileno=fd)), bool(fork)).serve()
