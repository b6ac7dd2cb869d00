"""Predicted versus measured peak on kinds of training other than those of trainings.py.

3-D convolutions, shared layers, two optimizers, recurrent convolutions, wide and deep, gradients accumulated
over four steps, evaluation and prediction with a larger batch, tf.data with a queue, a compiled step, and
estimates over a picture's side and over length and batch size together. "!" marks an estimate that doubts
itself, and what it says follows. MENDED_FOR names those because of which a rule was changed: the others are
unseen, and whoever tunes a rule on one adds it there.
"""

import statistics
import sys

from report import Report

import labkit


def volumes(batch_size):
    import keras
    import numpy as np

    layers = keras.layers
    hidden = [layers.Conv3D(n, 3, strides=2, padding="same", activation="relu") for n in (12, 24)]
    head = [layers.GlobalAveragePooling3D(), layers.Dense(4)]
    model = keras.Sequential([keras.Input((12, 24, 24, 2)), *hidden, *head])
    model.compile("adam", "mse")
    x = np.ones((6 * batch_size, 12, 24, 24, 2), "float32")
    model.fit(x, np.ones((len(x), 4)), batch_size=batch_size, verbose=0)


def twins(batch_size):
    import keras
    import numpy as np

    layers = keras.layers
    read = keras.Sequential([layers.Embedding(2000, 24), layers.Conv1D(48, 3), layers.GlobalMaxPooling1D()])
    left, right = keras.Input((60,), dtype="int32"), keras.Input((60,), dtype="int32")
    model = keras.Model([left, right], layers.Dot(-1, normalize=True)([read(left), read(right)]))
    model.compile("adagrad", "mse")
    x = np.ones((1500, 60), "int32")
    model.fit([x, x.copy()], np.ones(1500), batch_size=batch_size, validation_split=0.2, verbose=0)


def adversaries(batch_size):
    import keras
    import numpy as np
    import tensorflow as tf

    layers = keras.layers
    forge = keras.Sequential([keras.Input((16,)), layers.Dense(256, activation="relu"), layers.Dense(900)])
    judge = keras.Sequential([keras.Input((900,)), layers.Dense(128, activation="relu"), layers.Dense(1)])
    of_forge, of_judge = keras.optimizers.Adam(1e-4), keras.optimizers.RMSprop(1e-4)

    @tf.function
    def step(real):
        with tf.GradientTape() as tape:
            fake = forge(tf.random.normal((tf.shape(real)[0], 16)))
            loss = tf.reduce_mean(judge(fake)) - tf.reduce_mean(judge(real))
        of_judge.apply_gradients(
            zip(tape.gradient(loss, judge.trainable_variables), judge.trainable_variables, strict=True)
        )
        with tf.GradientTape() as tape:
            loss = -tf.reduce_mean(judge(forge(tf.random.normal((tf.shape(real)[0], 16)))))
        of_forge.apply_gradients(
            zip(tape.gradient(loss, forge.trainable_variables), forge.trainable_variables, strict=True)
        )
        return loss

    data = tf.data.Dataset.from_tensor_slices(np.ones((3000, 900), "float32")).shuffle(300).batch(batch_size)
    for batch in data.prefetch(4):
        step(batch)


def films(batch_size):
    import keras
    import numpy as np

    layers = keras.layers
    hidden = [layers.ConvLSTM2D(6, 3, return_sequences=True), layers.ConvLSTM2D(4, 3), layers.Flatten()]
    model = keras.Sequential([keras.Input((6, 18, 18, 2)), *hidden, layers.Dense(3, activation="softmax")])
    model.compile("rmsprop", "categorical_crossentropy")
    model.fit(
        np.ones((300, 6, 18, 18, 2), "float32"), np.ones((300, 3)) / 3, batch_size=batch_size, verbose=0
    )


def table(batch_size):
    import keras
    import numpy as np

    layers = keras.layers
    wide, ids = keras.Input((400,)), keras.Input((12,), dtype="int32")
    deep = layers.Dense(200, activation="relu")(layers.Flatten()(layers.Embedding(6000, 12)(ids)))
    model = keras.Model([wide, ids], layers.Dense(1)(layers.Concatenate()([wide, layers.Dense(80)(deep)])))
    model.compile("adam", "mse")
    x = [np.ones((5000, 400), "float32"), np.ones((5000, 12), "int32")]
    model.fit(x, np.ones(5000), batch_size=batch_size, verbose=0)


def accumulating(batch_size):
    import keras
    import numpy as np

    layers = keras.layers
    model = keras.Sequential([keras.Input((300,)), layers.Dense(700, activation="relu"), layers.Dense(300)])
    model.compile(keras.optimizers.AdamW(1e-3, gradient_accumulation_steps=4), "mse")
    x = np.ones((20 * batch_size, 300), "float32")
    model.fit(x, x, batch_size=batch_size, verbose=0)


def predicting(batch_size):
    import keras
    import numpy as np

    layers = keras.layers
    hidden = [layers.Conv2D(n, 3, padding="same", activation="relu") for n in (12, 12, 3)]
    model = keras.Sequential([keras.Input((28, 28, 3)), *hidden])
    model.compile("adam", "mse")
    x = np.ones((1200, 28, 28, 3), "float32")
    model.fit(x, x, batch_size=batch_size, epochs=2, verbose=0)
    model.evaluate(x, x, batch_size=2 * batch_size, verbose=0)
    model.predict(x, batch_size=2 * batch_size, verbose=0)


def queued(batch_size):
    import keras
    import numpy as np
    import tensorflow as tf

    layers = keras.layers
    hidden = [layers.Conv2D(16, 5, strides=2, activation="relu"), layers.Flatten(), layers.Dense(5)]
    model = keras.Sequential([keras.Input((30, 30, 1)), *hidden])
    model.compile("sgd", "mse")
    data = tf.data.Dataset.from_tensor_slices((np.ones((4000, 30, 30, 1), "float32"), np.ones((4000, 5))))
    data = data.shuffle(1000).batch(batch_size).map(lambda x, y: (x / 255, y)).prefetch(16)
    model.fit(data, verbose=0)


def compiled(batch_size):
    import keras
    import numpy as np

    layers = keras.layers
    model = keras.Sequential(
        [keras.Input((24,), dtype="int32"), layers.Embedding(16000, 96), layers.Dense(192)]
    )
    model.add(layers.Dense(16000))
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), jit_compile=True)
    x = np.ones((batch_size, 24), "int32")
    for _ in range(4):
        model.train_on_batch(x, x)


def pictures(side):
    import keras
    import numpy as np

    layers = keras.layers
    hidden = [layers.Conv2D(12, 3, activation="relu"), layers.AveragePooling2D(2), layers.Conv2D(20, 3)]
    model = keras.Sequential([keras.Input((side, side, 3)), *hidden, layers.Flatten(), layers.Dense(3)])
    model.compile("adam", "mse")
    x = np.ones((40, side, side, 3), "float32")
    model.fit(x, np.ones((40, 3)), batch_size=8, verbose=0)


def sequences(batch_size, length):
    import keras
    import numpy as np

    layers = keras.layers
    inputs = keras.Input((length, 20))
    x = layers.MultiHeadAttention(2, 10)(inputs, inputs)
    model = keras.Model(inputs, layers.Dense(20)(layers.Dense(60, activation="relu")(x)))
    model.compile("adam", "mse")
    x = np.ones((5 * batch_size, length, 20), "float32")
    model.fit(x, x, batch_size=batch_size, verbose=0)


MENDED_FOR = {"compiled", "accumulating", "table", "queued"}
OF_BATCH = [volumes, twins, adversaries, films, table, accumulating, predicting, queued, compiled]
CASES = [
    *((net, "batch_size", (4, 8), [{"batch_size": v} for v in (64, 256)]) for net in OF_BATCH),
    (pictures, "side", (16, 32), [{"side": 128}, {"side": 256}]),
    (
        sequences, ("batch_size", "length"), {"batch_size": (4, 8), "length": (32, 64)},
        [{"batch_size": 32, "length": 256}, {"batch_size": 128, "length": 128}],
    ),
]  # fmt: skip


def rows(net, over, at, points):
    found = labkit.estimate(net, over=over, at=at, timeout=300)
    for point in points:
        outcome = labkit.run(net, timeout=300, memory_limit="3 GiB", **point)
        low, high = found.interval(**point)
        predicted = found.peak_bytes(**point)
        yield {
            "point": ", ".join(f"{name} {value}" for name, value in point.items()),
            "measured": outcome.peak_bytes,
            "off": 100 * (predicted / outcome.peak_bytes - 1),
            "inside": low <= outcome.peak_bytes <= high,
            "width": 100 * (high - low) / predicted,
            "moment": found.moment_at(**point),
            "notes": found.notes,
        }


def table(report, cases, names):
    """Report all rows of the cases named, or of all; returns them."""
    found = []
    report(f"{'training':16}{'at':28}{'measured':>10}{'off':>9}{'interval':>10}{'holds':>7}  peak in")
    for net, over, at, points in cases:
        if names and net.__name__ not in names:
            continue
        for row in rows(net, over, at, points):
            found.append(row)
            report(
                f"{net.__name__:16}{row['point']:28}{labkit.format_size(row['measured']):>10}{row['off']:>+8.1f}%"
                f"{row['width']:>9.0f}%{'yes' if row['inside'] else 'NO':>7}  {row['moment']}"
                f"{' !' if row['notes'] else ''}"
            )
        for note in found[-1]["notes"]:
            report(f"    {note}")
        report.save()
    return found


def summary(report, found):
    errors = sorted(abs(row["off"]) for row in found)
    widths = [row["width"] for row in found]
    report("")
    report(
        f"median {statistics.median(errors):.2f} %, nine in ten within "
        f"{errors[round(0.9 * len(errors)) - 1]:.1f} %, worst {errors[-1]:.1f} %"
    )
    report(
        f"{sum(row['inside'] for row in found)} of {len(found)} in their interval, whose width is "
        f"{statistics.median(widths):.0f} % (median), {max(widths):.0f} % at most"
    )
    report.save()


def main(names):
    report = Report("estimate_kinds")
    found = table(report, CASES, names)
    report("")
    report(f"mended for: {', '.join(sorted(MENDED_FOR))}; the others are unseen")
    summary(report, found)


if __name__ == "__main__":
    main(sys.argv[1:])
