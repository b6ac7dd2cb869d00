"""Lesson 11: two jobs that share a device, and a stack that fits between what is kept."""

from ..sizes import MIB, format_size
from .core import Exercise, is_integer, measured, run

DEVICE_MIB = 96
JOBS = {"small": 1024, "large": 2048}
BLOCKS = 14
LIMIT = 64 * MIB


def train(width, steps=3):
    """Train two dense layers of `width` units, as the jobs of the lesson do."""
    import keras
    import numpy as np

    layers = [keras.layers.Dense(width), keras.layers.Dense(width)]
    model = keras.Sequential([keras.Input((width,)), *layers])
    model.compile("sgd", "mse")
    for _ in range(steps):
        model.train_on_batch(np.ones((32, width), "float32"), np.ones((32, width), "float32"))


def _judge_limits(limits):
    if not _are_two_integers(limits):
        return f"{limits!r} is not an answer: give two integers, in MiB, such as (10, 20)."
    if sum(limits) > DEVICE_MIB:
        return f"Together the jobs may take {sum(limits)} MiB, and the device has {DEVICE_MIB}."
    for (job, width), limit in zip(JOBS.items(), limits, strict=True):
        tried = measured(run(train, memory_limit=int(limit) * MIB, width=width), "oom", "error", "crashed")
        if not tried.ok:
            peak = format_size(tried.peak_bytes)
            return (
                f"The {job} job does not train under {limit} MiB: {tried.status!r}, when {peak} were in use."
            )
    return None


def _are_two_integers(limits):
    return (
        isinstance(limits, tuple | list)
        and len(limits) == len(JOBS)
        and all(is_integer(limit) and limit > 0 for limit in limits)
    )


q1 = Exercise(
    _judge_limits,
    "Measure each job alone, without a limit: `labkit.run(train_for_a_while, width=1024).peak_bytes`. Then "
    "leave each a little more than that.",
    "limits = (24, 72)  # each a little more than its job needs",
    "Both jobs trained under these limits just now, one after the other; the limits hold together, too.",
)


def make_block(n):
    """Block `n`, 4 MiB. High and low means alternate without a pattern."""
    import tensorflow as tf

    return tf.fill((1024, 1024), float(5 * n % BLOCKS))


def summary(answer):
    """The shape of what the reader's function returns, and one number of each block in it."""
    import numpy as np

    stacked = np.asarray(answer(make_block, BLOCKS))
    return stacked.shape, stacked.reshape(len(stacked), -1)[:, 0].tolist()


def _judge_stack(answer):
    tried = run(summary, memory_limit=LIMIT, answer=answer)
    if tried.status == "oom":
        return (
            f"It does not fit {format_size(LIMIT)}: {format_size(tried.current_bytes or 0)} were in use. "
            "Is what you keep still on the device?"
        )
    if not tried.ok:
        return f"It ended with status {tried.status!r}: {tried.error}"
    shape, first = tried.result
    half = [float(n) for n in range(BLOCKS // 2, BLOCKS)]
    if shape != (len(half), 1024, 1024) or first != half:
        return f"It fits, but the result differs: shape {shape}, and the blocks have the means {first}."
    return None


q2 = Exercise(
    _judge_stack,
    "What you keep lies between the blocks that become free. Where else could it wait?",
    """\
def best_half(make_block, count):
    import tensorflow as tf

    blocks = [make_block(n) for n in range(count)]
    means = [float(tf.reduce_mean(block)) for block in blocks]
    best = sorted(range(count), key=lambda n: means[n])[count // 2 :]
    kept = [blocks[n].numpy() for n in best]
    del blocks
    return tf.stack(kept)""",
    "What is kept waits on the host, and the device has one large free block again.",
)
