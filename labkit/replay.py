"""Two recorded trials made into a sequence of allocations whose sizes depend on a value, to be replayed."""

import collections
import re

import numpy as np

from . import bfc

UNLIMITED = 2**46
_RUN_DEPENDENT = re.compile(r"(__inference_|__forward_|__backward_)\w+?_\d+$")
Replay = collections.namedtuple("Replay", "fits peak place")


def plans(at, timelines):
    """A Plan of each trial, with the same growth for allocations that are alike."""
    asked = [timeline.record["allocations"]["requested"].astype(float) for timeline in timelines]
    first, second = _alike(*timelines)
    growth = (asked[1][second] - asked[0][first]) / (at[1] - at[0])
    shapes = zip(_shapes(timelines[0], first), _shapes(timelines[1], second), strict=True)
    bent = np.array([_dimensions_apart(*pair) > 1 for pair in shapes], dtype=bool)
    return [
        Plan(timeline, value, sizes, places, growth, bent)
        for timeline, value, sizes, places in zip(timelines, at, asked, (first, second), strict=True)
    ]


def _shapes(timeline, places):
    record = timeline.record
    return [record["shapes"][shape] for shape in record["allocations"]["shape"][places].tolist()]


def _dimensions_apart(one, other):
    """In how many dimensions two shapes such as "[4,30,30,8]" differ."""
    pairs = zip(one.split(","), other.split(","), strict=False)
    return sum(a.strip("[]") != b.strip("[]") for a, b in pairs)


def _alike(first, second):
    """Places of allocations that are alike: those in the first trial, and those in the second."""
    places = collections.defaultdict(collections.deque)
    for place, key in enumerate(_keys(first)):
        places[key].append(place)
    pairs = [(places[key].popleft(), place) for place, key in enumerate(_keys(second)) if places.get(key)]
    return np.array(pairs, dtype=int).reshape(-1, 2).T


def _keys(timeline):
    """What makes an allocation like another: its op, type, rank, and the step in which it is made."""
    record = timeline.record
    columns = record["allocations"]
    ops = [_RUN_DEPENDENT.sub(r"\1", op) for op in record["ops"]]
    ranks = [shape.count(",") + (len(shape) > 2) for shape in record["shapes"]]
    steps = np.searchsorted(record["steps"], columns["begin"]).tolist()
    for op, shape, dtype, temp, step in zip(
        *(columns[name].tolist() for name in ("op", "shape", "dtype", "temp")), steps, strict=True
    ):
        yield ops[op], ranks[shape], dtype, temp, step


def _leading(shape):
    """The first dimension of a shape such as "[32,10]", 0 if it has none."""
    first = shape.strip("[]").partition(",")[0]
    return int(first) if first.isdigit() else 0


class Plan:
    """The sequence of allocations of one trial, with sizes that depend on the value."""

    def __init__(self, timeline, own_value, asked, places, growth, bent):
        self.timeline, self._own_value, self._asked = timeline, own_value, asked
        leading = np.array([_leading(shape) for shape in timeline.record["shapes"]])
        leading = leading[timeline.record["allocations"]["shape"]]
        by_shape = (leading > 0) & (leading % own_value == 0)
        # Which of two ops writes over its input, and so allocates nothing, can differ between the trials.
        self.per_unit = np.where(by_shape, asked / own_value, 0.0)
        self.per_unit[places] = growth
        self._known = by_shape
        self._known[places] = True
        self._bent = np.zeros(len(asked), dtype=bool)
        self._bent[places] = bent
        columns = timeline.record["allocations"]
        ends = np.flatnonzero(columns["end"] >= 0)
        begins = np.flatnonzero(columns["begin"] >= 0)
        when = np.concatenate([columns["begin"][begins], columns["end"][ends]])
        what = np.concatenate([begins, ~ends])  # a deallocation is the complement of its allocation
        self._order = what[np.argsort(when)].tolist()

    def replay(self, value, limit=UNLIMITED):
        """What the allocator would do at that value: whether all fits, the peak, and where in the order."""
        sizes, allocator, held = self._sizes(value), bfc.Allocator(limit), {}
        peak, peak_at = 0, 0
        try:
            for place, i in enumerate(self._order):
                if i < 0:
                    allocator.release(held.pop(~i))
                    continue
                held[i] = allocator.allocate(sizes[i])
                if allocator.in_use > peak:
                    peak, peak_at = allocator.in_use, place
        except bfc.OutOfMemory:
            return Replay(False, peak, peak_at)
        return Replay(True, peak, peak_at)

    def at_peak(self, value):
        """(place of the allocation, bytes) of what is in use at the peak."""
        sizes, allocator, held = self._sizes(value), bfc.Allocator(UNLIMITED), {}
        for i in self._order[: self.replay(value).place + 1]:
            if i >= 0:
                held[i] = allocator.allocate(sizes[i])
            else:
                allocator.release(held.pop(~i))
        return [(i, chunk.size) for i, chunk in held.items()]

    def _sizes(self, value):
        sizes = np.maximum(1, np.rint(self._asked + self.per_unit * (value - self._own_value)))
        return sizes.astype(np.int64).tolist()

    def unknown_bytes(self):
        """Bytes at the peak of allocations of which it is not known how they grow."""
        return self._at_own_peak(~self._known)

    def bent_bytes(self):
        """Bytes at the peak of allocations that grow in more than one dimension, so in no straight line."""
        return self._at_own_peak(self._bent)

    def _at_own_peak(self, chosen):
        columns, peak = self.timeline.record["allocations"], self.timeline.peak_at
        alive = (columns["begin"] <= peak) & ((columns["end"] > peak) | (columns["end"] < 0))
        return int(columns["bytes"][alive & chosen].sum())
