"""Bar charts: peaks of trials and of fixes, layers at the peak, and the chunks of a memory map."""

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.patches import PathPatch
from matplotlib.path import Path
from matplotlib.ticker import MaxNLocator

from ..errors import LabkitError
from ..outcome import STATUS_TEXT
from ..sizes import MIB, format_rate, format_size
from .figure import TEXT, WIDTH, Figure, entitle, fit_bars, ink, legend, name_bar, name_rows, note, plain
from .palette import BLUE, CATEGORY_COLOURS, GREEN, GREY, ORANGE, PURPLE, SKY, VERMILION
from .timelines import checked, headline

GROUP_COLOURS = (ORANGE, GREEN, PURPLE, SKY)  # of equal chunks in a memory map, the largest group first

SAME_LOSS = {
    True: ("same loss", BLUE),
    "unknown": ("loss not compared", SKY),
    False: ("another loss", VERMILION),
    None: ("another training", GREY),
}
AS_IT_IS = GREEN
LEAST_SHARE = 0.002  # of an axis: less is not seen, and has no place in the legend


def outcomes(outcomes, title=""):
    """Peak memory of each outcome against its limit; with samples per second beside it if two have some.

    outcomes: a dict of label -> Outcome, drawn from top to bottom.
    """
    figure = Figure(figsize=(WIDTH, 1.3 + 0.5 * len(outcomes)))
    speeds = [outcome.samples_per_second for outcome in outcomes.values()]
    if sum(speed is not None for speed in speeds) < 2:  # nothing to compare
        memory = figure.add_subplot()
    else:
        memory, speed = figure.subplots(1, 2, width_ratios=(3, 2), sharey=True)
        _speed_bars(speed, speeds, [GREEN] * len(speeds))
    limits = _peak_bars(memory, outcomes)
    entitle(figure, title)
    for axes, marks in zip(figure.axes, (limits, ()), strict=False):
        fit_bars(figure, axes, *marks)
    return figure


def _speed_bars(axes, speeds, colours):
    """Samples per second, None where they could not be counted."""
    for row, (speed, colour) in enumerate(zip(speeds, colours, strict=True)):
        _labelled_bar(axes, row, speed or 0, "unknown" if speed is None else format_rate(speed), colour)
    axes.set_xlabel("samples per second")
    axes.xaxis.set_major_locator(MaxNLocator(3))
    axes.tick_params(labelleft=False)
    plain(axes)


def _peak_bars(axes, outcomes):
    """Draw the peaks and the limits, named above if all share one, else beside the rows; returns them."""
    limits = {outcome.limit_bytes for outcome in outcomes.values() if outcome.limit_bytes}
    shared = len(limits) == 1 and all(outcome.limit_bytes for outcome in outcomes.values())
    names = list(map(str, outcomes))
    for row, outcome in enumerate(outcomes.values()):
        _peak_bar(axes, row, outcome)
        if outcome.limit_bytes:
            _limit_of(axes, outcome.limit_bytes, row - 0.5, row + 0.5)
            if not shared:
                names[row] += f"\nlimit {format_size(outcome.limit_bytes)}"
    name_rows(axes, names)
    if shared:
        _name_limit(axes, *limits)
    axes.set_xlabel("peak device memory, MiB")
    plain(axes)
    return [limit / MIB for limit in limits]


def _limit_of(axes, limit, bottom, top):
    axes.vlines(limit / MIB, bottom, top, color=ink(), linestyle="--", linewidth=1.2)


def _name_limit(axes, limit, name="limit"):
    note(axes, f"{name} {format_size(limit)}", (limit / MIB, 1), (0, 3), ha="center",
         xycoords=("data", "axes fraction"))  # fmt: skip


def _peak_bar(axes, row, outcome):
    width, label = (outcome.peak_bytes or 0) / MIB, STATUS_TEXT[outcome.status]
    axes.barh(row, width, height=0.6, color=BLUE if outcome.ok else VERMILION,
              hatch=None if outcome.ok else "//", edgecolor="white")  # fmt: skip
    asked = outcome.diagnosis.requested_bytes if outcome.diagnosis else None
    if asked:
        axes.barh(row, asked / MIB, left=width, height=0.6, fill=False, edgecolor=VERMILION, linestyle=":")
        width += asked / MIB
        label += f",\nasked for {format_size(asked)}"
    elif outcome.ok and outcome.peak_bytes is not None:
        label = format_size(outcome.peak_bytes)
    name_bar(axes, row, width, label)


def peak_by_layer(timeline, title="", most=12):
    """Memory in use at the peak by layer, split by category; only the `most` largest layers.

    Raises LabkitError for what is no Timeline, such as that of a trial without profile=True.
    """
    checked({"": timeline})
    layers = dict(list(timeline.by_layer().items())[:most])
    figure = Figure(figsize=(WIDTH, 1.4 + 0.32 * len(layers)))
    axes = figure.add_subplot()
    left = np.zeros(len(layers))
    allocations = timeline.at_peak()
    for category, colour in CATEGORY_COLOURS.items():
        sizes = [
            sum(a.bytes for a in allocations if a.layer == layer and a.category == category)
            for layer in layers
        ]
        widths = np.array(sizes) / MIB
        if widths.max(initial=0) > LEAST_SHARE * max(layers.values(), default=0) / MIB:
            axes.barh(range(len(layers)), widths, left=left, height=0.7, color=colour, label=category)
        left += widths
    for row, total in enumerate(left):
        name_bar(axes, row, total, format_size(total * MIB))
    name_rows(axes, [layer or "(no layer)" for layer in layers])
    axes.set_xlabel("in use at the peak, MiB")
    entitle(figure, headline(timeline, title))
    legend(figure, axes)
    plain(axes)
    fit_bars(figure, axes)
    return figure


def memory_map(outcome, width=WIDTH):
    """The allocator's memory when it gave up: what was in use, the free chunks, and what was asked for.

    outcome   an Outcome that ran out of memory, or a Diagnosis with a memory map
    width     of the figure, in inches

    Raises ValueError if there is no memory map.
    """
    if not hasattr(outcome, "memory_map"):
        raise LabkitError(f"Give an outcome that ran out of memory, or its diagnosis, not {outcome!r}.")
    diagnosis = getattr(outcome, "diagnosis", outcome)
    if outcome.memory_map is None:
        why = f"its status is {outcome.status!r}" if diagnosis is not outcome else "its dump is incomplete"
        raise ValueError(f"there is no memory map ({why})")
    figure = Figure(figsize=(width, 2.8))
    axes = figure.add_subplot()
    end = _chunks(axes, outcome.memory_map)
    mark = diagnosis.limit_bytes or outcome.memory_map.held_bytes
    if mark / MIB > end:
        axes.barh(0, mark / MIB - end, left=end, height=0.6, fill=False, edgecolor=GREY, linestyle=":")
    asked = (diagnosis.requested_bytes or 0) / MIB
    axes.barh(1, asked, height=0.6, color=VERMILION, hatch="//", edgecolor="white")
    largest = (diagnosis.largest_free_bytes or 0) / MIB
    axes.barh(2, largest, height=0.6, color="none", hatch="...", edgecolor=GREY, linewidth=0.3)
    _limit_of(axes, mark, -0.5, 2.5)
    _name_limit(axes, mark, "limit" if diagnosis.limit_bytes else "held")
    name_rows(axes, ["memory: in use / free", "asked for", "largest free block"])
    axes.set_xlabel("MiB")
    entitle(figure, _map_title(diagnosis))
    legend(figure, axes)
    plain(axes)
    fit_bars(figure, axes, mark / MIB, asked)
    return figure


def _chunks(axes, memory_map):
    """Draw the chunks in order, the largest groups of equal ones in colors; returns their end, MiB.

    There may be many thousands: those in use are one artist, the free ones another, and their hatch a third.
    """
    chunks, used = memory_map.chunks, memory_map.in_use_bytes
    groups = [(n, size) for n, size in memory_map.groups()[: len(GROUP_COLOURS)] if n * size > 0.05 * used]
    colours = [_colour_of(chunk.size, groups) for chunk in chunks if chunk.in_use]
    *lefts, end = np.cumsum([0, *(chunk.size / MIB for chunk in chunks)])
    spans = [(left, chunk.size / MIB) for left, chunk in zip(lefts, chunks, strict=True)]
    row, outline = (-0.3, 0.6), {"edgecolor": GREY, "linewidth": 0.3}
    in_use = [span for span, chunk in zip(spans, chunks, strict=True) if chunk.in_use]
    axes.broken_barh(in_use, row, facecolors=colours, **outline)
    free = [span for span, chunk in zip(spans, chunks, strict=True) if not chunk.in_use]
    if free:
        drawn = axes.broken_barh(free, row, facecolors="none", **outline)
        together = Path.make_compound_path(*drawn.get_paths())
        axes.add_patch(PathPatch(together, facecolor="none", hatch="...", edgecolor=GREY, linewidth=0))
    for colour, (count, each) in zip(GROUP_COLOURS, groups, strict=False):
        number = f"{count:,}" if count > 1 else "one"
        axes.barh(0, 0, color=colour, label=f"{number} of {format_size(each)}")
    return end


def _colour_of(size, groups):
    """The color of a chunk in use: that of the group of its size, or of all others."""
    for colour, (_, each) in zip(GROUP_COLOURS, groups, strict=False):
        if 0 <= each - size <= 0.01 * each:
            return colour
    return BLUE


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
    names, peaks, speeds, same = ([point[place] for point in points] for place in range(4))
    figure = Figure(figsize=(WIDTH, 1.7 + 0.36 * len(points)))
    memory, speed = figure.subplots(1, 2, width_ratios=(3, 2), sharey=True)
    colours = [SAME_LOSS[kind][1] if row else AS_IT_IS for row, kind in enumerate(same)]
    for row, (peak, colour) in enumerate(zip(peaks, colours, strict=True)):
        _labelled_bar(memory, row, peak / MIB, format_size(peak), colour)
    _speed_bars(speed, speeds, colours)
    name_rows(memory, names)
    if limit:
        _limit_of(memory, limit, -0.5, len(points) - 0.5)
        _name_limit(memory, limit)
    memory.set_xlabel("peak device memory, MiB")
    entitle(figure, title)
    plain(memory)
    _legend_of_fixes(figure, set(same[1:]))
    fit_bars(figure, memory, (limit or 0) / MIB)
    fit_bars(figure, speed)
    return figure


def _labelled_bar(axes, row, value, text, colour):
    axes.barh(row, value, height=0.62, color=colour)
    name_bar(axes, row, value, text)


def _legend_of_fixes(figure, kinds):
    shown = [
        ("the code as it is", AS_IT_IS),
        *(shown for kind, shown in SAME_LOSS.items() if kind in kinds),
    ]
    handles = [Line2D([], [], marker="s", linestyle="", color=colour, label=name) for name, colour in shown]
    figure.legend(handles=handles, loc="outside lower left", ncols=4, frameon=False, fontsize=TEXT)
