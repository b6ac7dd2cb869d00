"""A gauge of the running trial: text, bars and the time left."""

import html
import threading
import time

from ... import machine
from ...process.progress import memory_text, waiting_text
from ...sizes import counted, format_size
from ...trials.console import SHOWN_CHARACTERS
from .runs import named

REDRAW_SECONDS = 0.2
WHOLE_GPU_SECONDS = 1.0  # between queries: without nvidia-ml-py each starts a process
STYLE = """<style>
.labkit-gauge { line-height: 1.7; color: inherit }
.labkit-row { display: flex; gap: .8em; align-items: center }
.labkit-bar { position: relative; flex: 0 0 45%; height: 12px }
.labkit-bar { border: 1px solid var(--jp-border-color1, #999) }
.labkit-bar > span:first-child { position: absolute; inset: 0 auto 0 0; background: #0072B2 }
.labkit-mark { position: absolute; top: -3px; bottom: -3px; width: 3px; background: #D55E00 }
</style>"""


class TrialProgress:
    """The `show` of a lab's sweep: keeps the latest state and has it drawn at most five times a second.

    draw      called without arguments when something has changed
    begun     called when each trial begins
    gpu       the GPU's memory in bytes if trials run on one; its total use is then shown as well
    .printed  what the trials have printed

    The methods are those of labkit.process.progress.ShowOfSeveral.
    """

    def __init__(self, draw, begun, gpu=None):
        self._begun = begun
        self._gpu, self._in_use, self._queried = gpu, None, 0.0
        self._host_bytes = machine.host_memory().total
        self._draw, self._drawn, self._lock = draw, 0.0, threading.Lock()
        self._began = time.monotonic()
        self._value = self._waiting = self._seconds = None
        self._done = self._total = self._done_before = 0
        self._sample, self.printed, self._doing, self._status = {}, "", "", ""

    def begin(self, value, done, total, doing=""):
        """The trial of `value` begins, after `done` of `total`; doing: its purpose, if not the sweep."""
        if self._value is None:
            self._began, self._done_before = time.monotonic(), done
        self._value, self._done, self._total, self._doing = value, done, total, doing
        self._sample, self._waiting, self._seconds, self._status = {}, None, None, ""
        self._begun()
        self._redraw(now=True)

    def output(self, text):
        with self._lock:
            self.printed = (self.printed + text)[-SHOWN_CHARACTERS:]

    def status(self, text):
        self._status = text
        self._redraw()

    def progress(self, seconds, **sample):
        self._seconds, self._sample, self._waiting, self._status = seconds, sample, None, ""
        self._redraw()

    def waiting(self, seconds):
        self._waiting = seconds
        self._redraw()

    def close(self):
        """The trial is over."""
        self._sample, self._waiting, self._status = {}, None, ""
        self._redraw(now=True)

    def end(self):
        """The sweep is over."""
        self._value, self._status = None, ""
        self._redraw(now=True)

    def _redraw(self, now=False):
        with self._lock:
            if not now and time.monotonic() - self._drawn < REDRAW_SECONDS:
                return
            self._drawn = time.monotonic()
        self._draw()

    def html(self, over):
        """The gauge as HTML: what is running, its memory against the limit, the progress of the sweep."""
        if self._value is None:
            return f'<div class="labkit-gauge">{html.escape(self._status or "Nothing is running.")}</div>'
        texts = [f"<b>{html.escape(named(over, self._value))}</b>", *map(html.escape, self._state())]
        done = f"{self._done} of {counted(self._total, 'trial')}" if self._total else ""
        return (
            f'<div class="labkit-gauge"><div>{" · ".join(texts)}</div>'
            f"{self._memory_bar()}{self._whole_gpu()}{self._host_bar()}"
            f"{bar('trials done', self._done, self._total, done)}</div>"
        )

    def _state(self):
        """What the trial is doing, in a few phrases."""
        if self._doing:
            yield self._doing
        if self._waiting is not None:
            yield waiting_text(self._waiting)
        elif self._status:
            yield self._status
        elif self._seconds is None:
            yield "starting"
        else:
            yield f"running for {self._seconds:.0f} s"
        if self._sample.get("steps"):
            yield f"step {self._sample['steps']}"
        if self._left() is not None and self._waiting is None:
            yield f"about {self._left():.0f} s left"

    def _left(self):
        """Estimated seconds for the rest of the sweep, from the trials made so far."""
        made = self._done - self._done_before
        if not made:
            return None
        return (time.monotonic() - self._began) / made * (self._total - self._done)

    def _memory_bar(self):
        current, peak, limit = (self._sample.get(name) for name in ("current", "peak", "limit"))
        if peak is None:
            return bar("memory", 0, 1, "memory")
        text = memory_text(current, peak, limit)
        return bar("memory", current, limit or max(peak, 1), text, mark=peak)

    def _host_bar(self):
        held = self._sample.get("host")
        text = f"{format_size(held)} of host memory" if held else "host memory"
        return bar("host memory", held or 0, self._host_bytes, text)

    def _whole_gpu(self):
        """On a GPU, the memory held by all processes, and why that is more than TensorFlow's count."""
        if self._gpu is None:
            return ""
        if time.monotonic() - self._queried > WHOLE_GPU_SECONDS:
            self._queried, self._in_use = time.monotonic(), machine.gpu_in_use()
        if self._in_use is None:
            return ""
        text = f"whole GPU, by NVML: {format_size(self._in_use)} of {format_size(self._gpu)}"
        why = (
            "More than the bar above: CUDA itself takes some memory, TensorFlow keeps what it has "
            "reserved, and other processes may use the GPU too."
        )
        return bar("whole GPU", self._in_use, self._gpu, text) + f"<div><small>{why}</small></div>"


def bar(name, value, most, text, mark=None):
    """A bar of `value` out of `most` as HTML, with a text beside it; `mark` is where to draw a line on it."""
    share = min(1.0, value / most) if most else 0.0
    tick = ""
    if mark is not None:
        tick = f'<span class="labkit-mark" style="left:{100 * min(1.0, mark / most):.1f}%"></span>'
    return (
        f'<div class="labkit-row"><div class="labkit-bar" role="progressbar" aria-label="{name}" '
        f'aria-valuemin="0" aria-valuemax="100" aria-valuenow="{100 * share:.0f}" aria-valuetext="{text}">'
        f'<span style="width:{100 * share:.1f}%"></span>{tick}</div><span>{text}</span></div>'
    )
