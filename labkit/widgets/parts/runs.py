"""The measurements of a lab: its runs, as a table and as text. Independent of widgets and threads."""

import html
from dataclasses import dataclass, field

from ...show import tables
from ...sizes import format_size

NOTHING = "No trial has been run yet."


@dataclass
class Run:
    """One run of a lab: its settings, its finished or running Sweep, and its limit in bytes.

    settings    {name: text}, the limit among them, in the order in which they are shown
    predicted   {value: peak in bytes} estimated before the sweep; empty without an estimate
    """

    settings: dict
    sweep: object
    limit: int | None
    predicted: dict = field(default_factory=dict)

    @property
    def tried(self):
        return list(self.sweep.tried)

    @property
    def result(self):
        """What the run found, in a few words."""
        frontier = self.sweep.frontier
        return "nothing fits" if frontier is None else f"{self.sweep.over} {frontier} fits"


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
    predicted = run.predicted.get(value)
    return {
        "run": str(number),
        run.sweep.over: str(value),
        "outcome": outcome.ending,
        "estimate": format_size(predicted) if predicted else "",
        "peak": format_size(outcome.peak_bytes) if measured else "",
        "of the limit": f"{100 * outcome.peak_bytes / outcome.limit_bytes:.0f} %" if limited else "",
        "samples/s": f"{outcome.samples_per_second:,.0f}" if outcome.samples_per_second else "",
    }


def table(runs):
    """The trials as an HTML table, the text equivalent of the chart."""
    trials = rows(runs)
    return f"{tables.html(trials)}<p>{html.escape(common(runs))}</p>" if trials else f"<p>{NOTHING}</p>"


def text(runs):
    """The trials as lines of text."""
    trials = rows(runs)
    return tables.text(trials) if trials else NOTHING
