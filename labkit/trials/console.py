"""Where a trial's output and progress go: a notebook cell, a terminal, or a pipe."""

import html
import sys
import threading
import time

from ..process.progress import memory_text, waiting_text

SHOWN_CHARACTERS = 100_000
QUIET_SECONDS = 1.0  # no progress is shown for a shorter trial
UPDATE_SECONDS = 0.25


class Console:
    """Shows one trial: its output as it arrives, and a progress line that disappears at the end.

    The methods are those of labkit.process.progress.Show.
    """

    def __init__(self):
        self._shown = 0
        self._line = _notebook_line() or _TerminalLine()
        self._updated = 0.0

    def output(self, text):
        """Text that the trial printed."""
        room = SHOWN_CHARACTERS - self._shown
        if room > 0:
            self._line.clear()
            _write(text[:room])
            if len(text) > room:
                sys.stdout.write("\n[output truncated; all of it is in the outcome's .log]\n")
            sys.stdout.flush()
        self._shown += len(text)

    def status(self, text):
        """The current state, as a line that replaces the one before."""
        if time.monotonic() - self._updated > UPDATE_SECONDS:
            self._updated = time.monotonic()
            self._line.write(text)

    def progress(self, seconds, limit=None, steps=None, current=None, peak=None, host=None):
        """The trial has been running for `seconds`; sizes in bytes, None where unknown.

        host   host memory held by the trial's process, not shown: the line is too short
        """
        if seconds < QUIET_SECONDS:
            return
        parts = [f"running for {seconds:.0f} s"]
        if steps:
            parts.append(f"step {steps}")
        if peak is not None:
            parts.append(memory_text(current, peak, limit))
        self.status(" · ".join(parts))

    def waiting(self, seconds):
        """TensorFlow was refused memory and will keep trying for `seconds` more."""
        self.status(waiting_text(seconds))

    def close(self):
        self._line.clear()


def _write(text):
    """Write to stdout, with what its encoding cannot show replaced."""
    try:
        sys.stdout.write(text)
    except UnicodeEncodeError:
        encoding = sys.stdout.encoding or "ascii"
        sys.stdout.write(text.encode(encoding, "replace").decode(encoding))


class Progress(Console):
    """One line for a series of trials: the overall progress, then that of the running trial.

    over: the parameter whose values are tried.
    """

    CELLS = 20

    def __init__(self, over):
        super().__init__()
        self._over, self._prefix, self._first = over, "", None
        self._warnings, self._earlier_warnings = set(), set()  # lines of this trial, and of those before it

    def begin(self, value, done, total, doing=""):
        """The trial of `value` begins, after `done` of `total` (None if unknown); doing: its purpose."""
        if self._first is None:
            self._first = (time.monotonic(), done)
        self._earlier_warnings |= self._warnings
        parts = [doing, self._bar(done, total), f"{self._over}={value}", self._time_left(done, total)]
        self._prefix = " · ".join(filter(None, parts))
        self.status("")

    def _bar(self, done, total):
        if total is None:
            return f"trial {done + 1}"
        filled = self.CELLS * done // total
        return f"{'█' * filled}{'░' * (self.CELLS - filled)} {done} of {total}"

    def _time_left(self, done, total):
        """The estimated time for the remaining trials, from those made so far."""
        start, done_before = self._first
        if total is None or done == done_before:
            return ""
        seconds = (time.monotonic() - start) / (done - done_before) * (total - done)
        return f"about {seconds:.0f} s left"

    def output(self, text):
        """Text that the trial printed, without warnings that an earlier one has printed as well."""
        super().output(self.without_repeated_warnings(text))

    def without_repeated_warnings(self, text):
        """The text without them: a warning is a line, and the lines of source text that follow indented."""
        kept, repeated = [], False
        for line in text.splitlines(keepends=True):
            if "Warning: " in line:
                repeated = line in self._earlier_warnings
                self._warnings.add(line)
            elif not line.startswith("  "):
                repeated = False
            if not repeated:
                kept.append(line)
        return "".join(kept)

    def status(self, text):
        super().status(f"{self._prefix} · {text}" if text else self._prefix)

    def close(self):
        """Keep the line: each trial calls this when it ends, and more may follow."""

    def end(self):
        """The last trial has ended: remove the line."""
        super().close()


class _TerminalLine:
    """A line on stderr, overwritten in place; nothing if stderr is not a terminal."""

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
    """A display that is updated in place and left empty in the saved notebook."""

    def __init__(self):
        self._handle = None
        self._empty = True

    def write(self, text):
        from IPython.display import HTML, display

        line = HTML(f"<i>{html.escape(text)}</i>")
        if self._handle is None:
            self._handle = display(line, display_id=True)
        else:
            self._handle.update(line)
        self._empty = False

    def clear(self):
        from IPython.display import HTML

        if not self._empty:
            self._handle.update(HTML(""))
            self._empty = True


def _notebook_line():
    """None outside notebooks and in threads, whose displays would appear in whichever cell is running."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    in_cell = shell is not None and threading.current_thread() is threading.main_thread()
    return _NotebookLine() if in_cell and hasattr(shell, "kernel") else None
