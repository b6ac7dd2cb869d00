"""Allocations as data: read from a profile, labeled by layer and category, presented as a Timeline."""
