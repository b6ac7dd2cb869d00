"""Plots against a parameter, or over two: sweeps, and an estimate with its trials."""

import numpy as np
from matplotlib.patheffects import withStroke
from matplotlib.transforms import ScaledTranslation

from ..outcome import STATUS_TEXT
from ..sizes import MIB, format_size
from .figure import GAP, TEXT, WIDTH, Figure, entitle, ink, legend, mark_limit, note, plain
from .palette import BLUE, CATEGORY_COLOURS, RUN_COLOURS, VERMILION

MARKERS = "osD^X"
ROOM = 1.25  # of what is drawn: the height of the axis, for what is written above a limit
NEAR = 0.2  # of the axis: what is written above a limit would cover that above the limit below
LETTER = 0.021  # of the axis: the width of a letter that is written there
POINTS = 24  # at which an estimate is drawn
FAILED = "run: it did not fit, or failed"  # in the legend of a map
ASIDE = 7  # points: in a map, trials that fit stand so far to the left of their value, others to the right


def sweeps(sweeps, title="", predicted=None, too_large=None):
    """Sweeps over one parameter: peaks with their limits, and samples per second alongside.

    sweeps      a dict of label -> Sweep. Trials that did not fit are crosses at their limit. Repeated trials
                of a value are separate points, and the line goes through their medians.
    predicted   a dict of label -> {value: bytes}: the estimate made beforehand, dotted
    too_large   a dict of label -> values that were predicted not to fit: small crosses on that line
    """
    figure = Figure(figsize=(WIDTH, 3.8 + 0.2 * (len(sweeps) - 1)))
    memory, speed = figure.subplots(1, 2, width_ratios=(3, 2))
    values = [value for sweep in sweeps.values() for value, _ in sweep.tried]
    numeric = all(isinstance(value, int | float) for value in values)
    names = list(dict.fromkeys(map(str, values)))
    positions = {name: index for index, name in enumerate(names)}
    if numeric:
        positions = {str(value): value for value in values}
    tried = [
        [(positions[str(value)], outcome) for value, outcome in sweep.tried] for sweep in sweeps.values()
    ]
    for number, (label, points) in enumerate(zip(sweeps, tried, strict=True)):
        _draw_sweep(memory, speed, label, points, number)
    for axes in (memory, speed):
        axes.set_xlabel(next(iter(sweeps.values())).over)
        plain(axes, "xy")
        _mark_values(axes, positions)
    failed = _draw_limits(memory, [point for points in tried for point in points])
    crosses = [
        _draw_estimate(memory, (predicted or {}).get(label, {}), (too_large or {}).get(label, ()), number)
        for number, label in enumerate(sweeps)
    ]
    _tell_ends(memory, failed, [cross for some in crosses for cross in some])
    estimate = " (dotted: estimate)" if any((predicted or {}).values()) else ""
    memory.set_ylabel(f"peak, MiB{estimate}" + "\nsmall ×: estimated not to fit" * any(crosses))
    _finish_speed(speed)
    entitle(figure, title)
    if len(sweeps) > 1:
        legend(figure, memory)
    return figure


def _draw_estimate(axes, predicted, too_large, number):
    """Draw the dotted line of an estimate; returns the small crosses on it that are in view."""
    points = [(value, size / MIB) for value, size in sorted(predicted.items())]
    axes.plot([value for value, _ in points], [size for _, size in points], ":", color=_colour(number), lw=2)
    unfit = [(value, size) for value, size in points if value in too_large and size <= axes.get_ylim()[1]]
    if unfit:
        axes.plot(*zip(*unfit, strict=True), "x", color=_colour(number), mew=2)
    return unfit


def _draw_sweep(memory, speed, label, points, number):
    style = {"color": _colour(number), "marker": _marker(number)}
    fits = [(x, o) for x, o in points if o.ok and o.peak_bytes is not None]
    _draw_trials(memory, [(x, o.peak_bytes / MIB) for x, o in fits], style, label)
    _draw_trials(speed, [(x, o.samples_per_second) for x, o in fits if o.samples_per_second], style)
    for x, outcome in points:
        if not outcome.ok:
            memory.plot([x], [_failed_at(outcome)], "x", color=VERMILION, markersize=10, markeredgewidth=2.5)


def _mark_values(axes, positions):
    """Give the axis a tick at each value, at equal distances if they span a factor of eight."""
    ticks = list(positions.values())
    if not ticks:
        return
    logarithmic = min(ticks) > 0 and max(ticks) >= 8 * min(ticks)
    axes.set_xlim(*_margins(ticks, logarithmic))
    if logarithmic:
        axes.set_xscale("log", base=2)
    axes.set_xticks(ticks, list(positions), parse_math=False)
    axes.minorticks_off()


def _draw_limits(axes, points):
    """Draw the limits, named where the trials that failed are far away; returns these."""
    limits = {outcome.limit_bytes for _, outcome in points if outcome.limit_bytes}
    failed = sorted(((x, o) for x, o in points if not o.ok), key=lambda point: point[0])
    axes.set_ylim(0, ROOM * max([axes.get_ylim()[1] / 1.05, *(limit / MIB for limit in limits)]))
    for limit in limits:
        sides = [_side(axes, x) for x, outcome in failed if _failed_at(outcome) == limit / MIB]
        at = max((0, 1, 0.5), key=lambda at: min((abs(side - at) for side in sides), default=1))
        mark_limit(axes, limit, at, below=True)
    return failed


def _tell_ends(axes, failed, estimated):
    """Write how each trial ended above its cross, where there is room: first at the highest limit.

    estimated   small crosses: one that would be covered has the text below its trial instead
    """
    crosses = {(-_failed_at(outcome), x): outcome for x, outcome in reversed(failed)}
    written, near = [], NEAR * axes.get_ylim()[1]
    for (depth, x), outcome in sorted(crosses.items(), key=lambda cross: cross[0]):
        layer = outcome.diagnosis.layer if outcome.diagnosis else None
        text = STATUS_TEXT[outcome.status] + (f"\nin {layer}" if layer else "")
        third = int(3 * _side(axes, x))
        width = LETTER * max(map(len, text.split("\n")))
        left = _side(axes, x) - width * third / 2
        beside = [other for start, end, other in written if left < end and start < left + width]
        if any(depth - other < near for other in beside):
            continue
        written.append((left, left + width, depth))
        covered = any(
            abs(_side(axes, other) - left - width / 2) < width / 2 + LETTER and 0 < size + depth < near
            for other, size in estimated
        )
        note(axes, text, (x, -depth), ((-8, 0, 8)[third], -12 if covered else 12),
             ha=("left", "center", "right")[third], va="top" if covered else "baseline")  # fmt: skip


def _side(axes, x):
    """Where x is between the left end of the axis, 0, and its right end, 1."""
    return axes.transAxes.inverted().transform(axes.transData.transform((x, 0)))[0]


def _failed_at(outcome):
    """Where a trial that did not fit is drawn, in MiB."""
    return (outcome.limit_bytes or outcome.peak_bytes or 0) / MIB


def _finish_speed(axes):
    axes.set_ylim(0, 1.06 * axes.get_ylim()[1])
    axes.set_ylabel("samples per second")
    if not any(line.get_xdata().size for line in axes.lines):
        axes.set_yticks([])
        axes.text(0.5, 0.5, "no training steps\nto time", ha="center", transform=axes.transAxes)


def _draw_trials(axes, points, style, label=None):
    """Draw each trial as a point, and a line through the median of each value."""
    values = sorted({x for x, _ in points})
    medians = [np.median([y for x, y in points if x == value]) for value in values]
    once = len(points) == len(values)
    axes.plot(values, medians, label=label, **style if once else style | {"marker": None})
    if not once:
        axes.plot([x for x, _ in points], [y for _, y in points], linestyle="none", **style)


def _colour(number):
    return RUN_COLOURS[number % len(RUN_COLOURS)]


def _marker(number):
    """The marker of a run: another where the colors begin again."""
    return MARKERS[(number + number // len(RUN_COLOURS)) % len(MARKERS)]


def _margins(values, logarithmic):
    low, high = min(values), max(values)
    if logarithmic:
        return low / 1.3, high * 1.3
    margin = 0.06 * ((high - low) or 1)
    return low - margin, high + margin


def prediction(estimate, limit=None, title="", tried=(), answer=None):
    """The predicted peak against the parameter, stacked by category, with the trials as points and the limit.

    limit    in bytes
    tried    (value, Outcome) pairs of further trials; those that did not fit are crosses at the limit
    answer   the largest value that fitted in a trial, marked instead of the largest that should fit
    """
    small, large = estimate.at[0], estimate.at[-1]
    largest = estimate.largest(limit) if limit else None
    end = max(2 * large, 1.3 * max(largest or 0, answer or 0)) if limit else 32 * large
    end = min(end, max(large, estimate.rows or end))
    values = np.linspace(small, end, POINTS)
    if all(isinstance(value, int) for value in estimate.at):
        values = values.round().astype(int)
    marked = answer or largest
    values = np.unique([*values, marked or small])
    breakdowns = [estimate.breakdown(value.item(), limit)["category"] for value in values]
    figure = Figure(figsize=(WIDTH, 4))
    axes = figure.add_subplot()
    categories = [c for c in CATEGORY_COLOURS if any(sizes[c] for sizes in breakdowns)]
    axes.stackplot(
        values,
        [[sizes[category] / MIB for sizes in breakdowns] for category in categories],
        labels=categories,
        colors=[CATEGORY_COLOURS[category] for category in categories],
        linewidth=0,
    )
    fits = [*estimate.measured.items(), *((value, o.peak_bytes) for value, o in tried if o.ok)]
    shown = [(value, peak / MIB) for value, peak in fits if value <= end]
    axes.plot(*zip(*shown, strict=True), "o", color=ink(), label="measured", clip_on=False)
    for value in (value for value, outcome in tried if not outcome.ok and value <= end):
        axes.plot([value], [limit / MIB], "x", color=ink(), markersize=10, markeredgewidth=2.5)
    summary = f"estimated from {estimate.over} {small} and {large}"
    if limit:
        summary = _draw_limit(axes, estimate.over, marked, limit, answer is not None)
    axes.set_xlim(values[0], values[-1])
    axes.set_xlabel(estimate.over)
    axes.set_ylabel("peak, MiB")
    entitle(figure, f"{title}: {summary}" if title else summary)
    plain(axes, "xy")
    legend(figure, axes)
    return figure


def _draw_limit(axes, over, largest, limit, proved):
    """Mark the limit, and the largest value that should fit it; returns what the title says of them.

    proved   whether it fitted in a trial
    """
    mark_limit(axes, limit)
    axes.set_ylim(0, max(axes.get_ylim()[1], 1.15 * limit / MIB))
    if not largest:
        return f"nothing fits {format_size(limit)}"
    axes.axvline(largest, color=ink(), linestyle=":", linewidth=1.2)
    if proved:
        return f"{over} {largest} fits {format_size(limit)}"
    return f"up to {over} {largest} should fit {format_size(limit)}"


def frontier(names, largest, limit, title=""):
    """What fits over two parameters: the largest value of the first for each value of the second.

    largest   {value of the second parameter: largest value of the first, or None}
    limit     in bytes
    """
    fitting = {value: most for value, most in largest.items() if most}
    figure = Figure(figsize=(WIDTH, 3.8))
    axes = figure.add_subplot()
    summary = f"what should fit {format_size(limit)}" if fitting else f"nothing fits {format_size(limit)}"
    if fitting:
        values, most = list(fitting), list(fitting.values())
        axes.fill_between(values, most, 0.7 * min(most), color=RUN_COLOURS[0], alpha=0.2, linewidth=0)
        axes.plot(values, most, color=RUN_COLOURS[0], marker="o")
        for value, number in fitting.items():
            note(axes, str(number), (value, number), (GAP, GAP))
        axes.set_xscale("log", base=2)
        axes.set_yscale("log", base=2)
        axes.set_xticks(values, [str(value) for value in values])
        axes.set_yticks(most, [str(number) for number in most])
        axes.minorticks_off()
    axes.set_xlabel(names[1])
    axes.set_ylabel(f"largest {names[0]}")
    entitle(figure, f"{title}: {summary}" if title else summary)
    plain(axes, "xy")
    return figure


def area_map(names, run):
    """Predicted peaks over a grid of two parameters, shaded, with the frontier of what fits and the trials.

    names   the parameters; the first is on the vertical axis
    run     has grid ([firsts, seconds]), predicted ({(first, second): bytes}), points (the values to run),
            tried ((value, Outcome) pairs), frontier ({second: largest first, or None}), limit in bytes, and
            fits(value)
    """
    firsts, seconds = run.grid
    figure = Figure(figsize=(WIDTH, 1.6 + 0.5 * len(firsts)))
    axes = figure.add_subplot()
    edges = [_borders(seconds), _borders(firsts)]
    for row, first in enumerate(firsts):
        for column, second in enumerate(seconds):
            (left, right), (low, high) = edges[0][column : column + 2], edges[1][row : row + 2]
            _cell(axes, run, (first, second), (left, right, low, high))
    frontier = [(second, first or float("nan")) for second, first in run.frontier.items()]
    axes.plot(*zip(*frontier, strict=True), color=ink(), lw=2, label="predicted frontier: what fits is below")
    _marks(axes, run)
    for scale, ticks, labels, limits, (low, *_, high), values in (
        (axes.set_xscale, axes.set_xticks, axes.set_xlabel, axes.set_xlim, edges[0], seconds),
        (axes.set_yscale, axes.set_yticks, axes.set_ylabel, axes.set_ylim, edges[1], firsts),
    ):
        scale("log", base=2)
        ticks(values, [str(value) for value in values])
        labels(names[1] if values is seconds else names[0])
        limits(low, high)
    axes.minorticks_off()
    result = f": {run.result}" if run.tried else ""
    entitle(figure, f"predicted peaks, and what fits {format_size(run.limit)}{result}")
    legend(figure, axes)
    return figure


def _borders(values):
    """The borders of the cells around values, halfway between them on a logarithmic axis."""
    if len(values) < 2:
        return [values[0] / 2**0.5, values[0] * 2**0.5]
    middles = [(one * other) ** 0.5 for one, other in zip(values, values[1:], strict=False)]
    return [values[0] ** 2 / middles[0], *middles, values[-1] ** 2 / middles[-1]]


def _cell(axes, run, value, borders):
    left, right, low, high = borders
    size, fits = run.predicted[value], run.fits(value)
    colour, alpha = (BLUE, 0.06 + 0.5 * min(1, size / run.limit)) if fits else (VERMILION, 0.22)
    axes.fill_between([left, right], low, high, color=colour, alpha=alpha, linewidth=0)
    text = f"{format_size(size)}{'' if fits else ' ✗'}"
    marked = any(second == value[1] and low <= first <= high for first, second in run.points)
    height = low * (high / low) ** (0.2 if marked else 0.5)
    around = [withStroke(linewidth=2, foreground=axes.get_facecolor())]
    axes.text(value[1], height, text, ha="center", va="center", fontsize=TEXT, zorder=4, path_effects=around)


def _marks(axes, run):
    """The points: run and fits, run and failed, and not run."""
    tried = {value for value, _ in run.tried}
    fits = [value for value, outcome in run.tried if outcome.ok]
    failed = [value for value, outcome in run.tried if not outcome.ok]
    waiting = [value for value in run.points if value not in tried]
    style = {"linestyle": "none", "zorder": 5, "markersize": 8}
    for values, aside, look in (
        (fits, -ASIDE, {"marker": "o", "color": BLUE, "markeredgecolor": "white", "label": "run: it fits"}),
        (
            failed,
            ASIDE,
            {"marker": "x", "color": VERMILION, "markeredgewidth": 2.5, "label": FAILED},
        ),
        (
            waiting,
            0,
            {"marker": "o", "color": "white", "markeredgecolor": ink(), "label": "predicted, not run"},
        ),
    ):
        if values:
            place = axes.transData + ScaledTranslation(aside / 72, 0, axes.figure.dpi_scale_trans)
            seconds, firsts = [second for _, second in values], [first for first, _ in values]
            axes.plot(seconds, firsts, transform=place, **style | look)
