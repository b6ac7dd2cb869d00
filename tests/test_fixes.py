"""try_fixes(): a fix applied from outside has the effect of the same fix written into the code by hand."""

import functools
import inspect
import itertools
import json
import re
import textwrap

import numpy as np
import pytest
import trainings

import labkit
from labkit import LabkitError
from labkit.errors import Stopped
from labkit.fixes.applied import METHODS, Applied
from labkit.fixes.facts import _data
from labkit.fixes.kinds import all_fixes
from labkit.fixes.kinds.rewrite import Call, Code, call_text, parts
from labkit.fixes.program import Program
from labkit.fixes.trying import TryingFixes, code_of

PYDATASET, GENERATOR, DATASET = "batches from a PyDataset", "batches from a generator", "batches from tf.data"


def by_hand(train, changes, before=""):
    """The source of a training with texts replaced in it, and lines put before."""
    text = inspect.getsource(train)
    for old, new in changes.items():
        assert old in text, old
        text = text.replace(old, new)
    return f"{before}\n{text}\n{train.__name__}(batch_size=batch_size)"


AHEAD = 0.05  # how many batches tf.data has made ahead differs from run to run, most on a busy machine
HOLES = 0.2  # the allocator's holes differ: blocks took 10.3 to 11.4 MiB, in bfloat16 6.3 to 7.3, recomputed
# 7.1 to 8.0, in more than 14 runs
FIT_IMAGES = "model.fit(X, y, batch_size=batch_size, sample_weight=weights, validation_data=held, verbose=0)"
REMAT = """def call(self, x):
            return keras.remat(self.forward)(x)

        def forward(self, x):"""
INTEGERS = "rng.integers(0, 10, 4096)"
POLICY = "keras.utils.clear_session()\n    keras.config.set_dtype_policy('mixed_bfloat16')\n"
HALF = "batch_size=64):\n    size = batch_size // 2"
BY_HAND = [
    (
        trainings.arrays,
        "integers as targets",
        {'"categorical_': '"sparse_categorical_', "np.eye(10)[rng.integers(0, 10, 4096)]": INTEGERS},
    ),
    (trainings.arrays, "SGD", {'model.compile("adam"': 'model.compile("sgd"'}),
    (
        trainings.inputs_by_name,
        "XLA on",
        {'"binary_crossentropy")': '"binary_crossentropy", jit_compile=True)'},
    ),
    (trainings.blocks, "mixed_bfloat16", {"keras.utils.clear_session()\n": POLICY}),
    (
        trainings.own_loop,
        "2 smaller batches, accumulated",
        {"Adam()": "Adam(gradient_accumulation_steps=2)", "batch_size": "size", "size=64):": HALF},
    ),
    (trainings.blocks, "recomputation of blocks", {"def call(self, x):": REMAT}),
    (trainings.eager, "run_eagerly off", {", run_eagerly=True": ""}),
]
REFUSED = [
    (trainings.own_loop, PYDATASET, "a loop of its own"),
    (trainings.own_loop, "mixed_float16", "LossScaleOptimizer"),
    (trainings.own_loop, "SGD", "without compile"),
    (trainings.streamed, GENERATOR, "a stream already"),
    (trainings.inputs_by_name, GENERATOR, "no class_weight with a generator"),
    (trainings.inputs_by_name, "integers as targets", "not one-hot"),
    (trainings.inputs_by_name, "recomputation of blocks", "no block"),
    (trainings.inputs_by_name, "run_eagerly off", "does not run eagerly"),
    (trainings.inputs_by_name, "float64 inputs as float32", "float64"),
    (trainings.words, "mixed_float16", "Sequential that begins with an Embedding"),
    (trainings.words, "mixed_bfloat16", 'begin it with keras.Input((length,), dtype="int32")'),
    (trainings.words, "evaluation in smaller batches", "a stream with batches of its own"),
    (trainings.eager, "XLA on", "runs eagerly"),
    (trainings.eager, "SGD with momentum", ""),
]


@functools.cache
def outside(train):
    """The FixTrials of a training with its fixes of both tables."""
    names = [name for each, name, _ in [*BY_HAND, *REFUSED] if each is train]
    return labkit.try_fixes(train, fixes=names, batch_size=64)


@pytest.mark.parametrize(("train", "name", "changes"), BY_HAND, ids=[row[1] for row in BY_HAND])
def test_a_fix_has_the_effect_that_it_has_by_hand(train, name, changes):
    written = labkit.try_fixes(by_hand(train, changes), fixes=[], batch_size=64).rows[0]
    row = outside(train)[name]
    assert row.applies, row.why_not
    wanders, first = train is trainings.blocks, outside(train).rows[0]
    assert row.peak_bytes == pytest.approx(written.peak_bytes, rel=HOLES if wanders else AHEAD)
    assert not wanders or max(row.peak_bytes, written.peak_bytes) < 0.85 * first.peak_bytes
    common = set(row.program.losses) & set(written.program.losses)
    assert common or row.program.fit is None
    for batches in common:
        assert row.program.losses[batches] == pytest.approx(written.program.losses[batches], rel=1e-3)
    assert row.saved_bytes == first.peak_bytes - row.peak_bytes


@pytest.mark.parametrize("train", dict.fromkeys(row[0] for row in REFUSED), ids=lambda train: train.__name__)
def test_what_cannot_be_applied_says_why(train):
    for name, reason in {name: reason for each, name, reason in REFUSED if each is train}.items():
        row = outside(train)[name]
        assert row.applies == (not reason) and reason in row.why_not


def test_a_policy_of_the_code_s_own_is_told():
    own = "    import keras\n\n    keras.config.set_dtype_policy('float32')"
    train = by_hand(
        trainings.arrays, {'    """Arrays of float64, one-hot targets, validation_split."""': own}
    )
    tried = labkit.try_fixes(train, batch_size=64, fixes=["mixed_bfloat16"])
    row = tried["mixed_bfloat16"]
    assert "sets the policy itself, to 'float32'" in row.why_not
    assert row.outcome is None  # no trial is needed to say so


def test_integers_that_a_model_was_built_for_in_16_bits_are_told_after_the_trial():
    changes = {'model.compile("adam"': 'model.build((None, 100))\n    model.compile("adam"'}
    names = ["mixed_float16", "mixed_bfloat16"]
    tried = labkit.try_fixes(by_hand(trainings.words, changes), batch_size=64, fixes=names)
    assert "rounds them" in tried["mixed_bfloat16"].why_not
    assert "is not in [0, 30000)" in tried["mixed_float16"].why_not  # 30,000 it becomes


def test_integers_of_an_input_of_their_own_are_not_rounded():
    changes = {"[keras.layers.Embedding": "[keras.Input((100,), dtype='int32'), keras.layers.Embedding"}
    tried = labkit.try_fixes(by_hand(trainings.words, changes), batch_size=64, fixes=["mixed_bfloat16"])
    assert tried["mixed_bfloat16"].same_result


def test_a_policy_that_is_set_too_late_is_told():
    assert "after the model is built" in repr(outside(trainings.eager))


@pytest.fixture(scope="module")
def images():
    return labkit.try_fixes(trainings.images, batch_size=32, fixes=[PYDATASET, GENERATOR, DATASET, "SGD"])


def test_the_rows_say_what_each_saves_and_whether_the_result_stays(images):
    first, stream, sgd = images.rows[0], images[PYDATASET], images["SGD"]
    assert stream.saved_bytes > 2**20 and stream.same_result and stream.samples >= 3 * 32
    assert images[DATASET].peak_bytes == pytest.approx(stream.peak_bytes, rel=AHEAD)
    assert sgd.same_result is None and sgd.saved_bytes == first.peak_bytes - sgd.peak_bytes
    applied = [row.peak_bytes for row in images.rows[1:] if row.applies]
    assert applied == sorted(applied)
    assert stream.lesson == "06-sequence-and-pydataset.ipynb"
    assert json.loads(json.dumps(images.to_dict()))["rows"][0]["name"] == "the code as it is"


@pytest.mark.parametrize("name", [PYDATASET, GENERATOR, DATASET])
def test_its_code_put_in_the_place_of_the_call_has_its_effect(images, name):
    row = images[name]
    assert ", shuffle=True" in row.code  # as fit does, but not in the trials that it is compared with
    code = textwrap.indent(row.code.replace(", shuffle=True", ""), "    ").lstrip()
    written = by_hand(trainings.images, {FIT_IMAGES: code}, "import keras\nimport tensorflow as tf")
    same = labkit.try_fixes(written, batch_size=32, fixes=[]).rows[0]
    assert same.peak_bytes == pytest.approx(row.peak_bytes, rel=AHEAD)
    last = max(set(same.program.losses) & set(row.program.losses))
    assert last > 1 and same.program.losses[last] == pytest.approx(row.program.losses[last], rel=1e-3)


def fitted_and_evaluated(batch_size=8):
    """An array whose copy on the device is most of the peak, in fit and in evaluate."""
    import keras
    import numpy as np

    X, y = np.ones((4096, 1024), "float32"), np.zeros(4096, "float32")
    model = keras.Sequential([keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    model.fit(X, y, batch_size=batch_size, verbose=0)
    model.evaluate(X, y, verbose=0)


@pytest.fixture(scope="module")
def array():
    """Under a limit that the array's copy nearly fills: what a batch may take decides, no holes between."""
    return labkit.try_fixes(fitted_and_evaluated, batch_size=8, memory_limit="20 MiB", fixes=[PYDATASET])


@pytest.fixture(scope="module")
def streamed(array):
    """The same, with what try_fixes() writes in the place of its calls."""
    *definition, fit, evaluate = array[PYDATASET].code.splitlines()
    assert fit.startswith("model.fit(Batches(") and evaluate.startswith("model.evaluate(Batches(")
    calls = {
        "model.fit(X, y, batch_size=batch_size, verbose=0)": fit,
        "model.evaluate(X, y, verbose=0)": evaluate,
    }
    before = "\n".join(["import keras", "import numpy as np", *definition])
    return by_hand(fitted_and_evaluated, calls, before)


def test_its_code_put_in_the_place_of_fit_and_evaluate_has_its_effect(array, streamed):
    written = labkit.run(streamed, batch_size=8)
    assert array.best() is array[PYDATASET]
    assert max(written.peak_bytes, array[PYDATASET].peak_bytes) < array.rows[0].peak_bytes / 4


def test_the_largest_batch_is_larger_where_memory_is_saved(array, streamed):
    first, stream = array.rows[0], array[PYDATASET]
    assert 0 < 2 * first.largest <= stream.largest
    for train, largest in ((fitted_and_evaluated, first.largest), (streamed, stream.largest)):
        assert labkit.run(train, batch_size=largest // 2, memory_limit="20 MiB").ok


def test_inputs_in_a_list_are_streamed_and_what_is_written_is_python():
    names = [PYDATASET, GENERATOR, DATASET, "float64 inputs as float32"]
    tried = labkit.try_fixes(trainings.inputs_in_a_list, batch_size=64, fixes=names)
    assert [row.why_not for row in tried.rows if not row.applies] == []
    assert all(row.same_result for row in tried.rows[1:])
    for row in tried.rows[1:]:
        compile(row.code, row.name, "exec")


@pytest.fixture(scope="module")
def arrays():
    """Under a limit that all of the arrays alone exceed, whatever the batch."""
    return labkit.try_fixes(trainings.arrays, batch_size=8, memory_limit="10 MiB", fixes=["SGD", PYDATASET])


def test_the_best_meets_the_limit_and_keeps_the_result(arrays):
    assert not arrays.fits and arrays.best().name == PYDATASET
    text = repr(arrays)
    assert "takes over 10.0 MiB" in text and "class Batches(keras.utils.PyDataset)" in text
    figure = arrays.plot()
    bars = [patch.get_width() * 2**20 for patch in figure.axes[0].patches]
    assert bars == pytest.approx([row.peak_bytes for row in arrays.rows if row.peak_bytes])


def test_a_peak_that_cannot_be_predicted_under_the_limit_is_said_to_be_unknown(arrays):
    first, stream = arrays.rows[0], arrays[PYDATASET]
    assert first.outcome.status == "oom" and first.peak_bytes is None and not first.predicted
    assert stream.peak_bytes and stream.saved_bytes is None and stream.largest >= 8
    assert "Its peak is unknown" in arrays.notes[0] and "Not even batch_size=1 fits" in arrays.notes[0]
    assert json.loads(json.dumps(arrays.to_dict()))["notes"] == arrays.notes


ACCUMULATED = "2 smaller batches, accumulated"


@pytest.fixture(scope="module")
def blocks():
    """Under a limit that they do not fit."""
    names = [ACCUMULATED, "mixed_bfloat16", "SGD"]
    return labkit.try_fixes(trainings.blocks, batch_size=256, memory_limit="32 MiB", fixes=names)


def test_no_trial_takes_more_than_the_limit_and_the_peak_of_what_does_not_fit_is_predicted(blocks):
    first, accumulated, bfloat16 = blocks.rows[0], blocks[ACCUMULATED], blocks["mixed_bfloat16"]
    assert {row.outcome.limit_bytes for row in blocks.rows} == {32 * 2**20}
    assert first.outcome.status == "oom" and first.predicted and not blocks.fits
    free = labkit.run(trainings.blocks, batch_size=256)
    assert first.peak_bytes == pytest.approx(free.peak_bytes, rel=0.05)
    low, high = first.estimate.interval(256)
    assert low <= free.peak_bytes <= high
    assert "predicted from trials at batch_size 32 and 64" in blocks.notes[0]
    assert first.largest < 256
    assert accumulated.saved_bytes == first.peak_bytes - accumulated.peak_bytes
    assert accumulated.same_result is None and bfloat16.same_result and ACCUMULATED in blocks.notes[-1]
    assert blocks["SGD"].peak_bytes is None and "over 32.0 MiB ✗" in repr(blocks)
    assert blocks.best().name in {row.name for row in blocks.rows[1:] if row.peak_bytes}


def test_a_trial_that_runs_out_of_memory_leads_here(blocks):
    diagnosis = blocks.rows[0].outcome.diagnosis
    assert diagnosis.fixes[-1].code == 'labkit.try_fixes(train, memory_limit="32.0 MiB", batch_size=256)'
    assert diagnosis.fixes[-1].lesson == "09-smaller-steps.ipynb" and "try_fixes" in repr(diagnosis)


def test_what_runs_out_below_the_limit_does_not_fit():
    tried = labkit.try_fixes(trainings.in_pieces, batch_size=16, memory_limit="34 MiB", fixes=[])
    first = tried.rows[0]
    assert labkit.run(trainings.in_pieces, batch_size=16).peak_bytes < 34 * 2**20
    assert first.outcome.status == "oom" and first.peak_bytes < 34 * 2**20 and not tried.fits
    assert "less than the limit" in tried.notes[0]


def test_layers_with_a_dtype_already_are_told():
    dtypes = {"Dense(512)": "Dense(512, dtype='float32')", "Dense(1)": "Dense(1, dtype='float32')"}
    train = by_hand(trainings.streamed, dtypes)
    tried = labkit.try_fixes(train, batch_size=64, fixes=["mixed_float16"])
    assert "have their dtype already" in tried["mixed_float16"].why_not


def fails_in_fit(batch_size):
    import keras
    import numpy as np

    class Fails(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            raise ValueError("my fault")

    model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    model.fit(np.ones((32, 8)), np.ones(32), batch_size=batch_size, callbacks=[Fails()], verbose=0)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: labkit.try_fixes(trainings.arrays), "batch_size=64"),
        (lambda: labkit.try_fixes(trainings.arrays, batch_size="64"), "batch_size=64"),
        (lambda: labkit.try_fixes(trainings.arrays, batch_size=64, fixes="magic"), "no fix 'magic'"),
        (
            lambda: labkit.try_fixes(trainings.arrays, batch_size=64, memory_limit="1 EB"),
            "not a size|more than",
        ),
        (lambda: labkit.try_fixes(None, batch_size=64), "takes a function"),
        (lambda: labkit.try_fixes(trainings.arrays, batch_size=64, colour="red"), "colour"),
        (lambda: labkit.try_fixes("raise ValueError('my mistake')", batch_size=1), "my mistake"),
        (lambda: labkit.try_fixes("total = batch_size + 1", batch_size=8), "No training step was seen"),
        (lambda: labkit.try_fixes(fails_in_fit, batch_size=8, memory_limit="64 MiB"), "my fault"),
    ],
)
def test_bad_input_has_its_sentence(call, words):
    with pytest.raises(LabkitError, match=words):
        call()


def test_stopped_it_returns_what_was_measured():
    class Stopping:
        def begin(self, value, done, total, doing=""):
            if done == 1:
                trying.stop()

        def __getattr__(self, name):
            return lambda *args, **kwargs: None

    trying = TryingFixes(trainings.arrays, params={"batch_size": 64}, show=Stopping())
    tried = trying.run()
    assert [row.name for row in tried.rows] == ["the code as it is"]
    assert tried.notes == ["Stopped before all was tried: what is missing here was not measured."]


def test_stopped_while_a_trial_is_packed_that_trial_does_not_run(monkeypatch):
    running = []

    class Packing:
        stopped = False

        def __init__(self, *args, **options):
            if running:
                running[0].stop()

        def check(self, value):
            pass

        def stop(self):
            self.stopped = True

        def run(self, *args, **more):
            assert self.stopped
            raise Stopped("Stopped.")

    monkeypatch.setattr("labkit.fixes.trying.Series", Packing)
    running.append(TryingFixes("pass", params={"batch_size": 8}))
    with pytest.raises(Stopped):
        running[0].run()


@pytest.mark.parametrize(
    ("text", "changed"),
    [
        ("model.fit(X, y, 32)", "model.fit(X, y, batch_size=16)"),
        ("net.fit(x=X, y=y, batch_size=b, epochs=3)", "net.fit(X, y, batch_size=16, epochs=3)"),
        ("self.model.fit(*data, verbose=0)", "self.model.fit(*data, verbose=0, batch_size=16)"),
        ("model.fit(*xs, y=y)", "model.fit(*xs, y=y, batch_size=16)"),
        ("model.fit(*xs, y, verbose=0)", "model.fit(*xs, y, verbose=0, batch_size=16)"),
        ("model.fit(X, y, **options)", "model.fit(X, y, batch_size=16, **options)"),
    ],
)
def test_a_call_is_rewritten_with_its_other_arguments_kept(text, changed):
    call = Call(text, "fit")
    call["batch_size"] = "16"
    assert str(call) == changed


class Given:
    """A model that keeps what fit is given."""

    def fit(self, x, **given):
        self.x, self.given = x, given


STRUCTURES = {
    "an array": lambda X: X,
    "a dict": lambda X: {"a": X, "b": -X},
    "a list": lambda X: [X, -X],
    "a dict in a dict": lambda X: {"outer": {"a": X}, "b": -X},
}
CALLS = {
    "arrays": "model.fit(X, y, batch_size=4)",
    "in order": "model.fit(X, y, batch_size=4, shuffle=False)",
    "in an order to be known": "model.fit(X, y, batch_size=4, shuffle=shuffled)",
    "named": "model.fit(y=y, x=X, batch_size=4)",
    "unpacked": "model.fit(*data, batch_size=4)",
    "one unpacked, a part is held out": "model.fit(*data[:1], y, batch_size=4, validation_split=0.25)",
    "unpacked in part": "model.fit(*data[:1], y=y, batch_size=4)",
    "a part is held out": "model.fit(X, y, batch_size=4, validation_split=0.25)",
    "unpacked, a part is held out": "model.fit(*data, batch_size=4, validation_split=0.25)",
    "others are held out": "model.fit(X, y, batch_size=4, validation_data=(X, y))",
    "unpacked others are held out": "model.fit(X, y, batch_size=4, validation_data=held)",
}


def rows_of(stream, steps):
    """The rows that so many batches have, and how many arrays a batch is."""
    from keras import tree

    batches = [tree.map_structure(np.asarray, batch) for batch in itertools.islice(iter_of(stream), steps)]
    leaves = [tree.flatten(batch) for batch in batches]
    return [np.concatenate(rows).tolist() for rows in zip(*leaves, strict=True)]


def in_order(rows):
    """Rows of several arrays, put in the order of the last."""
    order = np.argsort(rows[-1])
    return [np.array(leaf)[order].tolist() for leaf in rows]


def iter_of(stream):
    is_sequence = hasattr(stream, "__getitem__") and hasattr(stream, "__len__")
    return (stream[i] for i in range(len(stream))) if is_sequence else iter(stream)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize("name", [PYDATASET, GENERATOR, DATASET])
def test_its_code_hands_out_the_rows_of_whatever_structure_fit_is_given(name, structure, call, tmp_path):
    import keras
    import tensorflow as tf
    from keras import tree

    numbers = np.arange(12.0)
    X, y = STRUCTURES[structure](numbers), 2 * numbers
    fit = {"kind": "fit", "call": CALLS[call], "x": _data(X), "y": _data(y), "validation": _data(X)}
    (tmp_path / "seen").write_text(json.dumps(fit) + "\n")
    [fix] = [each for each in all_fixes() if each.name == name]
    code, model = Code(program := Program(tmp_path / "seen", "batch_size", 4)), Given()
    fix.write(code, program)
    names = {"X": X, "y": y, "data": (X, y), "held": (X, y), "shuffled": True}
    exec(str(code), {"keras": keras, "tf": tf, "np": np, "model": model, **names})
    expected = [leaf[: 9 if "a part" in call else 12].tolist() for leaf in tree.flatten((X, y))]
    epochs = [rows_of(model.x, model.given.get("steps_per_epoch"))]
    getattr(model.x, "on_epoch_end", list)()
    epochs.append(rows_of(model.x, model.given.get("steps_per_epoch")))
    assert [in_order(rows) for rows in epochs] == [expected] * 2
    assert all((rows == expected) == (call == "in order") for rows in epochs)
    assert (epochs[0] == epochs[1]) == (call == "in order")
    assert model.given.get("shuffle", True) or name == PYDATASET and call == "in order"
    held = model.given.get("validation_data")
    assert (held is not None) == ("held out" in call)
    if held is not None:
        expected = [leaf[9 if "a part" in call else 0 :].tolist() for leaf in tree.flatten((X, y))]
        assert rows_of(held, model.given.get("validation_steps")) == expected


NOTHING = {"kind": "nothing"}  # facts as labkit.fixes.facts has them, which nobody needs Keras for
ARRAY = {"kind": "arrays", "nested": False, "shapes": [[4]], "dtypes": ["float64"], "bytes": 32}
TF_DATA = {"x": {"kind": "CastDataset"}, "y": NOTHING, "policy": "float32", "compute_dtypes": ["float32"]}
ARRAYS = TF_DATA | {"x": ARRAY, "y": ARRAY, "validation": NOTHING}
TWO_TRAININGS = [
    {"kind": "compile", "model": 1, "optimizer": "adam", "call": "model.compile('adam', 'mse')"},
    TF_DATA | {"kind": "fit", "model": 1, "batch_size": None, "call": "model.fit(data)"},
    {"kind": "compile", "model": 2, "optimizer": "Adam", "call": "tuned.compile(Adam(1e-5), 'mse')"},
    ARRAYS | {"kind": "fit", "model": 2, "batch_size": 8, "call": "tuned.fit(X, y, 8)"},
    {"kind": "compile", "model": 1, "optimizer": "SGD", "call": "model.compile(sgd, 'mse')"},
    TF_DATA | {"kind": "fit", "model": 1, "batch_size": None, "call": "model.fit(data)"},
]


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        (DATASET, ["tuned.fit(dataset(X, y, batch_size=8, shuffle=True))"]),
        (
            "Adafactor",
            [f"{model}.compile(keras.optimizers.Adafactor(), 'mse')" for model in ("model", "tuned")],
        ),
        ("float64 inputs as float32", ['X = X.astype("float32")', 'y = y.astype("float32")']),
        ("half the batch", ["batch_size = 4"]),
    ],
)
def test_each_training_of_a_program_is_looked_at_with_its_own_compile(name, changes, tmp_path):
    (tmp_path / "seen").write_text("".join(json.dumps(facts) + "\n" for facts in TWO_TRAININGS))
    program = Program(tmp_path / "seen", "batch_size", 8)
    assert [training.compile["optimizer"] for training in program.trainings] == ["adam", "Adam", "SGD"]
    [fix] = [each for each in all_fixes() if each.name == name]
    assert not program.why_not(fix)
    assert code_of([fix], program.trainings).splitlines()[-len(changes) :] == changes


# What is written for a program, from facts made by hand

PROGRAM = {
    "compile": {"optimizer": "Adam", "loss": {"name": "mse"}, "metrics": [], "run_eagerly": False},
    "fit": {
        "x": ARRAY, "y": ARRAY, "sample_weight": NOTHING, "validation": NOTHING, "one_hot": False,
        "batch_size": 64, "validation_batch_size": None, "class_weight": False, "policy": "float32",
        "compute_dtypes": ["float32"], "jit": False, "run_eagerly": False,
    },
    "evaluate": {"x": ARRAY, "y": ARRAY, "sample_weight": NOTHING, "one_hot": False, "batch_size": None},
    "predict": {"x": ARRAY, "y": NOTHING, "sample_weight": NOTHING, "one_hot": False, "batch_size": None},
}  # fmt: skip
TABLE, TENSORS = {"kind": "Series", "stream": False}, {"kind": "tensors"}
FIT = "model.fit(X, y, batch_size=64)"
ONE_HOT = {"one_hot": True}
CATEGORICAL = {"loss": {"name": "categorical_crossentropy"}}


def written(folder, name, *calls, value=64):
    """(why it cannot be applied, the lines of code) of a fix for calls as text, or (text, other facts)."""
    lines = []
    for call in calls:
        text, more = (call, {}) if isinstance(call, str) else call
        kind = re.search(r"\.(compile|fit|evaluate|predict)\(", text)[1]
        lines.append(json.dumps({"kind": kind, "model": 1, "call": text, **PROGRAM[kind], **more}) + "\n")
    (folder / "seen").write_text("".join(lines))
    program = Program(folder / "seen", "batch_size", value)
    [fix] = [each for each in all_fixes() if each.name == name]
    if reason := program.why_not(fix):
        return reason, []
    compile(code := code_of([fix], program.trainings), name, "exec")
    return "", code.splitlines()


@pytest.mark.parametrize(
    ("name", "call", "changed"),
    [
        (PYDATASET, "model.evaluate(X, y, steps=3)", "model.evaluate(Batches(X, y, batch_size=32), steps=3)"),
        (PYDATASET, "net.predict(X / 255, 8)", "net.predict(Batches(X / 255, batch_size=8))"),
        (PYDATASET, "model.evaluate(*held)", "model.evaluate(Batches(*held, batch_size=32))"),
        (
            GENERATOR,
            "model.evaluate(X, y, 8)",
            "model.evaluate(batches(X, y, batch_size=8), steps=-(-len(X) // 8))",
        ),
        (
            GENERATOR,
            ("model.predict(X, steps=2)", {"given": ["x", "steps"]}),
            "model.predict(batches(X, batch_size=32), steps=2)",
        ),
        (DATASET, ("model.predict(X)", {"batch_size": 16}), "model.predict(dataset(X, batch_size=16))"),
    ],
)  # fmt: skip
def test_what_evaluate_and_predict_are_given_is_streamed_in_the_code_too(name, call, changed, tmp_path):
    reason, lines = written(tmp_path, name, "model.compile('adam', 'mse')", FIT, call)
    assert not reason and ".fit(" in lines[-2] and lines[-1] == changed


def test_every_evaluation_that_is_written_otherwise_is_streamed_and_none_of_other_things(tmp_path):
    other = ("model.evaluate(Z, labels)", {"y": TABLE}), ("model.predict(stream)", {"x": {"kind": "_Batch"}})
    calls = ["model.evaluate(X, y)", "model.evaluate(X, y)", "model.evaluate(Xt, yt)", *other]
    _, lines = written(tmp_path, PYDATASET, FIT, *calls)
    evaluated = [line for line in lines if "evaluate(" in line or "predict(" in line]
    assert evaluated == [f"model.evaluate(Batches({data}, batch_size=32))" for data in ("X, y", "Xt, yt")]


@pytest.mark.parametrize(
    ("fit", "reason"),
    [
        ((FIT, {"y": TENSORS}), "fit is given tensors as y: only NumPy arrays"),
        ((FIT, {"y": TABLE}), "fit is given a Series as y: only NumPy arrays"),
        ((FIT, {"sample_weight": TABLE}), "fit is given a Series as sample_weight"),
        (("model.fit(X, y, **how)", {"given": ["x", "y", "shuffle"]}), "shuffle is given in what"),
        (("model.fit(**how)", {"given": ["x", "y"]}), "x is given in what `train` unpacks with **"),
        (("model.fit(X, y, **how)", {"given": ["x", "y", "batch_size", "epochs"]}), ""),
        (
            ("model.fit(*all)", {"given": ["x", "y", "batch_size"]}),
            "batch_size is given in what `train` unpacks with *:",
        ),
        (
            ("model.fit(X, *all, epochs=2)", {"given": ["x", "y", "batch_size", "epochs"]}),
            "batch_size is given in",
        ),
        (("model.fit(*data, epochs=2)", {"given": ["x", "y", "epochs"]}), ""),
    ],
)
def test_what_cannot_be_streamed_or_not_be_written_so_is_refused(fit, reason, tmp_path):
    for name in (PYDATASET, GENERATOR, DATASET):
        found, _ = written(tmp_path, name, fit)
        assert reason in found and bool(reason) == bool(found)
    if not reason:
        assert "**" in written(tmp_path, PYDATASET, ("model.evaluate(**how)", {"given": ["x"]}), fit)[0]


@pytest.mark.parametrize(
    ("name", "fit", "changed"),
    [
        (
            PYDATASET,
            ("model.fit(*arrays, **how)", {"given": ["x", "y", "batch_size", "verbose"]}),
            "model.fit(Batches(*arrays, batch_size=64, shuffle=True), **how)",
        ),
        (
            PYDATASET,
            ("model.fit(X, y, batch_size=size)", {"batch_size": None}),
            "model.fit(Batches(X, y, batch_size=size, shuffle=True))",
        ),
        (
            PYDATASET,
            ("model.fit(X, y, batch_size=None)", {"batch_size": None}),
            "model.fit(Batches(X, y, batch_size=32, shuffle=True))",
        ),
        (
            GENERATOR,
            ("model.fit(X, y, 64, steps_per_epoch=9)", {"given": ["x", "steps_per_epoch"]}),
            "model.fit(batches(X, y, batch_size=64, shuffle=True), steps_per_epoch=9)",
        ),
        (
            PYDATASET,
            "model.fit(X / 255, y, 64, validation_split=0.1)",
            "model.fit(Batches((X / 255)[:split], y[:split], batch_size=64, shuffle=True), "
            "validation_data=Batches((X / 255)[split:], y[split:], batch_size=64))",
        ),
    ],
)
def test_streams_keep_the_batch_size_and_steps_of_fit(name, fit, changed, tmp_path):
    assert written(tmp_path, name, fit)[1][-1] == changed


SMALLER, STREAM = "evaluation in smaller batches", {"x": {"kind": "_BatchDataset", "stream": True}}


@pytest.mark.parametrize(
    ("calls", "changed"),
    [
        ([(FIT, {"batch_size": 2}), "model.evaluate(X, y)"], ["model.evaluate(X, y, batch_size=2)"]),
        (
            [(FIT, {"batch_size": 2}), "model.predict(X)", ("model.predict(Z, 9)", {"batch_size": 9})],
            ["model.predict(X, batch_size=2)", "model.predict(Z, batch_size=2)"],
        ),
        (
            [(FIT, {"batch_size": 2}), ("model.predict(X, **how)", {"given": ["x", "batch_size"]})],
            ["model.predict(X, **{**how, 'batch_size': 2})"],
        ),
        (
            [("model.fit(data)", STREAM), ("model.evaluate(X, y, 96)", {"batch_size": 96})],
            ["model.evaluate(X, y, batch_size=64)"],
        ),
        (
            [
                (FIT, {"batch_size": 2}),
                ("model.predict(*held)", {"given": ["x", "batch_size"], "batch_size": 9}),
            ],
            ["# give predict batch_size=2 in the place of the batch_size that it unpacks"],
        ),
        ([("model.fit(data)", STREAM), "model.evaluate(X, y)"], []),
        ([(FIT, {"batch_size": 2}), ("model.evaluate(data)", STREAM)], []),
        ([FIT, "model.evaluate(X, y)"], []),
        ([(FIT, {"validation_batch_size": 8}), "model.evaluate(X, y)"], []),
        (
            [(FIT, {"validation_batch_size": 128})],
            ["model.fit(X, y, batch_size=64, validation_batch_size=64)"],
        ),
    ],
)
def test_what_is_evaluated_in_larger_batches_than_those_of_training(calls, changed, tmp_path):
    reason, lines = written(tmp_path, SMALLER, *calls)
    of_stream = any(call == "model.evaluate(data)" for call, *_ in calls)
    why = "is a stream with batches of its own" if of_stream else "Nothing is evaluated in larger"
    assert lines == changed and (why in reason) == (not changed)


def test_a_batch_size_that_is_left_out_is_32_in_a_trial_of_smaller_evaluation(tmp_path):
    (tmp_path / "seen").write_text(
        json.dumps({"kind": "fit", "call": FIT, **PROGRAM["fit"], **STREAM}) + "\n"
    )
    [smaller] = [fix for fix in all_fixes() if fix.name == SMALLER]
    fix = smaller.of(Program(tmp_path / "seen", "batch_size", 8).trainings)
    assert fix.evaluate(None, {"x": 1}) == {"x": 1, "batch_size": 8}  # of a stream, as many as asked for
    fix.fit(None, {"batch_size": 2})
    assert fix.predict(None, {"x": 1})["batch_size"] == 2
    fix.fit(None, {"batch_size": 64})
    assert fix.evaluate(None, {"x": 1})["batch_size"] == 32
    assert fix.fit(None, {"batch_size": 64, "validation_batch_size": 8})["validation_batch_size"] == 8


@pytest.mark.parametrize("name", [SMALLER, "integers as targets"])
def test_a_loop_of_its_own_that_is_compiled_and_evaluated_is_told_what_it_lacks(name, tmp_path):
    reason, _ = written(tmp_path, name, "model.compile('adam', 'mse')", "model.evaluate(X, y)")
    assert reason.startswith("`train` has a loop of its own, without fit, ")


STEPS_2 = "# create the optimizer with gradient_accumulation_steps=2"


@pytest.mark.parametrize(
    ("call", "more", "changed"),
    [
        ("compile('Adam', l)", {}, "compile(keras.optimizers.Adam(gradient_accumulation_steps=2), l)"),
        ("compile(loss=l)", {}, "compile(keras.optimizers.RMSprop(gradient_accumulation_steps=2), l)"),
        ("compile(Adam(lr), 'mse')", {}, "compile(Adam(lr, gradient_accumulation_steps=2), 'mse')"),
        (
            "compile(Adam(gradient_accumulation_steps=n, learning_rate=lr), 'mse')",
            {"accumulation_steps": 3},
            "compile(Adam(learning_rate=lr, gradient_accumulation_steps=6), 'mse')",
        ),
        ("compile(opt, 'mse')", {}, STEPS_2),
        ("compile(opt, 'mse')", {"accumulation_steps": 3}, STEPS_2[:-1] + "6"),
        ("compile(opts['adam'], 'mse')", {}, STEPS_2),
        ("compile(Adam(lr) if a else 'sgd', 'mse')", {}, STEPS_2),
        ("compile(make_opt(lr), 'mse')", {}, STEPS_2),
        ("compile(keras.optimizers.get('adam'), 'mse')", {}, STEPS_2),
        ("compile(Adam(**how), 'mse')", {}, STEPS_2),
        ("compile(**how)", {"given": ["optimizer", "loss"]}, STEPS_2),
        ("compile()", {"given": []}, STEPS_2.replace("the", "each")),
    ],
)  # fmt: skip
def test_accumulation_is_written_where_the_optimizer_is_created(call, more, changed, tmp_path):
    _, lines = written(tmp_path, ACCUMULATED, (f"model.{call}", more), FIT)
    assert lines == ["batch_size = 32", f"model.{changed}" if changed[0] != "#" else changed]


def test_what_accumulates_already_accumulates_more_in_a_trial(monkeypatch):
    import keras

    monkeypatch.setattr(keras.optimizers.Optimizer, "__init__", keras.optimizers.Optimizer.__init__)
    [fix] = [fix for fix in all_fixes() if fix.name == ACCUMULATED]
    fix.begin()
    assert keras.optimizers.Adam().gradient_accumulation_steps == 2
    assert keras.optimizers.Adam(gradient_accumulation_steps=3).gradient_accumulation_steps == 6


def test_the_optimizers_that_a_model_keeps_itself_are_left_to_it(tmp_path):
    calls = ("super().compile()", {"given": [], "optimizer": "rmsprop", "loss": {"name": ""}}), FIT
    assert "change the optimizers that the model keeps" in written(tmp_path, "SGD", *calls)[0]
    passed_on = ("super().compile(**how)", {"given": ["optimizer", "loss"]})
    _, lines = written(tmp_path, "SGD", passed_on, FIT)
    assert lines == ["super().compile(**{**how, 'optimizer': keras.optimizers.SGD()})"]


INTEGERS_AS_TARGETS, IN_FIT = "integers as targets", "model.fit(X, y.argmax(axis=-1), batch_size=64"
HELD = ONE_HOT | {"validation": ARRAY, "validation_one_hot": True}
COMPILED = "model.compile('adam', 'sparse_categorical_crossentropy')"


@pytest.mark.parametrize(
    ("fit", "changed"),
    [
        ((FIT, ONE_HOT), [f"{IN_FIT})"]),
        (("model.fit(X, a + b)", ONE_HOT), ["model.fit(X, (a + b).argmax(axis=-1))"]),
        (
            (f"{FIT[:-1]}, validation_data=(X[:9], y[:9], w))", HELD),
            [f"{IN_FIT}, validation_data=(X[:9], y[:9].argmax(axis=-1), w))"],
        ),
        (
            (f"{FIT[:-1]}, validation_data=held)", HELD),
            [f"{IN_FIT}, validation_data=(held[0], held[1].argmax(axis=-1), *held[2:]))"],
        ),
        (
            (f"{FIT[:-1]}, validation_data=load('val'))", HELD),
            [
                "# give fit y.argmax(axis=-1) in the place of the targets of validation_data",
                f"{IN_FIT}, validation_data=load('val'))",
            ],
        ),
        (
            (f"{FIT[:-1]}, validation_data=(X, *rest))", HELD),
            [
                "# give fit y.argmax(axis=-1) in the place of the targets of validation_data",
                f"{IN_FIT}, validation_data=(X, *rest))",
            ],
        ),
        (("model.fit(*data)", ONE_HOT), ["# give fit y.argmax(axis=-1) in the place of y"]),
    ],
)
def test_targets_become_integers_wherever_they_are_given(fit, changed, tmp_path):
    compiled = ("model.compile('adam', 'categorical_crossentropy')", CATEGORICAL)
    reason, lines = written(tmp_path, INTEGERS_AS_TARGETS, compiled, fit)
    assert not reason and sorted(lines) == sorted([COMPILED, *changed])
    evaluated = written(tmp_path, INTEGERS_AS_TARGETS, compiled, fit, ("model.evaluate(X, y)", ONE_HOT))[1]
    assert evaluated[-1] == "model.evaluate(X, y.argmax(axis=-1))"


@pytest.mark.parametrize(
    ("call", "loss", "changed"),
    [
        ("compile('adam', loss_fn)", {}, "compile('adam', 'sparse_categorical_crossentropy')"),
        (
            "compile('adam', CategoricalCrossentropy(from_logits=True))",
            {"is_object": True, "from_logits": True},
            "compile('adam', keras.losses.SparseCategoricalCrossentropy(from_logits=True))",
        ),
        (
            "compile('adam', loss_fn)",
            {"is_object": True},
            "compile('adam', keras.losses.SparseCategoricalCrossentropy())",
        ),
        (
            "compile(**how)",
            {"is_object": True},
            "compile(**{**how, 'loss': keras.losses.SparseCategoricalCrossentropy()})",
        ),
    ],
)
def test_the_loss_of_integers_is_written_out(call, loss, changed, tmp_path):
    facts = {"loss": {"name": "categorical_crossentropy", **loss}, "given": ["optimizer", "loss"]}
    _, lines = written(tmp_path, INTEGERS_AS_TARGETS, (f"model.{call}", facts), (FIT, ONE_HOT))
    assert lines[0] == f"model.{changed}"


@pytest.mark.parametrize(
    ("metrics", "applies"),
    [
        ([], True),
        (["accuracy"], True),
        (["acc", "ce"], True),
        (["categorical_accuracy"], False),
        (["accuracy", "top_k_categorical_accuracy"], False),
        (["auc"], False),
        (["AUC"], False),
    ],
)
def test_targets_stay_where_a_metric_may_need_them(metrics, applies, tmp_path):
    compiled = ("model.compile('adam', loss_fn, metrics=m)", CATEGORICAL | {"metrics": metrics})
    reason, _ = written(tmp_path, INTEGERS_AS_TARGETS, compiled, (FIT, ONE_HOT))
    assert reason == ("" if applies else f"The metric {metrics[-1]} may need them as they are.")


def test_what_is_unpacked_is_not_narrowed_by_a_name_that_there_is_not(tmp_path):
    _, lines = written(tmp_path, "float64 inputs as float32", ("model.fit(*data)", {"y": NOTHING}))
    assert lines == ['# give fit x.astype("float32") in the place of x']
    _, lines = written(tmp_path, "float64 inputs as float32", ("model.fit(X / 255)", {"y": NOTHING}))
    assert lines == ['model.fit((X / 255).astype("float32"))']


def test_run_eagerly_is_taken_off_where_it_is_unpacked(tmp_path):
    for call, changed in [
        ("compile('sgd', 'mse', run_eagerly=True)", "compile('sgd', 'mse')"),
        ("compile('sgd', 'mse', **how)", "compile('sgd', 'mse', **{**how, 'run_eagerly': False})"),
    ]:
        compiled = (f"model.{call}", {"run_eagerly": True, "given": ["optimizer", "loss", "run_eagerly"]})
        assert written(tmp_path, "run_eagerly off", compiled, FIT)[1] == [f"model.{changed}"]


@pytest.mark.parametrize(
    ("name", "argument"),
    [
        ("XLA on", "jit_compile"),
        ("SGD", "optimizer"),
        (INTEGERS_AS_TARGETS, "loss"),
        ("run_eagerly off", "run_eagerly"),
    ],
)
def test_no_argument_of_compile_is_given_twice_where_it_is_unpacked(name, argument, tmp_path):
    given = ["optimizer", "loss", argument]
    compiled = ("model.compile(*how)", CATEGORICAL | {"given": given, "run_eagerly": "eagerly" in argument})
    _, lines = written(tmp_path, name, compiled, (FIT, ONE_HOT))
    assert lines[0].startswith(f"# give compile {argument}=") and "compile(" not in "".join(lines)


def test_what_a_program_is_seen_to_do(tmp_path):
    """In this process: its calls are noted, but not that of evaluate by which fit validates."""
    import keras
    import tensorflow as tf

    X, y = np.ones((8, 4), "float32"), np.eye(2)[np.zeros(8, int)]
    originals = {method: getattr(keras.Model, method) for method in METHODS}

    def accuracy(y, predicted):
        return keras.metrics.categorical_accuracy(y, predicted)

    def train():
        model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, activation="softmax")])
        optimizer = keras.optimizers.SGD(gradient_accumulation_steps=2)
        metrics = {"metrics": ["accuracy"], "weighted_metrics": [keras.metrics.AUC(), accuracy]}
        model.compile(optimizer, keras.losses.CategoricalCrossentropy(), **metrics)
        model.fit(X, y, 4, validation_data=(X, y), verbose=0)
        model.evaluate(X, tf.constant(y), verbose=0)

    try:
        Applied(train, [], tmp_path / "seen")()
    finally:
        for method, original in originals.items():
            setattr(keras.Model, method, original)
    program = Program(tmp_path / "seen", "batch_size", 4)
    compiled, fit, [evaluated] = program.compile, program.fit, program.evaluations
    assert compiled["given"] == ["optimizer", "loss", "metrics", "weighted_metrics"]
    assert compiled["accumulation_steps"] == 2
    assert compiled["metrics"] == ["accuracy", "AUC", "accuracy()"]
    assert compiled["loss"]["from_logits"] is False
    assert fit["given"] == ["x", "y", "batch_size", "verbose", "validation_data"]
    assert fit["one_hot"] and fit["validation_one_hot"] and fit["validation"]["kind"] == "arrays"
    assert evaluated["call"] == "model.evaluate(X, tf.constant(y), verbose=0)"
    assert (evaluated["x"]["kind"], evaluated["y"]["kind"]) == ("arrays", "tensors")


WRITTEN = """
import keras, numpy as np, tensorflow as tf

@tf.function
def halved(x):
    if tf.reduce_sum(x) > 0:
        return x / 2
    return x

def main():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile("adam", "mse")
    model.fit(halved(np.ones((64, 4), "float32")).numpy(), np.zeros(64), batch_size=batch_size, verbose=0)

if __name__ == "__main__":
    main()
"""


class Trainer:
    """A callable object that has a file of its own."""

    def __init__(self, path):
        self._path, self._fixes, self._train = path, "mine", "mine too"
        self.__name__ = "trainer"

    def __call__(self, batch_size):
        import keras
        import numpy as np

        model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
        model.compile("adam", "mse")
        model.fit(np.ones((64, 4)), np.zeros(64), batch_size, initial_epoch=1, epochs=2, verbose=0)


def test_only_what_gives_batches_is_called_a_stream():
    import scipy.sparse
    import tensorflow as tf

    from labkit.fixes.facts import _data

    rows = [[1.0, 2.0], [3.0, 4.0]]
    for x in (rows, scipy.sparse.csr_matrix(rows), {"a": rows}):
        assert not _data(x)["stream"]
    for x in (tf.data.Dataset.range(3), (row for row in rows), iter(rows)):
        assert _data(x)["stream"]


def test_source_text_runs_as_a_script_and_its_own_calls_are_quoted():
    labkit.run("x = [model for model in [None]]\n# old_model.fit(OLD, batch_size=999)\n" * 12)
    tried = labkit.try_fixes(WRITTEN, batch_size=16, fixes=["SGD"])
    assert tried["SGD"].outcome.ok and "OLD" not in tried["SGD"].code
    assert "model.compile(" in tried["SGD"].code


def test_the_attributes_of_a_callable_object_are_its_own(tmp_path):
    own = tmp_path / "mine.csv"
    own.write_text("1, 2\n")
    row = labkit.try_fixes(Trainer(str(own)), batch_size=np.int64(16), fixes=["mixed_bfloat16"])[
        "mixed_bfloat16"
    ]
    assert row.outcome.ok and own.read_text() == "1, 2\n"
    assert row.same_result is not None  # of a first epoch that is not number 0


class Asked:
    """A model that keeps the text of the call by which it is fitted."""

    def fit(self, *args, **more):
        self.text = call_text("fit")


@pytest.mark.parametrize("folder", ["proj", "keras/proj", "labkit/fixes"])
def test_a_call_is_found_wherever_the_reader_keeps_the_program(folder, tmp_path):
    program = tmp_path / folder / "mine.py"
    program.parent.mkdir(parents=True)
    program.write_text("net.fit(images, labels, epochs=2)\n")
    net = Asked()
    exec(compile(program.read_text(), str(program), "exec"), {"net": net, "images": None, "labels": None})
    assert net.text == "net.fit(images, labels, epochs=2)"


def test_parts_of_a_tuple():
    assert parts("(X[:3], y)") == ["X[:3]", "y"] and parts("held") == ["*held"]


def test_every_fix_has_a_name_of_its_own_and_a_lesson():
    fixes = all_fixes()
    assert len({fix.name for fix in fixes}) == len(fixes) and all(fix.lesson for fix in fixes)
