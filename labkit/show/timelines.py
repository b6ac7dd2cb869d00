"""Stacked areas: memory in use over a trial, by category or by layer."""

import numpy as np

from ..sizes import MIB, format_size
from .figure import WIDTH, Figure, legend, plain
from .palette import DARK, GREY, curve_colours

# How many points of a long curve are drawn, more than a screen has pixels across: each is the largest of
# those that it replaces.
LAST, REFUSAL = 0.01, 0.04  # of the axis: how wide the last state is drawn
POINTS = 1500


def timeline(timeline, by="category", title=""):
    """Memory in use over a trial, stacked by category or by layer, with peak, limit and steps marked.

    The x axis counts the larger allocations and deallocations in order, not seconds: a short trial spends
    most of its time tracing the model.
    """
    figure = Figure(figsize=(WIDTH, 3.8), layout="constrained")
    axes = figure.add_subplot()
    _stack(axes, timeline, by)
    _mark_peak(axes, timeline)
    axes.set_title(headline(timeline, title), loc="left")
    axes.set_ylabel("memory in use, MiB")
    legend(figure, axes)
    return figure


def timelines(timelines, by="category", title=""):
    """Timelines side by side on one scale, such as before and after a fix.

    timelines: a dict of label -> Timeline.
    """
    figure = Figure(figsize=(WIDTH, 3.8), layout="constrained")
    row = figure.subplots(1, len(timelines), sharey=True, squeeze=False)[0]
    for axes, (label, timeline) in zip(row, timelines.items(), strict=True):
        _stack(axes, timeline, by)
        _mark_peak(axes, timeline)
        axes.set_title(f"{label}: {format_size(timeline.peak_bytes)}", loc="left", fontsize=11)
    row[0].set_ylabel("memory in use, MiB")
    if title:
        figure.suptitle(title, x=0.01, ha="left")
    legend(figure, *row)
    return figure


def headline(timeline, title=""):
    """The title of a timeline's figure: "ResNet-50, batch 16: 212 MiB at the peak, 61 % activations"."""
    shares = timeline.shares()
    most = max(shares, key=shares.get)
    peak = timeline.peak_bytes
    summary = f"{format_size(peak)} at the peak, {100 * shares[most] / max(1, peak):.0f} % {most}"
    return f"{title}: {summary}" if title else summary


def _stack(axes, timeline, by):
    curves = timeline.curves(by)
    axis, places = axis_of(timeline)
    drawn = np.append(places, places[-1])  # what is in use at the end has a width too: in a crash, the peak
    axes.stackplot(
        np.append(axis[places], _end(timeline, axis)),
        [curve[drawn] / MIB for curve in curves.values()],
        labels=list(curves),
        colors=curve_colours(curves, by).values(),
        step="post",
        linewidth=0,
    )
    axes.set_xlim(0, _end(timeline, axis))
    axes.set_xlabel("larger allocations and deallocations, in order")
    for number, place in enumerate(timeline.steps, 2):
        x = axis[min(place, len(axis) - 1)]
        if x > 0.98 * axis[-1]:  # the end of the last step
            break
        axes.axvline(x, color=GREY, linewidth=0.7, linestyle=":")
        if number <= 4:
            axes.annotate(f"step {number}", (x, 1), xycoords=("data", "axes fraction"), xytext=(3, -10),
                          textcoords="offset points", fontsize=8, color=DARK)  # fmt: skip
    plain(axes, "xy")


def _end(timeline, axis):
    """Where the figure ends: a little behind the last event, and more where a refusal is drawn there."""
    return axis[-1] + max(1, (REFUSAL if timeline.refused_bytes else LAST) * axis[-1])


def axis_of(timeline, points=POINTS):
    """Where each event is on the axis, and which to draw: the one with the most memory in use per interval.

    Only events of at least a thousandth of the peak advance the axis: tracing makes thousands of tiny ones.
    """
    total, fullness = timeline.total(), timeline.fullness()
    change = np.maximum(*(np.abs(np.diff(curve, prepend=0)) for curve in (total, timeline.filled())))
    axis = np.cumsum(change >= total.max() / 1000)
    edges = np.searchsorted(axis, np.linspace(0, axis[-1] + 1, min(points, axis[-1] + 2)))
    intervals = [(a, b) for a, b in zip(edges[:-1], edges[1:], strict=True) if b > a]
    return axis, np.array([a + fullness[a:b].argmax() for a, b in intervals])


def _mark_peak(axes, timeline):
    axis, _ = axis_of(timeline)
    peak, limit, end = timeline.peak_bytes / MIB, timeline.limit_bytes, _end(timeline, axis)
    axes.plot([axis[timeline.peak_at]], [peak], marker="v", color="black", clip_on=False)
    top = peak
    if timeline.refused_bytes:
        refused, in_use = timeline.refused_bytes / MIB, timeline.total()[-1] / MIB
        axes.bar(axis[-1], refused, bottom=in_use, width=end - axis[-1], align="edge", color="none",
                 hatch="//", edgecolor="black")  # fmt: skip
        axes.annotate(f"refused: {format_size(timeline.refused_bytes)}", (end, in_use + refused),
                      xytext=(0, 4), textcoords="offset points", ha="right", fontsize=9)  # fmt: skip
        top = max(top, in_use + refused)
    if limit and limit / MIB < 2 * top:
        axes.axhline(limit / MIB, color="black", linestyle="--", linewidth=1.2)
        axes.annotate(f"limit {format_size(limit)}", (0, limit / MIB), xytext=(4, 4),
                      textcoords="offset points", fontsize=9)  # fmt: skip
        top = max(top, limit / MIB)
    axes.set_ylim(0, max(axes.get_ylim()[1], 1.12 * top))
