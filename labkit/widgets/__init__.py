"""The interactive labs: controls and live charts over labkit's own functions. No logic of their own."""

from .doctor import LogDoctor
from .gauge import MemoryGauge
from .lab import BatchSizeLab
from .timelines import TimelineView

__all__ = ["BatchSizeLab", "LogDoctor", "MemoryGauge", "TimelineView"]
