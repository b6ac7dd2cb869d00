"""estimate(): predict the peak at values of parameters that were not run, from a few small recorded trials.

Each allocation of one trial is matched with its counterpart in the others (labkit.predict.matching); the
dimensions of the tensor that it holds say how it grows (labkit.predict.growth). The sequence of allocations
and deallocations is replayed at the values in question through a model of the allocator
(labkit.predict.allocator), which accounts for what it allocates beyond what was requested.

Two trials are enough where every dimension is fixed or proportional to the parameter, as it is for a batch
size. Where that is not so, or the match is in doubt, a third one decides, and shows how far off the first
two were.
"""

import itertools

from ..errors import LabkitError, Stopped, TrialDidNotFit
from ..machine import device, parse_limit, spare_memory
from ..sizes import MIB, format_size, plain
from ..trials.console import Progress
from ..trials.series import Series
from .prediction import Estimate

__all__ = ["PATIENCE", "STEPS", "Estimate", "Estimating", "estimate", "trial_limit"]

PATIENCE = 2  # seconds of waiting for memory after which a trial is taken not to fit
# The first step also builds the model, and at its end the optimizer creates its slots; two more are like all
# later ones.
STEPS = 3
MOST_PARAMETERS = 3
# Options of methods of the Estimate, which take values of the parameters by name as well.
TAKEN, TAKEN_OF_SEVERAL = {"memory_limit", "autotuning"}, {"value", "values", "sure"}


def estimate(train, *, at=(4, 8), over="batch_size", timeout=120, seed=0, **params):
    """Predict the peak of `train` at any value of `over` from a few small trials; returns the Estimate.

    over   a parameter, or several: ("batch_size", "length")
    at     two or three small values to try; for several parameters, those of each in a dict

    In a trial, every loop of training, evaluation or prediction ends after a few steps. Raises LabkitError if
    a trial does not fit or makes no training step, and for what run() refuses.

    >>> labkit.estimate(train).largest("8 GiB")
    >>> both = {"batch_size": (4, 8), "length": (32, 64)}
    >>> labkit.estimate(train, over=("batch_size", "length"), at=both).peak_bytes(batch_size=64, length=512)
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
        self.values = _values(at, over)
        self.over, self._limit = over if len(self.values) > 1 else next(iter(self.values)), memory_limit
        self._ooms, self._made = 0, 0
        self.series = Series(train, self._series_over(), show or Progress(self._label()), **options)
        self.series.check(self._of_series(self._corners()[0]))

    @property
    def at(self):
        """The values tried: a tuple, or for several parameters a dict of them."""
        return self.values if len(self.values) > 1 else next(iter(self.values.values()))

    def run(self):
        """Run the trials; returns the Estimate. Raises Stopped if it was stopped at any point."""
        try:
            probes = self._probes()
            estimate = Estimate(self.over, self.at, probes)
            if estimate.is_doubtful and max(map(len, self.values.values())) < 3:
                self._decide(estimate)
            if estimate.further is not None:
                self._look_further(estimate)
            estimate.ooms, estimate.trials = self._ooms, self._ooms + self._made
            return estimate
        finally:
            self.series.show.end()

    def stop(self):
        """End it, from any thread."""
        self.series.stop()

    def _corners(self):
        """The points of the trials: every combination of values; a third one only beside the smallest."""
        small = {name: values[0] for name, values in self.values.items()}
        corners = itertools.product(*(values[:2] for values in self.values.values()))
        points = [dict(zip(self.values, corner, strict=True)) for corner in corners]
        return points + [small | {name: v} for name, values in self.values.items() for v in values[2:]]

    def _probes(self):
        """(point, outcome) of the small trials; of smaller ones where those asked for do not fit."""
        while True:
            points = self._corners()
            try:
                return [(point, self._probe(point, len(points))) for point in points]
            except TrialDidNotFit:
                self._ooms, self._made = self._ooms + 1, 0
                if not self._halve():
                    raise

    def _halve(self):
        """Try half of the values; False if there is nothing to halve."""
        if not any(values[0] > 1 and isinstance(values[0], int) for values in self.values.values()):
            return False
        for name, values in self.values.items():
            least = range(1, len(values) + 1)
            if isinstance(values[0], int) and values[0] > 1:
                self.values[name] = tuple(map(max, least, (value // 2 for value in values)))
        return True

    def _decide(self, estimate):
        """Make a third trial for each parameter: with twice the larger value, or with the one between."""
        for name, values in self.values.items():
            small = {other: values[0] for other, values in self.values.items()}
            between = (values[0] + values[1]) // 2 if isinstance(values[0], int) else None
            for value in (2 * values[1], between):
                if value in (*values, None):
                    continue
                point = small | {name: value}
                try:
                    estimate.add(point, self._probe(point, self._made + 1))
                except Stopped:
                    raise
                except LabkitError:
                    continue
                break

    def _look_further(self, estimate):
        point = {self.over: estimate.further}
        try:
            estimate.add_further(self._probe(point, self._made + 1))
        except Stopped:
            raise
        except LabkitError as e:
            why = "did not fit" if isinstance(e, TrialDidNotFit) else "failed"
            estimate.notes.append(
                f"Predictions beyond {self.over}={estimate.further} are less certain: the trial there {why}."
            )

    def _probe(self, point, total):
        done, self._made = self._made, self._made + 1
        outcome = self.series.run(
            self._of_series(point), done, total, "estimating",
            profile=True, shorten_to=STEPS, memory_limit=trial_limit(self._limit), patience=PATIENCE,
        )  # fmt: skip
        _check(outcome, ", ".join(f"{name}={value}" for name, value in point.items()))
        return outcome

    def _series_over(self):
        names = tuple(self.values)
        return names if len(names) > 1 else names[0]

    def _label(self):
        return ", ".join(self.values)

    def _of_series(self, point):
        """What the series calls a point: a value, or a tuple of them."""
        values = tuple(point[name] for name in self.values)
        return values if len(values) > 1 else values[0]


def trial_limit(memory_limit):
    """Bytes that a small trial may take: the reader's limit, and at most what is here, or half of it free."""
    on = device()
    limits = [] if memory_limit is None else [min(parse_limit(memory_limit), on.memory_bytes)]
    if on.kind == "cpu":
        limits.append(max(MIB, spare_memory() // 2 // MIB * MIB))
    return min(limits, default=None)


def _values(at, over):
    """{parameter: its values to try}."""
    names = (over,) if isinstance(over, str) else over
    are_names = isinstance(names, tuple | list) and all(isinstance(name, str) for name in names)
    if not (are_names and 1 <= len(set(names)) == len(names) <= MOST_PARAMETERS):
        raise LabkitError(f"over={over!r}: give the name of a parameter, or of two or three different ones.")
    taken = TAKEN | (TAKEN_OF_SEVERAL if len(names) > 1 else set())
    for name in names:
        if name in taken:
            raise LabkitError(f"{name!r} is an option of the Estimate: give the parameter another name.")
    if len(names) > 1 and not (isinstance(at, dict) and set(at) == set(names)):
        wanted = {name: (4, 8) for name in names}
        raise LabkitError(f"at={at!r}: give the values of each parameter, such as at={wanted}.")
    by_name = at if isinstance(at, dict) else {names[0]: at}
    if set(by_name) != set(names):
        raise LabkitError(f"at={at!r}: give values of {names[0]!r}, such as (4, 8).")
    return {name: _small_values(by_name[name]) for name in names}


def _small_values(at):
    try:
        values = tuple(sorted(map(plain, at)))
        if not (2 <= len(set(values)) == len(values) <= 3 and values[0] > 0):
            raise ValueError
    except (TypeError, ValueError):
        raise LabkitError(
            f"at={at!r}: give two different positive numbers, such as (4, 8), or three."
        ) from None
    return values


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
