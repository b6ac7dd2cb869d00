"""Outcome: what became of a trial, as data, as text and as HTML."""

import html
import statistics
from dataclasses import dataclass, field

from .sizes import counted, format_rate, format_size, three_digits

STATUS_TEXT = {
    "ok": "it fits",
    "oom": "out of memory",
    "crashed": "crashed",
    "killed": "killed",
    "timeout": "timed out",
    "stopped": "stopped",
    "error": "error",
}
STATUS_SIGN = {
    "ok": "✓",
    "oom": "✗",
    "error": "!",
    "crashed": "!",
    "killed": "!",
    "timeout": "…",
    "stopped": "■",
}
BAR_CELLS = 40


@dataclass(frozen=True)
class TrialError:
    """How a trial failed: the exception's type and message, and the reader's part of the traceback.

    by: who killed a process that was killed: the "kernel", the "launcher" by ending, or an "other" process.
    """

    type: str
    message: str
    traceback: str = ""
    by: str = ""

    def __str__(self):
        return f"{self.traceback}{self.type}: {self.message}"


@dataclass(frozen=True)
class Outcome:
    """What became of one trial. Sizes in bytes, times in seconds; None if not measured.

    status          "ok", "oom", "crashed", "killed", "timeout", "stopped" or "error"
    params          the trial's parameters, {name: value}
    device          "gpu" or "cpu"
    peak_bytes      the most that the device allocator had handed out at once, by its own count
    current_bytes   what it had handed out at the end
    limit_bytes     the memory limit, in whole MiB
    wall_seconds    run time of the reader's code, without the start of its process
    step_seconds    duration of each training step; empty if the steps could not be timed
    step_peak_bytes the peak until the end of each training step; empty if the steps are not known
    samples_per_second   from the median time per sample between the ends of steps, the first left out
    result          what `train` returned, if it can be pickled; tensors become NumPy arrays
    error           a TrialError, for every status but "ok"
    diagnosis       a Diagnosis, if memory ran out
    timeline        a Timeline, if the trial was profiled
    log             everything that the trial printed, including TensorFlow's memory dump
    host_limit_bytes  host memory that the trial could take: what was free as it began, less a reserve
    host_peak_bytes the most host memory that the trial's process held (resident set)
    memory_map      every chunk of the allocator when it gave up, a labkit.logs.dumpfile.MemoryMap
    note            anything else worth mentioning
    """

    status: str
    params: dict = field(default_factory=dict)
    device: str = "cpu"
    peak_bytes: int | None = None
    current_bytes: int | None = None
    limit_bytes: int | None = None
    wall_seconds: float | None = None
    step_seconds: list = field(default_factory=list)
    step_peak_bytes: list = field(default_factory=list, repr=False)
    samples_per_second: float | None = None
    result: object = None
    error: TrialError | None = None
    diagnosis: object = None
    timeline: object = None
    log: str = field(default="", repr=False)
    host_limit_bytes: int | None = None
    host_peak_bytes: int | None = None
    memory_map: object = field(default=None, repr=False)
    note: str = ""

    @property
    def ok(self):
        return self.status == "ok"

    @property
    def median_step_seconds(self):
        """The median step without the first, which also traces the model; None without steps."""
        return statistics.median(self.step_seconds[1:] or self.step_seconds) if self.step_seconds else None

    @property
    def headline(self):
        """One line: the status, and the peak against the limit."""
        return f"{STATUS_SIGN[self.status]} {STATUS_TEXT[self.status]}" + (
            f" · {self._memory()}" if self._memory() else ""
        )

    @property
    def ending(self):
        """What became of the trial in a few words: where it failed, and what it asked for."""
        text, diagnosis = f"{STATUS_SIGN[self.status]} {STATUS_TEXT[self.status]}", self.diagnosis
        if diagnosis is not None and diagnosis.layer:
            text += f" in {diagnosis.layer}"
        if diagnosis is not None and diagnosis.requested_bytes:
            text += f", asked for {format_size(diagnosis.requested_bytes)}"
        return text

    def _memory(self):
        if self.peak_bytes is None:
            return ""
        limit = f" of {format_size(self.limit_bytes)}" if self.limit_bytes else ""
        return f"peak {format_size(self.peak_bytes)}{limit}"

    def _bar(self):
        """The peak against the limit as a bar of characters, which every notebook viewer can show."""
        if not self.peak_bytes or not self.limit_bytes:
            return ""
        filled = min(BAR_CELLS, max(1, round(BAR_CELLS * self.peak_bytes / self.limit_bytes)))
        return "█" * filled + "░" * (BAR_CELLS - filled)

    def _times(self):
        if self.wall_seconds is None:
            return ""
        parts = [f"{self.wall_seconds:.1f} s"]
        if self.step_seconds:
            median, steps = self.median_step_seconds, len(self.step_seconds)
            duration = f"{three_digits(median)} s" if median >= 1 else f"{three_digits(1000 * median)} ms"
            parts.append(f"{counted(steps, 'step')}, {duration} each (median)")
        if self.samples_per_second:
            parts.append(f"{format_rate(self.samples_per_second)} samples/s")
        return " · ".join(parts)

    def _evidence(self):
        """Sentences: the diagnosis if there is one, what helps most, and the note."""
        diagnosis = self.diagnosis
        if diagnosis is None:
            return [self.note] if self.note else []
        helps = [f"What helps most: {fix.sentence}" for fix in diagnosis.fixes[:1]]
        return [diagnosis.headline, *diagnosis.evidence, *helps, *filter(None, [self.note])]

    def _trace(self):
        """The reader's lines that led to the failure, and the error unless a diagnosis explains it."""
        if self.error is None:
            return ""
        diagnosed = self.diagnosis is not None and self.diagnosis.evidence
        return _shortened(self.error.traceback if diagnosed else str(self.error)).rstrip()

    def __str__(self):
        lines = [self.headline, self._bar(), self._times(), *self._evidence(), self._trace()]
        return "\n".join(line for line in lines if line)

    def _repr_mimebundle_(self, include=None, exclude=None):
        return {"text/plain": str(self), "text/html": self._html()}

    def _html(self):
        parts = [
            f"<b>{html.escape(self.headline)}</b>",
            f"<code>{self._bar()}</code>" if self._bar() else "",
            html.escape(self._times()),
        ]
        body = "<br>".join(part for part in parts if part)
        if self._evidence():
            items = "".join(f"<li>{html.escape(sentence)}</li>" for sentence in self._evidence())
            body += f"<ul>{items}</ul>"
        if self._trace():
            body += f"<pre>{html.escape(self._trace())}</pre>"
        return f'<div role="group" aria-label="outcome of the trial">{body}</div>'


def _shortened(text, limit=3000):
    return text if len(text) <= limit else f"{text[: limit // 2]}\n[...]\n{text[-limit // 2 :]}"
