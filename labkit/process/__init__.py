"""The kernel's side of a trial's process: start it, watch it, end it, and say how it ended."""
