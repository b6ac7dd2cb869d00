"""The warm process: it imports TensorFlow once and forks a child for each trial.

`Launcher` is the kernel's end, `serve` the other. They speak lines of JSON over a socket; the ends of
the trial's three pipes (output, errors, events) travel along with the request to run it. On a GPU, forking
a process that has TensorFlow is not known to be safe: there the launcher itself stays without it, and keeps
one child ahead that imports it and waits.
"""

import contextlib
import ctypes
import gc
import importlib.util
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from pathlib import Path

import psutil

from .errors import LabkitError

IDLE_SECONDS = 600
# oneDNN's kernels can die where others raise. The rest makes peaks repeat: one inter-op thread, a fixed
# order of ops and of Python's sets, and large NumPy arrays where TensorFlow must copy them, as to a GPU: it
# borrows the memory of one that lies at a multiple of 64 bytes, which a block mapped by malloc never does.
ENVIRONMENT = {
    "KERAS_BACKEND": "tensorflow",
    "TF_ENABLE_ONEDNN_OPTS": "0",
    "TF_NUM_INTEROP_THREADS": "1",
    "TF_DETERMINISTIC_ORDER": "1",
    "TF_CPP_MIN_LOG_LEVEL": "0",
    "MALLOC_MMAP_THRESHOLD_": "65536",
    "PYTHONHASHSEED": "0",
}
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
_MAIN = "from labkit.launcher import main; main()"


class LauncherGone(Exception):
    """The launcher's process has ended."""


class Launcher:
    """The kernel's end of the warm process. One trial at a time; `lock` is held during it."""

    def __init__(self):
        self.lock = threading.Lock()
        self.pid = None
        self.ready = False
        self._process = self._lines = None
        self._owner = os.getpid()

    def start(self, fork):
        """Make sure that the process runs. `fork`: children are forks that have TensorFlow already."""
        if self._process and self._process.poll() is None and self._fork == fork and self._alive():
            return
        self.close()
        if importlib.util.find_spec("tensorflow") is None:
            raise LabkitError(
                "TensorFlow is not installed in this Python. Install it: `pip install tensorflow-cpu`, "
                "or `pip install tensorflow` on Arm, or `pip install 'tensorflow[and-cuda]'` for a GPU."
            )
        ours, theirs = socket.socketpair()
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the process
        package_home = str(Path(__file__).parent.parent)
        path = os.pathsep.join(filter(None, [package_home, os.environ.get("PYTHONPATH")]))
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _MAIN, str(theirs.fileno()), str(int(fork))],
                env={**os.environ, **ENVIRONMENT, "PYTHONPATH": path},
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=self._errors,
                stderr=self._errors,
                start_new_session=True,  # an interrupt of the kernel is not meant for it
            )
        self.pid, self._fork, self._lines = self._process.pid, fork, Lines(ours)

    def _alive(self):
        """False once the other end has hung up, as it does after some idle minutes."""
        readable, _, _ = select.select([self._lines.socket], [], [], 0)
        return not readable or bool(self._lines.socket.recv(1, socket.MSG_PEEK))

    def fileno(self):
        return self._lines.socket.fileno()

    def send(self, message, fds=()):
        try:
            self._lines.send(message, fds)
        except OSError as e:
            raise LauncherGone(self.last_words()) from e

    def receive(self):
        """Messages that have come. Raises LauncherGone at the end of them."""
        messages, _ = self._lines.receive()
        if messages is None:
            raise LauncherGone(self.last_words())
        self.ready |= {"event": "ready"} in messages
        return messages

    def last_words(self):
        """The end of what the process itself printed."""
        with contextlib.suppress(OSError, ValueError):
            self._errors.seek(0)
            return self._errors.read().decode(errors="replace")[-2000:]
        return ""

    def close(self):
        """End the process, and the trial in it. It is started again when next needed."""
        if self._lines:
            self._lines.socket.close()
        if self._process and self._owner == os.getpid():
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(5)
            self._process.kill()
            self._process.wait()
            self._errors.close()
        self._process = self._lines = None
        self.ready = False


class Lines:
    """Messages over a socket: a line of JSON each, with file descriptors along with some."""

    def __init__(self, sock):
        self.socket = sock
        self._rest = b""

    def send(self, message, fds=()):
        socket.send_fds(self.socket, [json.dumps(message).encode() + b"\n"], fds)

    def receive(self):
        """(messages, descriptors); messages is None when the other end is gone."""
        try:
            data, fds, _, _ = socket.recv_fds(self.socket, 65536, 3)
        except ConnectionError:
            data, fds = b"", []
        if not data:
            return None, fds
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [json.loads(line) for line in lines], fds


class Server:
    """The warm process itself."""

    def __init__(self, lines, fork):
        self.lines, self.fork = lines, fork
        self.parent = os.getppid()
        self.trial = self.spare = None
        self.woken, self._wake = os.pipe()
        os.set_blocking(self._wake, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._wake)
        prctl(PR_SET_CHILD_SUBREAPER, 1)

    def serve(self):
        """Until the kernel hangs up, dies, or asks for nothing for a long time."""
        if self.fork:
            import_tensorflow()
        else:
            self.make_spare()
        self.lines.send({"event": "ready"})
        idle_since = time.monotonic()
        while True:
            ready, _, _ = select.select([self.lines.socket, self.woken], [], [], 1)
            if self.woken in ready:
                os.read(self.woken, 4096)
                self.reap()
            if self.lines.socket in ready and not self.obey():
                break
            if self.trial or ready:
                idle_since = time.monotonic()
            idle = time.monotonic() - idle_since
            if (
                idle > float(os.environ.get("LABKIT_IDLE_SECONDS", IDLE_SECONDS))
                or os.getppid() != self.parent
            ):
                break
        self.spare = None
        self.kill_descendants()

    def obey(self):
        messages, fds = self.lines.receive()
        for message in messages or ():
            if message["do"] == "run":
                self.run(message["folder"], fds)
            elif self.trial:
                os.kill(self.trial, signal.SIGUSR1)  # it notes where each of its threads stands
                time.sleep(0.1)
                self.kill_descendants()
        return messages is not None

    def run(self, folder, fds):
        if self.fork:
            self.trial = self.child(lambda: run_trial(folder, fds))
        else:
            self.trial, waiting = self.spare
            Lines(waiting).send(folder, fds)
            waiting.close()
            self.spare = None
        for fd in fds:
            os.close(fd)

    def make_spare(self):
        """A child that imports TensorFlow ahead and waits to be told what to run."""
        ours, theirs = socket.socketpair()

        def wait_and_run():
            ours.close()
            import_tensorflow()
            messages, fds = Lines(theirs).receive()
            if messages:
                run_trial(messages[0], fds)

        self.spare = (self.child(wait_and_run), ours)
        theirs.close()

    def child(self, work):
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
        """Collect ended children; when the trial is one of them, end what it left behind and report."""
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
                if pid == 0:
                    break
                if pid == self.trial:
                    self.kill_descendants()
                    self.trial = None
                    self.report(os.waitstatus_to_exitcode(status), usage.ru_maxrss)
                    if not self.fork:
                        self.make_spare()

    def report(self, code, maxrss):
        host_peak = maxrss if sys.platform == "darwin" else maxrss * 1024
        with contextlib.suppress(OSError):
            self.lines.send({"event": "exit", "code": code, "host_peak_bytes": host_peak})

    def kill_descendants(self):
        """Kill the trial and all that it started, whatever session they moved to; the spare stays."""
        kept = self.spare[0] if self.spare else None
        while children := [c for c in psutil.Process().children(recursive=True) if _living(c, kept)]:
            for child in children:
                with contextlib.suppress(psutil.Error):
                    child.kill()
            time.sleep(0.01)


def _living(process, kept):
    with contextlib.suppress(psutil.Error):
        return process.pid != kept and process.status() != psutil.STATUS_ZOMBIE
    return False


def run_trial(folder, fds):
    out, err, events = fds
    os.dup2(out, 1)
    os.dup2(err, 2)
    os.close(out)
    os.close(err)
    from . import trial

    trial.main(folder, events)


def import_tensorflow():
    import keras  # noqa: F401
    import tensorflow  # noqa: F401

    from . import scopes, standin, steps, trace, trial  # noqa: F401

    gc.collect()
    gc.freeze()  # or each child's first collection would copy all of these pages


def prctl(option, value):
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def main():
    fd, fork = map(int, sys.argv[1:])
    Server(Lines(socket.socket(fileno=fd)), bool(fork)).serve()
