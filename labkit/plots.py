"""Every figure, in plain matplotlib: data in, Figure out. Knows nothing of processes."""

import io

import matplotlib.figure
from matplotlib.ticker import FuncFormatter

from .memory import MIB, format_size

# From the palette of Okabe and Ito (2008), which colour-blind readers can tell apart.
BLUE, ORANGE, GREEN, VERMILION, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#999999"
WIDTH = 8.0  # inches: the width of a notebook's output


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
    largest = max((o.peak_bytes or 0) for o in outcomes.values())
    limits = {o.limit_bytes for o in outcomes.values() if o.limit_bytes}
    reach = max([largest, *limits]) / MIB
    for row, (label, outcome) in enumerate(outcomes.items()):
        _peak_bar(axes, row, label, outcome, reach)
    for limit in limits:
        axes.axvline(limit / MIB, color="black", linestyle="--", linewidth=1.2)
        axes.annotate(f"limit {format_size(limit)}", (limit / MIB, 1), xycoords=("data", "axes fraction"),
                      xytext=(-4, 3), textcoords="offset points", ha="right", fontsize=9)  # fmt: skip
    axes.set_yticks(range(len(outcomes)), list(outcomes))
    axes.invert_yaxis()
    axes.set_xlim(0, reach * 1.3)
    axes.set_xlabel("peak of the device's memory, MiB")
    axes.set_title(title, loc="left", pad=16)
    _plain(axes)
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

    outcome: one that ran out of memory. Raises ValueError for one that did not.
    """
    if outcome.memory_map is None:
        raise ValueError(f"no memory was refused in this trial (its status is {outcome.status!r})")
    picture = Figure(figsize=(WIDTH, 1.9), layout="constrained")
    axes = picture.add_subplot()
    at = 0
    for chunk in outcome.memory_map.chunks:
        size = chunk.size / MIB
        colour, hatch = (BLUE, None) if chunk.in_use else ("white", "...")
        axes.barh(1, size, left=at, height=0.6, color=colour, hatch=hatch, edgecolor=GREY, linewidth=0.3)
        at += size
    limit = (outcome.limit_bytes or outcome.memory_map.held_bytes) / MIB
    if limit > at:
        axes.barh(1, limit - at, left=at, height=0.6, color="white", edgecolor=GREY, linestyle=":")
    asked = outcome.diagnosis.requested_bytes
    if asked:
        axes.barh(0, asked / MIB, height=0.6, color=VERMILION, hatch="//", edgecolor="white")
    axes.axvline(limit, color="black", linestyle="--", linewidth=1.2)
    axes.set_xlim(0, 1.05 * max(limit, (asked or 0) / MIB))
    axes.set_yticks([1, 0], ["memory: in use / free", "asked for"])
    axes.set_xlabel("MiB")
    axes.set_title(_map_title(outcome), loc="left")
    _plain(axes)
    return picture


def _map_title(outcome):
    asked, free = outcome.diagnosis.requested_bytes, outcome.diagnosis.largest_free_bytes
    limit = format_size(outcome.limit_bytes)
    if not asked:
        return f"Refused under a limit of {limit}"
    return f"{format_size(asked)} asked for, {format_size(free)} at most to be had, limit {limit}"


def _plain(axes):
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda mib, _: f"{mib:,.0f}"))
