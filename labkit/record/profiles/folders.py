"""Find the profile files in a log folder, and read the bytes of one."""

import gzip
import os
import re
import zlib
from pathlib import Path

from ...errors import LabkitError

HOW_TO_RECORD = (
    "Record one with fit(..., callbacks=[keras.callbacks.TensorBoard(log_dir, profile_batch=(5, 7))]), or "
    "with tf.profiler.experimental.start(log_dir) before some training steps and stop() after them"
)
SUFFIXES = (".xplane.pb", ".xplane.pb.gz")
_RUN = re.compile(r"\d{4}(_\d\d){5}")  # TensorFlow's name of a run's folder: when it was recorded
_AT_ONCE = 60  # seconds within which the hosts of a run write their files
_MOST = 2**31  # bytes of a file, unpacked


def files_of_newest(path):
    """(files of the newest profile at a path, number of other profiles there); one file for each host.

    Raises LabkitError where there is none.
    """
    if not (isinstance(path, str | os.PathLike) and os.fspath(path)):
        raise LabkitError(f"{path!r} is not the path of a profile, or of a folder of logs.")
    path = Path(os.path.expanduser(path))
    if os.path.isfile(path):  # Path.is_file() raises OSError for a name of over 255 letters
        return [path], 0
    if not os.path.isdir(path):
        raise LabkitError(f"The profile {path} cannot be read: there is no such file or folder.")
    runs = {}
    for file in sorted(path.rglob("*.xplane.pb*")):
        if file.name.endswith(SUFFIXES) and file.is_file():
            runs.setdefault(file.parent, []).append(file)
    if not runs:
        raise LabkitError(f"There is no profile (*.xplane.pb) in {path}. {HOW_TO_RECORD}.")
    are_named = all(_RUN.fullmatch(folder.name) for folder in runs)
    newest = max(runs, key=lambda folder: _age(folder if are_named else None, runs[folder]))
    files = runs[newest]
    if not _RUN.fullmatch(newest.name):
        last = max(file.stat().st_mtime for file in files)
        files = [file for file in files if last - file.stat().st_mtime <= _AT_ONCE]
    return files, sum(map(len, runs.values())) - len(files)


def _age(folder, files):
    """What runs are sorted by: when they were recorded, or without a folder that tells, last written to."""
    return (folder.name if folder else "", max(file.stat().st_mtime for file in files))


def contents(path):
    """The bytes of a file, unpacked if it is compressed. Raises LabkitError if that fails."""
    try:
        with open(path, "rb") as file:
            is_packed = file.read(2) == b"\x1f\x8b"
        with gzip.open(path) if is_packed else open(path, "rb") as file:
            data = file.read(_MOST + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise LabkitError(f"The profile {path} is cut off, or damaged otherwise: copy it again.") from None
    except OSError as e:
        raise LabkitError(f"The profile {path} cannot be read: {e.strerror}.") from None
    if len(data) > _MOST:
        raise LabkitError(f"The profile {path} is larger than 2 GiB: record fewer steps.")
    return data
