"""estimate(): two small traced trials, and from them the peak at any batch size.

Each allocation of one trial is matched with its like in the other: the same op, type and rank, the same
time that op comes by. Its size is then taken to be affine in the batch size: so many bytes fixed, so many
a sample; one that has no like is taken to grow with the batch if its first dimension is a multiple of it.
The sequence of allocations and deallocations is replayed at the batch size asked for, through a model of
the allocator (labkit.predict.allocator), which adds what the allocator gives beyond what was asked.

One thing small trials cannot show: TensorFlow rewrites sums of three gradients and more, as batch
normalization brings them, once it thinks that a step takes over 80 % of the device's memory
(SchedulingPass in tensorflow/core/grappler/optimizers/memory_optimizer.cc); of its CPU device it believes
that it has 256 MiB, whatever the limit. The rewritten sums take more. A model that has such sums gets a
third trial beyond that.
"""

import collections
import functools

from ..errors import LabkitError, Stopped
from ..machine import check_limit, device
from ..sizes import MIB, format_size, parse_size
from ..trials.console import Progress
from ..trials.series import Series

STEPS = 3  # one that builds the model too, at whose end optimizers make their slots; and two like all others
WIDEST = 2**24
DIP = 15  # per cent below what fits: within them something may not
WANDER = 0.02  # by which repeated trials differ and no sequence tells
REWRITES_AT = 0.8 * 256 * 2**20
SURELY_REWRITTEN = 1.5  # times that: in four models it happened at a peak of 0.87 to 1.3 times
LIKELY, POSSIBLY = 0.7, 0.55  # of the value at which sums are surely rewritten
FURTHEST = 1000  # times the larger value: what grows so little need not be looked for there
MATTERS = 0.03  # the share of a sum in what a sample takes


def estimate(train, *, at=(4, 8), over="batch_size", timeout=120, seed=0, **params):
    """Predict the peak of `train` at any value of `over` from two small trials; returns the Estimate.

    at   the two values to try, small and different; each trial ends after three training steps

    What `train` does after three steps is not seen. Raises LabkitError if a trial does not fit or makes no
    steps, and for what run() refuses.

    >>> labkit.estimate(train).largest("8 GiB")
    """
    return Estimating(train, at, over, timeout=timeout, seed=seed, params=params).run()


class Estimating:
    """The trials of an estimate, which can be watched and stopped from outside; estimate() is the short form.

    show      a labkit.process.show.ShowOfSeveral
    options   those of labkit.Trial: timeout, seed, params

    >>> Estimating(train, at=(4, 8), over="batch_size", params={}).run().peak_bytes(64)
    """

    def __init__(self, train, at, over, show=None, **options):
        self.over, self.at = over, _two_values(at)
        self.series = Series(train, over, show or Progress(over), **options)
        self.series.check(self.at[0])

    def run(self):
        """Make the trials; returns the Estimate. Raises Stopped if it was stopped, at whatever moment."""
        try:
            probes = [self._probe(place, value) for place, value in enumerate(self.at)]
            found = Estimate(self.over, self.at, probes)
            if found.further is not None:
                self._look_further(found)
            return found
        finally:
            self.series.show.end()

    def stop(self):
        """End it, from any thread."""
        self.series.stop()

    def _look_further(self, found):
        found.trials += 1
        try:
            found.add(self._probe(2, found.further))
        except Stopped:
            raise
        except LabkitError as e:
            found.notes.append(f"Beyond {self.over}={found.further} all is less certain. {e}")

    def _probe(self, place, value):
        total = max(len(self.at), place + 1)
        outcome = self.series.run(value, place, total, "estimating", profile=STEPS, end_after_steps=STEPS)
        _check(outcome, f"{self.over}={value}")
        return outcome


def _two_values(at):
    try:
        small, large = sorted(at)
        if not 0 < small < large:
            raise ValueError
    except (TypeError, ValueError):
        raise LabkitError(f"at={at!r}: give two different positive numbers, such as (4, 8).") from None
    return small, large


def _check(outcome, where):
    """Refuse an outcome from which nothing can be predicted."""
    if not outcome.ok:
        raise LabkitError(f"The trial at {where} did not end well, so nothing can be predicted:\n{outcome}")
    if outcome.timeline is None:
        raise LabkitError(f"The trial at {where} could not be recorded: {outcome.note}")
    if not outcome.timeline.steps:
        raise LabkitError(
            f"No training step was seen at {where}: estimate() needs `train` to train, with fit, "
            "train_on_batch or a tf.function that applies an optimizer."
        )


class Estimate:
    """A prediction of the peak for values of one parameter that were not run.

    over, at   the parameter, and the two values that were run
    measured   {value: peak in bytes} of the trials that it goes by
    trials     how many were made
    seconds    how long they took
    notes      sentences on what makes this prediction doubtful; empty if nothing does
    further    a value beyond that, at which another trial would show what small ones do not; or None
    """

    def __init__(self, over, at, probes):
        self.over, self.at = over, at
        self.trials, self.seconds = len(probes), sum(probe.wall_seconds for probe in probes)
        self.measured = {value: probe.peak_bytes for value, probe in zip(at, probes, strict=True)}
        from .replay import plans  # it brings NumPy, which importing labkit does not wait for

        self._plans = plans(at, [probe.timeline for probe in probes])
        self._rewritten = None
        self.notes = list(self._doubts())
        self.further = self._further() if probes[0].device == "cpu" else None

    def peak_bytes(self, value, memory_limit=None):
        """The predicted peak in bytes at `over` = value.

        memory_limit   under it the peak can differ a little, as the allocator's blocks do; of a value that
                       does not fit it is the peak without a limit
        """
        plan = self._plan(value)
        if memory_limit:
            under = plan.replay(value, parse_size(memory_limit) // MIB * MIB)  # as TensorFlow counts it
            if under.fits:
                return under.peak
        return plan.replay(value).peak

    def interval(self, value):
        """(low, high) in bytes between which the peak should lie.

        They are the least and the largest of what the trials' sequences come to at that value: the order of
        ops differs a little from run to run, and with it the peak; so do the moments at which tf.data makes
        its batches. 2 % are added either way.
        """
        peaks = [
            plan.replay(value, order=order).peak
            for plan in self._plans_near(value)
            for order in range(len(plan.orders))
        ]
        return round(min(peaks) * (1 - WANDER)), round(max(peaks) * (1 + WANDER))

    def largest(self, memory_limit, sure=False):
        """The largest whole value that is predicted to fit the limit, None if not even 1 does.

        sure   go by the sequences of all trials that may hold there, as `interval` does, and keep 2 % free

        What is up to 15 % smaller is predicted to fit too (blocks that the allocator does not split can make
        a larger value fit where a smaller one does not), at whatever moments tf.data makes its batches.
        Raises LabkitError for a limit that cannot be read or is more than the machine has.
        """
        limit = check_limit(memory_limit, device())

        @functools.cache
        def fits(value, order):
            plans = self._plans_near(value) if sure else [self._plan(value)]
            return all(plan.replay(value, limit, order).fits for plan in plans if order < len(plan.orders))

        largest = self._settled(_largest(lambda value: fits(value, 0)), fits)
        if sure and largest:
            largest = self._settled(self._with_room(largest, limit), fits)
        return largest or None

    def _settled(self, largest, fits):
        """`largest`, or the next below which fits in all orders, as does what is up to 15 % smaller."""
        orders = range(max(len(plan.orders) for plan in self._plans))
        while largest:
            dips = ((round(largest * (1 - less / 100)), 0) for less in range(1, DIP + 1))
            checks = [*((largest, order) for order in orders), *dips]
            refused = next(
                ((value, order) for value, order in checks if value and not fits(value, order)), None
            )
            if refused is None:
                break
            largest = _below(refused[0], lambda value, order=refused[1]: fits(value, order))
        return largest

    def _with_room(self, largest, limit):
        """Of the values at most 5 % below, the first that leaves 2 % of the limit; or else 2 % less."""
        for less in range(11):
            value = round(largest * (1 - less / 200))
            replays = [plan.replay(value, limit) for plan in self._plans_near(value)]
            if all(replay.fits and replay.peak <= (1 - WANDER) * limit for replay in replays):
                return value
        return round(largest * (1 - WANDER))

    def breakdown(self, value):
        """{"category": {...}, "layer": {...}}: bytes of each at the predicted peak."""
        plan = self._plan(value)
        from ..record.timeline import CATEGORIES

        by_category, by_layer = dict.fromkeys(CATEGORIES, 0), collections.Counter()
        for i, size in plan.at_peak(value):
            upto = 0.0
            for row, share in plan.timeline.parts(i):
                part, upto = round(size * (upto + share)) - round(size * upto), upto + share
                by_category[row.category] += part
                by_layer[row.layer] += part
        return {"category": by_category, "layer": dict(by_layer.most_common())}

    def plot(self, memory_limit=None, title=""):
        """The figure: the predicted peak by category, with the limit and the largest value that fits it."""
        from ..show import points

        return points.prediction(self, memory_limit and check_limit(memory_limit, device()), title)

    def __repr__(self):
        low, high = self.at
        points = ", ".join(f"{v}: {format_size(self.peak_bytes(v))}" for v in (high, 4 * high, 16 * high))
        return "\n".join([f"Estimate of the peak over {self.over} · {points}", *self.notes])

    def add(self, probe):
        """Take in the outcome of a trial at the value `further`."""
        from .replay import plans

        self.seconds += probe.wall_seconds
        if probe.peak_bytes < 0.9 * self.peak_bytes(self.further):
            self.notes.append(
                f"At {self.over}={self.further} the peak was {format_size(probe.peak_bytes)}, less than "
                "predicted: perhaps there are not so many rows."
            )
            return
        self.measured[self.further] = probe.peak_bytes
        self._rewritten = plans((self.at[1], self.further), [self._plans[-1].timeline, probe.timeline])[-1]

    def _further(self):
        """A value at which sums are rewritten, if there are any that matter."""
        plan, value = self._plans[-1], self.at[1]
        here, there = (plan.replay(v).peak for v in (value, 32 * value))
        row = max(1, there - here) / (31 * value)
        if here > REWRITES_AT or plan.timeline.record.widest_sum_bytes < MATTERS * row:
            return None
        there = self._value_at(SURELY_REWRITTEN * REWRITES_AT)
        return there if there <= FURTHEST * value else None

    def _value_at(self, peak):
        """About where the peak is so many bytes."""
        plan, value = self._plans[-1], self.at[1]
        for _ in range(3):
            here, there = plan.replay(value).peak, plan.replay(2 * value).peak
            value = max(1, round(value + value * (peak - here) / max(1, there - here)))
        return min(value, WIDEST)

    def _plan(self, value):
        beyond = self._rewritten and value > LIKELY * self.further
        return self._rewritten if beyond else self._plans[-1]

    def _plans_near(self, value):
        """The plans that may hold at that value: just where sums are rewritten is not known."""
        if not self._rewritten or value < POSSIBLY * self.further:
            return self._plans
        return [self._rewritten] if value >= self.further else [*self._plans, self._rewritten]

    def _doubts(self):
        plan = self._plans[-1]
        if not plan.per_unit.any():
            yield f"Nothing in memory grows with {self.over}: the peak is the same whatever its value."
        share = plan.unknown_bytes() / plan.timeline.peak_bytes
        if share > 0.02:
            yield f"How {100 * share:.0f} % of the memory at the peak grows is not known."
        share = plan.bent_bytes() / plan.timeline.peak_bytes
        if share > 0.02:
            yield (
                f"At the peak {100 * share:.0f} % of the memory grows in several dimensions with "
                f"{self.over}: in no straight line, so the estimate lies too low."
            )
        if plan.timeline.record.validates:
            yield (
                f"`fit` validates after the {STEPS} steps that were seen: what that takes, copies of the "
                "validation arrays among it, is not in the estimate."
            )


def _largest(fits):
    """The largest whole number that fits, 0 if 1 does not."""
    low, high = 0, 1
    while high <= WIDEST and fits(high):
        low, high = high, 2 * high
    return min(WIDEST, _between(fits, low, high))


def _below(value, fits):
    """The next below a value that does not fit which does, 0 if none."""
    low, high, step = value - 1, value, 1
    while low > 0 and not fits(low):
        low, high, step = max(0, low - step), low, 2 * step
    return _between(fits, low, high)


def _between(fits, low, high):
    """The largest number that fits, of two of which the first does and the second does not."""
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low
