"""The interactive labs: controls and live charts over labkit's own functions. No logic of their own."""

from .lab import BatchSizeLab

__all__ = ["BatchSizeLab"]
