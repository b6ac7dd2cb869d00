"""Real trials: every way to end, as its outcome tells it."""

import contextlib
import os
import pickle
import signal
import threading
import time
import types

import cloudpickle
import numpy as np
import psutil
import pytest

import labkit
from labkit import plots
from labkit.trials.code import pickled

MIB = 2**20

CONVOLUTIONS = """
import keras, numpy as np
model = keras.Sequential([
    keras.Input((64, 64, 3)),
    keras.layers.Conv2D(4, 3, padding="same"),
    keras.layers.Conv2D(64, 3, padding="same"),
    keras.layers.GlobalAveragePooling2D(),
    keras.layers.Dense(10),
])
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
model.compile("adam", loss, run_eagerly=eagerly)
model.train_on_batch(np.zeros((batch_size, 64, 64, 3), "float32"), np.zeros(batch_size))
"""

COPY = """
import numpy as np, tensorflow as tf
def copy():
    return tf.convert_to_tensor(np.zeros((100, 2**20), "float32"))
copy()
"""


class Recorder:
    """What a widget would be told of a trial."""

    def __init__(self):
        self.text, self.progressed, self.waited = "", [], []

    def output(self, text):
        self.text += text

    def status(self, text):
        pass

    def progress(self, seconds, **facts):
        self.progressed.append(facts)

    def waiting(self, seconds):
        self.waited.append((self.text, seconds))

    def close(self):
        pass


@pytest.fixture(scope="module")
def watched():
    """The Outcome of a training that runs out of memory, and what was told of it."""
    show, params = Recorder(), {"batch_size": 512, "eagerly": False}
    source = "print('half', end='')\n" + CONVOLUTIONS
    return labkit.Trial(source, memory_limit="300 MiB", params=params, show=show).run(), show


@pytest.fixture(scope="module")
def ran_out(watched):
    return watched[0]


@pytest.fixture(scope="module")
def crashed_copy():
    return labkit.run(COPY, memory_limit="300 MiB")


def test_peak_is_what_the_allocator_counts():
    def train(mib):
        import tensorflow as tf

        kept = tf.zeros((mib, 2**18))
        passing = tf.zeros((2 * mib, 2**18))
        del passing
        return tf.config.experimental.get_memory_info("CPU:0"), int(kept.shape[0])

    outcome = labkit.run(train, memory_limit="64 MiB", mib=8)
    info, rows = outcome.result
    assert outcome.ok and rows == 8
    assert outcome.limit_bytes == 64 * MIB
    assert outcome.peak_bytes == info["peak"] == (8 + 16) * MIB + 256  # and the 0 that fills them
    assert info["current"] - outcome.current_bytes == 8 * MIB


@pytest.mark.parametrize("name", ["CPU:0", "/cpu:0"])
def test_a_peak_before_a_reset_of_the_counters_is_remembered(name):
    def train(name):
        import tensorflow as tf

        tf.zeros((8, 2**18))
        tf.config.experimental.reset_memory_stats(name)

    assert labkit.run(train, memory_limit="64 MiB", name=name).peak_bytes >= 8 * MIB


def test_without_a_seed_all_random_numbers_are_others_each_time():
    def train():
        import random

        return random.random(), np.random.rand()

    first, second = (labkit.run(train, seed=None).result for _ in range(2))
    assert first[0] != second[0] and first[1] != second[1]


def test_training_goes_on_where_the_device_is_hidden_and_has_no_statistics():
    def train():
        import os

        import keras

        os.environ["TF_CPU_ALLOCATOR_USE_BFC"] = "false"
        model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
        model.compile("sgd", "mse")
        model.fit(np.ones((8, 4)), np.ones((8, 1)), verbose=0)

    outcome = labkit.run(train)
    assert outcome.ok and outcome.peak_bytes is None, outcome
    assert len(outcome.step_seconds) == 1 and "No memory statistics" in outcome.note


def test_the_limit_of_a_gpu_stays_whatever_the_code_sets_of_gpus():
    """With TensorFlow's own settings and a stand-in for a GPU."""

    def train():
        import tensorflow as tf
        from tensorflow.python.eager import context

        from labkit.inside import child

        own, gpu = context.context(), context.PhysicalDevice("/physical_device:GPU:0", "GPU")
        own._initialize_physical_devices()
        own._physical_devices.append(gpu)
        child.limit_gpu(gpu, 256)
        tf.config.experimental.set_memory_growth(gpu, True)
        found = []
        for asked in (4096, 100):
            tf.config.set_logical_device_configuration(
                gpu, [tf.config.LogicalDeviceConfiguration(memory_limit=asked)]
            )
            found += [each.memory_limit for each in tf.config.get_logical_device_configuration(gpu)]
        return found

    outcome = labkit.run(train)
    assert outcome.result == [256, 100], outcome


def test_closures_arrays_and_parameters_reach_the_trial_and_results_come_back():
    offset = np.arange(3)

    def helper(x):
        return x + offset

    def train(scale):
        import tensorflow as tf

        return {"tensor": tf.constant(helper(scale)), "scale": scale}

    result = labkit.run(train, scale=10).result
    np.testing.assert_array_equal(result["tensor"], [10, 11, 12])
    assert type(result["tensor"]) is np.ndarray


def test_a_history_comes_back_without_its_model_and_the_meter_adds_its_column():
    def train():
        import keras
        import numpy as np

        import labkit

        model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
        model.compile("sgd", "mse")
        x = np.zeros((64, 4), "float32")
        return model.fit(x, x[:, :1], epochs=2, verbose=0, callbacks=[labkit.MemoryMeter()])

    outcome = labkit.run(train, memory_limit="64 MiB")
    peaks = outcome.result.history["memory_peak"]
    assert len(peaks) == 2
    assert max(peaks) <= outcome.peak_bytes
    assert min(peaks) > 64 * 4 * 4


def test_a_result_that_cannot_travel_is_left_behind_with_a_note():
    def train():
        import keras

        class Model(keras.Model):
            def __reduce__(self):
                raise TypeError("stays here")

        return Model()

    outcome = labkit.run(train)
    assert outcome.ok and outcome.result is None
    assert "stays here" in outcome.note


def test_the_same_seed_gives_the_same_numbers_and_none_gives_others():
    def train():
        import keras

        return keras.random.uniform((3,)), np.random.rand(3)

    draws = [np.concatenate(labkit.run(train, seed=seed).result) for seed in (1, 1, 2, None, None)]
    assert np.array_equal(draws[0], draws[1])
    assert not np.array_equal(draws[0], draws[2])
    assert not np.array_equal(draws[3], draws[4])


def test_running_out_of_memory_names_the_layer_as_the_summary_does(ran_out):
    found = ran_out.diagnosis
    assert ran_out.status == "oom"
    assert ran_out.error.type == "ResourceExhaustedError"
    assert "model.train_on_batch" in ran_out.error.traceback
    assert found.layer == "conv2d_1"  # the second; TensorFlow's name for the op ends in conv2d_1_2
    assert found.shape == (512, 64, 64, 64) and found.dtype == "float32"
    assert found.requested_bytes == 512 * 64 * 64 * 64 * 4
    assert found.limit_bytes == 300 * MIB
    assert found.cause == "tensor_exceeds_limit"
    assert 0 < found.in_use_bytes <= ran_out.peak_bytes < 300 * MIB


def test_the_memory_map_adds_up(ran_out):
    chunks = ran_out.memory_map.chunks
    assert sum(c.size for c in chunks if c.in_use) == ran_out.memory_map.in_use_bytes
    assert all(c.requested <= c.size for c in chunks if c.in_use)
    assert plots.memory_map(ran_out)._repr_png_().startswith(b"\x89PNG")


def test_tensorflows_dump_is_in_the_log_but_not_on_the_screen(ran_out, capsys):
    assert "Next region of size" in ran_out.log
    assert "Next region of size" not in str(ran_out)
    show = Recorder()
    labkit.Trial(
        "import sys; print('out'); print('W0000 00:00:1.5  12 x.cc:1] b', file=sys.stderr)", show=show
    ).run()
    assert show.text == "out\n"


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ("cudaSetDevice() on GPU:0 failed. Status: out of memory", "oom"),
        ("Failed to create cublas handle: CUBLAS_STATUS_ALLOC_FAILED", "oom"),
        (
            "cudaSetDevice() on GPU:0 failed. Status: CUDA-capable device(s) is/are busy or unavailable",
            "error",
        ),
        ("cudaSetDevice() on GPU:0 failed. Status: invalid device ordinal", "error"),
    ],
)
def test_a_gpu_that_has_no_room_to_begin_with_is_out_of_memory(said, status):
    outcome = labkit.run(f"import tensorflow as tf; raise tf.errors.InternalError(None, None, {said!r})")
    assert outcome.status == status
    assert (labkit.diagnose(outcome).cause == "memory_taken_before_start") == ("ordinal" not in said)


def test_an_eager_failure_names_its_layer_too():
    outcome = labkit.run(CONVOLUTIONS, memory_limit="300 MiB", batch_size=512, eagerly=True)
    assert (outcome.status, outcome.diagnosis.layer) == ("oom", "conv2d_1")


def test_a_crash_while_copying_an_array_is_out_of_memory(crashed_copy):
    assert crashed_copy.status == "oom"
    assert crashed_copy.diagnosis.cause == "array_copied_to_device"
    assert crashed_copy.diagnosis.requested_bytes == 400 * MIB
    assert "Dst tensor is not initialized" in str(crashed_copy)
    assert "line 4, in copy()" in crashed_copy.error.traceback
    assert labkit.compare({"copy": crashed_copy}).plot()._repr_png_().startswith(b"\x89PNG")


@pytest.mark.parametrize("folder", ["mine", "not-site-packages", "lib/execute.py"])
def test_the_readers_own_lines_are_shown_whatever_their_file_is_called(tmp_path, monkeypatch, folder):
    (tmp_path / folder).mkdir(parents=True)
    (tmp_path / folder / "execute.py").write_text("def run():\n    import keras\n    keras.zeros(1 / 0)\n")
    monkeypatch.syspath_prepend(tmp_path / folder)
    outcome = labkit.run("import execute\nexecute.run()")
    first, second = [line for line in outcome.error.traceback.splitlines() if ", line " in line]
    assert first.startswith("<train>, line 2")
    assert second == f"{tmp_path / folder / 'execute.py'}, line 3, in run()"


def test_the_hosts_memory_running_out_is_told_apart():
    outcome = labkit.run("import numpy as np; np.zeros((2**20, 2**30))")
    assert (outcome.status, outcome.diagnosis.cause) == ("oom", "host_memory")
    assert "Unable to allocate" in str(outcome)


@pytest.mark.parametrize(
    ("code", "status", "kind", "said"),
    [
        ("import ctypes\nctypes.string_at(0)", "crashed", "SIGSEGV", "line 2"),
        ("import os\nos.abort()", "crashed", "SIGABRT", "line 2"),
        ("import os\nos._exit(3)", "crashed", "Exit", "exit status 3"),
        ("import os\nos.kill(os.getpid(), 9)", "killed", "SIGKILL", "Another process"),
        ("import os\nos.kill(os.getpid(), 15)", "killed", "SIGTERM", "Another process"),
        ("def f():\n    return 1 / 0\nf()", "error", "ZeroDivisionError", "line 2, in f()\n    return 1 / 0"),
        ("x = (", "error", "SyntaxError", "line 1"),
        ("import sys\nsys.exit('no data')", "error", "SystemExit", "no data"),
        ("while True: pass", "timeout", "Timeout", "while True"),
    ],
)
def test_other_ends(code, status, kind, said):
    outcome = labkit.run(code, timeout=1 if status == "timeout" else 60)
    assert (outcome.status, outcome.error.type) == (status, kind)
    assert said in str(outcome.error)
    assert not outcome.ok


def test_code_keeps_the_name_of_its_file(monkeypatch):
    """Also with cloudpickle 3.1.3, which writes another name, as the reducer here does."""
    reduce = cloudpickle.Pickler.dispatch_table[types.CodeType]

    def nameless(code):
        make, parts = reduce(code)
        return make, tuple("<dynamic-code>" if part == code.co_filename else part for part in parts)

    monkeypatch.setitem(cloudpickle.Pickler._dispatch_table, types.CodeType, nameless)

    def outer():
        class Inner:
            def method(self):
                return lambda: self

        return Inner

    assert pickle.loads(cloudpickle.dumps(outer)).__code__.co_filename == "<dynamic-code>"
    found = pickle.loads(pickled(outer))
    method = pickle.loads(pickled(found().method))
    assert {found.__code__.co_filename, method.__code__.co_filename} == {__file__}


def test_autograph_finds_the_source_of_what_it_traces():
    code = """
import tensorflow as tf

@tf.function
def total(n):
    found = 0
    for i in tf.range(n):
        if i > 2:
            found += i
    return found

int(total(tf.constant(5)))
"""
    outcome = labkit.run(code)
    assert outcome.result == 7, outcome


def test_leaving_without_complaint_is_no_error():
    assert labkit.run("import sys; sys.exit()").ok


def test_stop_from_another_thread():
    trial = labkit.Trial("import time; time.sleep(600)")
    threading.Timer(0.5, trial.stop).start()
    assert trial.run().status == "stopped"


@pytest.fixture
def interruptible():
    """SIGINT raises KeyboardInterrupt, as in a kernel: what a shell starts in the background ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_an_interrupt_stops_the_trial_and_not_the_caller(interruptible, tmp_path):
    begun = tmp_path / "begun"

    def interrupt():
        while not begun.exists():
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    outcome = labkit.run("import pathlib, time\npathlib.Path(file).touch(); time.sleep(600)", file=str(begun))
    assert outcome.status == "stopped"
    assert "line 2" in str(outcome.error)


def test_a_trial_waits_for_another_and_can_be_stopped_meanwhile():
    show = Recorder()
    first = labkit.Trial("import time; print('begun'); time.sleep(600)", show=show)
    second = labkit.Trial("1")
    thread = threading.Thread(target=first.run)
    thread.start()
    while not show.text and thread.is_alive():
        time.sleep(0.05)
    threading.Timer(0.5, second.stop).start()
    assert second.run().status == "stopped"
    first.stop()
    thread.join()


def test_nothing_that_a_trial_started_outlives_it():
    def train():
        import subprocess
        import threading
        import time

        threading.Thread(target=time.sleep, args=(999,)).start()
        escaped = subprocess.Popen(["sleep", "999"], start_new_session=True)
        orphan = subprocess.run(
            "setsid sleep 999 >/dev/null & echo $!", shell=True, stdout=subprocess.PIPE, text=True
        )
        return escaped.pid, int(orphan.stdout)

    outcome = labkit.run(train)
    assert outcome.ok
    assert not any(psutil.pid_exists(pid) for pid in outcome.result)


def test_megabytes_of_output_are_kept_in_bounds(capsys):
    outcome = labkit.run("for i in range(300_000): print(f'{i:099}')")  # 30 MB
    assert outcome.ok
    assert outcome.log.startswith("0" * 99) and outcome.log.rstrip().endswith("299999")
    assert len(outcome.log) < 7_000_000 and "characters left out" in outcome.log
    assert len(capsys.readouterr().out) < 200_000


def test_bytes_that_are_no_text_do_no_harm():
    outcome = labkit.run("import os; os.write(1, b'caf\\xc3\\xa9 \\xff\\xfe\\n'); os.write(2, b'\\x00\\xff')")
    assert outcome.ok and "café" in outcome.log


def test_output_and_the_wait_for_memory_are_told_as_they_happen(watched):
    show = watched[1]
    assert {text for text, _ in show.waited} == {"half"}
    waited = [seconds for _, seconds in show.waited]
    assert 0 <= min(waited) < max(waited) <= 10


STEPS = {
    "fit": 20,
    "fit in several steps a call": 20,
    "fit run eagerly": 19,  # from one update to the next
    "fit with validation": 20,
    "fit on a dataset": 20,
    "train_on_batch": 10,
    "tf.function": 10,
    "eager loop": 9,
    "loop inside a tf.function": 0,
    "predict": 0,
}


@pytest.mark.parametrize("way", STEPS)
def test_steps_are_timed_or_nothing_is_said(way):
    def train(batch_size, way):
        import keras
        import numpy as np
        import tensorflow as tf

        x, y = np.zeros((100, 4), "float32"), np.zeros((100, 1), "float32")
        data = tf.data.Dataset.from_tensor_slices((x, y)).batch(batch_size)
        model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
        loss, optimizer = keras.losses.MeanSquaredError(), keras.optimizers.Adam()
        spe = 4 if "several" in way else 1
        model.compile(optimizer, loss, run_eagerly="eagerly" in way, steps_per_execution=spe)

        def step(a, b):
            with tf.GradientTape() as tape:
                value = loss(b, model(a, training=True))
            gradients = tape.gradient(value, model.trainable_variables)
            optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))

        def loop(step):
            for a, b in data:
                step(a, b)

        if way == "fit on a dataset":
            model.fit(data, epochs=2, verbose=0)
        elif way == "fit with validation":
            model.fit(x, y, batch_size=batch_size, epochs=2, validation_data=(x, y), verbose=0)
        elif way.startswith("fit"):
            model.fit(x, y, batch_size=batch_size, epochs=2, verbose=0)
        elif way == "predict":
            model.predict(x, batch_size=batch_size, verbose=0)
        elif way == "train_on_batch":
            loop(model.train_on_batch)
        elif way == "tf.function":
            loop(tf.function(step))
        elif way == "eager loop":
            loop(step)
        else:
            optimizer.build(model.trainable_variables)

            @tf.function
            def epoch():
                for a, b in data:
                    step(a, b)

            epoch()

    outcome = labkit.run(train, batch_size=10, way=way)
    assert outcome.ok, outcome.error
    assert len(outcome.step_seconds) == STEPS[way]
    assert (outcome.samples_per_second is not None) == (STEPS[way] > 0)
    assert sum(outcome.step_seconds) < outcome.wall_seconds


@pytest.mark.parametrize("beside", [0, 16])
def test_what_a_generator_yields_is_counted_wherever_it_lies(beside):
    def counted(beside):
        import numpy as np
        import tensorflow as tf

        room = np.zeros(2**20 + 128, "uint8")
        start = -room.ctypes.data % 64 + beside  # TensorFlow would borrow what lies at a multiple of 64

        def arrays():
            yield room[start : start + 2**20].view("float32")

        rows = iter(tf.data.Dataset.from_generator(arrays, output_signature=tf.TensorSpec([2**18])))
        before = tf.config.experimental.get_memory_info("CPU:0")["current"]
        kept = next(rows)
        return tf.config.experimental.get_memory_info("CPU:0")["current"] - before, len(kept)

    outcome = labkit.run(counted, beside=beside)
    assert outcome.ok, outcome
    grown, _ = outcome.result
    assert grown >= 2**20


async def async_train():
    raise ValueError("never seen")


def generator_train():
    yield 1


@pytest.mark.parametrize(
    ("train", "params", "said"),
    [
        (lambda batch_size: None, {"batchsize": 1}, "(batch_size)"),
        (42, {}, "without parentheses"),
        (async_train, {}, "an async function: a call of it runs none"),
        (generator_train, {}, "a generator: a call of it runs none"),
        ("1", {"a b": 1}, "'a b'"),
        (lambda: lock, {}, "cannot be sent to another process"),
    ],
)
def test_what_cannot_start_is_refused_before_it_does(train, params, said):
    with pytest.raises(labkit.LabkitError) as raised:
        labkit.run(train, **params)
    assert said in str(raised.value)


lock = threading.Lock()


CALLS_AT_ANY_DEPTH = """
import resource

def nothing():
    return None

def faults(depth):
    if depth:
        return faults(depth - 1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(500):
        nothing()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

max(map(faults, range(300)))
"""


def test_no_call_of_a_trial_has_memory_for_its_frame_mapped_anew():
    assert labkit.run(CALLS_AT_ANY_DEPTH).result < 250


def trains_on_sparse_rows(batch_size):
    import keras
    import numpy as np
    import scipy.sparse

    X = scipy.sparse.csr_matrix(np.eye(32, 8, dtype="float32"))
    model = keras.Sequential([keras.Input((8,), sparse=True), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    model.fit(X, np.zeros(32), batch_size=batch_size, epochs=2, verbose=0)
    return os.environ.get("PYTHONPATH"), len(model.history.history["loss"])


def test_numpys_numbers_sparse_rows_and_a_folder_that_looks_like_a_pattern(tmp_path, monkeypatch):
    monkeypatch.delenv("PYTHONPATH", raising=False)
    folder = tmp_path / "net [v2]"
    numbers = {"batch_size": np.int64(8), "timeout": np.int64(120), "seed": np.uint32(7)}
    outcome = labkit.run(trains_on_sparse_rows, profile=str(folder), **numbers)
    assert outcome.ok, outcome
    assert outcome.result == (None, 2)  # the launcher's own PYTHONPATH is not the trial's
    assert outcome.samples_per_second and "int64" not in outcome.log
    assert outcome.timeline.steps and list(folder.rglob("*.xplane.pb"))


def test_a_real_time_signal_ends_a_trial_as_a_crash():
    outcome = labkit.run("import os; os.kill(os.getpid(), 40)")
    assert (outcome.status, outcome.error.type) == ("crashed", "signal 40")


def test_descriptors_above_1023_are_waited_for():
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 1200:
        pytest.skip("no more than 1,200 open files are allowed here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 1200), hard))
    kept = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
    try:
        assert labkit.run("6 * 7").ok
    finally:
        for fd in kept:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize(
    ("code", "line"),
    [
        ("x = 512\nprint(x)", 1),
        ("import math\n\nx: int = 512", 3),
        ("y = 1\nfor _ in range(2):\n    print(y)\nx, y = 2, 3", 4),
        ("x = x or 512", None),
        ("x += 1\nx = 3", None),
        ("print(x)\nx = 3", None),
        ("if y:\n    x = 3", None),
        ("x: int\nprint(x)", None),
        ("x.y = 3\nx[0] = 3", None),
    ],
)
def test_a_parameter_that_the_code_overwrites_is_refused(code, line):
    refused = pytest.raises(labkit.LabkitError, match=f"^Line {line} of the code sets x itself")
    with refused if line else contextlib.nullcontext():
        labkit.Trial(code, params={"x": 1, "z": 2})


def test_a_batch_size_that_the_code_overwrites_is_refused_where_fixes_are_tried():
    with pytest.raises(labkit.LabkitError, match="Line 1 of the code sets batch_size itself"):
        labkit.try_fixes("batch_size = 512\nprint(batch_size)", batch_size=512)
