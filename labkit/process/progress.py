"""The protocol of what shows a trial's progress, and the texts that it shows."""

from typing import Protocol

from ..sizes import format_size


class Show(Protocol):
    """Shows one trial while it runs: a line in a cell, a gauge in a lab."""

    def output(self, text):
        """Text that the trial printed."""

    def status(self, text):
        """What happens before the trial runs: it waits for another one, or TensorFlow starts."""

    def progress(self, seconds, limit=None, steps=None, current=None, peak=None, host=None):
        """The trial has run for `seconds`. Sizes in bytes, None if unknown: the memory limit, the device's
        memory in use now and at its peak, and the host memory that the process holds."""

    def waiting(self, seconds):
        """TensorFlow was refused memory and will keep trying for `seconds` more."""

    def close(self):
        """The trial is over."""


class ShowOfSeveral(Show, Protocol):
    """Shows several trials, one after another."""

    def begin(self, value, done, total, doing=""):
        """The trial of `value` begins, after `done` of `total` (None if unknown); doing: what it is for."""

    def end(self):
        """All are over."""


def waiting_text(seconds):
    """Text for the time in which TensorFlow waits for memory."""
    return f"out of memory: TensorFlow is waiting for some to be freed, {seconds:.0f} s left"


def memory_text(current, peak, limit=None):
    """Text for the memory in use now and at the peak, against the limit; all in bytes."""
    of_limit = f" of {format_size(limit)}" if limit else ""
    return f"{format_size(current)} in use, peak {format_size(peak)}{of_limit}"
