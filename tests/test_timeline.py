"""The timeline against the allocator's own count and against xprof, an independent reader of the file."""

import glob
import json
import pickle
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from nets import MODELS, convolutional, dense
from xprof.convert import raw_to_tool_data

import labkit
from labkit import plots
from labkit.categories import CATEGORIES
from labkit.record.record import Record
from labkit.record.timeline import Timeline
from labkit.show.palette import CATEGORY_COLOURS, curve_colours
from labkit.show.timelines import headline

MIB = 2**20


def test_a_layer_that_is_called_like_a_category_has_a_colour_of_its_own():
    layers = ["dense", "activations", "inputs", "all others"]
    assert len(set(curve_colours(layers, "layer").values())) == len(layers)
    assert curve_colours(["activations"], "category") == {"activations": CATEGORY_COLOURS["activations"]}


def train(batch_size, build, steps):
    import keras
    import numpy as np

    parts = build(keras.layers, keras)
    model = keras.Sequential(parts) if isinstance(parts, list) else keras.Model(*parts)
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    x = np.ones((batch_size, *model.input_shape[1:]), model.inputs[0].dtype)
    for _ in range(steps):
        model.train_on_batch(x, np.zeros(batch_size))

    def size(weights):
        return sum(np.asarray(weight).nbytes for weight in weights)

    return {n.name: {"all": size(n.weights), "trainable": size(n.trainable_weights)} for n in model.layers}


@pytest.fixture(scope="module", params=MODELS, ids=lambda build: build.__name__)
def profiled(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("profile")
    outcome = labkit.run(train, profile=folder, timeout=600, batch_size=8, build=request.param, steps=2)
    assert outcome.ok, outcome
    [path] = glob.glob(f"{folder}/**/*.xplane.pb", recursive=True)
    return outcome, path


def test_the_peak_is_the_allocators_and_xprofs(profiled):
    outcome, path = profiled
    found, _ = raw_to_tool_data.xspace_to_tool_data([path], "memory_profile", {})
    [profile] = json.loads(found)["memoryProfilePerAllocator"].values()
    by_xprof = int(profile["profileSummary"]["peakStats"]["peakBytesInUse"])
    assert outcome.timeline.peak_bytes == outcome.peak_bytes == by_xprof


def test_every_byte_at_the_peak_has_a_category_and_few_are_other(profiled):
    timeline = profiled[0].timeline
    categories = timeline.by_category()
    assert tuple(categories) == CATEGORIES
    assert sum(categories.values()) == sum(row.bytes for row in timeline.at_peak()) == timeline.peak_bytes
    assert sum(timeline.by_layer().values()) == timeline.peak_bytes
    assert categories["other"] < 0.05 * timeline.peak_bytes


def test_weights_and_slots_are_their_layers_to_the_byte(profiled):
    outcome, _ = profiled
    weights, slots = dict.fromkeys(outcome.result, 0), dict.fromkeys(outcome.result, 0)
    for row in outcome.timeline.alive(outcome.timeline.events - 2):
        if row.category == "weights" and row.layer:
            weights[row.layer] += row.requested_bytes
        if row.category == "optimizer" and row.op.endswith(("_momentum", "_velocity")):
            slots[row.layer] += row.requested_bytes
    assert weights == {name: sizes["all"] for name, sizes in outcome.result.items()}
    assert slots == {name: 2 * sizes["trainable"] for name, sizes in outcome.result.items()}  # M5: Adam


def test_layers_are_named_as_in_the_summary(profiled):
    outcome, _ = profiled
    named = set(outcome.timeline.by_layer()) - {None}
    assert named <= set(outcome.result)
    without = outcome.timeline.by_layer().get(None, 0)
    assert without < 0.5 * outcome.timeline.peak_bytes


def test_steps_and_building_are_told_apart(profiled):
    timeline = profiled[0].timeline
    assert len(timeline.steps) == 2 and timeline.covers == "whole steps 1 to 2"
    assert (timeline.device, timeline.allocator) == ("CPU:0", "bfc_cpu_allocator_for_gpu")
    covered = [timeline.during(phase).covers for phase in ("building", 1, 2)]
    assert covered == ["no training step", "whole step 1", "whole step 2"]
    parts = [timeline.during(phase) for phase in ("building", 1, 2)]
    assert max(part.peak_bytes for part in parts) == timeline.peak_bytes
    assert sum(part.events for part in parts) <= timeline.events
    assert parts[0].by_category()["gradients"] == 0
    assert parts[2].total()[0] == timeline.total()[timeline.steps[0]]
    with pytest.raises(ValueError, match="steps 1 to 2"):
        timeline.during(3)


def test_its_profile_read_without_what_labkit_knows_has_the_same_peak_and_steps(profiled):
    outcome, path = profiled
    known, read = outcome.timeline, labkit.read_profile(path)
    assert read.peak_bytes == known.peak_bytes and read.covers == known.covers
    assert read.steps == known.steps and read.events == known.record.events
    assert read.by_category()["activations"] > 0.9 * known.by_category()["activations"]


def test_a_phase_of_a_phase_loses_nothing(profiled):
    timeline = profiled[0].timeline
    for number in (1, 2):
        step = timeline.during(number)
        assert step.steps == [step.events]
        again = step.during(1)
        assert (again.events, again.steps, again.peak_at) == (step.events, step.steps, step.peak_at)
        assert np.array_equal(again.total(), step.total())
        assert again.alive(again.events - 1) == step.alive(step.events - 1)
        with pytest.raises(ValueError, match="steps 1 to 1"):
            step.during(2)
    building = timeline.during("building")
    assert np.array_equal(building.during("building").total(), building.total())
    assert building.events + timeline.during(1).events == timeline.steps[0]


def test_a_record_is_the_same_after_it_was_saved(profiled, tmp_path):
    record, path = profiled[0].timeline.record, tmp_path / "record.npz"
    record.save(path)
    again = Record.load(path)
    for name, value in vars(record).items():
        if name not in ("allocations", "seconds"):
            assert getattr(again, name) == value, name
    assert np.array_equal(again.seconds, record.seconds)
    for name, column in record.allocations.items():
        assert np.array_equal(again.allocations[name], column), name
    assert labkit.Timeline(again).at_peak() == labkit.Timeline(record).at_peak()


@pytest.mark.parametrize("profiled", [dense], indirect=True)
@pytest.mark.parametrize("damage", ["cut", "text", "pickle", "version"])
def test_a_file_that_is_no_record_is_refused(profiled, tmp_path, damage):
    path = tmp_path / "record.npz"
    profiled[0].timeline.record.save(path)
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-2000])
    elif damage == "text":
        path.write_text("not a record")
    elif damage == "pickle":
        path.write_bytes(pickle.dumps({"version": 1}))
    else:
        with open(path, "wb") as file:
            np.savez(file, header=np.frombuffer(b'{"version": 0}', np.uint8))
    with pytest.raises(labkit.LabkitError, match="record"):
        Record.load(path)


def test_curves_add_up_and_can_be_drawn(profiled):
    timeline = profiled[0].timeline
    for by in ("category", "layer"):
        assert np.array_equal(sum(timeline.curves(by).values()), timeline.total())
        assert timeline.plot(by=by)._repr_png_().startswith(b"\x89PNG")
    assert plots.peak_by_layer(timeline, title="net")._repr_png_().startswith(b"\x89PNG")
    assert headline(timeline, "net").startswith("net: ")


def test_feeding_eager_and_mixed_precision_are_covered():
    def train(how):
        import keras
        import numpy as np

        if how == "mixed":
            keras.mixed_precision.set_global_policy("mixed_float16")
        model = keras.Sequential(
            [
                keras.Input((32, 32, 3)),
                keras.layers.Conv2D(8, 3),
                keras.layers.Flatten(),
                keras.layers.Dense(1),
            ]
        )
        model.compile("sgd", "mse", run_eagerly=how == "eager")
        x = np.ones((64, 32, 32, 3), "float32")
        model.fit(x, np.zeros(64), batch_size=16, verbose=0, validation_split=0.25)
        model.predict(x, verbose=0)

    for how in ("fit", "eager", "mixed"):
        timeline = labkit.run(train, profile=True, how=how).timeline
        categories = timeline.by_category()
        assert sum(categories.values()) == timeline.peak_bytes
        assert categories["other"] < 0.05 * timeline.peak_bytes
        assert categories["inputs"] >= 48 * 32 * 32 * 3 * 4  # fit holds all that it trains on
        assert categories["activations"] > 0


def test_a_profile_of_so_many_steps_ends_there():
    timeline = labkit.run(train, profile=2, batch_size=8, build=dense, steps=5).timeline
    assert len(timeline.steps) == 2


def test_a_failure_is_the_end_of_its_timeline():
    outcome = labkit.run(
        train, memory_limit="12 MiB", profile=True, batch_size=512, build=convolutional, steps=1
    )
    timeline = outcome.timeline
    assert outcome.status == "oom"
    assert timeline.refused_bytes == outcome.diagnosis.requested_bytes
    assert timeline.total()[-1] == outcome.diagnosis.in_use_bytes
    assert timeline.peak_bytes <= outcome.limit_bytes
    assert timeline.plot()._repr_png_().startswith(b"\x89PNG")


def test_memory_held_before_the_record_is_counted(tmp_path):
    def train(folder):
        import tensorflow as tf

        kept = tf.zeros((8, 2**18))
        tf.profiler.experimental.start(folder, tf.profiler.experimental.ProfilerOptions(host_tracer_level=3))
        tf.zeros((1, 2**18))
        del kept
        tf.profiler.experimental.stop()

        import glob

        from labkit.record import profile

        return profile.read(glob.glob(f"{folder}/**/*.xplane.pb", recursive=True)[0])

    record = labkit.run(train, memory_limit="64 MiB", folder=str(tmp_path)).result
    timeline = labkit.Timeline(record)
    assert timeline.peak_bytes >= 9 * MIB
    assert timeline.by_category()["other"] >= 8 * MIB
    assert timeline.total()[-1] < MIB


@pytest.mark.parametrize("profiled", [dense], indirect=True)
def test_pinned_host_memory_beside_a_gpus_is_left_out(profiled, tmp_path):
    """A trace of the stand-in under the names of a GPU's two BFC allocators: not made by a GPU."""

    def read_both(recorded, altered):
        from tensorflow.tsl.profiler.protobuf import xplane_pb2

        from labkit.record import profile

        space, whole = xplane_pb2.XSpace(), xplane_pb2.XSpace()
        with open(recorded, "rb") as file:
            space.ParseFromString(file.read())
        for name in ("GPU_0_bfc", "gpu_host_bfc"):
            whole.MergeFrom(space)
            for plane in whole.planes[-len(space.planes) :]:
                for metadata in plane.stat_metadata.values():
                    metadata.name = metadata.name.replace("bfc_cpu_allocator_for_gpu", name)
                events = (event for line in plane.lines for event in line.events)
                for stat in (stat for event in events for stat in event.stats if stat.str_value):
                    stat.str_value = stat.str_value.replace("bfc_cpu_allocator_for_gpu", name)
        with open(altered, "wb") as file:
            file.write(whole.SerializeToString())
        return [profile.read(path).allocations["bytes"] for path in (recorded, altered)]

    outcome = labkit.run(read_both, recorded=profiled[1], altered=str(tmp_path / "x.xplane.pb"))
    stand_in, gpu = outcome.result
    assert len(gpu) and gpu.tolist() == stand_in.tolist()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\x0a\xff\xff\xff\x7fhello", "not a TensorFlow profile"),
        (b"", "no allocator events"),
        (None, "cannot be read"),
    ],
)
def test_a_bad_file_gets_a_clear_error(tmp_path, content, said):
    path = tmp_path / "x.xplane.pb"
    if content is not None:
        path.write_bytes(content)
    outcome = labkit.run("from labkit.record import profile; profile.read(path)", path=str(path))
    assert outcome.error.type == "LabkitError"
    assert said in outcome.error.message


def test_a_second_profile_at_once_is_refused():
    code = "import tensorflow as tf; tf.profiler.experimental.start(folder)"
    outcome = labkit.run(code, profile=True, folder="/tmp")
    assert outcome.error.type == "LabkitError"
    assert "without profile=True" in outcome.error.message


@pytest.mark.parametrize("profile", [-1, 1.5, None])
def test_a_profile_of_no_kind_is_refused(profile):
    with pytest.raises(labkit.LabkitError, match="number of steps"):
        labkit.run("1", profile=profile)


def fed(how):
    import keras
    import numpy as np
    import tensorflow as tf

    model = keras.Sequential([keras.Input((784,)), keras.layers.Dense(16), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "mse")
    x, y = np.ones((3500, 784), "float32"), np.zeros(3500, "float32")
    if how == "fit":
        model.fit(x, y, batch_size=100, steps_per_epoch=5, verbose=0)
    elif how == "train_on_batch":
        model.train_on_batch(x[:100], y[:100])
    elif how == "predict":
        model.train_on_batch(x[:10], y[:10])
        model.predict(x, batch_size=100, verbose=0)
    else:
        elements = tf.data.Dataset.range(900).map(lambda i: (tf.fill((784,), 1.0), 0.0))
        model.fit(elements.batch(100).prefetch(3), verbose=0)


@pytest.mark.parametrize(
    ("how", "named"),
    [
        ("fit", ("the array given to fit", "float32", "[3500,784]")),
        ("train_on_batch", ("the array given to train_on_batch", "float32", "[100,784]")),
        ("predict", ("the array given to predict", "float32", "[3500,784]")),
        ("tf.data", ("a batch from tf.data (prefetch, 3 batches)", "float32", "[100,784]")),
    ],
)
def test_arrays_and_batches_have_a_name_and_a_shape_and_so_do_slots(how, named):
    timeline = labkit.run(fed, profile=True, how=how).timeline
    rows = [timeline.row(i) for i in range(len(timeline.record.allocations["begin"]))]
    assert named in {(row.op, row.dtype, row.shape) for row in rows if row.category == "inputs"}
    inputs = [row for row in timeline.at_peak() if row.category == "inputs"]
    assert all(row.op and row.shape for row in inputs)
    nameless = [row.bytes for row in timeline.at_peak() if row.requested_bytes > 8 and not row.shape]
    assert sum(nameless) < 0.01 * timeline.peak_bytes
    slots = {row.shape for row in rows if row.op.endswith("dense_kernel_momentum")}
    assert slots == {"[784,16]"}


def summed(batch_size):
    import keras
    import numpy as np

    layers = keras.layers
    x = inputs = keras.Input((32, 32, 8))
    for _ in range(5):
        y = layers.Conv2D(32, 3, padding="same")(layers.BatchNormalization()(x))
        x = layers.Add()([layers.Conv2D(32, 1)(x), y, layers.Conv2D(32, 1)(y)])
    model = keras.Model(inputs, layers.Dense(1)(layers.GlobalAveragePooling2D()(x)))
    model.compile("sgd", "mse", jit_compile=False)
    model.train_on_batch(np.ones((batch_size, 32, 32, 8), "float32"), np.zeros(batch_size))


def attend(length):
    import keras
    import numpy as np

    inputs = keras.Input((length, 16))
    x = keras.layers.MultiHeadAttention(2, 8)(inputs, inputs)
    x = keras.layers.MultiHeadAttention(2, 8)(x, x)
    model = keras.Model(inputs, keras.layers.Dense(1)(x))
    model.compile("sgd", "mse")
    for _ in range(2):
        model.train_on_batch(np.ones((4, length, 16)), np.ones((4, length, 1)))


def test_scores_that_einsum_makes_in_its_scratch_memory_are_kept_for_the_backward_pass():
    step = labkit.run(attend, length=128, profile=True).timeline.during(2)
    rows = [row for row in step.at_peak() if row.shape == "[4,2,128,128]"]
    assert {row.layer for row in rows} == {"multi_head_attention", "multi_head_attention_1"}
    assert not [row for row in rows if row.category == "workspace"]
    assert {row.category for row in rows if "gradient_tape" not in row.op} == {"activations"}


def test_sums_that_tensorflow_rewrites_have_a_category_and_a_shape():
    timeline = labkit.run(summed, profile=True, batch_size=96).timeline
    rows = [timeline.row(i) for i in range(len(timeline.record.allocations["begin"]))]
    sums = [row for row in rows if "AddN" in row.op and "tmp_var" in row.op]
    assert any("zeros" in row.op for row in sums)
    for row in sums:
        assert (row.category, row.shape) == ("gradients", "[96,32,32,32]") and "sum of gradients" in row.op
    forward = [row for row in rows if "AddOpsRewrite" in row.op and "tmp_var" in row.op]
    assert {row.category for row in forward} == {"activations", "workspace"}
    assert {row.category for row in forward if "zeros" in row.op} == {"workspace"}


def mirrored():
    import tensorflow as tf

    [cpu] = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    import keras
    import numpy as np

    with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
        layers = [keras.Input((64,)), keras.layers.Dense(512, "relu"), keras.layers.Dense(10)]
        model = keras.Sequential(layers)
        model.compile("adam", "mse", jit_compile=False)
    model.fit(np.ones((512, 64), "float32"), np.zeros((512, 10)), batch_size=256, verbose=0)


def test_replicas_that_share_the_stand_ins_pool_have_a_timeline_each():
    timeline = labkit.run(mirrored, profile=True).timeline
    both = timeline.devices
    assert list(both) == ["CPU:0", "CPU:0 replica 0", "CPU:0 replica 1"] and both["CPU:0"] is timeline
    replicas = [both["CPU:0 replica 0"], both["CPU:0 replica 1"]]
    assert all(np.all(replica.total() <= timeline.total()) for replica in replicas)
    for replica in replicas:
        rows = replica.alive(replica.events - 1)
        sizes = {"weights": 0, "optimizer": 0}
        for row in rows:
            if row.category == "weights" or "_momentum" in row.op or "_velocity" in row.op:
                sizes[row.category] += row.requested_bytes
        assert sizes["weights"] >= 4 * (64 * 512 + 512 + 512 * 10 + 10)
        assert sizes["optimizer"] == 8 * (64 * 512 + 512 + 512 * 10 + 10)
        assert replica.by_category()["activations"] > 0 and replica.by_category()["gradients"] > 0


def test_objects_that_stand_for_others_do_not_disturb_a_profile():
    def pretending(batch_size):
        import weakref

        import keras

        class Row:
            """Held by its proxy alone."""

        class Elsewhere:
            @property
            def __class__(self):
                raise RuntimeError("this object must not be asked what it is")

        gone, far = weakref.proxy(Row()), Elsewhere()
        inner(batch_size, build, 2)
        return [keras.optimizers, far, type(gone).__name__][-1]

    inner, build = train, dense
    outcome = labkit.run(pretending, profile=True, batch_size=8)
    assert outcome.ok, outcome
    assert outcome.timeline.at_peak()


def test_variables_of_each_model_are_known_however_many_there_are():
    def train():
        import keras
        import numpy as np

        kept = []
        for _ in range(6):
            model = keras.Sequential([keras.layers.Dense(64), keras.layers.Dense(1)])
            model.compile("adam", "mse")
            for _ in range(2):
                model.train_on_batch(np.ones((8, 32)), np.ones(8))
            kept.append(model)
        return kept and sum(model.count_params() for model in kept)

    outcome = labkit.run(train, profile=True)
    timeline = outcome.timeline
    held = timeline.alive(timeline.events - 1)
    categories = {row.category for row in held if row.requested_bytes >= 256}
    assert not categories & {"activations", "gradients"}, held
    weights = sum(row.requested_bytes for row in held if row.category == "weights")
    assert weights == pytest.approx(4 * outcome.result, rel=0.02)


def twelve_steps(batch_size=32, optimizer="SGD", **settings):
    import keras
    import numpy as np

    layers = [keras.layers.Dense(512, activation="relu") for _ in range(4)]
    model = keras.Sequential([*layers, keras.layers.Dense(1)])
    model.compile(getattr(keras.optimizers, optimizer)(**settings), "mse")
    X, y = np.ones((12 * batch_size, 512), "float32"), np.ones((12 * batch_size, 1), "float32")
    model.fit(X, y, batch_size=batch_size, verbose=0)
    slots = [v for v in model.optimizer.variables if v.name not in ("iteration", "learning_rate")]
    return [sum(np.asarray(v).nbytes for v in variables) for variables in (model.weights, slots)]


@pytest.mark.parametrize(
    ("optimizer", "settings"), [("SGD", {"momentum": 0.9}), ("RMSprop", {}), ("AdamW", {}), ("Adafactor", {})]
)
def test_variables_keep_their_names_in_whatever_block_an_update_puts_them(optimizer, settings):
    outcome = labkit.run(twelve_steps, profile=True, optimizer=optimizer, **settings)
    timeline, (weights, slots) = outcome.timeline, outcome.result
    assert len(timeline.steps) == 12
    by_names = Timeline(replace(timeline.record, snapshots=[], snapshots_at=[]))  # as in a profile
    biases = 4 * 4 * 512  # whose zeros slots of that shape may have taken over: names do not tell
    for end in timeline.steps[1:]:
        for found, off in ((timeline, 64), (by_names, biases)):
            held = Counter()
            for row in found.alive(end):
                held[row.category] += row.requested_bytes
            assert held["weights"] == pytest.approx(weights, abs=off), held
            assert held["optimizer"] == pytest.approx(slots, abs=off), held
            assert held["workspace"] < 2**16


def wide(batch_size=64):
    import keras

    keras.Sequential([keras.Input((1024,)), *(keras.layers.Dense(1024) for _ in range(6))])


@pytest.mark.parametrize("profile", [True, False])
def test_a_model_that_does_not_fit_while_it_is_built_has_a_timeline_and_its_cause(profile):
    outcome = labkit.run(wide, memory_limit="18 MiB", profile=profile, batch_size=64)
    assert outcome.status == "oom" and (outcome.timeline is not None) == profile, outcome.note
    assert outcome.diagnosis.cause == "weights_or_optimizer"
    assert profile or "before any batch came" in str(outcome.diagnosis)
