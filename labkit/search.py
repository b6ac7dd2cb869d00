"""find_batch_size(): the largest batch size that fits, predicted first and then proved."""

import time
from dataclasses import dataclass

from .console import Progress
from .errors import LabkitError, Stopped
from .estimate import Estimating
from .memory import check_limit, device, format_size
from .run import Trial

BACK_OFF = 0.93  # after a size that did not fit


@dataclass(frozen=True)
class BatchSizeSearch:
    """What the search found.

    batch_size  the largest value proved to fit by a real trial; None if nothing fits
    trials      how many trials it took, the two of the estimate included
    ooms        how many of them ran out of memory
    seconds     how long it all took
    history     (value, Outcome) of each trial at a candidate
    """

    batch_size: int | None
    trials: int
    ooms: int
    seconds: float
    history: list

    def __repr__(self):
        return (
            f"batch size {self.batch_size} fits, found in {self.seconds:.1f} s: "
            f"{self.trials} trials, {self.ooms} out of memory"
        )


def find_batch_size(
    train, *, memory_limit, over="batch_size", maximum=65536, multiple_of=1, timeout=600, seed=0, **params
):  # fmt: skip
    """The largest value of `over` under which `train` fits the memory limit; returns a BatchSizeSearch.

    maximum      the largest value worth having
    multiple_of  only such values, 8 for instance

    Two small trials predict it (see labkit.estimate), then `train` is run in full at what they predict.
    If that does not fit after all, the search goes down by 7 % at a time until it does.
    Raises LabkitError where nothing can be predicted, and for what run() refuses.
    """
    search = Searching(
        train, memory_limit, over, maximum=maximum, multiple_of=multiple_of,
        timeout=timeout, seed=seed, params=params,
    )  # fmt: skip
    return search.run()


class Searching:
    """A search that can be watched and stopped from outside; find_batch_size() is the short form.

    show, options   as for labkit.estimate.Estimating
    """

    def __init__(
        self, train, memory_limit, over="batch_size", show=None, maximum=65536, multiple_of=1, **options
    ):  # fmt: skip
        self.over, self.limit = over, check_limit(memory_limit, device())
        if not (multiple_of >= 1 and maximum >= multiple_of):
            raise LabkitError(f"maximum={maximum!r}, multiple_of={multiple_of!r}: no value is left to try.")
        self._maximum, self._multiple_of = maximum, multiple_of
        self._show, self._stopped, self._train, self._options = show or _Line(self), False, train, options
        self.estimate, self.history = None, []
        self._running = Estimating(train, (4, 8), over, show=self._show, **options)

    def run(self):
        """Search; returns the BatchSizeSearch. Raises Stopped if it was stopped, at whatever moment."""
        start = time.monotonic()
        try:
            self.estimate = self._running.run()
            value = self._first_candidate()
            while value and not self._fits(value):
                value = self._allowed(int(value * BACK_OFF))
        finally:
            self._show.end()
        ooms = sum(outcome.status == "oom" for _, outcome in self.history)
        return BatchSizeSearch(
            value or None, 2 + len(self.history), ooms, time.monotonic() - start, self.history
        )

    def stop(self):
        """End it, from any thread."""
        self._stopped = True
        self._running.stop()

    def _first_candidate(self):
        predicted = self.estimate.largest(self.limit)
        if predicted is None:
            raise LabkitError(
                f"Not even {self.over}=1 is predicted to fit {format_size(self.limit)}: the rest is larger."
            )
        return self._allowed(min(predicted, self._maximum))

    def _allowed(self, value):
        return value // self._multiple_of * self._multiple_of

    def _fits(self, value):
        """Whether a real trial at that value fits; it is added to the history."""
        options = {**self._options, "params": {**self._options["params"], self.over: value}}
        self._running = Trial(self._train, memory_limit=self.limit, show=self._show, **options)
        done = 2 + len(self.history)
        self._show.begin(value, done, done + 1)
        if self._stopped:
            self._running.stop()
        outcome = self._running.run()
        if outcome.status == "stopped":
            raise Stopped("The search was stopped.")
        self.history.append((value, outcome))
        if outcome.status not in ("ok", "oom"):
            raise LabkitError(f"The trial at {self.over}={value} ended otherwise:\n{outcome}")
        return outcome.ok


class _Line(Progress):
    def __init__(self, search):
        super().__init__()
        self._search = search

    def begin(self, value, done, total):
        search = self._search
        doing = f"proving within {format_size(search.limit)}" if search.estimate else "estimating"
        super().begin(f"{doing}, trial {done + 1} · {search.over}={value}")
