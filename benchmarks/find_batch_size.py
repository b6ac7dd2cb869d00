"""find_batch_size() versus the two usual tuners, on the same trainings under the same limit, in one run.

doubling: 2, 4, 8, ... until one does not fit, then bisection down to a single integer, as in PyTorch
Lightning's BatchSizeFinder (mode "binsearch"). halving: from 2048, halved until one fits, as in
find_executable_batch_size of Hugging Face's accelerate. They have to wait until TensorFlow raises its error,
10 s after an allocation was refused; ours ends such a trial after 2 s, and so does "halving, ended early".
All use the warm launcher and full trials.

Each answer is then trained for 20 epochs, and so is 5 % more than ours.
"""

import time

from report import Report
from trainings import deep_dense, separable, stacked_lstm, train, two_branches, vgg

import labkit
from labkit.predict.search import PATIENCE
from labkit.trials.trial import Trial

LIMIT = "192 MiB"
LARGE = 2048
TENSORFLOWS = 25  # seconds within which TensorFlow raises its error, except in steps of very many ops
CASES = [
    (separable, "adam", "dataset"),
    (vgg, "adamw", "arrays"),
    (stacked_lstm, "adam", "train_on_batch"),
    (two_branches, "adam", "own loop"),
    (deep_dense, "sgd with momentum", "generator"),
]


class Tries:
    """Runs trials of one training under the limit, and counts them."""

    def __init__(self, options, patience=TENSORFLOWS):
        self._options, self._patience = options, patience
        self.trials, self.ooms, self._start = 0, 0, time.monotonic()

    def fits(self, value, **more):
        limits = {"memory_limit": LIMIT, "timeout": 300, "patience": self._patience}
        outcome = Trial(train, **limits, params={**self._options, "batch_size": value, **more}).run()
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


def halving(options, patience=TENSORFLOWS):
    tries, value = Tries(options, patience), LARGE
    while not tries.fits(value):
        value //= 2
    return tries.found(value)


def ended_early(options):
    return halving(options, PATIENCE)


def ours(options):
    found = labkit.find_batch_size(train, memory_limit=LIMIT, **options)
    return found.batch_size, found.trials, found.ooms, found.seconds


METHODS = {"ours": ours, "doubling": doubling, "halving": halving, "halving, ended early": ended_early}


def compare(report, options, named):
    found = {method: find(options) for method, find in METHODS.items()}
    for method, (value, trials, ooms, seconds) in found.items():
        fits_on = Tries(options, PATIENCE).fits(value, epochs=20)
        said = "fits for 20 epochs" if fits_on else "20 epochs DO NOT FIT"
        report(f"{f'{named}: {method}':64}{value:>6}{trials:>8}{ooms:>6}{seconds:>9.1f}   {said}")
    seconds = {method: row[-1] for method, row in found.items()}
    more = round(1.05 * found["ours"][0])
    fits = Tries(options, PATIENCE).fits(more, epochs=20)
    better = min(seconds["doubling"], seconds["halving"])
    report(
        f"    5 % more than ours, {more}, {'fits too' if fits else 'does not fit'} for 20 epochs; ours took "
        f"{seconds['ours'] / better:.2f} of the time of the faster tuner, "
        f"{seconds['ours'] / seconds['halving, ended early']:.2f} of that of halving ended early"
    )


def main():
    report = Report("find_batch_size")
    report(f"{'limit ' + LIMIT:64}answer  trials  ooms  seconds")
    labkit.run("1")  # starts the launcher
    for net, optimizer, pipeline in CASES:
        options = {"net": net, "optimizer": optimizer, "pipeline": pipeline}
        compare(report, options, f"{net.__name__}, {optimizer}, {pipeline}")
        report.save()
    report("target: at most 1 OOM, a third of the time, within 5 % of the largest that fits for 20 epochs")
    report.save()


if __name__ == "__main__":
    main()
