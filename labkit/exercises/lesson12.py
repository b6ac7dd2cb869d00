"""Lesson 12: the reader's own verdicts, and a false claim made true."""

from ..sizes import format_size, parse_size
from .core import Exercise, is_integer, measured, run

VERDICTS = {
    "A2": "false",
    "B1": "false",
    "C1": "partly",
    "C3": "partly",
    "F6": "true",
    "M1": "false",
    "M4": "false",
    "M5": "true",
    "M10": "true",
    "M15": "partly",
}


def _judge_verdicts(verdicts):
    if not isinstance(verdicts, dict) or set(verdicts) != set(VERDICTS):
        return f"Give a verdict on each of {', '.join(VERDICTS)}, and on no other claim."
    strange = [verdict for verdict in verdicts.values() if verdict not in VERDICTS.values()]
    if strange:
        return f'{strange[0]!r} is not a verdict: "true", "partly" or "false".'
    others = [name for name in VERDICTS if verdicts[name] != VERDICTS[name]]
    if not others:
        return None
    listed = ", ".join(f"{name} (you say {verdicts[name]})" for name in others)
    return (
        f"{len(VERDICTS) - len(others)} of your {len(VERDICTS)} verdicts agree with the measurements. "
        f"Not these: {listed}. The table has the numbers, with a link to the cell that shows each."
    )


q1 = Exercise(
    _judge_verdicts,
    "Four of the ten are false, three are true. Which claims name a saving without saying of which part?",
    "verdicts = {\n" + "".join(f'    "{name}": "{verdict}",\n' for name, verdict in VERDICTS.items()) + "}",
    "All ten agree with what the course measured.",
)

LIMIT = "80 MiB"  # on a busy machine half of the right batch took 65, instead of 50


def toy(batch_size):
    """Train the toy of claim B1 for two steps of one batch."""
    import numpy as np
    from keras import Sequential, layers

    X, y = np.zeros((2 * batch_size, 10), "float32"), np.zeros(2 * batch_size, "float32")
    model = Sequential([layers.Dense(64, activation="relu"), layers.Dense(1)])
    model.compile("adam", "mse")
    model.fit(X, y, batch_size=batch_size, verbose=0)


def _judge_batch(batch_size):
    if not is_integer(batch_size) or batch_size < 2 or batch_size & (batch_size - 1):
        return f"{batch_size!r} is not a power of two: 1024, for example, is one."
    batch_size = int(batch_size)
    if batch_size > 2**20:
        return f"{batch_size:,} rows are far more than it takes, and too many to try here."
    half = measured(run(toy, batch_size=batch_size // 2)).peak_bytes
    if half > parse_size(LIMIT):
        return (
            f"It exceeds {LIMIT}, but so does half of it: with batch size {batch_size // 2:,} "
            f"it just peaked at {format_size(half)}."
        )
    whole = measured(run(toy, batch_size=batch_size)).peak_bytes
    if whole <= parse_size(LIMIT):
        return f"With batch size {batch_size:,} it just peaked at {format_size(whole)}, within {LIMIT}."
    return None


q2 = Exercise(
    _judge_batch,
    "The peak of the toy is nearly all activations, their gradients and the data: it is proportional to the "
    "batch size. The check tells you the peak of a size that is too small; how many times that is the limit?",
    "batch_size = 131072",
    "That batch and half of it were trained just now: the claim is true of your batch size only.",
)
