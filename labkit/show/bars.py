"""Bar charts: peaks of trials and of fixes, layers at the peak, and the chunks of a memory map."""

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from ..sizes import MIB, format_size
from .figure import WIDTH, Figure, legend, plain
from .palette import BLUE, CATEGORY_COLOURS, GREEN, GREY, ORANGE, PURPLE, SKY, VERMILION
from .timelines import headline

GROUP_COLOURS = (ORANGE, GREEN, PURPLE, SKY)  # of equal chunks in a memory map, the largest group first

SAME_LOSS = {
    True: ("same loss", BLUE),
    "unknown": ("loss not compared", SKY),
    False: ("another loss", VERMILION),
    None: ("another training", GREY),
}
AS_IT_IS = GREEN


def outcomes(outcomes, title=""):
    """Peak memory of each outcome against its limit; with samples per second beside it if two have some.

    outcomes: a dict of label -> Outcome, drawn from top to bottom.
    """
    figure = Figure(figsize=(WIDTH, 1.1 + 0.45 * len(outcomes)), layout="constrained")
    speeds = [outcome.samples_per_second for outcome in outcomes.values()]
    if sum(speed is not None for speed in speeds) < 2:  # nothing to compare
        memory = figure.add_subplot()
    else:
        memory, speed = figure.subplots(1, 2, width_ratios=(3, 2), sharey=True)
        _speed_bars(speed, speeds)
    _peak_bars(memory, outcomes)
    memory.set_title(title, loc="left", pad=16)
    return figure


def _speed_bars(axes, speeds):
    """Samples per second of each outcome, None where they could not be counted."""
    for row, speed in enumerate(speeds):
        axes.barh(row, speed or 0, height=0.6, color=GREEN)
        axes.annotate("unknown" if speed is None else f"{speed:,.0f}", (speed or 0, row), xytext=(4, 0),
                      textcoords="offset points", va="center", fontsize=10)  # fmt: skip
    axes.set_xlim(0, 1.3 * max(speed or 0 for speed in speeds))
    axes.set_xlabel("samples per second")
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.tick_params(labelleft=False)
    plain(axes)


def _peak_bars(axes, outcomes):
    largest = max((o.peak_bytes or 0) for o in outcomes.values())
    limits = {o.limit_bytes for o in outcomes.values() if o.limit_bytes}
    extent = max([largest, *limits]) / MIB
    for row, outcome in enumerate(outcomes.values()):
        _peak_bar(axes, row, outcome, extent)
    for limit in limits:
        rows = [row for row, outcome in enumerate(outcomes.values()) if outcome.limit_bytes == limit]
        axes.vlines(
            limit / MIB, min(rows) - 0.5, max(rows) + 0.5, color="black", linestyle="--", linewidth=1.2
        )
        axes.annotate(f"limit {format_size(limit)}", (limit / MIB, 1), xycoords=("data", "axes fraction"),
                      xytext=(-4, 3), textcoords="offset points", ha="right", fontsize=10)  # fmt: skip
    axes.set_yticks(range(len(outcomes)), list(outcomes))
    axes.invert_yaxis()
    axes.set_xlim(0, extent * 1.3)
    axes.set_xlabel("peak device memory, MiB")
    plain(axes)


def _peak_bar(axes, row, outcome, extent):
    failed = not outcome.ok
    peak = outcome.peak_bytes
    width = (peak or 0) / MIB
    axes.barh(row, width, height=0.6, color=VERMILION if failed else BLUE, hatch="//" if failed else None,
              edgecolor="white")  # fmt: skip
    asked = outcome.diagnosis.requested_bytes if outcome.diagnosis else None
    if asked:
        axes.barh(row, asked / MIB, left=width, height=0.6, fill=False, edgecolor=VERMILION, linestyle=":")
        width += asked / MIB
    label = format_size(peak) if peak is not None else outcome.status
    if failed:
        label = f"{outcome.status}, asked for {format_size(asked)}" if asked else outcome.status
    axes.annotate(
        label,
        (min(width, extent), row),
        xytext=(4, 0),
        textcoords="offset points",
        va="center",
        fontsize=10,
    )


def peak_by_layer(timeline, title="", most=12):
    """Memory in use at the peak by layer, split by category; only the `most` largest layers."""
    layers = dict(list(timeline.by_layer().items())[:most])
    figure = Figure(figsize=(WIDTH, 1.2 + 0.32 * len(layers)), layout="constrained")
    axes = figure.add_subplot()
    left = np.zeros(len(layers))
    allocations = timeline.at_peak()
    for category, colour in CATEGORY_COLOURS.items():
        sizes = [
            sum(a.bytes for a in allocations if a.layer == layer and a.category == category)
            for layer in layers
        ]
        widths = np.array(sizes) / MIB
        if widths.any():
            axes.barh(range(len(layers)), widths, left=left, height=0.7, color=colour, label=category)
        left += widths
    for row, total in enumerate(left):
        axes.annotate(format_size(total * MIB), (total, row), xytext=(4, 0), textcoords="offset points",
                      va="center", fontsize=10)  # fmt: skip
    axes.set_yticks(range(len(layers)), [layer or "(no layer)" for layer in layers])
    axes.invert_yaxis()
    axes.set_xlim(0, left.max() * 1.15)
    axes.set_xlabel("in use at the peak, MiB")
    axes.set_title(headline(timeline, title), loc="left")
    legend(figure, axes)
    plain(axes)
    return figure


def memory_map(outcome):
    """The allocator's memory when it gave up: what was in use, the free chunks, and what was asked for.

    outcome: an Outcome that ran out of memory, or a Diagnosis with a memory map. Raises ValueError otherwise.
    """
    diagnosis = getattr(outcome, "diagnosis", outcome)
    if outcome.memory_map is None:
        why = f"its status is {outcome.status!r}" if diagnosis is not outcome else "its dump is incomplete"
        raise ValueError(f"there is no memory map ({why})")
    figure = Figure(figsize=(WIDTH, 2.6), layout="constrained")
    axes = figure.add_subplot()
    end = _chunks(axes, outcome.memory_map)
    limit = (outcome.limit_bytes or outcome.memory_map.held_bytes) / MIB
    if limit > end:
        axes.barh(2, limit - end, left=end, height=0.6, color="white", edgecolor=GREY, linestyle=":")
    asked = diagnosis.requested_bytes
    if asked:
        axes.barh(1, asked / MIB, height=0.6, color=VERMILION, hatch="//", edgecolor="white")
    largest = (diagnosis.largest_free_bytes or 0) / MIB
    axes.barh(0, largest, height=0.6, color="white", hatch="...", edgecolor=GREY, linewidth=0.3)
    axes.axvline(limit, color="black", linestyle="--", linewidth=1.2)
    axes.set_xlim(0, 1.05 * max(limit, (asked or 0) / MIB))
    axes.set_yticks([2, 1, 0], ["memory: in use / free", "asked for", "largest free block"])
    axes.set_xlabel("MiB")
    axes.set_title(_map_title(diagnosis), loc="left")
    legend(figure, axes)
    plain(axes)
    return figure


def _chunks(axes, memory_map):
    """Draw the chunks in order, the largest groups of equal ones in colours; returns their end, MiB."""
    used = memory_map.in_use_bytes
    groups = [(n, size) for n, size in memory_map.groups()[: len(GROUP_COLOURS)] if n * size > 0.05 * used]
    labels, end = {}, 0
    for chunk in memory_map.chunks:
        size = chunk.size / MIB
        like = [i for i, (_, each) in enumerate(groups) if 0 <= each - chunk.size <= 0.01 * each]
        colour, hatch = (BLUE, None) if chunk.in_use else ("white", "...")
        if like and chunk.in_use:
            (count, each), colour = groups[like[0]], GROUP_COLOURS[like[0]]
            labels[colour] = (
                f"{count:,} of {format_size(each)}" if count > 1 else f"one of {format_size(each)}"
            )
        axes.barh(2, size, left=end, height=0.6, color=colour, hatch=hatch, edgecolor=GREY, linewidth=0.3)
        end += size
    for colour in sorted(labels, key=GROUP_COLOURS.index):
        axes.barh(2, 0, color=colour, label=labels[colour])
    return end


def _map_title(diagnosis):
    asked, free = diagnosis.requested_bytes, diagnosis.largest_free_bytes
    limit = format_size(diagnosis.limit_bytes)
    if not asked:
        return f"An allocation refused under a limit of {limit}"
    return f"{format_size(asked)} asked for, largest free block {format_size(free)}, limit {limit}"


def bytes_against_speed(points, limit=None, title=""):
    """Peak memory of each fix beside its samples per second, the code as it is at the top.

    points   (name, peak in bytes, samples per second or None, a key of SAME_LOSS) for each
    limit    in bytes, drawn as a line; None for none
    """
    figure = Figure(figsize=(WIDTH, 1.5 + 0.36 * len(points)), layout="constrained")
    memory, speed = figure.subplots(1, 2, width_ratios=(3, 2), sharey=True)
    for row, (_, peak, per_second, same) in enumerate(points):
        colour = AS_IT_IS if row == 0 else SAME_LOSS[same][1]
        _labelled_bar(memory, row, peak / MIB, format_size(peak), colour)
        _labelled_bar(speed, row, per_second or 0, f"{per_second:,.0f}" if per_second else "unknown", colour)
    largest = max([peak for _, peak, _, _ in points] + [limit or 0]) / MIB
    if limit:
        memory.axvline(limit / MIB, color="black", linestyle="--", linewidth=1.2)
        memory.annotate(f"limit {format_size(limit)}", (limit / MIB, 1), xycoords=("data", "axes fraction"),
                        xytext=(-4, 3), textcoords="offset points", ha="right", fontsize=10)  # fmt: skip
    memory.set_yticks(range(len(points)), [name for name, *_ in points])
    memory.set_xlim(0, 1.3 * largest)
    speed.set_xlim(0, 1.35 * max([per_second or 0 for _, _, per_second, _ in points] + [1]))
    memory.invert_yaxis()
    memory.set_xlabel("peak device memory, MiB")
    speed.set_xlabel("samples per second")
    speed.tick_params(labelleft=False)
    figure.suptitle(title, x=0.01, ha="left", fontsize=12)
    plain(memory)
    plain(speed)
    _legend_of_fixes(figure, {same for _, _, _, same in points[1:]})
    return figure


def _labelled_bar(axes, row, value, text, colour):
    axes.barh(row, value, height=0.62, color=colour)
    box = {"facecolor": "white", "edgecolor": "none", "pad": 1}  # over the line of the limit
    axes.annotate(
        text, (value, row), xytext=(4, 0), textcoords="offset points", va="center", fontsize=10, bbox=box
    )


def _legend_of_fixes(figure, kinds):
    shown = [
        ("the code as it is", AS_IT_IS),
        *(shown for kind, shown in SAME_LOSS.items() if kind in kinds),
    ]
    handles = [Line2D([], [], marker="s", linestyle="", color=colour, label=name) for name, colour in shown]
    figure.legend(handles=handles, loc="outside lower left", ncols=4, frameon=False, fontsize=10)
