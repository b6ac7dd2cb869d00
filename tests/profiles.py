"""Writes profiles like those of TensorFlow 2.2 to 2.21, in each form that their stats have had."""

import struct

FORMS = ("numbers", "texts", "references", "names")  # how stats are written


def varint(value):
    value %= 1 << 64
    encoded = bytearray()
    while value > 127:
        encoded.append(value & 127 | 128)
        value >>= 7
    return bytes([*encoded, value])


def field(number, value):
    """A field of a message: an integer, a double, or a text, bytes or message."""
    if isinstance(value, float):
        return varint(number << 3 | 1) + struct.pack("<d", value)
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    value = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(value)) + value


class Plane:
    """A plane of a profile; `form` says how its stats are written."""

    def __init__(self, name, form="numbers", stats=None):
        self.name, self.form = name, form
        self._names, self._texts, self._lines = {}, {}, []
        self._own = b"".join(field(6, self._stat(*item)) for item in (stats or {}).items())

    def line(self, name, events, began=0):
        """Add a line of events: (picoseconds, lasts, name, stats). began: its own start in nanoseconds."""
        encoded = b"".join(field(4, self._event(began, *event)) for event in events)
        self._lines.append(field(2, name) + field(3, began) + encoded)

    def _event(self, began, at, lasts, name, stats):
        if self.form == "names":
            told = ",".join(f"{key}={value}" for key, value in stats.items())
            name, stats = f"{name}#{told}#" if told else name, {}
        number = self._names.setdefault(name, len(self._names) + 1)
        encoded = b"".join(field(4, self._stat(*item)) for item in stats.items())
        return field(1, number) + field(2, at - 1000 * began) + field(3, lasts) + encoded

    def _stat(self, name, value):
        number = self._texts.setdefault(name, len(self._texts) + 1)
        if self.form == "texts":
            value = str(value)
        if isinstance(value, str) and self.form == "references":
            return field(1, number) + field(7, self._texts.setdefault(value, len(self._texts) + 1))
        kind = {int: 4, float: 2, str: 5}[type(value)]
        return field(1, number) + field(kind, value)

    def encode(self):
        names = (field(1, n) + field(2, field(1, n) + field(2, name)) for name, n in self._names.items())
        texts = (field(1, n) + field(2, field(1, n) + field(2, text)) for text, n in self._texts.items())
        parts = [(2, [self.name]), (3, self._lines), (4, names), (5, texts)]
        return b"".join(field(number, part) for number, many in parts for part in many) + self._own


def profile(*planes, hostname="host"):
    """The bytes of a profile."""
    return b"".join(field(1, plane.encode()) for plane in planes) + field(4, hostname)


class Allocator:
    """Makes the events of one allocator, with the counts that it keeps."""

    def __init__(self, name="GPU_0_bfc", pool=2**30, held=0):
        self.name, self.pool, self.held, self.in_use, self.events = name, pool, held, held, []
        self._live, self._next, self.sizes = {}, 2**44, []

    def allocate(
        self, requested, op="", shape="", dtype=1, region="output", address=None, at=None, size=None
    ):
        """Allocate, and return the address."""
        size = size or -(-requested // 256) * 256
        self.sizes.append((requested, size))
        address = address or self._next
        self._next = max(self._next, address + size)
        self._live[address] = (requested, size)
        self.in_use += size
        asked = {"tf_op": op, "id": 7, "region_type": region, "data_type": dtype, "shape": shape or "(null)"}
        self._add("MemoryAllocation", requested, size, address, asked, at)
        return address

    def release(self, address, size=256, at=None):
        """Release what is at an address; `size` for what was there before the record began."""
        requested, size = self._live.pop(address, (size, size))
        self.in_use -= size
        self._add("MemoryDeallocation", requested, size, address, {"id": 0, "data_type": 0}, at)

    def _add(self, name, requested, size, address, more, at):
        stats = {
            "allocator_name": self.name,
            "bytes_reserved": 0,
            "bytes_allocated": self.in_use,
            "bytes_available": self.pool - self.in_use,
            "fragmentation": 0.25,
            "peak_bytes_in_use": self.pool,
            "requested_bytes": requested,
            "allocation_bytes": size,
            "addr": address,
            **more,
        }
        at = 10**6 * (len(self.events) + 1) if at is None else at
        self.events.append((at, 0, name, stats))


def step(allocator, layers, scope="model"):
    """One training step: forward pass, backward pass and an update, of layers {name: bytes}."""
    kept = [
        allocator.allocate(size, f"{scope}/{name}/MatMul", f"[{size // 4}]") for name, size in layers.items()
    ]
    for (name, size), address in zip(reversed(layers.items()), reversed(kept), strict=True):
        gradient = allocator.allocate(size, f"gradient_tape/{scope}/{name}/MatMul/MatMul_1", f"[{size // 4}]")
        allocator.release(address)
        update = allocator.allocate(256, f"Adam/Adam/update_{name}/mul", "[64]")
        allocator.release(gradient)
        allocator.release(update)
