"""Estimate: what a few small trials say about values of the parameters that were not run."""

import collections
import functools
import math
import numbers

from ..errors import LabkitError
from ..machine import parse_limit
from ..sizes import MIB, format_size, parse_size, plain

MAXIMUM = 2**24  # the largest value considered
FAR = 16  # times the larger value: where it is asked what matters in a prediction
DIP_PERCENT = 15  # how far below a value that fits a smaller one may not fit
SPREAD = 0.02  # by which the peaks of repeated trials differ, beyond what the recorded sequences show
HOLES_OFF = 0.25  # of what blocks are larger than requested: it may be more or less, as the holes are others
GUESS_OFF = 0.3  # of growth whose formula nothing confirms: by so much it may be off, in either direction
DISAGREE = 1.1  # times: by so much predictions from two trials, or orders, may differ without a note
ORDERS_COMPARED = 4
QUEUE_OFF = 0.5  # of what waits in a queue that is large enough for all rows: it may not be full
GAPS = 2  # times the largest gradient of a weight: what the gaps that updates leave may add from step to step
RECURRENT_OFF = (
    0.15  # of the peak: by so much a recurrent network may take more once its order of ops changes
)
MATTERS = 0.02  # of the peak: of less it does not matter how it grows
# TensorFlow rewrites sums of three or more gradients, such as batch normalization produces, once it expects a
# step to take over 80 % of the device's memory (SchedulingPass in
# tensorflow/core/grappler/optimizers/memory_optimizer.cc); it assumes its CPU device has 256 MiB, whatever
# the limit. The rewritten sums take more memory. A model with such sums gets a trial above that size.
REWRITES_AT = 0.8 * 256 * 2**20  # bytes that TensorFlow expects a step to take
SURELY_REWRITTEN = 1.5  # times REWRITES_AT: in four models it happened at a peak of 0.87 to 1.3 times that
LIKELY_REWRITTEN, POSSIBLY_REWRITTEN = 0.7, 0.55  # of the value at which sums are surely rewritten
FURTHEST = 1000  # times the larger value: no further trial beyond, for a peak that grows so slowly
SUM_MATTERS = 0.03  # of the bytes per sample: smaller sums are ignored


class Estimate:
    """A prediction of the peak for values of one or several parameters that were not run.

    over       the parameter, or a tuple of several
    at         the values that were run: of one parameter a tuple, of several a dict of tuples
    measured   {value: peak in bytes} of the trials that the prediction is made from; for several parameters
               the values are tuples, in the order of `over`
    trials     how many trials were run
    ooms       how many of them ran out of memory: those of smaller values were then made instead
    seconds    how long they took
    notes      sentences on what makes this prediction doubtful; empty if nothing does
    moment     when the peak is: in "training", "evaluation", "prediction" or "other"
    further    a larger value at which another trial would show what small ones cannot; or None

    Methods that take values of the parameters take them by name, or a bare number if there is only one. They
    raise LabkitError if nothing in memory depends on a parameter, for then `train` seems to ignore it.

    >>> estimate.peak_bytes(64)
    >>> estimate.peak_bytes(batch_size=64, length=512)
    """

    def __init__(self, over, at, probes):
        """probes: (point, Outcome) of each trial; a point is {parameter: value}."""
        self.over, self.at = over, at
        self.names = (over,) if isinstance(over, str) else tuple(over)
        self.ooms, self.trials = 0, len(probes)
        self._probes, self._rewritten = list(probes), None
        self._device = probes[0][1].device
        self.notes = []
        self._refit()
        self.further = self._further() if self._device == "cpu" and len(self.names) == 1 else None

    def _refit(self):
        from .replay import schedules  # it imports NumPy, which would slow down importing labkit

        self.seconds = sum(probe.wall_seconds for _, probe in self._probes)
        self.measured = {self._key(point): probe.peak_bytes for point, probe in self._probes}
        points, outcomes = zip(*self._probes, strict=True)
        self._schedules = schedules(points, [outcome.timeline for outcome in outcomes])
        guessed = 0 if self._fixed else self._schedules[-1].share_at_peak(self._far, {"guessed"})
        self._off = GUESS_OFF * guessed if guessed > MATTERS else 0.0
        self.notes = list(self._doubts())

    def peak_bytes(self, value=None, memory_limit=None, autotuning=True, **values):
        """The predicted peak in bytes at `over` = value.

        memory_limit   a limit changes the peak a little, because the allocator's blocks differ; if the value
                       does not fit, the result is the peak without a limit
        autotuning     False: without what a GPU takes in the first step to try out algorithms. It is added as
                       the small trials have seen it, for they do not tell how it grows.
        """
        point = self._point(value, values)
        schedule = self._schedule(point)
        if not autotuning:
            return schedule.later_peak(point)
        if memory_limit:
            limited = schedule.replay(point, parse_size(memory_limit) // MIB * MIB)  # it takes whole MiB
            if limited.fits:
                return limited.peak
        return schedule.replay(point).peak

    def interval(self, value=None, **values):
        """(low, high) in bytes between which the peak should lie.

        They are the smallest and the largest peak of all recorded sequences there, plus 2 % on either side:
        the order of ops varies a little from run to run, and the peak with it; so do the points in time at
        which tf.data makes its batches, how many wait in a queue that holds all rows, and the holes that the
        allocator fills with blocks larger than requested: a quarter of what they are larger is added.
        The upper end has room for two more gradients of the largest weight, for the gaps that updates leave
        wander from step to step. Where growth is in doubt, as `notes` then say, the ends are further apart:
        by what cannot be explained, and by a part of what is guessed. What a GPU takes in the first step to
        try out algorithms may be nothing, or have grown in proportion.
        """
        point = self._point(value, values)
        near = self._schedules_near(point)
        peaks = [
            schedule.replay(point, order=k).peak for schedule in near for k in range(len(schedule.orders))
        ]
        growth = max(0, max(peaks) - max(self.measured.values()))
        below = self._off * growth + HOLES_OFF * self._schedule(point).bytes_not_requested(point)
        above = below + self._unknown_growth(point)
        below += QUEUE_OFF * self._schedule(point).bytes_in_full_queue(point)
        above += GAPS * self._schedule(point).largest_fixed_gradient(point)
        above += RECURRENT_OFF * max(peaks) * self._schedules[-1].is_recurrent
        above += self._growth_of_trials(point)
        least = min(min(peaks), *(schedule.later_peak(point) for schedule in near))
        return round(least * (1 - SPREAD) - below), round(max(peaks) * (1 + SPREAD) + above)

    def largest(self, memory_limit, sure=False, **others):
        """The largest integer value that is predicted to fit the limit, None if not even 1 does.

        sure     replay the sequences of all trials that may apply, as `interval` does, and keep 2 % free
        others   for several parameters, the values of all but the first

        A batch size is not larger than the number of rows, where `fit` tells it.
        Values up to 15 % smaller are predicted to fit too (a block that the allocator does not split can make
        a larger value fit where a smaller one does not), whenever tf.data makes its batches.
        The limit may be that of another machine, larger than the memory of this one: nothing is run.
        Raises LabkitError for a limit that cannot be parsed or is under 1 MiB, and if memory does not depend
        on the parameter.
        """
        limit = parse_limit(memory_limit)
        self.check_searchable(others)
        self._point(None, {self.names[0]: 1, **others})

        def at(value):
            return {self.names[0]: value, **others}

        @functools.cache
        def fits(value, order):
            near = self._schedules_near(at(value)) if sure else [self._schedule(at(value))]
            room = limit - round(self._growth_of_trials(at(value))) if sure else limit
            return all(
                schedule.replay(at(value), room, order).fits
                for schedule in near
                if order < len(schedule.orders)
            )

        most = min(MAXIMUM, self.rows or MAXIMUM)
        if self._is_far_below(limit, at(most)):
            return most
        largest = self._settled(_largest(lambda value: fits(value, 0), most, self._guess(limit, at)), fits)
        if sure and largest:
            largest = self._settled(self._with_room(largest, at, limit), fits)
        return largest or None

    def largest_by_peak(self, size, at_least=0, /, **others):
        """The largest value whose peak is at most `size` bytes, whatever its gaps.

        at_least   a value that is known to fit
        others     for several parameters, the values of all but the first
        """
        most, name = min(MAXIMUM, self.rows or MAXIMUM), self.names[0]
        return _largest(
            lambda value: value <= at_least or self.peak_bytes(**{name: value}, **others) <= size, most
        )

    def check_searchable(self, others=()):
        """Raise LabkitError if there is no largest value to look for."""
        first, *rest = self.names
        if set(others) != set(rest):
            wanted = ", ".join(f"{name}={self.at[name][0]}" for name in rest)
            raise LabkitError(f"largest() finds the largest {first}" + (f": give {wanted}." if rest else "."))
        if self._fixed:
            raise LabkitError(self._fixed)
        if not self._schedules[-1].grows_with(first):
            raise LabkitError(
                f"Nothing in memory is known to grow with {first}, and how "
                f"{100 * self._schedules[-1].unknown_share():.0f} % of it grows is unknown. labkit.sweep() "
                "measures real values."
            )
        values = self.at[first] if rest else self.at
        if not all(isinstance(value, int) for value in values):
            raise LabkitError(f"{first} is no whole number, and largest() looks for one.")

    def _is_far_below(self, limit, point):
        """Whether a point fits without a doubt: the gaps of the allocator do not take three quarters."""
        return self.rows is not None and self._schedule(point).replay(point).peak <= limit / 4

    def _guess(self, limit, at):
        """Where to begin to look for the largest value: where a line through two peaks meets the limit."""
        small, large = 1, self._far[self.names[0]]
        low, high = (self._schedule(at(value)).replay(at(value)).peak for value in (small, large))
        return round(small + (large - small) * (limit - low) / max(1, high - low))

    def _settled(self, largest, fits):
        """`largest`, or the next lower value, that fits in all orders, as do values up to 15 % smaller."""
        orders = range(max(len(schedule.orders) for schedule in self._schedules))
        while largest:
            dips = ((round(largest * (1 - less / 100)), 0) for less in range(1, DIP_PERCENT + 1))
            checks = [*((largest, order) for order in orders), *dips]
            refused = next(
                ((value, order) for value, order in checks if value and not fits(value, order)), None
            )
            if refused is None:
                break
            largest = _below(refused[0], lambda value, order=refused[1]: fits(value, order))
        return largest

    def _with_room(self, largest, at, limit):
        """The first value, at most 5 % below, that leaves 2 % of the limit free; otherwise 2 % less."""
        for less in range(11):
            value = round(largest * (1 - less / 200))
            replays = [schedule.replay(at(value), limit) for schedule in self._schedules_near(at(value))]
            if all(replay.fits and replay.peak <= (1 - SPREAD) * limit for replay in replays):
                return value
        return round(largest * (1 - SPREAD))

    @property
    def rows(self):
        """How many rows `fit` trains on, if that limits the (first) parameter; otherwise None."""
        return self._schedules[-1].rows.get(self.names[0])

    def steps_of_an_epoch(self, value):
        """How many steps an epoch of `fit` has at a batch size; None if unknown."""
        rows = self.rows
        batches = [count for count in self._schedules[-1].timeline.record.batches if count]
        return -(-rows // value) if rows else max(batches, default=None)

    def frontier(self, memory_limit, values=None):
        """{value of the second parameter: the largest value of the first that fits, or None}.

        values   those of the second parameter; by default doublings of the smallest tried, as long as
                 anything fits
        """
        if len(self.names) != 2:
            raise LabkitError(
                'A frontier takes an estimate over two parameters: over=("batch_size", "length").'
            )
        second, found = self.names[1], {}
        doublings = [self.at[second][0] * 2**power for power in range(11)]
        try:
            asked = doublings if values is None else list(map(plain, values))
        except TypeError:
            raise LabkitError(
                f"values={values!r}: give a list of values of {second}, such as {doublings[:3]}."
            ) from None
        for value in asked:
            found[value] = self.largest(memory_limit, **{second: value})
            if found[value] is None and values is None:
                break
        return found

    @property
    def moment(self):
        """When the peak is, at 16 times the values tried."""
        peaks = self._peaks_by_moment(self._far)
        return max(peaks, key=peaks.get)

    def moment_at(self, value=None, **values):
        """When the peak is at a value: "training", "evaluation", "prediction", or "other"."""
        peaks = self._peaks_by_moment(self._point(value, values))
        return max(peaks, key=peaks.get)

    def _peaks_by_moment(self, point):
        return self._schedule(point).peaks_by_moment(point)

    def breakdown(self, value=None, memory_limit=None, **values):
        """{"category": {...}, "layer": {...}}: the bytes of each at the peak that peak_bytes() predicts."""
        point = self._point(value, values)
        schedule = self._schedule(point)
        from ..record.timeline import CATEGORIES

        by_category, by_layer = dict.fromkeys(CATEGORIES, 0), collections.Counter()
        limit = {"limit": parse_size(memory_limit) // MIB * MIB} if memory_limit else {}
        for row, part, _ in schedule.held_at_peak(point, **limit):
            by_category[row.category] += part
            by_layer[row.layer] += part
        return {"category": by_category, "layer": dict(by_layer.most_common())}

    def layers(self, value=None, **values):
        """The table of the predicted peak layer by layer, a labkit.show.tables.LayerTable.

        A row for each layer in the model's order: its class, output shape, the bytes of its weights, of
        optimizer state, gradients, activations kept, workspace, and in all. They add up to the peak.

        >>> estimate.layers(64)
        >>> pandas.DataFrame(estimate.layers(64).to_dicts())
        """
        point = self._point(value, values)
        schedule = self._schedule(point)
        from ..show.tables import layer_table

        return layer_table(schedule.held_at_peak(point), schedule.layers_at(point), point)

    def plot(self, memory_limit=None, title=""):
        """The figure: the predicted peak by category, with the limit and the largest value that fits it.

        Over two parameters: what fits the limit.
        """
        from ..show import sweeps

        limit = memory_limit and parse_limit(memory_limit)
        if len(self.names) == 1:
            return sweeps.prediction(self, limit, title)
        if not limit:
            raise LabkitError('Over several parameters, give a memory_limit to draw, such as "8 GiB".')
        return sweeps.frontier(self.names, self.frontier(limit), limit, title)

    def __repr__(self):
        if self._fixed:
            return "\n".join(self.notes)
        shown = [
            f"{', '.join(map(str, point.values()))}: {format_size(self.peak_bytes(**point))}"
            for point in self.points((1, 4, FAR))
        ]
        by = f"Estimated peak by {' and '.join(self.names)}"
        separator = ", " if len(self.names) == 1 else " · "
        return "\n".join([f"{by} · {separator.join(shown)}", *self.moment_text(), *self.notes])

    def points(self, multiples):
        """[{parameter: value}] at multiples of the largest values tried, none with more than the rows."""
        tried = self.at if isinstance(self.at, dict) else {self.over: self.at}
        first = self.names[0]
        most = max(self.rows or math.inf, tried[first][-1])
        points = [{name: times * values[-1] for name, values in tried.items()} for times in multiples]
        return [point for point in points if point[first] <= most]

    def what_is_too_large(self, memory_limit, **others):
        """Sentences on what would have to go where not even 1 fits the limit."""
        from ..show.tables import COLUMNS

        table = self.layers(**{self.names[0]: 1, **others})
        largest = max(table.unfolded().rows, key=lambda row: row.bytes)
        column = max(COLUMNS, key=lambda column: getattr(largest, column))
        too_much = table.peak_bytes - parse_size(memory_limit)
        would = (
            f"{format_size(too_much)} would have to go."
            if too_much > 0
            else "The tensors would fit, but not with the gaps that the allocator leaves between them."
        )
        return (
            f"{would} {table.heading} Most is taken by {largest.layer}: "
            f"{format_size(largest.bytes)}, above all {column}."
        )

    def moment_text(self):
        """A list: one sentence if something else needs more than training, otherwise none."""
        peaks = self._peaks_by_moment(self._far)
        moment = max(peaks, key=peaks.get)
        if moment == "training":
            return []
        doing = "What follows training" if moment == "other" else moment.capitalize()
        sizes = [format_size(peaks.get(name, 0)) for name in (moment, "training")]
        at = _named(self._far)
        return [f"{doing} needs more memory than training: at {at}, {sizes[0]} against {sizes[1]}."]

    def add(self, point, probe):
        """Add the outcome of a trial that was made because the others leave a doubt."""
        self._probes.append((point, probe))
        self._refit()

    def add_further(self, probe):
        """Add the outcome of a trial at the value `further`."""
        from .replay import schedules

        self.seconds += probe.wall_seconds
        if probe.peak_bytes < 0.9 * self.peak_bytes(self.further):
            self.notes.append(
                f"At {self.over}={self.further} the peak was {format_size(probe.peak_bytes)}, less than "
                "predicted: perhaps the data has fewer rows than that."
            )
            return
        self.measured[self.further] = probe.peak_bytes
        last, further = self._schedules[-1], {self.over: self.further}
        self._rewritten = schedules((last.point, further), [last.timeline, probe.timeline])[-1]

    def _further(self):
        """A value at which sums are surely rewritten, if there are any that matter."""
        if self._fixed:
            return None
        schedule, value = self._schedules[-1], self.at[-1]
        here, there = (schedule.replay({self.over: v}).peak for v in (value, 32 * value))
        row = max(1, there - here) / (31 * value)
        if here > REWRITES_AT or schedule.timeline.record.widest_sum_bytes < SUM_MATTERS * row:
            return None
        there = self._value_at(SURELY_REWRITTEN * REWRITES_AT)
        return there if there <= FURTHEST * value else None

    def _value_at(self, peak):
        """The value whose peak is about that many bytes."""
        schedule, value = self._schedules[-1], self.at[-1]
        for _ in range(3):
            here, there = (
                schedule.replay({self.over: value}).peak,
                schedule.replay({self.over: 2 * value}).peak,
            )
            value = max(1, round(value + value * (peak - here) / max(1, there - here)))
        return min(value, MAXIMUM)

    def _point(self, value, values):
        """{parameter: value} of what a method was called with."""
        if len(self.names) == 1 and self.over not in values:
            values = {**values, self.over: value}
        elif value is not None:
            raise LabkitError(f"{value!r}: give the value of each parameter by name: {self._call()}.")
        if set(values) != set(self.names):
            raise LabkitError(f"This is an estimate over {' and '.join(self.names)}: give {self._call()}.")
        for name, number in values.items():
            is_number = isinstance(number, numbers.Real) and not isinstance(number, bool)
            if not is_number or not 0 < number < math.inf:
                raise LabkitError(f"{number!r} is not a value of {name}: give a positive number.")
        if self._fixed:
            raise LabkitError(self._fixed)
        return {name: values[name] for name in self.names}

    def _call(self):
        return ", ".join(f"{name}=..." for name in self.names)

    def _key(self, point):
        values = tuple(point[name] for name in self.names)
        return values if len(values) > 1 else values[0]

    def _schedule(self, point):
        beyond = self._rewritten and point[self.over] > LIKELY_REWRITTEN * self.further
        return self._rewritten if beyond else self._schedules[-1]

    def _schedules_near(self, point):
        """The schedules that may apply there: where exactly sums are rewritten is unknown."""
        if not self._rewritten or point[self.over] < POSSIBLY_REWRITTEN * self.further:
            return self._schedules
        return [self._rewritten] if point[self.over] >= self.further else [*self._schedules, self._rewritten]

    @property
    def _far(self):
        values = self.at if isinstance(self.at, dict) else {self.over: self.at}
        return {name: FAR * tried[-1] for name, tried in values.items()}

    @property
    def _fixed(self):
        """A sentence if nothing in memory depends on a parameter; otherwise ""."""
        fixed = [name for name in self.names if not self._schedules[-1].grows_with(name)]
        if fixed and self._schedules[-1].unknown_share() > MATTERS:
            return ""
        return (
            f"Nothing in memory grows with {' or '.join(fixed)}: the peak is the same whatever its value. "
            "Perhaps `train` does not use it."
            if fixed
            else ""
        )

    @property
    def is_doubtful(self):
        """Whether another small trial would tell more: something that matters is not simply proportional."""
        schedule = self._schedules[-1]
        doubtful = schedule.share_at_peak(self._far, {"guessed", "unknown"}, doubtful=True)
        return not self._fixed and doubtful > MATTERS

    def _unknown_growth(self, point):
        """Bytes by which what is unknown would grow if it were proportional to all parameters."""
        schedule = self._schedules[-1]
        unknown = schedule.unknown_bytes() if schedule.unknown_share() > MATTERS else 0
        return unknown * (self._factor(point) - 1)

    def _growth_of_trials(self, point):
        """Bytes by which what a GPU tries out would grow if it were proportional to all parameters."""
        tried = self._schedules[-1].tried_bytes()
        return tried * (self._factor(point) - 1) if tried else 0

    def _factor(self, point):
        """How often a point has the largest trial's value, at least once."""
        return max(1.0, *(point[name] / self._schedules[-1].point[name] for name in self.names))

    def _doubts(self):
        schedule = self._schedules[-1]
        if self._fixed:
            yield self._fixed
        for far in (self._far, {name: 4 * value for name, value in self._far.items()}):
            by_trial = [one.replay(far).peak for one in self._schedules]
            if max(by_trial) > DISAGREE * min(by_trial):
                least, most = map(format_size, (min(by_trial), max(by_trial)))
                yield (
                    f"The small trials went different ways, and disagree: {least} or {most} at "
                    f"{_named(far)}. The interval has both."
                )
                break
        by_order = [
            schedule.replay(self._far, order=k).peak for k in range(len(schedule.orders))[:ORDERS_COMPARED]
        ]
        if not self._fixed and max(by_order) > DISAGREE * min(by_order):
            least, most = map(format_size, (min(by_order), max(by_order)))
            yield (
                f"At {_named(self._far)} the peak is {least} or {most}, depending on when tf.data makes its "
                "batches: blocks that are handed out whole then have other sizes. The interval has both."
            )
        share = schedule.unknown_share()
        if share > MATTERS:
            yield (
                f"How {100 * share:.0f} % of the memory at the peak grows is unknown: it may be more than "
                "predicted, up to the upper end of the interval."
            )
        if schedule.tried_bytes() > MATTERS * schedule.timeline.peak_bytes:
            timeline = schedule.timeline
            later = timeline.total()[timeline.steps[0] :].max()
            first, later = format_size(timeline.peak_bytes), format_size(int(later))
            yield (
                f"On a GPU the first step also tries out algorithms: at {_named(schedule.point)} it took "
                f"{first}, and later ones {later}. Small trials do not tell how that grows: the interval "
                "has room for it, and find_batch_size() measures."
            )
        if self._off:
            yield (
                f"How {100 * self._off / GUESS_OFF:.0f} % of the memory at a larger peak grows is a guess "
                "that no further trial confirms: the interval is wider for it."
            )
        if schedule.is_recurrent:
            yield (
                "Recurrent layers, or another loop in the graph: after about ten steps TensorFlow changes "
                "the order of ops, which small trials do not show. The peak can be higher than predicted, "
                "most with small batches."
            )
        yield from unseen(schedule.timeline.record)


def unseen(record):
    """Sentences on what a shortened trial did not show."""
    yield from record.notes
    if record.cut == "trainings":
        yield (
            f"`train` trains again and again: only a few steps of the first {record.trainings} trainings "
            "were seen, and nothing of what follows."
        )
    elif record.cut == "time":
        yield "`train` goes on for long after its training steps: what it does then was not seen."
    elif record.cut:
        yield (
            f"After a few steps of each loop, which is all that a small trial makes, `train` ended with "
            f"{record.cut}: what it would do after that was not seen."
        )


def _named(point):
    return ", ".join(f"{name} {value}" for name, value in point.items())


def _largest(fits, most=MAXIMUM, guess=1):
    """The largest integer that fits, up to `most`; 0 if 1 does not. A good guess saves steps."""
    low, step = min(max(guess, 1), most), 1
    if not fits(low):
        return _below(low, fits)
    while low < most:
        high = min(most, low + step)
        if not fits(high):
            return _between(fits, low, high)
        low, step = high, 2 * step
    return most


def _below(value, fits):
    """The next lower value that fits, below one that does not; 0 if none."""
    low, high, step = value - 1, value, 1
    while low > 0 and not fits(low):
        low, high, step = max(0, low - step), low, 2 * step
    return _between(fits, low, high)


def _between(fits, low, high):
    """The largest integer that fits, by bisection: `low` fits and `high` does not."""
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low
