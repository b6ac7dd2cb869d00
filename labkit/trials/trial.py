"""The kernel's side of a trial: start it, watch it, stop it, and report its outcome."""

import contextlib
import os
import pickle
import signal
import sys
import threading
import time

from .. import machine
from ..errors import LabkitError, Stopped
from ..inside.folder import trial_folder
from ..outcome import Outcome
from ..process import ending
from ..process.launcher import ENVIRONMENT, Launcher, LauncherGone
from ..process.watch import POLL_SECONDS, Watch
from ..process.wire import readable
from ..sizes import plain
from .code import PackedCode, pickled
from .console import Console
from .turns import turn

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

    show              a labkit.process.progress.Show, told of output, progress and waiting; None for a Console
    patience          seconds that TensorFlow may keep retrying one refused allocation before the trial ends
    shorten_to        end every loop of training, evaluation and prediction after that many steps (see
                      labkit.inside.steps.Shortening); what goes wrong after training then is no failure
    least_epochs      have each `fit` train for that many epochs, if it would train for fewer
    filename, echo    for source text: its name in tracebacks, and whether to print its last expression

    The other parameters are those of run().
    """

    def __init__(
        self, train, *, memory_limit=None, timeout=120, profile=False, seed=0, params=None,
        show=None, filename="<train>", echo=False, patience=25, shorten_to=None,
        least_epochs=1,
    ):  # fmt: skip
        self.device = machine.device()
        self.limit = None if memory_limit is None else machine.check_limit(memory_limit, self.device)
        self.params = dict(params or {})
        timeout, profile, seed = map(plain, (timeout, profile, seed))
        if timeout is not None and not (_is_number(timeout) and timeout > 0):
            raise LabkitError(f"timeout={timeout!r}: give seconds above 0, or None for no timeout.")
        if seed is not None and not (isinstance(seed, int) and 0 <= seed < 2**32):
            raise LabkitError(f"seed={seed!r}: give an integer from 0 to 2**32 - 1, or None for no seed.")
        self.timeout, self.profile, self.seed = timeout, _profile(profile), seed
        self.filename, self.echo, self.patience = filename, echo, patience
        self.shorten_to, self.least_epochs = shorten_to, least_epochs
        self._code = train if isinstance(train, PackedCode) else PackedCode(train, filename)
        self._code.check(self.params)
        self._params = pickled(self.params)
        self._show, self.spare, self.reserved = show, None, None
        self.stop_asked = threading.Event()

    def stop(self):
        """End the trial, from any thread: `run` returns an outcome with the status "stopped"."""
        self.stop_asked.set()

    def run(self):
        """Run the trial until it ends, in whatever way; returns the Outcome."""
        show = self._show or Console()
        try:
            with (
                _interrupts(self.stop),
                trial_folder() as folder,
                self._launcher(show) as launcher,
                turn(self, launcher.pid, show) as self.reserved,
            ):
                self._write(folder)
                watch = Watch(launcher, folder, show, self)
                watch.follow()
                if watch.never_began:  # the launcher had died unnoticed
                    watch = Watch(self._warm(show), folder, show, self)
                    watch.follow()
                return ending.outcome(self, watch, self._code.note)
        except Stopped:
            return Outcome("stopped", self.params, self.device.kind, limit_bytes=self.limit)
        finally:
            show.close()

    @contextlib.contextmanager
    def _launcher(self, show):
        """The started launcher, locked for this trial. Raises Stopped if stopped while waiting for it."""
        self._acquire(show)
        try:
            yield self._warm(show)
        finally:
            _launcher.lock.release()

    def _acquire(self, show):
        while not _launcher.lock.acquire(timeout=POLL_SECONDS):
            show.status("waiting for another trial in this kernel to end")
            self._check_stopped()

    def _check_stopped(self):
        if self.stop_asked.is_set():
            raise Stopped("Stopped before the trial began.")

    def _warm(self, show):
        """Start TensorFlow in the launcher unless it is running. Raises Stopped if stopped meanwhile."""
        _launcher.start(os.environ.get("LABKIT_FORK") != "0")
        start = time.monotonic()
        try:
            while not _launcher.ready:
                if time.monotonic() - start > 1:
                    show.status("starting TensorFlow: a few seconds, once per kernel")
                self._check_stopped()
                if readable([_launcher], POLL_SECONDS):
                    _launcher.receive()
        except LauncherGone as e:
            why = str(e).strip() or _launcher.how_it_ended()
            raise LabkitError(f"TensorFlow could not be started:\n{why}") from None
        return _launcher

    def _write(self, folder):
        self.spare = machine.spare_memory()
        batch_size = plain(self.params.get("batch_size"))
        environ = {k: v for k, v in os.environ.items() if k not in ENVIRONMENT}
        request = {
            "limit": self.limit,
            "device": self.device.kind,
            "seed": self.seed,
            "echo": self.echo,
            "profile": self.profile,
            "patience": self.patience,
            "shorten_to": self.shorten_to,
            "least_epochs": self.least_epochs,
            "batch_size": batch_size if isinstance(batch_size, int) else None,
            "spare": self.spare,
            "cwd": _working_directory(),
            "path": sys.path,
            "environ": environ | {"LABKIT_TURNS": "off"},  # a trial within it would wait for its end
            "unset": [name for name in _launcher.environ if name not in os.environ],
        }
        folder.code.write_bytes(self._code.bytes)
        folder.params.write_bytes(self._params)
        folder.request.write_bytes(pickle.dumps(request))


@contextlib.contextmanager
def _interrupts(stop):
    """Meanwhile an interrupt of the kernel, or however many of them, calls `stop` and raises nothing."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, lambda *_: stop())
    try:
        yield
    finally:
        if before is not None:  # not a handler of Python
            signal.signal(signal.SIGINT, before)


def _working_directory():
    try:
        return os.getcwd()
    except FileNotFoundError:  # it was deleted
        return None


def _is_number(value):
    return isinstance(value, int | float) and not isinstance(value, bool)


def _profile(profile):
    if isinstance(profile, int) and profile >= 0:
        return profile
    if isinstance(profile, str | os.PathLike):
        return os.path.abspath(os.path.expanduser(profile))
    raise LabkitError(
        f"profile={profile!r}: give True, False, a number of steps, or a folder for TensorFlow's files."
    )
