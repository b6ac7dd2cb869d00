"""TimelineView: step through the memory of a trial and see what is in use at each point in time."""

import ipywidgets as widgets

from ..errors import LabkitError
from ..show.pages import in_use
from ..show.timelines import checked
from ..sizes import format_size
from .parts.chart import timelines_chart
from .parts.frame import Box
from .parts.saved import HIDE_SAVED, Saved, replace_earlier


class TimelineView:
    """Timelines side by side on one scale: each block says what it is, each point in time what is in use.

    timelines   a Timeline, or a dict of label -> Timeline, such as before and after a fix
    by          "category" or "layer": the initial coloring

    Raises LabkitError for anything else, such as the missing timeline of a trial without profile=True.

    >>> TimelineView({"float32": before.timeline, "mixed_float16": after.timeline})
    """

    def __init__(self, timelines, by="category"):
        timelines = checked(timelines)
        if by not in ("category", "layer"):
            raise LabkitError(f"by={by!r}: give 'category' or 'layer'.")
        self.timelines = timelines
        self._chart = timelines_chart(timelines, by)
        self.widget = Box([widgets.HTML(HIDE_SAVED), self._chart])

    def plot(self):
        """The timelines as a figure."""
        from ..show import pages, timelines

        figure = timelines.timelines(self.timelines, by=self._chart.by)
        return pages.with_chart(figure, lambda: self._chart.data, self._chart.by)

    def table(self):
        """What is in use at the peak of each timeline, as HTML tables."""
        return "".join(in_use(timeline, label=label) for label, timeline in self.timelines.items())

    def _ipython_display_(self):
        from IPython.display import display

        replace_earlier(self)
        display(self.widget)
        Saved(self)

    def __repr__(self):
        peaks = [
            f"{label or 'timeline'}: peak {format_size(t.peak_bytes)}" for label, t in self.timelines.items()
        ]
        return "\n".join(peaks)
