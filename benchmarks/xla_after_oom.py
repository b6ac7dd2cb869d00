"""What becomes of a model whose step ran out of memory and that is trained on: with XLA and without.

    .venv/bin/python benchmarks/xla_after_oom.py

In each trial, a small convolutional network takes a step that does not fit 160 MiB. The error is caught, and
the same process goes on with a batch of 4.
"""

from report import Report

import labkit

LIMIT = "160 MiB"
WAYS = {
    "nothing": "goes on with the model as it is",
    "weights": "puts back the weights from before",
    "compile": "puts them back, and compiles the model anew",
    "another": "goes on with another model that has those weights",
}


def go_on(jit_compile, way):
    """(whether the step failed, whether all weights are finite right after it, and after the next step)."""
    import keras
    import numpy as np
    import tensorflow as tf
    from keras import layers

    def build():
        model = keras.Sequential([
            keras.Input((64, 64, 3)),
            layers.Conv2D(16, 3, activation="relu"),
            layers.Conv2D(16, 3, activation="relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(10),
        ])  # fmt: skip
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile("adam", loss, jit_compile=jit_compile)
        return model

    def finite(model):
        return bool(all(np.isfinite(array).all() for array in model.get_weights()))

    x = np.random.default_rng(0).random((256, 64, 64, 3), dtype="float32")
    y, model, failed = np.arange(256) % 10, build(), False
    first = model.get_weights()
    try:
        model.train_on_batch(x, y)
    except tf.errors.ResourceExhaustedError:
        failed = True
    after = finite(model)
    if way == "another":
        model = build()
    if way != "nothing":
        model.set_weights(first)
    if way == "compile":
        model.compile("adam", model.loss, jit_compile=jit_compile)
    model.train_on_batch(x[:4], y[:4])
    return failed, after, finite(model)


def main():
    report = Report("xla_after_oom")
    for jit_compile in (False, True):
        report("with XLA (jit_compile=True)" if jit_compile else "without XLA")
        for way, words in WAYS.items():
            outcome = labkit.run(go_on, memory_limit=LIMIT, jit_compile=jit_compile, way=way)
            said = "the process crashed"
            if outcome.ok:
                failed, after, later = outcome.result
                kinds = {True: "finite", False: "NaN"}
                said = f"out of memory: {failed}; weights then {kinds[after]}, a step later {kinds[later]}"
            elif outcome.error.type != "SIGABRT":
                said = f"{outcome.status}: {outcome.error.type}"
            report(f"  {words:52}{said}")
    report.save()


if __name__ == "__main__":
    main()
