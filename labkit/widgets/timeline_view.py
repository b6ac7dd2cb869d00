"""TimelineView: step through the memory of a trial and see what is in use at each point in time."""

import html

import ipywidgets as widgets
import numpy as np

from ..errors import LabkitError
from ..record.timeline import Timeline
from ..show.palette import curve_colours
from ..show.timelines import axis_of
from ..sizes import MIB, format_size
from .parts.frame import Box
from .parts.saved import LIVE, Saved, replace_earlier

INK = "var(--jp-ui-font-color1, #222)"
WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 560, 260, 48, 18, 22
POINTS = 280  # across the chart
ROWS = 12  # of the table
STYLE = """<style>
.labkit-in-use table { border-collapse: collapse; color: var(--jp-ui-font-color1, #222) }
.labkit-in-use td, .labkit-in-use th { padding: .05em .7em; text-align: left }
.labkit-in-use td:first-child { text-align: right; white-space: nowrap }
</style>"""


class TimelineView:
    """Timelines side by side on one scale, each with a slider through time and a table of what is in use.

    timelines   a Timeline, or a dict of label -> Timeline, such as before and after a fix
    by          "category" or "layer": the initial colouring

    Raises LabkitError for anything else, such as the missing timeline of a trial without profile=True.

    >>> TimelineView({"float32": before.timeline, "mixed_float16": after.timeline})
    """

    def __init__(self, timelines, by="category"):
        timelines = timelines if isinstance(timelines, dict) else {"": timelines}
        for label, timeline in timelines.items():
            if not isinstance(timeline, Timeline):
                raise LabkitError(
                    f"{label!r} is not a timeline but {timeline!r}: run the trial with profile=True."
                )
        if not timelines:
            raise LabkitError("There is no timeline to show.")
        self.timelines = timelines
        self._top = max(timeline.peak_bytes for timeline in timelines.values())
        self._by = widgets.ToggleButtons(
            options=["category", "layer"], value=by, description="colour by", tooltips=["", ""]
        )
        self._panes = [_Pane(label, timeline, self._top, by) for label, timeline in timelines.items()]
        self._by.observe(lambda change: [pane.colour(change["new"]) for pane in self._panes], "value")
        panes = widgets.HBox([pane.widget for pane in self._panes], layout={"flex_flow": "row wrap"})
        self.widget = Box([widgets.HTML(LIVE + STYLE), self._by, panes])

    def plot(self):
        """The timelines as a figure."""
        from ..show import timelines

        return timelines.timelines(self.timelines, by=self._by.value)

    def table(self):
        """What is in use at the position of each slider, as HTML tables."""
        return "".join(pane.table() for pane in self._panes)

    def _ipython_display_(self):
        from IPython.display import display

        replace_earlier(self)
        display(self.widget)
        Saved(self)

    def __repr__(self):
        peaks = [
            f"{label or 'timeline'}: peak {format_size(t.peak_bytes)}" for label, t in self.timelines.items()
        ]
        return "\n".join(peaks)


class _Pane:
    """One timeline: a chart with a cursor, its slider, and its table."""

    def __init__(self, label, timeline, top, by):
        self._label, self._timeline, self._top = label, timeline, top
        _, self._places = axis_of(timeline, POINTS)
        peak = int(timeline.fullness()[self._places].argmax())
        self._slider = widgets.IntSlider(
            value=peak, max=len(self._places) - 1, description="point in time", readout=False,
            style={"description_width": "initial"}, layout={"width": "23em"},
        )  # fmt: skip
        to_peak = widgets.Button(description="Peak", tooltip="Go to the peak", layout={"width": "5em"})
        to_peak.on_click(lambda _: setattr(self._slider, "value", peak))
        self._picture, self._in_use = widgets.HTML(), widgets.HTML()
        self._slider.observe(lambda _: self._draw(), "value")
        title = widgets.HTML(f"<b>{html.escape(label)}</b>")
        row = widgets.HBox([self._slider, to_peak])
        layout = {"width": "30em", "padding": "0 1em 0 0"}
        self.widget = widgets.VBox([title, self._picture, row, self._in_use], layout=layout)
        self.colour(by)

    def colour(self, by):
        """Draw the chart coloured by category or by layer."""
        curves = self._timeline.curves(by)
        colours = curve_colours(curves, by)
        self._areas, below = "", np.zeros(len(self._places))
        for name, curve in curves.items():
            above = below + curve[self._places]
            self._areas += self._area(name, below, above, colours[name])
            below = above
        self._legend = "".join(
            f'<span style="white-space:nowrap"><span style="color:{colours[name]}">■</span> '
            f"{html.escape(str(name))}</span> " for name in curves)  # fmt: skip
        self._draw()

    @property
    def place(self):
        """The point in time that the slider is at, as an index into the order of events."""
        return int(self._places[self._slider.value])

    def table(self):
        """What is in use at that point in time, the largest first, as an HTML table."""
        alive = self._timeline.alive(self.place)
        rows = "".join(map(_table_row, alive[:ROWS]))
        total = format_size(sum(row.bytes for row in alive))
        rest = f" The {ROWS} largest of {len(alive)}:" if len(alive) > ROWS else ""
        head = "".join(f'<th scope="col">{name}</th>' for name in ("bytes", "category", "layer", "tensor"))
        return (
            f'<div class="labkit-in-use"><p>In use at this point: <b>{total}</b>.{rest}</p>'
            f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
        )

    def _draw(self):
        x, peak, floor = self._x(self._slider.value), self._timeline.peak_bytes, self._y(0)
        description = html.escape(f"{self._label} memory over time, peak {format_size(peak)}".strip())
        lines = [
            _line(LEFT, WIDTH, self._y(peak), self._y(peak), 'stroke-dasharray="2 4"'),
            f'<text x="{LEFT + 4}" y="{self._y(peak) - 5:.1f}">peak {format_size(peak)}</text>',
            _line(LEFT, WIDTH, floor, floor, 'opacity=".4"'),
            _line(x, x, TOP, floor, 'stroke-width="2"'),
            _axis_label(floor, "0"),
            _axis_label(self._y(self._top) + 4, f"{self._top / MIB:,.0f}"),
            _axis_label(self._y(self._top) + 18, "MiB"),
        ]
        self._picture.value = (
            f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="100%" role="img" aria-label="{description}" '
            f'font-size="13" fill="{INK}">{self._areas}{"".join(lines)}</svg><div>{self._legend}</div>'
        )
        self._in_use.value = self.table()

    def _area(self, name, below, above, colour):
        upper = [f"{self._x(i):.1f},{self._y(size):.1f}" for i, size in enumerate(above)]
        lower = [f"{self._x(i):.1f},{self._y(size):.1f}" for i, size in reversed(list(enumerate(below)))]
        title = html.escape(str(name))
        return f'<polygon points="{" ".join(upper + lower)}" fill="{colour}"><title>{title}</title></polygon>'

    def _x(self, index):
        return LEFT + (WIDTH - LEFT) * index / max(1, len(self._places) - 1)

    def _y(self, size):
        return HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * size / self._top


def _table_row(row):
    tensor = f"{row.dtype}{row.shape}" or row.op
    cells = (format_size(row.bytes), row.category, row.layer or "", tensor)
    return f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in cells)}</tr>"


def _line(x1, x2, y1, y2, style):
    return f'<line x1="{x1:.1f}" x2="{x2:.1f}" y1="{y1:.1f}" y2="{y2:.1f}" stroke="{INK}" {style}/>'


def _axis_label(y, text):
    return f'<text x="{LEFT - 6}" y="{y:.1f}" text-anchor="end">{text}</text>'
