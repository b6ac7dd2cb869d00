"""What all figures share: size, paper, title, legend, and texts that have room."""

import base64
import html
import io

import matplotlib
import matplotlib.figure
from matplotlib.colors import to_rgb, to_rgba
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path
from matplotlib.ticker import FuncFormatter
from PIL import Image

from ..sizes import MIB, format_size

WIDTH = 8.0  # inches: the width of a notebook's output area
NARROW = 5.8  # of one in a window of 1024 pixels: a wider figure, and its text, is shown smaller there
MARGIN = 0.08  # inches: around a figure, and between its parts
TEXT, TITLE = 10, 12  # points
NAME, HANDLE, GAP = 190, 50, 4  # points: the widest name on an axis, what stands beside a legend's label
DOTS, COLOURS = 100, 256  # pixels of the page per inch
LONGEST = 200  # characters of a text that are looked at


class Figure(matplotlib.figure.Figure):
    """A matplotlib Figure that notebooks display without pyplot, which would keep a reference to it.

    It brings a background of its own: no color of a text has enough contrast on white and on dark pages.

    also   called for what a notebook keeps beside the picture: a dict of MIME type -> data
    """

    def __init__(self, figsize=(WIDTH, 3.6), layout="constrained", **options):
        super().__init__(figsize=figsize, layout=layout, **{"facecolor": _paper(), **options})
        if layout == "constrained":
            self.get_layout_engine().set(w_pad=MARGIN, h_pad=MARGIN)
        self.also = dict

    def __repr__(self):
        titles = [self.get_suptitle(), *(axes.get_title(loc="left") for axes in self.axes)]
        return f"Figure: {next(filter(None, titles), '')}" if self.axes else "Figure"

    def _repr_png_(self):
        """Twice as many pixels as points on the page, in few colors: smaller than all colors at half."""
        whole, png = io.BytesIO(), io.BytesIO()
        self.savefig(whole, format="png", dpi=2 * DOTS, transparent=False, facecolor=self.get_facecolor())
        image = Image.open(whole).convert("RGB")
        image.quantize(COLOURS, dither=Image.Dither.NONE).save(png, "PNG", optimize=True)
        return png.getvalue()

    def _repr_mimebundle_(self, include=None, exclude=None):
        bundle = {"text/plain": repr(self), "image/png": self._repr_png_(), **self.also()}
        return bundle, {"image/png": {"width": self._page_width}}

    def to_img(self, alt):
        """The figure as an HTML image, as wide as in a notebook."""
        png = base64.b64encode(self._repr_png_()).decode()
        style = f"display:block; width:{self._page_width}px; max-width:100%"
        return f'<img alt="{html.escape(alt)}" style="{style}" src="data:image/png;base64,{png}">'

    @property
    def _page_width(self):
        return round(DOTS * self.get_size_inches()[0])


def _paper():
    """The background that the reader's matplotlib style asks for; a transparent one is white or black."""
    *colour, alpha = to_rgba(matplotlib.rcParams["figure.facecolor"])
    if alpha == 1:
        return tuple(colour)
    return "black" if sum(to_rgb(ink())) > 1.5 else "white"


def ink():
    """The color of texts and lines in the reader's matplotlib style."""
    return matplotlib.rcParams["text.color"]


def entitle(figure, text):
    """Write a title over the whole width of the figure, in several lines if it is long."""
    width = figure.get_size_inches()[0]
    lines = wrapped(text, 72 * (width - 2 * MARGIN), TITLE)
    figure.suptitle(lines, x=MARGIN / width, ha="left", fontsize=TITLE, parse_math=False)


def legend(figure, *axes):
    """Put one legend for all the axes below the figure, in as many columns as there is room for."""
    handles_by_label = {}
    for each in axes:
        handles, labels = each.get_legend_handles_labels()
        handles_by_label |= dict(zip(labels, handles, strict=True))
    if not handles_by_label:
        return
    room = 72 * (figure.get_size_inches()[0] - 2 * MARGIN)
    texts = [fitted(label, room - HANDLE) for label in handles_by_label]
    made = figure.legend(
        handles_by_label.values(),
        texts,
        loc="outside lower left",
        ncols=int(min(4, max(1, room // (max(map(width_of, texts)) + HANDLE)))),
        frameon=False,
        fontsize=TEXT,
    )
    for text in made.get_texts():
        text.set_parse_math(False)


def note(axes, text, at, offset, **options):
    """Write a short text beside a point, on a ground that hides what is behind it."""
    ground = {"facecolor": axes.get_facecolor(), "edgecolor": "none", "alpha": 0.8, "pad": 1}
    return axes.annotate(text, at, xytext=offset, textcoords="offset points", fontsize=TEXT,
                         parse_math=False, bbox=ground, **options)  # fmt: skip


def mark_limit(axes, limit, at=0, below=False):
    """Draw a limit in bytes as a line across axes in MiB, named above or below it.

    at   where along the line: 0 at its left end, 0.5 in the middle, 1 at its right end
    """
    side = round(2 * at)
    axes.axhline(limit / MIB, color=ink(), linestyle="--", linewidth=1.2)
    note(axes, f"limit {format_size(limit)}", (at, limit / MIB),
         ((GAP, 0, -GAP)[side], -GAP if below else GAP), ha=("left", "center", "right")[side],
         va="top" if below else "baseline", xycoords=("axes fraction", "data"))  # fmt: skip


def name_bar(axes, row, end, text):
    """Write a text behind the end of a horizontal bar, where fit_bars() makes room for it."""
    note(axes, text, (end, row), (GAP, 0), va="center", in_layout=False)


def fit_bars(figure, axes, *marks):
    """End the axis of horizontal bars where their texts, and the `marks` on the axis, have room."""
    figure.draw_without_rendering()
    points = 72 * axes.get_window_extent().width / figure.dpi
    ends = [1.04 * max([*marks, 0])]
    for label in axes.texts:
        if not label.get_in_layout():
            room = points - max(map(width_of, label.get_text().split("\n"))) - 2 * GAP
            ends.append(label.xy[0] * points / max(room, points / 4))
    axes.set_xlim(0, max(ends) or 1)


def name_rows(axes, names):
    """Name the rows of horizontal bars, the first at the top."""
    texts = ["\n".join(fitted(line, NAME) for line in str(name).split("\n")) for name in names]
    axes.set_yticks(range(len(texts)), texts, parse_math=False)
    axes.invert_yaxis()


def fitted(text, room, size=TEXT):
    """A line of text, cut with an ellipsis where it is wider than `room` points."""
    if len(text) <= LONGEST and width_of(text, size) <= room:
        return text
    text = text[:LONGEST]
    while text and width_of(f"{text}…", size) > room:
        text = text[:-1]
    return f"{text}…"


def wrapped(text, room, size=TEXT):
    """A text in lines that are at most `room` points wide, besides the lines that it has."""
    return "\n".join(line for part in text.splitlines() for line in _lines(part, room, size))


def _lines(text, room, size):
    """One line of text in lines that are at most `room` points wide."""
    lines = [""]
    for word in text.split(" "):
        longer = f"{lines[-1]} {word}" if lines[-1] else word
        if lines[-1] and width_of(longer, size) > room:
            lines.append(word)
        else:
            lines[-1] = longer
    return [fitted(line, room, size) for line in lines]


def width_of(text, size=TEXT):
    """The width of a line of text in points, a little more than needed: pixels are whole."""
    return 1.02 * text_to_path.get_text_width_height_descent(text, FontProperties(size=size), ismath=False)[0]


def plain(axes, numbers="x"):
    """Remove the frame; `numbers`: the axes ("x", "y" or "xy") whose ticks are numbers."""
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for name in numbers:
        axis = axes.xaxis if name == "x" else axes.yaxis
        axis.set_major_formatter(FuncFormatter(lambda number, _: f"{number:,.10g}"))
