"""What runs in the child process of a trial: the reader's code, and what watches it."""
