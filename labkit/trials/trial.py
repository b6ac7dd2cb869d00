"""The kernel's side of a trial: start it, watch it, stop it, and report its outcome."""

import contextlib
import inspect
import linecache
import os
import pickle
import select
import sys
import tempfile
import threading
import time

import cloudpickle

from .. import machine
from ..errors import LabkitError
from ..inside.folder import TrialFolder
from ..outcome import Outcome
from ..process import ending
from ..process.launcher import ENVIRONMENT, Launcher, LauncherGone
from ..process.watch import POLL_SECONDS, Watch
from .console import Console

_launcher = Launcher()  # one per kernel, started by the first trial


def run(train, *, memory_limit=None, timeout=120, profile=False, seed=0, **params):
    """Run `train(**params)` in its own process under a memory limit; returns the Outcome.

    train         a function (closures too), or source text in which the parameters are variables
    memory_limit  cap on the device's memory: bytes, or a string such as "256 MiB"; None for no cap
    timeout       seconds after which the trial is ended; None for no timeout
    profile       also record every allocation, as `outcome.timeline`: True for the whole trial, an integer
                  for that many steps, or a folder in which to keep TensorFlow's files for TensorBoard
    seed          for keras.utils.set_random_seed; None leaves the random generators unseeded

    Whatever the code does (run out of memory, crash, hang, exit), this process is unaffected and the
    outcome's `status` tells what happened. Interrupting the cell ends the trial with the status "stopped".
    Raises LabkitError before anything starts if the limit or the parameters cannot work.

    >>> labkit.run("import keras; keras.ops.zeros((1000, 1000))", memory_limit="64 MiB").status
    'ok'
    """
    return Trial(
        train, memory_limit=memory_limit, timeout=timeout, profile=profile, seed=seed, params=params
    ).run()


class Trial:
    """One trial that can be watched and stopped from outside; `run()` is the short form.

    show              a labkit.process.show.Show, told of output, progress and waiting; None for a Console
    patience          seconds that TensorFlow may keep retrying one refused allocation before the trial ends
    end_after_steps   end the trial, with the status "ok", after that many training steps
    filename, echo    for source text: its name in tracebacks, and whether to print its last expression

    The other parameters are those of run().
    """

    def __init__(
        self, train, *, memory_limit=None, timeout=120, profile=False, seed=0, params=None,
        show=None, filename="<train>", echo=False, patience=25, end_after_steps=None,
    ):  # fmt: skip
        self.device = machine.device()
        self.limit = None if memory_limit is None else machine.check_limit(memory_limit, self.device)
        self.params = dict(params or {})
        if timeout is not None and not timeout > 0:
            raise LabkitError(f"timeout={timeout!r}: give seconds above 0, or None for no timeout.")
        self.timeout, self.profile, self.seed = timeout, _profile(profile), seed
        self.filename, self.echo, self.patience = filename, echo, patience
        self.end_after_steps = end_after_steps
        self._payload = _pack(train, self.params, filename)
        self._show = show
        self.stop_asked = threading.Event()

    def stop(self):
        """End the trial, from any thread: `run` returns an outcome with the status "stopped"."""
        self.stop_asked.set()

    def run(self):
        """Run the trial until it ends, in whatever way; returns the Outcome."""
        show = self._show or Console()
        try:
            with (
                tempfile.TemporaryDirectory(prefix="labkit-") as folder,
                self._launcher(show) as launcher,
            ):
                if launcher is None:
                    return Outcome("stopped", self.params, self.device.kind, limit_bytes=self.limit)
                folder = TrialFolder(folder)
                self._write(folder)
                watch = Watch(launcher, folder, show, self)
                watch.follow()
                if watch.never_began:  # the launcher had died unnoticed
                    watch = Watch(self._warm(show), folder, show, self)
                    watch.follow()
                return ending.outcome(self, watch)
        finally:
            show.close()

    @contextlib.contextmanager
    def _launcher(self, show):
        """The started launcher, locked for this trial; None if stopped while waiting for it."""
        if not self._acquire(show):
            yield None
            return
        try:
            yield self._warm(show)
        finally:
            _launcher.lock.release()

    def _acquire(self, show):
        try:
            while not _launcher.lock.acquire(timeout=POLL_SECONDS):
                show.status("waiting for another trial in this kernel to end")
                if self.stop_asked.is_set():
                    return False
        except KeyboardInterrupt:
            return False
        return True

    def _warm(self, show):
        """Start TensorFlow in the launcher unless it is running; None if stopped meanwhile."""
        _launcher.start(_forks(self.device.kind))
        start = time.monotonic()
        try:
            while not _launcher.ready:
                if time.monotonic() - start > 1:
                    show.status("starting TensorFlow: a few seconds, once per kernel")
                if self.stop_asked.is_set():
                    return None
                if select.select([_launcher], [], [], POLL_SECONDS)[0]:
                    _launcher.receive()
        except KeyboardInterrupt:
            return None
        except LauncherGone as e:
            raise LabkitError(f"TensorFlow could not be started:\n{e}") from None
        return _launcher

    def _write(self, folder):
        folder.payload.write_bytes(self._payload)
        batch_size = self.params.get("batch_size")
        request = {
            "limit": self.limit,
            "device": self.device.kind,
            "seed": self.seed,
            "echo": self.echo,
            "profile": self.profile,
            "patience": self.patience,
            "end_after_steps": self.end_after_steps,
            "batch_size": batch_size if isinstance(batch_size, int) else None,
            "cwd": os.getcwd(),
            "path": sys.path,
            "environ": {k: v for k, v in os.environ.items() if k not in ENVIRONMENT},
        }
        folder.request.write_bytes(pickle.dumps(request))


def _forks(kind):
    """Whether trials are forked from a process that has imported TensorFlow: LABKIT_FORK, or on CPUs only."""
    setting = os.environ.get("LABKIT_FORK")
    return setting != "0" if setting else kind == "cpu"


def _pack(train, params, filename):
    """The code and its parameters as bytes, checked as far as possible before it runs."""
    if isinstance(train, str):
        bad = [name for name in params if not name.isidentifier()]
        if bad:
            raise LabkitError(
                f"{bad[0]!r} is not a valid variable name; parameters become variables of the source text."
            )
        linecache.cache[filename] = (len(train), None, train.splitlines(keepends=True), filename)
    elif callable(train):
        _check_parameters(train, params)
    else:
        raise LabkitError(
            f"`train` is of type {type(train).__name__}; pass a function without parentheses after its "
            "name, `labkit.run(train)`, or source text."
        )
    try:
        return cloudpickle.dumps(
            {"train": train, "params": params, "filename": filename, "sources": _sources()}
        )
    except Exception as e:
        raise LabkitError(
            f"`train` cannot be sent to another process: {e}. Create what it needs inside the "
            "function, or pass it as a parameter that can be pickled."
        ) from e


def _profile(profile):
    if isinstance(profile, int) and profile >= 0:
        return profile
    if isinstance(profile, str | os.PathLike):
        return os.path.abspath(profile)
    raise LabkitError(
        f"profile={profile!r}: give True, False, a number of steps, or a folder for TensorFlow's files."
    )


def _check_parameters(train, params):
    try:
        signature = inspect.signature(train)
    except ValueError:
        return
    try:
        signature.bind(**params)
    except TypeError as e:
        name = getattr(train, "__name__", "train")
        raise LabkitError(f"{e}. It is defined as {name}{signature}; pass parameters by name.") from None


def _sources():
    """The source of this kernel's cells, which are in no file, by the file name of their code."""
    return {
        name: "".join(entry[2])
        for name, entry in linecache.cache.items()
        if len(entry) == 4 and entry[1] is None and not name.startswith("<frozen")
    }
