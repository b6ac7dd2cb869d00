"""Lesson 03: the largest batch for an LSTM, and training on long windows in chunks."""

from ..sizes import format_size
from .core import Exercise, is_integer, measured, run

LENGTH, UNITS, LIMIT = 500, 64, "128 MiB"


def two_steps(batch_size):
    """Two training steps of an LSTM that returns only its last output."""
    import keras
    import numpy as np
    from keras import layers

    model = keras.Sequential([keras.Input((LENGTH, 1)), layers.LSTM(UNITS), layers.Dense(1)])
    model.compile("adam", "mse")
    for _ in range(2):
        model.train_on_batch(np.ones((batch_size, LENGTH, 1), "float32"), np.ones((batch_size, 1)))


def _judge_batch(batch_size):
    if not is_integer(batch_size) or batch_size < 1:
        return f"{batch_size!r} is not a batch size. Give an integer of at least 1."
    batch_size = int(batch_size)
    if batch_size > 400:
        return f"{batch_size} is far too large; the check does not even try it."
    tried = measured(run(two_steps, memory_limit=LIMIT, batch_size=batch_size), "oom")
    if not tried.ok:
        return f"A batch of {batch_size} ended with status {tried.status!r} under {LIMIT}."
    more = -(-11 * batch_size // 10)
    larger = measured(run(two_steps, batch_size=more), "oom")
    if larger.ok and larger.peak_bytes <= tried.limit_bytes:
        return f"{batch_size} fits, but so does {more}, which peaked at {format_size(larger.peak_bytes)}."
    return None


q1 = Exercise(
    _judge_batch,
    "What is kept for one window? Seven tensors per time step, each with one float32 per unit. How many "
    "such windows fit within the limit? Leave a little room for the rest.",
    "largest_batch = 145  # a window takes 7 × 500 × 64 × 4 bytes: 149 would leave no room for the rest",
    "It was trained under the limit just now, and a batch one tenth larger would not have fit.",
    of_stand_in=True,
)

BATCH, TIME_STEPS, CHUNK = 4, 24, 6


def watched(answer):
    """Call the reader's function on windows whose values count the time steps; returns what it trained on."""
    import keras
    import numpy as np
    from keras import layers

    model = keras.Sequential([keras.Input(batch_shape=(BATCH, None, 1))])
    model.add(layers.LSTM(8, return_sequences=True, stateful=True))
    model.add(layers.Dense(1))
    model.compile("adam", "mse")
    X = np.broadcast_to(np.arange(TIME_STEPS, dtype="float32")[:, None], (BATCH, TIME_STEPS, 1))
    model.train_on_batch(X[:, :CHUNK], X[:, :CHUNK])  # the previous windows
    train_on_batch, calls = model.train_on_batch, []

    def spy(x, y=None, **options):
        fresh = all(not np.any(state.numpy()) for state in model.layers[0].states)
        calls.append((np.asarray(x)[0, :, 0].tolist(), np.asarray(y)[0, :, 0].tolist(), fresh))
        return train_on_batch(x, y, **options)

    model.train_on_batch = spy
    answer(model, X, X + 100, CHUNK)
    return calls


def _judge_chunks(answer):
    tried = run(watched, answer=answer)
    if not tried.ok:
        return f"It ended with status {tried.status!r}: {tried.error}"
    return _wrong_calls(tried.result)


def _wrong_calls(calls):
    if not calls:
        return "It never called train_on_batch."
    longest = max(len(x) for x, _, _ in calls)
    if longest > CHUNK:
        return f"With a chunk of {CHUNK}, a call got {longest} time steps: that many are kept at once."
    seen = [step for x, _, _ in calls for step in x]
    if seen != list(range(TIME_STEPS)):
        return (
            f"It should train on time steps 0 to {TIME_STEPS - 1}, once each, in order; "
            f"it trained on {_listed(seen)}."
        )
    if len(calls) != TIME_STEPS // CHUNK:
        return (
            f"{TIME_STEPS} time steps in chunks of {CHUNK} make {TIME_STEPS // CHUNK} calls; "
            f"there were {len(calls)}."
        )
    if any(y != [step + 100 for step in x] for x, y, _ in calls):
        return "The targets do not belong to the same time steps as the inputs."
    if not calls[0][2]:
        return "At the first call, the layer still held the state of the previous windows."
    if any(fresh for _, _, fresh in calls[1:]):
        return "Between two chunks, the state was lost: the second knows nothing of the first."
    return None


def _listed(steps):
    return ", ".join(f"{step:.0f}" for step in steps[:10]) + (", ..." if len(steps) > 10 else "")


q2 = Exercise(
    _judge_chunks,
    "Three things: clear the state of the old windows once, before the loop; advance by one chunk at a time; "
    "and slice inputs and targets alike along the second axis. fit_chunks() in this lesson does all of it.",
    """\
def train_in_chunks(model, X, y, chunk):
    model.layers[0].reset_state()
    for t in range(0, X.shape[1], chunk):
        model.train_on_batch(X[:, t : t + chunk], y[:, t : t + chunk])""",
    "Every time step once, in order, with the state carried from chunk to chunk.",
)
