"""Arrays given to fit, evaluate or predict as streams of batches. Imported in trials only."""

import keras
import numpy as np
import tensorflow as tf


def streamable(data):
    """Whether data is NumPy arrays, in whatever structure."""
    leaves = [leaf for leaf in tf.nest.flatten(data) if leaf is not None]
    return bool(leaves) and all(isinstance(leaf, np.ndarray) for leaf in leaves)


class Batches(keras.utils.PyDataset):
    """Batches of arrays, each made when it is asked for. data: (x,), (x, y) or (x, y, sample_weight)."""

    def __init__(self, data, batch_size):
        super().__init__()
        self.data = keras.tree.lists_to_tuples(data)  # tf.data, which Keras uses, takes a list for one tensor
        self.size = batch_size
        self.rows = len(tf.nest.flatten(data)[0])

    def __len__(self):
        return -(-self.rows // self.size)

    def __getitem__(self, index):
        rows = slice(index * self.size, (index + 1) * self.size)
        return tf.nest.map_structure(lambda array: _as_keras_casts(array[rows]), self.data)


def _as_keras_casts(array):
    return array.astype(keras.config.floatx()) if array.dtype.kind == "f" else array


def generator(batches, forever):
    """The batches as a generator, over and over if it is to last for several epochs."""
    while True:
        for index in range(len(batches)):
            yield batches[index]
        if not forever:
            return


def dataset(batches):
    """The batches as a tf.data.Dataset that holds one ahead."""
    spec = tf.nest.map_structure(_spec, batches[0])
    stream = tf.data.Dataset.from_generator(lambda: generator(batches, False), output_signature=spec)
    return stream.apply(tf.data.experimental.assert_cardinality(len(batches))).prefetch(1)


def _spec(array):
    return tf.TensorSpec((None, *array.shape[1:]), array.dtype)


def split(given):
    """The arguments of fit with validation_split carried out: the last part, as Keras takes it."""
    part = given.pop("validation_split", 0.0)
    if not part or given.get("validation_data") is not None:
        return given
    data = (given.get("x"), given.get("y"), given.get("sample_weight"))
    rows = len(tf.nest.flatten(data[0])[0])
    at = int(np.floor(rows * (1 - part)))

    def cut(piece, which):
        return None if piece is None else tf.nest.map_structure(lambda array: array[which], piece)

    before, after = ([cut(piece, which) for piece in data] for which in (slice(at), slice(at, None)))
    given["x"], given["y"], given["sample_weight"] = before
    given["validation_data"] = tuple(piece for piece in after if piece is not None)
    return given


def is_one_hot(y):
    """Whether y is an array of rows with a single 1 and otherwise 0."""
    if not (isinstance(y, np.ndarray) and y.ndim >= 2 and y.shape[-1] > 1 and y.size):
        return False
    sample = y[:1000]
    return bool(np.isin(sample, (0, 1)).all() and (sample.sum(axis=-1) == 1).all())
