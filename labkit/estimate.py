"""estimate(): two small traced trials, and from them the peak at any batch size.

Each allocation of one trial is matched with its like in the other: the same op, type and rank, the same
time that op comes by. Its size is then taken to be affine in the batch size: so many bytes fixed, so many
a sample; one that has no like is taken to grow with the batch if its first dimension is a multiple of it.
The sequence of allocations and deallocations is replayed at the batch size asked for, through a model of
the allocator (labkit.bfc), which adds what the allocator gives beyond what was asked.
"""

import collections

from .console import Progress
from .errors import LabkitError, Stopped
from .memory import check_limit, device, format_size
from .run import Trial

STEPS = 3  # building; the first step, at whose end optimizers make their slots; and two like all that follow
WIDEST = 2**24


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

    show      an object with the methods of labkit.console.Console, `begin(value, done, total)` and `end()`
    options   those of labkit.run.Trial: timeout, seed, params

    >>> Estimating(train, at=(4, 8), over="batch_size", params={}).run().peak_bytes(64)
    """

    def __init__(self, train, at, over, show=None, **options):
        self.over, self.at = over, _two_values(at)
        if over in options["params"]:
            raise LabkitError(f"{over!r} is what the estimate is over: give its values in at=(4, 8) alone.")
        self._show, self._stopped, self._running = show or _Line(over), False, None
        self._trials = [self._trial(train, value, options) for value in self.at]  # refused before any is run

    def run(self):
        """Make the trials; returns the Estimate. Raises Stopped if it was stopped, at whatever moment."""
        try:
            return Estimate(self.over, self.at, list(map(self._probe, self.at, self._trials)))
        finally:
            self._show.end()

    def stop(self):
        """End it, from any thread."""
        self._stopped = True
        if self._running:
            self._running.stop()

    def _trial(self, train, value, options):
        options = {**options, "params": {**options["params"], self.over: value}}
        return Trial(train, profile=STEPS, end_after_steps=STEPS, show=self._show, **options)

    def _probe(self, value, trial):
        self._running = trial
        self._show.begin(value, self.at.index(value), len(self.at))
        if self._stopped:
            trial.stop()
        outcome = trial.run()
        if outcome.status == "stopped":
            raise Stopped("The estimate was stopped.")
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


class _Line(Progress):
    def __init__(self, over):
        super().__init__()
        self._over = over

    def begin(self, value, done, total):
        super().begin(f"estimating, {done + 1} of {total} · {self._over}={value}")


class Estimate:
    """A prediction of the peak for values of one parameter that were not run.

    over, at   the parameter, and the two values that were run
    measured   the peaks of those two trials, in bytes
    seconds    how long they took
    notes      sentences on what makes this prediction doubtful; empty if nothing does
    """

    def __init__(self, over, at, probes):
        self.over, self.at = over, at
        self.seconds = sum(probe.wall_seconds for probe in probes)
        self.measured = {value: probe.peak_bytes for value, probe in zip(at, probes, strict=True)}
        from .replay import plans  # it brings NumPy, which importing labkit does not wait for

        self._plans = plans(at, [probe.timeline for probe in probes])
        self.notes = list(self._doubts())

    def peak_bytes(self, value):
        """The predicted peak in bytes at `over` = value."""
        return self._plans[-1].replay(value).peak

    def interval(self, value):
        """(low, high) in bytes: the peaks of the two trials' sequences, both replayed at that value.

        The order of ops differs a little from run to run, and with it the peak; this is that difference.
        """
        peaks = [plan.replay(value).peak for plan in self._plans]
        return min(peaks), max(peaks)

    def largest(self, memory_limit):
        """The largest whole value that is predicted to fit the limit, None if not even 1 does.

        Raises LabkitError for a limit that cannot be read or is more than the machine has.
        """
        limit = check_limit(memory_limit, device())
        if not self._fits(1, limit):
            return None
        low = 1
        while low < WIDEST and self._fits(2 * low, limit):
            low *= 2
        step = low // 2
        while step:
            low += step if self._fits(low + step, limit) else 0
            step //= 2
        return low

    def breakdown(self, value):
        """{"category": {...}, "layer": {...}}: bytes of each at the predicted peak."""
        plan = self._plans[-1]
        from .timeline import CATEGORIES

        by_category, by_layer = dict.fromkeys(CATEGORIES, 0), collections.Counter()
        for i, size in plan.replay(value).at_peak:
            row = plan.timeline.row(i)
            by_category[row.category] += size
            by_layer[row.layer] += size
        return {"category": by_category, "layer": dict(by_layer.most_common())}

    def plot(self, memory_limit=None, title=""):
        """The figure: the predicted peak by category, with the limit and the largest value that fits it."""
        from . import plots

        return plots.estimate(self, memory_limit and check_limit(memory_limit, device()), title)

    def __repr__(self):
        low, high = self.at
        points = ", ".join(f"{v}: {format_size(self.peak_bytes(v))}" for v in (high, 4 * high, 16 * high))
        return "\n".join([f"Estimate of the peak over {self.over} · {points}", *self.notes])

    def _fits(self, value, limit):
        return self._plans[-1].replay(value, limit).fits

    def _doubts(self):
        plan = self._plans[-1]
        if not plan.per_unit.any():
            yield f"Nothing in memory grows with {self.over}: the peak is the same whatever its value."
        share = plan.unknown_bytes() / plan.timeline.peak_bytes
        if share > 0.02:
            yield f"How {100 * share:.0f} % of the memory at the peak grows is not known."
