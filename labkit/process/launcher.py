"""The kernel's end of the warm process that trials come from: start it, talk to it, end it."""

import contextlib
import importlib.util
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import psutil

from .. import machine
from ..errors import LabkitError
from .wire import Lines, readable

# oneDNN's kernels can crash where others raise. The rest makes peaks reproducible: one inter-op thread, a
# fixed order of ops and of Python's sets, and large NumPy arrays placed where TensorFlow must copy them, as
# to a GPU: it shares the memory of one that is aligned to 64 bytes, which a block mapped by malloc never is.
# With that threshold set, malloc would also give back and take anew each 128 KiB at the end of its heap.
ENVIRONMENT = {
    "KERAS_BACKEND": "tensorflow",
    "TF_ENABLE_ONEDNN_OPTS": "0",
    "TF_NUM_INTEROP_THREADS": "1",
    "TF_DETERMINISTIC_ORDER": "1",
    "TF_CPP_MIN_LOG_LEVEL": "0",
    "MALLOC_MMAP_THRESHOLD_": "65536",
    "MALLOC_TOP_PAD_": "4194304",
    "PYTHONHASHSEED": "0",
}
_PACKAGE = Path(__file__).resolve().parents[1]
# This labkit, and what is installed beside it, though never in the place of modules of Python's own.
_MAIN = f"""{machine.NOT_FROM_HERE}
import importlib.util
sys.path.append({str(_PACKAGE.parent)!r})
spec = importlib.util.spec_from_file_location("labkit", {str(_PACKAGE / "__init__.py")!r})
sys.modules["labkit"] = labkit = importlib.util.module_from_spec(spec)
spec.loader.exec_module(labkit)
from labkit.process.server import main
main()
"""


class LauncherGone(Exception):
    """The launcher process has ended."""


class Launcher:
    """The kernel's end of the warm process. It runs one trial at a time; `lock` is held during a trial."""

    def __init__(self):
        self.lock = threading.Lock()
        self.pid = None
        self.ready = False
        self.environ = {}  # of this process as the launcher's began
        self._process = self._lines = None
        self._owner = None  # a fork of the kernel must not end what the kernel has started

    def start(self, fork):
        """Start the process if it is not running. fork: whether trials are forks that have TensorFlow."""
        if self._process and self._process.poll() is None and self._fork == fork and self._alive():
            return
        self.close()
        if importlib.util.find_spec("tensorflow") is None:
            raise LabkitError(
                "TensorFlow is not installed in this Python. Install it: `pip install tensorflow-cpu`, "
                "or `pip install tensorflow` on Arm, or `pip install 'tensorflow[and-cuda]'` for a GPU."
            )
        machine.idle_seconds()  # if it cannot be read, this says so, and not each trial that it has died
        ours, theirs = socket.socketpair()
        self.environ = dict(os.environ)
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the process
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _MAIN, str(theirs.fileno()), str(int(fork))],
                env={**os.environ, **ENVIRONMENT},
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=self._errors,
                stderr=self._errors,
                start_new_session=True,  # an interrupt of the kernel is not meant for it
            )
        self.pid, self._fork, self._lines = self._process.pid, fork, Lines(ours)
        self._owner = os.getpid()

    def _alive(self):
        """False once the other end has hung up, as it does when idle for some minutes."""
        return not readable([self._lines.socket], 0) or bool(self._lines.socket.recv(1, socket.MSG_PEEK))

    def fileno(self):
        return self._lines.socket.fileno()

    def send(self, message, fds=()):
        try:
            self._lines.send(message, fds)
        except OSError as e:
            raise LauncherGone(self.printed()) from e

    def receive(self):
        """The messages that have arrived. Raises LauncherGone when the other end has hung up."""
        messages, _ = self._lines.receive()
        if messages is None:
            raise LauncherGone(self.printed())
        self.ready |= {"event": "ready"} in messages
        return messages

    def printed(self):
        """The end of what the process itself has printed."""
        with contextlib.suppress(OSError, ValueError):
            self._errors.seek(0)
            return self._errors.read().decode(errors="replace")[-2000:]
        return ""

    def how_it_ended(self):
        """How the process ended, in a sentence."""
        try:
            code = self._process.wait(5)
        except subprocess.TimeoutExpired:
            return "The process that imports it no longer answers."
        if code >= 0:
            return f"The process that imports it ended with exit status {code}."
        why = {
            signal.SIGILL: " This CPU may lack instructions that TensorFlow needs (AVX).",
            signal.SIGKILL: " Linux does that where the host's memory runs out.",
        }.get(-code, "")
        return f"The process that imports it was ended by signal {-code} ({signal.strsignal(-code)}).{why}"

    def kill(self):
        """Kill the process, and all that it started, also where it no longer answers."""
        if self._process and self._owner == os.getpid():
            with contextlib.suppress(psutil.Error):
                family = psutil.Process(self.pid).children(recursive=True)
                for process in [psutil.Process(self.pid), *family]:
                    with contextlib.suppress(psutil.Error):
                        process.kill()

    def close(self):
        """End the process and any trial in it. `start` starts a new one."""
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
