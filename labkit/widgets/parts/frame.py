"""Boxes, buttons and figures of the labs."""

import ipywidgets as widgets

INTERACTIVE = "This part is interactive: run the cell to use it."
SETTLE_SECONDS = 0.5  # the page may send the last change of a control after the click on a button


class Box(widgets.VBox):
    """A box, in the page of class labkit-box, whose text form, shown without widgets, says what to do."""

    def __init__(self, children):
        super().__init__(children)
        self.add_class("labkit-box")

    def __repr__(self):
        return INTERACTIVE


def button(name, icon, tooltip, action):
    """A button that calls `action` without arguments."""
    button = widgets.Button(description=name, icon=icon, tooltip=tooltip, layout={"width": "8em"})
    button.on_click(lambda _: action())
    return button


def figures_html(outcome):
    """The memory map of a failure and the timeline of a recorded trial, as images in HTML.

    The timeline is of class labkit-picture, for where the page draws it as well.
    """
    from ...show import bars, figure

    parts = []
    if outcome.memory_map is not None:
        parts.append(bars.memory_map(outcome, figure.NARROW).to_img("memory map at the failure"))
    if outcome.timeline is not None:
        picture = outcome.timeline.plot().to_img("timeline of the trial")
        parts.append(f'<div class="labkit-picture">{picture}</div>')
    return "".join(parts)
