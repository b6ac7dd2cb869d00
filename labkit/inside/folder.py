"""The folder through which the kernel and one trial exchange files."""

import contextlib
import errno
import json
import os
import re
import shutil
import tempfile
from pathlib import Path

from ..errors import LabkitError

try:
    import fcntl
except ImportError:  # Windows, where no trial can run
    fcntl = None

OWNER = ".labkit-owner"  # the file by which a process keeps its folder: locked as long as it lives
_OWN = re.compile(r"labkit-\d+-[a-z0-9_]{8}")  # the names that mkdtemp gives


class TrialFolder:
    """Paths of its files: what is to be run, and what the trial leaves behind."""

    def __init__(self, path):
        self.path = Path(path)
        self.code = self.path / "code.pkl"  # a function, or source text
        self.params = self.path / "params.pkl"  # its parameters
        self.request = self.path / "request.pkl"  # limit, seed, environment
        self.profile = self.path / "profile"  # what TensorFlow's profiler writes
        self.result = self.path / "result.pkl"  # what `train` returned
        self.record = self.path / "record.npz"  # a labkit.record.record.Record
        self.report = self.path / "report.json"  # how the trial ended
        self.failure = self.path / "failure.txt"  # the traceback of a failure of labkit's own
        self.faults = self.path / "faults.txt"  # where each thread was when the process crashed or was ended
        self.dump_prefix = self.path / "dump"  # of the allocator's dump files

    def dumps(self):
        """Paths of the dumps that the allocator has written so far: two for each refusal, as a rule."""
        return list(self.path.glob("dump*"))


def to_json(facts):
    """Facts as JSON: NumPy's numbers and arrays as Python's, and what JSON does not know as text."""
    return json.dumps(
        facts, default=lambda value: value.tolist() if hasattr(value, "tolist") else repr(value)
    )


@contextlib.contextmanager
def trial_folder():
    """A new TrialFolder, removed at the end. Raises LabkitError if it cannot be written."""
    with own_folder() as path:
        yield TrialFolder(path)


@contextlib.contextmanager
def own_folder():
    """The Path of a new folder, removed at the end; so are those of processes that died before they could.

    Raises LabkitError if it cannot be written.
    """
    path = None
    try:
        _remove_abandoned()
        path = tempfile.mkdtemp(prefix=f"labkit-{os.getpid()}-")
        with _kept(Path(path)):
            yield Path(path)
    except OSError as e:
        full = e.errno in (errno.ENOSPC, errno.EDQUOT)
        if path and not full and not str(e.filename or "").startswith(path):
            raise
        where = tempfile.gettempdir() if path else "a temporary folder"
        raise LabkitError(
            f"The trial's files cannot be written to {where} ({e.strerror}): free some space "
            "there, or set TMPDIR to another folder."
        ) from None
    finally:
        if path:
            shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def _kept(path):
    """Keep the folder's OWNER locked. It gets its name when it is locked, so that nobody can be first."""
    with open(path / f"{OWNER}-to-be", "w") as file:
        with contextlib.suppress(OSError):  # no locks on this file system: nobody else can have them either
            lock(file.fileno(), fcntl.LOCK_EX)
            os.rename(file.name, path / OWNER)
        yield


def lock(fd, kind):
    """Whether the lock of fcntl.flock could be had at once."""
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _remove_abandoned():
    """Remove the folders of this user whose process no longer keeps them, in whatever container it was."""
    for path in Path(tempfile.gettempdir()).glob(f"labkit-*/{OWNER}"):
        if not _OWN.fullmatch(path.parent.name):
            continue
        with contextlib.suppress(OSError):
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                if os.fstat(fd).st_uid == os.getuid() and lock(fd, fcntl.LOCK_EX):
                    shutil.rmtree(path.parent, ignore_errors=True)
            finally:
                os.close(fd)
