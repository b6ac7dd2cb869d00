"""LogDoctor: paste an error or choose a log to see why memory ran out and what helps."""

import html
import os
import threading
import time
from pathlib import Path

import ipywidgets as widgets

from ..errors import LabkitError
from ..explain.sources import diagnose
from .parts.chart import Chart
from .parts.frame import SETTLE_SECONDS, Box, button
from .parts.saved import LIVE, OPENED_AGAIN, Saved, replace_earlier

NOTHING = "Paste an error or a log, or choose a file, and press Explain."
STYLE = """<style>
.labkit-explanation { color: inherit; line-height: 1.5 }
.labkit-explanation pre { overflow: auto; padding: .4em .8em; background: #8882 }
</style>"""


class LogDoctor:
    """Explains an error message or a log file.

    source   a text, a path or an Outcome to start with, as for labkit.diagnose

    Its button explains what was given last of text, file and path.
    `.explain(source)` does the same with a source, and returns the Diagnosis.

    >>> LogDoctor("OOM when allocating tensor with shape[64,224,224,64] and type float").diagnosis.cause
    'activations'
    """

    def __init__(self, source=None):
        self.diagnosis, self._saved, self._asked = None, None, 0
        self._given = {}  # field: what it holds, in the order in which they were filled
        self._text = widgets.Textarea(
            description="error or log",
            placeholder="W tensorflow/... ran out of memory trying to allocate 560.44MiB ...",
            continuous_update=False,
            layout={"width": "95%", "height": "12em"},
        )
        self._file = widgets.FileUpload(description="Log file", multiple=False)
        self._path = widgets.Text(description="or its path", placeholder="train.log", continuous_update=False)
        self._explain = button(
            "Explain",
            "question",
            "Explain why memory ran out and what helps",
            lambda: self._start(SETTLE_SECONDS),
        )
        self._clear = button("Clear", "trash", "Clear the text and the explanation", self.clear)
        self._explanation, self._note = widgets.HTML(), widgets.HTML()
        self._explanation.add_class("labkit-detail")
        self._page = Chart(kind="none")
        self._page.observe(self._opened, "page")
        self._text.observe(lambda change: self._give("text", change["new"]), "value")
        self._file.observe(self._uploaded, "value")
        self._path.observe(self._named, "value")
        buttons = [self._explain, self._clear, self._file, self._path]
        self.widget = Box([
            widgets.HTML(LIVE + STYLE), self._text, widgets.HBox(buttons, layout={"flex_flow": "row wrap"}),
            self._note, self._explanation, self._page,
        ])  # fmt: skip
        self._show(f"<p>{NOTHING}</p>")
        if source is not None:
            self.explain(source)

    def explain(self, source):
        """Show and return the Diagnosis of a text, a path or an Outcome.

        Raises LabkitError for what labkit.diagnose refuses.
        """
        self._asked += 1  # what is still being read is not wanted any more
        if isinstance(source, str):
            self._text.value = source
        self._give("text" if isinstance(source, str) else "code", source)
        self.diagnosis = diagnose(source)
        self._show(self.diagnosis._repr_mimebundle_()["text/html"])
        return self.diagnosis

    def clear(self):
        """Clear the text, the file, the path and the explanation."""
        self._asked += 1
        self.diagnosis, self._text.value, self._path.value = None, "", ""
        self._file.set_trait("value", type(self._file.value)())  # the same file can be chosen again
        self._given.clear()
        self._show(f"<p>{NOTHING}</p>")

    def _uploaded(self, change):
        files = change["new"]  # in ipywidgets 7 a dict, by name
        for file in list(files.values() if isinstance(files, dict) else files)[:1]:
            self._give("file", bytes(file["content"]))
            self._start()

    def _named(self, change):
        path = change["new"].strip().strip("\"'")  # as some file managers copy it
        self._give("path", path and Path(os.path.expanduser(path)))
        if path:
            self._start()

    def _give(self, field, source):
        self._given.pop(field, None)
        if source:
            self._given[field] = source

    def _start(self, settle=0.0):
        """Explain what was given last, in the background, because a log may be long.

        Only the latest request is shown.
        """
        self._asked += 1
        self._show("<p>Reading ...</p>", save=False)
        threading.Thread(target=self._work, args=(settle, self._asked), daemon=True, name="LogDoctor").start()

    def _work(self, settle, asked):
        try:
            time.sleep(settle)
            diagnosis = diagnose(next(reversed(self._given.values()), ""))
            shown = diagnosis._repr_mimebundle_()["text/html"]
        except LabkitError as e:
            diagnosis, shown = None, f'<div role="alert">✗ {html.escape(str(e))}</div>'
        if asked == self._asked:
            self.diagnosis = diagnosis
            self._show(shown)
            self._page.revealed += 1

    def _opened(self, change):
        """A page shows it: another than before has lost what keeps the saved copy up to date."""
        if change["old"]:
            self._note.value = OPENED_AGAIN

    def _show(self, shown, save=True):
        self._explanation.value = f'<div class="labkit-explanation" role="status">{shown}</div>'
        if save and self._saved:
            self._saved.update(self)

    def plot(self):
        """The memory map of the failure as a figure; None if the text contains no memory dump."""
        from ..show import bars, figure

        has_map = self.diagnosis is not None and self.diagnosis.memory_map is not None
        return bars.memory_map(self.diagnosis, figure.NARROW) if has_map else None

    def table(self):
        """The explanation as HTML, without the figure."""
        if self.diagnosis is None:
            return f"<p>{NOTHING}</p>"
        return self.diagnosis._html(picture=False)

    def _ipython_display_(self):
        from IPython.display import display

        replace_earlier(self)
        display(self.widget)
        self._saved = Saved(self)

    def __repr__(self):
        return NOTHING if self.diagnosis is None else str(self.diagnosis)
