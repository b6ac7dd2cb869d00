"""Trials of one function, one after another, over the values of one parameter."""

from ..errors import LabkitError, Stopped
from .trial import Trial


class Series:
    """Runs them one at a time, told to a `show`; stop() ends it from any thread.

    train, over   the function, and the parameter whose values are tried
    show          a labkit.process.show.ShowOfSeveral
    options       those of labkit.Trial: timeout, seed, params
    """

    def __init__(self, train, over, show, **options):
        if over in options["params"]:
            raise LabkitError(
                f"The trials go over {over!r}: give its values there alone, not as a parameter too."
            )
        self.over, self.show, self.stopped = over, show, False
        self._train, self._options, self._running = train, options, None

    def check(self, value):
        """Raise LabkitError where a trial of this value cannot even begin."""
        self._trial(value, {})

    def run(self, value, done, total, doing="", **more):
        """The Outcome of a trial of `value`; raises Stopped. more: further options of labkit.Trial."""
        trial = self._running = self._trial(value, more)
        self.show.begin(value, done, total, doing)
        if self.stopped:
            trial.stop()
        outcome = trial.run()
        self._running = None
        if outcome.status == "stopped":
            raise Stopped(f"It was stopped at {self.over}={value}.")
        return outcome

    def stop(self):
        """End the running trial, and each that would follow."""
        self.stopped = True
        running = self._running
        if running:
            running.stop()

    def _trial(self, value, more):
        options = {**self._options, **more, "params": {**self._options["params"], self.over: value}}
        return Trial(self._train, show=self.show, **options)
