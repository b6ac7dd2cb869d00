"""The exceptions that labkit raises."""


class LabkitError(ValueError):
    """Something was asked that cannot be done; the message says what to do instead."""


class Stopped(LabkitError):
    """It was stopped, by an interrupt or from another thread, before there was anything to return."""


class NothingFits(LabkitError):
    """No value that may be tried fits the memory limit."""
