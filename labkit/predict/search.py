"""find_batch_size(): the largest batch size that fits, first predicted and then verified by real trials."""

import html
import numbers
import time
from dataclasses import dataclass

from ..errors import LabkitError, NothingFits
from ..machine import check_limit, device
from ..show import tables
from ..sizes import MIB, counted, format_size, plain
from .estimation import PATIENCE, Estimating
from .prediction import Estimate

CAUTION = 0.98  # times the corrected prediction: the size returned must fit again and again
SPREAD = 0.02  # of the limit: what a proof does without, for the peak differs from run to run
MOST_SPREAD = 0.1  # of the peak: what rises by more in the second half of a proof does other work there
FEW_STEPS = 20  # a proof of fewer says little about a longer training
CLOSE = 0.01  # a relative error this small is not corrected: another limit would fragment memory differently
WORTHWHILE = 1.02  # times a size that fits: a candidate beyond is worth another trial
BACK_OFF = 0.9  # of the memory, and of the size, after one that did not fit
MAX_CANDIDATES = 8
ROOMY = 0.85  # of the limit: where a proof takes less, the gaps predicted for larger values may not be there
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
        """The figure: the predicted peak with the limit, the trials and the answer."""
        from ..show import sweeps

        return sweeps.prediction(self.estimate, self.limit_bytes, title, self.history, self.batch_size)

    @property
    def proof(self):
        """The Outcome of the trial that proved the answer. It ran under 2 % less than the limit."""
        return next(outcome for value, outcome in self.history if value == self.batch_size and outcome.ok)

    @property
    def free_share(self):
        """The share of the limit that the proof of the answer left free, from 0 to 1."""
        return 1 - self.proof.peak_bytes / self.limit_bytes

    @property
    def spread_share(self):
        """By how much of the limit the peak rose in the second half of the proof, from 0 to 1."""
        return spread(self.proof) / self.limit_bytes

    @property
    def notes(self):
        """Sentences on how sure it is that a longer training fits as well."""
        steps, limit = len(self.proof.step_peak_bytes), format_size(self.proof.limit_bytes)
        notes = [
            f"Its proof made {counted(steps, 'step')} under {limit}. In the second half of them the peak "
            f"rose by {100 * self.spread_share:.1f} % of the limit; {100 * self.free_share:.0f} % are free "
            "for more."
        ]
        if steps < FEW_STEPS:
            notes.append("So few steps say little about a longer training.")
        if self.spread_share > self.free_share:
            notes.append("That may not be enough for a longer training: a smaller value is safer.")
        return notes

    def __repr__(self):
        lines = [self._headline(), *(f"  {self.over}={v}: {outcome.headline}" for v, outcome in self.history)]
        return "\n".join([*lines, *(f"  {note}" for note in self.notes)])

    def _headline(self):
        ooms = f"{self.ooms} out of memory" if self.ooms else "none out of memory"
        return (
            f"{self.over} {self.batch_size} fits {format_size(self.limit_bytes)} · "
            f"{counted(self.trials, 'trial')}, {ooms}, {self.seconds:.1f} s"
        )

    def _repr_mimebundle_(self, include=None, exclude=None):
        rows = [{self.over: str(value), "outcome": outcome.headline} for value, outcome in self.history]
        text = f"<b>{html.escape(self._headline())}</b>{tables.html(rows)}<p>{' '.join(self.notes)}</p>"
        return {"text/plain": repr(self), "text/html": text}


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
    in full at that value, for four epochs if they are short, under 2 % less than the limit: what fits there
    goes on fitting. Its peak corrects the prediction; the search goes up while the corrected prediction
    promises 4 % more. After a value that does not fit, or whose peak rises so much during its proof that as
    much again would not fit, it goes down, and comes back up while more than 10 % lie in between.
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
        maximum, multiple_of = plain(maximum), plain(multiple_of)
        self._estimating = Estimating(train, at, over, show, memory_limit=self.limit, **options)
        self._series = self._estimating.series
        _check(self._estimating.at, maximum, multiple_of, powers_of_two, margin)
        self._free = _whole_mib(self.limit * (1 - margin))
        self._tight = _whole_mib(self._free * (1 - SPREAD))
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
    def _lasting(self):
        """The largest value that fitted and goes on fitting, as far as its proof tells."""
        return max((value for value, outcome in self.history if self._lasts(outcome)), default=0)

    def _lasts(self, outcome):
        return outcome.ok and outcome.peak_bytes + spread(outcome) <= self._free

    def _next(self):
        """The next candidate; None if there is none worth a trial."""
        value, outcome = self.history[-1]
        if len(self.history) == MAX_CANDIDATES:
            return None
        if not self._lasting:
            return self._lower(value, outcome)
        refused = min((value for value, outcome in self.history if not self._lasts(outcome)), default=None)
        if refused is None:
            return self._higher(value, outcome)
        return self._between(refused)

    def _between(self, refused):
        """A value between the largest that lasts and the smallest that does not, if they are far apart.

        None if no larger one was predicted to fit either.
        """
        lasting = self._lasting
        predicted = self.estimate.largest(self._tight) or 0
        if refused <= APART * lasting or predicted <= WORTHWHILE * lasting:
            return None
        tried = dict(self.history)
        peak = tried[lasting].peak_bytes
        promised = lasting * self._tight / peak if peak else lasting
        middle = self._allowed(round(min(max(promised, (lasting * refused) ** 0.5), 0.95 * refused)))
        return middle if middle not in tried else None

    def _first(self):
        largest = self.estimate.largest(self._tight, sure=True)
        if largest is None:
            raise NothingFits(
                f"Not even {self.over}=1 is predicted to fit {format_size(self._tight)}. Raise the limit or "
                f"make the model smaller: {self.estimate.what_is_too_large(self._tight)}"
            )
        return self._allowed(largest) or self._allowed(self.estimate.largest(self._tight) or 0)

    def _allowed(self, value):
        """The largest allowed value up to this one, 0 if none."""
        value = min(value, self._maximum)
        if self._powers:
            return 2 ** (value.bit_length() - 1) if value else 0
        return value // self._multiple_of * self._multiple_of

    def _higher(self, value, outcome):
        """The next candidate after one that fits, from its peak; None if no larger one is promising."""
        correction = outcome.peak_bytes / self.estimate.peak_bytes(value, self._tight)
        limit = _whole_mib(self._tight - spread(outcome))
        if abs(correction - 1) > CLOSE:
            limit = _whole_mib(limit / correction)
        larger = self._allowed(round(CAUTION * (self.estimate.largest(limit) or 0)))
        if larger <= WORTHWHILE * value and outcome.peak_bytes < ROOMY * self._tight:
            larger = self._allowed(self.estimate.largest_by_peak(CAUTION * limit, value))
        return larger if larger > WORTHWHILE * value else None

    def _lower(self, value, outcome):
        """The next candidate after one that does not fit, or does not last, while none has."""
        if outcome.ok:
            expected = outcome.peak_bytes + spread(outcome)
            return self._allowed(int(value * min(CAUTION, self._free / expected)))
        if len(self.history) > 1:  # `train` takes more than the small trials could show
            return self._allowed(value // 2)
        less = int(value * BACK_OFF)
        return self._allowed(
            min(less, self.estimate.largest(_whole_mib(self._tight * BACK_OFF), sure=True) or less)
        )

    def _try(self, value):
        """Run a real trial at that value and add it to the history."""
        done, doing = self.estimate.trials + len(self.history), f"verifying under {format_size(self._tight)}"
        outcome = self._series.run(
            value, done, None, doing,
            memory_limit=self._tight, patience=PATIENCE, least_epochs=self._epochs(value),
        )  # fmt: skip
        if outcome.status not in ("ok", "oom"):
            raise LabkitError(f"The trial at {self.over}={value} failed:\n{outcome}")
        self.history.append((value, outcome))

    def _epochs(self, value):
        """How many epochs a proof trains at least: several if they are short."""
        steps = self.estimate.steps_of_an_epoch(value)
        return LEAST_EPOCHS if steps and steps < SHORT_EPOCH else 1

    def _result(self, seconds):
        answer = self._lasting or max((value for value, outcome in self.history if outcome.ok), default=0)
        if not answer:
            tried = ", ".join(str(value) for value, _ in self.history) or "none"
            raise NothingFits(
                f"No allowed value of {self.over} fits {format_size(self._free)} (tried: {tried})."
            )
        trials = self.estimate.trials + len(self.history)
        ooms = self.estimate.ooms + sum(not outcome.ok for _, outcome in self.history)
        return BatchSizeSearch(
            self.over, self.limit, answer, trials, ooms, seconds, self.history, self.estimate
        )


def spread(outcome):
    """Bytes by which the peak rose in the second half of the steps, as it goes on rising in later epochs.

    A rise by more than a tenth is no spread: other work began.
    """
    peaks = outcome.step_peak_bytes
    rise = peaks[-1] - peaks[len(peaks) // 2] if peaks else 0
    return rise if rise <= MOST_SPREAD * outcome.peak_bytes else 0


def _whole_mib(size):
    """The size in bytes rounded down to MiB, as TensorFlow takes a limit, and at least one."""
    return max(MIB, int(size) // MIB * MIB)


def _check(at, maximum, multiple_of, powers_of_two, margin):
    if powers_of_two and multiple_of != 1:
        raise LabkitError("Give multiple_of or powers_of_two, not both.")
    if isinstance(at, dict):
        raise LabkitError(f"find_batch_size() takes one parameter to search, not {', '.join(at)}.")
    if not (isinstance(maximum, int) and isinstance(multiple_of, int)):
        raise LabkitError(f"maximum={maximum!r}, multiple_of={multiple_of!r}: give integers.")
    if not (multiple_of >= 1 and maximum >= multiple_of):
        raise LabkitError(f"maximum={maximum!r}, multiple_of={multiple_of!r} leave no value to try.")
    if not (isinstance(margin, numbers.Real) and 0 <= margin < 0.9):
        raise LabkitError(f"margin={margin!r}: give the fraction of the limit to keep free, such as 0.05.")
    if maximum == 1:
        raise LabkitError("maximum=1 leaves nothing to search: labkit.run() shows whether 1 fits.")
    if maximum < max(at):
        raise LabkitError(
            f"maximum={maximum!r} is less than the values that the prediction is made from: give two values "
            f"up to it, such as at=({maximum // 2}, {maximum})."
        )
