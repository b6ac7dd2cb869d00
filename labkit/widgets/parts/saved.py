"""What the saved notebook keeps of a lab, and closing a lab whose cell is run again."""

import weakref

# The outputs of a cell: in JupyterLab and Notebook 7, in classic Notebook, on Colab.
_OUTPUTS = (".jp-OutputArea-child", ".output_area", "#output-body > *")
# Part of every lab: while something of class labkit-live is in the page, the saved output below is hidden.
# It stands there by itself, or it is a chart: where the page cannot draw that, the saved one is shown.
HIDE_SAVED = "".join(
    f"<style>{output}:has(.labkit-live) ~ {output}:is(:has(.labkit-saved), :has(.labkit-saved) ~ *) "
    "{ display: none }</style>"
    for output in _OUTPUTS
)
LIVE = HIDE_SAVED + '<span class="labkit-live"></span>'
# Part of the saved output: without a kernel, the widget above it is only an error message.
_HIDE_DEAD = "".join(
    f"<style>{output}:has(+ {output} .labkit-saved):not(:has(.labkit-live)) {{ display: none }}</style>"
    for output in _OUTPUTS
)
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
    """The id of the running cell, None if the front end does not send it."""
    from IPython import get_ipython

    kernel = getattr(get_ipython(), "kernel", None)
    parent = kernel.get_parent() if kernel else {}
    return parent.get("metadata", {}).get("cellId")


class Saved:
    """A lab's last state below it, as a table and as a figure; hidden while the lab is live.

    lab: an object with plot(), which returns a Figure or None, and table(), which returns HTML.
    """

    def __init__(self, lab):
        from IPython.display import DisplayHandle

        self._table, self._figure = DisplayHandle(), DisplayHandle()
        self._show(lab, "display")

    def update(self, lab):
        self._show(lab, "update")

    def _show(self, lab, how):
        figure, table = lab.plot(), f'{_HIDE_DEAD}<div class="labkit-saved">{lab.table()}</div>'
        picture, size = ({"text/plain": ""}, {}) if figure is None else figure._repr_mimebundle_()
        getattr(self._table, how)({"text/plain": repr(lab), "text/html": table}, raw=True)
        getattr(self._figure, how)(picture, metadata=size, raw=True)
