"""The messages of a profile (`XSpace`): planes of lines of events, each with named values ("stats").

The numbers are those of tsl/profiler/protobuf/xplane.proto, the same since TensorFlow 2.2. A stat's value is
a number, a text, or a reference to a text in the table of the stats' names; which of them, differs from
version to version. Also, in the name of an event its stats may still stand as they were recorded:
"MemoryAllocation#allocator_name=GPU_0_bfc,addr=139813352574208,shape=[4,384]#".
"""

import re
import struct
from typing import NamedTuple

from . import wire

_STAT = {1: ("id", int), 5: ("str_value", str), 6: ("bytes_value", bytes), 7: ("ref_value", int)}
_EVENT_METADATA = {
    **{1: ("id", int), 2: ("name", str), 3: ("metadata", bytes), 4: ("display_name", str)},
    5: ("stats", [_STAT]),
}
_ENCODED = re.compile(r"(\w+)=((?:\[[^\]]*\]|[^,\[])*)")
STEP = "step_num"
SMALL = 5  # bytes of a stat with a small number
UNNEEDED = ("fragmentation", "peak_bytes_in_use", "id", "group_id")


class Event(NamedTuple):
    """An event: its time in picoseconds, by what name, on which line, and {name: value} of its stats."""

    at: int
    lasts: int
    name: str
    line: str
    stats: dict


class Space:
    """A profile: its `planes`, and the `hostnames` that it is from. Raises Malformed for other bytes."""

    def __init__(self, data):
        self.planes, self.hostnames = [], []
        for number, value in wire.scan(data, slice(0, len(data))):
            if number == 1:
                self.planes.append(Plane(data, value))
            elif number == 4:
                self.hostnames.append(wire.text(data, value))


class Plane:
    """A host or a device: its `name`, its own `stats`, and its events, which are decoded when asked for.

    event_metadata   {number: what the events of one name share}, with `name` and `stats`
    """

    def __init__(self, data, part):
        self._data, self._lines, self._stat_parts, self._known = data, [], [], {}
        self.name, self.event_metadata, self._texts = "", {}, {}
        for number, value in wire.scan(data, part):
            if number == 2:
                self.name = wire.text(data, value)
            elif number == 3:
                self._lines.append(value)
            elif number == 4:
                entry = wire.decode(data, {1: ("key", int), 2: ("value", _EVENT_METADATA)}, value)
                self.event_metadata[entry.key] = entry.value
            elif number == 5:
                name = {1: ("id", int), 2: ("name", str)}
                entry = wire.decode(data, {1: ("key", int), 2: ("value", name)}, value)
                self._texts[entry.key] = entry.value.name
            elif number == 6 and isinstance(value, slice):
                self._stat_parts.append(value)
        # How the stats begin that nothing here needs: an event has several of them.
        self._idle = {bytes([8, n]) for n, name in self._texts.items() if name in UNNEEDED and 0 < n < 128}

    @property
    def stats(self):
        """{name: value} of what is said of the plane as a whole."""
        return self._stats(self._stat_parts)

    def events(self, names):
        """The events with one of these names, and any that tells the number of a step."""
        wanted = {
            number: metadata.name.partition("#")[0]
            for number, metadata in self.event_metadata.items()
            if metadata.name.startswith(names)
        }
        tells_steps = STEP in self._texts.values()
        encoded = {number for number, metadata in self.event_metadata.items() if f"{STEP}=" in metadata.name}
        if not wanted and not tells_steps and not encoded:
            return
        seen = {} if tells_steps else dict.fromkeys(self.event_metadata, False)
        seen |= dict.fromkeys(wanted, True) | dict.fromkeys(encoded, True)
        for line in self._lines:
            yield from self._of_line(line, seen)

    def _of_line(self, part, seen):
        """The events of a line. seen: {number of a name: whether its events are wanted}, as far as known."""
        data, events, name, began = self._data, [], "", 0
        for number, value in wire.scan(data, part):
            if number == 4:
                events.append(value)
            elif number == 2:
                name = wire.text(data, value)
            elif number == 3 and isinstance(value, int):
                began = wire.signed(value)
        for value in events:
            # The number of its name comes first, if it is not 0.
            kind = 0
            if isinstance(value, slice) and value.start < value.stop and data[value.start] == 8:
                kind, _ = wire.varint(data, value.start + 1, value.stop)
            if seen.get(kind, True):
                event = self._event(value, began, name)
                if seen.setdefault(kind, STEP in event.stats):
                    yield event

    def _event(self, part, began, line):
        kind = offset = lasts = 0
        stats = []
        for number, value in wire.scan(self._data, part):
            if number == 1:
                kind = value
            elif number == 4 and isinstance(value, slice):
                stats.append(value)
            elif number in (2, 3) and isinstance(value, int):
                offset, lasts = (wire.signed(value), lasts) if number == 2 else (offset, wire.signed(value))
        metadata = self.event_metadata.get(kind)
        name, _, encoded = (metadata.name if metadata else "").partition("#")
        values = dict(_ENCODED.findall(encoded.removesuffix("#")))
        return Event(began * 1000 + offset, lasts, name, line, values | self._stats(stats))

    def _stats(self, parts):
        data, idle = self._data, self._idle
        return dict(self._stat(part) for part in parts if data[part][:2] not in idle)

    def _stat(self, part):
        """(name, value) of a stat. Most come again and again: texts and small numbers are decoded once."""
        encoded = self._data[part]
        known = self._known.get(encoded)
        if known is None:
            known = self._decoded(part)
            if isinstance(known[1], str) or len(encoded) <= SMALL:
                self._known[encoded] = known
        return known

    def _decoded(self, part):
        data, name, result = self._data, "", 0
        for number, value in wire.scan(data, part):
            if number == 1:
                name = self._texts.get(value, "")
            elif number in (2, 3, 4) and isinstance(value, int):
                result = _double(value) if number == 2 else wire.signed(value)
            elif number in (5, 6):
                result = wire.text(data, value)
            elif number == 7:
                result = self._texts.get(value, "")
        return name, result


def _double(bits):
    return struct.unpack("<d", bits.to_bytes(8, "little"))[0]


def number(stats, *names):
    """The first of these stats as an integer, however it is written; 0 if there is none."""
    for name in names:
        value = stats.get(name)
        if type(value) is int:
            return value
        if isinstance(value, str):
            try:
                value = int(value, 0)
            except ValueError:
                continue
        if value is not None and value == value and abs(value) < 1 << 64:
            return wire.signed(int(value))
    return 0


def text(stats, *names):
    """The first of these stats as a text; "" if there is none, or "(null)"."""
    for value in (stats[name] for name in names if name in stats):
        value = str(value)
        if value not in ("", "(null)", "null", "0"):
            return value
    return ""
