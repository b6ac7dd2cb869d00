"""The sequence of allocations of a small trial, with sizes that depend on the parameters, replayed."""

import collections

import numpy as np

from . import allocator as bfc
from .growth import Formulas, Growth, borrow
from .matching import Tokens, match

UNLIMITED = 2**46  # bytes
SHIFTS = 8  # further orders, in which tf.data's threads run earlier or later
EARLIER, LATER = 1.0, 0.25  # steps by which they are shifted at most
Replay = collections.namedtuple("Replay", "fits peak place")


def schedules(points, timelines):
    """A Schedule for each trial, in which matching allocations grow alike.

    points, timelines   {parameter: value} of each trial, and its Timeline
    """
    tokens = [Tokens(timeline, point) for timeline, point in zip(timelines, points, strict=True)]
    formulas = Formulas(points)
    return [Schedule(tokens, number, formulas) for number in range(len(tokens))]


class Schedule:
    """The sequence of allocations of one trial, with sizes that depend on the parameters.

    timeline   of the trial
    point      {parameter: value} of the trial
    """

    def __init__(self, tokens, number, formulas):
        own = tokens[number]
        self.timeline, self.point, self._formulas = own.timeline, own.point, formulas
        self._requested = own.requested.astype(float)
        self._kinds, self._kind_of, self.doubtful = _kinds_seen(tokens, number)
        self._growths = [Growth(seen, number, formulas) for seen in self._kinds]
        borrow(self._growths)
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

    def replay(self, point, limit=UNLIMITED, order=0):
        """What the allocator would do there: whether everything fits, the peak, and its place."""
        allocator, peak, peak_at = bfc.Allocator(limit), 0, 0
        try:
            for place in self._play(point, allocator, self.orders[order], {}):
                if allocator.in_use > peak:
                    peak, peak_at = allocator.in_use, place
        except bfc.OutOfMemory:
            return Replay(False, peak, peak_at)
        return Replay(True, peak, peak_at)

    def at_peak(self, point, limit=UNLIMITED):
        """(index, bytes) of each allocation in use at the peak; without the limit where it does not fit."""
        replay = self.replay(point, limit)
        if not replay.fits:
            replay, limit = self.replay(point), UNLIMITED
        held = {}
        for _ in self._play(point, bfc.Allocator(limit), self.orders[0][: replay.place + 1], held):
            pass
        return [(i, chunk.size) for i, chunk in held.items()]

    def _play(self, point, allocator, order, held):
        """Replay an order, keeping the chunks in use in `held`; yields the place of each event."""
        sizes = self.sizes(point).tolist()
        for place, i in enumerate(order):
            if i < 0:
                allocator.release(held.pop(~i))
            else:
                held[i] = allocator.allocate(sizes[i])
            yield place

    def sizes(self, point):
        """The bytes that each allocation requests at a point."""
        by_kind = np.array([growth.bytes(point) for growth in self._growths])
        return np.maximum(1, np.rint(by_kind)).astype(np.int64)[self._kind_of]

    def grows_with(self, name):
        """Whether any allocation depends on a parameter."""
        return any(growth.depends_on(name) for growth in self._growths)

    def parts(self, i, size):
        """(Row, bytes) of what an allocation of that size holds: itself, unless it is a compiled block."""
        start = 0.0
        for row, share in self.timeline.parts(i):
            yield row, round(size * (start + share)) - round(size * start)
            start += share

    def share_at_peak(self, point, sorts, doubtful=False):
        """The share of the predicted peak whose growth is of one of the sorts, or was matched in doubt."""
        chosen = np.array([growth.sort in sorts for growth in self._growths])[self._kind_of]
        if doubtful:
            chosen = chosen | self.doubtful
        held = self.at_peak(point)
        return sum(size for i, size in held if chosen[i]) / sum(size for _, size in held)

    def unknown_bytes(self):
        """Bytes at the trial's own peak of allocations whose growth is unknown."""
        unknown = np.array([growth.sort == "unknown" for growth in self._growths])[self._kind_of]
        held = self.timeline.held_at_peak()
        return int(self.timeline.record.allocations["bytes"][held & unknown].sum())

    def unknown_share(self):
        """Their share of the trial's peak."""
        return self.unknown_bytes() / self.timeline.peak_bytes


def _kinds_seen(tokens, number):
    """The different (dimensions, bytes) in all trials, the kind of each allocation of one, and which are
    doubtful: paired with one of several that would do as well."""
    own, count = tokens[number], len(tokens[number].requested)
    counterparts, doubtful = [], np.zeros(count, dtype=bool)
    for k, other in enumerate(tokens):
        if k == number:
            counterparts.append(np.arange(count))
            continue
        found, doubts = match(own, other)
        counterparts.append(found)
        doubtful |= doubts
    kinds, kind_of = {}, np.empty(count, dtype=int)
    for i in range(count):
        seen = tuple(
            (one.dimensions(int(j)), int(one.requested[j])) if j >= 0 else None
            for one, j in zip(tokens, (column[i] for column in counterparts), strict=True)
        )
        kind_of[i] = kinds.setdefault(seen, len(kinds))
    return list(kinds), kind_of, doubtful


def _order(begin, end):
    """The events in order of time: i for an allocation, ~i for a deallocation."""
    begins, ends = np.flatnonzero(begin >= 0), np.flatnonzero((begin >= 0) & (end >= 0))
    times, events = np.concatenate([begin[begins], end[ends]]), np.concatenate([begins, ~ends])
    return events[np.argsort(times, kind="stable")].tolist()
