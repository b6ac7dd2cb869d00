"""What all figures share: size, style and legend."""

import io

import matplotlib.figure
from matplotlib.ticker import FuncFormatter

WIDTH = 8.0  # inches: the width of a notebook's output area


class Figure(matplotlib.figure.Figure):
    """A matplotlib Figure that notebooks display without pyplot, which would keep a reference to it."""

    def __repr__(self):
        return f"Figure: {self.axes[0].get_title(loc='left')}" if self.axes else "Figure"

    def _repr_png_(self):
        png = io.BytesIO()
        self.savefig(png, format="png", dpi=100)
        return png.getvalue()


def legend(figure, *axes):
    """Put one legend for all the axes below the figure."""
    handles_by_label = {}
    for each in axes:
        handles, labels = each.get_legend_handles_labels()
        handles_by_label |= dict(zip(labels, handles, strict=True))
    figure.legend(
        handles_by_label.values(),
        handles_by_label.keys(),
        loc="outside lower left",
        ncols=4,
        frameon=False,
        fontsize=9,
    )


def plain(axes, numbers="x"):
    """Remove the frame; `numbers`: the axes ("x", "y" or "xy") whose ticks are numbers."""
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for name in numbers:
        axis = axes.xaxis if name == "x" else axes.yaxis
        axis.set_major_formatter(FuncFormatter(lambda number, _: f"{number:,.10g}"))
