"""The exercises of the lessons: each is checked by a real trial, and an untouched blank is no failure."""

from .core import Exercise, Verdict, ____

__all__ = ["Exercise", "Verdict", "____"]
