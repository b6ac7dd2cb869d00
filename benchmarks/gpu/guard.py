"""The report of check.py: lines that are saved as they come, each guarded and timed."""

import time
import traceback

import labkit
from labkit import format_size, machine
from labkit.sizes import MIB


class Check:
    """The report, and the time that is left for the current point."""

    def __init__(self, report, keep, small, stand_in=None):
        self._report, self._keep, self.small, self.stand_in = report, keep, small, stand_in
        self.deadline = time.monotonic() + 60

    def say(self, line=""):
        self._report(line)
        if self._keep:
            self._report.save()

    def line(self, label, work, *args, **options):
        """Write what `work` returns or raises, and how long it took; returns what it returned."""
        if self.left() < 3:
            return self.say(f"{label}: skipped, no time left for this point")
        start, found = time.monotonic(), None
        try:
            text = found = work(*args, **options)
        except Exception:
            text = "RAISED " + traceback.format_exc(limit=-2)[-800:].strip()
        self.say(f"{label}: {text}  [{time.monotonic() - start:.1f} s]")
        return found

    def left(self):
        return self.deadline - time.monotonic()

    def run(self, train, **options):
        return self.keep_log(labkit.run(train, **{"timeout": self.patience(), **options}))

    def keep_log(self, outcome):
        """Append the log of a trial that failed to a file beside the report."""
        if self._keep and not outcome.ok:
            with open(self.beside("errors.txt"), "a") as file:
                file.write(f"{'=' * 20} {outcome.status}\n{outcome.log}\n")
        return outcome

    def beside(self, ending):
        """The path of a file beside the report."""
        return self._report.folder / f"{self._report.name}.{ending}"

    def patience(self, share=1):
        """Seconds for one trial: what is left, but longer than TensorFlow waits for memory."""
        return max(30, self.left() * share)


def said(outcome):
    """An Outcome in one line: status, peaks, and the beginning of the error's message."""
    peaks = f"device {format_size(outcome.peak_bytes)}, host {format_size(outcome.host_peak_bytes)}"
    words = (
        f" · {outcome.error.type}: {' '.join(outcome.error.message.split())[:300]}" if outcome.error else ""
    )
    return f"{outcome.status} · {peaks}{words}{' · ' + outcome.note if outcome.note else ''}"


def given_back(before):
    """What NVML counts before and after, once the memory is freed or 5 s later."""
    if before is None:
        return "NVML: no GPU"
    start, after = time.monotonic(), machine.gpu_in_use()
    while after > before + 16 * MIB and time.monotonic() - start < 5:
        time.sleep(0.2)
        after = machine.gpu_in_use()
    waited = time.monotonic() - start
    return f"NVML {format_size(before)} before, {format_size(after)} after ({waited:.1f} s)"


def cell(value, base):
    if not isinstance(value, int):
        return f"{value or '-':>11}{'':>8}"
    ratio = f"x{value / base:.2f}" if isinstance(base, int) else ""
    return f"{format_size(value):>11}{ratio:>8}"
