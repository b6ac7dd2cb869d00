"""MemoryGauge: a live display of the host memory held by this notebook and its trials."""

import contextlib
import html
import numbers
import sys
import threading

import ipywidgets as widgets
import psutil

from .. import machine
from ..errors import LabkitError
from ..sizes import format_size
from .parts.chart import Chart
from .parts.frame import Box
from .parts.progress import STYLE, bar
from .parts.saved import LIVE, Saved, replace_earlier


class MemoryGauge:
    """A live display of memory in use: by this notebook and its trials, on the host, on the GPU if trials
    run on one, and by TensorFlow in the notebook's own process.

    seconds   between updates, at least 0.2

    It is updated until `.close()`, until its cell is run again, or until the kernel ends.
    Raises LabkitError for a shorter interval, and for one that never ends.
    """

    def __init__(self, seconds=1.0):
        if not (isinstance(seconds, numbers.Real) and 0.2 <= seconds <= threading.TIMEOUT_MAX):
            raise LabkitError(
                f"seconds={seconds!r}: give a finite number of at least 0.2, five updates a second."
            )
        self._shown = widgets.HTML()
        self.widget = Box([widgets.HTML(LIVE), self._shown, Chart(kind="none")])
        device = machine.device()
        self._gpu = device.memory_bytes if device.kind == "gpu" else None
        self._seconds, self._closed = seconds, threading.Event()
        self.widget.observe(lambda change: change["new"] is None and self._closed.set(), "comm")
        self._update()
        threading.Thread(target=self._watch, daemon=True, name="MemoryGauge").start()

    def close(self):
        """Remove it from the page and stop the updates."""
        self._closed.set()
        self.widget.close()

    def _watch(self):
        while not self._closed.wait(self._seconds):
            try:
                self._update()
            except Exception as e:  # such as too many open files: the next look may succeed
                said = html.escape(str(e) or type(e).__name__)
                self._shown.value = f'{STYLE}<div class="labkit-gauge">Not known just now: {said}</div>'

    def _update(self):
        host, held = machine.host_memory(), _held()
        used = host.total - host.available
        bars = [
            bar("this notebook", held, host.total, f"this notebook and its trials: {format_size(held)}"),
            bar("host", used, host.total, f"{host.source}: {format_size(used)} of {format_size(host.total)}"),
        ]
        in_use = self._gpu and machine.gpu_in_use()
        if in_use:
            text = f"whole GPU, by NVML: {format_size(in_use)} of {format_size(self._gpu)}"
            bars.append(bar("whole GPU", in_use, self._gpu, text))
        own = _own_tensorflow()
        if own:
            current, peak = own["current"], own["peak"]
            text = f"TensorFlow in this notebook: {format_size(current)}, peak {format_size(peak)}"
            bars.append(bar("TensorFlow", current, max(peak, 1), text))
        self._shown.value = STYLE + f'<div class="labkit-gauge">{"".join(bars)}</div>'

    def plot(self):
        """None: what a notebook keeps of a gauge is a sentence."""

    def table(self):
        """What was held as the gauge was shown, as HTML."""
        return f"<p>As this cell was run, {self}. Run it again to follow that live.</p>"

    def _ipython_display_(self):
        from IPython.display import display

        replace_earlier(self)
        display(self.widget)
        Saved(self)

    def __repr__(self):
        return f"this notebook and its trials hold {format_size(_held())} of host memory"


def _held():
    """Bytes held by this process and its descendants; shared pages are counted once."""
    this, total = psutil.Process(), 0
    for process in [this, *this.children(recursive=True)]:
        with contextlib.suppress(psutil.Error):
            info = process.memory_full_info()
            total += getattr(info, "pss", info.uss)
    return total


def _own_tensorflow():
    """The counts of TensorFlow's allocator in this process; None if it has no device yet or does not count.

    To ask TensorFlow for its devices initializes them, and then the notebook can no longer configure them.
    """
    context = sys.modules.get("tensorflow.python.eager.context")
    if not getattr(getattr(context, "_context", None), "_initialized", False):
        return None
    with contextlib.suppress(Exception):  # a CPU allocator without counts
        config = sys.modules["tensorflow"].config
        device = "GPU:0" if config.list_logical_devices("GPU") else "CPU:0"
        return config.experimental.get_memory_info(device)
    return None
