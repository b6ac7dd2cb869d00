"""The kernel's side of a trial's process: start it, watch it, end it, report how it ended."""
