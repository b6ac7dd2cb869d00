"""sweep(): trials for a grid of values of one parameter."""

import csv
import io
from collections.abc import Sequence

from ..errors import LabkitError, Stopped
from ..sizes import format_size, plain
from .console import Progress
from .series import Series

COLUMNS = (
    "status",
    "peak_bytes",
    "limit_bytes",
    "samples_per_second",
    "step_seconds",
    "wall_seconds",
    "host_peak_bytes",
    "failed_layer",
)


def sweep(
    train, *, memory_limit=None, over="batch_size", values, profile=False, stop_at_oom=True, repeats=1,
    timeout=120, seed=0, **params,
):  # fmt: skip
    """Run a trial for each of `values` of the parameter `over`; returns the Sweep.

    values        such as [16, 32, 64]; sequence lengths, optimizers or policies for other parameters
    stop_at_oom   skip the remaining values after the first that does not fit
    repeats       how many trials to run of each value; their peaks can differ a little

    The other parameters are those of labkit.run. Interrupting the cell stops the sweep: its outcomes are
    kept, and `Sweep.resume()` continues it. Raises LabkitError for an empty grid and for what run() refuses.

    >>> labkit.sweep(train, memory_limit="256 MiB", values=[8, 16, 32, 64]).frontier
    32
    """
    new = Sweep(
        train, over, values, repeats, stop_at_oom,
        memory_limit=memory_limit, profile=profile, timeout=timeout, seed=seed, params=params,
    )  # fmt: skip
    return new.resume()


class Sweep(Sequence):
    """The outcomes of a sweep, in order: `sweep[0]`, `len(sweep)`, `for outcome in sweep`.

    over, values   the parameter and the grid
    tried          (value, Outcome) of each trial made so far
    frontier       the largest value that fitted every time, None if none did; of values that are not
                   numbers, the last one that fitted
    """

    def __init__(self, train, over, values, repeats=1, stop_at_oom=True, show=None, **options):
        self.over = over
        try:
            self.values = list(map(plain, values))
        except TypeError:
            raise LabkitError(f"values={values!r}: give several, such as values=[16, 32, 64].") from None
        if not self.values:
            raise LabkitError("The grid is empty: give values, such as values=[16, 32, 64].")
        repeats = plain(repeats)
        if not (isinstance(repeats, int) and repeats >= 1):
            raise LabkitError(f"repeats={repeats!r}: give an integer of at least 1.")
        self._series = Series(train, over, show or Progress(over), **options)
        self._stop_at_oom = stop_at_oom
        self._left = [value for value in self.values for _ in range(repeats)]
        self.tried = []
        self._series.check(self.values[0])

    @property
    def finished(self):
        """Whether all values have been tried or skipped."""
        return not self._left

    def resume(self):
        """Run the remaining trials; returns this Sweep."""
        self._series.stopped, total = False, len(self._left) + len(self.tried)
        try:
            while self._left and not self._series.stopped:
                value = self._left[0]
                outcome = self._series.run(value, len(self.tried), total)
                self._left.pop(0)
                self.tried.append((value, outcome))
                if outcome.status == "oom" and self._stop_at_oom:
                    self._left.clear()
        except (Stopped, KeyboardInterrupt):  # between two trials, where none takes it
            pass
        finally:
            self._series.show.end()
        return self

    def stop(self):
        """End the running trial and the sweep, from any thread; `resume` continues with that trial."""
        self._series.stop()

    @property
    def frontier(self):
        failed = {repr(value) for value, outcome in self.tried if not outcome.ok}  # a list has no hash
        fits = [value for value, _ in self.tried if repr(value) not in failed]
        numeric = all(isinstance(value, int | float) for value in fits)
        return max(fits, default=None) if numeric else fits[-1]

    @property
    def summary(self):
        """What was found, in a few words: without a limit, up to what peak the values went."""
        ended = [(value, outcome) for value, outcome in self.tried if outcome.ok]
        refused = any(outcome.status == "oom" for _, outcome in self.tried)
        limited = refused or any(outcome.limit_bytes for _, outcome in self.tried)
        if limited and self.frontier is not None:
            return f"{self.over} {self.frontier} fits"
        if refused:
            return "nothing fits"
        if not ended:
            return f"no value of {self.over} ran to its end"
        (first, _), (last, _) = ended[0], ended[-1]
        peak = max((outcome.peak_bytes or 0 for _, outcome in ended))
        values = f"{self.over} {first}" + (f" to {last}" if str(last) != str(first) else "")
        return f"{values}: peak up to {format_size(peak)}" if peak else f"{values} ran to the end"

    def to_dict(self):
        """{"over": ..., "trials": [{over: value, "status": ..., "peak_bytes": ..., ...}]}, ready for JSON."""
        return {"over": self.over, "trials": [self._facts(value, outcome) for value, outcome in self.tried]}

    def to_csv(self, path=None):
        """The trials as CSV text, one per line; also written to `path` if given."""
        text = io.StringIO()
        writer = csv.DictWriter(text, (self.over, *COLUMNS))
        writer.writeheader()
        writer.writerows(self.to_dict()["trials"])
        if path:
            with open(path, "w", newline="") as file:
                file.write(text.getvalue())
        return text.getvalue()

    def plot(self, title=""):
        """The figure: peak against the parameter with the limit, and samples per second alongside."""
        from ..show import sweeps

        return sweeps.sweeps({"": self}, f"{title}: {self.summary}" if title else self.summary)

    def __len__(self):
        return len(self.tried)

    def __getitem__(self, place):
        return [o for _, o in self.tried][place]

    def __repr__(self):
        lines = [f"{self.over}={value}: {outcome.headline}" for value, outcome in self.tried]
        left = [f"{len(self._left)} not tried yet: resume() continues"] if self._left else []
        return "\n".join([*lines, *left])

    def _facts(self, value, outcome):
        plain = value if isinstance(value, int | float | str) else str(value)
        facts = {column: getattr(outcome, column, None) for column in COLUMNS}
        facts["step_seconds"] = outcome.median_step_seconds
        facts["failed_layer"] = outcome.diagnosis.layer if outcome.diagnosis else None
        return {self.over: plain, **facts}
