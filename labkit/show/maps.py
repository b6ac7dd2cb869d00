"""The map of what fits over two parameters: predicted peaks, the frontier, and the trials."""

from matplotlib.patheffects import withStroke
from matplotlib.transforms import ScaledTranslation

from ..sizes import format_size
from .figure import WIDTH, Figure, entitle, ink, legend
from .palette import BLUE, VERMILION

ASIDE = 7  # points: trials that fit stand so far to the left of their value, those that do not to the right


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
    entitle(figure, f"predicted peaks, and what fits {format_size(run.limit)}: {run.result}")
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
    around = [withStroke(linewidth=2, foreground="white")]
    axes.text(value[1], height, text, ha="center", va="center", fontsize=9, zorder=4, path_effects=around)


def _marks(axes, run):
    """The points: run and fits, run and out of memory, and not run."""
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
            {"marker": "x", "color": VERMILION, "markeredgewidth": 2.5, "label": "run: out of memory"},
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
