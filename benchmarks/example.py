"""A training function such as readers have: the README estimates its memory."""

import keras
import numpy as np
from keras import layers


def train(batch_size, filters=32):
    net = [keras.Input((64, 64, 3))]
    net += [layers.Conv2D(filters, 3, activation="relu") for _ in range(4)]
    net += [layers.GlobalAveragePooling2D(), layers.Dense(10)]
    model = keras.Sequential(net)
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    X, y = np.random.rand(4 * batch_size, 64, 64, 3).astype("float32"), np.zeros(4 * batch_size)
    model.fit(X, y, batch_size=batch_size, epochs=2, verbose=0)
