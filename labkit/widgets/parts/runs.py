"""What a lab has measured: its runs, as a table and as text. Knows no widgets and no threads."""

from dataclasses import dataclass, field

from ...show import tables
from ...sizes import format_size

NOTHING = "No trial has been run yet."


@dataclass
class Series:
    """One run of a lab: a label, the sweep that it made or is making, and its limit in bytes.

    predicted   value -> peak in bytes, estimated before the sweep; empty without an estimate
    """

    label: str
    sweep: object
    limit: int | None
    predicted: dict = field(default_factory=dict)

    @property
    def tried(self):
        return list(self.sweep.tried)


def rows(series):
    """The table of all trials: a list of dicts, heading -> text."""
    return [_row(number, one, value, outcome) for number, one in enumerate(series, 1)
            for value, outcome in one.tried]  # fmt: skip


def _row(number, one, value, outcome):
    fits = outcome.peak_bytes is not None
    share = fits and outcome.limit_bytes
    predicted = one.predicted.get(value)
    return {
        "run": str(number),
        one.sweep.over: str(value),
        "outcome": outcome.ending,
        "estimate": format_size(predicted) if predicted else "",
        "peak": format_size(outcome.peak_bytes) if fits else "",
        "of the limit": f"{100 * outcome.peak_bytes / outcome.limit_bytes:.0f} %" if share else "",
        "samples/s": f"{outcome.samples_per_second:,.0f}" if outcome.samples_per_second else "",
    }


def table(series):
    """The trials as an HTML table; the text equivalent of the chart."""
    shown = rows(series)
    return tables.html(shown) if shown else f"<p>{NOTHING}</p>"


def text(series):
    """The trials as lines of text."""
    shown = rows(series)
    return tables.text(shown) if shown else NOTHING
