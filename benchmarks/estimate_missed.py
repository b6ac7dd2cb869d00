"""Predicted versus measured peak on nine trainings that an earlier version missed without a fitting note.

Most were outside their interval; docs/how-estimate-works.md says what was wrong, and what became of each. "!"
marks an estimate that doubts itself, and what it says follows.
"""

import sys

from estimate_kinds import summary, table
from report import Report


def triplets(batch_size):
    import keras
    import numpy as np

    layers = keras.layers
    core = keras.Sequential(
        [
            keras.Input((40, 40, 3)),
            layers.Conv2D(16, 3, activation="relu"),
            layers.BatchNormalization(),
            layers.MaxPooling2D(),
            layers.Conv2D(32, 3, activation="relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(32),
        ]
    )
    ins = [keras.Input((40, 40, 3)) for _ in range(3)]
    a, p, n = [core(i) for i in ins]
    d = layers.Lambda(
        lambda t: (
            keras.ops.sum((t[0] - t[1]) ** 2, -1, keepdims=True)
            - keras.ops.sum((t[0] - t[2]) ** 2, -1, keepdims=True)
        ),
        output_shape=(1,),
    )([a, p, n])
    m = keras.Model(ins, d)
    m.compile("adam", lambda t, y: keras.ops.mean(keras.ops.maximum(y + 0.5, 0)))
    x = np.random.rand(3, 700, 40, 40, 3).astype("float32")
    m.fit(list(x), np.zeros((700, 1)), batch_size=batch_size, epochs=2, verbose=0, validation_split=0.2)


def generating(batch_size):
    import keras
    import numpy as np
    import tensorflow as tf

    layers = keras.layers

    class Gan(keras.Model):
        def __init__(self):
            super().__init__()
            self.d = keras.Sequential(
                [
                    keras.Input((32, 32, 3)),
                    layers.Conv2D(32, 4, strides=2, padding="same"),
                    layers.LeakyReLU(),
                    layers.Conv2D(64, 4, strides=2, padding="same"),
                    layers.LeakyReLU(),
                    layers.Flatten(),
                    layers.Dropout(0.2),
                    layers.Dense(1),
                ]
            )
            self.g = keras.Sequential(
                [
                    keras.Input((64,)),
                    layers.Dense(8 * 8 * 64),
                    layers.Reshape((8, 8, 64)),
                    layers.Conv2DTranspose(64, 4, strides=2, padding="same"),
                    layers.LeakyReLU(),
                    layers.Conv2DTranspose(32, 4, strides=2, padding="same"),
                    layers.LeakyReLU(),
                    layers.Conv2D(3, 5, padding="same", activation="sigmoid"),
                ]
            )
            self.sg = keras.random.SeedGenerator(1)

        def compile(self, do, go, loss):
            super().compile()
            self.do, self.go, self.lf = do, go, loss

        def train_step(self, real):
            n = tf.shape(real)[0]
            z = keras.random.normal((n, 64), seed=self.sg)
            fake = self.g(z)
            both = tf.concat([fake, real], 0)
            labels = tf.concat([tf.ones((n, 1)), tf.zeros((n, 1))], 0)
            with tf.GradientTape() as t:
                dl = self.lf(labels, self.d(both))
            self.do.apply_gradients(
                zip(t.gradient(dl, self.d.trainable_weights), self.d.trainable_weights, strict=False)
            )
            z = keras.random.normal((n, 64), seed=self.sg)
            with tf.GradientTape() as t:
                gl = self.lf(tf.zeros((n, 1)), self.d(self.g(z)))
            self.go.apply_gradients(
                zip(t.gradient(gl, self.g.trainable_weights), self.g.trainable_weights, strict=False)
            )
            return {"d": dl, "g": gl}

    m = Gan()
    m.compile(
        keras.optimizers.Adam(1e-4),
        keras.optimizers.Adam(1e-4),
        keras.losses.BinaryCrossentropy(from_logits=True),
    )
    data = (
        tf.data.Dataset.from_tensor_slices(np.random.rand(1200, 32, 32, 3).astype("float32"))
        .shuffle(200)
        .batch(batch_size)
    )
    m.fit(data, epochs=2, verbose=0)


def lion(batch_size):
    import keras
    import numpy as np

    layers = keras.layers
    m = keras.Sequential(
        [
            keras.Input((64, 64, 3)),
            layers.Conv2D(24, 3, strides=2, activation="gelu"),
            layers.LayerNormalization(),
            layers.Conv2D(48, 3, strides=2, activation="gelu"),
            layers.Flatten(),
            layers.Dense(128),
            layers.Dense(10),
        ]
    )
    m.compile(
        keras.optimizers.Lion(1e-4, gradient_accumulation_steps=2),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    m.fit(np.random.rand(900, 64, 64, 3).astype("float32"), np.zeros(900), batch_size=batch_size, verbose=0)


def evaluating(batch_size):
    import keras
    import numpy as np

    layers = keras.layers
    m = keras.Sequential(
        [
            keras.Input((48, 48, 3)),
            layers.Conv2D(16, 3, padding="same", activation="relu"),
            layers.Conv2D(16, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(4),
            layers.Flatten(),
            layers.Dense(20),
        ]
    )
    m.compile("sgd", "mse")
    x = np.random.rand(2000, 48, 48, 3).astype("float32")
    y = np.random.rand(2000, 20).astype("float32")
    m.fit(x[:500], y[:500], batch_size=batch_size, verbose=0)
    m.evaluate(x, y, batch_size=3 * batch_size, verbose=0)
    m.predict(x, batch_size=4 * batch_size, verbose=0)


def images(side):
    import keras
    import numpy as np

    layers = keras.layers
    m = keras.Sequential(
        [
            keras.Input((side, side, 3)),
            layers.Conv2D(16, 3, padding="same", activation="relu"),
            layers.BatchNormalization(),
            layers.MaxPooling2D(),
            layers.Conv2D(32, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2DTranspose(16, 2, strides=2),
            layers.Conv2DTranspose(3, 2, strides=2),
        ]
    )
    m.compile("adam", "mse")
    x = np.random.rand(24, side, side, 3).astype("float32")
    m.fit(x, x, batch_size=8, verbose=0)


def recurrent(length):
    import keras
    import numpy as np

    layers = keras.layers
    m = keras.Sequential(
        [
            keras.Input((length,), dtype="int32"),
            layers.Embedding(2000, 32),
            layers.Bidirectional(layers.GRU(32, return_sequences=True)),
            layers.Conv1D(32, 5, activation="relu"),
            layers.GlobalMaxPooling1D(),
            layers.Dense(1),
        ]
    )
    m.compile("adam", "binary_crossentropy")
    m.fit(np.random.randint(0, 2000, (96, length)), np.zeros(96), batch_size=16, verbose=0)


def dense(units):
    import keras
    import numpy as np

    layers = keras.layers
    m = keras.Sequential(
        [
            keras.Input((200,)),
            layers.Dense(units, activation="relu"),
            layers.Dropout(0.5),
            layers.Dense(units, activation="relu"),
            layers.Dense(10),
        ]
    )
    m.compile("adam", "mse")
    m.fit(np.random.rand(1000, 200), np.random.rand(1000, 10), batch_size=32, verbose=0)


def own_loop(batch_size):
    import keras
    import numpy as np
    import tensorflow as tf

    layers = keras.layers
    m = keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Conv2D(32, 3, strides=2, activation="relu"),
            layers.Conv2D(64, 3, strides=2, activation="relu"),
            layers.GlobalMaxPooling2D(),
            layers.Dense(10),
        ]
    )
    opt = keras.optimizers.SGD(1e-3, momentum=0.9)
    lf = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    x = np.random.rand(3000, 28, 28, 1).astype("float32")
    y = np.random.randint(0, 10, 3000)
    data = tf.data.Dataset.from_tensor_slices((x, y)).shuffle(1024).batch(batch_size)
    val = tf.data.Dataset.from_tensor_slices((x, y)).batch(batch_size)
    metric = keras.metrics.SparseCategoricalAccuracy()

    @tf.function
    def step(x, y):
        with tf.GradientTape() as t:
            p = m(x, training=True)
            loss = lf(y, p)
        opt.apply(t.gradient(loss, m.trainable_weights), m.trainable_weights)
        metric.update_state(y, p)
        return loss

    @tf.function
    def test(x, y):
        metric.update_state(y, m(x, training=False))

    for _ in range(2):
        for a, b in data:
            step(a, b)
        for a, b in val:
            test(a, b)


def unfreezing(batch_size):
    import keras
    import numpy as np

    base = keras.applications.MobileNetV2(
        input_shape=(64, 64, 3), include_top=False, weights=None, pooling="avg", alpha=0.35
    )
    base.trainable = False
    i = keras.Input((64, 64, 3))
    m = keras.Model(i, keras.layers.Dense(2)(base(i, training=False)))
    m.compile("adam", "mse")
    x = np.random.rand(600, 64, 64, 3).astype("float32")
    y = np.zeros((600, 2))
    m.fit(x, y, batch_size=batch_size, verbose=0)
    base.trainable = True
    m.compile(keras.optimizers.Adam(1e-5), "mse")
    m.fit(x, y, batch_size=batch_size, verbose=0)


OF_BATCH = [
    (triplets, 64, 200),
    (generating, 64, 256),
    (lion, 64, 256),
    (evaluating, 32, 128),
    (own_loop, 64, 512),
]
CASES = [
    *((net, "batch_size", (4, 8), [{"batch_size": v} for v in values]) for net, *values in OF_BATCH),
    (unfreezing, "batch_size", (4, 8), [{"batch_size": 32}]),
    (images, "side", (16, 32), [{"side": 128}, {"side": 256}]),
    (recurrent, "length", (16, 32), [{"length": 128}, {"length": 512}]),
    (dense, "units", (64, 128), [{"units": 1024}, {"units": 2048}]),
]

if __name__ == "__main__":
    report = Report("estimate_missed")
    summary(report, table(report, CASES, sys.argv[1:]))
