"""Data in, picture or table out: plain matplotlib and HTML, knowing nothing of processes."""
