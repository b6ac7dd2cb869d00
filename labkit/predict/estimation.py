"""estimate(): predict the peak at any batch size from two small recorded trials.

Each allocation of one trial is matched with its counterpart in the other: the same op, type, rank and step.
Its size is then taken to be affine in the batch size: fixed bytes plus bytes per sample. An allocation
without a counterpart is taken to grow with the batch if its first dimension is a multiple of the batch size.
The sequence of allocations and deallocations is replayed at the batch size in question through a model of
the allocator (labkit.predict.allocator), which accounts for what it allocates beyond what was requested.

One thing small trials cannot show: TensorFlow rewrites sums of three or more gradients, such as batch
normalization produces, once it expects a step to take over 80 % of the device's memory (SchedulingPass in
tensorflow/core/grappler/optimizers/memory_optimizer.cc); it assumes its CPU device has 256 MiB, whatever the
limit. The rewritten sums take more memory. A model with such sums gets a third trial above that size.
"""

import collections
import functools
import numbers

from ..errors import LabkitError, Stopped, TrialDidNotFit
from ..machine import check_limit, device, spare_memory
from ..sizes import MIB, format_size, parse_size
from ..trials.console import Progress
from ..trials.series import Series

# The first step also builds the model, and at its end the optimizer creates its slots; two more are like all
# later ones.
PATIENCE = 2  # seconds of waiting for memory after which a trial is taken not to fit
STEPS = 3
MAXIMUM = 2**24  # the largest value considered
DIP_PERCENT = 15  # how far below a value that fits a smaller one may not fit
SPREAD = 0.02  # by which the peaks of repeated trials differ, beyond what the recorded sequences show
REWRITES_AT = 0.8 * 256 * 2**20  # bytes that TensorFlow expects a step to take
SURELY_REWRITTEN = 1.5  # times REWRITES_AT: in four models it happened at a peak of 0.87 to 1.3 times that
LIKELY_REWRITTEN, POSSIBLY_REWRITTEN = 0.7, 0.55  # of the value at which sums are surely rewritten
FURTHEST = 1000  # times the larger value: no third trial beyond, for a peak that grows so slowly
SUM_MATTERS = 0.03  # of the bytes per sample: smaller sums are ignored


def estimate(train, *, at=(4, 8), over="batch_size", timeout=120, seed=0, **params):
    """Predict the peak of `train` at any value of `over` from two small trials; returns the Estimate.

    at   the two values to try, small and different; each trial ends after three training steps

    Whatever `train` does after three steps is not seen. Raises LabkitError if a trial does not fit or makes
    no training step, and for what run() refuses.

    >>> labkit.estimate(train).largest("8 GiB")
    """
    return Estimating(train, at, over, timeout=timeout, seed=seed, params=params).run()


class Estimating:
    """The trials of an estimate, which can be watched and stopped from outside; estimate() is the short form.

    show           a labkit.process.progress.ShowOfSeveral
    memory_limit   the most that a trial may take, in whatever form labkit.run takes it; in any case a trial
                   gets at most half of the host memory that is free
    options        those of labkit.Trial: timeout, seed, params

    >>> Estimating(train, at=(4, 8), over="batch_size", params={}).run().peak_bytes(64)
    """

    def __init__(self, train, at, over, show=None, *, memory_limit=None, **options):
        self.over, self.at, self._limit = over, _two_values(at), memory_limit
        self._ooms = 0
        self.series = Series(train, over, show or Progress(over), **options)
        self.series.check(self.at[0])

    def run(self):
        """Run the trials; returns the Estimate. Raises Stopped if it was stopped at any point."""
        try:
            probes = self._probes()
            estimate = Estimate(self.over, self.at, probes)
            estimate.ooms, estimate.trials = self._ooms, self._ooms + len(probes)
            if estimate.further is not None:
                self._look_further(estimate)
            return estimate
        finally:
            self.series.show.end()

    def stop(self):
        """End it, from any thread."""
        self.series.stop()

    def _probes(self):
        """The outcomes of the small trials; of smaller ones where those asked for do not fit."""
        while True:
            try:
                return [self._probe(done, value) for done, value in enumerate(self.at)]
            except TrialDidNotFit:
                self._ooms += 1
                if not (isinstance(self.at[0], int) and self.at[0] > 1):
                    raise
                self.at = tuple(max(least, value // 2) for least, value in zip((1, 2), self.at, strict=True))

    def _look_further(self, estimate):
        estimate.trials += 1
        try:
            estimate.add(self._probe(2, estimate.further))
        except Stopped:
            raise
        except LabkitError as e:
            note = f"Predictions beyond {self.over}={estimate.further} are less certain. {e}"
            estimate.notes.append(note)

    def _probe(self, done, value):
        total = max(len(self.at), done + 1)
        outcome = self.series.run(
            value, done, total, "estimating",
            profile=STEPS, end_after_steps=STEPS, memory_limit=trial_limit(self._limit), patience=PATIENCE,
        )  # fmt: skip
        _check(outcome, f"{self.over}={value}")
        return outcome


def trial_limit(memory_limit):
    """Bytes that a small trial may take: the reader's limit, and at most half of what is free here."""
    on = device()
    limits = [] if memory_limit is None else [check_limit(memory_limit, on)]
    if on.kind == "cpu":
        limits.append(max(MIB, spare_memory() // 2 // MIB * MIB))
    return min(limits, default=None)


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
    if outcome.status == "oom" and outcome.limit_bytes:
        raise TrialDidNotFit(
            f"Not even {where} fits {format_size(outcome.limit_bytes)}, the most that a small trial may take "
            f"here, so nothing can be predicted:\n{outcome}"
        )
    if not outcome.ok:
        raise LabkitError(f"The trial at {where} failed, so nothing can be predicted:\n{outcome}")
    if outcome.timeline is None and outcome.step_seconds:
        raise LabkitError(f"The trial at {where} could not be recorded: {outcome.note}")
    if outcome.timeline is None or not outcome.timeline.steps:
        raise LabkitError(
            f"No training step was seen at {where}: for estimate(), `train` must train, with fit, "
            "train_on_batch or a tf.function that applies an optimizer."
        )


class Estimate:
    """A prediction of the peak for values of one parameter that were not run.

    over, at   the parameter, and the two values that were run
    measured   {value: peak in bytes} of the trials that the prediction is made from
    trials     how many trials were run
    ooms       how many of them ran out of memory: those of smaller values were then made instead
    seconds    how long they took
    notes      sentences on what makes this prediction doubtful; empty if nothing does
    further    a larger value at which another trial would show what small ones cannot; or None
    """

    def __init__(self, over, at, probes):
        self.over, self.at = over, at
        self.ooms, self.trials = 0, len(probes)
        self.seconds = sum(probe.wall_seconds for probe in probes)
        self.measured = {value: probe.peak_bytes for value, probe in zip(at, probes, strict=True)}
        from .replay import schedules  # it imports NumPy, which would slow down importing labkit

        self._schedules = schedules(at, [probe.timeline for probe in probes])
        self._rewritten = None
        self.notes = list(self._doubts())
        self.further = self._further() if probes[0].device == "cpu" else None

    def peak_bytes(self, value, memory_limit=None):
        """The predicted peak in bytes at `over` = value.

        memory_limit   a limit changes the peak a little, because the allocator's blocks differ; if the value
                       does not fit, the result is the peak without a limit
        """
        schedule = self._schedule(value)
        if memory_limit:
            limited = schedule.replay(
                value, parse_size(memory_limit) // MIB * MIB
            )  # TensorFlow's limits are whole MiB
            if limited.fits:
                return limited.peak
        return schedule.replay(value).peak

    def interval(self, value):
        """(low, high) in bytes between which the peak should lie.

        They are the smallest and the largest peak of all recorded sequences at that value, plus 2 % on either
        side: the order of ops varies a little from run to run, and the peak with it; so do the points in time
        at which tf.data makes its batches.
        """
        peaks = [
            schedule.replay(value, order=order).peak
            for schedule in self._schedules_near(value)
            for order in range(len(schedule.orders))
        ]
        return round(min(peaks) * (1 - SPREAD)), round(max(peaks) * (1 + SPREAD))

    def largest(self, memory_limit, sure=False):
        """The largest integer value that is predicted to fit the limit, None if not even 1 does.

        sure   replay the sequences of all trials that may apply there, as `interval` does, and keep 2 % free

        Values up to 15 % smaller are predicted to fit too (a block that the allocator does not split can make
        a larger value fit where a smaller one does not), whenever tf.data makes its batches.
        Raises LabkitError for a limit that cannot be parsed or exceeds the machine's memory.
        """
        limit = check_limit(memory_limit, device())

        @functools.cache
        def fits(value, order):
            schedules = self._schedules_near(value) if sure else [self._schedule(value)]
            return all(
                schedule.replay(value, limit, order).fits
                for schedule in schedules
                if order < len(schedule.orders)
            )

        largest = self._settled(_largest(lambda value: fits(value, 0)), fits)
        if sure and largest:
            largest = self._settled(self._with_room(largest, limit), fits)
        return largest or None

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

    def _with_room(self, largest, limit):
        """The first value, at most 5 % below, that leaves 2 % of the limit free; otherwise 2 % less."""
        for less in range(11):
            value = round(largest * (1 - less / 200))
            replays = [schedule.replay(value, limit) for schedule in self._schedules_near(value)]
            if all(replay.fits and replay.peak <= (1 - SPREAD) * limit for replay in replays):
                return value
        return round(largest * (1 - SPREAD))

    def breakdown(self, value, memory_limit=None):
        """{"category": {...}, "layer": {...}}: the bytes of each at the peak that peak_bytes() predicts."""
        schedule = self._schedule(value)
        from ..record.timeline import CATEGORIES

        by_category, by_layer = dict.fromkeys(CATEGORIES, 0), collections.Counter()
        limit = {"limit": parse_size(memory_limit) // MIB * MIB} if memory_limit else {}
        for i, size in schedule.at_peak(value, **limit):
            start = 0.0
            for row, share in schedule.timeline.parts(i):
                part, start = round(size * (start + share)) - round(size * start), start + share
                by_category[row.category] += part
                by_layer[row.layer] += part
        return {"category": by_category, "layer": dict(by_layer.most_common())}

    def plot(self, memory_limit=None, title=""):
        """The figure: the predicted peak by category, with the limit and the largest value that fits it."""
        from ..show import sweeps

        return sweeps.prediction(self, memory_limit and check_limit(memory_limit, device()), title)

    def __repr__(self):
        low, high = self.at
        points = ", ".join(f"{v}: {format_size(self.peak_bytes(v))}" for v in (high, 4 * high, 16 * high))
        return "\n".join([f"Estimated peak by {self.over} · {points}", *self.notes])

    def add(self, probe):
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
        self._rewritten = schedules(
            (self.at[1], self.further), [self._schedules[-1].timeline, probe.timeline]
        )[-1]

    def _further(self):
        """A value at which sums are surely rewritten, if there are any that matter."""
        schedule, value = self._schedules[-1], self.at[1]
        here, there = (schedule.replay(v).peak for v in (value, 32 * value))
        row = max(1, there - here) / (31 * value)
        if here > REWRITES_AT or schedule.timeline.record.widest_sum_bytes < SUM_MATTERS * row:
            return None
        there = self._value_at(SURELY_REWRITTEN * REWRITES_AT)
        return there if there <= FURTHEST * value else None

    def _value_at(self, peak):
        """The value whose peak is about that many bytes."""
        schedule, value = self._schedules[-1], self.at[1]
        for _ in range(3):
            here, there = schedule.replay(value).peak, schedule.replay(2 * value).peak
            value = max(1, round(value + value * (peak - here) / max(1, there - here)))
        return min(value, MAXIMUM)

    def _schedule(self, value):
        if isinstance(value, bool) or not isinstance(value, numbers.Real) or not value > 0:
            raise LabkitError(f"{value!r} is not a value of {self.over}: give a positive number.")
        beyond = self._rewritten and value > LIKELY_REWRITTEN * self.further
        return self._rewritten if beyond else self._schedules[-1]

    def _schedules_near(self, value):
        """The schedules that may apply at that value: where exactly sums are rewritten is unknown."""
        if not self._rewritten or value < POSSIBLY_REWRITTEN * self.further:
            return self._schedules
        return [self._rewritten] if value >= self.further else [*self._schedules, self._rewritten]

    def _doubts(self):
        schedule = self._schedules[-1]
        if not schedule.per_unit.any():
            yield f"Nothing in memory grows with {self.over}: the peak is the same whatever its value."
        share = schedule.unknown_bytes() / schedule.timeline.peak_bytes
        if share > 0.02:
            yield f"How {100 * share:.0f} % of the memory at the peak grows is unknown."
        share = schedule.nonlinear_bytes() / schedule.timeline.peak_bytes
        if share > 0.02:
            yield (
                f"At the peak, {100 * share:.0f} % of the memory grows in several dimensions with "
                f"{self.over}, and so not linearly: the estimate is too low."
            )
        if schedule.timeline.record.validates:
            yield (
                f"`fit` validates after the {STEPS} recorded steps: the memory for that, including copies of "
                "the validation arrays, is not in the estimate."
            )


def _largest(fits):
    """The largest integer that fits, up to MAXIMUM; 0 if 1 does not."""
    low, high = 0, 1
    while high <= MAXIMUM and fits(high):
        low, high = high, 2 * high
    return min(MAXIMUM, _between(fits, low, high))


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
