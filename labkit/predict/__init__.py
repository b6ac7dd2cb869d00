"""Predict large trials from small ones: the peak at sizes not run, and the largest size that fits."""
