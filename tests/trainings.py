"""Trainings of different kinds, for the tests of try_fixes()."""


def arrays(batch_size=256):
    """Arrays of float64, one-hot targets, validation_split."""
    import keras
    import numpy as np

    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(4096, 784)), np.eye(10)[rng.integers(0, 10, 4096)]
    model = keras.Sequential(
        [keras.layers.Dense(256, activation="relu"), keras.layers.Dense(10, activation="softmax")]
    )
    model.compile("adam", "categorical_crossentropy", metrics=["accuracy"])
    model.fit(X, y, batch_size, epochs=2, validation_split=0.25, verbose=0)


def images(batch_size=32):
    """A convolutional network, sample weights and validation_data."""
    import keras
    import numpy as np
    from keras import layers

    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(512, 32, 32, 3)).astype("float32"), rng.integers(0, 10, 512)
    weights = rng.random(512).astype("float32")
    hidden = [layers.Conv2D(128, 3, activation="relu"), layers.GlobalAveragePooling2D()]
    model = keras.Sequential([*hidden, layers.Dense(10)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=keras.optimizers.Adam(1e-3), loss=loss)
    held = (X[:64], y[:64])
    model.fit(X, y, batch_size=batch_size, sample_weight=weights, validation_data=held, verbose=0)


def inputs_by_name(batch_size=64):
    """A functional model with two inputs in a dict, and class weights."""
    import keras
    import numpy as np

    rng = np.random.default_rng(0)
    X = {
        "a": rng.normal(size=(4096, 300)).astype("float32"),
        "b": rng.normal(size=(4096, 200)).astype("float32"),
    }
    y = rng.integers(0, 2, (4096, 1)).astype("float32")
    a, b = keras.Input((300,), name="a"), keras.Input((200,), name="b")
    hidden = keras.layers.Dense(256, activation="relu")(keras.layers.Concatenate()([a, b]))
    model = keras.Model({"a": a, "b": b}, keras.layers.Dense(1, activation="sigmoid")(hidden))
    model.compile("adam", "binary_crossentropy")
    model.fit(X, y, batch_size=batch_size, class_weight={0: 1.0, 1: 2.0}, verbose=0)


def blocks(batch_size=128):
    """Residual blocks of a class of its own, each of several layers, whose activations fill memory."""
    import keras
    import numpy as np

    keras.utils.clear_session()

    class Block(keras.layers.Layer):
        def __init__(self):
            super().__init__()
            self.wide, self.narrow = keras.layers.Dense(512, activation="gelu"), keras.layers.Dense(16)

        def build(self, shape):
            self.wide.build(shape)
            self.narrow.build((*shape[:-1], 512))

        def call(self, x):
            return x + self.narrow(self.wide(x))

    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(1024, 8, 16)).astype("float32"), rng.normal(size=(1024, 1)).astype("float32")
    model = keras.Sequential(
        [*(Block() for _ in range(2)), keras.layers.GlobalAveragePooling1D(), keras.layers.Dense(1)]
    )
    model.compile("adam", "mse")
    model.fit(X, y, batch_size=batch_size, verbose=0)


def streamed(batch_size=64):
    """A tf.data pipeline, which is a stream already."""
    import keras
    import numpy as np
    import tensorflow as tf

    X, y = np.ones((1024, 256), "float32"), np.ones((1024, 1), "float32")
    data = tf.data.Dataset.from_tensor_slices((X, y)).batch(batch_size)
    model = keras.Sequential([keras.layers.Dense(512), keras.layers.Dense(1)])
    model.compile("adam", "mse")
    model.fit(data, verbose=0)


def inputs_in_a_list(batch_size=64):
    """A functional model with two inputs in a list, of float64, and a part held out."""
    import keras
    import numpy as np

    inputs = [keras.Input((300,)), keras.Input((20,))]
    model = keras.Model(inputs, keras.layers.Dense(1)(keras.layers.Concatenate()(inputs)))
    model.compile("sgd", "mse")
    X = [np.ones((1024, 300)), np.ones((1024, 20))]
    model.fit(X, np.ones(1024), batch_size=batch_size, validation_split=0.25, verbose=0)


def own_loop(batch_size=64):
    """A loop of its own."""
    import keras
    import numpy as np
    import tensorflow as tf

    X, y = np.ones((1024, 256), "float32"), np.ones((1024, 1), "float32")
    model = keras.Sequential([keras.layers.Dense(512, activation="relu"), keras.layers.Dense(1)])
    optimizer = keras.optimizers.Adam()

    @tf.function
    def step(x, y):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((model(x, training=True) - y) ** 2)
        optimizer.apply(tape.gradient(loss, model.trainable_variables), model.trainable_variables)

    for _ in range(3):
        for start in range(0, len(X), batch_size):
            step(X[start : start + batch_size], y[start : start + batch_size])


def words(batch_size=64):
    """Ids of words that go to an Embedding without an Input before it, and validation from a stream."""
    import keras
    import numpy as np
    import tensorflow as tf

    rng = np.random.default_rng(0)
    X, y = rng.integers(0, 30_000, (256, 100)), rng.integers(0, 2, (256, 1)).astype("float32")
    X[0, 0] = 29_999
    model = keras.Sequential(
        [keras.layers.Embedding(30_000, 8), keras.layers.Flatten(), keras.layers.Dense(1)]
    )
    model.compile("adam", "mse")
    held = tf.data.Dataset.from_tensor_slices((X, y)).batch(256)
    model.fit(X, y, batch_size=batch_size, validation_data=held, verbose=0)


def eager(batch_size=64):
    """run_eagerly left on, and a policy that is set too late."""
    import keras
    import numpy as np

    X, y = np.ones((512, 1024), "float32"), np.ones((512, 1), "float32")
    model = keras.Sequential([keras.layers.Dense(1024, activation="relu"), keras.layers.Dense(1)])
    model.compile("adam", "mse", run_eagerly=True)
    keras.config.set_dtype_policy("mixed_float16")
    model.fit(X, y, batch_size=batch_size, verbose=0)


def in_pieces(batch_size=64):
    """Freed pieces of memory with others between them, none of them large enough for what comes next."""
    import keras
    import numpy as np
    import tensorflow as tf

    pieces = [tf.zeros((batch_size, 2**16)) for _ in range(8)]
    del pieces[::2]
    pieces.append(tf.zeros((batch_size, 3 * 2**15)))  # as large as one and a half
    model = keras.Sequential([keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    model.fit(np.ones((4 * batch_size, 8)), np.ones(4 * batch_size), batch_size=batch_size, verbose=0)
