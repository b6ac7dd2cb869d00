"""Data in, figure or table out: plain matplotlib and HTML, with no knowledge of processes."""
