"""Each fix of the course is a class: what it changes in a trial, where it cannot, and its line of code."""

from .arrays import IntegerTargets, Narrowed
from .inputs import AsDataset, AsGenerator, AsPyDataset
from .training import (
    Accumulated,
    AsGraph,
    Compiled,
    Optimizer,
    Precision,
    Recomputed,
    SmallerBatch,
    SmallerEvaluation,
)


def all_fixes():
    """Every Fix that try_fixes() tries, in this order."""
    return [
        AsPyDataset(),
        AsGenerator(),
        AsDataset(),
        IntegerTargets(),
        Narrowed(),
        Precision("mixed_float16", 0.02),
        Precision("mixed_bfloat16", 0.05),
        Accumulated(2),
        SmallerBatch(2, "half the batch"),
        SmallerBatch(4, "a quarter of the batch"),
        SmallerEvaluation(),
        AsGraph(),
        Compiled(True),
        Compiled(False),
        Recomputed(),
        Optimizer("lion", "Lion"),
        Optimizer("sgd", "SGD with momentum", momentum=0.9),
        Optimizer("adafactor", "Adafactor"),
        Optimizer("sgd", "SGD"),
    ]


def alternatives(group):
    """Every Fix of a group that leaves the batch size to the reader, by name."""
    return {fix.name: fix for fix in all_fixes() if fix.group == group and not isinstance(fix, SmallerBatch)}
