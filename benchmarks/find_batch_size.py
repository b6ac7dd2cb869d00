"""find_batch_size() against the two usual tuners, on the same trainings under the same limit, in one run.

doubling: 2, 4, 8, ... until one does not fit, then bisection to the last whole number, as in PyTorch
Lightning's BatchSizeFinder (mode "binsearch"). halving: from 2048 down by half until one fits, as in
find_executable_batch_size of Hugging Face's accelerate. All have the warm launcher and full trials, and a
trial ends 2 s after memory is refused for good.

The frontier is found by a sweep in steps of 1 % around our answer, from 3 % below it up to where three in a
row do not fit. What find_batch_size returns is then trained for 20 epochs more.
"""

import time

from report import Report
from trainings import deep_dense, separable, stacked_lstm, train, two_branches, vgg

import labkit
from labkit.run import Trial
from labkit.search import PATIENCE

LIMIT = "192 MiB"
LARGE = 2048
CASES = [
    (separable, "adam", "dataset"),
    (vgg, "adamw", "arrays"),
    (stacked_lstm, "adam", "train_on_batch"),
    (two_branches, "adam", "own loop"),
    (deep_dense, "sgd with momentum", "generator"),
]


class Tries:
    """Trials of one training under the limit, counted."""

    def __init__(self, options):
        self._options, self.trials, self.ooms, self._start = options, 0, 0, time.monotonic()

    def fits(self, value, **more):
        params = {**self._options, "batch_size": value, **more}
        outcome = Trial(train, memory_limit=LIMIT, timeout=300, patience=PATIENCE, params=params).run()
        assert outcome.status in ("ok", "oom"), outcome
        self.trials += 1
        self.ooms += not outcome.ok
        return outcome.ok

    def found(self, value):
        return value, self.trials, self.ooms, time.monotonic() - self._start


def doubling(options):
    tries, high = Tries(options), 2
    while tries.fits(high):
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if tries.fits(middle) else (low, middle)
    return tries.found(low)


def halving(options):
    tries, value = Tries(options), LARGE
    while not tries.fits(value):
        value //= 2
    return tries.found(value)


def ours(options):
    found = labkit.find_batch_size(train, memory_limit=LIMIT, **options)
    return found.batch_size, found.trials, found.ooms, found.seconds


def frontier(options, answer):
    """(the largest value up to which all fit, the largest that fits at all), in steps of 1 % around it."""
    tries, value, fits = Tries(options), round(0.97 * answer), []
    while value < 1.3 * answer and (value < 1.06 * answer or any(ok for _, ok in fits[-3:])):
        fits.append((value, tries.fits(value)))
        value = max(value + 1, round(1.01 * value))
    first_refused = min((value for value, ok in fits if not ok), default=value)
    always = max((value for value, ok in fits if value < first_refused), default=None)
    return always, max((value for value, ok in fits if ok), default=None)


def compare(report, options, named):
    rows = {}
    for method in (ours, doubling, halving):
        value, trials, ooms, seconds = rows[method.__name__] = method(options)
        report(f"{f'{named}: {method.__name__}':56}{value:>6}{trials:>8}{ooms:>6}{seconds:>9.1f}")
    answer = rows["ours"][0]
    always, ever = frontier(options, answer)
    share = rows["ours"][3] / min(rows["doubling"][3], rows["halving"][3])
    twenty = Tries(options).fits(answer, epochs=20)
    report(
        f"    all fit up to {always}, the largest that fits at all is {ever}: ours is "
        f"{100 * answer / (always or ever):.1f} % of it, in {share:.2f} of the seconds of the faster; "
        f"20 epochs more {'fit' if twenty else 'DO NOT FIT'}"
    )


def main():
    report = Report("find_batch_size")
    report(f"{'limit ' + LIMIT:56}answer  trials  ooms  seconds")
    labkit.run("1")  # starts the launcher
    for net, optimizer, feed in CASES:
        options = {"net": net, "optimizer": optimizer, "feed": feed}
        compare(report, options, f"{net.__name__}, {optimizer}, {feed}")
        report.save()
    report("to reach: at most 1 OOM, a third of the seconds, 95 to 100 % of the frontier")
    report.save()


if __name__ == "__main__":
    main()
