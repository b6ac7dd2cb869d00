"""Turns two recorded trials into sequences of allocations whose sizes depend on a value, and replays them."""

import collections
import re

import numpy as np

from ..record.xla_blocks import blocks_of
from . import allocator as bfc

UNLIMITED = 2**46  # bytes
SHIFTS = 8  # further orders, in which tf.data's threads run earlier or later
EARLIER, LATER = 1.0, 0.25  # steps by which they are shifted at most
_RUN_DEPENDENT = re.compile(r"(__inference_|__forward_|__backward_)\w+?_\d+$")
Replay = collections.namedtuple("Replay", "fits peak place")


def retrace(record):
    """Replay a GPU's record as it is; [(recorded, replayed)] of each allocation's (bytes, address).

    The pool must have had a single free block as the record began: there the first allocation lies.
    """
    columns = record.allocations
    free = record.pool_bytes - record.held_bytes
    first = int(np.where(columns["begin"] < 0, record.events, columns["begin"]).argmin())
    allocator = bfc.Allocator.of_pool(record.pool_bytes, int(columns["address"][first]), free)
    held, pairs = {}, []
    for i in _order(columns["begin"], columns["end"]):
        if i < 0:
            allocator.release(held.pop(~i))
        else:
            held[i] = allocator.allocate(int(columns["requested"][i]))
            recorded = int(columns["bytes"][i]), int(columns["address"][i])
            pairs.append((recorded, (held[i].size, held[i].address)))
    return pairs


def schedules(at, timelines):
    """A Schedule for each trial, in which matching allocations grow alike.

    at, timelines   the values of the two trials, and their Timelines
    """
    requested = [timeline.record.allocations["requested"].astype(float) for timeline in timelines]
    first, second = _matches(at, timelines)
    growth = (requested[1][second] - requested[0][first]) / (at[1] - at[0])
    shapes = zip(_shapes(timelines[0], first), _shapes(timelines[1], second), strict=True)
    nonlinear = np.array([_differing_dimensions(*pair) > 1 for pair in shapes], dtype=bool)
    return [
        Schedule(timeline, value, sizes, places, growth, nonlinear)
        for timeline, value, sizes, places in zip(timelines, at, requested, (first, second), strict=True)
    ]


def _shapes(timeline, places):
    record = timeline.record
    return [record.shapes[shape] for shape in record.allocations["shape"][places].tolist()]


def _differing_dimensions(one, other):
    """The number of dimensions in which two shapes such as "[4,30,30,8]" differ."""
    pairs = zip(one.split(","), other.split(","), strict=False)
    return sum(a.strip("[]") != b.strip("[]") for a, b in pairs)


def _matches(at, timelines):
    """Indices of matching allocations: those in the first trial, and those in the second."""
    first, second = timelines
    places = collections.defaultdict(collections.deque)
    for place, key in _keys(first):
        places[key].append(place)
    pairs = [(places[key].popleft(), place) for place, key in _keys(second) if places.get(key)]
    pairs += _matches_in_the_pipeline(at, timelines)
    return np.array(pairs, dtype=int).reshape(-1, 2).T


def _matches_in_the_pipeline(at, timelines):
    """Index pairs of what tf.data allocates without a name, by size: proportional to the value, or equal."""
    first, second = (_places_by_size(timeline) for timeline in timelines)
    counterparts = {size: size * at[1] / at[0] for size in first if size * at[1] / at[0] in second}
    matched = {*counterparts, *counterparts.values()}
    counterparts |= {size: size for size in first if size in second and size not in matched}
    for size, other in counterparts.items():
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
    """(index, key) of each allocation; matching ones have the same key: op, rank, type and step.

    The block of a compiled step may have no op: then it matches that of the program with the same name.
    """
    record = timeline.record
    columns = record.allocations
    ops = [_RUN_DEPENDENT.sub(r"\1", op) for op in record.ops]
    ranks = [shape.count(",") + (len(shape) > 2) for shape in record.shapes]
    steps = np.searchsorted(record.steps, columns["begin"])
    steps[timeline.in_pipeline] = 0  # the step varies from run to run
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


class Schedule:
    """The sequence of allocations of one trial, with sizes that depend on the value.

    own_value   the value of the trial
    requested   bytes requested by each allocation of the trial
    places      indices of the allocations that have a counterpart in the other trial
    growth      their bytes per unit of the value
    nonlinear   whether they grow in more than one dimension, a boolean array
    """

    def __init__(self, timeline, own_value, requested, places, growth, nonlinear):
        self.timeline, self._own_value, self._requested = timeline, own_value, requested
        leading = np.array([_leading(shape) for shape in timeline.record.shapes])
        leading = leading[timeline.record.allocations["shape"]]
        by_shape = (leading > 0) & (leading % own_value == 0)
        # Which of two ops overwrites its input, and so allocates nothing, can differ between the trials.
        self.per_unit = np.where(by_shape, requested / own_value, 0.0)
        self.per_unit[places] = growth
        self._known = by_shape
        self._known[places] = True
        self._nonlinear = np.zeros(len(requested), dtype=bool)
        self._nonlinear[places] = nonlinear
        self.orders = self._orders()

    def _orders(self):
        """Orders of events: the recorded one, and others with tf.data's allocations shifted at random.

        An allocation is its index, a deallocation the complement (~index). tf.data's threads make the next
        batch at a different point of each step, which changes the gaps that the allocator is left with.
        Without allocations by tf.data on the device, the recorded order is the only one.
        """
        columns = self.timeline.record.allocations
        begin, end = columns["begin"], columns["end"]
        shifted = np.flatnonzero(self.timeline.in_pipeline & (begin >= 0))
        orders = [_order(begin, end)]
        if not len(shifted):
            return orders
        step = np.diff([0, *self.timeline.record.steps])[-1]
        latest = np.where(end[shifted] >= 0, end[shifted] - 1, begin.max())
        rng = np.random.default_rng(0)
        for _ in range(SHIFTS):
            new_begin = begin.astype(float)
            new_begin[shifted] += rng.uniform(-EARLIER * step, LATER * step, len(shifted))
            new_begin[shifted] = np.clip(new_begin[shifted], 0, latest)
            orders.append(_order(new_begin, end))
        return orders

    def replay(self, value, limit=UNLIMITED, order=0):
        """What the allocator would do at that value: whether everything fits, the peak, and its place."""
        allocator, peak, peak_at = bfc.Allocator(limit), 0, 0
        try:
            for place in self._play(value, allocator, self.orders[order], {}):
                if allocator.in_use > peak:
                    peak, peak_at = allocator.in_use, place
        except bfc.OutOfMemory:
            return Replay(False, peak, peak_at)
        return Replay(True, peak, peak_at)

    def at_peak(self, value, limit=UNLIMITED):
        """(index, bytes) of each allocation in use at the peak; without the limit where it does not fit."""
        replay = self.replay(value, limit)
        if not replay.fits:
            replay, limit = self.replay(value), UNLIMITED
        held = {}
        for _ in self._play(value, bfc.Allocator(limit), self.orders[0][: replay.place + 1], held):
            pass
        return [(i, chunk.size) for i, chunk in held.items()]

    def _play(self, value, allocator, order, held):
        """Replay an order, keeping the chunks in use in `held`; yields the place of each event."""
        sizes = self._sizes(value)
        for place, i in enumerate(order):
            if i < 0:
                allocator.release(held.pop(~i))
            else:
                held[i] = allocator.allocate(sizes[i])
            yield place

    def _sizes(self, value):
        sizes = np.maximum(1, np.rint(self._requested + self.per_unit * (value - self._own_value)))
        return sizes.astype(np.int64).tolist()

    def unknown_bytes(self):
        """Bytes at the peak of allocations whose growth is unknown."""
        return self._at_own_peak(~self._known)

    def nonlinear_bytes(self):
        """Bytes at the peak of allocations that grow in more than one dimension."""
        return self._at_own_peak(self._nonlinear)

    def _at_own_peak(self, selected):
        held = self.timeline.held_at_peak()
        return int(self.timeline.record.allocations["bytes"][held & selected].sum())


def _order(begin, end):
    """The events in order of time: i for an allocation, ~i for a deallocation."""
    begins, ends = np.flatnonzero(begin >= 0), np.flatnonzero((begin >= 0) & (end >= 0))
    times, events = np.concatenate([begin[begins], end[ends]]), np.concatenate([begins, ~ends])
    return events[np.argsort(times, kind="stable")].tolist()
