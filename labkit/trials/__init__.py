"""Run one trial or several, show their progress, and compare their outcomes."""
