"""Building blocks of the labs: controls, charts, gauges, and what is saved in the notebook."""
