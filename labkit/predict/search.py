"""find_batch_size(): the largest batch size that fits, first predicted and then verified by real trials."""

import html
import time
from dataclasses import dataclass

from ..errors import LabkitError, NothingFits
from ..machine import check_limit, device
from ..show import tables
from ..sizes import MIB, format_size
from .estimation import PATIENCE, Estimating
from .prediction import Estimate

CAUTION = 0.98  # times the corrected prediction: the size returned must fit again and again
CLOSE = 0.01  # a relative error this small is not corrected: another limit would fragment memory differently
WORTHWHILE = 1.02  # times a size that fits: a candidate beyond is worth another trial
BACK_OFF = 0.9  # of the memory, and of the size, after one that did not fit
MAX_CANDIDATES = 8
APART = 1.1  # times the largest that fitted: a failure beyond is worth another trial in between
SHORT_EPOCH, LEAST_EPOCHS = 50, 4  # steps: peaks wander from epoch to epoch, so a short one proves little


@dataclass(frozen=True, repr=False)
class BatchSizeSearch:
    """The result of a search.

    over         the parameter that was searched
    limit_bytes  the memory limit
    batch_size   the largest value that fitted in a real trial
    trials       how many trials were run, those of the estimate included
    ooms         how many of them ran out of memory
    seconds      how long the search took
    history      (value, Outcome) of each candidate tried, in order
    estimate     the Estimate that the search started from
    """

    over: str
    limit_bytes: int
    batch_size: int
    trials: int
    ooms: int
    seconds: float
    history: list
    estimate: Estimate

    def plot(self, title=""):
        """The figure: the predicted peak with the limit and the trials."""
        from ..show import sweeps

        return sweeps.prediction(self.estimate, self.limit_bytes, title, self.history)

    @property
    def free_share(self):
        """The share of the limit that the proof of the answer left free, from 0 to 1."""
        peaks = {value: outcome.peak_bytes for value, outcome in self.history if outcome.ok}
        return 1 - peaks[self.batch_size] / self.limit_bytes

    def __repr__(self):
        lines = [self._headline(), *(f"  {self.over}={v}: {outcome.headline}" for v, outcome in self.history)]
        return "\n".join([*lines, f"  Its proof left {100 * self.free_share:.0f} % of the limit free."])

    def _headline(self):
        ooms = f"{self.ooms} out of memory" if self.ooms else "none out of memory"
        return (
            f"{self.over} {self.batch_size} fits {format_size(self.limit_bytes)} · "
            f"{self.trials} trials, {ooms}, {self.seconds:.1f} s"
        )

    def _repr_mimebundle_(self, include=None, exclude=None):
        rows = [{self.over: str(value), "outcome": outcome.headline} for value, outcome in self.history]
        table = tables.html(rows)
        return {"text/plain": repr(self), "text/html": f"<b>{html.escape(self._headline())}</b>{table}"}


def find_batch_size(
    train, *, memory_limit, over="batch_size", at=(4, 8), maximum=65536, multiple_of=1, powers_of_two=False,
    margin=0.0, timeout=600, seed=0, **params,
):  # fmt: skip
    """Find the largest value of `over` at which `train` fits the memory limit; returns a BatchSizeSearch.

    at             the two values that the prediction is made from
    maximum        the largest value to consider
    multiple_of    only consider multiples of this integer
    powers_of_two  only consider 1, 2, 4, 8, ...
    margin         fraction of the limit to keep free, for anything but `train`

    Two or three small trials predict the value (see labkit.Estimate.largest, sure=True). Then `train` is run
    in full at that value, and its peak corrects the prediction; the search goes up while the corrected
    prediction promises 4 % more. After a value that does not fit it goes down, and settles for one that does.
    Raises LabkitError if nothing can be predicted, if not even 1 fits, if a trial fails for another reason
    than memory, and for what run() refuses.

    >>> labkit.find_batch_size(train, memory_limit="256 MiB", multiple_of=8).batch_size
    96
    """
    search = Searching(
        train, memory_limit, over, at=at, maximum=maximum, multiple_of=multiple_of,
        powers_of_two=powers_of_two, margin=margin, timeout=timeout, seed=seed, params=params,
    )  # fmt: skip
    return search.run()


class Searching:
    """A search that can be watched and stopped from outside; find_batch_size() is the short form.

    show, options   as for labkit.predict.estimation.Estimating

    During the search, `estimate` is the Estimate, None before it is made, and `history` lists the candidates
    tried so far.
    """

    def __init__(
        self, train, memory_limit, over="batch_size", show=None, *, at=(4, 8), maximum=65536, multiple_of=1,
        powers_of_two=False, margin=0.0, **options,
    ):  # fmt: skip
        self.over, self.limit = over, check_limit(memory_limit, device())
        self._estimating = Estimating(train, at, over, show, memory_limit=self.limit, **options)
        self._series = self._estimating.series
        _check(self._estimating.at, maximum, multiple_of, powers_of_two, margin)
        self._free = _whole_mib(self.limit * (1 - margin))
        self._maximum, self._multiple_of, self._powers = maximum, multiple_of, powers_of_two
        self.estimate, self.history = None, []

    def run(self):
        """Search; returns the BatchSizeSearch. Raises Stopped if it was stopped at any point."""
        start = time.monotonic()
        try:
            self.estimate = self._estimating.run()
            self.estimate.check_searchable()
            value = self._first()
            while value:
                self._try(value)
                value = self._next()
        finally:
            self._series.show.end()
        return self._result(time.monotonic() - start)

    def stop(self):
        """End it, from any thread."""
        self._series.stop()

    @property
    def _fitting(self):
        return max((value for value, outcome in self.history if outcome.ok), default=0)

    def _next(self):
        """The next candidate; None if there is none worth a trial."""
        value, outcome = self.history[-1]
        if len(self.history) == MAX_CANDIDATES:
            return None
        if not self._fitting:
            return self._lower(value)
        refused = min((value for value, outcome in self.history if not outcome.ok), default=None)
        if refused is None:
            return self._higher(value, outcome)
        return self._between(refused)

    def _between(self, refused):
        """A value between the largest that fitted and the smallest that did not, if they are far apart."""
        fitting = self._fitting
        if refused <= APART * fitting:
            return None
        peak = dict(self.history)[fitting].peak_bytes
        promised = fitting * self._free / peak if peak else fitting
        middle = self._allowed(round(min(max(promised, (fitting * refused) ** 0.5), 0.95 * refused)))
        return middle if middle > fitting and middle not in dict(self.history) else None

    def _first(self):
        largest = self.estimate.largest(self._free, sure=True)
        if largest is None:
            at_one = format_size(self.estimate.peak_bytes(1))
            raise NothingFits(
                f"Not even {self.over}=1 is predicted to fit {format_size(self._free)}: it takes {at_one}. "
                f"Raise the limit or make the model smaller. {self.estimate.layers(1).heading}"
            )
        return self._allowed(largest) or self._allowed(self.estimate.largest(self._free) or 0)

    def _allowed(self, value):
        """The largest allowed value up to this one, 0 if none."""
        value = min(value, self._maximum)
        if self._powers:
            return 2 ** (value.bit_length() - 1) if value else 0
        return value // self._multiple_of * self._multiple_of

    def _higher(self, value, outcome):
        """The next candidate after one that fits, from its peak; None if no larger one is promising."""
        correction = outcome.peak_bytes / self.estimate.peak_bytes(value, self._free)
        limit = self._free
        if abs(correction - 1) > CLOSE:
            limit = min(_whole_mib(limit / correction), device().memory_bytes)
        larger = self._allowed(round(CAUTION * (self.estimate.largest(limit) or 0)))
        return larger if larger > WORTHWHILE * value else None

    def _lower(self, value):
        """The next candidate after one that does not fit, while none has."""
        if len(self.history) > 1:  # `train` takes more than the small trials could show
            return self._allowed(value // 2)
        less = int(value * BACK_OFF)
        return self._allowed(
            min(less, self.estimate.largest(_whole_mib(self._free * BACK_OFF), sure=True) or less)
        )

    def _try(self, value):
        """Run a real trial at that value and add it to the history."""
        done, doing = self.estimate.trials + len(self.history), f"verifying under {format_size(self.limit)}"
        outcome = self._series.run(
            value, done, None, doing,
            memory_limit=self._free, patience=PATIENCE, least_epochs=self._epochs(value),
        )  # fmt: skip
        if outcome.status not in ("ok", "oom"):
            raise LabkitError(f"The trial at {self.over}={value} failed:\n{outcome}")
        self.history.append((value, outcome))
        return outcome

    def _epochs(self, value):
        """How many epochs a proof trains at least: several if they are short."""
        steps = self.estimate.steps_of_an_epoch(value)
        return LEAST_EPOCHS if steps and steps < SHORT_EPOCH else 1

    def _result(self, seconds):
        if not self._fitting:
            tried = ", ".join(str(value) for value, _ in self.history) or "none"
            raise NothingFits(
                f"No allowed value of {self.over} fits {format_size(self._free)} (tried: {tried})."
            )
        trials = self.estimate.trials + len(self.history)
        ooms = self.estimate.ooms + sum(not outcome.ok for _, outcome in self.history)
        return BatchSizeSearch(
            self.over, self.limit, self._fitting, trials, ooms, seconds, self.history, self.estimate
        )


def _whole_mib(size):
    """The size in bytes rounded down to MiB, as TensorFlow takes a limit, and at least one."""
    return max(MIB, int(size) // MIB * MIB)


def _check(at, maximum, multiple_of, powers_of_two, margin):
    if powers_of_two and multiple_of != 1:
        raise LabkitError("Give multiple_of or powers_of_two, not both.")
    if not (isinstance(maximum, int) and isinstance(multiple_of, int)):
        raise LabkitError(f"maximum={maximum!r}, multiple_of={multiple_of!r}: give integers.")
    if not (multiple_of >= 1 and maximum >= multiple_of):
        raise LabkitError(f"maximum={maximum!r}, multiple_of={multiple_of!r} leave no value to try.")
    if not 0 <= margin < 0.9:
        raise LabkitError(f"margin={margin!r}: give the fraction of the limit to keep free, such as 0.05.")
    if maximum == 1:
        raise LabkitError("maximum=1 leaves nothing to search: labkit.run() shows whether 1 fits.")
    if maximum < max(at):
        raise LabkitError(
            f"maximum={maximum!r} is less than the values that the prediction is made from: give two values "
            f"up to it, such as at=({maximum // 2}, {maximum})."
        )
