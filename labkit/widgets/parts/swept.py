"""What a lab sweeps: one parameter, whose values are all run, or two, of which a few points are."""

import contextlib
import math

from ...errors import LabkitError, Stopped
from ...predict.estimation import Estimating
from ...sizes import plain
from ...trials.sweeps import Sweep
from . import controls, runs
from .chart import map_data, trials_data

PROVED = 3  # points of the frontier at which trials are run
ABOVE = 1.05  # times the frontier, or more: the trial that should not fit, whatever the order of ops


def swept(over, smallest, largest):
    """The Line or Plane of values of `over`. Raises LabkitError for what is neither."""
    if isinstance(over, str):
        return Line(over, *_ends(over, smallest, largest))
    is_pair = isinstance(over, tuple | list) and len(over) == 2
    if not (is_pair and all(isinstance(name, str) for name in over) and over[0] != over[1]):
        raise LabkitError(f"over={over!r}: give the name of a parameter, or of two different ones.")
    if not all(isinstance(one, tuple | list) and len(one) == 2 for one in (smallest, largest)):
        raise LabkitError(
            f"smallest={smallest!r}, largest={largest!r}: give one for each of {' and '.join(over)}, such as "
            "smallest=(8, 32), largest=(256, 512)."
        )
    ends = zip(over, smallest, largest, strict=True)
    return Plane(tuple(over), [_ends(*each) for each in ends])


def _ends(name, smallest, largest):
    smallest, largest = plain(smallest), plain(largest)
    if not (isinstance(smallest, int) and isinstance(largest, int) and 0 < smallest < largest):
        raise LabkitError(
            f"{name}: smallest={smallest!r}, largest={largest!r}: give two positive integers, smallest first."
        )
    return smallest, largest


class Line:
    """One parameter, and every value of it.

    names      a tuple of its name
    controls   of its values
    """

    kind, is_predicted = "trials", False

    def __init__(self, over, smallest, largest):
        self.over, self.names = over, (over,)
        self.range, self.spacing = controls.batch_sizes(over, smallest, largest), controls.spacing()
        self.controls, self.options = [self.range, self.spacing], {"spacing": self.spacing}

    def values(self):
        return controls.spaced(*self.range.value, self.spacing.value)

    def smallest(self, run):
        """The smallest value of a run."""
        return run.values[0]

    def run(self, settings, limit):
        """An empty Run of the values that the controls say now."""
        return runs.Run(settings, None, limit, values=self.values())

    def estimating(self, run, train, divides, **options):
        """The Estimating of a run; its batch sizes can be divided by `divides`."""
        return Estimating(train, _small(self._divisible(run, divides)[0], divides), self.over, **options)

    def predict(self, run, estimate, divides, say):
        """Predict the peaks of a run, and the largest value that fits.

        say   called with what is being predicted; returns whether to stop

        Raises Stopped.
        """
        predicted = {}
        for value in self._divisible(run, divides):
            _go_on(say, "predicting the peaks")
            predicted[value] = estimate.peak_bytes(value, run.limit)
        run.predicted = predicted
        if run.limit:
            _go_on(say, f"predicting the largest {self.over} that fits")
            with contextlib.suppress(LabkitError):  # memory is not known to grow with this parameter
                run.largest = estimate.largest(run.limit) or 0

    def sweep(self, run, train, divides, repeats, **options):
        """The Sweep of a run."""
        values = self._divisible(run, divides)
        return Sweep(train, self.over, values, repeats, memory_limit=run.limit, **options)

    def _divisible(self, run, divides):
        values = [value for value in run.values if value % divides == 0]
        if not values:
            raise LabkitError(f"No value of {self.over} can be divided by {divides}.")
        return values

    def data(self, series, limit):
        """What the chart draws."""
        return trials_data(series, self.over, self.values(), limit)

    def plot(self, series):
        """The runs as a figure; None before the first trial."""
        from ...show import sweeps

        labelled = {label: run for label, run in runs.labelled(series).items() if run.tried}
        if not labelled:
            return None
        return sweeps.sweeps(
            {label: run.sweep for label, run in labelled.items()},
            predicted={label: run.predicted for label, run in labelled.items()},
            too_large={label: run.too_large for label, run in labelled.items()},
        )

    def table(self, series):
        """The runs as an HTML table."""
        return runs.table(series)


class Plane:
    """Two parameters: their peaks are predicted on a grid, and a few points of the frontier are run.

    names      of the parameters
    controls   of their values
    """

    kind, is_predicted = "map", True

    def __init__(self, over, ends):
        self.over = self.names = over
        self.controls = [controls.batch_sizes(name, *each) for name, each in zip(over, ends, strict=True)]
        self.options = {}

    def values(self):
        """The grid: the values of each parameter."""
        return [controls.spaced(*each.value, "× 2") for each in self.controls]

    def smallest(self, run):
        """The smallest values of a run."""
        firsts, seconds = run.grid
        return firsts[0], seconds[0]

    def run(self, settings, limit):
        """An empty MapRun of the grid that the controls say now. Raises LabkitError without a limit."""
        if not limit:
            raise LabkitError("Choose a memory limit: the map shows what fits it.")
        return runs.MapRun(settings, None, limit, grid=self.values())

    def estimating(self, run, train, divides, **options):
        """The Estimating of a run; its batch sizes can be divided by `divides`."""
        first, second = self.smallest(run)
        at = {self.names[0]: _small(first, divides), self.names[1]: (second, 2 * second)}
        return Estimating(train, at, self.over, **options)

    def predict(self, run, estimate, divides, say):
        """Predict the map of a run, its frontier, and the points to be run.

        say   called with what is being predicted; returns whether to stop

        Raises Stopped.
        """
        firsts, seconds = run.grid
        frontier, predicted = {}, {}
        for number, second in enumerate(seconds, 1):
            _go_on(say, f"predicting what fits at {self.names[1]} {second}, {number} of {len(seconds)}")
            frontier |= estimate.frontier(run.limit, [second])
            for first in firsts:
                predicted[first, second] = _peak(estimate, run, self.over, (first, second))
        run.frontier = frontier
        run.points = self._points(estimate, run, divides)
        run.predicted = predicted | {at: _peak(estimate, run, self.over, at) for at in run.points}

    def sweep(self, run, train, divides, repeats, **options):
        """The Sweep of the points that are run."""
        return Sweep(
            train, self.over, run.points, repeats, stop_at_oom=False, memory_limit=run.limit, **options
        )

    def _points(self, estimate, run, divides):
        """Values on the frontier and where no peak fits; a corner of the grid if the frontier is outside."""
        (firsts, seconds), frontier = run.grid, run.frontier
        inside = [each for each in seconds if firsts[0] <= (frontier[each] or 0) < firsts[-1]]
        points = []
        for second in evenly(inside, PROVED):
            largest = frontier[second] // divides * divides
            by_peak = estimate.largest_by_peak(run.limit, largest, **{self.names[1]: second})
            above = _next_divisible(max(by_peak + 1, ABOVE * largest), divides)
            points += [(first, second) for first in (largest, above) if 0 < first <= (estimate.rows or first)]
        return points or [self._corner(run, divides)]

    def _corner(self, run, divides):
        """The largest values of the grid if something fits there, else the smallest; the first divisible."""
        firsts, seconds = run.grid
        if run.frontier[seconds[-1]]:
            return max(divides, firsts[-1] // divides * divides), seconds[-1]
        return _next_divisible(firsts[0], divides), seconds[0]

    def data(self, series, limit):
        """What the chart draws."""
        return map_data(series, self.over, self.values(), limit)

    def plot(self, series):
        """The latest run as a figure; None before there is a map."""
        from ...show import sweeps

        drawn = [run for run in series if run.predicted]
        return sweeps.area_map(self.over, drawn[-1]) if drawn else None

    def table(self, series):
        """What was predicted and what was run, as HTML tables."""
        return runs.table(series) + "".join(
            f"<p>Run {number}, predicted: {run.told(self.over)}</p>{runs.grid(run, self.over)}"
            for number, run in enumerate(series, 1)
            if run.predicted
        )


def _go_on(say, text):
    """Say what comes next. Raises Stopped if that is not wanted any more."""
    if say(text):
        raise Stopped("Stopped while peaks were predicted.")


def _peak(estimate, run, over, value):
    return estimate.peak_bytes(memory_limit=run.limit, **runs.by_name(over, value))


def _small(first, divides):
    """Two small batch sizes to estimate from; a batch of 1 may be broadcast, and is not representative."""
    smallest = max(2 * divides, _next_divisible(first, divides))
    return smallest, 2 * smallest


def _next_divisible(number, divides):
    """The next number from this one on that can be divided."""
    return math.ceil(number / divides) * divides


def evenly(values, count):
    """At most `count` of the values, two or more, evenly spread, the first and the last among them.

    >>> evenly([1, 2, 3, 4, 5], 3)
    [1, 3, 5]
    """
    if count >= len(values):
        return values
    return [values[round(n * (len(values) - 1) / (count - 1))] for n in range(count)]
