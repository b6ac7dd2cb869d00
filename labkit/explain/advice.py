"""What to do about each cause, the most effective first: the call, the lesson, the bytes it saves."""

from collections.abc import Callable
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


@dataclass(frozen=True)
class Advice:
    """A Fix to be. saves: Failure -> bytes or None."""

    sentence: str
    code: str = ""
    lesson: str = ""
    saves: Callable = lambda failure: None

    def fix(self, failure, fits=None):
        """The Fix for one failure."""
        return Fix(self.sentence, self.code, LESSONS.get(self.lesson, ""), self.saves(failure) or None)


class SmallerBatch(Advice):
    """As Advice, with a batch size to begin with where it is known how many samples cannot fit."""

    def fix(self, failure, fits=None):
        batch, requested = failure.likely_batch, failure.requested_bytes
        if not (batch and fits and fits < batch):
            return super().fix(failure)
        start = max(1, 2 ** (int(fits / 1.5).bit_length() - 1))
        return Fix(
            f"Make the batch smaller: start with {start} instead of {batch}; labkit.find_batch_size() finds "
            "the largest that fits.",
            f"model.fit(X, y, batch_size={start})",
            LESSONS[self.lesson],
            requested and requested - requested * start // batch,
        )


def fixes_for(cause, failure, fits=None):
    """The fixes of a cause by its name, the most effective first. fits: a larger batch cannot fit."""
    case = cause
    if cause in ("weights_or_optimizer", "activations") and failure.is_in_loop:
        case = f"{cause} in a loop"
    elif cause == "weights_or_optimizer" and failure.is_building:
        case = f"{cause} while building"
    return [advice.fix(failure, fits) for advice in ADVICE.get(case, ())]


def of_request(share):
    """Saves this share of what was asked for."""
    return lambda failure: failure.requested_bytes and int(share * failure.requested_bytes)


def of_loop(share):
    """Saves this share of what XLA keeps for the steps of a loop."""
    return lambda failure: int(share * failure.loop_bytes)


def _optimizer_state(failure):
    return (failure.needed_by_category or {}).get("optimizer")


def _half_of_activations(failure):
    kept = (failure.needed_by_category or {}).get("activations")
    return (kept or failure.requested_bytes or 0) // 2


SMALLER_BATCH = SmallerBatch(
    "Make the batch smaller: half of it halves this tensor and others like it.",
    "model.fit(X, y, batch_size=...)",
    "02",
    of_request(0.5),
)
SIXTEEN_BITS = 'keras.mixed_precision.set_global_policy("mixed_float16")'
WITHOUT_XLA = Advice(
    "Compile without XLA: TensorFlow itself keeps the weights once, and adds up their gradients.",
    'model.compile("adam", loss="mse", jit_compile=False)',
    "03",
    of_loop(1),
)
NARROWER = (
    Advice(
        "Make the widest layer narrower: in a dense layer, half the units means half the weights.",
        lesson="02",
        saves=of_request(0.5),
    ),
    Advice(
        "Feed less into a dense layer: it has a row of weights for each number that Flatten passes on.",
        "keras.layers.GlobalAveragePooling2D()  # instead of Flatten()",
        "04",
    ),
)
LESS_ACTIVATIONS = (
    SMALLER_BATCH,
    Advice(
        "To keep the effect of the large batch, accumulate the gradients of several small ones.",
        'model.compile(keras.optimizers.Adam(gradient_accumulation_steps=4), loss="mse")',
        "09",
    ),
    Advice(
        "Compute in 16 bits: activations take half the memory (set it before the model is built).",
        SIXTEEN_BITS,
        "08",
        _half_of_activations,
    ),
    Advice(
        "Keep fewer activations, and recompute them in the backward pass (gradient checkpointing).",
        "return keras.remat(self.block)(x)  # in a layer of your own",
        "09",
    ),
    Advice(
        "Use smaller images or narrower layers: half the resolution takes a quarter of the memory.",
        lesson="04",
    ),
)
ADVICE = {
    "tensor_exceeds_limit": (
        SMALLER_BATCH,
        Advice("Make the layer narrower, or its input smaller: this one tensor has to shrink.", lesson="04"),
        Advice("Compute in 16 bits: the tensor takes half the memory.", SIXTEEN_BITS, "08", of_request(0.5)),
    ),
    "activations": LESS_ACTIVATIONS,
    "activations in a loop": (WITHOUT_XLA, *LESS_ACTIVATIONS),
    "weights_or_optimizer": (
        Advice(
            "Use an optimizer with less state: Adam keeps two more copies of the weights, plain SGD none.",
            'model.compile(keras.optimizers.SGD(0.01), loss="mse")',
            "09",
            _optimizer_state,
        ),
        Advice(
            "Train fewer layers: a frozen layer has no gradients and no optimizer state.",
            "layer.trainable = False  # before compile()",
            "09",
        ),
        *NARROWER,
    ),
    "weights_or_optimizer while building": NARROWER,
    "weights_or_optimizer in a loop": (
        WITHOUT_XLA,
        Advice(
            "Use shorter sequences: half the length takes half of it.",
            "X = X[:, :length]",
            "03",
            of_loop(0.5),
        ),
        Advice("Use fewer units: half of them saves half of it, or more.", lesson="03", saves=of_loop(0.5)),
    ),
    "embedding": (
        Advice(
            "Give the table fewer rows: keep the frequent words, or hash the rest into buckets.",
            "keras.layers.Hashing(num_bins=50_000)  # in front of Embedding(50_000, ...)",
            "02",
        ),
        Advice("Use shorter vectors: half the width is half the table.", lesson="02", saves=of_request(0.5)),
        Advice(
            "Use an optimizer without state for it: Adam holds the whole table twice more.",
            "keras.optimizers.SGD(0.01)",
            "09",
            of_request(2),
        ),
        Advice("On a GPU, keep the table in the host's memory.", 'with tf.device("CPU:0"): ...', "10"),
    ),
    "attention": (
        Advice(
            "Use shorter sequences: half the length takes a quarter of the scores.",
            "X = X[:, :length]",
            "03",
            of_request(0.75),
        ),
        SMALLER_BATCH,
        Advice("Compute in 16 bits: the scores take half the memory.", SIXTEEN_BITS, "08", of_request(0.5)),
    ),
    "array_copied_to_device": (
        Advice(
            "Feed the data batch by batch: a PyDataset or a generator over the array.",
            "class Batches(keras.utils.PyDataset):\n"
            "    def __len__(self): return -(-len(X) // 32)  # rounded up\n"
            "    def __getitem__(self, i): return X[32 * i : 32 * i + 32], y[32 * i : 32 * i + 32]\n"
            "model.fit(Batches())",
            "06",
            of_request(1),
        ),
        Advice("If it is in files, let tf.data read them as needed.", lesson="05", saves=of_request(1)),
        Advice(
            "On a GPU, create the dataset on the host, so that only batches go to the device.",
            'with tf.device("CPU:0"):\n    data = tf.data.Dataset.from_tensor_slices((X, y)).batch(32)',
            "01",
            of_request(1),
        ),
        Advice(
            "Check the type: float64 takes twice the memory of float32.",
            'X = X.astype("float32")',
            "01",
            of_request(0.5),
        ),
    ),
    "predict_output": (
        Advice(
            "Bring the outputs to the host batch by batch: predict() joins all of them on the device.",
            "outputs = [model.predict_on_batch(x) for x in batches]  # NumPy arrays",
            "10",
        ),
        Advice(
            "Predict in several calls, each on a part of the data.",
            "parts = [model.predict(X[i : i + 1000]) for i in range(0, len(X), 1000)]",
            "10",
        ),
        Advice("Ask for less: the class instead of all probabilities, for example.", lesson="10"),
    ),
    "fragmentation": (
        Advice(
            "Move what you keep to the host, so that nothing small stays between large blocks.",
            "kept.append(tensor.numpy().copy())",
            "10",
        ),
        Advice(
            "Give all batches the same shape: pad them, and drop the last, partial one.",
            "data.batch(32, drop_remainder=True)",
            "10",
        ),
        Advice(
            "On a GPU, try CUDA's own allocator, before TensorFlow starts. (The course has not measured it.)",
            "export TF_GPU_ALLOCATOR=cuda_malloc_async",
            "10",
        ),
    ),
    "memory_taken_before_start": (
        Advice(
            "See who holds the memory, and end it: another notebook's kernel, a job that did not die.",
            "nvidia-smi",
            "10",
        ),
        Advice(
            "Take only what is needed, in all programs that share the device, before anything else is done.",
            'for gpu in tf.config.list_physical_devices("GPU"):\n'
            "    tf.config.experimental.set_memory_growth(gpu, True)",
            "10",
        ),
    ),
    "growth": (
        Advice("Keep Python numbers, not tensors, between iterations.", "losses.append(float(loss))", "10"),
        Advice(
            "Train one model again instead of creating new ones; or give each a process of its own.",
            "labkit.run(train, ...)",
            "10",
        ),
        Advice(
            "Give tf.function tensors of one shape: each new Python number makes a new graph.",
            "step(X, y, tf.constant(rate))",
            "10",
        ),
        Advice("Measure what an iteration adds.", "model.fit(X, y, callbacks=[labkit.MemoryMeter()])", "10"),
    ),
    "host_memory": (
        Advice(
            "Do not hold all the data: read it as needed.",
            'X = np.load("X.npy", mmap_mode="r")',
            "05",
            of_request(1),
        ),
        Advice(
            "Make the buffers smaller: a shuffle buffer holds its samples, each worker its batches.",
            "data.shuffle(1000).batch(32).prefetch(1)",
            "05",
        ),
        Advice(
            "Use float32 or uint8: float64 takes two and eight times as much.",
            'X = X.astype("float32")',
            "01",
            of_request(0.5),
        ),
        Advice(
            "Give it more room: shut down the kernels of other notebooks, or raise the container's limit.",
            "docker run --memory=8g ...",
        ),
    ),
    "unknown": (
        Advice(
            'Give the whole log, from the first line that has "Allocator (" to the end of the traceback.',
            "python train.py 2>&1 | tee train.log\npython -m labkit diagnose train.log",
        ),
        Advice(
            "Or run the training here: labkit records every allocation.",
            "labkit.run(train, profile=True, batch_size=32)",
            "02",
        ),
    ),
}
