"""Where a trial's output and progress go: a notebook's cell, a terminal, or a pipe."""

import html
import sys
import threading
import time

from ..process.show import said_of_memory, said_while_waiting

SHOWN_CHARACTERS = 100_000
QUIET_SECONDS = 1.0  # a trial shorter than this needs no progress
UPDATE_SECONDS = 0.25


class Console:
    """Shows one trial: its output as it comes, and one line of progress that is gone at the end."""

    def __init__(self):
        self._shown = 0
        self._line = _notebook_line() or _TerminalLine()
        self._updated = 0.0

    def output(self, text):
        """Text that the trial printed."""
        room = SHOWN_CHARACTERS - self._shown
        if room > 0:
            self._line.clear()
            sys.stdout.write(text[:room])
            if len(text) > room:
                sys.stdout.write("\n[more output is in the outcome's .log]\n")
            sys.stdout.flush()
        self._shown += len(text)

    def status(self, text):
        """What is going on, in a line that replaces the one before."""
        if time.monotonic() - self._updated > UPDATE_SECONDS:
            self._updated = time.monotonic()
            self._line.write(text)

    def progress(self, seconds, limit=None, steps=None, current=None, peak=None, host=None):
        """The trial has run for so many seconds; sizes in bytes, as far as they are known.

        host   what its process holds of the host's memory; a line has no room for it
        """
        if seconds < QUIET_SECONDS:
            return
        parts = [f"running for {seconds:.0f} s"]
        if steps:
            parts.append(f"step {steps}")
        if peak is not None:
            parts.append(said_of_memory(current, peak, limit))
        self.status(" · ".join(parts))

    def waiting(self, seconds):
        """TensorFlow has been refused memory and goes on trying for so many seconds."""
        self.status(said_while_waiting(seconds))

    def close(self):
        self._line.clear()


class Progress(Console):
    """One line for several trials in turn: how far they are, and what the running one does behind that."""

    CELLS = 20

    def __init__(self, over):
        super().__init__()
        self._over, self._prefix, self._first = over, "", None

    def begin(self, value, done, total, doing=""):
        """The trial of `value` begins, after `done` of `total` (None if not known)."""
        if self._first is None:
            self._first = (time.monotonic(), done)
        parts = [doing, self._bar(done, total), f"{self._over}={value}", self._time_left(done, total)]
        self._prefix = " · ".join(filter(None, parts))
        self.status("")

    def _bar(self, done, total):
        if total is None:
            return f"trial {done + 1}"
        filled = self.CELLS * done // total
        return f"{'█' * filled}{'░' * (self.CELLS - filled)} {done} of {total}"

    def _time_left(self, done, total):
        """Seconds for the rest, from the trials made so far."""
        start, done_before = self._first
        if total is None or done == done_before:
            return ""
        seconds = (time.monotonic() - start) / (done - done_before) * (total - done)
        return f"about {seconds:.0f} s left"

    def status(self, text):
        super().status(f"{self._prefix} · {text}" if text else self._prefix)

    def close(self):
        """Each trial calls this at its end; the line stays until the last one's."""

    def end(self):
        """All are over."""
        super().close()


class _TerminalLine:
    def __init__(self):
        self._width = 0

    def write(self, text):
        if sys.stderr.isatty():
            sys.stderr.write("\r" + text.ljust(self._width))
            sys.stderr.flush()
            self._width = len(text)

    def clear(self):
        if self._width:
            self.write("")
            sys.stderr.write("\r")
            self._width = 0


class _NotebookLine:
    """A display that is replaced in place, and is empty in the saved notebook."""

    def __init__(self):
        self._handle = None
        self._empty = True

    def write(self, text):
        from IPython.display import HTML, display

        shown = HTML(f"<i>{html.escape(text)}</i>")
        if self._handle is None:
            self._handle = display(shown, display_id=True)
        else:
            self._handle.update(shown)
        self._empty = False

    def clear(self):
        from IPython.display import HTML

        if not self._empty:
            self._handle.update(HTML(""))
            self._empty = True


def _notebook_line():
    """None outside notebooks, and in threads, whose displays would land in whichever cell is current."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    in_cell = shell is not None and threading.current_thread() is threading.main_thread()
    return _NotebookLine() if in_cell and hasattr(shell, "kernel") else None
