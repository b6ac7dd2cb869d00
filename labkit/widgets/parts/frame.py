"""What the labs are put together from."""

import base64

import ipywidgets as widgets


class Box(widgets.VBox):
    """A box that says, where widgets are not shown, what to do about it."""

    def __repr__(self):
        return "This part is live: run the cell to use it."


def button(name, icon, hint, action):
    button = widgets.Button(description=name, icon=icon, tooltip=hint, layout={"width": "8em"})
    button.on_click(lambda _: action())
    return button


def pictures(outcome):
    """The memory map of a failure and the timeline of a recorded trial, as pictures in HTML."""
    from ...show import bars

    figures = []
    if outcome.memory_map is not None:
        figures.append(("memory as it was refused", bars.memory_map(outcome)))
    if outcome.timeline is not None:
        figures.append(("timeline of the trial", outcome.timeline.plot()))
    return "".join(
        f'<img alt="{said}" style="max-width:100%" src="data:image/png;base64,{_base64(figure)}">'
        for said, figure in figures
    )


def _base64(figure):
    return base64.b64encode(figure._repr_png_()).decode()
