"""LogDoctor: paste an error or give a log, and read why memory ran out and what helps."""

import html
import threading
from pathlib import Path

import ipywidgets as widgets

from ..errors import LabkitError
from ..explain.reading import diagnose
from .parts.frame import Box, button
from .parts.saved import LIVE, Saved, replace_earlier

NOTHING = "Paste an error or a log, or choose a file, and press Explain."
STYLE = """<style>
.labkit-said { color: var(--jp-ui-font-color1, #222); line-height: 1.5 }
.labkit-said pre { overflow: auto; padding: .4em .8em; background: var(--jp-layout-color2, #eee) }
</style>"""


class LogDoctor:
    """Explains the text of an error, or a log file.

    source   a text, a path or an Outcome to begin with, as for labkit.diagnose

    `.explain(source)` does what the button does and returns the Diagnosis when it is done.

    >>> LogDoctor("OOM when allocating tensor with shape[64,224,224,64] and type float").diagnosis.cause
    'activations'
    """

    def __init__(self, source=None):
        self.diagnosis, self._saved, self._asked = None, None, 0
        self._text = widgets.Textarea(
            description="error or log",
            placeholder="W tensorflow/... ran out of memory trying to allocate 560.44MiB ...",
            continuous_update=False,
            layout={"width": "95%", "height": "12em"},
        )
        self._file = widgets.FileUpload(description="Log file", tooltip="Choose a log file", multiple=False)
        self._path = widgets.Text(description="or its path", placeholder="train.log", continuous_update=False)
        self._explain = button(
            "Explain",
            "question",
            "Say why memory ran out, and what helps",
            lambda: self._start(self._text.value),
        )
        self._clear = button("Clear", "trash", "Forget the text and what was said", self.clear)
        self._said = widgets.HTML()
        self._file.observe(self._uploaded, "value")
        self._path.observe(lambda change: change["new"] and self._start(Path(change["new"])), "value")
        buttons = [self._explain, self._clear, self._file, self._path]
        self.widget = Box([
            widgets.HTML(LIVE + STYLE), self._text, widgets.HBox(buttons, layout={"flex_flow": "row wrap"}),
            self._said,
        ])  # fmt: skip
        self._show(f"<p>{NOTHING}</p>")
        if source is not None:
            self.explain(source)

    def explain(self, source):
        """The Diagnosis of a text, a path or an Outcome, which is also shown.

        Raises LabkitError for what labkit.diagnose refuses.
        """
        if isinstance(source, str):
            self._text.value = source
        self.diagnosis = diagnose(source)
        self._show(self.diagnosis._repr_mimebundle_()["text/html"])
        return self.diagnosis

    def clear(self):
        """Forget the text and what was said of it."""
        self._asked += 1
        self.diagnosis, self._text.value, self._path.value = None, "", ""
        self._show(f"<p>{NOTHING}</p>")

    def _uploaded(self, change):
        if change["new"]:
            self._start(bytes(change["new"][0]["content"]))

    def _start(self, source):
        """Explain in the background: a log may be long. What was asked last is what is shown."""
        self._asked += 1
        self._show("<p>Reading ...</p>", save=False)
        threading.Thread(target=self._work, args=(source, self._asked), daemon=True, name="LogDoctor").start()

    def _work(self, source, asked):
        try:
            found = diagnose(source)
            said = found._repr_mimebundle_()["text/html"]
        except LabkitError as e:
            found, said = None, f'<div role="alert">✗ {html.escape(str(e))}</div>'
        if asked == self._asked:
            self.diagnosis = found
            self._show(said)

    def _show(self, said, save=True):
        self._said.value = f'<div class="labkit-said" role="status">{said}</div>'
        if save and self._saved:
            self._saved.update(self)

    def plot(self):
        """The memory map of the failure as a figure; None where the text has no dump of it."""
        from ..show import bars

        there = self.diagnosis is not None and self.diagnosis.memory_map is not None
        return bars.memory_map(self.diagnosis) if there else None

    def table(self):
        """What was said, as HTML, without the picture."""
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
