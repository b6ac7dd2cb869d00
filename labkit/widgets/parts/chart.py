"""The chart of a lab in SVG: peaks and samples per second against the batch size, run by run."""

import html
import math

from ...outcome import SAID
from ...show.palette import RUN_COLOURS, VERMILION
from ...sizes import MIB, format_size

SHAPES = ("circle", "square", "diamond", "triangle", "cross")
INK = "var(--jp-ui-font-color1, #222)"
HALO = 'paint-order="stroke" stroke="var(--jp-layout-color0, #fff)" stroke-width="4"'
FAINT = "var(--jp-border-color2, #ccc)"
WIDTH, HEIGHT, TOP, BOTTOM = 780, 300, 34, 44
PANELS = {"peak": (52, 420), "speed": (526, 244)}  # left edge and width
# A click on a mark chooses its trial in the list of trials, as a choice made there would.
CHOOSE = (
    "const mark = event.target.closest('[data-trial]');"
    "const list = this.closest('.labkit-box').querySelector('.labkit-pick select');"
    "if (mark) { list.selectedIndex = mark.dataset.trial;"
    " list.dispatchEvent(new Event('change', {bubbles: true})); }"
)


def chart(series, over, values, limit=None, chosen=None):
    """The SVG: peaks against `over` with the limits, samples per second beside; one colour and shape a run.

    values, limit   of the run to come or under way, so that the axes stand still while points arrive
    chosen          (run, trial), counted from 0, of the trial to ring
    """
    every = sorted({*values, *(value for one in series for value, _ in one.tried)})
    x = _scale(every)
    parts = [*_peaks(series, limit, every, x, chosen), *_speeds(series, every, x, chosen), *_legend(series)]
    said = html.escape(_description(series))
    height = HEIGHT + 20 * len(series)
    return (
        f'<svg viewBox="0 0 {WIDTH} {height}" width="100%" style="max-width: 1000px" '
        f'role="img" aria-label="{said}" onclick="{html.escape(CHOOSE)}" '
        f'font-family="var(--jp-ui-font-family, sans-serif)" font-size="13" fill="{INK}">'
        f"<title>{said}</title>{''.join(parts)}</svg>"
    ).replace("{over}", html.escape(over))


def _description(series):
    if not any(one.tried for one in series):
        return "Chart of peak memory and samples per second; no trial has been run yet"
    found = [f"run {number}: {_frontier(one)}" for number, one in enumerate(series, 1) if one.tried]
    return "Peak memory and samples per second. " + "; ".join(found)


def _frontier(one):
    frontier = one.sweep.frontier
    return "nothing fits" if frontier is None else f"{one.sweep.over} {frontier} fits"


def _scale(values):
    """A function of a value: its place from 0 to 1, by powers where the values are spread widely."""
    low, high = values[0], values[-1]
    if low == high:
        return lambda value: 0.5
    if low > 0 and high >= 8 * low:
        return lambda value: math.log(value / low) / math.log(high / low)
    return lambda value: (value - low) / (high - low)


def _peaks(series, limit, every, x, chosen):
    outcomes = [outcome for one in series for _, outcome in one.tried]
    limits = sorted({size for size in [limit, *(one.limit for one in series)] if size})
    predicted = [size for one in series for size in one.predicted.values()]
    highest = max([0, *limits, *(o.peak_bytes or 0 for o in outcomes), *([] if limits else predicted)]) / MIB
    panel = _Panel("peak", "peak, MiB", highest, every, x)
    yield from panel.frame()
    for size in limits:
        at = panel.y(size / MIB)
        yield (
            f'<line x1="{panel.left}" x2="{panel.right}" y1="{at:.1f}" y2="{at:.1f}" stroke="{INK}" '
            f'stroke-dasharray="6 4"/><text x="{panel.left + 4}" y="{at - 5:.1f}">limit {format_size(size)}'
            "</text>"
        )
    for number, one in enumerate(series):
        yield panel.prediction(number, one.predicted)
        tried = list(enumerate(one.tried))
        fits = [
            (trial, v, o.peak_bytes / MIB) for trial, (v, o) in tried if o.ok and o.peak_bytes is not None
        ]
        yield from panel.points(series, number, fits, chosen)
        for trial, (value, outcome) in tried:
            if not outcome.ok:
                yield _mark(series, (number, trial), _failure(panel, value, outcome))


def _mark(series, key, drawn):
    """A mark in the chart that stands for a trial: a click on it chooses that trial in the list."""
    run, trial = key
    place = 1 + trial + sum(len(one.tried) for one in series[:run])
    return f'<g data-trial="{place}" style="cursor: pointer">{drawn}</g>'


def _failure(panel, value, outcome):
    """A cross where a trial failed, with what became of it."""
    at, layer = panel.x(value), outcome.diagnosis.layer if outcome.diagnosis else None
    y = panel.y((outcome.limit_bytes or outcome.peak_bytes or 0) / MIB)
    said = SAID[outcome.status] + (f" in {layer}" if layer else "")
    return (
        f'<path d="M{at - 6:.1f} {y - 6:.1f}l12 12m0 -12l-12 12" stroke="{VERMILION}" stroke-width="3"/>'
        f'<text x="{at - 10:.1f}" y="{y + 20:.1f}" text-anchor="end" {HALO}>{html.escape(said)}</text>'
    )


def _speeds(series, every, x, chosen):
    rates = [
        [(n, v, o.samples_per_second) for n, (v, o) in enumerate(one.tried) if o.samples_per_second]
        for one in series
    ]
    highest = max([0, *(rate for one in rates for *_, rate in one)])
    panel = _Panel("speed", "samples per second", highest, every, x)
    yield from panel.frame()
    for number, points in enumerate(rates):
        yield from panel.points(series, number, points, chosen)


def _legend(series):
    for number, one in enumerate(series):
        y = HEIGHT + 6 + 20 * number
        yield _shape(number, PANELS["peak"][0], y)
        said = f"run {number + 1} · {one.label}"
        said += f" · {_frontier(one)}" if one.tried else ""
        said += " · dotted: the estimate" if one.predicted else ""
        yield f'<text x="{PANELS["peak"][0] + 14}" y="{y + 5}">{html.escape(said)}</text>'


class _Panel:
    """One pair of axes: places in the SVG for the values of the data."""

    def __init__(self, name, title, highest, every, x):
        self.left, self.width = PANELS[name]
        self.right = self.left + self.width
        self._title, self._every, self._x = title, every, x
        self._top = 1.12 * highest or 1.0  # nothing to show yet: no numbers either
        self._empty = not highest

    def x(self, value):
        return self.left + self.width * (0.06 + 0.88 * self._x(value))

    def y(self, value):
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * value / self._top

    def frame(self):
        yield f'<text x="{self.left - 8}" y="18" font-weight="600">{self._title}</text>'
        for value in [] if self._empty else _round_steps(self._top):
            y = self.y(value)
            yield f'<line x1="{self.left}" x2="{self.right}" y1="{y:.1f}" y2="{y:.1f}" stroke="{FAINT}"/>'
            yield f'<text x="{self.left - 8}" y="{y + 4:.1f}" text-anchor="end">{value:,.0f}</text>'
        below, last = HEIGHT - BOTTOM + 18, -math.inf
        for value in self._every:
            if self.x(value) - last > 34:
                last = self.x(value)
                yield f'<text x="{last:.1f}" y="{below}" text-anchor="middle">{value:,}</text>'
        middle = self.left + self.width / 2
        yield f'<text x="{middle}" y="{below + 18}" text-anchor="middle">{{over}}</text>'

    def points(self, series, number, points, chosen):
        """The line through (trial, value, height) of one run, and its marks, the chosen one ringed."""
        places = [(trial, self.x(value), self.y(height)) for trial, value, height in
                  sorted(points, key=lambda point: point[1])]  # fmt: skip
        yield _line([(x, y) for _, x, y in places], f'stroke="{_colour(number)}" opacity=".6"')
        for trial, x, y in places:
            ring = f'<circle cx="{x:.1f}" cy="{y:.1f}" r="10" fill="none" stroke="{INK}"/>'
            shape = _shape(number, x, y) + (ring if (number, trial) == chosen else "")
            yield _mark(series, (number, trial), shape)

    def prediction(self, number, predicted):
        """The estimate as a dotted line, up to the top of the panel."""
        places = [(self.x(value), self.y(size / MIB)) for value, size in sorted(predicted.items())]
        places = _cut(places, TOP)
        return _line(places, f'stroke="{_colour(number)}" stroke-width="2.5" stroke-dasharray="1 5" '
                             'stroke-linecap="round"') if places else ""  # fmt: skip


def _cut(places, top):
    """A rising line's places up to where it leaves the panel at the height `top`."""
    inside = [place for place in places if place[1] >= top]
    if not inside or len(inside) == len(places):
        return inside
    (x1, y1), (x2, y2) = inside[-1], places[len(inside)]
    return [*inside, (x1 + (x2 - x1) * (y1 - top) / (y1 - y2), top)]


def _line(places, look):
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    return f'<polyline points="{points}" fill="none" {look}/>'


def _round_steps(top):
    """Three to six round numbers from 0 up to `top`."""
    power = 10.0 ** math.floor(math.log10(top / 3))
    step = next(s * power for s in (1, 2, 2.5, 5, 10) if top / (s * power) <= 6)
    return [step * n for n in range(int(top / step) + 1)]


def _colour(number):
    return RUN_COLOURS[number % len(RUN_COLOURS)]


def _shape(number, x, y):
    drawn = {
        "circle": f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5"',
        "square": f'<rect x="{x - 5:.1f}" y="{y - 5:.1f}" width="10" height="10"',
        "diamond": f'<path d="M{x:.1f} {y - 6:.1f}l6 6l-6 6l-6 -6z"',
        "triangle": f'<path d="M{x:.1f} {y - 6:.1f}l6 11h-12z"',
        "cross": f'<path d="M{x - 2:.1f} {y - 6:.1f}h4v4h4v4h-4v4h-4v-4h-4v-4h4z"',
    }[SHAPES[number % len(SHAPES)]]
    return f'{drawn} fill="{_colour(number)}"/>'
