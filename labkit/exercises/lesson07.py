"""Lesson 07: which rows an epoch sees, and a generator that shuffles."""

from .core import Exercise, is_integer, measured, run

ROWS, BATCH, EPOCHS = 500, 64, 3


class Guarded:
    """An array that records how many rows were read from it at once, at most."""

    def __init__(self, array):
        self._array, self.shape, self.dtype, self.most = array, array.shape, array.dtype, 0

    def __len__(self):
        return len(self._array)

    def __getitem__(self, picked):
        return self._noted(self._array[picked])

    def __array__(self, dtype=None, copy=None):
        return self._noted(self._array).astype(dtype or self.dtype)

    def _noted(self, taken):
        self.most = max(self.most, len(taken) if taken.ndim == self._array.ndim else 1)
        return taken


def endless(X, y, batch_size):
    """The lesson's generator: all rows in order, over and over."""
    while True:
        for start in range(0, len(X), batch_size):
            yield X[start : start + batch_size], y[start : start + batch_size]


def watch(generator, rows, batch_size, steps):
    """Train; returns (rows of each epoch by label, the same by input, most rows read at once)."""
    import keras
    import numpy as np

    X, y = Guarded(np.repeat(np.arange(rows, dtype="float32")[:, None], 4, axis=1)), np.arange(rows)
    labels, inputs = [], []

    class Watched(keras.Sequential):
        def train_step(self, data):
            inputs[-1].extend(data[0][:, 0].numpy().astype(int).tolist())
            labels[-1].extend(data[1].numpy().ravel().tolist())
            return super().train_step(data)

    def begin(epoch, logs):
        labels.append([])
        inputs.append([])

    model = Watched([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(1e-9), "mae", run_eagerly=True)
    note = keras.callbacks.LambdaCallback(on_epoch_begin=begin)
    model.fit(
        generator(X, y, batch_size),
        steps_per_epoch=steps,
        epochs=EPOCHS,
        callbacks=[note],
        shuffle=False,
        verbose=0,
    )
    return labels, inputs, X.most


QUESTIONS = ("epoch 2 begins with row", "rows in epoch 2", "epoch 3 begins with row")


def _judge_epochs(answer):
    if not isinstance(answer, dict) or set(answer) != set(QUESTIONS):
        return f"Keep the dictionary's keys: {'; '.join(QUESTIONS)}."
    for question, said in answer.items():
        if not is_integer(said):
            return f"{question}: {said!r} is not an integer."
    tried = measured(run(watch, generator=endless, rows=ROWS, batch_size=BATCH, steps=ROWS // BATCH))
    _, second, third = tried.result[0]
    for question, found in zip(QUESTIONS, (second[0], len(second), third[0]), strict=True):
        if answer[question] != found:
            comparison = "less" if found < answer[question] else "more"
            return f"{question}: you say {answer[question]}. In the training just now it was {comparison}."
    return None


q1 = Exercise(
    _judge_epochs,
    "How many rows do that many full batches take? The next batch begins there: is it a full one? "
    "Count the batches of the second epoch one by one: the first of them is the short one.",
    """\
answer = {
    "epoch 2 begins with row": 448,  # 7 x 64
    "rows in epoch 2": 436,  # the last 52, then 6 x 64
    "epoch 3 begins with row": 384,  # 6 x 64
}""",
    "All three match the training that the check has just run.",
)

SHUFFLED_ROWS, SHUFFLED_BATCH = 1_000, 96


def _judge_shuffled(generator):
    steps = -(-SHUFFLED_ROWS // SHUFFLED_BATCH)
    sizes = {"rows": SHUFFLED_ROWS, "batch_size": SHUFFLED_BATCH, "steps": steps}
    tried = run(watch, generator=generator, timeout=30, **sizes)
    if not tried.ok:
        return f"Training on it ended with status {tried.status!r}: {tried.error}"
    return _shuffled_wrong(*tried.result)


def _shuffled_wrong(labels, inputs, most):
    if inputs != labels:
        return "Some rows of X came with the y of other rows: both must be indexed with the same row numbers."
    for number, rows in enumerate(labels, start=1):
        twice, missing = len(rows) - len(set(rows)), SHUFFLED_ROWS - len(set(rows))
        if twice or missing:
            return (
                f"Epoch {number} trained on {len(rows):,} rows; there are {SHUFFLED_ROWS:,}. "
                f"{twice:,} were repeats, {missing:,} never came."
            )
    if any(rows == sorted(rows) for rows in labels):
        return "The rows came in file order: nothing is shuffled."
    if any(a == b for a, b in zip(labels, labels[1:], strict=False)):
        return "They are shuffled, but into the same order in every epoch."
    if most > SHUFFLED_BATCH:
        return (
            f"The rows are right, but {most:,} of them were read from X at once, and a batch has "
            f"{SHUFFLED_BATCH}. A file of many gigabytes would now be in memory."
        )
    return None


q2 = Exercise(
    _judge_shuffled,
    "Shuffle the row numbers, not the rows. `random.permutation(n)` returns the integers from 0 to n - 1 "
    "in a new order at each call; a slice of them selects the rows of a batch, from X and from y.",
    """\
def shuffled(X, y, batch_size):
    import numpy as np

    random = np.random.default_rng(0)
    while True:
        order = random.permutation(len(X))
        for start in range(0, len(X), batch_size):
            picked = order[start : start + batch_size]
            yield X[picked], y[picked]""",
    f"Every row once in each of {EPOCHS} epochs, in a new order each time, never more than a batch at once.",
)
