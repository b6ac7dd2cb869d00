"""Many kinds of training for the benchmarks: a development set, which may be tuned on, and a test set.

A rule in labkit.predict.replay may be tuned on the development set. The test set is never used for that:
whoever changes a rule because of it moves that training to the development set and writes a new one.
"""

import itertools


def separable(keras, layers):
    return [
        keras.Input((32, 32, 3)), layers.SeparableConv2D(16, 3, activation="relu"),
        layers.SeparableConv2D(32, 3, activation="relu"), layers.GlobalMaxPooling2D(), layers.Dense(10),
    ]  # fmt: skip


def transposed(keras, layers):
    return [
        keras.Input((16, 16, 3)), layers.Conv2DTranspose(16, 3, strides=2, activation="relu"),
        layers.Conv2DTranspose(8, 3), layers.Flatten(), layers.Dense(10),
    ]  # fmt: skip


def mobilenet(keras, layers):
    model = keras.applications.MobileNet(
        weights=None, input_shape=(32, 32, 3), alpha=0.25, classes=10, classifier_activation=None
    )
    return model.inputs, model.outputs[0]


def stacked_lstm(keras, layers):
    return [keras.Input((40, 12)), layers.LSTM(48, return_sequences=True), layers.LSTM(24), layers.Dense(10)]


def text_gru(keras, layers):
    return [keras.Input((30,), dtype="int32"), layers.Embedding(8000, 24), layers.GRU(40), layers.Dense(10)]


def transformer(keras, layers):
    inputs = keras.Input((48, 24))
    x = layers.LayerNormalization()(inputs + layers.MultiHeadAttention(3, 8)(inputs, inputs))
    x = x + layers.Dense(24)(layers.Dense(96, activation="gelu")(x))
    return inputs, layers.Dense(10)(layers.GlobalAveragePooling1D()(x))


def deep_dense(keras, layers):
    hidden = [layers.Dense(300, activation="gelu") for _ in range(5)]
    return [keras.Input((200,)), *hidden, layers.Dropout(0.2), layers.Dense(10)]


def two_branches(keras, layers):
    inputs = keras.Input((24, 24, 3))
    image = layers.GlobalAveragePooling2D()(layers.Conv2D(24, 5, activation="relu")(inputs))
    center = layers.Dense(50, activation="relu")(layers.Flatten()(layers.Cropping2D(4)(inputs)))
    return inputs, layers.Dense(10)(layers.Concatenate()([image, center]))


def vgg(keras, layers):
    blocks = [
        layer
        for filters in (16, 32)
        for layer in (
            layers.Conv2D(filters, 3, padding="same"), layers.BatchNormalization(), layers.ReLU(),
            layers.MaxPooling2D(),
        )
    ]  # fmt: skip
    return [keras.Input((40, 40, 3)), *blocks, layers.Flatten(), layers.Dense(64), layers.Dense(10)]


def wide_dense(keras, layers):
    hidden = [layers.Dense(n, activation="relu") for n in (900, 450, 120)]
    return [keras.Input((320,)), layers.BatchNormalization(), *hidden, layers.Dense(25)]


def strided(keras, layers):
    hidden = [layers.Conv2D(n, 5, strides=2, padding="same", activation="elu") for n in (12, 24, 48)]
    return [keras.Input((48, 48, 3)), *hidden, layers.Flatten(), layers.Dropout(0.4), layers.Dense(7)]


def xception(keras, layers):
    inputs = keras.Input((36, 36, 3))
    x = layers.Conv2D(16, 3, strides=2, padding="same")(inputs)
    for filters in (24, 40):
        shortcut = layers.Conv2D(filters, 1, strides=2, padding="same")(x)
        x = layers.SeparableConv2D(filters, 3, padding="same")(layers.ReLU()(x))
        x = layers.BatchNormalization()(x)
        x = layers.add([layers.MaxPooling2D(3, strides=2, padding="same")(x), shortcut])
    return inputs, layers.Dense(5)(layers.GlobalAveragePooling2D()(x))


def autoencoder(keras, layers):
    down = [layers.Conv2D(n, 3, strides=2, padding="same", activation="relu") for n in (16, 32)]
    up = [layers.Conv2DTranspose(n, 3, strides=2, padding="same", activation="relu") for n in (32, 16)]
    return [keras.Input((28, 28, 1)), *down, *up, layers.Conv2D(4, 3, padding="same")]


def unet(keras, layers):
    def block(x, filters):
        for _ in range(2):
            x = layers.Conv2D(filters, 3, padding="same", activation="relu")(x)
        return x

    x = inputs = keras.Input((32, 32, 3))
    skips = []
    for filters in (8, 16):
        x = block(x, filters)
        skips.append(x)
        x = layers.MaxPooling2D()(x)
    x = block(x, 32)
    for filters, skip in zip((16, 8), reversed(skips), strict=True):
        x = layers.Conv2DTranspose(filters, 2, strides=2)(x)
        x = block(layers.Concatenate()([x, skip]), filters)
    return inputs, layers.Conv2D(3, 1)(x)


def resnet50(keras, layers):
    model = keras.applications.ResNet50(
        weights=None, input_shape=(32, 32, 3), classes=10, classifier_activation=None
    )
    return model.inputs, model.outputs[0]


def mobilenet_v2(keras, layers):
    model = keras.applications.MobileNetV2(
        weights=None, input_shape=(40, 40, 3), alpha=0.35, classes=12, classifier_activation=None
    )
    return model.inputs, model.outputs[0]


def bidirectional(keras, layers):
    return [
        keras.Input((36, 10)), layers.Bidirectional(layers.LSTM(32, return_sequences=True)),
        layers.Bidirectional(layers.LSTM(20)), layers.Dropout(0.3), layers.Dense(6),
    ]  # fmt: skip


def language_gru(keras, layers):
    inputs = keras.Input((24,), dtype="int32")
    x = layers.GRU(56, return_sequences=True)(layers.Embedding(3000, 32)(inputs))
    return inputs, layers.Dense(200)(layers.LayerNormalization()(x))


def decoder(keras, layers):
    inputs = keras.Input((40,), dtype="int32")
    x = layers.Embedding(500, 32)(inputs)
    for _ in range(2):
        y = layers.LayerNormalization()(x)
        x = x + layers.MultiHeadAttention(4, 8, dropout=0.1)(y, y, use_causal_mask=True)
        x = x + layers.Dense(32)(layers.Dense(128, activation="gelu")(layers.LayerNormalization()(x)))
    return inputs, layers.Dense(500)(x)


def one_dimensional(keras, layers):
    hidden = [layers.Conv1D(n, 7, padding="causal", activation="relu") for n in (16, 24, 32)]
    return [keras.Input((200, 4)), *hidden, layers.GlobalMaxPooling1D(), layers.Dense(64), layers.Dense(9)]


def picture_and_words(keras, layers):
    image, words = keras.Input((32, 32, 3)), keras.Input((16,), dtype="int32")
    x = layers.Conv2D(16, 3, strides=2, activation="relu")(image)
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(32, 3, activation="relu")(x))
    y = layers.LSTM(24)(layers.Embedding(1000, 16)(words))
    return [image, words], layers.Dense(8)(layers.Concatenate()([x, y]))


DEVELOPMENT = [
    (separable, "adam", "train_on_batch", "float32"),
    (transposed, "sgd with momentum", "train_on_batch", "float32"),
    (mobilenet, "rmsprop", "train_on_batch", "float32"),
    (stacked_lstm, "adam", "train_on_batch", "float32"),
    (text_gru, "adam", "train_on_batch", "float32"),
    (transformer, "adamw", "train_on_batch", "float32"),
    (deep_dense, "adam", "own loop", "float32"),
    (two_branches, "adam", "own loop", "float32"),
    (vgg, "adam", "train_on_batch", "mixed_float16"),
    (vgg, "adamw", "arrays", "float32"),
    (separable, "adam", "dataset", "float32"),
    (deep_dense, "sgd with momentum", "generator", "float32"),
    (transformer, "adam", "arrays", "float32"),
]
TEST = [
    (wide_dense, "adam", "arrays", "float32"),
    (strided, "rmsprop", "arrays", "float32"),
    (xception, "adam", "dataset", "float32"),
    (autoencoder, "sgd with momentum", "arrays", "float32"),
    (unet, "adam", "train_on_batch", "float32"),
    (resnet50, "sgd with momentum", "train_on_batch", "float32"),
    (mobilenet_v2, "adamw", "dataset", "float32"),
    (bidirectional, "rmsprop", "generator", "float32"),
    (language_gru, "adam", "dataset", "float32"),
    (decoder, "adamw", "arrays", "float32"),
    (one_dimensional, "adam", "own loop", "float32"),
    (picture_and_words, "adam", "dataset", "float32"),
    (unet, "adam", "generator", "mixed_float16"),
    (decoder, "adam", "train_on_batch", "mixed_float16"),
]


def train(batch_size, net, optimizer, pipeline, policy="float32", batches=4, epochs=1, jit_compile="auto"):
    """Run one training; returns what the classical formula counts: fixed bytes, and bytes per sample."""
    import keras
    import numpy as np
    import tensorflow as tf

    keras.mixed_precision.set_global_policy(policy)
    parts = net(keras, keras.layers)
    model = keras.Sequential(parts) if isinstance(parts, list) else keras.Model(*parts)
    optimizer = (
        keras.optimizers.SGD(momentum=0.9) if "momentum" in optimizer else keras.optimizers.get(optimizer)
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, jit_compile=jit_compile)
    rows = batches * batch_size
    x = tuple(np.ones((rows, *given.shape[1:]), given.dtype) for given in model.inputs)
    x = x if len(x) > 1 else x[0]
    y = np.zeros((rows, *model.output_shape[1:-1]))

    def batch(start):
        stop = start + batch_size
        return (tuple(a[start:stop] for a in x) if isinstance(x, tuple) else x[start:stop]), y[start:stop]

    @tf.function
    def step(a, b):
        with tf.GradientTape() as tape:
            value = loss(b, model(a, training=True))
        optimizer.apply(tape.gradient(value, model.trainable_variables), model.trainable_variables)

    starts, how = range(0, rows, batch_size), {"epochs": epochs, "verbose": 0}
    if pipeline == "arrays":
        model.fit(x, y, batch_size=batch_size, **how)
    elif pipeline == "dataset":
        model.fit(tf.data.Dataset.from_tensor_slices((x, y)).batch(batch_size), shuffle=False, **how)
    elif pipeline == "generator":
        endless = (batch(i) for i in itertools.cycle(starts))
        model.fit(endless, steps_per_epoch=batches, shuffle=False, **how)
    elif pipeline == "train_on_batch":
        for i in [*starts] * epochs:
            model.train_on_batch(*batch(i))
    else:
        optimizer.build(model.trainable_variables)
        for i in [*starts] * epochs:
            step(*tf.nest.map_structure(tf.constant, batch(i)))
    outputs = sum(np.prod(layer.output.shape[1:]) for layer in model.layers)
    return 4 * model.count_params() * 4, 4 * int(outputs)
