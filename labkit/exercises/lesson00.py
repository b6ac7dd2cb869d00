"""Lesson 00: the largest batch that fits."""

from ..sizes import format_size
from ..trials.trial import run
from .core import Exercise

LIMIT = "200 MiB"
PICTURES = 64


def train(batch_size):
    """The network of the lesson."""
    import numpy as np
    from keras import Sequential, layers

    pictures = np.random.default_rng(0).random((PICTURES, 128, 128, 3), dtype="float32")
    labels = np.arange(PICTURES) % 2
    model = Sequential(
        [
            layers.Conv2D(32, 3, activation="relu"),
            layers.Conv2D(32, 3, activation="relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(2, activation="softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(pictures, labels, batch_size=batch_size, verbose=0)


def _judge(batch_size):
    if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
        return f"{batch_size!r} is not a batch size: give a whole number from 1 up."
    if batch_size & (batch_size - 1):
        return f"{batch_size} is not a power of two (1, 2, 4, 8, ...)."
    if batch_size > PICTURES:
        return f"There are {PICTURES} pictures, so {batch_size} in a batch is more than there are."
    tried = run(train, memory_limit=LIMIT, batch_size=batch_size)
    if tried.status == "oom":
        return f"{batch_size} does not fit in {LIMIT}. {' '.join(tried.diagnosis.evidence[:2])}"
    if not tried.ok:
        return f"The trial with {batch_size} ended with the status {tried.status!r}: {tried.error}"
    if batch_size < PICTURES and run(train, memory_limit=LIMIT, batch_size=2 * batch_size).ok:
        peak = format_size(tried.peak_bytes)
        return f"{batch_size} fits, with a peak of {peak}, but a larger batch fits in {LIMIT} too."
    return None


q1 = Exercise(
    _judge,
    "Double the batch size until a trial says that it is out of memory, then go back one step:\n"
    f'labkit.run(train, memory_limit="{LIMIT}", batch_size=2)',
    f"""\
batch_size = 4
while batch_size < {PICTURES} and labkit.run(train, memory_limit="{LIMIT}", batch_size=2 * batch_size).ok:
    batch_size = 2 * batch_size""",
    "It fits, and twice as many pictures do not. Both were tried just now.",
)
