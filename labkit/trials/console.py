"""Where a trial's output and progress go: a notebook's cell, a terminal, or a pipe."""

import html
import sys
import threading
import time

from ..sizes import format_size

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
            of_limit = f" of {format_size(limit)}" if limit else ""
            parts.append(f"{format_size(current)} in use, peak {format_size(peak)}{of_limit}")
        self.status(" · ".join(parts))

    def waiting(self, seconds):
        """TensorFlow has been refused memory and goes on trying for so many seconds."""
        self.status(f"out of memory: TensorFlow waits for some to be freed, {seconds:.0f} s left")

    def close(self):
        self._line.clear()


class Progress(Console):
    """One line for several trials in turn: which of them, and what it does behind that."""

    def __init__(self):
        super().__init__()
        self._prefix = ""

    def begin(self, prefix):
        """The next trial begins: say so, before all that is said of it."""
        self._prefix = prefix
        self.status("")

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
