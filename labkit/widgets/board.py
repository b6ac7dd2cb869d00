"""What a lab has measured: its runs, as a table and as text. Knows no widgets and no threads."""

import html
from dataclasses import dataclass, field

from ..memory import format_size
from ..outcome import SAID, SIGN


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
    layer = outcome.diagnosis.layer if outcome.diagnosis else None
    fits = outcome.peak_bytes is not None
    share = fits and outcome.limit_bytes
    predicted = one.predicted.get(value)
    return {
        "run": str(number),
        one.sweep.over: str(value),
        "outcome": f"{SIGN[outcome.status]} {SAID[outcome.status]}" + (f" in {layer}" if layer else ""),
        "estimate": format_size(predicted) if predicted else "",
        "peak": format_size(outcome.peak_bytes) if fits else "",
        "of the limit": f"{100 * outcome.peak_bytes / outcome.limit_bytes:.0f} %" if share else "",
        "samples/s": f"{outcome.samples_per_second:,.0f}" if outcome.samples_per_second else "",
    }


def table(series):
    """The trials as an HTML table; the text equivalent of the chart."""
    shown = rows(series)
    if not shown:
        return "<p>No trial has been run yet.</p>"
    head = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in shown[0])
    body = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row.values()) + "</tr>"
                   for row in shown)  # fmt: skip
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def text(series):
    """The trials as lines of text."""
    return "\n".join("  ".join(row.values()) for row in rows(series)) or "No trial has been run yet."
