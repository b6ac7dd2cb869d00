"""Bars: the peaks of trials, the layers at a peak, the chunks of a memory map."""

import numpy as np
from matplotlib.ticker import MaxNLocator

from ..sizes import MIB, format_size
from .figure import WIDTH, Figure, legend, plain
from .palette import BLUE, CATEGORY_COLOURS, GREEN, GREY, VERMILION
from .stacks import headline


def outcomes(outcomes, title=""):
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
    speed.xaxis.set_major_locator(MaxNLocator(4))
    speed.tick_params(labelleft=False)
    plain(speed)
    memory.set_title(title, loc="left", pad=16)
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
    plain(axes)


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
    legend(picture, axes)
    plain(axes)
    return picture


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
    plain(axes)
    return picture


def _map_title(diagnosis):
    asked, free = diagnosis.requested_bytes, diagnosis.largest_free_bytes
    limit = format_size(diagnosis.limit_bytes)
    if not asked:
        return f"Refused under a limit of {limit}"
    return f"{format_size(asked)} asked for, {format_size(free)} at most to be had, limit {limit}"
