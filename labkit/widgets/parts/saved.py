"""What the saved notebook keeps of a lab, and closing a lab whose cell is run again."""

from .frame import INTERACTIVE

# An output of a cell: in JupyterLab and Notebook 7, in classic Notebook, on Colab.
_OUTPUT = ":is(.jp-OutputArea-child, .output_area, #output-body > *)"
_HIDDEN = "{ display: none }</style>"
# Part of every lab. A lab is followed by its saved figure and its saved table, which are hidden while there
# is something of class labkit-live: its chart, if it has one, so that what cannot be drawn hides nothing.
_SAVED = f":has(.labkit-saved), :has(+ {_OUTPUT} .labkit-saved)"
HIDE_SAVED = f"<style>{_OUTPUT}:has(.labkit-live) ~ {_OUTPUT}:is({_SAVED}) {_HIDDEN}"
LIVE = f'{HIDE_SAVED}<span class="labkit-live"></span>'
# Part of the saved table: without a kernel there is an error message where the lab was, which says nothing.
_DEAD = f"{_OUTPUT}:has(+ {_OUTPUT} + {_OUTPUT} .labkit-saved):not(:has(.labkit-box))"
_SAY_DEAD = (
    f"<style>{_DEAD} > * {_HIDDEN}<style>{_DEAD}::before "
    f'{{ content: "{INTERACTIVE}"; padding: .3em 0 .3em var(--jp-cell-prompt-width, 0) }}</style>'
)
OPENED_AGAIN = (
    '<div role="status">This notebook was opened again while its kernel ran on. The copy of this '
    "lab that is saved in it is as old as that: to renew it, run this cell again.</div>"
)
_labs_by_cell = {}  # cell: (its latest run, the labs that this run has shown)


def replace_earlier(lab):
    """Close the labs that an earlier run of this cell showed, which also stops them."""
    cell, run = _running_cell()
    latest, labs = _labs_by_cell.get(cell, (run, []))
    if latest != run:
        for earlier in labs:
            if earlier is not lab:
                earlier.widget.close()
        labs = []
    if cell:
        _labs_by_cell[cell] = run, [*labs, lab]


def _running_cell():
    """(cell, run) of what is running: ids of the cell and of this run of it.

    Where the front end sends no id of the cell, as Colab and Notebook 6, its source stands for it.
    """
    from IPython import get_ipython

    kernel = getattr(get_ipython(), "kernel", None)
    parent = kernel.get_parent() if kernel else {}
    cell = parent.get("metadata", {}).get("cellId") or parent.get("content", {}).get("code")
    return cell, parent.get("header", {}).get("msg_id")


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
        figure, table = lab.plot(), f'{_SAY_DEAD}<div class="labkit-saved">{lab.table()}</div>'
        picture, size = ({"text/plain": ""}, {}) if figure is None else figure._repr_mimebundle_()
        getattr(self._figure, how)(picture, metadata=size, raw=True)
        getattr(self._table, how)({"text/plain": repr(lab), "text/html": table}, raw=True)
