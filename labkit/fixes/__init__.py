"""Apply the fixes of the course to the reader's own training, from outside, and measure each: try_fixes()."""
