"""What all figures share: size, style and legend."""

import io

import matplotlib.figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path
from matplotlib.ticker import FuncFormatter
from PIL import Image

WIDTH = 8.0  # inches: the width of a notebook's output area
LONGEST, HANDLE = 70, 50  # of a legend: characters of a label, points beside each
DOTS, COLOURS = 100, 256  # pixels of the page per inch


class Figure(matplotlib.figure.Figure):
    """A matplotlib Figure that notebooks display without pyplot, which would keep a reference to it."""

    def __repr__(self):
        return f"Figure: {self.axes[0].get_title(loc='left')}" if self.axes else "Figure"

    def _repr_png_(self):
        """Twice as many pixels as points on the page, in few colours: smaller than all colours at half."""
        whole, png = io.BytesIO(), io.BytesIO()
        self.savefig(whole, format="png", dpi=2 * DOTS)
        image = Image.open(whole).convert("RGB")
        image.quantize(COLOURS, dither=Image.Dither.NONE).save(png, "PNG", optimize=True)
        return png.getvalue()

    def _repr_mimebundle_(self, include=None, exclude=None):
        shown = {"width": round(DOTS * self.get_size_inches()[0])}
        return {"text/plain": repr(self), "image/png": self._repr_png_()}, {"image/png": shown}


def legend(figure, *axes):
    """Put one legend for all the axes below the figure, in as many columns as there is room for."""
    handles_by_label = {}
    for each in axes:
        handles, labels = each.get_legend_handles_labels()
        handles_by_label |= dict(zip(labels, handles, strict=True))
    texts = [label if len(label) <= LONGEST else f"{label[: LONGEST - 1]}…" for label in handles_by_label]
    widest = max(map(_width, texts), default=0)
    room = 72 * figure.get_size_inches()[0]
    made = figure.legend(
        handles_by_label.values(),
        texts,
        loc="outside lower left",
        ncols=int(min(4, max(1, room // (widest + HANDLE)))),
        frameon=False,
        fontsize=10,
    )
    for text in made.get_texts():
        text.set_parse_math(False)


def _width(text):
    """The width of a line of text in points."""
    return text_to_path.get_text_width_height_descent(text, FontProperties(size=10), ismath=False)[0]


def plain(axes, numbers="x"):
    """Remove the frame; `numbers`: the axes ("x", "y" or "xy") whose ticks are numbers."""
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for name in numbers:
        axis = axes.xaxis if name == "x" else axes.yaxis
        axis.set_major_formatter(FuncFormatter(lambda number, _: f"{number:,.10g}"))
