"""What to do about each cause, the most effective first: the call, the lesson, the bytes it saves."""

from ..logs import forms
from ..sizes import MIB
from . import tensors
from .fixes import (
    Advice,
    SmallerBatch,
    half_of_activations,
    is_shared,
    may_be_wide,
    not_on_tensorflow,
    of_array,
    of_loop,
    of_one_hot,
    of_request,
    on_tensorflow,
    optimizer_state,
    several_samples,
    trains_on_several,
)

SMALL_TABLE = 64 * MIB
SIXTEEN_BITS = 'keras.mixed_precision.set_global_policy("mixed_float16")'
SMALLER_BATCH = SmallerBatch(
    "Make the batch smaller: half of it halves this tensor and others like it.",
    "model.fit(X, y, batch_size=...)",
    "02",
    of_request(0.5),
    lambda failure: several_samples(failure) and not failure.marks & forms.PREDICTS,
)
SMALLER_EVALUATION = Advice(
    "Evaluate in smaller batches too: evaluate() and validation_data have a batch size of their own.",
    "model.evaluate(X, y, batch_size=8)  # in fit(): validation_batch_size=8",
    "02",
    applies=lambda failure: bool(failure.marks & forms.EVALUATES),
)
SMALLER_PREDICTION = Advice(
    "Predict in smaller batches, or on parts of a large sample: predict() has a batch size of its own.",
    "model.predict(X, batch_size=8)",
    "02",
    of_request(0.5),
    lambda failure: bool(failure.marks & forms.PREDICTS) and several_samples(failure),
)
FEWER_AT_ONCE = (SMALLER_EVALUATION, SMALLER_PREDICTION, SMALLER_BATCH)
BATCH_PER_GPU = Advice(
    "Count the batch for each GPU: with several, fit() divides its batch among them, and NCCL needs memory "
    "too.",
    "batch_size = 16 * strategy.num_replicas_in_sync",
    "11",
    applies=lambda failure: failure.has_words("replica_", "tower", "strategy", "collective", "nccl"),
)
WITHOUT_XLA = Advice(
    "Compile without XLA: TensorFlow itself keeps the weights once, and adds up their gradients.",
    'model.compile("adam", loss="mse", jit_compile=False)',
    "03",
    of_loop(1),
    on_tensorflow,
)
XLA_OFF = Advice(
    "Try it without XLA: its memory for a step is one block, and what does not fit in one piece may fit in "
    "many.",
    'model.compile("adam", loss="mse", jit_compile=False)',
    "03",
    applies=lambda failure: on_tensorflow(failure) and (failure.is_one_block or failure.is_of_compiled_step),
)
TRY_NOTHING_OUT = Advice(
    "Have nothing tried out, before TensorFlow is imported: on an H200 the first step then took 0.15 to 0.42 "
    "times as much. Steps may be slower.",
    'os.environ["XLA_FLAGS"] = "--xla_gpu_autotune_level=0"\nos.environ["TF_CUDNN_USE_AUTOTUNE"] = "0"',
    "02",
    applies=lambda failure: on_tensorflow(failure) and (failure.is_of_tries or failure.is_of_compiled_step),
)
WHO_HOLDS_IT = Advice(
    "See who holds the memory, and end it: another notebook's kernel, a job that did not die.",
    "nvidia-smi  # AMD: rocm-smi",
    "11",
    applies=is_shared,
)
TAKE_LESS = Advice(
    "Take only what is needed, in all programs that share the device, before anything else is done.",
    'for gpu in tf.config.list_physical_devices("GPU"):\n'
    "    tf.config.experimental.set_memory_growth(gpu, True)",
    "11",
    applies=lambda failure: on_tensorflow(failure) and is_shared(failure),
)
TAKE_LESS_JAX = Advice(
    "Let JAX take only what is needed, in all programs that share the device, before it starts.",
    "export XLA_PYTHON_CLIENT_PREALLOCATE=false",
    "11",
    applies=lambda failure: failure.framework == "jax",
)
FREE_EARLIER = Advice(
    "Free the models made before in this process: restart the kernel, or give each a process of its own. "
    "(clear_session() does not free a model that TensorFlow 2.21 has trained.)",
    "labkit.run(train_one, fold=fold)",
    "10",
)
GLOBAL_POOLING = Advice(
    "Feed less into a dense layer: it has a row of weights for each number that Flatten passes on.",
    "keras.layers.GlobalAveragePooling2D()  # instead of Flatten()",
    "04",
)
NARROW_LAYER = Advice(
    "Make the widest layer narrower: in a dense layer, half the units means half the weights.",
    lesson="02",
    saves=of_request(0.5),
)
LESS_STATE = Advice(
    "Use an optimizer with less state: Adam keeps two more copies of the weights, plain SGD none.",
    'model.compile(keras.optimizers.SGD(0.01), loss="mse")',
    "09",
    optimizer_state,
)
FREEZE = Advice(
    "Train fewer layers: a frozen layer has no gradients and no optimizer state.",
    "layer.trainable = False  # before compile()",
    "09",
)
SMALLER_SAMPLE = Advice(
    "Make the sample smaller: half the resolution takes a quarter of the memory; or cut it into tiles, or "
    "into "
    "shorter sequences.",
    "keras.layers.Resizing(256, 256)  # or a crop of each image, X = X[:, :length]",
    "04",
)
NARROWER_ACTIVATIONS = Advice(
    "Use narrower layers: half the filters, or units, take half the memory.", lesson="04"
)
HALF_THE_BITS = Advice(
    "Compute in 16 bits: activations take half the memory (set it before the model is built).",
    SIXTEEN_BITS,
    "08",
    half_of_activations,
)
RECOMPUTE = Advice(
    "Keep fewer activations, and recompute them in the backward pass (gradient checkpointing). What is "
    "recomputed must have no dropout and no BatchNormalization.",
    "return keras.remat(lambda x: self.block(x, training=training))(x)  # in a layer's call",
    "09",
    applies=lambda failure: not failure.marks & (forms.PREDICTS | forms.EVALUATES),
)
ACCUMULATE = Advice(
    "To keep the effect of the large batch, accumulate the gradients of several small ones.",
    'model.compile(keras.optimizers.Adam(gradient_accumulation_steps=4), loss="mse")',
    "09",
    applies=trains_on_several,
)
EMBED = Advice(
    "Feed integers into an Embedding instead of one-hot rows, which are as long as there are words.",
    "keras.layers.Embedding(words, 64)",
    "02",
    applies=lambda failure: failure.has_words("one_hot", "onehot"),
)
FILL_TILES = Advice(
    "Leave no padding: give each TPU core a multiple of 8 samples, and layers a multiple of 128 units. "
    "Dimensions of 2 or 3 (classes, colors) are padded the most.",
    "batch_size = 8 * strategy.num_replicas_in_sync",
    applies=lambda failure: failure.is_padded,
)
LESS_ACTIVATIONS = (
    EMBED,
    FILL_TILES,
    *FEWER_AT_ONCE,
    BATCH_PER_GPU,
    ACCUMULATE,
    XLA_OFF,
    HALF_THE_BITS,
    RECOMPUTE,
    Advice(
        "Use smaller images or narrower layers: half the resolution takes a quarter of the memory.",
        lesson="04",
    ),
    TRY_NOTHING_OUT,
)
FEWER_ROWS = Advice(
    "Give the table fewer rows: keep the frequent words, or hash the rest into buckets.",
    "keras.layers.Hashing(num_bins=50_000)  # in front of Embedding(50_000, ...)",
    "02",
)
OR_GLOBAL_POOLING = Advice(
    "If it is a dense layer behind Flatten instead, average each feature map to one number.",
    "keras.layers.GlobalAveragePooling2D()  # instead of Flatten()",
    "04",
    applies=lambda failure: not failure.has_words("mbed") and bool(tensors.flattened(failure)),
)
TABLE_WITHOUT_STATE = Advice(
    "Use an optimizer without state for it: Adam holds the whole table twice more.",
    "keras.optimizers.SGD(0.01)",
    "09",
    of_request(2),
)
SHORTER = Advice(
    "Use shorter sequences: half the length takes a quarter of the scores.",
    "X = X[:, :length]",
    "13",
    of_request(0.75),
)
FLASH = Advice(
    "Let attention be computed without keeping its scores, where backend and GPU can.",
    "keras.config.enable_flash_attention()",
    applies=not_on_tensorflow,
)
READ_AS_NEEDED = Advice(
    "Do not hold all the data: read it as needed.",
    'X = np.load("X.npy", mmap_mode="r")',
    "05",
    of_request(1),
)
SMALLER_BUFFERS = Advice(
    "Make the buffers smaller: a shuffle buffer holds its samples, each worker its batches.",
    "data.shuffle(1000).batch(32).prefetch(1)",
    "05",
)
FEWER_WORKERS = Advice(
    "Use fewer workers and a shorter queue: each worker is a process with its own libraries and batches.",
    "class Batches(keras.utils.PyDataset):\n"
    "    def __init__(self): super().__init__(workers=1, use_multiprocessing=False, max_queue_size=2)",
    "06",
)
SMALLER_TYPE = Advice(
    "Use float32 or uint8: float64 takes two and eight times as much.",
    'X = X.astype("float32")',
    "01",
    applies=lambda failure: failure.dtype is None,
)
MORE_ROOM = Advice(
    "Give it more room: shut down the kernels of other notebooks, or raise the container's limit.",
    "docker run --memory=8g ...",
)
WIDE_TYPE = Advice(
    "Use float32 or uint8 from the start: float64 takes two and eight times as much.",
    'X = np.zeros(shape, "float32")',
    "01",
    of_request(0.5),
    lambda failure: failure.dtype in ("float64", "int64", "complex128"),
)
ON_THE_HOST = (READ_AS_NEEDED, WIDE_TYPE, SMALLER_BUFFERS, SMALLER_TYPE, MORE_ROOM)
LESS_AT_ONCE = Advice(
    "Measure what an iteration adds.",
    "model.fit(X, y, callbacks=[labkit.MemoryMeter()])",
    "10",
    applies=on_tensorflow,
)
LESS_OF_THE_HOST = Advice(
    "Measure what an iteration adds to the memory of the process.",
    "print(psutil.Process().memory_info().rss)  # in a callback, after each epoch",
    "10",
)

ADVICE = {
    "tensor_exceeds_limit": (
        FILL_TILES,
        *FEWER_AT_ONCE,
        Advice("Make the layer narrower, or its input smaller: this one tensor has to shrink.", lesson="04"),
        Advice("Compute in 16 bits: the tensor takes half the memory.", SIXTEEN_BITS, "08", of_request(0.5)),
    ),
    "tensor_exceeds_limit of weights": (NARROW_LAYER, GLOBAL_POOLING),
    "tensor_exceeds_limit by overflow": (
        Advice(
            "Print the shapes that go into this op: a dimension is 0, negative, or too large for 32 bits.",
            "tf.print(tf.shape(x))",
        ),
        Advice(
            "Use another version of TensorFlow and of its driver: known ones computed such sizes wrongly."
        ),
    ),
    "autotuning": (TRY_NOTHING_OUT, XLA_OFF, WHO_HOLDS_IT, *FEWER_AT_ONCE),
    "activations": LESS_ACTIVATIONS,
    "activations of one sample": (
        SMALLER_SAMPLE,
        NARROWER_ACTIVATIONS,
        HALF_THE_BITS,
        RECOMPUTE,
        WHO_HOLDS_IT,
    ),
    "activations on a full device": (
        *FEWER_AT_ONCE,
        WHO_HOLDS_IT,
        BATCH_PER_GPU,
        FREE_EARLIER,
        ACCUMULATE,
        HALF_THE_BITS,
        RECOMPUTE,
    ),
    "activations of large samples": (
        SMALLER_SAMPLE,
        *FEWER_AT_ONCE,
        HALF_THE_BITS,
        NARROWER_ACTIVATIONS,
        RECOMPUTE,
    ),
    "activations in a loop": (WITHOUT_XLA, *LESS_ACTIVATIONS),
    "weights_or_optimizer": (LESS_STATE, FREEZE, NARROW_LAYER, GLOBAL_POOLING),
    "weights_or_optimizer in a step": (LESS_STATE, *FEWER_AT_ONCE, FREEZE, NARROW_LAYER, BATCH_PER_GPU),
    "weights_or_optimizer behind Flatten": (GLOBAL_POOLING, LESS_STATE, NARROW_LAYER, FREEZE),
    "weights_or_optimizer while building": (NARROW_LAYER, GLOBAL_POOLING, WHO_HOLDS_IT),
    "weights_or_optimizer on a full device": (
        WHO_HOLDS_IT,
        *FEWER_AT_ONCE,
        FREE_EARLIER,
        TAKE_LESS,
        LESS_STATE,
        FREEZE,
    ),
    "weights_or_optimizer before any batch": (
        WHO_HOLDS_IT,
        FREE_EARLIER,
        TAKE_LESS,
        *FEWER_AT_ONCE,
        LESS_STATE,
    ),
    "weights_or_optimizer after other models": (
        FREE_EARLIER,
        WHO_HOLDS_IT,
        *FEWER_AT_ONCE,
        LESS_STATE,
        FREEZE,
    ),
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
    "weights_or_optimizer while loading": (
        Advice(
            "Load the weights in 16 bits, or in 8: half of the memory, or a quarter.",
            'keras.config.set_dtype_policy("bfloat16")  # before the model is loaded',
            "08",
        ),
        WHO_HOLDS_IT,
        FREE_EARLIER,
        Advice("Load a smaller model, or spread its weights over several devices.", "keras.distribution"),
    ),
    "embedding of few bytes": (
        WHO_HOLDS_IT,
        FEWER_ROWS,
        OR_GLOBAL_POOLING,
        FREE_EARLIER,
        TAKE_LESS,
        TABLE_WITHOUT_STATE,
    ),
    "embedding": (
        FEWER_ROWS,
        OR_GLOBAL_POOLING,
        Advice("Use shorter vectors: half the width is half the table.", lesson="02", saves=of_request(0.5)),
        TABLE_WITHOUT_STATE,
        Advice(
            "On a GPU, keep the table in the host's memory.",
            'with tf.device("CPU:0"): ...',
            "11",
            applies=on_tensorflow,
        ),
    ),
    "attention": (
        SHORTER,
        *FEWER_AT_ONCE,
        FLASH,
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
            of_array(1),
        ),
        Advice(
            "Split off the validation data on the host: validation_split gathers its part on the device.",
            "n = len(X) * 4 // 5\nmodel.fit(X[:n], y[:n], validation_data=(X[n:], y[n:]))",
            "01",
            applies=lambda failure: bool(failure.marks & forms.SPLITS),
        ),
        Advice("If it is in files, let tf.data read them as needed.", lesson="05", saves=of_array(1)),
        Advice(
            "On a GPU, create the dataset on the host, so that only batches go to the device.",
            'with tf.device("CPU:0"):\n    data = tf.data.Dataset.from_tensor_slices((X, y)).batch(32)',
            "01",
            of_array(1),
            on_tensorflow,
        ),
        Advice(
            "Check the type: float64 takes twice the memory of float32.",
            'X = X.astype("float32")',
            "01",
            lambda failure: failure.dtype == "float64" and (failure.requested_bytes or 0) // 2,
            may_be_wide,
        ),
    ),
    "array_copied_to_device in a buffer": (
        Advice(
            "Make the shuffle buffer smaller: it holds as many samples as it is told.",
            "data.shuffle(256).batch(32).prefetch(1)",
            "05",
            lambda failure: failure.most_equal[0] * failure.most_equal[1] // 2,
        ),
        Advice(
            "Shuffle what is small, the names of files or the places of rows, and read only then.",
            "tf.data.Dataset.from_tensor_slices(files).shuffle(10_000).map(read)",
            "05",
        ),
    ),
    "predict_output": (
        Advice(
            "Bring the outputs to the host batch by batch: predict() joins all of them on the device.",
            "outputs = [model.predict_on_batch(x) for x in batches]  # NumPy arrays",
            "01",
        ),
        Advice(
            "Predict in several calls, each on a part of the data.",
            "parts = [model.predict(X[i : i + 1000]) for i in range(0, len(X), 1000)]",
            "01",
        ),
        Advice("Ask for less: the class instead of all probabilities, for example.", lesson="01"),
    ),
    "fragmentation": (
        Advice(
            "Let PyTorch's allocator grow its blocks, before it starts.",
            "export PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True",
            applies=lambda failure: failure.framework == "torch",
        ),
        Advice(
            "Move what you keep to the host, so that it does not lie between blocks that are freed.",
            "kept.append(tensor.numpy().copy())",
            "11",
            applies=on_tensorflow,
        ),
        Advice(
            "Give all batches the same shape: pad them, and drop the last, partial one.",
            "data.batch(32, drop_remainder=True)",
            "11",
        ),
        Advice(
            "On a GPU, try CUDA's own allocator, before TensorFlow starts. (The course has not measured it.)",
            "export TF_GPU_ALLOCATOR=cuda_malloc_async",
            "11",
            applies=on_tensorflow,
        ),
    ),
    "memory_taken_before_start": (WHO_HOLDS_IT, TAKE_LESS, TAKE_LESS_JAX, FREE_EARLIER),
    "memory_taken_before_start for a library": (
        TAKE_LESS,
        WHO_HOLDS_IT,
        TAKE_LESS_JAX,
        BATCH_PER_GPU,
        *FEWER_AT_ONCE,
    ),
    "memory_taken_before_start for code": (
        Advice(
            "Compile without XLA: then there is no such code to load.",
            'model.compile("adam", loss="mse", jit_compile=False)',
            "03",
            applies=on_tensorflow,
        ),
        Advice(
            "Leave some of the device free for the code: a lower limit, before anything else is done.",
            'gpu = tf.config.list_physical_devices("GPU")[0]\n'
            "limit = tf.config.LogicalDeviceConfiguration(memory_limit=6000)  # in MiB\n"
            "tf.config.set_logical_device_configuration(gpu, [limit])",
            "11",
            applies=on_tensorflow,
        ),
        Advice(
            "Leave some of the device free for the code: let JAX take a smaller part, before it starts.",
            "export XLA_PYTHON_CLIENT_MEM_FRACTION=.60",
            "11",
            applies=lambda failure: failure.framework == "jax",
        ),
        WHO_HOLDS_IT,
    ),
    "growth": (
        Advice("Keep Python numbers, not tensors, between iterations.", "losses.append(float(loss))", "10"),
        Advice(
            "Train one model again instead of creating new ones; or give each a process of its own.",
            "labkit.run(train, ...)",
            "10",
        ),
        SMALLER_EVALUATION,
        Advice(
            "Give tf.function tensors of one shape: each new Python number makes a new graph.",
            "step(X, y, tf.constant(rate))",
            "10",
            applies=on_tensorflow,
        ),
        LESS_AT_ONCE,
    ),
    "growth of models": (
        Advice(
            "Give each model a process of its own: what it took ends with it. (clear_session() does not free "
            "a model that TensorFlow 2.21 has trained.)",
            "scores = [labkit.run(train_one, fold=fold).result for fold in folds]  # returns a number",
            "10",
        ),
        Advice(
            "Or keep one model, and begin each training with the first values of its variables.",
            "variables = model.variables + model.optimizer.variables\n"
            "first = [variable.numpy() for variable in variables]  # after model.optimizer.build(...)\n"
            "for variable, value in zip(variables, first):\n    variable.assign(value)",
            "10",
            applies=on_tensorflow,
        ),
        Advice(
            "Keep Python numbers, not tensors or models, between iterations.",
            "losses.append(float(loss))",
            "10",
        ),
        LESS_AT_ONCE,
    ),
    "host_memory": ON_THE_HOST,
    "host_memory for one-hot targets": (
        Advice(
            "Keep the targets as integers: a row of one-hot numbers is as long as there are classes.",
            'model.compile("adam", loss="sparse_categorical_crossentropy")  # y: one integer each',
            "01",
            of_one_hot,
        ),
        Advice(
            "Or make the one-hot rows batch by batch, in a generator or a PyDataset.",
            "keras.utils.to_categorical(y[i : i + 32], classes)",
            "06",
        ),
        SMALLER_TYPE,
        MORE_ROOM,
    ),
    "host_memory for a sparse matrix": (
        Advice(
            "Keep the matrix sparse, and make only each batch dense.",
            "X[i : i + 32].toarray()  # in __getitem__ of a PyDataset",
            "06",
            of_request(1),
        ),
        Advice("Use fewer columns: the most frequent words alone.", "TfidfVectorizer(max_features=10_000)"),
        WIDE_TYPE,
        MORE_ROOM,
    ),
    "host_memory for padded sequences": (
        Advice(
            "Pad to a shorter length, or pad each batch to its own longest sequence: one long sequence "
            "sets the "
            "length of all.",
            "keras.utils.pad_sequences(X, maxlen=200)",
            "03",
        ),
        READ_AS_NEEDED,
        WIDE_TYPE,
        MORE_ROOM,
    ),
    "host_memory on Windows": (
        FEWER_WORKERS,
        Advice(
            "Make Windows's paging file larger: System, Advanced system settings, Performance, Advanced, "
            "Virtual "
            "memory; then restart.",
            "wmic pagefile list /format:list  # what it is now",
        ),
        READ_AS_NEEDED,
    ),
    "host_memory of workers": (FEWER_WORKERS, READ_AS_NEEDED, SMALLER_BUFFERS, MORE_ROOM),
    "host_memory shared by workers": (
        Advice("Give the container more shared memory.", "docker run --shm-size=2g ..."),
        FEWER_WORKERS,
        *FEWER_AT_ONCE,
    ),
    "host_memory that grows": (
        Advice(
            "Keep Python numbers, not tensors, between iterations, and do not collect batches or "
            "predictions in lists.",
            "losses.append(float(loss))",
            "10",
        ),
        LESS_OF_THE_HOST,
        SMALLER_BUFFERS,
        FEWER_WORKERS,
        MORE_ROOM,
    ),
    "host_memory pinned": (SMALLER_BUFFERS, *FEWER_AT_ONCE, READ_AS_NEEDED, MORE_ROOM),
    "host_memory after a large tensor": (*FEWER_AT_ONCE, READ_AS_NEEDED, HALF_THE_BITS, MORE_ROOM),
    "host_memory after other models": (FREE_EARLIER, NARROW_LAYER, GLOBAL_POOLING, MORE_ROOM),
    "host_memory on the CPU": (*FEWER_AT_ONCE, HALF_THE_BITS, READ_AS_NEEDED, MORE_ROOM),
    "host_memory on the CPU for weights": (NARROW_LAYER, GLOBAL_POOLING, LESS_STATE, MORE_ROOM),
    "host_memory without a word": (
        READ_AS_NEEDED,
        *FEWER_AT_ONCE,
        Advice(
            "Find out: run it as a script, and read how it ends (137 or Killed is the host's memory), or "
            "watch its "
            "memory as it runs.",
            "jupyter nbconvert --to script notebook.ipynb\npython notebook.py; echo $?",
        ),
        SMALLER_BUFFERS,
        MORE_ROOM,
    ),
    "unknown": (
        Advice(
            'Give the whole log, from the first line that has "Allocator (" to the end of the traceback.',
            "python train.py 2>&1 | tee train.log\npython -m labkit diagnose train.log",
            applies=on_tensorflow,
        ),
        Advice(
            "Give the whole log, from the first line that speaks of memory to the end of the traceback.",
            "python train.py 2>&1 | tee train.log\npython -m labkit diagnose train.log",
            applies=not_on_tensorflow,
        ),
        Advice(
            "Or run the training here: labkit records every allocation.",
            "labkit.run(train, profile=True, batch_size=32)",
            "02",
            applies=on_tensorflow,
        ),
    ),
}


def fixes_for(cause, failure, fits=None):
    """The fixes of a cause by its name, the most effective first. fits: a larger batch cannot fit."""
    advices = ADVICE.get(f"{cause}{_special(cause, failure)}", ())
    return [advice.fix(failure, fits) for advice in advices if advice.applies(failure)]


def _special(cause, failure):
    """What is special in a failure, as the end of a key of ADVICE."""
    special = _SPECIAL.get(cause)
    found = special(failure) if special else ""
    return f" {found}" if found else ""


def _of_activations(failure):
    if failure.is_in_loop:
        return "in a loop"
    if tensors.is_single_sample(failure):
        return "of one sample"
    if tensors.has_large_samples(failure):
        return "of large samples"
    return "on a full device" if tensors.is_tiny(failure) or failure.kind == "copy" else ""


def _of_weights(failure):
    if failure.is_in_loop:
        return "in a loop"
    if failure.kind in ("full", "torch", "xla") and failure.is_loading:
        return "while loading"
    if (tensors.is_tiny(failure) or failure.kind == "copy") and not failure.needed_by_category:
        if tensors.earlier_models(failure):
            return "after other models"
        return (
            "before any batch"
            if "/" not in (failure.op or "/") or failure.is_building
            else "on a full device"
        )
    if tensors.looks_flattened(failure):
        return "behind Flatten"
    if tensors.is_in_step(failure):
        return "in a step"
    return "while building" if tensors.creates(failure) else ""


def _of_table(failure):
    """A table alone, with gradient and state, is four times its bytes."""
    small = (failure.requested_bytes or SMALL_TABLE) < SMALL_TABLE
    return "of few bytes" if small and not (failure.limit_bytes or failure.is_alone) else ""


def _of_one_tensor(failure):
    if failure.is_overflow:
        return "by overflow"
    return "of weights" if tensors.is_of_weights(failure) else ""


def _of_growth(failure):
    return "of models" if failure.marks & forms.FOLDS or tensors.earlier_models(failure) else ""


def _of_taken(failure):
    return {"library": "for a library", "code": "for code"}.get(failure.kind, "")


def _of_host(failure):
    if failure.marks & forms.ONE_HOT:
        return "for one-hot targets"
    if failure.marks & forms.DENSE:
        return "for a sparse matrix"
    if failure.marks & forms.PADDED:
        return "for padded sequences"
    if failure.kind in _HOST_KINDS:
        return _HOST_KINDS[failure.kind]
    if tensors.earlier_models(failure) >= 3:
        return "after other models"
    if "you tried to allocate" in failure.quote:  # PyTorch's allocator on the CPU
        return "on the CPU"
    if failure.kind == "killed" and (failure.warned_bytes or 0) >= 1024 * MIB:
        return "after a large tensor"
    if failure.allocator in ("cpu", "mklcpu") and not tensors.is_whole_array(failure):
        return "on the CPU for weights" if tensors.is_of_weights(failure) else "on the CPU"
    if (failure.epoch or 0) >= 3 or failure.done >= 2:
        return "that grows"
    return "of workers" if failure.marks & forms.WORKERS else ""


_HOST_KINDS = {
    "paging": "on Windows",
    "pinned": "pinned",
    "died": "without a word",
    "shared": "shared by workers",
}


def _of_array(failure):
    return "in a buffer" if tensors.buffered_samples(failure) else ""


_SPECIAL = {
    "array_copied_to_device": _of_array,
    "activations": _of_activations,
    "weights_or_optimizer": _of_weights,
    "embedding": _of_table,
    "tensor_exceeds_limit": _of_one_tensor,
    "growth": _of_growth,
    "memory_taken_before_start": _of_taken,
    "host_memory": _of_host,
}
