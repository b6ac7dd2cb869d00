"""Points over a parameter: sweeps, and the estimate with its trials."""

import numpy as np

from ..sizes import MIB, format_size
from .figure import WIDTH, Figure, legend, plain
from .palette import CATEGORY_COLOURS, RUN_COLOURS, VERMILION

MARKERS = "osD^X"


def sweeps(sweeps, title="", predicted=None):
    """Sweeps over one parameter: peaks with their limits, and samples per second beside them.

    sweeps      a dict of label -> Sweep. Trials that did not fit are crosses at their limit. Where a value
                was tried more than once each try is a point, and the line goes through the medians.
    predicted   a dict of label -> {value: bytes}: what was estimated beforehand, dotted
    """
    picture = Figure(figsize=(WIDTH, 3.6 + 0.2 * (len(sweeps) - 1)), layout="constrained")
    memory, speed = picture.subplots(1, 2, width_ratios=(3, 2))
    values = list(dict.fromkeys(value for sweep in sweeps.values() for value, _ in sweep.tried))
    numeric = all(isinstance(value, int | float) for value in values)
    at = {value: value if numeric else place for place, value in enumerate(values)}
    for number, (label, sweep) in enumerate(sweeps.items()):
        look = {"color": _colour(number), "marker": MARKERS[number % len(MARKERS)]}
        _one_sweep(memory, speed, label, [(at[value], outcome) for value, outcome in sweep.tried], look)
    top = memory.get_ylim()[1]
    for number, label in enumerate(sweeps):
        points = sorted((predicted or {}).get(label, {}).items())
        memory.plot([v for v, _ in points], [b / MIB for _, b in points], ":", color=_colour(number), lw=2)
    memory.set_ylim(0, 1.06 * top)
    memory.set_ylabel("peak, MiB; dotted: estimated" if any((predicted or {}).values()) else "peak, MiB")
    speed.set_ylim(0, 1.06 * speed.get_ylim()[1])
    speed.set_ylabel("samples per second")
    if not any(line.get_xdata().size for line in speed.lines):
        speed.text(0.5, 0.5, "no training steps\nto be timed", ha="center", transform=speed.transAxes)
    stretched = bool(at) and min(at.values()) > 0 and max(at.values()) >= 8 * min(at.values())
    for axes in (memory, speed):
        plain(axes, "xy")
        axes.set_xlabel(next(iter(sweeps.values())).over)
        if at:
            axes.set_xlim(*_margins(list(at.values()), stretched))
        if stretched:
            axes.set_xscale("log", base=2)
        axes.set_xticks(list(at.values()), [str(value) for value in at])
        axes.minorticks_off()
    memory.set_title(title, loc="left")
    if len(sweeps) > 1:
        picture.legend(loc="outside lower left", frameon=False, fontsize=9)
    return picture


def _one_sweep(memory, speed, label, points, look):
    fits = [(x, o) for x, o in points if o.ok and o.peak_bytes is not None]
    _tries(memory, [(x, o.peak_bytes / MIB) for x, o in fits], look, label)
    _tries(speed, [(x, o.samples_per_second) for x, o in fits if o.samples_per_second], look)
    for limit in {o.limit_bytes for _, o in points if o.limit_bytes}:
        memory.axhline(limit / MIB, color="black", linestyle="--", linewidth=1.2)
        memory.annotate(f"limit {format_size(limit)}", (0, limit / MIB), xycoords=("axes fraction", "data"),
                        xytext=(4, 4), textcoords="offset points", fontsize=9)  # fmt: skip
    for x, outcome in points:
        if not outcome.ok:
            _failure(memory, x, outcome)


def _tries(axes, points, look, label=None):
    """Each try as a point, and a line through the medians of the tries of a value."""
    values = sorted({x for x, _ in points})
    medians = [np.median([y for x, y in points if x == value]) for value in values]
    axes.plot([x for x, _ in points], [y for _, y in points], linestyle="none", **look)
    axes.plot(values, medians, label=label, **look | {"marker": look["marker"] if label else None})


def _failure(axes, x, outcome):
    """A cross at the limit, with the layer that failed."""
    top = (outcome.limit_bytes or outcome.peak_bytes or 0) / MIB
    axes.plot([x], [top], "x", color=VERMILION, markersize=10, markeredgewidth=2.5)
    layer = outcome.diagnosis.layer if outcome.diagnosis else None
    said = "out of memory" if outcome.status == "oom" else outcome.status
    axes.annotate(said + (f"\nin {layer}" if layer else ""), (x, top), xytext=(-6, -14),
                  textcoords="offset points", ha="right", va="top", fontsize=9)  # fmt: skip


def _colour(number):
    return RUN_COLOURS[number % len(RUN_COLOURS)]


def _margins(values, stretched):
    low, high = min(values), max(values)
    if stretched:
        return low / 1.3, high * 1.3
    room = 0.06 * ((high - low) or 1)
    return low - room, high + room


def prediction(estimate, limit=None, title="", tried=()):
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
    plain(axes, "xy")
    legend(picture, axes)
    return picture
