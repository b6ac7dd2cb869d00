"""compare(): outcomes before and after a fix, in one table and one figure."""

import numbers

from ..errors import LabkitError
from ..outcome import Outcome
from ..show import tables
from ..sizes import format_rate, format_size, three_digits

NOTHING = "·"
COLUMNS = ("outcome", "peak", "vs first", "ms per step", "samples/s", "host peak")


def compare(outcomes, result="result"):
    """Put outcomes side by side: how each ended, its memory and speed, and what `train` returned.

    outcomes   a dict of label -> Outcome; the peaks are given relative to the first
    result     heading of the column for what `train` returned, shown if that is a number or a string

    Raises LabkitError for anything but a dict of Outcomes, and for the heading of another column.

    >>> labkit.compare({"float32": before, "float16": after}, result="accuracy")
             outcome       peak  vs first  ms per step  samples/s  host peak  accuracy
    float32  ✓ it fits  285 MiB                   48.1        665    612 MiB     0.964
    float16  ✓ it fits  159 MiB    0.56 x         71.0        451    598 MiB     0.961
    """
    if not isinstance(outcomes, dict) or not outcomes:
        raise LabkitError('compare() takes a dict of outcomes by label: compare({"before": a, "after": b}).')
    for label, outcome in outcomes.items():
        if not isinstance(outcome, Outcome):
            raise LabkitError(f"{label!r} is not the outcome of a trial: {outcome!r}.")
    if not isinstance(result, str) or result in ("", *COLUMNS):
        raise LabkitError(
            f"result={result!r}: give a heading of its own to what `train` returned, such as 'accuracy'."
        )
    return Comparison(outcomes, result)


class Comparison:
    """Outcomes side by side: a table in a notebook or as text, a figure with `.plot()`.

    .outcomes   dict of label -> Outcome, as given
    .rows       the table as a list of dicts, heading -> text of the cell
    """

    def __init__(self, outcomes, result="result"):
        self.outcomes, self._result = dict(outcomes), result

    @property
    def rows(self):
        first = next(iter(self.outcomes.values()))
        rows = [
            {"": str(label), **_cells(outcome, first, self._result)}
            for label, outcome in self.outcomes.items()
        ]
        headings = [name for name in rows[0] if any(row[name] != NOTHING for row in rows)]
        return [{name: row[name] for name in headings} for row in rows]

    def plot(self, title=""):
        """The peaks with their limits, and the samples per second alongside; the lowest peak as the title."""
        from ..show import bars

        return bars.outcomes(self.outcomes, title or self._lowest())

    def _lowest(self):
        peaks = {label: outcome.peak_bytes for label, outcome in self.outcomes.items() if outcome.ok}
        peaks = {label: peak for label, peak in peaks.items() if peak is not None}
        lowest = min(peaks, key=peaks.get, default=None)
        return "" if lowest is None else f"Lowest peak: {lowest}, {format_size(peaks[lowest])}"

    def __str__(self):
        return tables.text(self.rows)

    __repr__ = __str__

    def _repr_html_(self):
        return tables.html(self.rows)


def _cells(outcome, first, result):
    """The table's cells for one outcome."""
    cells = dict.fromkeys([*COLUMNS, result], NOTHING)
    cells["outcome"] = outcome.ending
    if outcome.peak_bytes is not None:
        cells["peak"] = format_size(outcome.peak_bytes)
    if outcome.samples_per_second:
        cells["samples/s"] = format_rate(outcome.samples_per_second)
    if outcome.host_peak_bytes:
        cells["host peak"] = format_size(outcome.host_peak_bytes)
    if (
        outcome is not first
        and outcome.ok
        and first.ok
        and first.peak_bytes
        and outcome.peak_bytes is not None
    ):
        cells["vs first"] = f"{outcome.peak_bytes / first.peak_bytes:.2f} x"
    if outcome.step_seconds:
        cells["ms per step"] = three_digits(1000 * outcome.median_step_seconds)
    if isinstance(outcome.result, numbers.Integral | str):
        cells[result] = str(outcome.result)
    elif isinstance(outcome.result, numbers.Real):
        cells[result] = f"{float(outcome.result):.4g}"
    return cells
