"""Allocations as data: read from a profile, labelled by layer and category, presented as a Timeline."""
