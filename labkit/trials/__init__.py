"""Run one trial, run several, compare them, and show how they come along."""
