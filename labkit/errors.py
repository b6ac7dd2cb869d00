"""The exceptions that labkit raises."""


class LabkitError(ValueError):
    """A request that cannot be carried out; the message says what to do instead."""


class Stopped(LabkitError):
    """Work was stopped, by an interrupt or from another thread, before it had a result to return."""


class NothingFits(LabkitError):
    """None of the values that may be tried fits the memory limit."""


class TrialDidNotFit(NothingFits):
    """A small trial ran out of memory, so that nothing can be predicted from it."""
