"""The file that TensorFlow's allocator writes when it refuses a request: every chunk, in use or free.

The file is a `tensorflow.MemoryDump` protocol buffer (tensorflow/core/protobuf/bfc_memory_map.proto). It is
decoded by hand because the kernel has neither TensorFlow nor protobuf, and a crashed trial cannot do it.
"""

import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

CHUNK_FIELD, STATS_FIELD = 3, 5


@dataclass(frozen=True)
class Chunk:
    """A chunk of the allocator's memory: `size` bytes at `address`, of which `requested` were requested."""

    address: int
    size: int
    requested: int
    in_use: bool


@dataclass(frozen=True)
class MemoryMap:
    """All chunks by address, and the allocator's own counts, at the time of a refusal."""

    chunks: tuple
    in_use_bytes: int
    peak_bytes: int

    @property
    def largest_free_bytes(self):
        """The largest free chunk: the largest request that could have been met without growing."""
        return max((c.size for c in self.chunks if not c.in_use), default=0)

    @property
    def held_bytes(self):
        """Bytes that the allocator has taken from the device, in use or free."""
        return sum(c.size for c in self.chunks)

    def groups(self):
        """[(count, bytes of each)] of the chunks in use that are alike, by what they hold together."""
        return equal_groups(Counter(c.size for c in self.chunks if c.in_use))


def equal_groups(sizes):
    """[(count, bytes of each)], by what they hold together; alike within 1 %. sizes: {bytes: count}."""
    groups = Counter()
    for size, count in sorted(sizes.items(), reverse=True):
        last = next(reversed(groups), None)
        groups[last if last and last - size <= 0.01 * last else size] += count
    return sorted(((n, size) for size, n in groups.items()), key=lambda g: g[0] * g[1], reverse=True)


def read(path):
    """The MemoryMap in a dump file. Raises ValueError if the file is cut off or is not a dump."""
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
    """(number, value) of each field of a protocol buffer message; messages and strings stay bytes."""
    view, position = memoryview(data), 0
    while position < len(view):
        key, position = _varint(view, position)
        number, wire = key >> 3, key & 7
        if wire == 0:
            value, position = _varint(view, position)
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
            value, position = view[position : position + size], position + size
        elif wire == 2:
            size, position = _varint(view, position)
            value, position = view[position : position + size], position + size
        else:
            raise ValueError(f"not a memory dump: wire type {wire}")
        if position > len(view):
            raise ValueError("the memory dump is cut off")
        yield number, value


def _varint(view, position):
    """(value, position after it) of the variable-length integer at `position`."""
    value = shift = 0
    while True:
        if position >= len(view):
            raise ValueError("the memory dump is cut off")
        byte = view[position]
        value |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if byte < 0x80:
            return value, position


def newest_of_first_refusal(paths, wait_seconds=10):
    """Of one trial's dumps, the one that TensorFlow wrote when it first gave up; None if there are none.

    It writes one dump when it starts waiting for memory and another when the wait is over; meanwhile other
    ops may be refused memory and wait in turn. File names end in microseconds.
    """
    paths = sorted(paths, key=when)
    given_up = [p for p in paths if when(p) >= when(paths[0]) + 0.9 * wait_seconds]
    return next(iter(given_up or paths[-1:]), None)


def just_refused(paths, seconds=5):
    """Whether TensorFlow wrote one of these dumps in the last seconds: memory had just been refused."""
    return bool(paths) and time.time() - max(map(when, paths)) < seconds


def when(path):
    """When a dump was written, in seconds since 1970."""
    return int(str(path).rsplit(".", 1)[1]) / 1e6
