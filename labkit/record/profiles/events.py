"""The events of each allocator in a profile, in the order in which the allocator wrote them."""

from .xspace import number, text

ALLOCATION, DEALLOCATION = "MemoryAllocation", "MemoryDeallocation"
_AHEAD = 64  # events between which the order may be mixed up


class Events:
    """What a profile says of memory.

    of_allocators   {allocator: its events}, in order
    marks           events whose names begin with `mark`
    steps           events that tell the number of a step
    began           start of the profile in picoseconds since 1970, None if unknown
    origin          the time, in picoseconds, that the events count from the start
    """

    def __init__(self, space, mark):
        self.of_allocators, self.marks, self.steps = {}, [], []
        for plane in space.planes:
            for event in plane.events((ALLOCATION, DEALLOCATION, mark)):
                if event.name in (ALLOCATION, DEALLOCATION):
                    self.of_allocators.setdefault(_allocator(event.stats), []).append(event)
                elif event.name.startswith(mark):
                    self.marks.append(event)
                else:
                    self.steps.append(event)
        for name, events in self.of_allocators.items():
            self.of_allocators[name] = in_order(events)
        self.began = self._start(space)

    def _start(self, space):
        told = [number(plane.stats, "profile_start_time") for plane in space.planes]
        return next((1000 * nanoseconds for nanoseconds in told if nanoseconds > 0), None)


def _allocator(stats):
    name = text(stats, "allocator_name")
    ordinal = number(stats, "device_ordinal", "index_on_host")
    return name or f"device_{ordinal}"


def is_allocation(event):
    """Whether an event is an allocation."""
    return event.name == ALLOCATION


def grown(event):
    """By how many bytes an event changes what is in use."""
    size = number(event.stats, "allocation_bytes")
    return size if is_allocation(event) else -size


def in_use(event):
    """Bytes in use after an event, by the allocator's own count."""
    return number(event.stats, "bytes_allocated")


def in_order(events):
    """The events in the order of time; where threads are mixed up, in that of the bytes in use after each."""
    events = sorted(events, key=lambda event: event.at)
    if not any(map(in_use, events)) or not breaks(events):
        return events
    head = events[: 4 * _AHEAD]
    first = min(range(min(_AHEAD, len(head))), key=lambda first: breaks(_chained(head, first)))
    return _chained(events, first)


def breaks(events):
    """How often the bytes in use do not follow from those before: events are missing, or out of order."""
    pairs = zip(events[:-1], events[1:], strict=True)
    return sum(in_use(before) + grown(after) != in_use(after) for before, after in pairs)


def _chained(events, first):
    """The events from the one at `first`, each followed by the next that continues its count."""
    ordered = [events[first], *events[:first], *events[first + 1 :]]
    for begin in range(1, len(ordered)):
        count = in_use(ordered[begin - 1])
        for place in range(begin, min(begin + _AHEAD, len(ordered))):
            if count + grown(ordered[place]) == in_use(ordered[place]):
                if place > begin:
                    ordered.insert(begin, ordered.pop(place))
                break
    return ordered
