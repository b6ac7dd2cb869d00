"""The lessons' exercises: each is checked by a real trial, and an untouched blank is not a failure."""

from .core import Exercise, Verdict, ____

__all__ = ["Exercise", "Verdict", "____"]
