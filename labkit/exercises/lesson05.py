"""Lesson 05: what the stages of a tf.data pipeline hold."""

import tempfile

from ..sizes import format_size, parse_size
from .core import Exercise, is_integer, measured, run

FILES, ROWS = 16, 512
BUFFER_LIMIT = "80 MiB"
LEAST_USED = 3 / 4  # the same buffer takes some MiB more or less, by how far reading is ahead


def write_files(folder, resolution):
    """Write 16 .npz files of square images; y is the number of the file. Returns their paths."""
    import numpy as np

    paths = [f"{folder}/part-{number:02}.npz" for number in range(FILES)]
    for number, path in enumerate(paths):
        X = np.random.default_rng(number).random((ROWS, resolution, resolution), dtype="float32")
        np.savez(path, X=X, y=np.full(ROWS, number, "int32"))
    return paths


def reader(resolution):
    """The lesson's `read`, for images of another resolution."""

    def load(path):
        import numpy as np

        with np.load(path.decode()) as part:
            return part["X"], part["y"]

    def read(path):
        import tensorflow as tf

        X, y = tf.numpy_function(load, [path], (tf.float32, tf.int32))
        return tf.ensure_shape(X, (None, resolution, resolution)), tf.ensure_shape(y, (None,))

    return read


def iterate_with(buffer, paths):
    """Iterate once over the lesson's pipeline; returns the number of rows."""
    import tensorflow as tf

    names = tf.data.Dataset.from_tensor_slices(paths)
    dataset = names.map(reader(64)).unbatch().shuffle(buffer).batch(32)
    return sum(len(y) for _, y in dataset)


def _held(outcome):
    """Bytes held where a pipeline lives: on the host, which on the CPU stand-in is also the device."""
    if outcome.device == "cpu":
        return outcome.peak_bytes
    return outcome.host_peak_bytes - measured(run(iterate_nothing)).host_peak_bytes


def iterate_nothing():
    """A pipeline without data: for what TensorFlow itself takes on the host."""
    import tensorflow as tf

    return len(list(tf.data.Dataset.range(1)))


def _judge_buffer(buffer):
    if not is_integer(buffer) or buffer < 1:
        return f"{buffer!r} is not a number of rows: give an integer of at least 1."
    with tempfile.TemporaryDirectory() as folder:
        tried = run(iterate_with, buffer=int(buffer), paths=write_files(folder, 64))
    measured(tried, "oom", "error")
    if not tried.ok:
        return f"With {buffer:,} rows it ended with status {tried.status!r}: {tried.error}"
    limit, held = parse_size(BUFFER_LIMIT), _held(tried)
    if held > limit:
        return f"With {buffer:,} rows it took {format_size(held)}, more than {BUFFER_LIMIT}."
    if held < LEAST_USED * limit:
        return f"With {buffer:,} rows it took {format_size(held)}: it fits, but more rows mix better."
    return None


q1 = Exercise(
    _judge_buffer,
    "Two points of the sweep over buffer sizes are enough. What does one row cost? "
    "How much is used with hardly any buffer at all?",
    "buffer = 3400  # 53 MiB of rows, plus 13 to 20 MiB for the files being read",
    "It fits, and uses more than three quarters of the limit.",
    of_stand_in=True,
)

MIX_LIMIT, LEAST_FILES = "28 MiB", 6


def mix(pipeline, paths):
    """Iterate once over the reader's pipeline: (rows, distinct rows, files per batch on average, shape).

    If a batch has the wrong shape, that shape alone.
    """
    import numpy as np
    import tensorflow as tf

    dataset = pipeline(tf.data.Dataset.from_tensor_slices(paths), reader(32))
    seen, first, mixed = [], set(), []
    for X, y in dataset:
        if X.shape[1:] != (32, 32):
            return (tuple(X.shape),)
        seen.append(len(y))
        first.update(map(tuple, X[:, 0, :2].numpy().tolist()))
        mixed.append(len(np.unique(y)))
    return sum(seen), len(first), float(np.mean(mixed)), tuple(dataset.element_spec[0].shape)


def _judge_mix(pipeline):
    with tempfile.TemporaryDirectory() as folder:
        tried = run(mix, pipeline=pipeline, paths=write_files(folder, 32))
    return _mixed_wrong(tried)


def _mixed_wrong(tried):
    if not tried.ok:
        return f"It ended with status {tried.status!r}: {tried.error}"
    if len(tried.result) == 1:
        return f"A batch should have the shape (32, 32, 32); yours has {tried.result[0]}."
    rows, distinct, files, shape = tried.result
    if rows != FILES * ROWS or distinct < 0.99 * rows:
        return f"The files hold {FILES * ROWS:,} rows; yours yields {rows:,}, {distinct:,} of them distinct."
    if None in shape[1:]:
        return f"The shape of a batch is {shape}: `fit` would not know how large an image is."
    if files < LEAST_FILES:
        return f"A batch holds rows from {files:.1f} files on average, fewer than {LEAST_FILES}."
    held = _held(tried)
    if held > parse_size(MIX_LIMIT):
        return f"It mixes {files:.1f} files per batch, but takes {format_size(held)}, more than {MIX_LIMIT}."
    return None


q2 = Exercise(
    _judge_mix,
    "Which of the five pipelines had several files open at once? Work out what each open file costs. "
    "And remember which way of splitting a file into rows lets go of the file.",
    """\
def feed(names, read_small):
    import tensorflow as tf

    def opened(name):
        return tf.data.Dataset.from_tensors(name).map(read_small).unbatch()

    rows = names.interleave(opened, cycle_length=8)
    return rows.shuffle(256).batch(32)""",
    "At least six files per batch on average, each row once, and all of it within the limit.",
    of_stand_in=True,
)
