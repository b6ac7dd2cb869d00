"""Lesson 02: what an optimizer's slots take, and a network that keeps less for the backward pass."""

from ..sizes import format_size
from .core import Exercise, built, is_integer, measured, run

OPTIMIZERS = ("rmsprop", "adamw", "lion", "adadelta")


def two_steps(optimizer):
    """Two training steps of a small dense network."""
    import keras
    import numpy as np
    from keras import layers

    model = keras.Sequential([keras.Input((64,)), layers.Dense(256, activation="relu"), layers.Dense(64)])
    model.compile(optimizer, "mse")
    X = np.ones((8, 64), "float32")
    for _ in range(2):
        model.train_on_batch(X, X)


def _judge_copies(copies):
    if not isinstance(copies, dict) or set(copies) != set(OPTIMIZERS):
        return f"Keep the dictionary's keys: {', '.join(OPTIMIZERS)}."
    for name, said in copies.items():
        if not is_integer(said) or said < 0:
            return f"{name}: {said!r} is not a number of copies. Give an integer of at least 0."
    for name, said in copies.items():
        tried = measured(run(two_steps, profile=True, optimizer=name))
        weights, slots = _held_after(tried.timeline)
        if slots // weights != said:  # the remainder is the step counter, 8 bytes
            comparison = "more" if slots > said * weights else "less"
            return (
                f"{name}: you say {said}. Its slots took {comparison} than {said} × {weights:,} bytes "
                "in a trial."
            )
    return None


def _held_after(timeline):
    """Bytes of (weights, slots) after the last step, as requested."""
    rows = timeline.alive(timeline.steps[-1] - 1)
    return [sum(r.requested_bytes for r in rows if r.category == c) for c in ("weights", "optimizer")]


q1 = Exercise(
    _judge_copies,
    "A slot holds what the optimizer remembers about each weight from one step to the next. AdamW and "
    "Adadelta remember two things each: which? RMSprop divides by a running mean of squared gradients. Lion "
    "takes the sign of a running mean. Or measure it: train() in this lesson takes the optimizer's name.",
    'copies = {"rmsprop": 1, "adamw": 2, "lion": 1, "adadelta": 2}',
    "All four were measured just now, to the byte.",
)

RESOLUTION, BATCH, CLASSES = 64, 64, 10


def original():
    """The network of exercise 2 before any change."""
    from keras import Input, Sequential, layers

    model = Sequential([Input((RESOLUTION, RESOLUTION, 3))])
    model.add(layers.Conv2D(32, 3, padding="same", activation="relu", name="conv_1"))
    model.add(layers.Conv2D(32, 3, padding="same", activation="relu", name="conv_2"))
    model.add(layers.MaxPooling2D(name="pool_1"))
    model.add(layers.Conv2D(64, 3, padding="same", activation="relu", name="conv_3"))
    model.add(layers.MaxPooling2D(name="pool_2"))
    model.add(layers.GlobalAveragePooling2D(name="average"))
    model.add(layers.Dense(CLASSES, name="classes"))
    return model


def train_on_images(build, batch_size=BATCH):
    """Two training steps; returns (input shape, output shape, number of weights)."""
    import keras
    import numpy as np

    model = built(build)
    found = model.input_shape, model.output_shape, model.count_params()
    if found[:2] == ((None, RESOLUTION, RESOLUTION, 3), (None, CLASSES)):
        model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        images = np.ones((batch_size, RESOLUTION, RESOLUTION, 3), "float32")
        for _ in range(2):
            model.train_on_batch(images, np.zeros(batch_size))
    return found


def _judge_lighter(build):
    before = measured(run(train_on_images, profile=True, build=original))
    after = run(train_on_images, profile=True, build=build)
    if not after.ok:
        return f"Training it ended with status {after.status!r}: {after.error}"
    wanted, found = before.result, after.result
    if found[0] != wanted[0]:
        return f"It should take images of {wanted[0][1:]}; yours takes {found[0][1:]}."
    if found[1] != wanted[1]:
        return f"It should return {CLASSES} numbers per image; yours has the output shape {found[1]}."
    if found[2] < wanted[2]:
        return f"It has {found[2]:,} weights, fewer than the original's {wanted[2]:,}."
    if after.peak_bytes > before.peak_bytes / 2:
        largest = next((name for name in after.timeline.by_layer() if name), "none")
        return (
            f"It peaks at {format_size(after.peak_bytes)}, the original at {format_size(before.peak_bytes)}: "
            f"more than half. The layer that holds the most at the peak is now {largest}."
        )
    return None


q2 = Exercise(
    _judge_lighter,
    "Look at the peak by layer: which layers work at the full 64 × 64? Their outputs are what is kept. "
    "A convolution's weights do not depend on the size of the image; its output does. "
    "What if the image shrank before the expensive layers instead of after them?",
    """\
def lighter():
    from keras import Input, Sequential, layers

    model = Sequential([Input((64, 64, 3))])
    model.add(layers.Conv2D(32, 3, strides=2, padding="same", activation="relu", name="conv_1"))
    model.add(layers.Conv2D(32, 3, padding="same", activation="relu", name="conv_2"))
    model.add(layers.MaxPooling2D(name="pool_1"))
    model.add(layers.Conv2D(64, 3, padding="same", activation="relu", name="conv_3"))
    model.add(layers.GlobalAveragePooling2D(name="average"))
    model.add(layers.Dense(10, name="classes"))
    return model""",
    "No fewer weights, and at most half the peak. Both networks were trained just now.",
)
