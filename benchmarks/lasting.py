"""Does the answer of find_batch_size() last? Eight trainings of the kinds of Keras's published examples.

Each is searched with a training of one epoch. The answer is then trained for four epochs and for eight, with
two other seeds and nothing else to help it, under the same limit. So is 10 % more, for eight epochs: where
that fits too, the answer was cautious. The interval of the estimate that the search began with is compared
with peaks of four epochs without a limit, for a tight one changes the peak. Data is random.
"""

import sys

from report import Report

import labkit
from labkit.predict.search import PATIENCE
from labkit.trials.trial import Trial

EPOCHS, SEEDS = (4, 8), (1, 2)
MORE, AMPLE = 1.1, "3 GiB"  # times the answer; a limit that changes nothing


def mnist_convnet(batch_size, epochs=1):
    import keras
    import numpy as np
    from keras import layers

    rng = np.random.default_rng(0)
    x, y = rng.random((4000, 28, 28, 1), "float32"), keras.utils.to_categorical(rng.integers(0, 10, 4000), 10)
    model = keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Conv2D(32, 3, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Conv2D(64, 3, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dropout(0.5),
            layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile(loss="categorical_crossentropy", optimizer="adam", metrics=["accuracy"])
    model.fit(x, y, batch_size=batch_size, epochs=epochs, validation_split=0.1, verbose=0)


def text_transformer(batch_size, epochs=1):
    import keras
    import numpy as np
    from keras import layers

    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 4000, (4000, 60)), rng.integers(0, 2, 4000)
    tokens = keras.Input((60,))
    places = layers.Embedding(60, 32)(keras.ops.arange(60))
    z = layers.Embedding(4000, 32)(tokens) + places
    attended = layers.Dropout(0.1)(layers.MultiHeadAttention(2, 32)(z, z))
    z = layers.LayerNormalization(epsilon=1e-6)(z + attended)
    dense = layers.Dense(32)(layers.Dense(32, activation="relu")(z))
    z = layers.LayerNormalization(epsilon=1e-6)(z + layers.Dropout(0.1)(dense))
    z = layers.Dropout(0.1)(layers.GlobalAveragePooling1D()(z))
    z = layers.Dropout(0.1)(layers.Dense(20, activation="relu")(z))
    model = keras.Model(tokens, layers.Dense(2, activation="softmax")(z))
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(x, y, batch_size=batch_size, epochs=epochs, validation_data=(x[:500], y[:500]), verbose=0)


def seq2seq(batch_size, epochs=1):
    import keras
    import numpy as np
    from keras import layers

    rng = np.random.default_rng(0)
    source = np.eye(60, dtype="float32")[rng.integers(0, 60, (3000, 16))]
    target = np.eye(80, dtype="float32")[rng.integers(0, 80, (3000, 30))]
    to_encode, to_decode = keras.Input((None, 60)), keras.Input((None, 80))
    _, *states = layers.LSTM(128, return_state=True)(to_encode)
    decoded, _, _ = layers.LSTM(128, return_sequences=True, return_state=True)(
        to_decode, initial_state=states
    )
    model = keras.Model([to_encode, to_decode], layers.Dense(80, activation="softmax")(decoded))
    model.compile("rmsprop", "categorical_crossentropy", metrics=["accuracy"])
    model.fit([source, target], target, batch_size=batch_size, epochs=epochs, validation_split=0.2, verbose=0)


def autoencoder(batch_size, epochs=1):
    import keras
    import numpy as np
    from keras import layers

    clean = np.random.default_rng(0).random((3000, 28, 28, 1), "float32")
    noisy = np.clip(clean + 0.4 * np.random.default_rng(1).normal(size=clean.shape), 0, 1).astype("float32")
    x = image = keras.Input((28, 28, 1))
    for _ in range(2):
        x = layers.Conv2D(32, 3, activation="relu", padding="same")(x)
        x = layers.MaxPooling2D(2, padding="same")(x)
    for _ in range(2):
        x = layers.Conv2DTranspose(32, 3, strides=2, activation="relu", padding="same")(x)
    model = keras.Model(image, layers.Conv2D(1, 3, activation="sigmoid", padding="same")(x))
    model.compile("adam", "binary_crossentropy")
    held = (noisy[:500], clean[:500])
    model.fit(
        noisy, clean, epochs=epochs, batch_size=batch_size, shuffle=True, validation_data=held, verbose=0
    )


def weather_lstm(batch_size, epochs=1):
    import keras
    import numpy as np
    from keras import layers

    series = np.random.default_rng(0).normal(size=(6000, 7)).astype("float32")
    make = keras.utils.timeseries_dataset_from_array
    training = make(series, series[120:, 1], sequence_length=120, batch_size=batch_size)
    held = make(series[:1500], series[120:1500, 1], sequence_length=120, batch_size=batch_size)
    model = keras.Sequential([keras.Input((120, 7)), layers.LSTM(32), layers.Dense(1)])
    model.compile(keras.optimizers.Adam(0.001), "mse")
    model.fit(training, epochs=epochs, validation_data=held, verbose=0)


def wide_and_deep(batch_size, epochs=1):
    import keras
    import numpy as np
    import tensorflow as tf
    from keras import layers

    rng = np.random.default_rng(0)
    columns = {f"number {i}": rng.normal(size=(20000, 1)).astype("float32") for i in range(6)}
    columns |= {f"category {i}": rng.integers(0, 500, (20000, 1)) for i in range(6)}
    inputs = {name: keras.Input((1,), name=name, dtype=column.dtype) for name, column in columns.items()}
    encoded = [
        layers.Flatten()(layers.Embedding(500, 23)(i)) if name.startswith("category") else i
        for name, i in inputs.items()
    ]
    every = layers.concatenate(encoded)
    wide, deep = layers.BatchNormalization()(every), every
    for units in (128, 128):
        deep = layers.ReLU()(layers.BatchNormalization()(layers.Dense(units)(deep)))
        deep = layers.Dropout(0.1)(deep)
    model = keras.Model(inputs, layers.Dense(7, activation="softmax")(layers.concatenate([wide, deep])))
    model.compile(keras.optimizers.Adam(0.001), "sparse_categorical_crossentropy", metrics=["accuracy"])
    data = tf.data.Dataset.from_tensor_slices((columns, rng.integers(0, 7, 20000)))
    model.fit(data.shuffle(2000).batch(batch_size), epochs=epochs, verbose=0)


def variational(batch_size, epochs=1):
    import keras
    import numpy as np
    import tensorflow as tf
    from keras import layers, ops

    class Vae(keras.Model):
        def __init__(self):
            super().__init__()
            seen = [layers.Conv2D(n, 3, strides=2, padding="same", activation="relu") for n in (32, 64)]
            self.encoder = keras.Sequential([*seen, layers.Flatten(), layers.Dense(16), layers.Dense(4)])
            drawn = [
                layers.Conv2DTranspose(n, 3, strides=2, padding="same", activation="relu") for n in (64, 32)
            ]
            first = [layers.Dense(7 * 7 * 64, activation="relu"), layers.Reshape((7, 7, 64))]
            last = layers.Conv2DTranspose(1, 3, padding="same", activation="sigmoid")
            self.decoder = keras.Sequential([*first, *drawn, last])
            self.noise = keras.random.SeedGenerator(1)
            self.loss_tracker = keras.metrics.Mean(name="loss")

        @property
        def metrics(self):
            return [self.loss_tracker]

        def train_step(self, data):
            with tf.GradientTape() as tape:
                mean, log_var = ops.split(self.encoder(data), 2, axis=-1)
                noise = keras.random.normal(ops.shape(mean), seed=self.noise)
                drawn = self.decoder(mean + ops.exp(0.5 * log_var) * noise)
                off = ops.sum(keras.losses.binary_crossentropy(data, drawn), axis=(1, 2))
                divergence = -0.5 * ops.sum(1 + log_var - ops.square(mean) - ops.exp(log_var), axis=1)
                loss = ops.mean(off) + ops.mean(divergence)
            gradients = tape.gradient(loss, self.trainable_weights)
            self.optimizer.apply_gradients(zip(gradients, self.trainable_weights, strict=True))
            self.loss_tracker.update_state(loss)
            return {"loss": self.loss_tracker.result()}

    model = Vae()
    model.compile(optimizer=keras.optimizers.Adam())
    x = np.random.default_rng(0).random((4000, 28, 28, 1), "float32")
    model.fit(x, epochs=epochs, batch_size=batch_size, verbose=0)


def siamese(batch_size, epochs=1):
    import keras
    import numpy as np
    from keras import layers, ops

    inner = [layers.Input((28, 28, 1)), layers.BatchNormalization()]
    for filters in (4, 16):
        inner += [layers.Conv2D(filters, 5, activation="tanh"), layers.AveragePooling2D(2)]
    inner += [layers.Flatten(), layers.BatchNormalization(), layers.Dense(10, activation="tanh")]
    embed, one, other = keras.Sequential(inner), keras.Input((28, 28, 1)), keras.Input((28, 28, 1))
    apart = layers.Lambda(
        lambda pair: ops.sqrt(ops.sum(ops.square(pair[0] - pair[1]), axis=1, keepdims=True) + 1e-7),
        output_shape=(1,),
    )([embed(one), embed(other)])
    output = layers.Dense(1, activation="sigmoid")(layers.BatchNormalization()(apart))
    model = keras.Model([one, other], output)

    def contrastive(truth, distance):
        return ops.mean((1 - truth) * ops.square(distance) + truth * ops.square(ops.maximum(1 - distance, 0)))

    model.compile(loss=contrastive, optimizer="rmsprop", metrics=["accuracy"])
    rng = np.random.default_rng(0)
    x, y = rng.random((2, 5000, 28, 28), "float32"), rng.integers(0, 2, (5000, 1)).astype("float32")
    held = ([x[0, :500], x[1, :500]], y[:500])
    model.fit([x[0], x[1]], y, validation_data=held, batch_size=batch_size, epochs=epochs, verbose=0)


CASES = [
    (mnist_convnet, "96 MiB"),
    (text_transformer, "96 MiB"),
    (seq2seq, "160 MiB"),
    (autoencoder, "96 MiB"),
    (weather_lstm, "64 MiB"),
    (wide_and_deep, "24 MiB"),
    (variational, "64 MiB"),
    (siamese, "96 MiB"),
]


def outcomes(train, limit, batch_size, epochs):
    for seed in SEEDS:
        params = {"batch_size": batch_size, "epochs": epochs}
        trial = Trial(train, memory_limit=limit, timeout=300, patience=PATIENCE, seed=seed, params=params)
        outcome = trial.run()
        assert outcome.status in ("ok", "oom"), outcome
        yield outcome


def row(train, limit):
    """What became of the answer, as a dict."""
    found = labkit.find_batch_size(train, memory_limit=limit)
    value = found.batch_size
    runs = {epochs: list(outcomes(train, limit, value, epochs)) for epochs in EPOCHS}
    peaks = [outcome.peak_bytes for outcome in outcomes(train, AMPLE, value, EPOCHS[0])]
    low, high = found.estimate.interval(value)
    return {
        "found": found,
        "lasts": {epochs: all(outcome.ok for outcome in ran) for epochs, ran in runs.items()},
        "inside": sum(low <= peak <= high for peak in peaks),
        "peaks": peaks,
        "interval": (low, high),
        "more": all(outcome.ok for outcome in outcomes(train, limit, round(MORE * value), EPOCHS[-1])),
    }


def main(names):
    report, rows = Report("lasting"), []
    report(
        f"{'training':18}{'limit':>8}{'answer':>8}{'trials':>8}{'ooms':>6}{'seconds':>9}"
        f"{'4 epochs':>10}{'8 epochs':>10}{'10 % more':>11}{'peak without limit':>21}{'in interval':>13}"
    )
    labkit.run("1")  # starts the launcher
    for train, limit in CASES:
        if names and train.__name__ not in names:
            continue
        rows.append(row(train, limit))
        found, lasts, peaks, more = (rows[-1][name] for name in ("found", "lasts", "peaks", "more"))
        fits, inside = [*lasts.values(), more], f"{rows[-1]['inside']} of {len(peaks)}"
        shares = [peak / 2**20 for peak in peaks]
        report(
            f"{train.__name__:18}{limit:>8}{found.batch_size:>8}{found.trials:>8}{found.ooms:>6}"
            f"{found.seconds:>9.1f}{'fit' if fits[0] else 'OOM':>10}{'fit' if fits[1] else 'OOM':>10}"
            f"{'fits' if fits[2] else 'OOM':>11}{f'{min(shares):.1f}, {max(shares):.1f} MiB':>21}"
            f"{inside:>13}"
        )
        for line in repr(found).splitlines()[1:]:
            report(f"  {line}")
        low, high = map(labkit.format_size, rows[-1]["interval"])
        report(f"    estimated interval: {low} to {high}{' !' if found.estimate.notes else ''}")
        if not names:
            report.save()
    report("")
    for epochs in EPOCHS:
        report(f"{sum(row['lasts'][epochs] for row in rows)} of {len(rows)} last for {epochs} epochs")
    inside, peaks = sum(row["inside"] for row in rows), sum(len(row["peaks"]) for row in rows)
    report(f"{inside} of {peaks} peaks lie in the interval of the estimate")
    report(f"10 % more fits for {EPOCHS[-1]} epochs in {sum(row['more'] for row in rows)} of {len(rows)}")
    if not names:
        report.save()


if __name__ == "__main__":
    main(sys.argv[1:])
