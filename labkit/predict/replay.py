"""The sequence of allocations of a small trial, with sizes that depend on the parameters, replayed."""

import bisect
import collections
import functools
from dataclasses import replace

import numpy as np

from ..record.record import Program
from . import allocator as bfc
from .growth import Formulas, Growth, Plan, TriedOut, Workspace, borrow
from .matching import TRIED, Results, Tokens, match, match_results

UNLIMITED = 2**80  # bytes
MOST = 2**58  # bytes of one allocation: more is more than any sum can hold
LARGER = 16  # times: what is rounded away even then does not grow
PILE = 4  # allocations of one op that are in use at once: of fewer, the number tells nothing
MOST_OVERHEAD = 25  # times the elements of its tensors that a 3-D convolution's gradient takes
EVALUATED = ("evaluation", "prediction")
REPEATS = 5  # times that the last steps are repeated
SHIFTS = 8  # further orders, in which tf.data's threads run earlier or later
EARLIER, LATER = 1.0, 0.25  # steps by which they are shifted at most
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
    for i in _order(columns["begin"], columns["end"])[1].tolist():
        if i < 0:
            allocator.release(held.pop(~i))
        else:
            held[i] = allocator.allocate(int(columns["requested"][i]))
            recorded = int(columns["bytes"][i]), int(columns["address"][i])
            pairs.append((recorded, (held[i].size, held[i].address)))
    return pairs


def schedules(points, timelines):
    """Schedules of the two trials with the largest peaks, the largest last; matching allocations grow alike.

    points, timelines   {parameter: value} of each trial, and its Timeline
    """
    tokens = [Tokens(timeline, point) for timeline, point in zip(timelines, points, strict=True)]
    formulas = Formulas(points)
    by_peak = sorted(range(len(tokens)), key=lambda k: timelines[k].peak_bytes)
    return [Schedule(tokens, number, formulas) for number in by_peak[-2:]]


class Schedule:
    """The sequence of allocations of one trial, with sizes that depend on the parameters.

    timeline   of the trial
    point      {parameter: value} of the trial
    """

    def __init__(self, tokens, number, formulas):
        own, self._points = tokens[number], [one.point for one in tokens]
        self.timeline, self.point, self._formulas = own.timeline, own.point, formulas
        self._requested, self._tried = own.requested.astype(float), own.tried
        self._kinds, self._kind_of, self.doubtful = _kinds_seen(tokens, number)
        workspaces = set(self._kind_of[own.workspace].tolist())
        self._growths = [self._growth(seen, number, k in workspaces) for k, seen in enumerate(self._kinds)]
        borrow(self._growths)
        self.rows = _rows(tokens, lambda record: record.batches)
        self._rows_of = {
            moment: _rows(tokens, lambda record, moment=moment: record.evaluated.get(moment, []))
            for moment in EVALUATED
        }
        self._layers = [one.record.layers for one in tokens]
        self._in_queue = self._rows_in_queue()
        self._piles = _piles(tokens, number, formulas)
        self.orders = self._orders()
        self._scratch, self._samples = self._find_scratch()

    def _find_scratch(self):
        """{allocation: scratch memory that its op takes at larger sizes}, and how the samples grow."""
        record, columns = self.timeline.record, self.timeline.record.allocations
        named = {op: facts for op, *facts in record.scratch}
        facts_of = [next((f for op, f in named.items() if name.endswith(op)), None) for name in record.ops]
        scratch, samples = {}, None
        for i in np.flatnonzero(np.array([f is not None for f in facts_of])[columns["op"]]).tolist():
            growth = self._growths[self._kind_of[i]]
            if not columns["temp"][i]:
                scratch[i] = facts_of[columns["op"][i]]
            if (
                growth.is_shaped
                and "BackpropInput" in record.ops[columns["op"][i]]
                and not columns["temp"][i]
            ):
                samples = growth.numbers[0]
        taken = {record.ops[columns["op"][i]] for i in np.flatnonzero(columns["temp"]).tolist()}
        return {i: f for i, f in scratch.items() if record.ops[columns["op"][i]] not in taken}, samples

    def _scratch_at(self, point):
        """{allocation: bytes of scratch memory} where its op takes any."""
        if not self._scratch or self._samples is None:
            return {}
        samples = self._formulas.values(self._samples, point)
        return {
            i: size
            for i, (size, per_sample, others) in self._scratch.items()
            if size // (per_sample * samples + others) <= MOST_OVERHEAD
        }

    def _growth(self, seen, number, is_workspace):
        """How a kind grows: what was seen of it in each trial, a program if it is the block of one."""
        if seen[number][0] == TRIED:
            return TriedOut(seen[number][1])
        if is_workspace:
            return Workspace(seen, number, self._formulas)
        if not isinstance(seen[number][0], Program):
            return Growth(seen, number, self._formulas)
        programs = [one and one[0] for one in seen]
        results = [p and Results(p, point) for p, point in zip(programs, self._points, strict=True)]
        own = results[number]
        found = [match_results(own, other) if other else None for other in results]
        found[number] = np.arange(len(own.requested))
        of_results = [
            tuple(
                other.seen(int(places[i])) if other and places[i] >= 0 else None
                for other, places in zip(results, found, strict=True)
            )
            for i in range(len(own.requested))
        ]
        return Plan(of_results, programs, number, self._formulas)

    def _orders(self):
        """Orders of events: the recorded one, and others with tf.data's allocations shifted at random.

        An allocation is its index, a deallocation the complement (~index). tf.data's threads make the next
        batch at a different point of each step, which changes the gaps that the allocator is left with. In
        each order the last steps of a training are repeated, for the gaps change from step to step, too; an
        allocation of a repeated step is its index plus a multiple of the number of allocations.
        """
        columns = self.timeline.record.allocations
        begin, end = columns["begin"], columns["end"]
        shifted = np.flatnonzero(self.timeline.in_pipeline & (begin >= 0))
        orders = [self._repeated(begin, end)]
        if not len(shifted):
            return orders
        step = np.diff([0, *self.timeline.record.steps])[-1]
        latest = np.where(end[shifted] >= 0, end[shifted] - 1, begin.max())
        rng = np.random.default_rng(0)
        for _ in range(SHIFTS):
            new_begin = begin.astype(float)
            new_begin[shifted] += rng.uniform(-EARLIER * step, LATER * step, len(shifted))
            new_begin[shifted] = np.clip(new_begin[shifted], 0, latest)
            orders.append(self._repeated(new_begin, end))
        return orders

    def _repeated(self, begin, end):
        """The events in order of time, with the last steps of each training repeated."""
        times, events = _order(begin, end)
        order, done = [], 0
        for first, last in _last_steps(self.timeline.record):
            cut, stop = np.searchsorted(times, [first, last])
            order += events[done:cut].tolist()
            order += self._again(events[cut:stop].tolist())
            done = stop
        return order + events[done:].tolist()

    def _again(self, step):
        """The events of a step, several times. Each time it frees what the time before has left behind."""
        count = len(self._kind_of)
        made, freed = {i for i in step if i >= 0}, {~i for i in step if i < 0}
        found, left = self._ranked(~i for i in step if i < 0 and ~i not in made), self._ranked(made - freed)
        names = {slot: i for i, slot in found.items() if slot in left.values()}
        events = []
        for repetition in range(1, REPEATS + 1):
            own, more = {i: i + repetition * count for i in made}, []
            for i in step:
                if i >= 0:
                    events.append(own[i])
                elif ~i in own:
                    events.append(~own[~i])
                elif found[~i] in names:
                    events.append(~names[found[~i]])
            for i, slot in left.items():
                if slot in names:
                    names[slot] = own[i]
                else:
                    more.append(~own[i])
            events += more
        return events + [~names.get(found.get(~i), ~i) if i < 0 else i for i in step]

    def _ranked(self, places):
        """{place: (its kind, its number among those of its kind)}."""
        numbers = collections.Counter()
        slots = {}
        for i in sorted(places):
            kind = int(self._kind_of[i])
            slots[i] = kind, numbers[kind]
            numbers[kind] += 1
        return slots

    def replay(self, point, limit=UNLIMITED, order=0):
        """What the allocator would do there: whether everything fits, the peak, and its place."""
        return self._replay(point, limit, self.orders[order])

    def _replay(self, point, limit, order):
        allocator, peak, peak_at = bfc.Allocator(limit), 0, 0
        try:
            for place in self._play(point, allocator, order, {}):
                if allocator.in_use > peak:
                    peak, peak_at = allocator.in_use, place
        except bfc.OutOfMemory:
            return Replay(False, peak, peak_at)
        return Replay(True, peak, peak_at)

    def later_peak(self, point):
        """The peak there without what a GPU only tries out, which later steps do not need."""
        return self._replay(point, UNLIMITED, self._later).peak

    @functools.cached_property
    def _later(self):
        """The recorded order without what a GPU only tries out."""
        count = len(self._kind_of)
        return [i for i in self.orders[0] if not self._tried[(i if i >= 0 else ~i) % count]]

    def at_peak(self, point, limit=UNLIMITED):
        """(index, bytes) of each allocation in use at the peak; without the limit where it does not fit."""
        return [(i, size) for i, size, is_scratch in self._in_use(point, limit) if not is_scratch]

    def _in_use(self, point, limit):
        """The same, and whether it is scratch memory that only larger sizes take, of the op at that index."""
        replay = self.replay(point, limit)
        if not replay.fits:
            replay, limit = self.replay(point), UNLIMITED
        return self._held_at(replay.place, point, limit, self.orders[0])

    def _held_at(self, peak_at, point, limit, order):
        held, count = {}, len(self._kind_of)
        for place in self._play(point, bfc.Allocator(limit), order, held):
            if place == peak_at:
                break
        for i, chunk in held.items():
            yield i % count, chunk.size, i >= (REPEATS + 2) * count

    def _play(self, point, allocator, order, held):
        """Replay an order, keeping the chunks in use in `held`; yields the place of each event."""
        sizes, scratch = self.sizes(point).tolist(), self._scratch_at(point)
        count = len(sizes)
        for place, i in enumerate(order):
            if i < 0:
                allocator.release(held.pop(~i))
                yield place
                continue
            held[i] = allocator.allocate(sizes[i % count])
            if i % count in scratch:
                passing = i % count + (REPEATS + 2) * count
                held[passing] = allocator.allocate(scratch[i % count])
                yield place
                allocator.release(held.pop(passing))
            else:
                yield place

    def sizes(self, point):
        """The bytes that each allocation requests at a point.

        With fewer rows than the batch size, a batch has no more; nor do all batches in a queue of tf.data.
        """
        capped = _capped(point, self.rows)
        sizes = self._sizes(capped)
        for moment, rows in self._rows_of.items():
            if _capped(point, rows) != capped:
                chosen = self._begun_in == moment
                sizes[chosen] = self._sizes(_capped(point, rows))[chosen]
        for places, own, counts in self._piles:
            handed_out = np.ceil(np.maximum(1.0, sizes[places]) / bfc.ROUND) * bfc.ROUND
            sizes[places] = handed_out * self._formulas.values(counts, capped) / own
        for name, rows in self.rows.items():
            sizes *= np.minimum(1.0, rows / np.maximum(1.0, self._in_queue * capped[name]))
        return np.clip(np.rint(sizes), 1, MOST).astype(np.int64)

    def _sizes(self, point):
        return np.array([growth.bytes(point) for growth in self._growths], dtype=float)[self._kind_of]

    def _rows_in_queue(self):
        """For what tf.data's threads allocate for training: how many batches there are at once, at most.

        Otherwise 0: what is evaluated and predicted has other rows.
        """
        columns, last = self.timeline.record.allocations, self.timeline.record.events
        in_queue, steps = np.zeros(len(self._kind_of)), self.timeline.record.steps
        grows = np.array([any(map(growth.depends_on, self.rows)) for growth in self._growths])
        for_training = ~np.isin(self._begun_in, EVALUATED)
        chosen = np.flatnonzero(self.timeline.in_pipeline & grows[self._kind_of] & for_training)
        makers = list(zip(columns["op"][chosen].tolist(), self._kind_of[chosen].tolist(), strict=True))
        for maker in set(makers):
            places = chosen[[one == maker for one in makers]]
            begin, end = columns["begin"][places], columns["end"][places]
            end = np.where(end < 0, last, end)
            most = max(int(((begin <= at) & (end > at)).sum()) for at in begin.tolist())
            later = ((begin >= steps[0]) & (begin < steps[-1])).sum() if len(steps) > 1 else 0
            in_queue[places] = most / max(1, round(later / max(1, len(steps) - 1)))
        return in_queue

    @functools.cached_property
    def _begun_in(self):
        """In which moment each allocation is made: "training", "evaluation", "prediction" or "other"."""
        marks = [(at, kind) for at, kind in self.timeline.record.moments if kind != "part"]
        kinds = np.array(["other"] + [kind for _, kind in marks])
        begin = self.timeline.record.allocations["begin"]
        return kinds[np.searchsorted([at for at, _ in marks], begin, "right")]

    def peaks_by_moment(self, point):
        """{moment: peak in bytes}: of "training", "evaluation", "prediction" and "other"."""
        moments = self._moments()
        allocator, peaks = bfc.Allocator(UNLIMITED), collections.defaultdict(int)
        for place in self._play(point, allocator, self.orders[0], {}):
            peaks[moments[place]] = max(peaks[moments[place]], allocator.in_use)
        return dict(peaks)

    def _moments(self):
        """What goes on at each event of the recorded order. What comes before a step belongs to training."""
        record = self.timeline.record
        columns = record.allocations
        marks = [(step, "step") for step in record.steps]
        marks += [(at, kind) for at, kind in record.moments if kind != "part"]
        marks.sort(key=lambda mark: mark[0])
        places = [at for at, _ in marks]
        moments = []
        for event in self.orders[0]:
            i = event % len(self._kind_of) if event >= 0 else ~(~event % len(self._kind_of))
            at = columns["begin"][i] if i >= 0 else columns["end"][~i]
            number = bisect.bisect_right(places, at)
            now = next((kind for _, kind in reversed(marks[:number]) if kind != "step"), "other")
            ahead = number < len(marks) and marks[number][1] in ("step", "training")
            moments.append("training" if now == "other" and ahead else now)
        return moments

    @property
    def is_recurrent(self):
        """Whether gradients are computed in a loop within the graph, as those of recurrent layers are."""
        return any("/while/" in op and "gradient_tape/" in op for op in self.timeline.record.ops)

    def grows_with(self, name):
        """Whether any allocation depends on a parameter, by more than the allocator rounds away."""
        return name in self._followed

    @functools.cached_property
    def _followed(self):
        return {name for name in self.point if self._piles or any(map(self._grows(name), self._growths))}

    def _grows(self, name):
        larger = self.point | {name: LARGER * self.point[name]}
        return lambda one: one.depends_on(name) and abs(one.bytes(larger) - one.own[1]) > bfc.ROUND

    def layers_at(self, point):
        """(path, class, output shape as text) of each layer there, in order."""
        for (path, kind, own), *others in zip(self.timeline.record.layers, *self._layers, strict=False):
            shapes = [shape for _, _, shape in others]
            if own is None:
                yield path, kind, ""
            elif None in shapes or any(len(shape) != len(own) for shape in shapes):
                yield path, kind, _text_of_shape(own)
            else:
                yield (
                    path,
                    kind,
                    _text_of_shape(self._dimension(seen, point) for seen in zip(*shapes, strict=True)),
                )

    def _dimension(self, seen, point):
        return None if None in seen else round(self._formulas.values(seen, point))

    def held_at_peak(self, point, limit=UNLIMITED):
        """(Row, bytes, whether it depends on any parameter) of everything in use at the peak."""
        grows = [any(map(growth.depends_on, self.point)) for growth in self._growths]
        for i, size, is_scratch in self._in_use(point, limit):
            start = 0.0
            for row, share in self.timeline.parts(i):  # itself, unless it is the block of a compiled step
                row = replace(row, category="workspace") if is_scratch else row
                yield row, round(size * (start + share)) - round(size * start), grows[self._kind_of[i]]
                start += share

    def largest_fixed_gradient(self, point):
        """The bytes of the largest gradient in use at the peak that does not depend on the parameters."""
        held = self.held_at_peak(point)
        return max(
            (size for row, size, grows in held if row.category == "gradients" and not grows), default=0
        )

    def bytes_in_full_queue(self, point):
        """Bytes at the peak that wait in queues of tf.data which are large enough for all rows; or 0."""
        full = np.zeros(len(self._kind_of), dtype=bool)
        for name, rows in self.rows.items():
            full |= self._in_queue * min(point[name], rows) > rows
        return sum(size for i, size in self.at_peak(point) if full[i]) if full.any() else 0

    def bytes_not_requested(self, point):
        """Bytes at the peak by which blocks are larger than what was requested."""
        sizes = self.sizes(point)
        return sum(max(0, size - int(sizes[i])) for i, size in self.at_peak(point) if size > bfc.ROUND)

    def share_at_peak(self, point, sorts, doubtful=False):
        """The share of the predicted peak whose growth is of one of the sorts, or was matched in doubt.

        It is the peak without what a GPU only tries out.
        """
        chosen = np.array([growth.sort in sorts for growth in self._growths])[self._kind_of]
        if doubtful:
            chosen = chosen | self.doubtful
        peak_at = self._replay(point, UNLIMITED, self._later).place
        in_use = self._held_at(peak_at, point, UNLIMITED, self._later)
        held = [(i, size) for i, size, is_scratch in in_use if not is_scratch]
        return sum(size for i, size in held if chosen[i]) / sum(size for _, size in held)

    def unknown_bytes(self):
        """Bytes at the trial's own peak of allocations whose growth is unknown."""
        unknown = np.array([growth.sort == "unknown" for growth in self._growths])[self._kind_of]
        held = self.timeline.held_at_peak()
        return int(self.timeline.record.allocations["bytes"][held & unknown].sum())

    def tried_bytes(self):
        """Bytes at the trial's own peak with which a GPU tries out algorithms."""
        held = self.timeline.held_at_peak() & self._tried
        return int(self.timeline.record.allocations["bytes"][held].sum())

    def unknown_share(self):
        """Their share of the trial's peak."""
        return self.unknown_bytes() / self.timeline.peak_bytes


def _capped(point, rows):
    return {name: min(value, rows.get(name, value)) for name, value in point.items()}


def _rows(tokens, batches_of):
    """{parameter: rows} for a parameter that is a batch size of a fixed number of rows, by their batches.

    batches_of: of a Record, the number of batches of each loop. The one with the most rows counts.
    """
    rows = {}
    for name in tokens[0].point:
        others = {n: v for n, v in tokens[0].point.items() if n != name}
        line = [one for one in tokens if {n: v for n, v in one.point.items() if n != name} == others]
        found = []
        for batches in zip(*(batches_of(one.record) for one in line), strict=False):
            if None in batches or len(set(batches)) < 2:
                found.append(None)
                continue
            sizes = [(one.point[name], count) for one, count in zip(line, batches, strict=True)]
            least, most = max(v * (n - 1) for v, n in sizes), min(v * n for v, n in sizes)
            found.append(most if least < most else None)
        if found and None not in found:
            rows[name] = max(found)
    return rows


def _piles(tokens, number, formulas):
    """[(indices, how many, how many in each trial)] of what an op leaves behind in each turn of a loop.

    A recurrent layer keeps tensors of every time step: over its length, it is their number that grows. At
    other values each of those seen stands for as many as there are more.
    """
    own, piles = tokens[number], []
    for key, places in own.groups.items():
        if key[0] in ("", "XLA") or len(places) < PILE or own.timeline.in_pipeline[places[0]]:
            continue
        having = [one if key in one.groups else None for one in tokens]
        made = tuple(one and len(one.groups[key]) for one in having)
        in_use = [_at_once(one, one.groups[key]) for one in having if one]
        if min(in_use) >= PILE and len(set(in_use)) > 1 and formulas.of(made)[2]:
            piles.append((places, made[number], made))
    return piles


def _at_once(tokens, places):
    """How many of some allocations are in use at once, at most."""
    columns = tokens.record.allocations
    begin, end = columns["begin"][places], columns["end"][places]
    times, changes = _order(begin, end)
    return int(np.cumsum(np.where(changes >= 0, 1, -1)).max(initial=0))


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
    kinds, numbers, kind_of = [], {}, np.empty(count, dtype=int)
    for i in range(count):
        places = [int(column[i]) for column in counterparts]
        seen = tuple(one.seen(j) if j >= 0 else None for one, j in zip(tokens, places, strict=True))
        block = isinstance(seen[number][0], Program)
        if any(one and isinstance(one[0], Program) != block for one in seen):
            seen = tuple(one if k == number else None for k, one in enumerate(seen))
        key = tuple(one and (id(one[0]) if isinstance(one[0], Program) else one[0], one[1]) for one in seen)
        kind_of[i] = numbers.setdefault(key, len(numbers))
        if kind_of[i] == len(kinds):
            kinds.append(seen)
    return kinds, kind_of, doubtful


def _text_of_shape(dimensions):
    return f"({', '.join(map(str, dimensions))})"


def _order(begin, end):
    """The events in order of time: i for an allocation, ~i for a deallocation."""
    begins, ends = np.flatnonzero(begin >= 0), np.flatnonzero((begin >= 0) & (end >= 0))
    times, events = np.concatenate([begin[begins], end[ends]]), np.concatenate([begins, ~ends])
    sequence = np.argsort(times, kind="stable")
    return times[sequence], events[sequence]


def _last_steps(record):
    """(first, last) place of the last steps of each training, as many as one round of the optimizer takes."""
    ends = sorted(at for at, kind in record.moments if kind != "part")
    groups = [group.tolist() for group in np.split(record.steps, np.searchsorted(record.steps, ends))]
    return [(group[-1 - record.round], group[-1]) for group in groups if len(group) > record.round]
