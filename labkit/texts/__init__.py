"""A text as it was printed: out of notebooks, JSON and HTML, without what was put around each line."""
