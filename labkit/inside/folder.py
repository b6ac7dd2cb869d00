"""The folder through which the kernel and one trial exchange files."""

import contextlib
import errno
import os
import re
import shutil
import tempfile
from pathlib import Path

import psutil

from ..errors import LabkitError


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


@contextlib.contextmanager
def trial_folder():
    """A new TrialFolder, removed at the end; so are those of processes that died before they could.

    Raises LabkitError if it cannot be written.
    """
    _remove_abandoned()
    path = None
    try:
        path = tempfile.mkdtemp(prefix=f"labkit-{os.getpid()}-")
        yield TrialFolder(path)
    except OSError as e:
        full = e.errno in (errno.ENOSPC, errno.EDQUOT)
        if path and not full and not str(e.filename or "").startswith(path):
            raise
        raise LabkitError(
            f"The trial's files cannot be written to {tempfile.gettempdir()} ({e.strerror}): free some space "
            "there, or set TMPDIR to another folder."
        ) from None
    finally:
        if path:
            shutil.rmtree(path, ignore_errors=True)


def _remove_abandoned():
    """Remove the folders of this user's processes that no longer exist."""
    for path in Path(tempfile.gettempdir()).glob("labkit-*-*"):
        owner = re.match(r"labkit-(\d+)-", path.name)
        with contextlib.suppress(OSError):
            if owner and path.stat().st_uid == os.getuid() and not psutil.pid_exists(int(owner[1])):
                shutil.rmtree(path, ignore_errors=True)
