"""The one exception that labkit raises."""


class LabkitError(ValueError):
    """Something was asked that cannot be done; the message says what to do instead."""
