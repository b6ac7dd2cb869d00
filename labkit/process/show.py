"""What shows how a trial comes along, and how that is said."""

from typing import Protocol

from ..sizes import format_size


class Show(Protocol):
    """Told of one trial while it runs: a line in a cell, a gauge in a lab."""

    def output(self, text):
        """Text that the trial printed."""

    def status(self, text):
        """What is going on before the trial runs: it waits for another one, TensorFlow starts."""

    def progress(self, seconds, limit=None, steps=None, current=None, peak=None, host=None):
        """It has run for so many seconds. Sizes in bytes, as far as they are known: the memory limit, the
        device's memory in use now and at its peak, and what the process holds of the host's memory."""

    def waiting(self, seconds):
        """TensorFlow has been refused memory and goes on trying for so many seconds."""

    def close(self):
        """The trial is over."""


class ShowOfSeveral(Show, Protocol):
    """Told of several trials, one after another."""

    def begin(self, value, done, total, doing=""):
        """The trial of `value` begins, after `done` of `total` (None if not known); doing: what it is for."""

    def end(self):
        """All are over."""


def said_while_waiting(seconds):
    """That TensorFlow waits for memory."""
    return f"out of memory: TensorFlow waits for some to be freed, {seconds:.0f} s left"


def said_of_memory(current, peak, limit=None):
    """Memory in use now and at the peak, in bytes, against the limit."""
    of_limit = f" of {format_size(limit)}" if limit else ""
    return f"{format_size(current)} in use, peak {format_size(peak)}{of_limit}"
