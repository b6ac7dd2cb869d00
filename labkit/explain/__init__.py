"""From the facts of a failure to its cause, the evidence and what helps."""
