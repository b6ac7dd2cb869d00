"""Outcome: what became of a trial, and how it shows itself."""

import html
import statistics
from dataclasses import dataclass, field

from .sizes import format_size

SAID = {
    "ok": "it fits",
    "oom": "out of memory",
    "crashed": "crashed",
    "killed": "killed",
    "timeout": "out of time",
    "stopped": "stopped",
    "error": "error",
}
SIGN = {
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
    """The failure of a trial: the exception's type and message, and the reader's part of the traceback.

    by: of a process that was killed, who did it: the "kernel", the "launcher" as it ended, or an "other".
    """

    type: str
    message: str
    traceback: str = ""
    by: str = ""

    def __str__(self):
        return f"{self.traceback}{self.type}: {self.message}"


@dataclass(frozen=True)
class Outcome:
    """What became of one trial. Sizes in bytes, times in seconds; None where it could not be measured.

    status          "ok", "oom", "crashed", "killed", "timeout", "stopped" or "error"
    peak_bytes      the most that the device allocator had handed out at once, by its own count
    current_bytes   what it had handed out at the end
    limit_bytes     the memory limit, in whole MiB
    wall_seconds    the reader's code from start to end, without the start of the process
    step_seconds    each training step; empty where steps could not be told apart
    samples_per_second   from the median time between the ends of steps, the first left out
    result          what `train` returned, if it pickles; tensors come as NumPy arrays
    error           a TrialError, for every status but "ok"
    diagnosis       a Diagnosis, where memory ran out
    log             all that the trial printed, TensorFlow's memory dump included
    host_peak_bytes the most that the trial's process held of the host's memory (resident set)
    memory_map      every chunk of the allocator as it gave up, a labkit.logs.dumpfile.MemoryMap
    note            anything else worth a word
    """

    status: str
    params: dict = field(default_factory=dict)
    device: str = "cpu"
    peak_bytes: int | None = None
    current_bytes: int | None = None
    limit_bytes: int | None = None
    wall_seconds: float | None = None
    step_seconds: list = field(default_factory=list)
    samples_per_second: float | None = None
    result: object = None
    error: TrialError | None = None
    diagnosis: object = None
    timeline: object = None
    log: str = field(default="", repr=False)
    host_peak_bytes: int | None = None
    memory_map: object = field(default=None, repr=False)
    note: str = ""

    @property
    def ok(self):
        return self.status == "ok"

    @property
    def median_step_seconds(self):
        """Of a training step, the first left out, which traces the model; None without steps."""
        return statistics.median(self.step_seconds[1:] or self.step_seconds) if self.step_seconds else None

    @property
    def headline(self):
        """One line: the status, the peak against the limit."""
        return f"{SIGN[self.status]} {SAID[self.status]}" + (f" · {self._memory()}" if self._memory() else "")

    @property
    def ending(self):
        """What became of it in a few words: where it failed, and what it asked for."""
        said, found = f"{SIGN[self.status]} {SAID[self.status]}", self.diagnosis
        if found is not None and found.layer:
            said += f" in {found.layer}"
        if found is not None and found.requested_bytes:
            said += f", asked for {format_size(found.requested_bytes)}"
        return said

    def _memory(self):
        if self.peak_bytes is None:
            return ""
        limit = f" of {format_size(self.limit_bytes)}" if self.limit_bytes else ""
        return f"peak {format_size(self.peak_bytes)}{limit}"

    def _bar(self):
        """The peak against the limit in characters, which every reader of notebooks shows."""
        if not self.peak_bytes or not self.limit_bytes:
            return ""
        filled = min(BAR_CELLS, max(1, round(BAR_CELLS * self.peak_bytes / self.limit_bytes)))
        return "█" * filled + "░" * (BAR_CELLS - filled)

    def _times(self):
        if self.wall_seconds is None:
            return ""
        parts = [f"{self.wall_seconds:.1f} s"]
        if self.step_seconds:
            steady, count = self.median_step_seconds, len(self.step_seconds)
            shown = f"{steady:.3g} s" if steady >= 1 else f"{1000 * steady:.3g} ms"
            parts.append(f"{count} step{'s' * (count > 1)}, {shown} each (median)")
        if self.samples_per_second:
            parts.append(f"{self.samples_per_second:,.0f} samples/s")
        return " · ".join(parts)

    def _evidence(self):
        """Sentences for a person: the diagnosis where there is one, what helps most, and the note."""
        found = self.diagnosis
        if found is None:
            return [self.note] if self.note else []
        helps = [f"What helps most: {fix.sentence}" for fix in found.fixes[:1]]
        return [found.headline, *found.evidence, *helps, *filter(None, [self.note])]

    def _trace(self):
        """The reader's lines that led to the failure, and the error where no diagnosis tells it."""
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
        shown = "<br>".join(part for part in parts if part)
        if self._evidence():
            items = "".join(f"<li>{html.escape(sentence)}</li>" for sentence in self._evidence())
            shown += f"<ul>{items}</ul>"
        if self._trace():
            shown += f"<pre>{html.escape(self._trace())}</pre>"
        return f'<div role="group" aria-label="outcome of the trial">{shown}</div>'


def _shortened(text, limit=3000):
    return text if len(text) <= limit else f"{text[: limit // 2]}\n[...]\n{text[-limit // 2 :]}"
