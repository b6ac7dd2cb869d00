"""Lesson 01: what it costs to train on one big array."""

from ..sizes import MIB, format_size, parse_size
from .core import Exercise, measured, run

ROWS, COLUMNS = 20_000, 784
LIMIT = "96 MiB"


def train_with(pipeline):
    """Train for one epoch with one of the input pipelines of exercise 1."""
    import numpy as np
    import tensorflow as tf
    from keras import Sequential, layers

    X = np.random.default_rng(0).random((ROWS, COLUMNS), dtype="float32")
    y = np.arange(ROWS) % 10
    if pipeline in "CD":
        X = X.astype("float64")
    model = Sequential([layers.Dense(64, activation="relu"), layers.Dense(10, activation="softmax")])
    model.compile("adam", "sparse_categorical_crossentropy")
    if pipeline in "AC":
        model.fit(X, y, batch_size=256, verbose=0)
    elif pipeline in "BD":
        dataset = tf.data.Dataset.from_tensor_slices((X, y)).batch(1 if pipeline == "B" else 256)
        model.fit(dataset, steps_per_epoch=50, shuffle=False, verbose=0)
    else:
        starts = range(0, ROWS, 1024)
        batches = ((X[start : start + 1024], y[start : start + 1024]) for start in starts)
        model.fit(batches, steps_per_epoch=len(starts), shuffle=False, verbose=0)


def _judge_pipelines(letters):
    if not isinstance(letters, str) or not set(letters.upper()) <= set("ABCDE, "):
        return f'{letters!r} is not an answer: give the letters of those that fit as a string, such as "AB".'
    array = ROWS * COLUMNS * 4
    for letter in "ABCDE":
        peak = measured(run(train_with, pipeline=letter)).peak_bytes
        fits, said = peak <= parse_size(LIMIT), letter in letters.upper()
        if said != fits:
            yours = "fits" if said else "does not fit"
            return (
                f"{letter}: you say that it {yours}. Without a limit it just peaked at {format_size(peak)}, "
                f"{peak / array:.2g} times the size of the float32 array. Where do you think that comes from?"
            )
    return None


q1 = Exercise(
    _judge_pipelines,
    "Ask two questions of each. Does the whole array go to the device, and how many times? "
    "What is its data type when it gets there?",
    'fits = "ACE"  # B holds the array twice; so does D, in float64',
    "All five were run just now, and you got every one right.",
    of_stand_in=True,
)

PREDICTED_ROWS = 42_000
BLOCKS_LIMIT = "64 MiB"


def predict(answer, rows):
    """Predict with the reader's function: (the result's shape, its largest error against NumPy)."""
    import numpy as np
    from keras import Input, Sequential, layers

    X = np.random.default_rng(0).random((rows, COLUMNS), dtype="float32")
    layer = layers.Dense(COLUMNS)
    model = Sequential([Input((COLUMNS,)), layer])
    found = answer(model, X)
    if isinstance(found, list):
        raise TypeError("it returned a list: join the blocks to one array")
    if np.shape(found) != X.shape:
        return np.shape(found), None
    some = slice(None, None, 997)
    kernel, bias = (np.asarray(weights) for weights in layer.get_weights())
    return found.shape, float(np.abs(np.asarray(found[some]) - (X[some] @ kernel + bias)).max())


def _judge_blocks(answer):
    for rows, limit in ((3_000, None), (PREDICTED_ROWS, BLOCKS_LIMIT)):
        tried = run(predict, memory_limit=limit, answer=answer, rows=rows)
        wrong = _predicted_wrong(tried, rows)
        if wrong:
            return wrong
    return None


def _predicted_wrong(tried, rows):
    if tried.status == "oom":
        return _ran_out(tried, rows * COLUMNS * 4)
    if not tried.ok:
        return f"With {rows:,} rows it ended with status {tried.status!r}: {tried.error}"
    shape, error = tried.result
    if error is None:
        return f"{rows:,} rows of {COLUMNS} numbers went in; the result has the shape {tuple(shape)}."
    if not error <= 1e-3:  # NaN too
        return f"The predictions are off by up to {error:.2g}: are the blocks in the right order?"
    return None


def _ran_out(tried, array):
    asked = tried.diagnosis.requested_bytes or 0
    if asked >= array / 2:
        return (
            f"The numbers are right for a few rows, but with {PREDICTED_ROWS:,} it requested "
            f"{format_size(asked)} in one allocation: a whole array still goes to the device."
        )
    return (
        f"The numbers are right for a few rows, but with {PREDICTED_ROWS:,} the device filled up to "
        f"{format_size(tried.peak_bytes)} and then refused a mere {asked / MIB:.1f} MiB: the finished blocks "
        "stay on the device. (On the CPU stand-in, np.asarray of a tensor is only a view of its memory, "
        "and keeps it alive.)"
    )


q2 = Exercise(
    _judge_blocks,
    "Slice the rows from `start` to `start + rows` out of X. Of the ways to call a model, "
    "`model(...)` returns a tensor, which lives on the device; `predict_on_batch` and `predict` return "
    "NumPy arrays with memory of their own.",
    """\
def predict_in_pieces(model, X, rows=1024):
    pieces = [model.predict_on_batch(X[start : start + rows]) for start in range(0, len(X), rows)]
    return np.concatenate(pieces)""",
    f"All {PREDICTED_ROWS:,} rows under {BLOCKS_LIMIT}, with the same numbers as NumPy.",
)
