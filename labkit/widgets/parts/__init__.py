"""What the labs are put together from: controls, charts, gauges, and what stays in the notebook."""
