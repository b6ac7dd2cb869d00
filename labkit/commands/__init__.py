"""Doors other than import: python -m labkit, %%trial, the check of the machine."""
