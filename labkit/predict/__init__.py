"""Small trials tell large ones: the peak at sizes not run, and the largest that fits."""
