"""What to do about each cause, in order of effect: the corrected call, the lesson, the bytes it saves."""

from dataclasses import dataclass

LESSONS = {
    "00": "00-start-here.ipynb",
    "01": "01-one-big-array.ipynb",
    "02": "02-where-the-memory-goes.ipynb",
    "03": "03-large-lstm-batches.ipynb",
    "04": "04-big-images.ipynb",
    "05": "05-tf-data-from-files.ipynb",
    "06": "06-sequence-and-pydataset.ipynb",
    "07": "07-generators-and-their-traps.ipynb",
    "08": "08-mixed-precision.ipynb",
    "09": "09-smaller-steps.ipynb",
    "10": "10-sharing-and-growing.ipynb",
}


@dataclass(frozen=True)
class Fix:
    """One thing to do. saves: bytes, at least, as far as they can be worked out; else None."""

    sentence: str
    code: str = ""
    lesson: str = ""
    saves: int | None = None

    def to_dict(self):
        """For JSON."""
        return dict(vars(self))


def _fix(sentence, code, lesson, saves=None):
    return Fix(sentence, code, LESSONS.get(lesson, ""), saves)


def for_cause(cause, asked=None, batch=None, fits=None, held=None, building=False, loop_bytes=0):
    """The fixes of a cause, the most effective first.

    asked: bytes of the refused tensor; batch: the batch size; fits: more than that cannot fit; held:
    bytes by category at the failure; building: no batch had come yet; loop_bytes: what XLA keeps for each
    step of a loop. Where one is None, no number is said.
    """
    if cause == "weights_or_optimizer" and loop_bytes:
        return _loop(loop_bytes)
    if cause == "activations" and loop_bytes:
        return [_without_xla(loop_bytes), *_activations(asked, batch, fits, held or {})]
    if cause == "weights_or_optimizer" and building:
        return _weights_alone(asked, batch, fits, held or {})
    return _FIXES[cause](asked, batch, fits, held or {}) if cause in _FIXES else []


def _without_xla(kept):
    return _fix(
        "Compile without XLA: TensorFlow itself keeps the weights once, and adds their gradients up.",
        'model.compile("adam", loss="mse", jit_compile=False)',
        "03",
        kept,
    )


def _loop(kept):
    return [
        _without_xla(kept),
        _fix(
            "Make the sequences shorter: half the length is half of it.", "X = X[:, :length]", "03", kept // 2
        ),
        _fix("Use fewer units: half of them saves half of it, or more.", "", "03", kept // 2),
    ]


def _smaller_batch(asked, batch, fits):
    if not (batch and fits and fits < batch):
        return _fix(
            "Make the batch smaller: half of it halves this tensor and the others like it.",
            "model.fit(X, y, batch_size=...)",
            "02",
            asked and asked // 2,
        )
    start = max(1, 2 ** (int(fits / 1.5).bit_length() - 1))
    return _fix(
        f"Make the batch smaller: {start} instead of {batch} is a start; labkit.find_batch_size() finds the "
        "largest that fits.",
        f"model.fit(X, y, batch_size={start})",
        "02",
        asked and asked - asked * start // batch,
    )


def _activations(asked, batch, fits, held):
    kept = held.get("activations")
    return [
        _smaller_batch(asked, batch, fits),
        _fix(
            "To keep the effect of the large batch, add up the gradients of several small ones.",
            'model.compile(keras.optimizers.Adam(gradient_accumulation_steps=4), loss="mse")',
            "09",
        ),
        _fix(
            "Compute in 16 bits: activations take half (set it before the model is built).",
            'keras.mixed_precision.set_global_policy("mixed_float16")',
            "08",
            (kept or asked or 0) // 2 or None,
        ),
        _fix(
            "Keep fewer activations, and compute them again in the backward pass.",
            "return keras.remat(self.block)(x)  # in a layer of your own",
            "09",
        ),
        _fix("Make pictures smaller or layers narrower: half the side is a quarter of the memory.", "", "04"),
    ]


def _exceeds(asked, batch, fits, held):
    return [
        _smaller_batch(asked, batch, fits),
        _fix("Make the layer narrower, or its input smaller: this one tensor must shrink.", "", "04"),
        _fix("Compute in 16 bits: the tensor takes half.",
             'keras.mixed_precision.set_global_policy("mixed_float16")', "08", asked and asked // 2),
    ]  # fmt: skip


def _weights(asked, batch, fits, held):
    return [
        _fix(
            "Use an optimizer with fewer slots: Adam keeps two more copies of the weights, plain SGD none.",
            'model.compile(keras.optimizers.SGD(0.01), loss="mse")',
            "09",
            held.get("optimizer") or None,
        ),
        _fix(
            "Train fewer layers: a frozen layer has no gradients and no slots.",
            "layer.trainable = False  # before compile()",
            "09",
        ),
        *_weights_alone(asked, batch, fits, held),
    ]


def _weights_alone(asked, batch, fits, held):
    return [
        _fix(
            "Make the widest layer narrower: of a dense layer, half the units are half the weights.",
            "",
            "02",
            asked and asked // 2,
        ),
        _fix(
            "Let less go into a dense layer: it has a row of weights for each number that Flatten gives it.",
            "keras.layers.GlobalAveragePooling2D()  # instead of Flatten()",
            "04",
        ),
    ]


def _embedding(asked, batch, fits, held):
    return [
        _fix(
            "Give the table fewer rows: keep the frequent words, or hash the rest into buckets.",
            'keras.layers.Hashing(num_bins=50_000)  # in front of Embedding(50_000, ...)',
            "02",
        ),
        _fix("Make its vectors shorter: half the length is half the table.", "", "02", asked and asked // 2),
        _fix("Use an optimizer without slots for it: Adam holds the whole table twice more.",
             'keras.optimizers.SGD(0.01)', "09", asked and 2 * asked),
        _fix("Keep the table in the host's memory, on a GPU.", 'with tf.device("CPU:0"): ...', "10"),
    ]  # fmt: skip


def _attention(asked, batch, fits, held):
    return [
        _fix("Make the sequences shorter: half the length is a quarter of the scores.",
             "X = X[:, :length]", "03", asked and asked - asked // 4),
        _smaller_batch(asked, batch, fits),
        _fix("Compute in 16 bits: the scores take half.",
             'keras.mixed_precision.set_global_policy("mixed_float16")', "08", asked and asked // 2),
    ]  # fmt: skip


def _copied(asked, batch, fits, held):
    return [
        _fix(
            "Bring the data batch by batch: a PyDataset or a generator over the array.",
            "class Batches(keras.utils.PyDataset):\n"
            "    def __len__(self): return -(-len(X) // 32)  # rounded up\n"
            "    def __getitem__(self, i): return X[32 * i : 32 * i + 32], y[32 * i : 32 * i + 32]\n"
            "model.fit(Batches())",
            "06",
            asked,
        ),
        _fix("If it is on files, let tf.data read them as they are needed.", "", "05", asked),
        _fix(
            "On a GPU, make the dataset on the host, so that only batches go to the device.",
            'with tf.device("CPU:0"):\n    data = tf.data.Dataset.from_tensor_slices((X, y)).batch(32)',
            "01",
            asked,
        ),
        _fix("Look at the type: float64 takes twice what float32 does.", 'X = X.astype("float32")', "01",
             asked and asked // 2),
    ]  # fmt: skip


def _predict(asked, batch, fits, held):
    return [
        _fix(
            "Take the outputs to the host batch by batch: predict() joins all of them on the device.",
            "outputs = [model.predict_on_batch(x) for x in batches]  # NumPy arrays",
            "10",
        ),
        _fix("Predict in several calls, each over a part of the data.",
             "parts = [model.predict(X[i : i + 1000]) for i in range(0, len(X), 1000)]", "10"),
        _fix("Ask for less: the class instead of all probabilities, say.", "", "10"),
    ]  # fmt: skip


def _fragmentation(asked, batch, fits, held):
    return [
        _fix("Take what you keep to the host, so that no small thing stays between large ones.",
             "kept.append(tensor.numpy().copy())", "10"),
        _fix("Give all batches one shape: pad, and drop the last part.",
             "data.batch(32, drop_remainder=True)", "10"),
        _fix("On a GPU try CUDA's own allocator, before TensorFlow starts. (The course has not measured it.)",
             "export TF_GPU_ALLOCATOR=cuda_malloc_async", "10"),
    ]  # fmt: skip


def _taken(asked, batch, fits, held):
    return [
        _fix("See who holds the memory, and end it: another notebook's kernel, a job that did not die.",
             "nvidia-smi", "10"),
        _fix(
            "Take only what is needed, in all programs that share the device, before anything else is done.",
            'for gpu in tf.config.list_physical_devices("GPU"):\n'
            "    tf.config.experimental.set_memory_growth(gpu, True)",
            "10",
        ),
    ]  # fmt: skip


def _growth(asked, batch, fits, held):
    return [
        _fix("Keep numbers, not tensors, from turn to turn.", "losses.append(float(loss))", "10"),
        _fix("Train one model again instead of making new ones; or give each a process of its own.",
             "labkit.run(train, ...)", "10"),
        _fix("Give tf.function tensors and one shape: each new Python number is a new graph.",
             "step(X, y, tf.constant(rate))", "10"),
        _fix("Measure what a turn adds.", "model.fit(X, y, callbacks=[labkit.MemoryMeter()])", "10"),
    ]  # fmt: skip


def _host(asked, batch, fits, held):
    return [
        _fix("Do not hold all the data: read it as it is needed.",
             'X = np.load("X.npy", mmap_mode="r")', "05", asked),
        _fix("Make the buffers smaller: a shuffle buffer holds its samples, each worker its batches.",
             "data.shuffle(1000).batch(32).prefetch(1)", "05"),
        _fix("Use float32 or uint8: float64 takes twice, eight times as much.",
             'X = X.astype("float32")', "01", asked and asked // 2),
    ]  # fmt: skip


def _unknown(asked, batch, fits, held):
    return [
        _fix("Send the whole log, from the first line that has \"Allocator (\" to the end of the traceback.",
             "python train.py 2>&1 | tee train.log\npython -m labkit diagnose train.log", ""),
        _fix("Or run the training here: the kit records every allocation.",
             "labkit.run(train, profile=True, batch_size=32)", "02"),
    ]  # fmt: skip


_FIXES = {
    "tensor_exceeds_limit": _exceeds,
    "activations": _activations,
    "weights_or_optimizer": _weights,
    "embedding": _embedding,
    "attention": _attention,
    "array_copied_to_device": _copied,
    "predict_output": _predict,
    "fragmentation": _fragmentation,
    "memory_taken_before_start": _taken,
    "growth": _growth,
    "host_memory": _host,
    "unknown": _unknown,
}
