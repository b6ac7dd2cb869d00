"""Plots against a parameter: sweeps, and an estimate with its trials."""

import numpy as np

from ..sizes import MIB, format_size
from .figure import WIDTH, Figure, legend, plain
from .palette import CATEGORY_COLOURS, RUN_COLOURS, VERMILION

MARKERS = "osD^X"


def sweeps(sweeps, title="", predicted=None):
    """Sweeps over one parameter: peaks with their limits, and samples per second alongside.

    sweeps      a dict of label -> Sweep. Trials that did not fit are crosses at their limit. Repeated trials
                of a value are separate points, and the line goes through their medians.
    predicted   a dict of label -> {value: bytes}: the estimate made beforehand, dotted
    """
    figure = Figure(figsize=(WIDTH, 3.6 + 0.2 * (len(sweeps) - 1)), layout="constrained")
    memory, speed = figure.subplots(1, 2, width_ratios=(3, 2))
    values = list(dict.fromkeys(value for sweep in sweeps.values() for value, _ in sweep.tried))
    numeric = all(isinstance(value, int | float) for value in values)
    positions = {value: value if numeric else index for index, value in enumerate(values)}
    for number, (label, sweep) in enumerate(sweeps.items()):
        style = {"color": _colour(number), "marker": MARKERS[number % len(MARKERS)]}
        points = [(positions[value], outcome) for value, outcome in sweep.tried]
        _draw_sweep(memory, speed, label, points, style)
    top = memory.get_ylim()[1]
    for number, label in enumerate(sweeps):
        points = sorted((predicted or {}).get(label, {}).items())
        memory.plot([v for v, _ in points], [b / MIB for _, b in points], ":", color=_colour(number), lw=2)
    memory.set_ylim(0, 1.06 * top)
    memory.set_ylabel("peak, MiB (dotted: estimate)" if any((predicted or {}).values()) else "peak, MiB")
    speed.set_ylim(0, 1.06 * speed.get_ylim()[1])
    speed.set_ylabel("samples per second")
    if not any(line.get_xdata().size for line in speed.lines):
        speed.text(0.5, 0.5, "no training steps\nto time", ha="center", transform=speed.transAxes)
    ticks = list(positions.values())
    logarithmic = bool(ticks) and min(ticks) > 0 and max(ticks) >= 8 * min(ticks)
    for axes in (memory, speed):
        plain(axes, "xy")
        axes.set_xlabel(next(iter(sweeps.values())).over)
        if ticks:
            axes.set_xlim(*_margins(ticks, logarithmic))
        if logarithmic:
            axes.set_xscale("log", base=2)
        axes.set_xticks(ticks, [str(value) for value in positions])
        axes.minorticks_off()
    memory.set_title(title, loc="left")
    if len(sweeps) > 1:
        legend(figure, memory)
    return figure


def _draw_sweep(memory, speed, label, points, style):
    fits = [(x, o) for x, o in points if o.ok and o.peak_bytes is not None]
    _draw_trials(memory, [(x, o.peak_bytes / MIB) for x, o in fits], style, label)
    _draw_trials(speed, [(x, o.samples_per_second) for x, o in fits if o.samples_per_second], style)
    for limit in {o.limit_bytes for _, o in points if o.limit_bytes}:
        memory.axhline(limit / MIB, color="black", linestyle="--", linewidth=1.2)
        memory.annotate(f"limit {format_size(limit)}", (0, limit / MIB), xycoords=("axes fraction", "data"),
                        xytext=(4, 4), textcoords="offset points", fontsize=10)  # fmt: skip
    for x, outcome in points:
        if not outcome.ok:
            _draw_failure(memory, x, outcome)


def _draw_trials(axes, points, style, label=None):
    """Draw each trial as a point, and a line through the median of each value."""
    values = sorted({x for x, _ in points})
    medians = [np.median([y for x, y in points if x == value]) for value in values]
    once = len(points) == len(values)
    axes.plot(values, medians, label=label, **style if once else style | {"marker": None})
    if not once:
        axes.plot([x for x, _ in points], [y for _, y in points], linestyle="none", **style)


def _draw_failure(axes, x, outcome):
    """Draw a cross at the limit, with the layer that failed."""
    top = (outcome.limit_bytes or outcome.peak_bytes or 0) / MIB
    axes.plot([x], [top], "x", color=VERMILION, markersize=10, markeredgewidth=2.5)
    layer = outcome.diagnosis.layer if outcome.diagnosis else None
    text = "out of memory" if outcome.status == "oom" else outcome.status
    axes.annotate(text + (f"\nin {layer}" if layer else ""), (x, top), xytext=(-6, -14),
                  textcoords="offset points", ha="right", va="top", fontsize=10)  # fmt: skip


def _colour(number):
    return RUN_COLOURS[number % len(RUN_COLOURS)]


def _margins(values, logarithmic):
    low, high = min(values), max(values)
    if logarithmic:
        return low / 1.3, high * 1.3
    margin = 0.06 * ((high - low) or 1)
    return low - margin, high + margin


def prediction(estimate, limit=None, title="", tried=()):
    """The predicted peak against the parameter, stacked by category, with the trials as points and the limit.

    limit   in bytes
    tried   (value, Outcome) pairs of further trials; those that did not fit are crosses at the limit
    """
    small, large = estimate.at[0], estimate.at[-1]
    largest = estimate.largest(limit) if limit else None
    end = max(2 * large, 1.3 * (largest or 0)) if limit else 32 * large
    end = min(end, max(large, estimate.rows or end))
    values = np.unique(np.linspace(small, end, 24).round().astype(int))
    breakdowns = [estimate.breakdown(int(value), limit)["category"] for value in values]
    figure = Figure(figsize=(WIDTH, 3.6), layout="constrained")
    axes = figure.add_subplot()
    categories = [c for c in CATEGORY_COLOURS if any(sizes[c] for sizes in breakdowns)]
    axes.stackplot(
        values,
        [[sizes[category] / MIB for sizes in breakdowns] for category in categories],
        labels=categories,
        colors=[CATEGORY_COLOURS[category] for category in categories],
        linewidth=0,
    )
    peaks = [peak / MIB for peak in estimate.measured.values()]
    axes.plot(list(estimate.measured), peaks, "o", color="black", label="measured")
    fits = [(value, outcome.peak_bytes / MIB) for value, outcome in tried if outcome.ok]
    axes.plot([value for value, _ in fits], [peak for _, peak in fits], "o", color="black")
    for value in (value for value, outcome in tried if not outcome.ok):
        axes.plot([value], [limit / MIB], "x", color="black", markersize=10, markeredgewidth=2.5)
    summary = f"estimated from {estimate.over} {small} and {large}"
    if limit:
        axes.axhline(limit / MIB, color="black", linestyle="--", linewidth=1.2)
        summary = (
            f"up to {estimate.over} {largest} should fit {format_size(limit)}" if largest else "nothing fits"
        )
        if largest:
            axes.axvline(largest, color="black", linestyle=":", linewidth=1.2)
    axes.set_xlim(values[0], values[-1])
    axes.set_xlabel(estimate.over)
    axes.set_ylabel("peak, MiB")
    axes.set_title(f"{title}: {summary}" if title else summary, loc="left")
    plain(axes, "xy")
    legend(figure, axes)
    return figure


def frontier(names, largest, limit, title=""):
    """What fits over two parameters: the largest value of the first for each value of the second.

    largest   {value of the second parameter: largest value of the first, or None}
    limit     in bytes
    """
    fitting = {value: most for value, most in largest.items() if most}
    figure = Figure(figsize=(WIDTH, 3.6), layout="constrained")
    axes = figure.add_subplot()
    summary = f"what should fit {format_size(limit)}" if fitting else f"nothing fits {format_size(limit)}"
    if fitting:
        values, most = list(fitting), list(fitting.values())
        axes.fill_between(values, most, 0.7 * min(most), color=RUN_COLOURS[0], alpha=0.2, linewidth=0)
        axes.plot(values, most, color=RUN_COLOURS[0], marker="o")
        for value, number in fitting.items():
            axes.annotate(str(number), (value, number), xytext=(5, 5), textcoords="offset points", fontsize=9)
        axes.set_xscale("log", base=2)
        axes.set_yscale("log", base=2)
        axes.set_xticks(values, [str(value) for value in values])
        axes.set_yticks(most, [str(number) for number in most])
        axes.minorticks_off()
    axes.set_xlabel(names[1])
    axes.set_ylabel(f"largest {names[0]}")
    axes.set_title(f"{title}: {summary}" if title else summary, loc="left")
    plain(axes, "xy")
    return figure
