"""Lesson 13: the size of attention scores, and a Transformer brought into 256 MiB."""

from numbers import Real

from ..outcome import Outcome
from ..sizes import MIB, counted, format_size
from ..trials.trial import Trial
from .core import Exercise, Verdict, measured, run

LIMIT, LENGTH, UPDATES, BATCH = "256 MiB", 256, 24, 32
POINT = 0.01  # of accuracy, that a route may lose
FEW, HEADS, UNITS = 4, 4, 32
LENGTHS = 256, 512


def attend(length):
    """Two training steps of one attention layer, on FEW pages of `length` digits."""
    import keras
    import numpy as np
    from keras import layers

    inputs = keras.Input((length, UNITS))
    x = layers.MultiHeadAttention(HEADS, UNITS // HEADS, name="attention")(inputs, inputs)
    model = keras.Model(inputs, layers.Dense(1)(x))
    model.compile("sgd", "mse")
    X = np.ones((FEW, length, UNITS), "float32")
    for _ in range(2):
        model.train_on_batch(X, X[..., :1])


def _judge_scores(scores):
    if not isinstance(scores, dict) or set(scores) != set(LENGTHS):
        return "Keep the dictionary: for each of the lengths 256 and 512, the MiB of one layer's scores."
    for length in LENGTHS:
        told = scores[length]
        if not isinstance(told, Real) or told != told:
            return f"{length} digits: {told!r} is not a number of MiB."
        tried = measured(run(attend, length=length, profile=True))
        rows = [row for row in tried.timeline.during(2).at_peak() if row.layer == "attention"]
        largest = max(row.requested_bytes for row in rows)
        if abs(told * MIB - largest) > 0.05 * largest:
            than = "more" if told * MIB < largest else "less"
            return (
                f"{length} digits: you say {told} MiB. "
                f"In a trial just now the largest tensor of the layer had {than} than that."
            )
    return None


q1 = Exercise(
    _judge_scores,
    "One score, in float32, for each page, each head, and each pair of digits. How many pairs are there?",
    f"scores = {{256: 4, 512: 16}}  # {FEW} pages × {HEADS} heads × length × length × 4 bytes",
    "Both were measured just now: twice the length, four times the scores.",
)


def score(route):
    """Train by `route`, then transcribe 64 pages of digits that it has not seen; returns what was seen.

    route   returns the trained Keras model, which takes pages (n, length, 64) to logits (n, length, 10)
    """
    import keras
    import numpy as np
    from sklearn.datasets import load_digits

    model = route()
    if not isinstance(model, keras.Model):
        return {"returned": type(model).__name__}
    images, labels = (part[1200:] for part in load_digits(return_X_y=True))
    chosen = np.random.default_rng(1).integers(len(images), size=(64, LENGTH))
    try:
        read = model.predict(((images[chosen] - 5) / 6).astype("float32"), batch_size=4, verbose=0).argmax(-1)
        accuracy = float(np.mean(read == labels[chosen])) if read.shape == chosen.shape else None
    except ValueError:  # what Keras raises for input of another shape
        accuracy = None
    return {
        "accuracy": accuracy,
        "updates": int(model.optimizer.iterations),
        "optimizer": type(model.optimizer).__name__,
        "policy": keras.mixed_precision.global_policy().name,
        "computes": sorted({layer.compute_dtype for layer in model.layers if layer.weights}),
    }


def _judge_route(fixed, base=None):
    known = isinstance(base, Outcome) and base.ok and isinstance(base.result, dict)
    if not known or base.result.get("accuracy") is None:
        return "Pass base as well, the outcome of labkit.run(score, route=train)."
    tried = run(score, route=fixed, memory_limit=LIMIT, timeout=600)
    if tried.status == "oom":
        return _too_large(fixed, tried)
    if not tried.ok:
        return f"It ended with status {tried.status!r}: {tried.error}"
    return _result_wrong(tried.result, base.result) or _praise(tried, base)


def _too_large(fixed, tried):
    """What is told of a training that did not fit, after one without the limit."""
    layer = tried.diagnosis.layer if tried.diagnosis is not None else None
    said = f"Memory ran out under {LIMIT}{f', in {layer}' if layer else ''}."
    free = Trial(score, params={"route": fixed}, shorten_to=3).run()
    if not free.ok or "policy" not in (free.result or {}):
        return said
    said += f" Without a limit it peaks at {format_size(free.peak_bytes)}."
    if free.result["policy"] != "float32":
        if free.result["computes"] == ["float32"]:
            return f"{said} The policy was set after the model was built: its layers compute in float32."
        return f"{said} Its layers compute in 16 bits, but are the scores kept in 16 bits?"
    return said


def _result_wrong(seen, before):
    if "returned" in seen:
        return f"The function should return the trained model; yours returned a {seen['returned']}."
    if seen["accuracy"] is None:
        return f"The model does not transcribe a whole page: it should take {LENGTH} digits, and name each."
    if seen["updates"] != UPDATES:
        return _updates_wrong(seen)
    if seen["accuracy"] < before["accuracy"] - POINT:
        return (
            f"It fits, but names {100 * seen['accuracy']:.1f} % of the digits right, and the original "
            f"{100 * before['accuracy']:.1f} %: more than one percentage point less."
        )
    return None


def _updates_wrong(seen):
    made = seen["updates"]
    if seen["optimizer"] == "LossScaleOptimizer" and UPDATES - 4 <= made < UPDATES:
        return (
            f"Only {made} of {UPDATES} updates were made. LossScaleOptimizer skips a step if gradients are "
            "infinite in float16, and its loss scale starts at 32,768: give it a smaller initial_scale."
        )
    pages = UPDATES * BATCH / max(made, 1)
    return (
        f"It made {counted(made, 'update')}, so each came from {pages:.3g} pages: another training. "
        f"Make {UPDATES}, each from {BATCH} pages."
    )


def _praise(tried, base):
    parts = [f"{format_size(tried.peak_bytes)} instead of {format_size(base.peak_bytes)}"]
    if tried.samples_per_second and base.samples_per_second:
        parts.append(f"the whole trial took {tried.wall_seconds / base.wall_seconds:.2g} times as long")
    parts.append(f"{100 * tried.result['accuracy']:.1f} % right ({100 * base.result['accuracy']:.1f} %)")
    return Verdict(True, f"It fits {LIMIT}: {', '.join(parts)}. There are other routes.")


q2 = Exercise(
    _judge_route,
    "Which part of the peak grows with the batch, and which with the square of the length? What divides a "
    "batch and still makes one update of it? What need not be kept until the backward pass?",
    """\
def fixed():
    return train(batch_size=8, accumulate=4)

# Another that passes: train(batch_size=16, accumulate=2, wrap=again).""",
)
