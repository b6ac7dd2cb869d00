"""Trials of one function, one after another, for several values of one parameter."""

from ..errors import LabkitError, Stopped
from .code import PackedCode
from .trial import Trial


class Series:
    """Runs the trials one at a time and reports to a `show`; stop() ends the series from any thread.

    train, over   the function, and the parameter whose values are tried; or a tuple of parameters, and then
                  each value is a tuple too
    show          a labkit.process.progress.ShowOfSeveral
    options       those of labkit.Trial: timeout, seed, params
    """

    def __init__(self, train, over, show, **options):
        self._names = (over,) if isinstance(over, str) else over
        if not (isinstance(self._names, tuple | list) and all(isinstance(name, str) for name in self._names)):
            raise LabkitError(f"over={over!r}: give the name of the parameter to vary.")
        for name in self._names:
            if name in options["params"]:
                raise LabkitError(f"The trials vary {name!r}, so it cannot be given a fixed value as well.")
        self.over, self.show, self.stopped = over, show, False
        self._code, self._options, self._running = PackedCode(train), options, None

    def check(self, value):
        """Raise LabkitError if a trial of this value cannot even start."""
        self._trial(value, {})

    def run(self, value, done, total, doing="", **more):
        """Run a trial of `value`; returns its Outcome.

        done, total   how many trials came before, and how many there are in all (None if unknown)
        doing         the purpose of the trial, for the progress line
        more          further options of labkit.Trial

        Raises Stopped if the trial was stopped.
        """
        trial = self._running = self._trial(value, more)
        self.show.begin(value, done, total, doing)
        if self.stopped:
            trial.stop()
        outcome = trial.run()
        self._running = None
        if outcome.status == "stopped":
            raise Stopped(f"Stopped at {self.over}={value}.")
        return outcome

    def stop(self):
        """End the running trial; no other follows."""
        self.stopped = True
        running = self._running
        if running:
            running.stop()

    def _trial(self, value, more):
        values = (value,) if isinstance(self.over, str) else value
        params = {**self._options["params"], **dict(zip(self._names, values, strict=True))}
        options = {**self._options, **more, "params": params}
        return Trial(self._code, show=self.show, **options)
