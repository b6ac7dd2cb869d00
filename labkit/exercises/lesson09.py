"""Lesson 09: what smaller steps keep in memory, and the same training in a quarter of it."""

import itertools

from ..sizes import format_size
from .core import Exercise, is_integer, measured, run

WIDTH, HIDDEN, BLOCKS, ROWS, FEW_ROWS = 64, 512, 4, 2048, 16
STEPS = {
    "A": {},
    "B": {"micro": 4, "accumulate": 4},
    "C": {"optimizer": "sgd", "momentum": 0.9},
    "D": {"optimizer": "sgd"},
}


def net(wrap=None):
    """Residual blocks of two dense layers, one after the other; `wrap` may put something around each."""
    import keras
    from keras import layers

    inputs = keras.Input((WIDTH,))
    x = inputs
    for number in range(1, BLOCKS + 1):
        hidden = layers.Dense(HIDDEN, activation="gelu")
        block = keras.Sequential([keras.Input((WIDTH,)), hidden, layers.Dense(WIDTH)], name=f"block_{number}")
        x = layers.Add()([x, (wrap(block) if wrap else block)(x)])
    return keras.Model(inputs, layers.Dense(1)(x))


def train(wrap=None, micro=1, accumulate=None, optimizer="adam", rows=ROWS, **settings):
    """Train on all rows twice, in `micro` micro-batches each time; returns the trained weights."""
    import keras
    import numpy as np

    model = net(wrap)
    config = {"learning_rate": 1e-3, "gradient_accumulation_steps": accumulate, **settings}
    model.compile(keras.optimizers.get({"class_name": optimizer, "config": config}), "mse")
    X = np.random.default_rng(0).random((rows, WIDTH), dtype="float32")
    for _ in range(2):
        for part in np.split(X, micro):
            model.train_on_batch(part, part[:, :1])
    return model.get_weights()


def _judge_order(order):
    letters = [letter for letter in order.upper() if letter not in ", "] if isinstance(order, str) else []
    if sorted(letters) != sorted(STEPS):
        return f'{order!r} is not an order of A, B, C and D: give the four letters as a string, as in "ABCD".'
    peaks = {
        letter: measured(run(train, rows=FEW_ROWS, **options)).peak_bytes for letter, options in STEPS.items()
    }
    for first, second in itertools.pairwise(letters):
        if peaks[first] > peaks[second]:
            return (
                f"You put {first} before {second}. In the trials just now {first} peaked at "
                f"{format_size(peaks[first])} and {second} at {format_size(peaks[second])}."
            )
    return None


q1 = Exercise(
    _judge_order,
    "Here the weights are larger than the activations. How many copies of them does each of the four "
    "keep from step to step: in the state of its optimizer, and of gradients that it adds up?",
    'order = "DCAB"  # no copy of the weights, one, two; B keeps a third, and has few activations to save',
    "The four were trained just now.",
)


SETTINGS = ("micro_batches", "gradient_accumulation_steps", "recompute")


def recomputed(block):
    """A layer that recomputes its block in the backward pass."""
    import keras

    class Recomputed(keras.layers.Layer):
        def __init__(self, block):
            super().__init__()
            self.block = block

        def call(self, x, training=None):
            return keras.remat(lambda x: self.block(x, training=training))(x)

    return Recomputed(block)


def _judge_settings(settings):
    if not isinstance(settings, dict) or set(settings) != set(SETTINGS):
        return f"Keep the dictionary's keys: {', '.join(SETTINGS)}."
    micro, accumulate, recompute = (settings[name] for name in SETTINGS)
    if not is_integer(micro) or micro < 1 or ROWS % micro:
        return f"micro_batches: {micro!r} does not divide {ROWS:,} rows into equal micro-batches."
    if not isinstance(recompute, bool):
        return f"recompute: {recompute!r} is neither True nor False."
    plain = measured(run(train))
    yours = run(train, micro=int(micro), accumulate=accumulate, wrap=recomputed if recompute else None)
    if not yours.ok:
        return f"Training with them ended with status {yours.status!r}: {yours.error}"
    return _settings_wrong(plain, yours)


def _settings_wrong(plain, yours):
    errors = [float(abs(a - b).max()) for a, b in zip(yours.result, plain.result, strict=True)]
    if not all(error <= 1e-4 for error in errors):  # nor NaN
        return (
            f"The weights are off by up to {max(errors):.2g}: the same rows have not led to the same updates."
        )
    if yours.peak_bytes > plain.peak_bytes / 4:
        return (
            f"The weights are the same, but it peaks at {format_size(yours.peak_bytes)}, and the original at "
            f"{format_size(plain.peak_bytes)}: more than a quarter."
        )
    return None


q2 = Exercise(
    _judge_settings,
    "An update has to come after all the rows, not after each micro-batch. How many of those is that? "
    "If they are as small as you like and it is still too much, recompute the inside of the blocks.",
    'settings = {"micro_batches": 8, "gradient_accumulation_steps": 8, "recompute": True}',
    "The same weights, and at most a quarter of the peak. Both were trained just now.",
)
