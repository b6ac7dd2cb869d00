"""The colors of all figures, and what each stands for."""

from ..categories import BEFORE, OTHERS, UNUSED

# The palette of Okabe and Ito (2008), which color-blind readers can tell apart.
BLUE, SKY, ORANGE, GREEN = "#0072B2", "#56B4E9", "#E69F00", "#009E73"
VERMILION, PURPLE, YELLOW, GREY, DARK = "#D55E00", "#CC79A7", "#F0E442", "#999999", "#555555"
CATEGORY_COLOURS = {
    "weights": BLUE,
    "optimizer": SKY,
    "gradients": ORANGE,
    "activations": VERMILION,
    "inputs": GREEN,
    "workspace": "#C8C8C8",
    "other": DARK,
}
# Paul Tol's "muted" scheme, for color-blind readers too: none of these is a category's.
LAYER_COLOURS = ("#332288", "#88CCEE", "#44AA99", "#117733", "#999933", "#DDCC77", "#CC6677", "#AA4499")
RUN_COLOURS = (BLUE, ORANGE, GREEN, PURPLE, VERMILION)  # the runs of a lab, in order
REST, IDLE, HELD = "#C8C8C8", "#EBEBEB", "#7A8896"


def curve_colours(labels, by):
    """{label: color} for a timeline's curves: each category has its own, layers take the next free one."""
    fixed = {**(CATEGORY_COLOURS if by == "category" else {}), OTHERS: REST, UNUSED: IDLE, BEFORE: HELD}
    layers = dict(zip([label for label in labels if label not in fixed], LAYER_COLOURS, strict=False))
    return {label: fixed.get(label) or layers[label] for label in labels}
