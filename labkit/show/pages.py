"""Charts that the page itself draws: their data, their JavaScript, and a file that holds both."""

import base64
import html
import json
import string
import zlib
from pathlib import Path

import numpy as np

from ..categories import OTHERS, UNUSED
from ..sizes import format_size
from . import tables
from .palette import CATEGORY_COLOURS, IDLE, LAYER_COLOURS, REST
from .timelines import advances, headline, timelines

FOLDER = Path(__file__).parent / "page"
SCRIPTS = ("draw", "names", "memory", "drawing", "pane", "timeline", "trials", "map", "render")
ROWS = 12  # of the table that is there without scripts
MIME = "application/vnd.labkit.timelines.v1+json"  # of what figures of timelines keep for the web book
# Nothing is fetched, whatever the data contain.
POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:"


def script():
    """The JavaScript of all charts: one module whose default export has `render({model, el})`."""
    return "\n".join((FOLDER / f"{name}.js").read_text("utf-8") for name in SCRIPTS)


def css():
    """The style sheet of all charts."""
    return (FOLDER / "charts.css").read_text("utf-8")


def pack(data):
    """Data as text that a page can hold: JSON, compressed, in base64."""
    return base64.b64encode(zlib.compress(json.dumps(data, default=int).encode(), 9)).decode()


def timelines_data(timelines):
    """What the page draws of {label: Timeline}: every allocation, and the colors."""
    return {
        "timelines": [timeline_data(timeline, label) for label, timeline in timelines.items()],
        "categories": CATEGORY_COLOURS,
        "layerColours": LAYER_COLOURS,
        "others": (OTHERS, REST),
        "unused": (UNUSED, IDLE),
    }


def timeline_data(timeline, label=""):
    """One timeline: its allocations as columns, where the axis advances, its phases, its limit."""
    columns = timeline.allocations()
    arrays = {name: column.tolist() for name, column in columns.items() if isinstance(column, np.ndarray)}
    return {
        **columns,
        **arrays,
        "label": str(label),
        "headline": headline(timeline, str(label)),
        "events": timeline.events,
        "advances": np.flatnonzero(advances(timeline)).tolist(),
        "phases": timeline.phases,
        "limit": timeline.limit_bytes,
        "refused": timeline.refused_bytes,
    }


def with_chart(figure, packed, by):
    """A figure of timelines that keeps, in a notebook, what its chart is drawn from.

    packed   called for that where a notebook shows the figure: packed timelines_data()
    """
    figure.also = lambda: {MIME: {"data": packed(), "by": by}}
    return figure


def timelines_page(shown, title="", by="category"):
    """{label: Timeline} as one HTML file, without network or kernel, as text."""
    [(label, first), *others] = shown.items()
    title = title or (headline(first, str(label)) if not others else "Memory in use, side by side")
    template = string.Template((FOLDER / "timelines.html").read_text("utf-8"))
    return template.substitute(
        title=html.escape(title),
        policy=POLICY,
        css=css(),
        fallback=_picture(shown, by),
        data=pack(timelines_data(shown)),
        script=script(),
        by=json.dumps(by),
    )


def _picture(shown, by):
    """The figure, and what is in use at the peak, for readers without scripts."""
    if len(shown) == 1:
        figure = next(iter(shown.values())).plot(by=by, title=str(next(iter(shown))))
    else:
        figure = timelines(shown, by=by)
    described = "; ".join(headline(timeline, str(label)) for label, timeline in shown.items())
    tables = "".join(in_use(timeline, label=label) for label, timeline in shown.items())
    return figure.to_img(described) + tables


def in_use(timeline, place=None, label=""):
    """What is in use at a place in the order of events, by default the peak, as an HTML table."""
    alive = timeline.at_peak() if place is None else timeline.alive(place)
    rows = [
        {
            "bytes": format_size(row.bytes),
            "category": row.category,
            "layer": row.layer or "",
            "shape": f"{row.dtype}{row.shape}",
            "op": row.op,
        }
        for row in alive[:ROWS]
    ]
    total = format_size(sum(row.bytes for row in alive))
    most = f", the {ROWS} largest of {len(alive)} blocks" if len(alive) > ROWS else ""
    where = "at the peak" if place is None else f"at event {place + 1:,} of {timeline.events:,}"
    about = f"{html.escape(str(label))}: " if label else ""
    return f"<p>{about}<b>{total}</b> in use {where}{most}.</p>{tables.html(rows) if rows else ''}"
