"""A model of TensorFlow's BFC allocator: what it allocates for a sequence of requests, to the byte.

The rules are those of `BFCAllocator` in TensorFlow's source (tsl/framework/bfc_allocator.cc): requests are
rounded up to 256 bytes; the smallest free chunk that is large enough is taken, at the lowest address if
several are equal (its bins by powers of two only make that search fast); a chunk is split only if it is at
least twice as large as the request or 128 MiB larger; region sizes double from 2 MiB; free neighbors are
merged.
"""

from bisect import bisect_left, insort

ROUND = 256
FIRST_REGION = 2 * 2**20
SPLIT_WASTE = 128 * 2**20
REGION_SPACE = 2**81  # regions are far apart, each at a lower address than the one before, as with mmap


class OutOfMemory(Exception):
    """A request does not fit within the limit."""


class Segment:
    """A part of a region, in use or free; `before` and `after` are its neighbors, None at the ends.

    Sizes and addresses are in bytes.
    """

    __slots__ = ("address", "size", "free", "before", "after")

    def __init__(self, address, size, before=None, after=None):
        self.address, self.size, self.before, self.after = address, size, before, after
        self.free = True


class Allocator:
    """Allocates and releases as TensorFlow would; `limit`, `in_use`, `peak` and `held` are in bytes.

    >>> allocator = Allocator(limit=512 * 2**20)
    >>> allocator.allocate(150 * 2**20).size // 2**20
    256
    """

    def __init__(self, limit):
        self.limit = limit
        self.in_use = self.peak = self.held = 0
        self._next_region = FIRST_REGION
        self._regions = 0
        self._free = []  # (size, address, Segment), sorted

    @classmethod
    def of_pool(cls, limit, address, free):
        """The allocator of a pool that it holds as a whole, with a single free block at an address.

        A GPU's allocator holds its pool so, unless memory is to grow; limit and free are in bytes.
        """
        allocator = cls(limit)
        allocator.held, allocator.in_use = limit, limit - free
        allocator._put(Segment(address, free))
        return allocator

    def allocate(self, requested):
        """The Segment for a request in bytes. Raises OutOfMemory where TensorFlow would start to wait."""
        size = max(ROUND, -(-requested // ROUND) * ROUND)
        chunk = self._find(size)
        while chunk is None:
            if not self._extend(size):
                raise OutOfMemory(f"{requested} bytes requested, {self.in_use} in use")
            chunk = self._find(size)
        self.in_use += chunk.size
        self.peak = max(self.peak, self.in_use)
        return chunk

    def release(self, chunk):
        """Free a Segment."""
        self.in_use -= chunk.size
        chunk.free = True
        if chunk.after is not None and chunk.after.free:
            self._take(chunk.after)
            self._join(chunk, chunk.after)
        if chunk.before is not None and chunk.before.free:
            self._take(chunk.before)
            self._join(chunk.before, chunk)
            chunk = chunk.before
        self._put(chunk)

    def _find(self, size):
        place = bisect_left(self._free, (size,))
        if place == len(self._free):
            return None
        chunk = self._free.pop(place)[2]
        if chunk.size >= 2 * size or chunk.size - size >= SPLIT_WASTE:
            self._split(chunk, size)
        chunk.free = False
        return chunk

    def _extend(self, size):
        """Add a region; False if the limit leaves no room for it."""
        available = (self.limit - self.held) // ROUND * ROUND
        if size > available:
            return False
        grown = False
        while size > self._next_region:
            self._next_region *= 2
            grown = True
        region = min(self._next_region, available)
        if not grown:
            self._next_region *= 2
        self._regions += 1
        self.held += region
        self._put(Segment(-self._regions * REGION_SPACE, region))
        return True

    def _split(self, chunk, size):
        rest = Segment(chunk.address + size, chunk.size - size, before=chunk, after=chunk.after)
        if rest.after is not None:
            rest.after.before = rest
        chunk.size, chunk.after = size, rest
        self._put(rest)

    def _join(self, first, second):
        first.size += second.size
        first.after = second.after
        if first.after is not None:
            first.after.before = first

    def _put(self, chunk):
        insort(self._free, (chunk.size, chunk.address, chunk))

    def _take(self, chunk):
        del self._free[bisect_left(self._free, (chunk.size, chunk.address))]
