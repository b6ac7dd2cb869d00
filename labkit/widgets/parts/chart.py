"""The charts of the labs: data for the page, which draws them."""

import itertools

import anywidget
import traitlets

from ...outcome import STATUS_TEXT
from ...show import pages
from ...show.palette import BLUE, RUN_COLOURS, VERMILION
from ...sizes import format_rate, format_size
from . import runs as measurements


class Chart(anywidget.AnyWidget):
    """A chart that the page draws from `data`.

    kind       "timelines", "trials" or "map": what `data` is, packed timelines_data(), "" for none,
               trials_data() or map_data(); "none" draws nothing, and does the rest for labs without a chart
    by         of timelines: "category" or "layer"
    chosen     of trials and maps: which one is circled, counted from 1 over all runs; 0 for none
    revealed   counts how often the page was told to bring what is of class labkit-detail into view
    completed  counts how often that was completed; the page goes there again, unless the reader has gone on
    page       which page shows it: another each time that the notebook is opened
    alone      whether it has a page of its own, not here
    """

    _esm = pages.script()
    _css = pages.css()
    kind = traitlets.Unicode().tag(sync=True)
    data = traitlets.Any().tag(sync=True)
    by = traitlets.Unicode("category").tag(sync=True)
    chosen = traitlets.Int(0).tag(sync=True)
    revealed = traitlets.Int(0).tag(sync=True)
    completed = traitlets.Int(0).tag(sync=True)
    page = traitlets.Unicode("").tag(sync=True)
    alone = traitlets.Bool(False).tag(sync=True)


def packed_timeline(outcome, label):
    """The data of a Chart of an Outcome's timeline; "" if it has none."""
    if outcome.timeline is None:
        return ""
    return pages.pack(pages.timelines_data({label: outcome.timeline}))


def timelines_chart(timelines, by):
    """The Chart of {label: Timeline}."""
    return Chart(kind="timelines", data=pages.pack(pages.timelines_data(timelines)), by=by)


def trials_data(runs, over, values, limit=None):
    """What the page draws of runs of a lab: their trials, estimates and limits.

    runs            labkit.widgets.parts.runs.Run objects
    values, limit   those of the next or current run, so that the axes do not change while points arrive
    """
    shared = [measurements.common(runs), "dotted: estimate" if any(run.predicted for run in runs) else ""]
    index = itertools.count(1)
    return {
        "over": over,
        "ticks": sorted({*values, *(value for run in runs for value, _ in run.tried)}),
        "limits": sorted({size for size in [limit, *(run.limit for run in runs)] if size}),
        "failure": VERMILION,
        "summary": _summary(runs),
        "common": " · ".join(filter(None, shared)),
        "runs": [_run(run, number, text, index) for number, (run, text) in
                 enumerate(zip(runs, measurements.differences(runs), strict=True))],
    }  # fmt: skip


def map_data(runs, over, values, limit=None):
    """What the page draws of runs over two parameters: a map of the latest, and its trials.

    runs     labkit.widgets.parts.runs.MapRun objects
    values   the grid of the next run, [values of the first, values of the second]
    limit    of the next run
    """
    data = trials_data(runs, over, [], limit)
    for drawn, run in zip(data["runs"], runs, strict=True):
        drawn["trials"] = drawn["trials"] if run is runs[-1] else []
        for trial in drawn["trials"]:
            trial["name"] = measurements.named(over, trial["value"])
    data |= {"over": list(over), "ticks": values, "limit": limit, "colour": BLUE}
    data |= {"cells": [], "frontier": [], "waiting": [], "common": measurements.common(runs)}
    return data | (_map(runs[-1], over) if runs and runs[-1].predicted else {})


def _map(run, over):
    tried = {value for value, _ in run.tried}
    cells = [(first, second) for first in run.grid[0] for second in run.grid[1]]
    return {
        "summary": run.told(over),
        "ticks": run.grid,
        "limit": run.limit,
        "cells": [_point(run, over, value) for value in cells],
        "frontier": [[largest, second] for second, largest in run.frontier.items()],
        "waiting": [_point(run, over, value) for value in run.points if value not in tried],
    }


def _point(run, over, value):
    facts = {
        "estimate": format_size(run.predicted[value]),
        "limit": format_size(run.limit),
        "predicted": run.expected(value),
    }
    return {
        "value": value,
        "name": measurements.named(over, value),
        "peak": run.predicted[value],
        "fits": run.fits(value),
        "facts": list(facts.items()),
    }


def _summary(runs):
    told = [f"run {number}: {_told(run)}" for number, run in enumerate(runs, 1) if run.tried or run.too_large]
    return "; ".join(told) or "no trial has been run yet"


def _told(run):
    unfit = ", ".join(map(str, run.too_large))
    return f"{run.result}{f', estimated not to fit: {unfit}' if unfit else ''}"


def _run(run, number, text, index):
    return {
        "result": run.result if run.tried or run.ended else "running",
        "text": f" · {text}" if text else "",
        "colour": RUN_COLOURS[number % len(RUN_COLOURS)],
        "predicted": sorted(run.predicted.items()),
        "tooLarge": sorted(run.too_large),
        "trials": [_trial(run, next(index), value, outcome) for value, outcome in run.tried],
    }


def _estimate(run, value):
    return format_size(run.predicted[value]) + ("" if run.fits(value) else ", not to fit")


def _trial(run, index, value, outcome):
    layer = outcome.diagnosis.layer if outcome.diagnosis else None
    of_limit = f" of {format_size(outcome.limit_bytes)}" if outcome.limit_bytes else ""
    facts = {
        "outcome": outcome.ending,
        "peak": f"{format_size(outcome.peak_bytes)}{of_limit}" if outcome.peak_bytes is not None else "",
        "estimate": _estimate(run, value) if value in run.predicted else "",
        "samples/s": format_rate(outcome.samples_per_second) if outcome.samples_per_second else "",
    }
    return {
        "index": index,
        "value": value,
        "ok": outcome.ok,
        "peak": outcome.peak_bytes,
        "limit": outcome.limit_bytes,
        "speed": outcome.samples_per_second,
        "ended": STATUS_TEXT[outcome.status] + (f" in {layer}" if layer else ""),
        "facts": [[name, fact] for name, fact in facts.items() if fact],
    }
