"""The events of each allocator in a profile, in the order in which the allocator wrote them."""

import collections
import itertools

from .xspace import number, text

ALLOCATION, DEALLOCATION = "MemoryAllocation", "MemoryDeallocation"
_AHEAD, _DEPTH = 6, 9  # events between which the order may be mixed up; that must follow one another
_LOOKS, _FEW_LOOKS = 300, 60  # at what may follow an event; after many searches that found no whole chain
_MOST_FRUITLESS = 2_000  # such searches


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
    live, search = _live_at_first(events), Search()
    head = events[: _AHEAD + _DEPTH]

    def chain(first):
        event = head[first]
        changed = {address(event): is_allocation(event)}
        return [first, *search.longest(in_use(event), _without(head, first), live, changed)]

    first = max(range(min(_AHEAD, len(head))), key=lambda first: _worth(chain(first)))
    return _chained(events[first], _without(events, first), live, search)


def breaks(events):
    """How often the bytes in use do not follow from those before: events are missing."""
    pairs = zip(events[:-1], events[1:], strict=True)
    return sum(in_use(before) + grown(after) != in_use(after) for before, after in pairs)


def address(event):
    """The address that an event is about."""
    return number(event.stats, "addr", "address")


def _live_at_first(events):
    """{address: whether it is in use before the first of the events}, as far as it is certain."""
    balance = collections.Counter()
    for event in events:
        balance[address(event)] += 1 if is_allocation(event) else -1
    return {place: count < 0 for place, count in balance.items() if count}


def _chained(first, waiting, live, search):
    """The first event and those waiting, each followed by one that continues it, if there is one."""
    ordered, waiting = [first], collections.deque(waiting)
    while waiting:
        live[address(ordered[-1])] = is_allocation(ordered[-1])
        ahead = list(itertools.islice(waiting, _AHEAD + _DEPTH))
        chain = search.longest(in_use(ordered[-1]), ahead, live)
        place = chain[0] if chain else 0
        ordered.append(waiting[place])
        del waiting[place]
    return ordered


class Search:
    """Looks for events that can follow one another.

    Where an event is missing, and others are alike, there are very many ways: not all of them are tried.
    """

    def __init__(self):
        self._left = self._fruitless = 0

    def longest(self, count, waiting, live, changed=None):
        """Which of the events waiting can follow one another: their places among those left.

        count: bytes in use; live, changed: {address: whether it is in use}, and what has changed of it since
        """
        if _follow(count, waiting[:_DEPTH], live, changed or {}):
            return [0] * len(waiting[:_DEPTH])
        self._left = _LOOKS if self._fruitless < _MOST_FRUITLESS else _FEW_LOOKS
        found = self._longest(count, waiting, live, changed or {}, _DEPTH)
        self._fruitless += not self._left
        return found

    def _longest(self, count, waiting, live, changed, depth):
        best = []
        for place, event in enumerate(waiting[:_AHEAD] if depth else ()):
            if not self._left:
                break
            self._left -= 1
            at, allocates = address(event), is_allocation(event)
            if count + grown(event) == in_use(event) and changed.get(at, live.get(at)) != allocates:
                left, after = _without(waiting, place), {**changed, at: allocates}
                rest = self._longest(in_use(event), left, live, after, depth - 1)
                best = max(best, [place, *rest], key=_worth)
                if _worth(best) == (min(depth, len(waiting)), 0):
                    break
        return best


def _follow(count, events, live, changed):
    """Whether the events follow one another as they are."""
    changed = dict(changed)
    for event in events:
        at, allocates = address(event), is_allocation(event)
        if count + grown(event) != in_use(event) or changed.get(at, live.get(at)) == allocates:
            return False
        count, changed[at] = in_use(event), allocates
    return True


def _worth(chain):
    """Sorts chains: by length, then by how few events they leave behind for how long."""
    return len(chain), -sum(chain)


def _without(events, place):
    return events[:place] + events[place + 1 :]
