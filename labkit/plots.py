"""Every figure, in plain matplotlib: data in, Figure out. Knows nothing of processes."""

import io

import matplotlib.figure
import numpy as np
from matplotlib.ticker import FuncFormatter, MaxNLocator

from .memory import MIB, format_size
from .palette import (
    BLUE,
    CATEGORY_COLOURS,
    DARK,
    GREEN,
    GREY,
    RUN_COLOURS,
    VERMILION,
    curve_colours,
)  # fmt: skip

WIDTH = 8.0  # inches: the width of a notebook's output
POINTS = 1500  # more than a screen has: of a longer curve, each point keeps the largest that it stands for


class Figure(matplotlib.figure.Figure):
    """A matplotlib Figure that notebooks show by itself, without pyplot and what it keeps."""

    def __repr__(self):
        return f"Figure: {self.axes[0].get_title(loc='left')}" if self.axes else "Figure"

    def _repr_png_(self):
        png = io.BytesIO()
        self.savefig(png, format="png", dpi=100)
        return png.getvalue()


def peaks(outcomes, title="Peak memory by way of feeding"):
    """A bar for each outcome: its peak in MiB against its memory limit; failures are hatched and named.

    outcomes: a dict of label -> Outcome.
    """
    picture = Figure(figsize=(WIDTH, 0.9 + 0.45 * len(outcomes)), layout="constrained")
    axes = picture.add_subplot()
    _peak_bars(axes, outcomes)
    axes.set_title(title, loc="left", pad=16)
    return picture


def _peak_bars(axes, outcomes):
    largest = max((o.peak_bytes or 0) for o in outcomes.values())
    limits = {o.limit_bytes for o in outcomes.values() if o.limit_bytes}
    reach = max([largest, *limits]) / MIB
    for row, (label, outcome) in enumerate(outcomes.items()):
        _peak_bar(axes, row, label, outcome, reach)
    for limit in limits:
        under = [row for row, outcome in enumerate(outcomes.values()) if outcome.limit_bytes == limit]
        axes.vlines(
            limit / MIB, min(under) - 0.5, max(under) + 0.5, color="black", linestyle="--", linewidth=1.2
        )
        axes.annotate(f"limit {format_size(limit)}", (limit / MIB, 1), xycoords=("data", "axes fraction"),
                      xytext=(-4, 3), textcoords="offset points", ha="right", fontsize=9)  # fmt: skip
    axes.set_yticks(range(len(outcomes)), list(outcomes))
    axes.invert_yaxis()
    axes.set_xlim(0, reach * 1.3)
    axes.set_xlabel("peak of the device's memory, MiB")
    _plain(axes)


def compare_outcomes(outcomes, title=""):
    """Peak memory of each outcome against its limit, and its samples per second beside it.

    outcomes: a dict of label -> Outcome, from the top down.
    """
    picture = Figure(figsize=(WIDTH, 1.1 + 0.45 * len(outcomes)), layout="constrained")
    memory, speed = picture.subplots(1, 2, width_ratios=(3, 2), sharey=True)
    _peak_bars(memory, outcomes)
    speeds = [outcome.samples_per_second or 0 for outcome in outcomes.values()]
    speed.barh(range(len(outcomes)), speeds, height=0.6, color=GREEN)
    for row, number in enumerate(speeds):
        speed.annotate(f"{number:,.0f}" if number else "none", (number, row), xytext=(4, 0),
                       textcoords="offset points", va="center", fontsize=9)  # fmt: skip
    speed.set_xlim(0, 1.3 * (max(speeds) or 1))
    speed.set_xlabel("samples per second")
    speed.xaxis.set_major_formatter(FuncFormatter(lambda number, _: f"{number:,.0f}"))
    speed.xaxis.set_major_locator(MaxNLocator(4))
    speed.tick_params(labelleft=False)
    _plain(speed)
    memory.set_title(title, loc="left", pad=16)
    return picture


def _peak_bar(axes, row, label, outcome, reach):
    failed = not outcome.ok
    peak = outcome.peak_bytes
    width = (peak or 0) / MIB
    axes.barh(row, width, height=0.6, color=VERMILION if failed else BLUE, hatch="//" if failed else None,
              edgecolor="white")  # fmt: skip
    asked = outcome.diagnosis.requested_bytes if outcome.diagnosis else None
    if asked:
        axes.barh(row, asked / MIB, left=width, height=0.6, fill=False, edgecolor=VERMILION, linestyle=":")
        width += asked / MIB
    said = format_size(peak) if peak is not None else outcome.status
    if failed:
        said = f"{outcome.status}, asked for {format_size(asked)}" if asked else outcome.status
    axes.annotate(
        said,
        (min(width, reach), row),
        xytext=(4, 0),
        textcoords="offset points",
        va="center",
        fontsize=9,
    )


def memory_map(outcome):
    """The allocator's memory at the moment it gave up: what was in use, the holes, and what was asked for.

    outcome: one that ran out of memory, or a Diagnosis with a memory map. Raises ValueError for another.
    """
    found = getattr(outcome, "diagnosis", outcome)
    if outcome.memory_map is None:
        why = f"its status is {outcome.status!r}" if found is not outcome else "the text has no whole dump"
        raise ValueError(f"there is no map of the memory ({why})")
    picture = Figure(figsize=(WIDTH, 2.3), layout="constrained")
    axes = picture.add_subplot()
    at = 0
    for chunk in outcome.memory_map.chunks:
        size = chunk.size / MIB
        colour, hatch = (BLUE, None) if chunk.in_use else ("white", "...")
        axes.barh(2, size, left=at, height=0.6, color=colour, hatch=hatch, edgecolor=GREY, linewidth=0.3)
        at += size
    limit = (outcome.limit_bytes or outcome.memory_map.held_bytes) / MIB
    if limit > at:
        axes.barh(2, limit - at, left=at, height=0.6, color="white", edgecolor=GREY, linestyle=":")
    asked = found.requested_bytes
    if asked:
        axes.barh(1, asked / MIB, height=0.6, color=VERMILION, hatch="//", edgecolor="white")
    largest = (found.largest_free_bytes or 0) / MIB
    axes.barh(0, largest, height=0.6, color="white", hatch="...", edgecolor=GREY, linewidth=0.3)
    axes.axvline(limit, color="black", linestyle="--", linewidth=1.2)
    axes.set_xlim(0, 1.05 * max(limit, (asked or 0) / MIB))
    axes.set_yticks([2, 1, 0], ["memory: in use / free", "asked for", "largest piece left"])
    axes.set_xlabel("MiB")
    axes.set_title(_map_title(found), loc="left")
    _plain(axes)
    return picture


def _map_title(diagnosis):
    asked, free = diagnosis.requested_bytes, diagnosis.largest_free_bytes
    limit = format_size(diagnosis.limit_bytes)
    if not asked:
        return f"Refused under a limit of {limit}"
    return f"{format_size(asked)} asked for, {format_size(free)} at most to be had, limit {limit}"


def timeline(timeline, by="category", title=""):
    """Memory in use over a trial, stacked by category or by layer; peak, limit and steps marked.

    The axis counts the larger allocations and deallocations in their order, not seconds: most of the time
    of a short trial goes into tracing the model.
    """
    picture = Figure(figsize=(WIDTH, 3.8), layout="constrained")
    axes = picture.add_subplot()
    _stack(axes, timeline, by)
    _mark_peak(axes, timeline)
    axes.set_title(headline(timeline, title), loc="left")
    axes.set_ylabel("in use, MiB")
    _legend(picture, axes)
    return picture


def compare(timelines, by="category", title=""):
    """Timelines side by side on one scale: before and after a fix. timelines: a dict of label -> Timeline."""
    picture = Figure(figsize=(WIDTH, 3.8), layout="constrained")
    row = picture.subplots(1, len(timelines), sharey=True, squeeze=False)[0]
    for axes, (label, one) in zip(row, timelines.items(), strict=True):
        _stack(axes, one, by)
        _mark_peak(axes, one)
        axes.set_title(f"{label}: {format_size(one.peak_bytes)}", loc="left", fontsize=11)
    row[0].set_ylabel("in use, MiB")
    if title:
        picture.suptitle(title, x=0.01, ha="left")
    _legend(picture, *row)
    return picture


def peak_by_layer(timeline, title="", most=12):
    """The bytes at the peak, a bar for each layer, split by category; the `most` largest layers."""
    layers = dict(list(timeline.by_layer().items())[:most])
    picture = Figure(figsize=(WIDTH, 1.2 + 0.32 * len(layers)), layout="constrained")
    axes = picture.add_subplot()
    left = np.zeros(len(layers))
    rows = timeline.at_peak()
    for category, colour in CATEGORY_COLOURS.items():
        sizes = [
            sum(r.bytes for r in rows if r.layer == layer and r.category == category) for layer in layers
        ]
        widths = np.array(sizes) / MIB
        if widths.any():
            axes.barh(range(len(layers)), widths, left=left, height=0.7, color=colour, label=category)
        left += widths
    for place, total in enumerate(left):
        axes.annotate(format_size(total * MIB), (total, place), xytext=(4, 0), textcoords="offset points",
                      va="center", fontsize=9)  # fmt: skip
    axes.set_yticks(range(len(layers)), [layer or "(no layer)" for layer in layers])
    axes.invert_yaxis()
    axes.set_xlim(0, left.max() * 1.15)
    axes.set_xlabel("at the peak, MiB")
    axes.set_title(headline(timeline, title), loc="left")
    _legend(picture, axes)
    _plain(axes)
    return picture


def headline(timeline, title=""):
    """What a figure of a timeline shows: "ResNet-50, batch 16: 212 MiB at the peak, 61 % activations"."""
    shares = timeline.by_category()
    most = max(shares, key=shares.get)
    peak = timeline.peak_bytes
    said = f"{format_size(peak)} at the peak, {100 * shares[most] / max(1, peak):.0f} % {most}"
    return f"{title}: {said}" if title else said


def sweep(sweep, title=""):
    """Peak memory of each trial of a sweep with the limit, and the samples per second beside it.

    Trials that ran out of memory are crosses at the limit, with the layer that failed. Where a value was
    tried more than once, each try is a point.
    """
    picture = Figure(figsize=(WIDTH, 3.6), layout="constrained")
    memory, speed = picture.subplots(1, 2, width_ratios=(3, 2))
    numeric = all(isinstance(value, int | float) for value in sweep.values)
    at = {value: value if numeric else place for place, value in enumerate(sweep.values)}
    points = [(at[value], outcome) for value, outcome in sweep.tried]
    limit = max((o.limit_bytes for _, o in points if o.limit_bytes), default=None)
    fits = [(x, o) for x, o in points if o.ok and o.peak_bytes is not None]
    _tries(memory, [(x, o.peak_bytes / MIB) for x, o in fits], "o", BLUE)
    failed = [(x, o) for x, o in points if o.status == "oom"]
    for x, outcome in failed:
        top = (limit or outcome.peak_bytes or 0) / MIB
        memory.plot([x], [top], "x", color=VERMILION, markersize=10, markeredgewidth=2.5)
        layer = outcome.diagnosis.layer if outcome.diagnosis else None
        memory.annotate("out of memory" + (f"\nin {layer}" if layer else ""), (x, top), xytext=(-6, -14),
                        textcoords="offset points", ha="right", va="top", fontsize=9)  # fmt: skip
    if limit:
        memory.axhline(limit / MIB, color="black", linestyle="--", linewidth=1.2)
        memory.annotate(f"limit {format_size(limit)}", (0, limit / MIB), xycoords=("axes fraction", "data"),
                        xytext=(4, 4), textcoords="offset points", fontsize=9)  # fmt: skip
    _tries(speed, [(x, o.samples_per_second) for x, o in fits if o.samples_per_second], "s", GREEN)
    memory.set_ylabel("peak, MiB")
    speed.set_ylabel("samples per second")
    if not speed.lines[0].get_xdata().size:
        speed.text(0.5, 0.5, "no training steps\nto be timed", ha="center", transform=speed.transAxes)
    stretched = numeric and min(at.values()) > 0 and max(at.values()) >= 8 * min(at.values())
    for axes in (memory, speed):
        _plain(axes)
        axes.set_xlabel(sweep.over)
        axes.set_ylim(0, axes.get_ylim()[1] * 1.1)
        axes.set_xlim(*_margins(list(at.values()), stretched))
        if stretched:
            axes.set_xscale("log", base=2)
        axes.set_xticks(list(at.values()), [str(value) for value in at])
        axes.yaxis.set_major_formatter(FuncFormatter(lambda number, _: f"{number:,.0f}"))
    frontier = "nothing fits" if sweep.frontier is None else f"{sweep.over} {sweep.frontier} fits"
    memory.set_title(f"{title}: {frontier}" if title else frontier, loc="left")
    return picture


def runs(sweeps, title="", predicted=None):
    """Several sweeps over one parameter on one pair of axes: peaks with the limits, samples per second.

    sweeps      a dict of label -> Sweep. Trials that did not fit are crosses at their limit.
    predicted   a dict of label -> {value: bytes}: what was estimated beforehand, dotted
    """
    picture = Figure(figsize=(WIDTH, 3.6 + 0.2 * len(sweeps)), layout="constrained")
    memory, speed = picture.subplots(1, 2, width_ratios=(3, 2))
    for number, (label, sweep) in enumerate(sweeps.items()):
        look = {"color": RUN_COLOURS[number % len(RUN_COLOURS)], "marker": "osD^X"[number % 5]}
        _run(memory, speed, label, sweep, look)
    top = 1.12 * max(memory.get_ylim()[1] / 1.05, 1e-9)
    for number, label in enumerate(sweeps):
        points = sorted((predicted or {}).get(label, {}).items())
        colour = RUN_COLOURS[number % len(RUN_COLOURS)]
        memory.plot([v for v, _ in points], [b / MIB for _, b in points], ":", color=colour, linewidth=2)
    memory.set_ylim(0, top)
    speed.set_ylim(0, 1.06 * speed.get_ylim()[1])
    values = sorted({value for sweep in sweeps.values() for value, _ in sweep.tried})
    for axes in (memory, speed):
        _plain(axes)
        axes.set_xlabel(next(iter(sweeps.values())).over)
        if values and values[-1] >= 8 * values[0] > 0:
            axes.set_xscale("log", base=2)
        axes.set_xticks(values, [str(value) for value in values])
        axes.yaxis.set_major_formatter(FuncFormatter(lambda number, _: f"{number:,.0f}"))
    memory.set_ylabel("peak, MiB; dotted: estimated" if any((predicted or {}).values()) else "peak, MiB")
    speed.set_ylabel("samples per second")
    memory.set_title(title, loc="left")
    picture.legend(loc="outside lower left", frameon=False, fontsize=9)
    return picture


def _run(memory, speed, label, sweep, look):
    fits = sorted(((v, o) for v, o in sweep.tried if o.ok and o.peak_bytes is not None), key=lambda t: t[0])
    memory.plot([v for v, _ in fits], [o.peak_bytes / MIB for _, o in fits], label=label, **look)
    timed = [(v, o.samples_per_second) for v, o in fits if o.samples_per_second]
    speed.plot([v for v, _ in timed], [rate for _, rate in timed], **look)
    for value, outcome in sweep.tried:
        if outcome.limit_bytes:
            memory.axhline(outcome.limit_bytes / MIB, color="black", linestyle="--", linewidth=1)
        if not outcome.ok:
            top = (outcome.limit_bytes or outcome.peak_bytes or 0) / MIB
            memory.plot([value], [top], "x", color=VERMILION, markersize=10, markeredgewidth=2.5)


def _margins(values, stretched):
    low, high = min(values), max(values)
    if stretched:
        return low / 1.3, high * 1.3
    room = 0.06 * ((high - low) or 1)
    return low - room, high + room


def estimate(estimate, limit=None, title="", tried=()):
    """The predicted peak over the parameter, stacked by category; its trials as points, and the limit.

    tried: (value, Outcome) of further trials; those that did not fit are crosses at the limit.
    """
    small, large = estimate.at
    largest = estimate.largest(limit) if limit else None
    reach = max(2 * large, 1.3 * (largest or 0)) if limit else 32 * large
    values = np.unique(np.linspace(small, reach, 24).round().astype(int))
    parts = [estimate.breakdown(int(value))["category"] for value in values]
    picture = Figure(figsize=(WIDTH, 3.6), layout="constrained")
    axes = picture.add_subplot()
    shown = [c for c in CATEGORY_COLOURS if any(part[c] for part in parts)]
    axes.stackplot(
        values,
        [[part[category] / MIB for part in parts] for category in shown],
        labels=shown,
        colors=[CATEGORY_COLOURS[category] for category in shown],
        linewidth=0,
    )
    peaks = [peak / MIB for peak in estimate.measured.values()]
    axes.plot(list(estimate.measured), peaks, "o", color="black", label="measured")
    fits = [(value, outcome.peak_bytes / MIB) for value, outcome in tried if outcome.ok]
    axes.plot([value for value, _ in fits], [peak for _, peak in fits], "o", color="black")
    for value in (value for value, outcome in tried if not outcome.ok):
        axes.plot([value], [limit / MIB], "x", color="black", markersize=10, markeredgewidth=2.5)
    said = f"estimated from {estimate.over} {small} and {large}"
    if limit:
        axes.axhline(limit / MIB, color="black", linestyle="--", linewidth=1.2)
        said = (
            f"up to {estimate.over} {largest} should fit {format_size(limit)}" if largest else "nothing fits"
        )
        if largest:
            axes.axvline(largest, color="black", linestyle=":", linewidth=1.2)
    axes.set_xlim(values[0], values[-1])
    axes.set_xlabel(estimate.over)
    axes.set_ylabel("peak, MiB")
    axes.set_title(f"{title}: {said}" if title else said, loc="left")
    _plain(axes)
    axes.yaxis.set_major_formatter(axes.xaxis.get_major_formatter())
    _legend(picture, axes)
    return picture


def _tries(axes, points, marker, colour):
    """Each try as a point, and a line through the medians of the tries of a value."""
    values = list(dict.fromkeys(x for x, _ in points))
    axes.plot([x for x, _ in points], [y for _, y in points], marker, color=colour)
    axes.plot(values, [np.median([y for x, y in points if x == value]) for value in values], color=colour)


def _stack(axes, timeline, by):
    curves = timeline.curves(by)
    axis, places = axis_of(timeline)
    axes.stackplot(
        axis[places],
        [curve[places] / MIB for curve in curves.values()],
        labels=list(curves),
        colors=curve_colours(curves, by).values(),
        step="post",
        linewidth=0,
    )
    axes.set_xlim(0, max(1, axis[-1]))
    axes.set_xlabel("the larger allocations and deallocations, in order")
    for number, place in enumerate(timeline.steps, 2):
        at = axis[min(place, len(axis) - 1)]
        if at > 0.98 * axis[-1]:  # the end of the last step
            break
        axes.axvline(at, color=GREY, linewidth=0.7, linestyle=":")
        if number <= 4:
            axes.annotate(f"step {number}", (at, 1), xycoords=("data", "axes fraction"), xytext=(3, -10),
                          textcoords="offset points", fontsize=8, color=DARK)  # fmt: skip
    _plain(axes)
    axes.yaxis.set_major_formatter(axes.xaxis.get_major_formatter())


def axis_of(timeline, points=POINTS):
    """Where each event is on the axis, and which to draw: of each stretch the one with the most in use.

    Only events of at least a thousandth of the peak take room: tracing a model makes thousands of tiny ones.
    """
    total, fullness = timeline.total(), timeline.fullness()
    change = np.maximum(*(np.abs(np.diff(curve, prepend=0)) for curve in (total, timeline.filled())))
    axis = np.cumsum(change >= total.max() / 1000)
    edges = np.searchsorted(axis, np.linspace(0, axis[-1] + 1, min(points, axis[-1] + 2)))
    stretches = [(a, b) for a, b in zip(edges[:-1], edges[1:], strict=True) if b > a]
    return axis, np.array([a + fullness[a:b].argmax() for a, b in stretches])


def _mark_peak(axes, timeline):
    axis, _ = axis_of(timeline)
    peak, limit, end = timeline.peak_bytes / MIB, timeline.limit_bytes, axis[-1]
    axes.plot([axis[timeline.peak_at]], [peak], marker="v", color="black", clip_on=False)
    top = peak
    if timeline.refused_bytes:
        asked, now = timeline.refused_bytes / MIB, timeline.total()[-1] / MIB
        axes.bar(end * 0.985, asked, bottom=now, width=end * 0.03, color="none", hatch="//",
                 edgecolor="black")  # fmt: skip
        axes.annotate(f"refused: {format_size(timeline.refused_bytes)}", (end, now + asked),
                      xytext=(0, 4), textcoords="offset points", ha="right", fontsize=9)  # fmt: skip
        top = max(top, now + asked)
    if limit and limit / MIB < 2 * top:
        axes.axhline(limit / MIB, color="black", linestyle="--", linewidth=1.2)
        axes.annotate(f"limit {format_size(limit)}", (0, limit / MIB), xytext=(4, 4),
                      textcoords="offset points", fontsize=9)  # fmt: skip
        top = max(top, limit / MIB)
    axes.set_ylim(0, max(axes.get_ylim()[1], 1.12 * top))


def _legend(picture, *axes):
    found = {}
    for one in axes:
        handles, labels = one.get_legend_handles_labels()
        found |= dict(zip(labels, handles, strict=True))
    picture.legend(found.values(), found.keys(), loc="outside lower left", ncols=4, frameon=False, fontsize=9)


def _plain(axes):
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda mib, _: f"{mib:,.0f}"))
