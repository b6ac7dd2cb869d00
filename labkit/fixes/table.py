"""FixTrials: what each fix saves and costs, as a table, a figure, and data."""

import contextlib
import html
import math
import re

from ..errors import NothingFits
from ..explain.fixes import LESSONS
from ..show import tables
from ..sizes import format_rate, format_size

AS_IT_IS = "the code as it is"
FOLLOWING = "another training"
SAVES = 0.02  # of the peak: less is not worth a change
NO_LOSS = "No loss was seen: whether it stays the same was not measured."


class Row:
    """One way of training.

    name                of the fix, or of several together
    code                what to change in the reader's own program
    applies, why_not    whether the fix can be applied, and a sentence if it cannot
    peak_bytes          at the batch size asked for; None where memory ran out
    predicted           whether it is only predicted: memory ran out with the code as it is
    saved_bytes         less than the code as it is; negative if it takes more
    samples_per_second  over a few steps, recorded: for comparison within one table
    largest             batch size that fits the memory limit, predicted; None without a limit
    loss, same_result   the mean loss over `samples` samples, and whether it differs from that of the code as
                        it is by no more than `tolerance` (a fraction); None where it is another training, or
                        where there is none to compare with
    lesson              file of the lesson that explains it
    """

    def __init__(self, name, fixes, outcome=None, program=None, why_not=""):
        self.name, self.fixes, self.outcome, self.program = name, fixes, outcome, program
        self.why_not, self.code, self.estimate, self.largest = why_not, "", None, None
        self.lesson = LESSONS.get(fixes[0].lesson, "") if fixes else ""
        self.divides = math.prod(fix.divides for fix in fixes)
        self.measured = outcome is not None and outcome.ok and outcome.peak_bytes is not None
        self.peak_bytes = outcome.peak_bytes if self.measured else None
        self.samples_per_second = outcome.samples_per_second if self.measured else None
        self.predicted = False
        self.saved_bytes = self.same_result = self.loss = self.samples = self.difference = None
        tolerances = [fix.tolerance for fix in fixes]
        self.tolerance = None if None in tolerances else max(tolerances, default=0)

    @property
    def applies(self):
        return not self.why_not

    def saves(self, first):
        """Whether it takes clearly less than the code as it is; if that peak is unknown, whether it fits."""
        return bool(self.peak_bytes) and self.peak_bytes < (1 - SAVES) * (first.peak_bytes or math.inf)

    @property
    def runs_out(self):
        """Whether memory ran out in its trial."""
        return self.outcome is not None and self.outcome.status == "oom"

    @property
    def losses(self):
        """{number of batches of the code as it is: mean loss over as many samples}."""
        seen = self.program.losses if self.program else {}
        return {n // self.divides: loss for n, loss in seen.items() if n % self.divides == 0}

    @property
    def keeps_the_result(self):
        """Whether it is the same training, and nothing that was seen speaks against that."""
        return self.tolerance is not None and self.same_result is not False

    @property
    def loss_kind(self):
        """same_result, but "unknown" where it is the same training and there is no loss to compare."""
        return "unknown" if self.tolerance is not None and self.same_result is None else self.same_result

    def fits(self, limit):
        """Whether it fits a limit in bytes. What ran out of memory under that limit does not."""
        if self.runs_out and (self.outcome.limit_bytes or 0) >= limit:
            return False
        return bool(self.peak_bytes) and self.peak_bytes <= limit

    def failure(self):
        """Why its trial failed for another reason than memory; "" if it did not."""
        if self.outcome is None or self.outcome.ok or self.runs_out:
            return ""
        return f"With it, training fails: {_essence(self.outcome.error)}"

    def predict(self, estimate, value):
        """Take the peak from an Estimate."""
        self.peak_bytes = estimate.peak_bytes(value)
        self.estimate, self.predicted = estimate, True

    def compare_with(self, first, reference):
        """Fill in what is relative to the code as it is, and the loss relative to that of a Row, if any."""
        if not self.applies:
            return
        if self.peak_bytes and first.peak_bytes:
            self.saved_bytes = first.peak_bytes - self.peak_bytes
        if self.tolerance is None or reference in (None, self):
            return
        ours, theirs = self.losses, reference.losses
        if common := ours.keys() & theirs.keys():
            last = max(common)
            self.loss, before = ours[last], theirs[last]
            self.samples = last * first.program.training_size
            self.difference = abs(self.loss - before) / (abs(before) or 1)
            self.same_result = self.difference <= self.tolerance

    def find_largest(self, estimate, limit):
        """Predict the largest batch under the limit, from an Estimate of its trials."""
        self.estimate = estimate
        with contextlib.suppress(NothingFits):
            self.largest = (estimate.largest(limit) or 0) * self.divides

    def to_dict(self):
        """For JSON."""
        names = (
            "name", "code", "applies", "why_not", "peak_bytes", "predicted", "saved_bytes",
            "samples_per_second", "largest", "loss", "samples", "difference", "tolerance", "same_result",
            "lesson",
        )  # fmt: skip
        return {name: getattr(self, name) for name in names}

    def __repr__(self):
        return f"<{self.name}: {self.peak_text() if self.applies else self.why_not}>"

    def peak_text(self):
        """The peak in words."""
        if self.peak_bytes is None:
            limit = self.outcome.limit_bytes
            return f"over {format_size(limit)}" if limit else "out of memory"
        return format_size(self.peak_bytes) + (" predicted" if self.predicted else "")


class FixTrials:
    """What became of each fix.

    rows         a Row for the code as it is, then those of fixes that apply, the largest saving first, then
                 the others
    over, value  the parameter that is the batch size, and its value
    limit_bytes  the memory limit, or None
    seconds      how long the trials took
    notes        sentences on what is predicted, not measured, and on mistakes of the program
    """

    def __init__(self, rows, over, value, limit_bytes, seconds, notes=()):
        first, *others = rows
        others.sort(key=lambda row: (not row.applies, row.peak_bytes or float("inf")))
        self.rows, self.over, self.value = [first, *others], over, value
        self.limit_bytes, self.seconds = limit_bytes, seconds
        mistake = first.program.note if first.program else ""
        tried = any(row.applies and row.keeps_the_result for row in others)
        self._saw_losses = any(row.losses for row in rows)
        self.notes = [note for note in (mistake, *notes) if note]
        self.notes += [NO_LOSS] if tried and not self._saw_losses else []

    def __getitem__(self, name):
        return next(row for row in self.rows if row.name == name)

    def __iter__(self):
        return iter(self.rows)

    def __len__(self):
        return len(self.rows)

    def best(self):
        """The Row to take; None if no fix helps.

        Under a limit that the code as it is does not meet: of those that do, and leave the result as it is,
        the fastest; where none does, the fastest of those that are another training. Without a limit, or
        where the code fits already: the one that saves most, and clearly, and leaves the result as it is.
        Where no loss was seen, a fix is taken at its word that it does.
        """
        first, *others = [row for row in self.rows if row.applies and row.peak_bytes or row is self.rows[0]]
        kept = [row for row in others if row.keeps_the_result]
        if self.limit_bytes and not self.fits:
            fitting = [row for row in kept if self._fits(row)] or [row for row in others if self._fits(row)]
            return max(fitting, key=lambda row: row.samples_per_second or 0, default=None)
        kept = [row for row in kept if row.same_result or not self._saw_losses]
        saving = [row for row in kept if row.saved_bytes is not None and row.saves(first)]
        return max(saving, key=lambda row: row.saved_bytes, default=None)

    @property
    def fits(self):
        """Whether the code as it is fits the limit."""
        return bool(self.limit_bytes) and self._fits(self.rows[0])

    def _fits(self, row):
        return row.fits(self.limit_bytes)

    def plot(self, title=""):
        """The figure: the peak of each beside its speed, with the limit."""
        from ..show import bars

        points = [
            (row.name, row.peak_bytes, row.samples_per_second, row.loss_kind)
            for row in self.rows
            if row.peak_bytes and row.applies
        ]
        return bars.bytes_against_speed(points, self.limit_bytes, title or self._headline())

    def to_dict(self):
        """For JSON."""
        return {
            "over": self.over, "value": self.value, "limit_bytes": self.limit_bytes, "seconds": self.seconds,
            "notes": self.notes, "rows": [row.to_dict() for row in self.rows],
        }  # fmt: skip

    def _headline(self):
        first, best = self.rows[0], self.best()
        start = f"{self.over} {self.value} takes {first.peak_text()}"
        if self.limit_bytes and first.peak_bytes is not None:
            fits = "fits" if self.fits else "does not fit"
            start += f" and {fits} {format_size(self.limit_bytes)}"
        if best is None:
            missing = "fits" if self.limit_bytes and not self.fits else "saves memory and keeps the loss"
            return f"{start} · nothing tried here {missing}"
        return f"{start} · best: {best.name}, {format_size(best.peak_bytes)}"

    def _table(self):
        return [self._cells(row) for row in self.rows if row.applies]

    def _cells(self, row):
        fits = "" if not self.limit_bytes else " ✓" if self._fits(row) else " ✗"
        cells = {
            "": row.name,
            "peak": row.peak_text() + fits,
            "saves": _signed(row.saved_bytes),
            "samples/s": format_rate(row.samples_per_second) if row.samples_per_second else "·",
        }
        if self.limit_bytes:
            cells["largest"] = "·" if row.largest is None else str(row.largest)
        return cells | {"same loss": _same(row)}

    def _not_applied(self):
        return [f"{row.name}: {row.why_not}" for row in self.rows if not row.applies]

    def _notes(self):
        best = self.best()
        code = [f"{best.name}, in your code:\n\n" + _indented(best.code)] if best is not None else []
        return [*self.notes, *code]

    def __repr__(self):
        parts = [self._headline(), tables.text(self._table())]
        if refused := self._not_applied():
            parts.append("\n".join(["Not applied:", *(f"  {line}" for line in refused)]))
        return "\n\n".join([*parts, *self._notes()])

    def _repr_mimebundle_(self, include=None, exclude=None):
        refused = "".join(f"<li>{html.escape(line)}</li>" for line in self._not_applied())
        notes = "".join(f"<pre>{html.escape(note)}</pre>" for note in self._notes())
        page = (
            f"<b>{html.escape(self._headline())}</b>{tables.html(self._table())}{notes}"
            f"<details><summary>Not applied: {len(self._not_applied())}</summary><ul>{refused}</ul></details>"
        )
        return {"text/plain": repr(self), "text/html": page}


def _essence(error):
    """The line of an error's message that says what is wrong: Keras writes it in bold, between others."""
    message = error.message if error and error.message else "the process was ended"
    bold = re.search(r"\x1b\[1m(.+?)\x1b\[0m", message, re.DOTALL)
    lines = [line.strip() for line in (bold[1] if bold else message).splitlines() if line.strip()]
    said = [line for line in lines if not line.startswith(("[[", "[Op:"))] or lines
    return said[-1] if said[0].endswith(":") else said[0]


def _signed(saved):
    if saved is None:
        return "·"
    return format_size(saved) if saved >= 0 else f"-{format_size(-saved)}"


def _same(row):
    if row.difference is not None:
        return f"{'yes' if row.same_result else 'no'}, {100 * row.difference:.2g} % apart"
    return FOLLOWING if row.fixes and row.tolerance is None else "·"


def _indented(code):
    return "\n".join(f"    {line}" if line else "" for line in code.splitlines())
