"""Lesson 01: what feeding one big array costs."""

from ..sizes import MIB, format_size, parse_size
from ..trials.trial import run
from .core import Exercise

ROWS, COLUMNS = 20_000, 784
LIMIT = "96 MiB"


def feed(way):
    """Train for an epoch, fed in one of the ways of exercise 1."""
    import numpy as np
    import tensorflow as tf
    from keras import Sequential, layers

    X = np.random.default_rng(0).random((ROWS, COLUMNS), dtype="float32")
    y = np.arange(ROWS) % 10
    if way in "CD":
        X = X.astype("float64")
    model = Sequential([layers.Dense(64, activation="relu"), layers.Dense(10, activation="softmax")])
    model.compile("adam", "sparse_categorical_crossentropy")
    if way in "AC":
        model.fit(X, y, batch_size=256, verbose=0)
    elif way in "BD":
        dataset = tf.data.Dataset.from_tensor_slices((X, y)).batch(1 if way == "B" else 256)
        model.fit(dataset, steps_per_epoch=50, shuffle=False, verbose=0)
    else:
        starts = range(0, ROWS, 1024)
        batches = ((X[start : start + 1024], y[start : start + 1024]) for start in starts)
        model.fit(batches, steps_per_epoch=len(starts), shuffle=False, verbose=0)


def _judge_feeds(letters):
    if not isinstance(letters, str) or not set(letters.upper()) <= set("ABCDE, "):
        return f'{letters!r} is not an answer: give the letters of those that fit as text, such as "AB".'
    array = ROWS * COLUMNS * 4
    for way in "ABCDE":
        peak = run(feed, way=way).peak_bytes
        fits, said = peak <= parse_size(LIMIT), way in letters.upper()
        if said != fits:
            yours = "fits" if said else "does not fit"
            return (
                f"{way}: you say that it {yours}. Without a limit it has just peaked at {format_size(peak)}, "
                f"{peak / array:.2g} times the float32 array. Where do you think that comes from?"
            )
    return None


q1 = Exercise(
    _judge_feeds,
    "For each way ask two questions. Does the whole array go to the device, and how many times? "
    "In which data type is it when it gets there?",
    'fits = "ACE"  # B holds the array twice; D too, and twice as wide',
    "Each of the five was run just now; you had them all.",
)

PREDICTED_ROWS = 42_000
PIECES_LIMIT = "64 MiB"


def predict(answer, rows):
    """Predict with the reader's function: (its shape, its largest error against NumPy)."""
    import numpy as np
    from keras import Input, Sequential, layers

    X = np.random.default_rng(0).random((rows, COLUMNS), dtype="float32")
    layer = layers.Dense(COLUMNS)
    model = Sequential([Input((COLUMNS,)), layer])
    found = answer(model, X)
    if np.shape(found) != X.shape:
        return np.shape(found), None
    some = slice(None, None, 997)
    kernel, bias = (np.asarray(weights) for weights in layer.get_weights())
    return found.shape, float(np.abs(np.asarray(found[some]) - (X[some] @ kernel + bias)).max())


def _judge_pieces(answer):
    for rows, limit in ((3_000, None), (PREDICTED_ROWS, PIECES_LIMIT)):
        tried = run(predict, memory_limit=limit, answer=answer, rows=rows)
        wrong = _predicted_wrong(tried, rows)
        if wrong:
            return wrong
    return None


def _predicted_wrong(tried, rows):
    if tried.status == "oom":
        return _ran_out(tried, rows * COLUMNS * 4)
    if not tried.ok:
        return f"With {rows:,} rows it ended with the status {tried.status!r}: {tried.error}"
    shape, error = tried.result
    if error is None:
        return f"{rows:,} rows of {COLUMNS} went in; what came out has the shape {tuple(shape)}."
    if error > 1e-3:
        return f"The predictions are off by up to {error:.2g}: are the pieces in their places?"
    return None


def _ran_out(tried, array):
    asked = tried.diagnosis.requested_bytes or 0
    if asked >= array / 2:
        return (
            f"The numbers are right for few rows, but with {PREDICTED_ROWS:,} it asked for "
            f"{format_size(asked)} at once: a whole array still goes to the device in one piece."
        )
    return (
        f"The numbers are right for few rows, but with {PREDICTED_ROWS:,} the device filled up to "
        f"{format_size(tried.peak_bytes)} and then refused a mere {asked / MIB:.1f} MiB: the finished pieces "
        "stay on the device. (On the CPU stand-in, np.asarray of a tensor only looks at its memory "
        "and keeps it alive.)"
    )


q2 = Exercise(
    _judge_pieces,
    "Cut the rows from `start` to `start + rows` out of X. Of the ways to call a model, "
    "`model(...)` returns a tensor, which lives on the device; `predict_on_batch` and `predict` return "
    "NumPy arrays of their own.",
    """\
def predict_in_pieces(model, X, rows=1024):
    pieces = [model.predict_on_batch(X[start : start + rows]) for start in range(0, len(X), rows)]
    return np.concatenate(pieces)""",
    f"All {PREDICTED_ROWS:,} rows, under {PIECES_LIMIT}, and the same numbers as NumPy's.",
)
