"""The allocator's model against the allocator, and predictions against real trials."""

import math
import signal
import threading
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import labkit
from labkit.errors import Stopped, TrialDidNotFit
from labkit.predict import allocator as bfc
from labkit.predict import prediction
from labkit.predict.estimation import PATIENCE, Estimate, Estimating
from labkit.predict.growth import Formulas
from labkit.predict.replay import EVALUATED, Replay
from labkit.predict.search import Searching, spread
from labkit.show import sweeps

MIB = 2**20


def train(batch_size, kind="convolutional", feed="train_on_batch", epochs=1):
    import keras
    import numpy as np

    layers = keras.layers

    convolutions = [layers.Conv2D(width, 3, activation="relu") for width in (8, 16)]
    hidden = [*convolutions, layers.GlobalAveragePooling2D()]
    nets = {
        "dense": [keras.Input((784,)), layers.Dense(256, activation="relu"), layers.Dense(10)],
        "convolutional": [keras.Input((32, 32, 3)), *hidden, layers.Dense(10)],
    }
    model = keras.Sequential(nets[kind])
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    x = np.ones((4 * batch_size, *model.input_shape[1:]), "float32")
    y = np.zeros(4 * batch_size)
    if feed == "fit":
        model.fit(x, y, batch_size=batch_size, verbose=0)
    elif feed == "dataset":
        import tensorflow as tf

        data = tf.data.Dataset.from_tensor_slices((x, y)).batch(batch_size)
        model.fit(data, epochs=epochs, shuffle=False, verbose=0)
    else:
        for i in range(0, 4 * batch_size, batch_size):
            model.train_on_batch(x[i : i + batch_size], y[i : i + batch_size])


def runs_out(train, memory_limit, **params):
    """Whether it runs out of memory, without TensorFlow's ten seconds for each op that is refused."""
    trial = labkit.Trial(train, memory_limit=memory_limit, timeout=None, params=params, patience=PATIENCE)
    return trial.run().status == "oom"


def test_the_model_of_the_allocator_gives_what_the_allocator_gave():
    timeline = labkit.run(train, memory_limit="1 GiB", profile=True, batch_size=16).timeline
    columns = timeline.record.allocations
    allocator, held = bfc.Allocator(2**30), {}
    events = [(int(place), 1, i) for i, place in enumerate(columns["begin"])]
    events += [(int(place), 0, i) for i, place in enumerate(columns["end"]) if place >= 0]
    given = np.zeros(len(columns["bytes"]), dtype=int)
    for _, begins, i in sorted(events):
        if begins:
            held[i] = allocator.allocate(int(columns["requested"][i]))
            given[i] = held[i].size
        else:
            allocator.release(held.pop(i))
    assert np.array_equal(given, columns["bytes"])
    assert allocator.peak == timeline.peak_bytes


def test_the_model_of_the_allocator_refuses_beyond_the_limit():
    allocator = bfc.Allocator(64 * MIB)
    chunk = allocator.allocate(40 * MIB)
    with pytest.raises(bfc.OutOfMemory):
        allocator.allocate(30 * MIB)
    allocator.release(chunk)
    assert allocator.allocate(60 * MIB).size >= 60 * MIB
    assert allocator.in_use <= 64 * MIB


@pytest.fixture(scope="module")
def estimated():
    return labkit.estimate(train)


@pytest.mark.parametrize("value", ["8", None, True, 0, -4, [8], float("nan"), float("inf")])
def test_what_is_no_value_is_refused(estimated, value):
    brothers = (estimated.interval, estimated.breakdown, estimated.layers, estimated.moment_at)
    for method in (estimated.peak_bytes, *brothers):
        with pytest.raises(labkit.LabkitError, match="give a positive number"):
            method(value)


def test_a_prediction_is_close_to_the_measured_peak(estimated):
    for batch_size in (64, 256):
        measured = labkit.run(train, batch_size=batch_size).peak_bytes
        assert estimated.peak_bytes(batch_size) == pytest.approx(measured, rel=0.05)
        low, high = estimated.interval(batch_size)
        assert low <= estimated.peak_bytes(batch_size) <= high
        assert high - low < 0.2 * measured
    assert estimated.measured[8] == pytest.approx(estimated.peak_bytes(8), rel=0.001)


@pytest.mark.parametrize("rows", [1500, 1504, 1501])  # divided by 4, by 4 and 8, by neither
def test_whichever_small_batch_divides_the_rows_nothing_is_mistaken_for_the_data(rows):
    def autoencoder(batch_size, rows):
        import keras
        import numpy as np

        model = keras.Sequential([keras.layers.Dense(16), keras.layers.Dense(784)])
        model.compile("adam", "mse")
        x = np.ones((rows, 784), "float32")
        model.fit(x, x.copy(), batch_size=batch_size, verbose=0)

    estimated = labkit.estimate(autoencoder, rows=rows)
    assert estimated.peak_bytes(64) == pytest.approx(
        labkit.run(autoencoder, batch_size=64, rows=rows).peak_bytes, rel=0.05
    )
    assert rows <= estimated.largest("1 GiB") < rows + 8  # no batch is larger than the data
    assert estimated.peak_bytes(4 * rows) == estimated.peak_bytes(2 * rows)


def normalized(batch_size):
    """Batch normalization uses its input three times: TensorFlow rewrites such sums in large steps."""
    import keras
    import numpy as np

    layers = keras.layers
    blocks = [layers.Conv2D(16, 3, padding="same"), layers.BatchNormalization(), layers.ReLU()]
    model = keras.Sequential([keras.Input((40, 40, 3)), *blocks, layers.Flatten(), layers.Dense(10)])
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    for _ in range(3):
        model.train_on_batch(np.ones((batch_size, 40, 40, 3), "float32"), np.zeros(batch_size))


def test_sums_that_only_large_steps_rewrite_are_seen_in_a_third_trial():
    estimated = labkit.estimate(normalized)
    assert list(estimated.measured) == [4, 8, estimated.further]
    for batch_size in (64, int(1.5 * estimated.further)):
        measured = labkit.run(normalized, batch_size=batch_size).peak_bytes
        assert estimated.peak_bytes(batch_size) == pytest.approx(measured, rel=0.03)


def test_a_rewritten_sum_that_is_refused_memory_is_out_of_memory():
    outcome = labkit.run(normalized, memory_limit="192 MiB", batch_size=2048)
    assert "Cannot parse tensor from proto" in str(outcome.error)
    assert outcome.status == "oom"
    assert outcome.diagnosis.requested_bytes == 2048 * 40 * 40 * 16 * 4
    assert "lack of memory" in str(outcome)


def test_a_third_trial_of_fewer_rows_is_not_taken_in():
    def few(batch_size):
        normal(min(batch_size, 100))

    normal = normalized
    estimated = labkit.estimate(few)
    assert "fewer rows" in estimated.notes[0]
    assert estimated.trials == 3
    assert list(estimated.measured) == [4, 8]


def test_the_layers_add_up_to_the_peak_in_the_order_of_the_model(estimated):
    table = estimated.layers(128)
    assert table.peak_bytes == estimated.peak_bytes(128)
    rows = {row.layer: row for row in table.rows}
    assert [row.class_name for row in table.rows][:4] == [
        "Conv2D",
        "Conv2D",
        "GlobalAveragePooling2D",
        "Dense",
    ]
    assert list(rows)[-1] == "(arrays and batches)"
    assert rows["conv2d"].output_shape == "(None, 30, 30, 8)"
    assert rows["conv2d"].activations >= 128 * 30 * 30 * 8 * 4
    assert sum(row.share for row in table.rows) == pytest.approx(1)
    assert "do not depend on batch_size" in table.heading
    assert "conv2d_1" in repr(table) and "<table>" in table._repr_mimebundle_()["text/html"]


def test_a_model_within_the_model_is_one_row_that_unfolds():
    def nested(batch_size):
        import keras
        import numpy as np

        inner = keras.Sequential([keras.layers.Dense(300), keras.layers.Dense(200)], name="inner")
        model = keras.Sequential([keras.Input((64,)), inner, keras.layers.Dense(1)])
        model.compile("adam", "mse")
        for _ in range(3):
            model.train_on_batch(np.ones((batch_size, 64)), np.ones((batch_size, 1)))

    table = labkit.estimate(nested).layers(512)
    inner = next(row for row in table.rows if row.layer == "inner")
    assert inner.weights >= 4 * (64 * 300 + 300 * 200) and len(inner.parts) == 2
    assert table.unfolded().peak_bytes == table.peak_bytes
    assert "<details>" in table._repr_mimebundle_()["text/html"]


def test_the_breakdown_adds_up(estimated):
    parts = estimated.breakdown(128)
    assert sum(parts["category"].values()) == estimated.peak_bytes(128)
    assert sum(parts["layer"].values()) == estimated.peak_bytes(128)
    assert {"conv2d", "conv2d_1"} <= set(parts["layer"])


def test_the_largest_that_is_predicted_to_fit_does_fit_and_much_more_does_not(estimated):
    largest = estimated.largest("96 MiB")
    assert labkit.run(train, memory_limit="96 MiB", batch_size=int(0.97 * largest)).ok
    assert runs_out(train, "96 MiB", batch_size=int(1.1 * largest))
    assert estimated.largest("1 MiB") is None
    assert estimated.plot("96 MiB", title="net")._repr_png_().startswith(b"\x89PNG")


@pytest.fixture(scope="module")
def found():
    return labkit.find_batch_size(train, memory_limit="96 MiB", multiple_of=8)


def test_the_search_proves_what_it_returns(found):
    assert found.ooms <= 1 and found.trials <= 5
    assert found.proof.limit_bytes == 94 * MIB  # 2 % less than the limit
    assert found.batch_size % 8 == 0
    assert found.batch_size in [value for value, outcome in found.history if outcome.ok]
    assert runs_out(train, "96 MiB", batch_size=int(1.25 * found.batch_size))


def test_what_the_search_found_shows_itself(found):
    assert repr(found).startswith(f"batch_size {found.batch_size} fits 96.0 MiB · {found.trials} trials")
    assert "Its proof made 4 steps under 94.0 MiB" in found.notes[0] and "So few steps" in found.notes[1]
    shown = found._repr_mimebundle_()
    assert shown["text/plain"] == repr(found)
    assert shown["text/html"].count("<tr>") == 1 + len(found.history)
    assert found.plot()._repr_png_().startswith(b"\x89PNG")


def test_the_search_keeps_to_what_may_be_tried():
    options = {"maximum": 20, "powers_of_two": True, "margin": 0.3}
    power = labkit.find_batch_size(train, memory_limit="96 MiB", kind="dense", **options)
    assert (power.batch_size, power.ooms, power.trials) == (16, 0, 3)
    [(value, outcome)] = power.history
    assert value == 16
    assert outcome.limit_bytes == 65 * MIB  # 98 % of 70 % of the limit, in whole MiB


FEED = {"feed": "dataset"}


@pytest.fixture(scope="module")
def found_for_a_dataset():
    return labkit.find_batch_size(train, memory_limit="64 MiB", **FEED)


def test_what_is_found_for_a_dataset_goes_on_fitting(found_for_a_dataset):
    found = found_for_a_dataset
    assert found.ooms <= 1
    longer = {"memory_limit": "64 MiB", "epochs": 12, **FEED}
    assert labkit.run(train, batch_size=found.batch_size, **longer).ok
    # how many batches tf.data makes ahead depends on the machine
    assert runs_out(train, batch_size=2 * found.batch_size, **longer)


def test_the_batches_that_tf_data_makes_are_known_to_grow(found_for_a_dataset):
    for schedule in found_for_a_dataset.estimate._schedules:
        per_unit = (schedule.sizes({"batch_size": 1008}) - schedule.sizes({"batch_size": 8})) / 1000
        made = schedule.timeline.in_pipeline & (per_unit > 100)
        assert made.sum() >= 3
        assert per_unit[made] == pytest.approx(32 * 32 * 3 * 4)


class Played:
    """A sequence that fits at some values: those that `refused` does not say, in each of its orders."""

    def __init__(self, *refused):
        self.orders = refused

    rows = {}

    def grows_with(self, name):
        return True

    def tried_bytes(self):
        return 0

    def replay(self, point, limit=None, order=0):
        value = point["batch_size"]
        return Replay(not self.orders[order](value), value * 3 * MIB // 2, 0)


def estimate_by(*schedules):
    estimate = object.__new__(Estimate)
    estimate.over, estimate.names, estimate.at = "batch_size", ("batch_size",), (4, 8)
    estimate._schedules, estimate._rewritten = schedules, None
    return estimate


def test_the_largest_has_nothing_below_it_that_does_not_fit():
    dips = estimate_by(Played(lambda value: value > 100 or value in (90, 85, 60)))
    assert dips.largest("1 GiB") == 84
    moved = Played(lambda v: v > 100, lambda v: v == 97, lambda v: v > 97)
    assert estimate_by(moved).largest("1 GiB") == 96
    assert estimate_by(Played(lambda value: False)).largest("1 GiB") == 2**24
    assert estimate_by(Played(lambda value: True)).largest("1 GiB", sure=True) is None


def test_a_limit_may_be_asked_about_that_this_machine_does_not_have():
    more = 4 * labkit.device().memory_bytes
    asked = []
    played = Played(lambda value: value > 100)
    played.replay = lambda *given: asked.append(given[1:2]) or Played.replay(played, *given)
    assert estimate_by(played).largest(more) == 100
    assert {limit for (limit,) in filter(None, asked)} == {more // MIB * MIB}
    with pytest.raises(labkit.LabkitError, match="under 1 MiB"):
        estimate_by(played).largest(MIB - 1)


def test_the_figure_of_an_estimate_may_have_a_limit_that_this_machine_does_not_have(monkeypatch):
    more, drawn = 4 * labkit.device().memory_bytes // MIB * MIB, []
    monkeypatch.setattr(sweeps, "prediction", lambda estimate, limit, title: drawn.append((limit, title)))
    estimate_by(Played(lambda value: False)).plot(more, "title")
    assert drawn == [(more, "title")]


@pytest.mark.parametrize("values", [np.array([32, 64]), (value for value in (32, 64)), range(32, 65, 32)])
def test_a_frontier_takes_values_in_any_form(values):
    found = over_two_by(Played(lambda value: value > 100)).frontier("1 GiB", values)
    assert found == {32: 100, 64: 100} and {type(value) for value in found} == {int}


def test_a_frontier_without_values_is_of_none_and_one_value_is_no_list():
    two = over_two_by(Played(lambda value: value > 100))
    assert two.frontier("1 GiB", []) == {}
    assert list(two.frontier("1 GiB"))[:3] == [16, 32, 64]
    with pytest.raises(labkit.LabkitError, match=r"values=64: give a list of values of length, such as \[16"):
        two.frontier("1 GiB", 64)


def over_two_by(*schedules):
    estimate = estimate_by(*schedules)
    estimate.over = estimate.names = ("batch_size", "length")
    estimate.at = {"batch_size": (4, 8), "length": (16, 32)}
    return estimate


@given(st.integers(0, 10**6), st.integers(1, 10**6), st.integers(-10, 10**6))
def test_the_largest_is_found_from_any_guess_and_from_a_good_one_soon(last, most, guess):
    asked = []
    found = prediction._largest(lambda value: (asked.append(value), value <= last)[-1], most, guess)
    assert found == min(last, most) and set(asked) <= set(range(1, most + 1))
    away = abs(min(max(guess, 1), most) - found)
    assert len(asked) <= 3 + 2 * math.log2(away + 1)


@pytest.mark.parametrize(("limit", "is_far_below"), [("1 GiB", True), ("256 MiB", False)])
def test_all_rows_far_below_the_limit_are_one_replay(limit, is_far_below, monkeypatch):
    """100 rows take 150 MiB."""
    played, asked = Played(lambda value: False), []
    monkeypatch.setattr(played, "rows", {"batch_size": 100}, raising=False)
    monkeypatch.setattr(played, "replay", lambda *a: (asked.append(a), Played.replay(played, *a))[-1])
    assert estimate_by(played).largest(limit) == 100
    assert (len(asked) == 1) == is_far_below


@pytest.fixture
def searching():
    """A search whose estimate says that up to 64 fit, and fewer to be sure."""
    search = Searching(train, "96 MiB", params={}, multiple_of=64)
    search.estimate = estimate_by(Played(lambda value: value > 64))
    search.estimate.trials, search.estimate.ooms = 2, 0
    return search


def test_a_value_that_only_the_cautious_prediction_refuses_is_tried(searching):
    assert searching.estimate.largest("96 MiB", sure=True) < 64
    assert searching._first() == 64


def test_after_an_oom_a_smaller_value_is_tried_whatever_was_predicted(searching):
    searching.estimate = estimate_by(Played(lambda value: True))
    searching._multiple_of = 1
    searching.history = [(64, labkit.Outcome("oom"))]
    assert searching._lower(64, labkit.Outcome("oom")) == 57


def proof(*step_peaks):
    """The outcome of a trial that fitted, with the peak in MiB until the end of each step."""
    peaks = [peak * MIB for peak in step_peaks]
    return labkit.Outcome("ok", peak_bytes=peaks[-1], step_peak_bytes=peaks)


def test_the_spread_is_what_the_peak_rose_by_in_the_second_half():
    assert spread(proof(10, 80, 80, 80)) == 0
    assert spread(proof(10, 80, 80, 83)) == 3 * MIB
    assert spread(proof(10, 40, 40, 80)) == 0  # other work began
    assert spread(labkit.Outcome("ok", peak_bytes=5)) == 0


def test_a_proof_that_leaves_less_than_its_spread_is_not_the_answer(searching):
    searching._multiple_of = 1
    searching.history = [(64, proof(80, 88, 89, 94))]  # of 96 MiB
    lower = searching._next()
    assert 55 < lower < 64
    searching.history.append((lower, proof(80, 85, 86, 87)))
    assert searching._lasting == lower
    assert searching._result(1.0).batch_size == lower


def test_where_a_proof_leaves_much_free_a_larger_value_is_tried_whatever_its_gaps(searching):
    searching.estimate = estimate_by(Played(lambda value: value > 15))  # a peak of 1.5 MiB for each unit
    searching._multiple_of = 1
    searching.history = [(15, proof(20, 22, 22, 22))]
    assert 55 < searching._next() <= 62
    searching.history.append((60, labkit.Outcome("oom")))
    assert searching._next() is None  # as was predicted
    searching.history = [(15, proof(70, 85, 86, 86))]
    assert searching._next() is None


def test_where_no_proof_leaves_its_spread_the_answer_says_so(searching):
    searching.history = [(64, proof(80, 88, 89, 94))]
    assert "a smaller value is safer" in searching._result(1.0).notes[-1]


def test_a_proof_of_short_epochs_trains_for_four():
    found = labkit.find_batch_size(train, memory_limit="96 MiB", maximum=64, kind="dense", feed="fit")
    assert len(found.proof.step_peak_bytes) == 16
    assert found.estimate.rows is None  # the function makes four batches, whatever their size
    assert found.proof.step_peak_bytes == sorted(found.proof.step_peak_bytes)


def test_where_not_even_one_fits_it_is_said_what_would_have_to_go(estimated):
    told = estimated.what_is_too_large("1 MiB")
    assert "would have to go. Predicted peak at batch_size 1" in told
    assert "Most is taken by conv2d" in told


def test_a_warning_of_every_trial_is_printed_once(capsys):
    def warned(batch_size):
        import warnings

        warnings.warn("an odd thing", stacklevel=1)
        print("a line")
        small(batch_size, kind="dense")

    small = train
    labkit.estimate(warned)
    printed = capsys.readouterr().out
    assert printed.count("UserWarning: an odd thing") == 1
    assert printed.count("a line") == 2


def test_no_batch_larger_than_the_rows_is_offered():
    def fixed_rows(batch_size):
        import keras
        import numpy as np

        model = keras.Sequential([keras.Input((64,)), keras.layers.Dense(4)])
        model.compile("adam", "mse")
        model.fit(np.ones((90, 64)), np.ones((90, 4)), batch_size=batch_size, verbose=0)

    estimated = labkit.estimate(fixed_rows)
    assert 90 <= estimated.rows < 98
    assert [point["batch_size"] for point in estimated.points((1, 4, 16))] == [8, 32]
    assert "128:" not in repr(estimated)
    assert estimated.plot()._repr_png_().startswith(b"\x89PNG")


def test_no_third_trial_is_made_where_hardly_anything_grows():
    def fixed(rows):
        normal(4)

    normal = normalized
    assert labkit.estimate(fixed, over="rows").further is None


def test_what_cannot_be_searched_is_refused():
    for options, said in [
        ({"maximum": 20, "multiple_of": 64}, "multiple_of=64"),
        ({"multiple_of": 8, "powers_of_two": True}, "not both"),
        ({"margin": 1}, "margin=1"),
        ({"maximum": 6}, r"at=\(3, 6\)"),
        ({"maximum": 1}, "nothing to search"),
        ({"maximum": 1e4}, "give integers"),
        ({"over": "rows"}, "missing a required argument"),
    ]:
        with pytest.raises(labkit.LabkitError, match=said):
            labkit.find_batch_size(train, memory_limit="96 MiB", **options)


def test_where_the_small_trials_do_not_fit_smaller_ones_are_made():
    limit = -(-labkit.run(train, batch_size=32).peak_bytes // MIB) * MIB
    found = labkit.find_batch_size(train, memory_limit=limit, at=(64, 128))
    assert found.batch_size >= 24
    assert found.estimate.at[1] < 128 and found.ooms == found.trials - len(found.history) - 2 > 0
    assert all(outcome.limit_bytes <= limit for _, outcome in found.history)
    with pytest.raises(labkit.LabkitError, match="Not even batch_size=1 fits"):
        labkit.find_batch_size(train, memory_limit="2 MiB", at=(1, 2), kind="dense")


def test_a_train_that_fails_at_the_candidate_is_named():
    def picky(batch_size):
        assert batch_size < 16, "no more than 16"
        small(batch_size, kind="dense")

    small = train
    with pytest.raises(labkit.LabkitError, match="no more than 16"):
        labkit.find_batch_size(picky, memory_limit="96 MiB")


def test_the_search_goes_down_after_a_size_that_does_not_fit():
    def more_in_full(batch_size):
        import keras
        import numpy as np
        import tensorflow as tf

        model = keras.Sequential([keras.Input((64,)), keras.layers.Dense(256), keras.layers.Dense(16)])
        model.compile("sgd", "mse")

        def begin(epoch, logs):  # small trials end in the first epoch
            return epoch == 2 and [tf.zeros((batch_size, 2**7)) for _ in range(16)]

        x, y = np.ones((4 * batch_size, 64), "float32"), np.ones((4 * batch_size, 16))
        later = keras.callbacks.LambdaCallback(on_epoch_begin=begin)
        model.fit(x, y, batch_size=batch_size, epochs=3, callbacks=[later], verbose=0)

    found = labkit.find_batch_size(more_in_full, memory_limit="16 MiB")
    assert found.ooms and dict(found.history)[found.batch_size].ok
    assert labkit.run(more_in_full, memory_limit="16 MiB", batch_size=found.batch_size).ok


def test_growth_in_two_dimensions_is_followed():
    def pictures(side):
        import keras
        import numpy as np

        model = keras.Sequential([keras.layers.Conv2D(16, 3), keras.layers.Flatten(), keras.layers.Dense(4)])
        model.compile("adam", "mse")
        for _ in range(3):
            model.train_on_batch(np.ones((8, side, side, 3), "float32"), np.ones((8, 4), "float32"))

    estimated = labkit.estimate(pictures, over="side", at=(16, 32))
    assert estimated.trials == 3
    assert estimated.peak_bytes(256) == pytest.approx(labkit.run(pictures, side=256).peak_bytes, rel=0.05)


def test_a_size_without_a_shape_may_be_that_of_a_square():
    formulas = Formulas([{"units": 64}, {"units": 128}])
    terms, _, confirmed = formulas.of((64 * 64, 128 * 128))
    assert terms == ((2,),) and confirmed
    assert formulas.values((64 * 64, 128 * 128), {"units": 2048}) == pytest.approx(2048**2)
    assert formulas.of((10, 20))[0] == ((1,),) and formulas.of((10, 30))[2] is False


def test_weights_that_grow_in_both_dimensions_are_followed_with_their_optimizer_state():
    def wide(units):
        import keras
        import numpy as np

        layers = [keras.layers.Dense(units), keras.layers.Dense(units), keras.layers.Dense(10)]
        model = keras.Sequential([keras.Input((200,)), *layers])
        model.compile("adam", "mse")
        model.fit(np.ones((320, 200)), np.ones((320, 10)), batch_size=32, verbose=0)

    estimated = labkit.estimate(wide, over="units", at=(64, 128))
    measured = labkit.run(wide, units=1024).peak_bytes  # itself 24.1 to 25.8 MB in ten runs on a busy machine
    assert 0.9 * measured < estimated.peak_bytes(1024) < 1.1 * measured  # along a straight line, 0.86 of it


def test_a_peak_under_a_limit_that_it_does_not_fit_is_the_peak_without(estimated):
    assert estimated.peak_bytes(512, "16 MiB") == estimated.peak_bytes(512) > 2**24
    assert not any("several dimensions" in note for note in estimated.notes)


def evaluating(batch_size, times, how="validation"):
    import keras
    import numpy as np

    hidden = [keras.layers.Dense(256, activation="relu") for _ in range(3)]
    model = keras.Sequential([keras.Input((8,)), *hidden, keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    x = np.ones((3 * times * batch_size, 8), "float32")
    y = np.ones((len(x), 1), "float32")
    larger = {"batch_size": times * batch_size, "verbose": 0}
    if how == "validation":
        more = {"validation_data": (x, y), "validation_batch_size": times * batch_size}
        model.fit(x[: 4 * batch_size], y[: 4 * batch_size], batch_size=batch_size, verbose=0, **more)
    else:
        model.fit(x[: 4 * batch_size], y[: 4 * batch_size], batch_size=batch_size, verbose=0)
        model.evaluate(x, y, **larger) if how == "evaluation" else model.predict(x, **larger)


@pytest.mark.parametrize("how", ["validation", "evaluation", "prediction"])
def test_what_follows_training_is_in_the_estimate_and_named(how):
    estimated = labkit.estimate(evaluating, times=16, how=how)
    assert estimated.moment == ("prediction" if how == "prediction" else "evaluation")
    assert f"{estimated.moment.capitalize()} needs more memory than training" in repr(estimated)
    measured = labkit.run(evaluating, times=16, how=how, batch_size=96).peak_bytes
    low, high = estimated.interval(96)
    assert low <= measured <= high
    assert estimated.peak_bytes(96) == pytest.approx(measured, rel=0.05)  # its batches are small: few holes


def test_where_training_is_the_peak_nothing_is_said_of_the_rest(estimated):
    assert estimated.moment == "training" and "needs more" not in repr(estimated)


def looping(batch_size, counts):
    import keras
    import tensorflow as tf

    made = []

    def rows():
        for number in range(1500):
            made.append(number)
            yield tf.zeros(64), tf.zeros(4)

    model = keras.Sequential([keras.Input((64,)), keras.layers.Dense(256), keras.layers.Dense(4)])
    optimizer = keras.optimizers.SGD()
    signature = (tf.TensorSpec((64,)), tf.TensorSpec((4,)))
    data = tf.data.Dataset.from_generator(rows, output_signature=signature)
    data = data.apply(tf.data.experimental.assert_cardinality(1500)).batch(batch_size)

    @tf.function
    def step(x, y):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((y - model(x, training=True)) ** 2)
        optimizer.apply(tape.gradient(loss, model.trainable_weights), model.trainable_weights)

    taken = 0
    for x, y in data:
        step(x, y)
        taken += 1
    with open(counts, "a") as file:
        file.write(f"{batch_size} {taken} {len(made)}\n")


def test_a_loop_over_tf_data_is_seen_with_its_rows_and_does_not_drain_it(tmp_path):
    counts = tmp_path / "counts"
    assert labkit.estimate(looping, counts=str(counts)).rows == 1500
    for line in counts.read_text().splitlines():
        batch_size, taken, made = map(int, line.split())
        assert taken == 1500 // batch_size + bool(1500 % batch_size)  # the loop goes on to its end
        assert made < 1500


def traced_slowly(batch_size):
    """Two trainings, the second traced for longer than `train` may be idle; few rows are evaluated."""
    import time
    from types import SimpleNamespace

    import keras
    import numpy as np

    from labkit.inside import steps

    passed = [0.0]

    class Slow(keras.layers.Layer):
        def call(self, x):
            passed[0] += 10 * steps.IDLE_SECONDS
            time.sleep(0.5)  # in which it is looked at several times
            return x

    clock = {"monotonic": lambda: time.monotonic() + passed[0], "perf_counter": time.perf_counter}
    steps.time = SimpleNamespace(**clock)
    x, y = np.ones((512, 64), "float32"), np.ones((512, 1), "float32")
    for layers in ([keras.layers.Dense(16)], [keras.layers.Dense(2048), Slow()]):
        model = keras.Sequential([*layers, keras.layers.Dense(1)])
        model.compile("sgd", "mse")
        model.fit(x[:64], y[:64], batch_size=8, verbose=0)
    model.evaluate(x, y, batch_size=batch_size, verbose=0)


def test_a_later_training_is_waited_for_while_it_is_traced_and_no_more_is_evaluated_than_there_is():
    estimated = labkit.estimate(traced_slowly, at=(16, 32))
    assert estimated.notes == []
    measured = labkit.run(traced_slowly, batch_size=2048)
    assert estimated.peak_bytes(2048) == pytest.approx(measured.peak_bytes, rel=0.1)


def test_what_waits_for_a_loop_cut_short_does_not_wait_through_the_next():
    def validating(batch_size):
        import keras
        import numpy as np

        model = keras.Sequential([keras.Input((32,)), keras.layers.Dense(32)])
        model.compile("sgd", "mse")
        x = np.ones((1000, 32), "float32")
        model.fit(x, x, batch_size=batch_size, validation_split=0.4, epochs=2, verbose=0)

    estimated = labkit.estimate(validating)
    assert estimated.rows == 600
    record = estimated._probes[-1][1].timeline.record
    batches = [record.ops[op].startswith("GatherV2") for op in record.allocations["op"]]
    begin, end = record.allocations["begin"], record.allocations["end"]
    phases = [at for at, kind in record.moments if kind in ("training", "evaluation")]
    assert len(phases) >= 4 and any(batches)
    for at in phases[1:]:
        assert not (batches & (begin < at) & ((end < 0) | (end > at))).any()


def test_the_number_of_tensors_that_a_loop_leaves_behind_is_followed():
    def recurrent(length):
        import keras
        import numpy as np

        layers = [keras.layers.Embedding(500, 32), keras.layers.GRU(32), keras.layers.Dense(1)]
        model = keras.Sequential([keras.Input((length,)), *layers])
        model.compile("adam", "mse")
        model.fit(np.ones((32, length)), np.ones(32), batch_size=16, verbose=0)

    estimated = labkit.estimate(recurrent, over="length", at=(16, 32))
    measured = labkit.run(recurrent, length=256).peak_bytes
    assert estimated.interval(256)[0] <= measured <= estimated.interval(256)[1]
    assert estimated.peak_bytes(256) == pytest.approx(measured, rel=0.12)


def test_evaluation_is_not_cut_to_the_rows_of_training():
    estimated = labkit.estimate(evaluating, times=4, how="evaluation")
    schedule = estimated._schedules[-1]
    assert not schedule._in_queue[np.isin(schedule._begun_in, EVALUATED)].any()


def test_training_again_and_again_is_told():
    def folds(batch_size):
        for _ in range(5):
            once(batch_size, kind="dense", feed="fit")

    once = train
    assert "only a few steps of the first 3 trainings" in labkit.estimate(folds).notes[-1]


def test_a_train_that_fails_after_its_shortened_loops_is_told():
    def picky(batch_size):
        import keras
        import numpy as np

        model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(1)])
        model.compile("adam", "mse")
        x = np.ones((8 * batch_size, 8))
        history = model.fit(x, x[:, :1], batch_size=batch_size, epochs=5, verbose=0)
        print(history.history["loss"][4])

    assert "IndexError" in labkit.estimate(picky).notes[-1]
    assert "IndexError" in labkit.try_fixes(picky, batch_size=8, fixes=[]).notes[-1]


def test_memory_that_does_not_depend_on_the_parameter_is_said_to():
    def fixed(batch_size):
        train_small(batch_size=4, kind="dense")

    train_small = train
    estimated = labkit.estimate(fixed)
    assert repr(estimated) == "\n".join(estimated.notes) and estimated.notes[0].startswith(
        "Nothing in memory"
    )
    answers = [
        lambda: estimated.peak_bytes(64),
        lambda: estimated.interval(64),
        lambda: estimated.layers(64),
        estimated.plot,
        lambda: estimated.largest("64 MiB"),
        lambda: labkit.find_batch_size(fixed, memory_limit="64 MiB"),
    ]
    for answer in answers:
        with pytest.raises(labkit.LabkitError, match="Nothing in memory grows with batch_size"):
            answer()


def test_a_dropout_rate_is_not_answered_with_a_number():
    def dropping(rate):
        import keras
        import numpy as np

        model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(64), keras.layers.Dropout(rate)])
        model.compile("adam", "mse")
        model.fit(np.ones((64, 8)), np.ones((64, 64)), verbose=0)

    estimated = labkit.estimate(dropping, over="rate", at=(0.2, 0.4))
    with pytest.raises(labkit.LabkitError, match="Nothing in memory grows with rate"):
        estimated.peak_bytes(0.5)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"at": (4, 4)}, "two different"),
        ({"at": 4}, "two different"),
        ({"over": "nothing"}, "batch_size"),
        ({"batch_size": 4}, "fixed value"),
    ],
)
def test_what_cannot_be_estimated_is_refused(options, said):
    with pytest.raises(labkit.LabkitError) as raised:
        labkit.estimate(train, **options)
    assert said in str(raised.value)


def test_a_train_that_fails_or_does_not_train_is_named():
    with pytest.raises(labkit.LabkitError, match="ZeroDivisionError"):
        labkit.estimate("1 / 0")
    with pytest.raises(labkit.LabkitError, match="No training step"):
        labkit.estimate("import keras; keras.ops.zeros(batch_size)")


class Shown:
    """A `show` that stops what it is shown at a chosen trial."""

    def __init__(self, stop_at=None):
        self.begun, self.ended, self.running, self._stop_at = [], 0, None, stop_at

    def begin(self, value, done, total, doing):
        self.begun.append((value, done, total))
        if value == self._stop_at:
            self.running.stop()

    def output(self, text):
        pass

    status = waiting = output

    def progress(self, seconds, **sample):
        pass

    def close(self):
        pass

    def end(self):
        self.ended += 1


def in_a_thread(work):
    caught = []

    def kept():
        try:
            caught.append(work())
        except labkit.LabkitError as e:
            caught.append(e)

    thread = threading.Thread(target=kept)
    thread.start()
    thread.join(300)
    return caught[0]


def test_an_estimate_runs_in_a_thread_and_tells_of_its_trials():
    show = Shown()
    found = in_a_thread(Estimating(train, (4, 8), "batch_size", show, params={}).run)
    assert found.peak_bytes(64) > found.measured[8]
    assert (show.begun, show.ended) == ([(4, 0, 2), (8, 1, 2)], 1)


@pytest.mark.parametrize("stop_at", [4, 8])
def test_a_stopped_estimate_says_so(stop_at):
    show = Shown(stop_at)
    show.running = Estimating(train, (4, 8), "batch_size", show, params={"kind": "dense"})
    assert isinstance(in_a_thread(show.running.run), Stopped)
    assert show.begun[-1][0] == stop_at and show.ended == 1


def test_a_search_is_stopped_while_it_proves():
    show = Shown(stop_at=20)
    show.running = Searching(train, "96 MiB", "batch_size", show, maximum=20, params={"kind": "dense"})
    assert isinstance(in_a_thread(show.running.run), Stopped)
    assert show.begun == [(4, 0, 2), (8, 1, 2), (20, 2, None)]
    assert show.running.history == [] and show.running.estimate.largest("96 MiB") > 20


def test_an_interrupt_ends_the_search_and_its_trial():
    sleepy = "import time; print('now', flush=True); time.sleep(60)"

    class Interrupting(Shown):
        def output(self, text):
            signal.raise_signal(signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # shells start "&" without one
    try:
        with pytest.raises(Stopped):
            Searching(sleepy, "96 MiB", "batch_size", Interrupting(), params={}).run()
    finally:
        signal.signal(signal.SIGINT, before)
    assert labkit.run("1").ok


def passed_on(made):
    """What Shortening passes on of an epoch: Keras 3.10 yields pairs, later versions triples."""
    from labkit.inside.steps import Shortening

    shortening = Shortening(3, None, None)
    return list(shortening._around_epoch(lambda epochs: iter(made), None))


@pytest.mark.parametrize(
    "made", [[(0, "iterator"), (1, "iterator")], [(0, 0, "iterator"), (1, 1, "iterator")]]
)
def test_an_epoch_is_followed_in_each_version_of_keras(made):
    assert labkit.run(passed_on, made=made).result == made


def of_workers(batch_size=8):
    import keras
    import numpy as np

    class Rows(keras.utils.PyDataset):
        def __len__(self):
            return 96 // batch_size

        def __getitem__(self, index):
            return np.ones((batch_size, 256), "float32"), np.ones((batch_size, 1), "float32")

    model = keras.Sequential([keras.layers.Dense(512, activation="relu"), keras.layers.Dense(1)])
    model.compile("adam", "mse")
    model.fit(Rows(workers=2), epochs=3, validation_data=Rows(workers=2), verbose=0)
    model.predict(np.ones((64, 256), "float32"), verbose=0)


def test_a_dataset_with_workers_goes_on_after_an_epoch_cut_short():
    assert not any("ended with" in note for note in labkit.estimate(of_workers).notes)


def cached(batch_size=4, kept="memory"):
    import tempfile

    import keras
    import numpy as np
    import tensorflow as tf

    rows = tf.data.Dataset.from_tensor_slices(np.ones((512, 64), "uint8")).batch(batch_size)
    data = rows.map(lambda x: (tf.cast(x, "float32"), tf.zeros(tf.shape(x)[0])))
    with tempfile.TemporaryDirectory() as folder:
        data = {"memory": data.cache, "file": lambda: data.cache(f"{folder}/kept"), "": lambda: data}[kept]()
        model = keras.Sequential([keras.layers.Dense(8), keras.layers.Dense(1)])
        model.compile("sgd", "mse")
        model.fit(data, epochs=2, verbose=0)


@pytest.mark.parametrize("kept", ["memory", "file", ""])
def test_a_cache_that_small_trials_do_not_fill_is_told(kept):
    notes = labkit.estimate(cached, kept=kept).notes
    assert any("cache() keeps all that the first epoch makes" in note for note in notes) == (kept == "memory")


@pytest.mark.parametrize(("error", "why"), [(TrialDidNotFit, "did not fit"), (labkit.LabkitError, "failed")])
def test_a_further_trial_that_shows_nothing_is_told_in_one_line(error, why):
    def probe(point, total):
        raise error(f"Not even {point} fits\nand so on")

    estimate = SimpleNamespace(further=79, notes=[], add_further=None)
    Estimating._look_further(SimpleNamespace(over="size", _probe=probe, _made=2), estimate)
    assert estimate.notes == [f"Predictions beyond size=79 are less certain: the trial there {why}."]
