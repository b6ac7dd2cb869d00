"""The measurements of a lab: its runs, as a table and as text. Independent of widgets and threads."""

from dataclasses import dataclass, field

from ...show import tables
from ...sizes import format_size

NOTHING = "No trial has been run yet."


@dataclass
class Run:
    """One run of a lab: a label, its finished or running Sweep, and its limit in bytes.

    predicted   {value: peak in bytes} estimated before the sweep; empty without an estimate
    """

    label: str
    sweep: object
    limit: int | None
    predicted: dict = field(default_factory=dict)

    @property
    def tried(self):
        return list(self.sweep.tried)


def rows(runs):
    """The table of all trials: a list of dicts, heading -> text."""
    return [_row(number, run, value, outcome) for number, run in enumerate(runs, 1)
            for value, outcome in run.tried]  # fmt: skip


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
    return tables.html(trials) if trials else f"<p>{NOTHING}</p>"


def text(runs):
    """The trials as lines of text."""
    trials = rows(runs)
    return tables.text(trials) if trials else NOTHING
