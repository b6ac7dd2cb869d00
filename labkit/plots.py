"""The figures, for lessons and readers."""

from .show.bars import memory_map, outcomes, peak_by_layer
from .show.figure import Figure
from .show.points import prediction, sweeps
from .show.stacks import timeline, timelines

__all__ = [
    "Figure",
    "memory_map",
    "outcomes",
    "peak_by_layer",
    "prediction",
    "sweeps",
    "timeline",
    "timelines",
]
