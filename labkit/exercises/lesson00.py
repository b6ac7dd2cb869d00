"""Lesson 00: the largest batch that fits."""

from ..sizes import format_size
from .core import Exercise, is_integer, measured, run

LIMIT = "384 MiB"
IMAGES = 64


def train(batch_size):
    """Train the lesson's network for one epoch."""
    import numpy as np
    from keras import Sequential, layers

    images = np.random.default_rng(0).random((IMAGES, 128, 128, 3), dtype="float32")
    labels = np.arange(IMAGES) % 2
    model = Sequential(
        [
            layers.Conv2D(32, 3, activation="relu"),
            layers.Conv2D(32, 3, activation="relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(2, activation="softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(images, labels, batch_size=batch_size, verbose=0)


def _judge(batch_size):
    if not is_integer(batch_size) or batch_size < 1:
        return f"{batch_size!r} is not a batch size: give an integer of at least 1."
    batch_size = int(batch_size)
    if batch_size & (batch_size - 1):
        return f"{batch_size} is not a power of two (1, 2, 4, 8, ...)."
    if batch_size > IMAGES:
        return f"There are only {IMAGES} images: a batch of {batch_size} is more than the whole data set."
    tried = measured(run(train, memory_limit=LIMIT, batch_size=batch_size), "oom")
    if tried.status == "oom":
        return f"{batch_size} does not fit in {LIMIT}. {' '.join(tried.diagnosis.evidence[:2])}"
    if batch_size < IMAGES and measured(run(train, memory_limit=LIMIT, batch_size=2 * batch_size), "oom").ok:
        peak = format_size(tried.peak_bytes)
        return f"{batch_size} fits, with a peak of {peak}, but a larger batch fits in {LIMIT} too."
    return None


q1 = Exercise(
    _judge,
    "Double the batch size until a trial runs out of memory, then go back one step:\n"
    f'labkit.run(train, memory_limit="{LIMIT}", batch_size=2)',
    f"""\
batch_size = 4
while batch_size < {IMAGES} and labkit.run(train, memory_limit="{LIMIT}", batch_size=2 * batch_size).ok:
    batch_size = 2 * batch_size""",
    "It fits, and a batch twice as large does not. Both were tried just now.",
)
