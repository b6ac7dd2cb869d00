"""Small networks of many kinds: each gives the layers of a Sequential, or inputs and outputs."""


def dense(layers, keras):
    return [keras.Input((784,)), layers.Dense(256, activation="relu"), layers.Dense(10)]


def convolutional(layers, keras):
    return [
        keras.Input((32, 32, 3)),
        layers.Conv2D(8, 3, padding="same"),
        layers.BatchNormalization(),
        layers.Conv2D(16, 3, padding="same", activation="relu"),
        layers.GlobalAveragePooling2D(),
        layers.Dense(10),
    ]


def lstm(layers, keras):
    return [
        keras.Input((20, 8)),
        layers.LSTM(32, return_sequences=True),
        layers.Bidirectional(layers.LSTM(16)),
        layers.Dense(10),
    ]


def gru_with_embedding(layers, keras):
    return [keras.Input((20,), dtype="int32"), layers.Embedding(5000, 32), layers.GRU(32), layers.Dense(10)]


def attention(layers, keras):
    inputs = keras.Input((32, 16))
    x = layers.MultiHeadAttention(4, 8)(inputs, inputs)
    x = layers.LayerNormalization()(layers.Add()([x, inputs]))
    return inputs, layers.Dense(10)(layers.Flatten()(layers.Dropout(0.1)(x)))


def unet(layers, keras):
    inputs = keras.Input((32, 32, 3))
    down = layers.Conv2D(8, 3, padding="same", activation="relu")(inputs)
    middle = layers.Conv2D(16, 3, padding="same", activation="relu")(layers.MaxPooling2D()(down))
    up = layers.Conv2DTranspose(8, 2, strides=2)(middle)
    x = layers.Conv2D(8, 3, padding="same")(layers.Concatenate()([up, down]))
    return inputs, layers.Dense(10)(layers.GlobalAveragePooling2D()(x))


def mobilenet(layers, keras):
    model = keras.applications.MobileNet(
        weights=None, input_shape=(32, 32, 3), alpha=0.25, classes=10, classifier_activation=None
    )
    return model.inputs, model.outputs[0]


MODELS = [dense, convolutional, lstm, gru_with_embedding, attention, unet, mobilenet]
