"""The chart of a lab in SVG: peaks and samples per second against the batch size, for each run."""

import html
import math
from pathlib import Path

from ...outcome import STATUS_TEXT
from ...show.palette import RUN_COLOURS, VERMILION
from ...sizes import MIB, format_size

SHAPES = ("circle", "square", "diamond", "triangle", "cross")
INK = "var(--jp-ui-font-color1, #222)"
HALO = 'paint-order="stroke" stroke="var(--jp-layout-color0, #fff)" stroke-width="4"'
FAINT = "var(--jp-border-color2, #ccc)"
WIDTH, HEIGHT, TOP, BOTTOM = 780, 300, 34, 44
PANELS = {"peak": (52, 420), "speed": (526, 244)}  # left edge and width
ON_CLICK = Path(__file__).with_suffix(".js").read_text()


def chart(runs, over, values, limit=None, chosen=None):
    """The SVG: peaks with their limits and samples per second against `over`, a colour and a shape per run.

    runs            labkit.widgets.parts.runs.Run objects
    values, limit   those of the next or current run, so that the axes do not change while points arrive
    chosen          (run, trial), counted from 0, of the trial to circle
    """
    ticks = sorted({*values, *(value for run in runs for value, _ in run.tried)})
    scale = _scale(ticks)
    axes = {"ticks": ticks, "scale": scale, "over": over}
    parts = [*_peaks(runs, limit, axes, chosen), *_speeds(runs, axes, chosen), *_legend(runs)]
    description = html.escape(_description(runs))
    height = HEIGHT + 20 * len(runs)
    return (
        f'<svg viewBox="0 0 {WIDTH} {height}" width="100%" style="max-width: 1000px" '
        f'role="img" aria-label="{description}" onclick="{html.escape(ON_CLICK)}" '
        f'font-family="var(--jp-ui-font-family, sans-serif)" font-size="13" fill="{INK}">'
        f"<title>{description}</title>{''.join(parts)}</svg>"
    )


def _description(runs):
    if not any(run.tried for run in runs):
        return "Chart of peak memory and samples per second; no trial has been run yet"
    results = [f"run {number}: {_frontier(run)}" for number, run in enumerate(runs, 1) if run.tried]
    return "Peak memory and samples per second. " + "; ".join(results)


def _frontier(run):
    frontier = run.sweep.frontier
    return "nothing fits" if frontier is None else f"{run.sweep.over} {frontier} fits"


def _scale(values):
    """A function from a value to its position, 0 to 1; logarithmic if the values span a factor of 8."""
    low, high = values[0], values[-1]
    if low == high:
        return lambda value: 0.5
    if low > 0 and high >= 8 * low:
        return lambda value: math.log(value / low) / math.log(high / low)
    return lambda value: (value - low) / (high - low)


def _peaks(runs, limit, axes, chosen):
    outcomes = [outcome for run in runs for _, outcome in run.tried]
    limits = sorted({size for size in [limit, *(run.limit for run in runs)] if size})
    predicted = [size for run in runs for size in run.predicted.values()]
    highest = max([0, *limits, *(o.peak_bytes or 0 for o in outcomes), *([] if limits else predicted)]) / MIB
    panel = _Panel("peak", "peak, MiB", highest, **axes)
    yield from panel.frame()
    for size in limits:
        y = panel.y(size / MIB)
        yield (
            f'<line x1="{panel.left}" x2="{panel.right}" y1="{y:.1f}" y2="{y:.1f}" stroke="{INK}" '
            f'stroke-dasharray="6 4"/><text x="{panel.left + 4}" y="{y - 5:.1f}">limit {format_size(size)}'
            "</text>"
        )
    for number, run in enumerate(runs):
        yield panel.prediction(number, run.predicted)
        tried = list(enumerate(run.tried))
        fits = [
            (trial, v, o.peak_bytes / MIB) for trial, (v, o) in tried if o.ok and o.peak_bytes is not None
        ]
        yield from panel.points(runs, number, fits, chosen)
        for trial, (value, outcome) in tried:
            if not outcome.ok:
                yield _point(runs, (number, trial), _failure(panel, value, outcome))


def _point(runs, key, shapes):
    """The point of a trial, which a click selects in the list of trials.

    key      (run, trial), counted from 0
    shapes   what to draw, as SVG
    """
    number, trial = key
    index = 1 + trial + sum(len(run.tried) for run in runs[:number])  # 0 is "no trial"
    return f'<g data-trial="{index}" style="cursor: pointer">{shapes}</g>'


def _failure(panel, value, outcome):
    """A cross for a failed trial, with how it ended."""
    x, layer = panel.x(value), outcome.diagnosis.layer if outcome.diagnosis else None
    y = panel.y((outcome.limit_bytes or outcome.peak_bytes or 0) / MIB)
    text = STATUS_TEXT[outcome.status] + (f" in {layer}" if layer else "")
    return (
        f'<path d="M{x - 6:.1f} {y - 6:.1f}l12 12m0 -12l-12 12" stroke="{VERMILION}" stroke-width="3"/>'
        f'<text x="{x - 10:.1f}" y="{y + 20:.1f}" text-anchor="end" {HALO}>{html.escape(text)}</text>'
    )


def _speeds(runs, axes, chosen):
    rates = [
        [(n, v, o.samples_per_second) for n, (v, o) in enumerate(run.tried) if o.samples_per_second]
        for run in runs
    ]
    highest = max([0, *(rate for points in rates for *_, rate in points)])
    panel = _Panel("speed", "samples per second", highest, **axes)
    yield from panel.frame()
    for number, points in enumerate(rates):
        yield from panel.points(runs, number, points, chosen)


def _legend(runs):
    for number, run in enumerate(runs):
        y = HEIGHT + 6 + 20 * number
        yield _shape(number, PANELS["peak"][0], y)
        text = f"run {number + 1} · {run.label}"
        text += f" · {_frontier(run)}" if run.tried else ""
        text += " · dotted: estimate" if run.predicted else ""
        yield f'<text x="{PANELS["peak"][0] + 14}" y="{y + 5}">{html.escape(text)}</text>'


class _Panel:
    """One pair of axes, which turns values of the data into SVG coordinates."""

    def __init__(self, name, title, highest, ticks, scale, over):
        self.left, self.width = PANELS[name]
        self.right = self.left + self.width
        self._title, self._ticks, self._scale, self._over = title, ticks, scale, over
        self._top = 1.12 * highest or 1.0  # with nothing to show yet, the axis has no numbers
        self._empty = not highest

    def x(self, value):
        return self.left + self.width * (0.06 + 0.88 * self._scale(value))

    def y(self, value):
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * value / self._top

    def frame(self):
        yield f'<text x="{self.left - 8}" y="18" font-weight="600">{self._title}</text>'
        for value in [] if self._empty else _round_steps(self._top):
            y = self.y(value)
            yield f'<line x1="{self.left}" x2="{self.right}" y1="{y:.1f}" y2="{y:.1f}" stroke="{FAINT}"/>'
            yield f'<text x="{self.left - 8}" y="{y + 4:.1f}" text-anchor="end">{value:,.10g}</text>'
        below, last = HEIGHT - BOTTOM + 18, -math.inf
        for value in self._ticks:
            if self.x(value) - last > 34:
                last = self.x(value)
                yield f'<text x="{last:.1f}" y="{below}" text-anchor="middle">{value:,}</text>'
        middle = self.left + self.width / 2
        yield f'<text x="{middle}" y="{below + 18}" text-anchor="middle">{html.escape(self._over)}</text>'

    def points(self, runs, number, points, chosen):
        """The line through (trial, value, height) of one run, and its points, the chosen one circled."""
        coordinates = [(trial, self.x(value), self.y(height)) for trial, value, height in
                  sorted(points, key=lambda point: point[1])]  # fmt: skip
        yield _line([(x, y) for _, x, y in coordinates], f'stroke="{_colour(number)}" opacity=".6"')
        for trial, x, y in coordinates:
            ring = f'<circle cx="{x:.1f}" cy="{y:.1f}" r="10" fill="none" stroke="{INK}"/>'
            shape = _shape(number, x, y) + (ring if (number, trial) == chosen else "")
            yield _point(runs, (number, trial), shape)

    def prediction(self, number, predicted):
        """The estimate as a dotted line, up to the top of the panel."""
        points = [(self.x(value), self.y(size / MIB)) for value, size in sorted(predicted.items())]
        points = _cut(points, TOP)
        return _line(points, f'stroke="{_colour(number)}" stroke-width="2.5" stroke-dasharray="1 5" '
                             'stroke-linecap="round"') if points else ""  # fmt: skip


def _cut(points, top):
    """The points of a rising line up to where it leaves the panel at the height `top`."""
    inside = [point for point in points if point[1] >= top]
    if not inside or len(inside) == len(points):
        return inside
    (x1, y1), (x2, y2) = inside[-1], points[len(inside)]
    return [*inside, (x1 + (x2 - x1) * (y1 - top) / (y1 - y2), top)]


def _line(points, style):
    coordinates = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline points="{coordinates}" fill="none" {style}/>'


def _round_steps(top):
    """Three to six round numbers from 0 up to `top`."""
    power = 10.0 ** math.floor(math.log10(top / 3))
    step = next(s * power for s in (1, 2, 2.5, 5, 10) if top / (s * power) <= 6)
    return [step * n for n in range(int(top / step) + 1)]


def _colour(number):
    return RUN_COLOURS[number % len(RUN_COLOURS)]


def _shape(number, x, y):
    shape = {
        "circle": f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5"',
        "square": f'<rect x="{x - 5:.1f}" y="{y - 5:.1f}" width="10" height="10"',
        "diamond": f'<path d="M{x:.1f} {y - 6:.1f}l6 6l-6 6l-6 -6z"',
        "triangle": f'<path d="M{x:.1f} {y - 6:.1f}l6 11h-12z"',
        "cross": f'<path d="M{x - 2:.1f} {y - 6:.1f}h4v4h4v4h-4v4h-4v-4h-4v-4h4z"',
    }[SHAPES[number % len(SHAPES)]]
    return f'{shape} fill="{_colour(number)}"/>'
