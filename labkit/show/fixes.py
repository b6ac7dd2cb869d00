"""The figure of try_fixes(): what each fix saves, and what it costs in speed."""

from matplotlib.lines import Line2D

from ..sizes import MIB, format_size
from .figure import WIDTH, Figure, plain
from .palette import BLUE, GREEN, GREY, VERMILION

KINDS = {True: ("same loss", BLUE), None: ("another training", GREY), False: ("another loss", VERMILION)}
FIRST = GREEN


def bytes_against_speed(points, limit=None, title=""):
    """Peak memory of each fix beside its samples per second, the code as it is at the top.

    points   (name, peak in bytes, samples per second or None, whether the loss is the same) for each
    limit    in bytes, drawn as a line; None for none
    """
    figure = Figure(figsize=(WIDTH, 1.5 + 0.36 * len(points)), layout="constrained")
    memory, speed = figure.subplots(1, 2, width_ratios=(3, 2), sharey=True)
    for row, (_, peak, per_second, same) in enumerate(points):
        colour = FIRST if row == 0 else KINDS[same][1]
        _bar(memory, row, peak / MIB, format_size(peak), colour)
        _bar(speed, row, per_second or 0, f"{per_second:,.0f}" if per_second else "unknown", colour)
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
    _legend(figure, {same for _, _, _, same in points[1:]})
    return figure


def _bar(axes, row, value, text, colour):
    axes.barh(row, value, height=0.62, color=colour)
    box = {"facecolor": "white", "edgecolor": "none", "pad": 1}  # over the line of the limit
    axes.annotate(
        text, (value, row), xytext=(4, 0), textcoords="offset points", va="center", fontsize=10, bbox=box
    )


def _legend(figure, kinds):
    shown = [("the code as it is", FIRST), *(KINDS[kind] for kind in (True, False, None) if kind in kinds)]
    handles = [Line2D([], [], marker="s", linestyle="", color=colour, label=name) for name, colour in shown]
    figure.legend(handles=handles, loc="outside lower left", ncols=4, frameon=False, fontsize=10)
