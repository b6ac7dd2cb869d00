"""The interactive labs: controls and live charts for labkit's functions, without logic of their own."""

from .batch_size_lab import BatchSizeLab
from .log_doctor import LogDoctor
from .memory_gauge import MemoryGauge
from .timeline_view import TimelineView

__all__ = ["BatchSizeLab", "LogDoctor", "MemoryGauge", "TimelineView"]
