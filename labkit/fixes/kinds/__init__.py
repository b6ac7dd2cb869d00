"""Each fix of the course as a class of its own.

A Fix is pickled into its trial: begin(), compile(), fit(), evaluate() and predict() run there, with Keras.
why_not(), of() and code() run in the kernel, on a Program, which is what the code as it is was seen to do.
"""

from .inputs import AsDataset, AsGenerator, AsPyDataset, IntegerTargets, Narrowed, SmallerEvaluation
from .training import Accumulated, AsGraph, Compiled, Optimizer, Precision, Recomputed, SmallerBatch


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
