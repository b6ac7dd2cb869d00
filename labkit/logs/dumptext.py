"""TensorFlow's memory dump as text: what its allocator prints when it refuses a request, since TensorFlow 1.

Numbers printed with a unit ("32.08MiB") are rounded; those of chunks and regions are exact.
"""

import re
from collections import Counter

from .dumpfile import Chunk, MemoryMap

MOST_CHUNKS = 200_000  # in one dump: 20 MB of text
_CHUNK = re.compile(
    r"(InUse|Free|Chunk) {1,2}at (?:0x)?([0-9a-fA-F]{1,16})(?: next \d{1,20})? of size (\d{1,18})"
)
_STAT = re.compile(
    r"^(?:.{0,200}\bStats:)?[\s*`>|]*(Limit|InUse|MaxInUse|LargestFreeBlock):\s+([\d.]{1,25}\s?[KMGT]?i?B?)[\s*`]*$"
)
_TALLY = re.compile(
    r"malloc_?async_allocator\.cc:\d{1,5}\] (\d{1,18}), (\d{1,9})\s*$"
)  # CUDA's own allocator
_POOL = re.compile(
    r"(?:Total size in pool|total_region_allocated_bytes_): ([\d.]{1,25}[KMGT]?i?B?) "
    r"memory_limit_: ([\d.]{1,25}[KMGT]?i?B?) available (?:size|bytes): ([\d.]{1,25}[KMGT]?i?B?)"
)
_SUM = re.compile(r"Sum Total of in-use chunks: ([\d.]{1,25}[KMGT]?i?B)")
_ALIKE = re.compile(r"(\d{1,9}) Chunks of size (\d{1,18}) totalling")
_STARS = re.compile(r"\] ([*_x]{100})\s*$")
_SIZE = re.compile(r"([\d.]+)\s?([KMGTPE]?)(?:i?[Bb](?:ytes)?)?")
HEADING = "BFCAllocator dump for"
NEEDLES = (
    HEADING,
    "async_allocator.cc",
    " of size ",
    "Sum Total of in-use",
    "memory_limit_:",
    "Limit: ",
    "] Stats:",
    "InUse: ",
    "LargestFreeBlock: ",
    "****",
    "____",
)


def size(text):
    """Bytes of a size as TensorFlow prints it ("8.41G", "32.08MiB"); None if it is not a size."""
    match = _SIZE.fullmatch(text.strip().replace(",", ""))
    try:
        return round(float(match[1]) * 1024 ** " KMGTPE".index(match[2])) if match else None
    except ValueError:  # "1.2.3"
        return None


class TextDump:
    """One dump, read line by line. Sizes in bytes; None if the dump does not say, or is cut off before it.

    pool_bytes       what the allocator has taken from the device
    available_bytes  what it may still take, up to its limit
    stars            the line of stars: the pool in 100 characters, * in use, x unused part of a chunk, _ free
    """

    def __init__(self):
        self.chunks, self.stars = [], ""
        self.ended = self.claimed = False  # claimed: it belongs to a failure already
        self.limit_bytes = self.pool_bytes = self.available_bytes = None
        self.in_use_bytes = self.peak_bytes = self._largest_free = None
        self._summed, self._alike = None, Counter()

    def read(self, line):
        """Read one line; returns whether it belongs to a dump. The line of stars ends the dump."""
        if chunk := _CHUNK.search(line):
            self._add(chunk)
        elif stat := _STAT.search(line):
            self._stat(stat[1], size(stat[2]))
        elif pool := _POOL.search(line):
            self.pool_bytes, self.limit_bytes, self.available_bytes = map(size, pool.groups())
        elif total := _SUM.search(line):
            self._summed = size(total[1])
        elif alike := _ALIKE.search(line):
            self._alike[int(alike[2])] = int(alike[1])
        elif tally := _TALLY.search(line):
            self._alike[int(tally[1])] = int(tally[2])
        elif stars := _STARS.search(line):
            self.stars, self.ended = stars[1], True
        else:
            return " of size " in line
        return True

    def _add(self, chunk):
        if len(self.chunks) < MOST_CHUNKS:
            address, length = int(chunk[2], 16), int(chunk[3])
            self.chunks.append(Chunk(address, length, None, chunk[1] != "Free"))

    def _stat(self, name, value):
        if name == "Limit" and value and self.limit_bytes is None:
            self.limit_bytes = value
        elif name == "InUse":
            self.in_use_bytes = value
        elif name == "MaxInUse":
            self.peak_bytes = value
        elif name == "LargestFreeBlock" and value:  # TensorFlow's BFC allocator always prints 0
            self._largest_free = value

    @property
    def used_bytes(self):
        """Bytes in use, by either of the allocator's own counts: the list of chunks may be cut off."""
        return self._summed if self.in_use_bytes is None else self.in_use_bytes

    def _chunks_in_use(self):
        return sum(c.size for c in self.chunks if c.in_use) if self.chunks else None

    @property
    def sizes(self):
        """{bytes: number of chunks of that size in use}: from the chunks, or else from their summary."""
        return Counter(c.size for c in self.chunks if c.in_use) if self.chunks else self._alike

    @property
    def whole(self):
        """Whether all chunks are there: their sum is the allocator's own count, up to its rounding."""
        used, counted = self.used_bytes, self._chunks_in_use()
        return bool(counted and used) and abs(counted - used) <= max(0.006 * used, 16)

    @property
    def free_bytes(self):
        """All free chunks together; None if chunks are missing."""
        return sum(c.size for c in self.chunks if not c.in_use) if self.whole else None

    @property
    def largest_free_bytes(self):
        """The largest free chunk: exact from the chunks, or within 1 % of the pool from the stars."""
        if self.whole:
            return max((c.size for c in self.chunks if not c.in_use), default=0)
        if self.stars and self.pool_bytes:
            return round(self.free_share * self.pool_bytes)
        return self._largest_free

    @property
    def free_share(self):
        """The longest free stretch as a fraction of the pool, from the line of stars."""
        return max(map(len, re.findall("_+", self.stars)), default=0) / 100

    def memory_map(self):
        """The MemoryMap of a whole dump, else None. Its chunks have no `requested`: the text does not say."""
        if not self.whole:
            return None
        chunks = tuple(sorted(self.chunks, key=lambda chunk: chunk.address))
        return MemoryMap(chunks, self._chunks_in_use(), self.peak_bytes or 0)


def is_inside(line):
    """Whether the line can only come from a dump: a text may begin in the middle of one."""
    if "] Stats:" in line or line.startswith("Limit: "):
        return True
    if not any(piece in line for piece in (" of size ", "memory_limit_: ", "Sum Total", "] *", "] _")):
        return False
    return any(pattern.search(line) for pattern in (_CHUNK, _ALIKE, _POOL, _SUM, _STARS))
