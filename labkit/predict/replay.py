"""Two recorded trials made into a sequence of allocations whose sizes depend on a value, to be replayed."""

import collections
import re

import numpy as np

from ..record.xla_blocks import blocks_of
from . import allocator as bfc

UNLIMITED = 2**46
MOVES = 8  # other orders, in which tf.data's threads run earlier or later
EARLIER, LATER = 1.0, 0.25  # of a step
_RUN_DEPENDENT = re.compile(r"(__inference_|__forward_|__backward_)\w+?_\d+$")
Replay = collections.namedtuple("Replay", "fits peak place")


def plans(at, timelines):
    """A Plan of each trial, with the same growth for allocations that are alike."""
    asked = [timeline.record.allocations["requested"].astype(float) for timeline in timelines]
    first, second = _alike(at, timelines)
    growth = (asked[1][second] - asked[0][first]) / (at[1] - at[0])
    shapes = zip(_shapes(timelines[0], first), _shapes(timelines[1], second), strict=True)
    bent = np.array([_dimensions_apart(*pair) > 1 for pair in shapes], dtype=bool)
    return [
        Plan(timeline, value, sizes, places, growth, bent)
        for timeline, value, sizes, places in zip(timelines, at, asked, (first, second), strict=True)
    ]


def _shapes(timeline, places):
    record = timeline.record
    return [record.shapes[shape] for shape in record.allocations["shape"][places].tolist()]


def _dimensions_apart(one, other):
    """In how many dimensions two shapes such as "[4,30,30,8]" differ."""
    pairs = zip(one.split(","), other.split(","), strict=False)
    return sum(a.strip("[]") != b.strip("[]") for a, b in pairs)


def _alike(at, timelines):
    """Places of allocations that are alike: those in the first trial, and those in the second."""
    first, second = timelines
    places = collections.defaultdict(collections.deque)
    for place, key in _keys(first):
        places[key].append(place)
    pairs = [(places[key].popleft(), place) for place, key in _keys(second) if places.get(key)]
    pairs += _alike_in_the_pipeline(at, timelines)
    return np.array(pairs, dtype=int).reshape(-1, 2).T


def _alike_in_the_pipeline(at, timelines):
    """Pairs of places of what tf.data allocates without a name, by size: it grows with the value or not."""
    first, second = (_places_by_size(timeline) for timeline in timelines)
    like = {size: size * at[1] / at[0] for size in first if size * at[1] / at[0] in second}
    like |= {size: size for size in first if size in second and size not in {*like, *like.values()}}
    for size, other in like.items():
        yield from ((place, second[other][0]) for place in first[size])
        yield from ((first[size][0], place) for place in second[other])


def _places_by_size(timeline):
    places = collections.defaultdict(list)
    for place in np.flatnonzero(_nameless(timeline)).tolist():
        places[int(timeline.record.allocations["requested"][place])].append(place)
    return places


def _nameless(timeline):
    return timeline.in_pipeline & (timeline.record.allocations["op"] == 0)


def _keys(timeline):
    """(place, what makes that allocation like another): op, type, rank, and the step in which it is made.

    A compiled step's block may have no op: then it is like that of the program of the same name.
    """
    record = timeline.record
    columns = record.allocations
    ops = [_RUN_DEPENDENT.sub(r"\1", op) for op in record.ops]
    ranks = [shape.count(",") + (len(shape) > 2) for shape in record.shapes]
    steps = np.searchsorted(record.steps, columns["begin"])
    steps[timeline.in_pipeline] = 0  # in which step is chance
    named = ~_nameless(timeline)
    for place, program in sorted(blocks_of(record).items()):
        if not columns["op"][place]:
            named[place] = False
            yield place, (program.name, int(steps[place]))
    for place in np.flatnonzero(named).tolist():
        op, shape, dtype, temp = (int(columns[name][place]) for name in ("op", "shape", "dtype", "temp"))
        yield place, (ops[op], ranks[shape], dtype, temp, int(steps[place]))


def _leading(shape):
    """The first dimension of a shape such as "[32,10]", 0 if it has none."""
    first = shape.strip("[]").partition(",")[0]
    return int(first) if first.isdigit() else 0


class Plan:
    """The sequence of allocations of one trial, with sizes that depend on the value."""

    def __init__(self, timeline, own_value, asked, places, growth, bent):
        self.timeline, self._own_value, self._asked = timeline, own_value, asked
        leading = np.array([_leading(shape) for shape in timeline.record.shapes])
        leading = leading[timeline.record.allocations["shape"]]
        by_shape = (leading > 0) & (leading % own_value == 0)
        # Which of two ops writes over its input, and so allocates nothing, can differ between the trials.
        self.per_unit = np.where(by_shape, asked / own_value, 0.0)
        self.per_unit[places] = growth
        self._known = by_shape
        self._known[places] = True
        self._bent = np.zeros(len(asked), dtype=bool)
        self._bent[places] = bent
        self.orders = self._orders()

    def _orders(self):
        """Orders of the allocations and deallocations (the complements): as recorded, and some others.

        When tf.data's threads make the next batch differs from step to step, and with it the holes that the
        allocator is left with. Where the pipeline is on the device, it is moved at random in the others.
        """
        columns = self.timeline.record.allocations
        begin, end = columns["begin"], columns["end"]
        moving = np.flatnonzero(self.timeline.in_pipeline & (begin >= 0))
        orders = [_order(begin, end)]
        if not len(moving):
            return orders
        step = np.diff([0, *self.timeline.record.steps])[-1]
        latest = np.where(end[moving] >= 0, end[moving] - 1, begin.max())
        rng = np.random.default_rng(0)
        for _ in range(MOVES):
            moved = begin.astype(float)
            moved[moving] += rng.uniform(-EARLIER * step, LATER * step, len(moving))
            moved[moving] = np.clip(moved[moving], 0, latest)
            orders.append(_order(moved, end))
        return orders

    def replay(self, value, limit=UNLIMITED, order=0):
        """What the allocator would do at that value: whether all fits, the peak, and where in the order."""
        allocator, peak, peak_at = bfc.Allocator(limit), 0, 0
        try:
            for place in self._played(value, allocator, self.orders[order], {}):
                if allocator.in_use > peak:
                    peak, peak_at = allocator.in_use, place
        except bfc.OutOfMemory:
            return Replay(False, peak, peak_at)
        return Replay(True, peak, peak_at)

    def at_peak(self, value):
        """(place of the allocation, bytes) of what is in use at the peak."""
        until, held = self.replay(value).place + 1, {}
        for _ in self._played(value, bfc.Allocator(UNLIMITED), self.orders[0][:until], held):
            pass
        return [(i, chunk.size) for i, chunk in held.items()]

    def _played(self, value, allocator, order, held):
        """Play an order on the allocator, chunks in use kept in `held`; yields after each event its place."""
        sizes = self._sizes(value)
        for place, i in enumerate(order):
            if i < 0:
                allocator.release(held.pop(~i))
            else:
                held[i] = allocator.allocate(sizes[i])
            yield place

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
        held = self.timeline.held_at_peak()
        return int(self.timeline.record.allocations["bytes"][held & chosen].sum())


def _order(begin, end):
    begins, ends = np.flatnonzero(begin >= 0), np.flatnonzero((begin >= 0) & (end >= 0))
    when, what = np.concatenate([begin[begins], end[ends]]), np.concatenate([begins, ~ends])
    return what[np.argsort(when, kind="stable")].tolist()
