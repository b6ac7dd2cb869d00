"""What a trial notes of Keras's and TensorFlow's objects, apart from any trial: layers, variables, data sets,
scratch memory, and when it looks.

Whole records of real trials are in test_timeline.py and test_tensors.py.
"""

import gc
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

import labkit

# Layers


@pytest.fixture(scope="module")
def net():
    """A model in a model, trained with accumulated gradients."""
    import keras

    inner = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="deep")], name="inner_net")
    parts = [keras.Input((2,)), keras.layers.Dense(4, name="wide"), inner]
    model = keras.Sequential(parts, name="outer_net")
    optimizer = keras.optimizers.Adam(gradient_accumulation_steps=2, name="its_adam")
    model.compile(optimizer, "mse", metrics=["mae"])
    for _ in range(3):  # until then, what begins with zeros may share them
        model.train_on_batch(np.ones((5, 2), "float32"), np.ones((5, 3), "float32"))
    return model


def test_layers_are_told_with_the_models_around_them_and_once(net):
    from labkit.inside.objects import Objects

    told = [row for row in Objects().layers_of_models() if {"wide", "inner_net", "deep"} & set(row[0])]
    assert told == [
        [("wide",), "Dense", [None, 4]],
        [("inner_net",), "Sequential", [None, 3]],
        [("inner_net", "deep"), "Dense", [None, 3]],
    ]
    assert "its_adam" in Objects().optimizer_names()


def test_a_variable_is_told_by_its_part_with_an_address_of_its_own(net):
    import tensorflow as tf

    from labkit.inside.objects import Objects

    own = tf.Variable(np.ones((2, 7), "float16"), name="readers_own")
    rows = Objects().variables()
    told = {path: (kind, shape, dtype) for _, kind, path, shape, dtype in rows}
    assert told["outer_net/wide/kernel"] == ("weights", "[2,4]", "float32")
    assert told["inner_net/deep/bias"][0] == "weights"
    assert told["its_adam/outer_net_wide_kernel_momentum"][0] == "optimizer"
    assert told["its_adam/outer_net_wide_kernel_gradient_accumulator"][0] == "gradients"
    assert told["readers_own"] == ("weights", "[2,7]", "float16") and own.shape == (2, 7)
    assert {kind for path, (kind, *_) in told.items() if path.startswith("mean_absolute_error/")} == {"other"}
    names = ("outer_net", "inner_net", "its_adam", "readers")
    ours = [at for at, _, path, *_ in rows if path.startswith(names)]
    assert len(set(ours)) == len(ours) and all(ours)


def train_on_names(batch_size=4):
    """The data set holds names of files, and the reader a variable of text."""
    import keras
    import tensorflow as tf

    names, own = tf.data.Dataset.from_tensor_slices([f"{n}.png" for n in range(64)]), tf.Variable(["text"])
    images = names.map(lambda name: (tf.ones((8,)), tf.ones((1,)))).batch(batch_size)
    model = keras.Sequential([keras.layers.Dense(4), keras.layers.Dense(1)])
    model.compile("adam", "mse")
    model.fit(images, verbose=0)
    return own.shape[0]


def test_a_training_that_holds_text_is_recorded_and_estimated():
    outcome = labkit.run(train_on_names, profile=True)
    assert outcome.ok, outcome
    assert any(row.layer == "dense" and row.category == "weights" for row in outcome.timeline.at_peak())
    assert labkit.estimate(train_on_names).peak_bytes(16) > 0


def test_what_has_no_numbers_has_no_address():
    """In a process of its own, which is where TensorFlow would end it."""
    tensors = "tf.constant(['text']), tf.data.experimental.to_variant(tf.data.Dataset.range(3))"
    code = "import tensorflow as tf; from labkit.inside.objects import address; "
    code += f"print([*map(address, [{tensors}])])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "[None, None]\n", done.stderr


def test_an_address_is_that_of_the_numbers():
    import tensorflow as tf

    from labkit.inside.objects import address

    for dtype in (tf.float32, tf.bfloat16, tf.int8, tf.bool, tf.complex64):
        held, other = tf.zeros((8,), dtype), tf.zeros((8,), dtype)
        assert address(held) == address(held) != address(other), dtype


class Scope:
    """A name scope of a graph, as Keras opens it for a layer."""

    def __init__(self, scopes, caller):
        self.scopes, self.caller = scopes, caller

    def __enter__(self):
        import tensorflow as tf

        self.scope = tf.name_scope(self.caller.name)
        self.scope.__enter__()
        self.scopes._entered(self.caller)

    def __exit__(self, *failure):
        self.scopes._left(bool(failure[0]))
        self.scope.__exit__(*failure)


def test_a_scope_belongs_to_the_outermost_layer_in_a_model(net):
    import keras
    import tensorflow as tf

    from labkit.inside.objects import Scopes

    scopes, block, part = Scopes(), keras.layers.Dense(1, name="block"), keras.layers.Dense(1, name="part")
    with tf.Graph().as_default(), Scope(scopes, net), Scope(scopes, block), Scope(scopes, part):
        pass
    assert scopes.layers == {"outer_net/block": "block", "outer_net/block/part": "block"}
    with pytest.raises(ValueError), Scope(scopes, net), Scope(scopes, block), Scope(scopes, part):  # noqa: PT011
        raise ValueError
    assert scopes.failed_in == "block" and scopes._open == []
    with pytest.raises(ValueError), Scope(scopes, part):  # noqa: PT011
        raise ValueError
    assert scopes.failed_in == "block"  # the first
    assert "block" not in scopes.layers  # eager code has no graph


# Data sets, sums, scratch memory


def test_the_elements_of_data_sets_are_told_with_what_is_fetched_ahead():
    import tensorflow as tf

    from labkit.inside.objects import Objects

    objects = Objects()

    def told(dataset):
        objects.datasets = [dataset]
        return [(name, tuple(spec.shape)) for name, spec in objects.elements_of_datasets()]

    rows = tf.data.Dataset.from_tensor_slices((np.ones((6, 3)), np.ones(6)))
    assert told(rows) == [("an element of tf.data", (3,)), ("an element of tf.data", ())]
    batch = "a batch from tf.data"
    assert told(rows.batch(2)) == [(batch, (None, 3)), (batch, (None,))]
    assert told(rows.batch(2).map(lambda x, y: x)) == [(batch, (None, 3))]
    assert told(rows.batch(2).prefetch(1))[0][0] == "a batch from tf.data (prefetch, 1 batch)"
    assert told(rows.batch(2).prefetch(3))[0][0] == "a batch from tf.data (prefetch, 3 batches)"
    assert told(rows.batch(2).prefetch(tf.data.AUTOTUNE))[0][0] == batch


def test_the_widest_sum_is_of_three_tensors_or_more():
    import tensorflow as tf

    from labkit.inside.objects import Objects

    def sums(count, width):
        with tf.Graph().as_default() as graph:
            tensors = [tf.compat.v1.placeholder(tf.float32, (None, width)) for _ in range(count)]
            tf.raw_ops.AddN(inputs=tensors)
        return graph

    gc.collect()
    before = Objects().widest_sum_bytes()
    assert before < 4_000_000
    two = sums(2, 2_000_000)
    assert Objects().widest_sum_bytes() == before
    three = sums(3, 1_000_003)
    assert Objects().widest_sum_bytes() == 4 * 1_000_003
    del two, three


@pytest.mark.parametrize("kind", ["Conv3DBackpropFilterV2", "Conv3DBackpropInputV2"])
def test_the_scratch_memory_of_a_gradient_in_3d(kind, monkeypatch):
    """As conv_grad_ops_3d.cc counts: images at a time for which the patches, the gradient and the filter
    fill the third cache; here 125 places, 24 weights for each of 4 filters, and a cache of 10,000 floats."""
    import tensorflow as tf

    from labkit.inside import objects

    monkeypatch.setattr(objects, "_third_cache", lambda: 40_000)
    with tf.Graph().as_default() as graph:
        images = tf.compat.v1.placeholder(tf.float32, (None, 6, 6, 6, 3))
        filters = tf.compat.v1.placeholder(tf.float32, (2, 2, 2, 3, 4))
        gradient = tf.compat.v1.placeholder(tf.float32, (None, 5, 5, 5, 4))
        if kind == "Conv3DBackpropFilterV2":
            of = {"input": images, "filter_sizes": [2, 2, 2, 3, 4]}
        else:
            of = {"input_sizes": tf.shape(images), "filter": filters}
        made = getattr(tf.raw_ops, kind)(
            **of, out_backprop=gradient, strides=[1] * 5, padding="VALID", name=kind
        )
        made.set_shape((2, 2, 2, 3, 4) if kind == "Conv3DBackpropFilterV2" else (None, 6, 6, 6, 3))
    at_a_time = -(-10_000 // (125 * 24 + 125 * 4 + 24 * 4))
    found = [row for row in objects.Objects().scratch_of_3d_gradients() if row[0] == kind]
    assert found == [[kind, at_a_time * 125 * 24 * 4, (6**3 * 3 + 5**3 * 4) * 4, 24 * 4 * 4]]
    monkeypatch.setattr(objects, "_third_cache", lambda: 0)
    assert objects.Objects().scratch_of_3d_gradients() == []
    del graph  # until here, it was to be found


# When the recorder looks, and how it ends


@pytest.fixture
def recorder(monkeypatch, tmp_path):
    """A running Recorder of 30 steps whose marks and snapshots are kept in `marks`."""
    from labkit.inside import recorder

    made = recorder.Recorder(SimpleNamespace(layers={}), 30, tmp_path)
    made.marks, made.running = [], True
    monkeypatch.setattr(recorder, "_mark", made.marks.append)

    def snapshot():
        made._snapshots.append([])
        made.marks.append("snapshot")

    def finish():
        made.marks.append("finish")
        made.running = False

    made.snapshot, made._finish = snapshot, finish
    return made


class Function:
    """Stands for a tf.function, which can be referred to weakly."""


def test_it_looks_in_the_first_steps_and_again_when_something_new_is_called(recorder):
    from labkit.inside.recorder import SNAPSHOTS, SNAPSHOTS_OF_A_PHASE

    train, another = Function(), Function()
    for _ in range(SNAPSHOTS):
        recorder.before_call(train)
        recorder.step()
    assert recorder.marks[:3] == ["snapshot", "snapshot", "step"]
    assert recorder.marks.count("snapshot") == SNAPSHOTS
    recorder.before_call(train)
    assert recorder.marks.count("snapshot") == SNAPSHOTS
    for _ in range(5):
        recorder.before_call(another)
    assert recorder.marks.count("snapshot") == SNAPSHOTS + SNAPSHOTS_OF_A_PHASE
    recorder.phase("part")
    recorder.before_call(another)
    assert recorder.marks.count("snapshot") == SNAPSHOTS + SNAPSHOTS_OF_A_PHASE
    recorder.phase("evaluation")
    for _ in range(5):
        recorder.before_call(another)
    assert recorder.marks.count("snapshot") == SNAPSHOTS + 2 * SNAPSHOTS_OF_A_PHASE
    assert [mark for mark in recorder.marks if mark not in ("snapshot", "step")] == ["part", "evaluation"]


def test_many_functions_are_not_looked_at_without_end(recorder):
    from labkit.inside.recorder import MOST_SNAPSHOTS

    functions = [Function() for _ in range(2 * MOST_SNAPSHOTS)]
    for function in functions:
        recorder.before_call(function)
    assert recorder.marks == ["snapshot"] * MOST_SNAPSHOTS


def test_it_ends_after_the_steps_that_were_asked_for(recorder):
    for _ in range(31):
        recorder.step()
        recorder.before_call(Function())
        recorder.phase("training")
    assert recorder.marks.count("step") == 30
    assert recorder.marks[-2:] == ["step", "finish"]


def test_an_array_is_noted_with_the_call_of_keras_that_it_was_given_to(recorder):
    import tensorflow as tf

    def note(array):
        recorder._inputs.clear()
        tensor = recorder._noting(tf.convert_to_tensor)(array)
        return sorted((source, name, shape) for source, name, _, shape, _ in recorder._inputs), tensor

    assert note(np.ones((4, 4), "float32"))[0] == [("python", "an array", (4, 4))]
    recorder.given_to = "fit"
    found, kept = note(np.ones((9, 4), "float32"))
    assert found == [("python", "the array given to fit", (9, 4))]
    assert note(np.ones(15, "float32"))[0] == []  # 60 bytes
    assert note([1.0] * 100)[0] == []
    one = SimpleNamespace(_tensors=[kept, "no tensor"])
    assert [row[1:] for row in recorder._arrays_of([one, object()])] == [
        ("inputs", "the array given to fit", "[9,4]", "float32")
    ]
    recorder.running = False
    assert note(np.ones((4, 4), "float32"))[0] == []
