"""Lesson 08: what float16 makes smaller, and a model with its precisions mixed correctly."""

from .core import Exercise, built, measured, run

NAMES, ENOUGH = "ABCD", 0.75


def two_steps(letter, policy):
    """Two training steps of one of the four networks."""
    import keras
    import numpy as np
    from keras import layers

    keras.mixed_precision.set_global_policy(policy)
    if letter == "A":
        X = np.ones((2, 128, 128, 3), "float32")
        body = []
        for filters in (32, 64):
            body += [layers.Conv2D(filters, 3, padding="same", activation="relu") for _ in range(2)]
            body.append(layers.MaxPooling2D())
        body.append(layers.GlobalAveragePooling2D())
    elif letter == "B":
        X = np.ones((32, 20), "int32")
        body = [layers.Embedding(131_072, 16), layers.GlobalAveragePooling1D()]
    elif letter == "C":
        X = np.ones((2048, 128), "float32")
        body = [layers.Dense(128, activation="relu") for _ in range(6)]
    else:
        X = np.ones((8, 8, 8, 3), "float32")
        body = [layers.Conv2D(256, 3, padding="same", activation="relu") for _ in range(3)]
        body.append(layers.GlobalAveragePooling2D())
    model = keras.Sequential([*body, layers.Dense(1, dtype="float32")])
    model.compile("adam", "mse")
    for _ in range(2):
        model.train_on_batch(X, np.ones((len(X), 1)))


def _judge_smaller(letters):
    if not isinstance(letters, str) or not set(letters.upper()) <= set(NAMES + ", "):
        return f"{letters!r}: give the letters of those that shrink that much, such as {NAMES[:2]!r}."
    for letter in NAMES:
        full, mixed = (
            measured(run(two_steps, letter=letter, policy=p)) for p in ("float32", "mixed_float16")
        )
        share = mixed.peak_bytes / full.peak_bytes
        if (share <= ENOUGH) != (letter in letters.upper()):
            said = "you say it does" if letter in letters.upper() else "you say it does not"
            return f"{letter}: {said}. In a trial just now the peak was {share:.2f} of the float32 peak."
    return None


q1 = Exercise(
    _judge_smaller,
    "For each one: is most of its memory activations, or weights and optimizer state? A table of 131,072 "
    "rows is weights. A dense layer keeps batch × width numbers; a convolution keeps batch × pixels × "
    "filters, and has 9 × filters × filters weights, if its input has as many channels.",
    'smaller = "AC"  # both are mostly activations',
    "All four were trained under both policies just now.",
    of_stand_in=True,
)


def inspected(build):
    """Build the reader's model, train it for two steps; returns what its layers and optimizer are."""
    import numpy as np

    model = built(build)
    shapes = model.input_shape, model.output_shape
    layers = [
        (layer.name, layer.compute_dtype, layer.variable_dtype, bool(layer.weights))
        for layer in model._flatten_layers(include_self=False)
        if not [*layer._flatten_layers(include_self=False)]
    ]
    output = str(model.outputs[0].dtype)
    rows = model.predict_on_batch(np.ones((4, 28, 28, 1), "float32")).sum(axis=1)
    for _ in range(2):
        model.train_on_batch(np.ones((4, 28, 28, 1), "float32"), np.zeros(4))
    return shapes, layers, output, rows.tolist(), type(model.optimizer).__name__


def _judge_model(build):
    tried = run(inspected, build=build)
    if not tried.ok:
        return f"It ended with status {tried.status!r}: {tried.error}"
    shapes, layers, output, rows, optimizer = tried.result
    if shapes != ((None, 28, 28, 1), (None, 10)):
        return f"It should take images of 28 × 28 × 1 and return ten numbers; yours has the shapes {shapes}."
    if output != "float32":
        return f"The output is {output}: small probabilities underflow in such a softmax."
    for name, _, keeps, _ in layers:
        if keeps != "float32":
            return f"The layer {name} keeps its weights in {keeps}: small updates will be lost."
    weighted = [(name, computes) for name, computes, _, has_weights in layers if has_weights]
    for name, computes in weighted[:-1] or weighted:  # the last may hold the softmax
        if computes != "float16":
            return f"The layer {name} computes in {computes}."
    if not all(abs(row - 1) <= 0.01 for row in rows):  # nor NaN
        return "The ten numbers of an image do not add up to 1: that is not a softmax."
    if optimizer != "LossScaleOptimizer":
        return f"The optimizer is a plain {optimizer}: small gradients will underflow."
    return None


q2 = Exercise(
    _judge_model,
    "The policy that computes in float16 and keeps weights in float32 has 'mixed' in its name. "
    "A layer's own dtype= overrides it.",
    """\
def mixed_model():
    import keras
    from keras import layers

    keras.mixed_precision.set_global_policy("mixed_float16")
    model = keras.Sequential([keras.Input((28, 28, 1)), layers.Conv2D(8, 3, activation="relu")])
    model.add(layers.Flatten())
    model.add(layers.Dense(10, activation="softmax", dtype="float32"))
    model.compile("adam", "sparse_categorical_crossentropy")
    return model""",
    "It computes in float16, keeps its weights in float32, scales its loss, and its softmax is in float32.",
)
