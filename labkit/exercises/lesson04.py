"""Lesson 04: which changes lower an image network's peak, and a deeper network that keeps less."""

from ..sizes import format_size
from .core import Exercise, built, measured, run

RESOLUTION, BATCH, CLASSES = 128, 32, 10
CHANGES = {
    "A": {"first_stride": 2},
    "B": {"second_stride": 2},
    "C": {"average": True},
    "D": {"first": 16},
    "E": {"second": 32},
}


def network(first=32, second=64, first_stride=1, second_stride=1, average=False):
    """The network of both exercises; the arguments are the changes of the first."""
    from keras import Input, Sequential, layers

    model = Sequential([Input((RESOLUTION, RESOLUTION, 3))])
    model.add(layers.Conv2D(first, 3, strides=first_stride, activation="relu", name="conv_1"))
    model.add(layers.MaxPooling2D(name="pool_1"))
    model.add(layers.Conv2D(second, 3, strides=second_stride, activation="relu", name="conv_2"))
    model.add(layers.MaxPooling2D(name="pool_2"))
    model.add(layers.GlobalAveragePooling2D(name="average") if average else layers.Flatten(name="flatten"))
    model.add(layers.Dense(CLASSES, name="classes"))
    return model


def train_on_images(build, **changes):
    """Two training steps; returns (input shape, output shape, filters of each convolution)."""
    import keras
    import numpy as np

    model = built(build, **changes)
    filters = [layer.filters for layer in model.layers if getattr(layer, "filters", None)]
    found = model.input_shape, model.output_shape, filters
    if found[:2] == ((None, RESOLUTION, RESOLUTION, 3), (None, CLASSES)):
        model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        images = np.ones((BATCH, RESOLUTION, RESOLUTION, 3), "float32")
        for _ in range(2):
            model.train_on_batch(images, np.zeros(BATCH))
    return found


def _judge_changes(letters):
    if not isinstance(letters, str) or not set(letters.upper()) <= set("ABCDE, "):
        return f'{letters!r} is not an answer: give the letters of those that help as a string, such as "BE".'
    before = measured(run(train_on_images, build=network)).peak_bytes
    for letter, change in CHANGES.items():
        share = measured(run(train_on_images, build=network, **change)).peak_bytes / before
        helps, said = share <= 2 / 3, letter in letters.upper()
        if said != helps:
            yours = "helps that much" if said else "does not help that much"
            return (
                f"{letter}: you say that it {yours}. It just brought the peak to {share:.0%} of what it was. "
                "Which tensors does it shrink, and are they in memory at the peak?"
            )
    return None


q1 = Exercise(
    _judge_changes,
    "At the peak, the first pooling layer sends its gradient back to the first convolution. Which changes "
    "affect the feature maps of the first convolution? The others affect what has been freed by then, or "
    "weights: are there many of those?",
    'helps = "AD"  # both shrink the feature maps of conv_1; the rest is small, or freed before the peak',
    "All five were run just now.",
    of_stand_in=True,
)


def _judge_deeper(build):
    before = measured(run(train_on_images, profile=True, build=network))
    after = run(train_on_images, profile=True, build=build)
    if not after.ok:
        return f"Training it ended with status {after.status!r}: {after.error}"
    taken, given, filters = after.result
    if taken != (None, RESOLUTION, RESOLUTION, 3):
        return f"It should take images of {(RESOLUTION, RESOLUTION, 3)}; yours takes {taken[1:]}."
    if given != (None, CLASSES):
        return f"It should return {CLASSES} numbers per image; yours has the output shape {given}."
    if sum(many >= 32 for many in filters) < 3:
        return f"It should have three convolutions of at least 32 filters each; yours have {filters}."
    if after.peak_bytes > before.peak_bytes / 3:
        largest = next((name for name in after.timeline.by_layer() if name), "none")
        return (
            f"It peaks at {format_size(after.peak_bytes)}, the first network at "
            f"{format_size(before.peak_bytes)}: more than a third. "
            f"The layer that holds the most at the peak is {largest}."
        )
    return None


q2 = Exercise(
    _judge_deeper,
    "A third convolution on small feature maps costs next to nothing. What costs memory is whatever works "
    "at the full 128 × 128. How could the first layer pass on fewer pixels?",
    """\
def deeper():
    from keras import Input, Sequential, layers

    model = Sequential([Input((128, 128, 3))])
    model.add(layers.Conv2D(32, 3, strides=2, activation="relu", name="conv_1"))
    model.add(layers.MaxPooling2D(name="pool_1"))
    model.add(layers.Conv2D(64, 3, activation="relu", name="conv_2"))
    model.add(layers.MaxPooling2D(name="pool_2"))
    model.add(layers.Conv2D(128, 3, activation="relu", name="conv_3"))
    model.add(layers.GlobalAveragePooling2D(name="average"))
    model.add(layers.Dense(10, name="classes"))
    return model""",
    "One more convolution, and at most a third of the peak. Both networks were trained just now.",
    of_stand_in=True,
)
