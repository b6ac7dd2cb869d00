"""What stays of a lab in the saved notebook, and the end of a lab whose cell is run again."""

import weakref

# What a live lab shows first: while it is there, the saved state below it is hidden.
LIVE = """<style>
.jp-OutputArea-child:has(.labkit-lab) ~ .jp-OutputArea-child { display: none }
</style><span class="labkit-lab"></span>"""
_labs_by_cell = weakref.WeakValueDictionary()


def replace_earlier(lab):
    """Close the lab that this cell showed when it was run before, which stops it."""
    cell = _cell()
    earlier = _labs_by_cell.get(cell)
    if earlier is not None and earlier is not lab:
        earlier.widget.close()
    if cell:
        _labs_by_cell[cell] = lab


def _cell():
    """The id of the cell that is running, where the front end tells it."""
    from IPython import get_ipython

    kernel = getattr(get_ipython(), "kernel", None)
    parent = kernel.get_parent() if kernel else {}
    return parent.get("metadata", {}).get("cellId")


class Saved:
    """A lab's last state as a picture and as a table, below it; hidden while the lab is live.

    Of a lab it wants plot(), a Figure or None, and table(), HTML.
    """

    def __init__(self, lab):
        from IPython.display import DisplayHandle

        self._picture, self._table = DisplayHandle(), DisplayHandle()
        self._show(lab, "display")

    def update(self, lab):
        self._show(lab, "update")

    def _show(self, lab, how):
        picture, table = _bundles(lab)
        getattr(self._picture, how)(picture, raw=True)
        getattr(self._table, how)(table, raw=True)


def _bundles(lab):
    said, figure, table = repr(lab), lab.plot(), lab.table()
    picture = {"text/plain": said}
    if figure is not None:
        picture["image/png"] = figure._repr_png_()
    return picture, {"text/plain": said, "text/html": table}
