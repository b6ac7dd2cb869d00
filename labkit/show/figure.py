"""What every figure has: its size, its looks, its legend."""

import io

import matplotlib.figure
from matplotlib.ticker import FuncFormatter

WIDTH = 8.0  # inches: the width of a notebook's output


class Figure(matplotlib.figure.Figure):
    """A matplotlib Figure that notebooks show by itself, without pyplot and what it keeps."""

    def __repr__(self):
        return f"Figure: {self.axes[0].get_title(loc='left')}" if self.axes else "Figure"

    def _repr_png_(self):
        png = io.BytesIO()
        self.savefig(png, format="png", dpi=100)
        return png.getvalue()


def legend(picture, *axes):
    """One legend below the picture for all its axes."""
    found = {}
    for one in axes:
        handles, labels = one.get_legend_handles_labels()
        found |= dict(zip(labels, handles, strict=True))
    picture.legend(found.values(), found.keys(), loc="outside lower left", ncols=4, frameon=False, fontsize=9)


def plain(axes, numbers="x"):
    """No box around it; `numbers`: on which of its axes ("x", "y", "xy") the ticks are numbers."""
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for name in numbers:
        axis = axes.xaxis if name == "x" else axes.yaxis
        axis.set_major_formatter(FuncFormatter(lambda number, _: f"{number:,.10g}"))
