"""What check.py runs in its trials. Each function imports what it needs: it runs in a separate process."""


def train(batch_size, net, policy="float32", jit_compile="auto", steps=4):
    """A few steps of Keras's standard training; returns what the device's allocator counts."""
    import keras
    import numpy as np
    import tensorflow as tf

    keras.config.set_dtype_policy(policy)
    layers = keras.layers
    if net == "resnet50":
        model = keras.applications.ResNet50(
            weights=None, input_shape=(64, 64, 3), classes=10, classifier_activation=None
        )
    elif net == "transformer":
        inputs = x = keras.Input((128, 64))
        for _ in range(2):
            x = layers.LayerNormalization()(x + layers.MultiHeadAttention(4, 16)(x, x))
            x = layers.LayerNormalization()(x + layers.Dense(64)(layers.Dense(256, activation="gelu")(x)))
        model = keras.Model(inputs, layers.Dense(10)(layers.GlobalAveragePooling1D()(x)))
    else:
        model = keras.Sequential({
            "dense": [keras.Input((784,)), layers.Dense(1024, activation="relu"), layers.Dense(1024),
                      layers.Dense(10)],
            "convolutional": [keras.Input((64, 64, 3)), layers.Conv2D(16, 3, activation="relu"),
                              layers.Conv2D(32, 3, activation="relu"), layers.GlobalAveragePooling2D(),
                              layers.Dense(10)],
            "lstm": [keras.Input((100, 16)), layers.LSTM(64, return_sequences=True), layers.LSTM(64),
                     layers.Dense(10)],
        }[net])  # fmt: skip
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss, jit_compile=jit_compile)
    x, y = np.ones((batch_size, *model.input_shape[1:]), "float32"), np.zeros(batch_size)
    for _ in range(steps):
        model.train_on_batch(x, y)
    device = "GPU:0" if tf.config.list_logical_devices("GPU") else "CPU:0"
    return tf.config.experimental.get_memory_info(device)


def train_from(kind, rows):
    """One epoch over an array X of `rows` rows of 4 KiB, through one of several input pipelines."""
    import keras
    import numpy as np
    import tensorflow as tf

    x, y, batch_size = np.ones((rows, 1024), "float32"), np.zeros((rows, 1), "float32"), 512
    model = keras.Sequential([keras.Input((1024,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")

    def batch(i):
        rows = slice(i * batch_size, (i + 1) * batch_size)
        return x[rows], y[rows]

    class Batches(keras.utils.PyDataset):
        def __len__(self):
            return len(x) // batch_size

        def __getitem__(self, i):
            return batch(i)

    options = {}
    if kind == "fit(X)":
        data, options = x, {"y": y, "batch_size": batch_size}
    elif kind == "fit(X as a tensor of CPU:0)":
        with tf.device("CPU:0"):
            data, options = tf.convert_to_tensor(x), {"y": tf.convert_to_tensor(y), "batch_size": batch_size}
    elif kind == "from_tensor_slices":
        data = tf.data.Dataset.from_tensor_slices((x, y)).batch(batch_size)
    elif kind == "from_tensor_slices under CPU:0":
        with tf.device("CPU:0"):
            data = tf.data.Dataset.from_tensor_slices((x, y)).batch(batch_size)
    elif kind == "PyDataset":
        data = Batches()
    elif kind == "generator":
        data = (batch(i) for i in range(len(x) // batch_size))
    else:
        raise ValueError(kind)
    model.fit(data, **options, verbose=0)


def planes(folder):
    """{plane: {allocator: number of events}} of the profile in a folder."""
    import collections
    import glob

    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    [path] = glob.glob(f"{folder}/**/*.xplane.pb", recursive=True)
    space, found = xplane_pb2.XSpace(), {}
    with open(path, "rb") as file:
        space.ParseFromString(file.read())
    for plane in space.planes:
        stats = {number: metadata.name for number, metadata in plane.stat_metadata.items()}
        events = (event for line in plane.lines for event in line.events)
        found[plane.name] = dict(collections.Counter(
            stat.str_value or stats.get(stat.ref_value, "")
            for event in events for stat in event.stats if stats[stat.metadata_id] == "allocator_name"
        ))  # fmt: skip
    return found


def product():
    """(device, whether a matrix product is correct)."""
    import tensorflow as tf

    ones = tf.ones((512, 512))
    result = ones @ ones
    return result.device.rpartition("/")[2], bool(tf.reduce_all(result == 512))
