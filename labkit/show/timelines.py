"""Stacked areas: memory in use over a trial, by category or by layer."""

import numpy as np

from ..errors import LabkitError
from ..sizes import MIB, format_size
from .figure import TITLE, WIDTH, Figure, entitle, ink, legend, mark_limit, note, plain, wrapped
from .palette import GREY, curve_colours

LAST, REFUSAL = 0.01, 0.04  # of the axis: how wide the last state is drawn
NARROWEST = 0.1  # of the figure: a phase that is named
# How many points of a long curve are drawn, more than a screen has pixels across: each is the largest of
# those that it replaces.
POINTS = 1500
SMALLEST_SHARE = 0.001  # of the peak: less does not advance the axis, and has no place in the legend


def timeline(timeline, by="category", title=""):
    """Memory in use over a trial, stacked by category or by layer, with peak, limit and steps marked.

    The x axis has the larger allocations and deallocations in order, not seconds: a short trial spends most
    of its time tracing the model.
    """
    figure = Figure(figsize=(WIDTH, 4))
    axes = figure.add_subplot()
    _stack(axes, timeline, by, largest_layers([timeline]))
    _mark_peak(axes, timeline)
    entitle(figure, headline(timeline, title))
    axes.set_ylabel("memory in use, MiB")
    legend(figure, axes)
    return figure


def timelines(timelines, by="category", title=""):
    """Timelines side by side on one scale, such as before and after a fix.

    timelines: a dict of label -> Timeline, or one Timeline.

    Raises LabkitError for anything else, such as the missing timeline of a trial without profile=True.
    """
    timelines = checked(timelines)
    figure = Figure(figsize=(WIDTH, 4))
    row = figure.subplots(1, len(timelines), sharey=True, squeeze=False)[0]
    layers, room = largest_layers(timelines.values()), 72 * (WIDTH - 1) / len(timelines)
    for axes, (label, timeline) in zip(row, timelines.items(), strict=True):
        _stack(axes, timeline, by, layers)
        _mark_peak(axes, timeline)
        peak = format_size(timeline.peak_bytes)
        text = f"{label}: {peak}" if label != "" else peak
        axes.set_title(wrapped(text, room, TITLE), loc="left", fontsize=TITLE, parse_math=False)
    row[0].set_ylabel("memory in use, MiB")
    if title:
        entitle(figure, title)
    legend(figure, *row)
    return figure


def checked(timelines):
    """A dict of label -> Timeline: one Timeline alone has the label "". Raises LabkitError for all else."""
    timelines = timelines if isinstance(timelines, dict) else {"": timelines}
    if not timelines:
        raise LabkitError("There is no timeline to show.")
    for label, timeline in timelines.items():
        if not hasattr(timeline, "at_peak"):
            what = "This" if label == "" else repr(label)
            raise LabkitError(
                f"{what} is not a timeline but {timeline!r}: run the trial with profile=True, and give its "
                "outcome.timeline."
            )
    return timelines


def headline(timeline, title=""):
    """The title of a timeline's figure: "ResNet-50, batch 16: 212 MiB at the peak, 61 % activations"."""
    shares = timeline.shares()
    most = max(shares, key=shares.get)
    peak = timeline.peak_bytes
    summary = f"{format_size(peak)} at the peak, {100 * shares[most] / max(1, peak):.0f} % {most}"
    return f"{title}: {summary}" if title else summary


def largest_layers(timelines, most=8):
    """The `most` layers that are largest at the peak of any of the timelines, in the model's order."""
    sizes, order = {}, {}
    for timeline in timelines:
        order |= dict.fromkeys(timeline.layers)
        for layer, size in timeline.by_layer().items():
            sizes[layer] = max(size, sizes.get(layer, 0))
    named = sorted((layer for layer in sizes if layer in order), key=sizes.get, reverse=True)
    return [layer for layer in order if layer in named[:most]]


def _stack(axes, timeline, by, layers):
    curves = timeline.curves(by, layers)
    colours = curve_colours(dict.fromkeys([*layers, *curves]) if by == "layer" else curves, by)
    axis, places = axis_of(timeline)
    drawn = np.append(places, places[-1])  # what is in use at the end has a width too: in a crash, the peak
    if curves:  # there are none where nothing was in use
        axes.stackplot(
            np.append(axis[places], _end(timeline, axis)),
            [curve[drawn] / MIB for curve in curves.values()],
            labels=[label if _is_seen(curve, timeline) else f"_{label}" for label, curve in curves.items()],
            colors=[colours[label] for label in curves],
            step="post",
            linewidth=0,
        )
    axes.set_xlim(0, _end(timeline, axis))
    axes.set_xlabel("allocations and deallocations, in order")
    _name_phases(axes, timeline, axis)
    plain(axes, "y")


def _is_seen(curve, timeline):
    return curve.max() > SMALLEST_SHARE * timeline.peak_bytes


def _name_phases(axes, timeline, axis):
    """Name building and the steps below the axis, where there is room: counts of events say nothing."""
    ends, width = np.append(axis, _end(timeline, axis)), axes.get_xlim()[1]
    spans = [(name, ends[first] if first else 0, ends[last]) for name, first, last in timeline.phases]
    for _, first, _ in spans[1:]:
        axes.axvline(first, color=GREY, linewidth=0.7, linestyle=":")
    room = NARROWEST * width * len(axes.figure.axes)
    named = [(name, (first + last) / 2) for name, first, last in spans if last - first > room]
    axes.set_xticks([middle for _, middle in named], [name for name, _ in named])
    axes.tick_params("x", length=0)


def _end(timeline, axis):
    """Where the figure ends: a little behind the last event, and more where a refusal is drawn there."""
    return axis[-1] + max(1, (REFUSAL if timeline.refused_bytes else LAST) * axis[-1])


def axis_of(timeline, points=POINTS):
    """Where each event is on the axis, and which to draw: the one with the most memory in use per interval.

    The axis advances where at least a thousandth of the peak has come or gone: tracing makes thousands of
    tiny events.
    """
    fullness, axis = timeline.fullness(), np.cumsum(advances(timeline))
    edges = np.searchsorted(axis, np.linspace(0, axis[-1] + 1, min(points, axis[-1] + 2)))
    intervals = [(a, b) for a, b in zip(edges[:-1], edges[1:], strict=True) if b > a]
    return axis, np.array([a + fullness[a:b].argmax() for a, b in intervals])


def advances(timeline):
    """Which events advance the axis, as a boolean array: those that are large enough, alone or together."""
    total, filled = timeline.total(), timeline.filled()
    least = max(1, SMALLEST_SHARE * total.max())
    alone = np.maximum(*(np.abs(np.diff(curve, prepend=0)) for curve in (total, filled))) >= least
    found, total_then, filled_then = [], 0, 0
    for total_now, filled_now, large in zip(total.tolist(), filled.tolist(), alone.tolist(), strict=True):
        moved = large or abs(total_now - total_then) >= least or abs(filled_now - filled_then) >= least
        if moved:
            total_then, filled_then = total_now, filled_now
        found.append(moved)
    return np.array(found)


def _mark_peak(axes, timeline):
    axis, _ = axis_of(timeline)
    peak, limit, end = timeline.peak_bytes / MIB, timeline.limit_bytes, _end(timeline, axis)
    axes.plot([axis[timeline.peak_at]], [peak], marker="v", color=ink(), clip_on=False)
    top = peak
    if timeline.refused_bytes:
        refused, in_use = timeline.refused_bytes / MIB, timeline.total()[-1] / MIB
        axes.bar(axis[-1], refused, bottom=in_use, width=end - axis[-1], align="edge", color="none",
                 hatch="//", edgecolor=ink())  # fmt: skip
        note(axes, f"refused: {format_size(timeline.refused_bytes)}", (end, in_use + refused), (0, 4),
             ha="right")  # fmt: skip
        top = max(top, in_use + refused)
    if limit and limit / MIB < 2 * top:
        mark_limit(axes, limit)
        top = max(top, limit / MIB)
    axes.set_ylim(0, max(axes.get_ylim()[1], 1.12 * top))
