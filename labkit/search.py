"""find_batch_size(): the largest batch size that fits, predicted first and then proved."""

import time
from dataclasses import dataclass

from .errors import LabkitError
from .estimate import estimate
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
    start, limit = time.monotonic(), check_limit(memory_limit, device())
    if not (multiple_of >= 1 and maximum >= multiple_of):
        raise LabkitError(f"maximum={maximum!r}, multiple_of={multiple_of!r}: no value is left to try.")
    predicted = estimate(train, over=over, seed=seed, **params).largest(limit)
    if predicted is None:
        raise LabkitError(f"Not even {over}=1 is predicted to fit {format_size(limit)}: the rest is larger.")
    value, history = min(predicted, maximum) // multiple_of * multiple_of, []
    while value:
        options = {"memory_limit": limit, "timeout": timeout, "seed": seed}
        outcome = Trial(train, params={**params, over: value}, **options).run()
        history.append((value, outcome))
        if outcome.status != "oom":
            break
        value = int(value * BACK_OFF) // multiple_of * multiple_of
    if history and history[-1][1].status not in ("ok", "oom"):
        raise LabkitError(f"The trial at {over}={value} ended otherwise:\n{history[-1][1]}")
    ooms = sum(outcome.status == "oom" for _, outcome in history)
    return BatchSizeSearch(value or None, 2 + len(history), ooms, time.monotonic() - start, history)
