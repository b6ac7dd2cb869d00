"""Allocations as data: read from a profile, labelled by layer and category, shown as a Timeline."""
