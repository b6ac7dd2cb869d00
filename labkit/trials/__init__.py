"""Run one trial or several, take turns with others on the machine, show progress, compare outcomes."""
