"""The figures that lessons and readers draw themselves; others are the plot() of what they show."""

from .show.bars import memory_map, peak_by_layer
from .show.figure import Figure
from .show.timelines import timelines

__all__ = ["Figure", "memory_map", "peak_by_layer", "timelines"]
