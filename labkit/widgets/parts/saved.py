"""What the saved notebook keeps of a lab, and closing a lab whose cell is run again."""

import weakref

# Part of every live lab: while it is in the page, the saved output below it is hidden.
LIVE = """<style>
.jp-OutputArea-child:has(.labkit-lab) ~ .jp-OutputArea-child { display: none }
.output_area:has(.labkit-lab) ~ .output_area { display: none } /* classic Notebook */
.output_subarea:has(.labkit-lab) ~ .output_subarea { display: none } /* Colab */
</style><span class="labkit-lab"></span>"""
_labs_by_cell = weakref.WeakValueDictionary()


def replace_earlier(lab):
    """Close the lab that an earlier run of this cell showed, which also stops it."""
    cell = _cell()
    earlier = _labs_by_cell.get(cell)
    if earlier is not None and earlier is not lab:
        earlier.widget.close()
    if cell:
        _labs_by_cell[cell] = lab


def _cell():
    """The id of the running cell; its source where the front end sends no id, as Colab and Notebook 6."""
    from IPython import get_ipython

    kernel = getattr(get_ipython(), "kernel", None)
    parent = kernel.get_parent() if kernel else {}
    return parent.get("metadata", {}).get("cellId") or parent.get("content", {}).get("code")


class Saved:
    """A lab's last state below it, as a figure and as a table; hidden while the lab is live.

    lab: an object with plot(), which returns a Figure or None, and table(), which returns HTML.
    """

    def __init__(self, lab):
        from IPython.display import DisplayHandle

        self._figure, self._table = DisplayHandle(), DisplayHandle()
        self._show(lab, "display")

    def update(self, lab):
        self._show(lab, "update")

    def _show(self, lab, how):
        figure, table = _bundles(lab)
        getattr(self._figure, how)(figure, raw=True)
        getattr(self._table, how)(table, raw=True)


def _bundles(lab):
    """The MIME bundles of the figure and of the table."""
    text, figure = repr(lab), lab.plot()
    bundle = {"text/plain": text}
    if figure is not None:
        bundle["image/png"] = figure._repr_png_()
    return bundle, {"text/plain": text, "text/html": lab.table()}
