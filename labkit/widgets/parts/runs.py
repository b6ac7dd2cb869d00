"""The measurements of a lab: its runs, as a table and as text. Independent of widgets and threads."""

import html
from dataclasses import dataclass, field

from ...outcome import STATUS_TEXT
from ...show import tables
from ...sizes import counted, format_rate, format_size

NOTHING = "No trial has been run yet."


@dataclass
class Run:
    """One run of a lab: its settings, its finished or running Sweep, and its limit in bytes.

    settings    {name: text}, the limit among them, in the order in which they are shown
    values      the values to run, or for a MapRun `grid`, as the controls stood when the run began
    sweep       None before the trials
    predicted   {value: peak in bytes} estimated before the sweep; empty without an estimate
    largest     the largest value that is predicted to fit the limit, 0 if none; None if not known
    ended       whether no further trials follow
    """

    settings: dict
    sweep: object
    limit: int | None
    predicted: dict = field(default_factory=dict)
    largest: int | None = field(default=None, kw_only=True)
    values: list = field(default_factory=list, kw_only=True)
    ended: bool = field(default=False, kw_only=True)

    def fits(self, value):
        """Whether a value is predicted to fit: a peak below the limit may not, for gaps between tensors."""
        if self.largest is not None and value > self.largest:
            return False
        return self.limit is None or self.predicted[value] <= self.limit

    @property
    def too_large(self):
        """The values that are predicted not to fit."""
        return [value for value in self.predicted if not self.fits(value)]

    @property
    def tried(self):
        return list(self.sweep.tried) if self.sweep is not None else []

    @property
    def is_empty(self):
        """Whether there is nothing in it to keep."""
        return not self.tried

    @property
    def result(self):
        """What the run found, in a few words."""
        if self.sweep is None:
            return "no trial yet"
        return self.sweep.summary


@dataclass
class MapRun(Run):
    """A run over two parameters, whose values are tuples.

    frontier   {value of the second parameter: the largest of the first that is predicted to fit, or None}
    grid       [values of the first, values of the second] of the map
    points     the values to run
    """

    frontier: dict = field(default_factory=dict)
    grid: list = field(default_factory=list)
    points: list = field(default_factory=list)

    @property
    def is_empty(self):
        return not self.predicted

    def expected(self, value):
        """What is predicted of a value, in words."""
        first, second = value
        if first <= (self.frontier[second] or 0):
            return "it fits"
        return "it may fit, if the allocator's gaps are small" if self.fits(value) else "it does not fit"

    @property
    def result(self):
        """How many of the points that were run turned out as predicted."""
        if not self.tried:
            return "no trial was run" if self.ended else "no trial yet"
        right = sum(outcome.status == ("ok" if self.fits(value) else "oom") for value, outcome in self.tried)
        return f"{right} of {counted(len(self.tried), 'trial')} as predicted"

    def told(self, over):
        """For each value of the second parameter what fits, predicted and measured, in words."""
        return "; ".join(self._told(over, second) for second in self.frontier)

    def _told(self, over, second):
        largest = self.frontier[second]
        trials = [
            f"{value[0]} {STATUS_TEXT[outcome.status]}" for value, outcome in self.tried if value[1] == second
        ]
        measured = f" (measured: {', '.join(trials)})" if trials else ""
        fits = f"up to {over[0]} {largest}" if largest else "nothing"
        return f"{over[1]} {second}: {fits}{measured}"


def by_name(over, value):
    """{parameter: value} of a value of one parameter, or of a tuple of values of several."""
    return {over: value} if isinstance(over, str) else dict(zip(over, value, strict=True))


def named(over, value):
    """A value, or a tuple of them, with the names of its parameters."""
    return ", ".join(f"{name} {each}" for name, each in by_name(over, value).items())


def labelled(runs):
    """{label that says what was found and how the run differs from the others: run}."""
    return {
        f"run {number}: {run.result}{' · ' if text else ''}{text}": run
        for number, (run, text) in enumerate(zip(runs, differences(runs), strict=True), 1)
    }


def differences(runs):
    """The settings of each run that differ between the runs, as texts."""
    names = _differing(runs)
    return [", ".join(text for name, text in run.settings.items() if name in names) for run in runs]


def common(runs):
    """The settings that all runs share, as a text."""
    names = _differing(runs)
    shared = [text for name, text in runs[0].settings.items() if name not in names] if runs else []
    who = "All runs: " if len(runs) > 1 else "Settings: "
    return who + ", ".join(shared) if shared else ""


def _differing(runs):
    names = {name for run in runs for name in run.settings}
    return {name for name in names if len({run.settings.get(name) for run in runs}) > 1}


def rows(runs):
    """The table of all trials: a list of dicts, heading -> text."""
    texts = differences(runs)
    return [
        _row(number, run, value, outcome) | ({"settings": text} if any(texts) else {})
        for number, (run, text) in enumerate(zip(runs, texts, strict=True), 1)
        for value, outcome in run.tried
    ]


def _row(number, run, value, outcome):
    measured = outcome.peak_bytes is not None
    limited = measured and outcome.limit_bytes
    return {
        "run": str(number),
        **{name: str(each) for name, each in by_name(run.sweep.over, value).items()},
        "outcome": outcome.ending,
        "estimate": _estimate(run, value) if value in run.predicted else "",
        "peak": format_size(outcome.peak_bytes) if measured else "",
        "of the limit": f"{100 * outcome.peak_bytes / outcome.limit_bytes:.0f} %" if limited else "",
        "samples/s": format_rate(outcome.samples_per_second) if outcome.samples_per_second else "",
    }


def grid(run, over):
    """What was predicted of a MapRun, as an HTML table: a row for each value of the second parameter."""
    return tables.html([
        {over[1]: str(second), f"largest {over[0]}": str(largest or "none")}
        | {f"{over[0]} {first}": _estimate(run, (first, second)) for first in run.grid[0]}
        for second, largest in run.frontier.items()
    ])  # fmt: skip


def _estimate(run, value):
    return f"{format_size(run.predicted[value])}{'' if run.fits(value) else ' ✗'}"


def table(runs):
    """The trials as an HTML table, the text equivalent of the chart."""
    trials = rows(runs)
    return f"{tables.html(trials)}<p>{html.escape(common(runs))}</p>" if trials else f"<p>{NOTHING}</p>"


def text(runs):
    """The trials as lines of text."""
    trials = rows(runs)
    return tables.text(trials) if trials else NOTHING
