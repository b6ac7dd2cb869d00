"""The file that TensorFlow's allocator writes when it must refuse: every chunk of memory, in use or free.

The file is a `tensorflow.MemoryDump` protocol buffer (tensorflow/core/protobuf/bfc_memory_map.proto). It is
read here by hand because the kernel has neither TensorFlow nor protobuf, and a crashed trial cannot read it.
"""

from dataclasses import dataclass
from pathlib import Path

CHUNK_FIELD, STATS_FIELD = 3, 5


@dataclass(frozen=True)
class Chunk:
    """A piece of the allocator's memory: `size` bytes from `address`, of which `requested` were asked for."""

    address: int
    size: int
    requested: int
    in_use: bool


@dataclass(frozen=True)
class MemoryMap:
    """All chunks by address, and the allocator's own counts, at the moment of a refusal."""

    chunks: tuple
    in_use_bytes: int
    peak_bytes: int

    @property
    def largest_free_bytes(self):
        """The largest hole: what the biggest request could have been without growing."""
        return max((c.size for c in self.chunks if not c.in_use), default=0)

    @property
    def held_bytes(self):
        """What the allocator has taken from the device, used and free."""
        return sum(c.size for c in self.chunks)


def read(path):
    """The MemoryMap in a dump file. Raises ValueError if the file is cut off or something else."""
    chunks, stats = [], {}
    for field, value in _fields(Path(path).read_bytes()):
        if field == CHUNK_FIELD:
            chunks.append(_chunk(dict(_fields(value))))
        elif field == STATS_FIELD:
            stats = dict(_fields(value))
    chunks.sort(key=lambda chunk: chunk.address)
    return MemoryMap(tuple(chunks), stats.get(2, 0), stats.get(3, 0))


def _chunk(fields):
    return Chunk(fields.get(1, 0), fields.get(2, 0), fields.get(3, 0), bool(fields.get(8, 0)))


def _fields(data):
    """(number, value) of each field of a protocol buffer message; messages and text stay bytes."""
    view, at = memoryview(data), 0
    while at < len(view):
        key, at = _varint(view, at)
        number, wire = key >> 3, key & 7
        if wire == 0:
            value, at = _varint(view, at)
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
            value, at = view[at : at + size], at + size
        elif wire == 2:
            size, at = _varint(view, at)
            value, at = view[at : at + size], at + size
        else:
            raise ValueError(f"not a memory dump: wire type {wire}")
        if at > len(view):
            raise ValueError("the memory dump is cut off")
        yield number, value


def _varint(view, at):
    value = shift = 0
    while True:
        if at >= len(view):
            raise ValueError("the memory dump is cut off")
        byte = view[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def newest_of_first_refusal(paths, wait_seconds=10):
    """Of the dumps of one trial, the one that TensorFlow wrote as it gave up the first time.

    It writes when it begins to wait and again when the wait is over; other ops may be refused meanwhile
    and wait in turn. File names end in microseconds.
    """
    paths = sorted(paths, key=when)
    given_up = [p for p in paths if when(p) >= when(paths[0]) + 0.9 * wait_seconds]
    return next(iter(given_up or paths[-1:]), None)


def when(path):
    """Seconds since 1970 at which a dump was written."""
    return int(str(path).rsplit(".", 1)[1]) / 1e6
