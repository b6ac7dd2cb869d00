"""The labs from code: real trials, the chart that they make, and everything one can do wrong."""

import base64
import json
import re
import sys
import tempfile
import threading
import time
import zlib
from pathlib import Path
from types import SimpleNamespace
from typing import Literal

import numpy as np
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_processes import living

import labkit
from labkit.outcome import Outcome
from labkit.trials.series import Series
from labkit.widgets import BatchSizeLab, LogDoctor, MemoryGauge, TimelineView, log_doctor, memory_gauge
from labkit.widgets.memory_gauge import _held, _own_tensorflow
from labkit.widgets.parts import runs, saved, swept
from labkit.widgets.parts.chart import trials_data
from labkit.widgets.parts.controls import spaced

PLANE = {"over": ("batch_size", "width"), "smallest": (8, 64), "largest": (64, 128)}


def train(batch_size=32, width: int = 64, activation: Literal["relu", "gelu"] = "relu", steps=2, also=None):
    import keras
    import numpy as np

    model = keras.Sequential([keras.layers.Dense(width, activation=activation), keras.layers.Dense(1)])
    model.compile("adam", "mse")
    for step in range(steps):
        print("step", step)
        model.train_on_batch(np.zeros((batch_size, 1024), "float32"), np.zeros(batch_size))


def policy(batch_size, seen=None):
    import keras

    print("asked for its policy")
    return keras.config.dtype_policy().name


def wait_for(true, seconds=180):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def lab():
    """Two runs: one that is estimated and ends out of memory, one recorded under another activation."""
    lab = BatchSizeLab(train, memory_limit="24 MiB", smallest=1024, largest=8192)
    lab.run()
    lab._swept.range.value = (1024, 2048)
    return lab.run(activation="gelu", estimate=False, timelines=True)


def test_a_lab_can_be_drawn_while_its_next_run_is_estimated(lab):
    waiting = lab._swept.run(lab.series[0].settings, lab.series[0].limit)
    memory, _ = lab._swept.plot([*lab.series, waiting]).axes
    before, _ = lab.plot().axes
    assert [line.get_label() for line in memory.lines] == [line.get_label() for line in before.lines]
    assert lab._swept.data([*lab.series, waiting], None)["summary"]


def test_run_measures_what_the_controls_say(lab):
    first, second = lab.series
    assert [value for value, _ in second.tried] == [1024, 2048]
    assert second.tried[0][1].params["activation"] == "gelu"
    assert first.sweep[-1].status == "oom" and first.sweep.frontier in (2048, 4096)
    assert {"activation gelu", "24.0 MiB"} <= set(second.settings.values())


def test_chart_is_drawn_from_the_outcomes(lab):
    data = lab._chart.data
    assert data["limits"] == [24 * 2**20] and data["over"] == "batch_size"
    for run, drawn in zip(lab.series, data["runs"], strict=True):
        assert [trial["value"] for trial in drawn["trials"]] == [value for value, _ in run.tried]
        assert [trial["peak"] for trial in drawn["trials"]] == [o.peak_bytes for _, o in run.tried]
        assert [trial["ok"] for trial in drawn["trials"]] == [o.ok for _, o in run.tried]
        assert (
            drawn["result"] == f"batch_size {run.sweep.frontier} fits" and drawn["result"] in data["summary"]
        )
    failed = data["runs"][0]["trials"][-1]
    assert "out of memory" in failed["ended"] and failed["limit"] == 24 * 2**20
    assert data["ticks"] == [1024, 2048, 4096, 8192]


def test_a_legend_says_what_differs_and_the_result_first(lab):
    first, second = lab._chart.data["runs"]
    assert first["text"].startswith(" · activation relu") and second["text"].startswith(" · activation gelu")
    common = "All runs: 24.0 MiB, float32, width 64, steps 2 · dotted: estimate"
    assert lab._chart.data["common"] == common
    legend = [text.get_text() for text in lab.plot().legends[0].get_texts()]
    assert legend[1] == "run 2: batch_size 2048 fits · activation gelu"


NAMES = st.sampled_from(["memory limit", "precision", "width", "steps"])
SETTINGS = st.dictionaries(NAMES, st.sampled_from(["a", "b"]))


@given(st.lists(SETTINGS, min_size=1, max_size=5))
def test_runs_are_told_apart_by_all_that_differs_and_by_nothing_else(settings):
    texts = [{name: f"{name} {value}" for name, value in sorted(one.items())} for one in settings]
    told = [runs.Run(one, None, None) for one in texts]
    for one, difference in zip(texts, runs.differences(told), strict=True):
        shared = runs.common(told).partition(": ")[2]
        said = [*filter(None, difference.split(", ")), *filter(None, shared.split(", "))]
        assert sorted(said) == sorted(one.values())
    alike = {text for text in runs.differences(told)}
    assert len(alike) == len({tuple(sorted(one.items())) for one in texts})


def test_a_slow_training_has_a_speed():
    slow = labkit.Outcome("ok", samples_per_second=0.42)
    run = runs.Run({}, SimpleNamespace(over="batch_size", tried=[(4, slow)], summary=""), None)
    assert runs.rows([run])[0]["samples/s"] == "0.42"
    [trial] = trials_data([run], "batch_size", [4])["runs"][0]["trials"]
    assert ["samples/s", "0.42"] in trial["facts"]


def test_a_trial_that_ends_while_the_chart_is_drawn_is_drawn():
    class Growing(runs.Run):
        tried = property(lambda self: self.sweep.append((len(self.sweep), Outcome("ok"))) or [*self.sweep])
        result = ""

    drawn = trials_data([Growing({}, [], None), Growing({}, [], None)], "batch_size", [])["runs"]
    trials = [trial["index"] for run in drawn for trial in run["trials"]]
    assert len(trials) > 2 and trials == list(range(1, len(trials) + 1))


def test_table_has_every_trial(lab):
    trials = sum(len(one.tried) for one in lab.series)
    assert lab._table.value.count("<tr>") == trials + 1
    assert len(repr(lab).splitlines()) == trials + 1
    assert labkit.format_size(lab.series[1].sweep[0].peak_bytes) in repr(lab)


def test_explain_shows_the_failure_with_its_map(lab):
    lab.explain()
    assert "out of memory" in lab._detail.value and 'alt="memory map at the failure"' in lab._detail.value
    assert lab._pick.value == (0, len(lab.series[0].tried) - 1)
    before = lab._chart.revealed
    lab.explain()
    assert lab._chart.revealed > before  # the page goes there once more


def test_measured_points_land_on_the_estimate(lab):
    first = lab.series[0]
    assert set(first.predicted) == {1024, 2048, 4096, 8192}
    for value, outcome in first.tried:
        assert not outcome.ok or outcome.peak_bytes == pytest.approx(first.predicted[value], rel=0.15)
    assert first.predicted[8192] > first.limit
    assert [bool(dict(run["predicted"])) for run in lab._chart.data["runs"]] == [True, False]
    assert '<th scope="col">estimate' in lab.table()


def test_a_chosen_trial_stays_as_it_is_while_others_end(faked):
    def trial(show, value, options):
        if value == 2 and not lab.series[1:]:
            lab._pick.value = (0, 0)  # by a reader, while the second trial runs
        return Outcome("ok", peak_bytes=value * 2**20)

    faked(trial)
    lab, drawn = BatchSizeLab(train, smallest=1, largest=8), []
    lab._detail.observe(lambda change: drawn.append(change["new"]), "value")
    lab.run(estimate=False)
    assert lab._pick.value == (0, 0) and len(lab._pick.options) == 5
    assert lab._chart.revealed == len(drawn) == 1 and lab._chart.chosen == 1
    Estimate(lab, notes=["It is in doubt."])
    assert "It is in doubt." in lab.run(estimate=True)._detail.value and lab._pick.value == (0, 0)
    lab._pick.value = (0, 1)
    assert "2.00 MiB" in lab._detail.value
    lab.clear()
    assert lab._detail.value == "" and lab._pick.label == "no trial"


def test_a_trial_chosen_in_the_chart_is_shown_and_the_other_way_round(lab):
    drawn = [trial for run in lab._chart.data["runs"] for trial in run["trials"]]
    assert [trial["index"] for trial in drawn] == list(range(1, len(lab._pick.options)))
    lab._chart.chosen = len(drawn)
    assert lab._pick.value == (1, 1) and lab._detail.value.count("it fits") == 1
    before = lab._chart.revealed
    lab._pick.value = (0, 0)
    assert lab._chart.chosen == 1 and lab._chart.revealed == before + 1


def test_the_timeline_of_a_chosen_trial_is_drawn(lab):
    lab._pick.value = (1, 1)
    [drawn] = json.loads(zlib.decompress(base64.b64decode(lab._timeline.data)))["timelines"]
    assert drawn["label"] == "batch_size 2048"
    assert 'class="labkit-picture"' in lab._detail.value
    lab._pick.value = (0, 0)
    assert lab._timeline.data == ""


def test_what_does_not_train_has_no_estimate_and_is_swept_all_the_same(capsys):
    lab = BatchSizeLab(policy, smallest=1, largest=2).run()
    assert "No estimate." in lab._detail.value
    assert len(lab.series[0].tried) == 2 and not lab.series[0].predicted
    assert "asked for its policy" in lab._printed.value  # and nowhere else
    assert capsys.readouterr().out == ""
    lab.clear()
    assert lab.series == [] and "No trial" in repr(lab) and lab._pick.label == "no trial"


@pytest.mark.parametrize(
    ("options", "values"),
    [
        ({"smallest": 8, "largest": 16}, [8, 16]),
        ({"over": ("batch_size", "length"), "smallest": (8, 4), "largest": (16, 8)}, [(8, 4)]),
    ],
)
def test_a_run_is_what_the_controls_said_when_it_began(options, values):
    """Controls that are moved during the estimate, which takes many seconds, are for the next run."""

    class Estimate:
        notes, rows = [], None

        def run(self):
            lab.set(width=512, repeats=2, timelines=True)
            for control in lab._swept.controls:
                control.value = (32, 64) if isinstance(control.value, tuple) else "even steps"
            return self

        def frontier(self, limit, seconds):
            return dict.fromkeys(seconds)

        def peak_bytes(self, value=None, memory_limit=None, **others):
            return 2**30

        def largest(self, limit):
            return None

    lab = BatchSizeLab(lambda batch_size, length=4, width=128: None, memory_limit="64 MiB", **options)
    lab._swept.estimating = lambda *given, **options: Estimate()
    sweep, made = lab._swept.sweep, []

    def swept(run, *given, **options):
        made.append((run, sweep(run, *given, **options), options))
        made[0][1]._left.clear()
        return made[0][1]

    lab._swept.sweep = swept
    lab.run()
    [(run, sweep, options)] = made
    assert run.settings["width="] == "width 128" and options["params"]["width"] == 128
    assert sweep.values == values and set(run.predicted) >= set(values) and not options["profile"]


@pytest.fixture
def faked(monkeypatch):
    """Have trials be calls of a function of (show, value, further options) that returns an Outcome."""

    def fake(trial):
        def made(series, value, options):
            return SimpleNamespace(run=lambda: trial(series.show, value, options), stop=lambda: None)

        monkeypatch.setattr(Series, "_trial", made)

    return fake


@pytest.mark.parametrize("options", [{"smallest": 8, "largest": 16}, PLANE])
def test_an_interrupt_of_the_estimate_ends_the_run(faked, options):
    ran = []

    def interrupted(show, value, options):
        ran.append(value)
        return Outcome("stopped")

    faked(interrupted)
    lab = BatchSizeLab(train, memory_limit="64 MiB", **options).run()
    assert len(ran) == 1 and lab.series == [] and lab._detail.value == ""


class Estimate:
    """What a lab estimates from, without trials: each sample takes a MiB.

    asked   called before each prediction
    """

    rows = None

    def __init__(self, lab, notes=(), asked=lambda: None):
        self.notes, self._asked, self._swept = notes, asked, lab._swept
        lab._swept.estimating = self._begin

    def _begin(self, run, train, divides, show, **options):
        self._show, self._smallest = show, self._swept.smallest(run)
        return self

    def run(self):
        self._show.begin(self._smallest, 0, 2, "estimating")
        self._show.end()
        return self

    def stop(self):
        pass

    def peak_bytes(self, value=None, memory_limit=None, batch_size=None, **others):
        self._asked()
        return (value or batch_size) * 2**20

    def largest(self, limit):
        self._asked()
        return limit // 2**20


def test_the_output_of_trials_is_that_of_the_last_run(faked):
    said = ["hello", "", "bye"]

    def trial(show, value, options):
        show.output(said[len(lab.series) - 1])
        return Outcome("ok")

    faked(trial)
    lab, shown = BatchSizeLab(train, smallest=1, largest=2).set(estimate=False), []
    for _ in said:
        shown.append(lab.run()._printed.value)
    assert shown == ["<pre>hellohello</pre>", "", "<pre>byebye</pre>"]
    lab.clear()
    assert lab._printed.value == ""


def test_a_lab_says_that_it_predicts_and_heeds_stop_meanwhile(faked):
    faked(lambda show, value, options: Outcome("ok", peak_bytes=value * 2**20))
    lab, seen = BatchSizeLab(train, memory_limit="64 MiB", smallest=8, largest=32), []
    Estimate(lab, asked=lambda: seen.append(lab._gauge.value))
    lab.run()
    assert len(seen) == 4 and len(lab.series[0].tried) == 3
    assert all("predicting the peaks" in text for text in seen[:3]) and "that fits" in seen[3]
    Estimate(lab, asked=lambda: (seen.append("again"), lab.stop()))
    lab.run()
    assert seen[4:] == ["again"] and len(lab.series) == 1


def test_stop_ends_an_estimate_and_nothing_else_is_run():
    lab = BatchSizeLab(train, smallest=8, largest=64, steps=10**9)
    lab.start()
    wait_for(lambda: "estimating" in lab._gauge.value)
    wait_for(lambda: re.search(r"[\d.]+ MiB of host memory", lab._gauge.value))
    lab.stop()
    wait_for(lambda: not lab.running)
    assert lab.series == [] and lab._detail.value == ""


def test_a_run_without_trials_is_not_in_the_figure(faked):
    def trial(show, value, options):
        drawn.append(lab.plot())
        return Outcome("ok", peak_bytes=value * 2**20, limit_bytes=2**26)

    faked(trial)
    lab, drawn = BatchSizeLab(train, smallest=8, largest=16).set(estimate=False), []
    lab.run().run()
    assert drawn[0] is None
    assert [len(figure.legends) for figure in drawn[1:]] == [0, 0, 1]  # a legend tells two runs apart


def test_static_picture_holds_both_runs(lab):
    memory, speed = lab.plot().axes
    assert sum(line.get_marker() in ("o", "s") for line in memory.lines) == 2
    assert len(speed.lines) == 2


def test_stop_ends_a_trial_at_once_and_leaves_no_process():
    lab = BatchSizeLab(train, smallest=1, largest=2, steps=10**9)
    lab.start()
    lab.start()  # a second press does nothing
    wait_for(lambda: "step" in lab._gauge.value)
    trial = psutil.Process().children(recursive=True)
    lab.stop()
    wait_for(lambda: not lab.running, 60)  # the trial itself would go on for longer
    assert lab.series == [] and not lab._run_button.disabled
    assert len(living(trial)) <= 2  # the launcher, and Python's own resource tracker


def test_closing_the_widget_stops_the_sweep():
    lab = BatchSizeLab(train, smallest=1, largest=2, steps=10**9)
    lab.start()
    wait_for(lambda: "step" in lab._gauge.value)
    lab.widget.close()
    wait_for(lambda: not lab.running, 60)


def test_run_refuses_while_it_runs():
    lab = BatchSizeLab(train, smallest=1, largest=2, steps=10**9)
    lab.start()
    with pytest.raises(labkit.LabkitError, match="already running"):
        lab.run()
    lab.stop()
    wait_for(lambda: not lab.running)


def test_it_draws_at_most_five_times_a_second():
    lab = BatchSizeLab(train, smallest=1, largest=2, steps=10**9)
    seen = []
    lab._gauge.observe(lambda change: seen.append(time.monotonic()), "value")
    lab.set(estimate=False).start()
    wait_for(lambda: "step" in lab._gauge.value)
    seen.clear()
    start = time.monotonic()
    wait_for(lambda: len(seen) > 8)
    count, seconds = len(seen), time.monotonic() - start
    lab.stop()
    wait_for(lambda: not lab.running)
    assert count <= 5 * seconds + 1


def product(batch_size, width):
    """A training step that is traced in no time."""
    import keras
    import tensorflow as tf

    weights, optimizer = tf.Variable(tf.zeros((1024, width))), keras.optimizers.SGD()

    @tf.function
    def step(x):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(x @ weights)
        optimizer.apply(tape.gradient(loss, [weights]), [weights])

    for _ in range(2):
        step(tf.zeros((batch_size, 1024)))


@pytest.fixture(scope="module")
def plane():
    return BatchSizeLab(
        product, over=("batch_size", "width"), smallest=(256, 64), largest=(8192, 128), memory_limit="24 MiB"
    ).run()


def test_a_map_is_predicted_and_points_of_its_frontier_are_run(plane):
    [run] = plane.series
    assert run.grid == [[256, 512, 1024, 2048, 4096, 8192], [64, 128]]
    assert {(first, second) for first in run.grid[0] for second in run.grid[1]} <= set(run.predicted)
    assert [value for value, _ in run.tried] == run.points
    below, above = run.points[::2], run.points[1::2]
    assert below == [(largest, second) for second, largest in run.frontier.items()]
    assert all(first >= 1.05 * run.frontier[second] for first, second in above)
    assert [outcome.status for _, outcome in run.tried] == ["ok", "oom", "ok", "oom"]
    for value, outcome in run.tried:
        assert (outcome.params["batch_size"], outcome.params["width"]) == value
        assert not outcome.ok or outcome.peak_bytes == pytest.approx(run.predicted[value], rel=0.05)
    assert run.result == "4 of 4 trials as predicted"


def test_a_map_is_told_in_words_too(plane):
    run, data = plane.series[0], plane._chart.data
    said = f"width 64: up to batch_size {run.frontier[64]} (measured: {run.frontier[64]} it fits, "
    assert data["summary"].startswith(said) and said in plane.table()
    assert 'largest batch_size</th><th scope="col">batch_size 256</th>' in plane.table()
    assert {trial["name"] for trial in data["runs"][0]["trials"]} == {
        f"batch_size {first}, width {second}" for first, second in run.points
    }
    assert len(data["cells"]) == 12 and data["waiting"] == []
    plane.explain()
    assert "out of memory" in plane._detail.value and "batch_size" in plane._pick.label


def test_the_picture_of_a_map_has_its_frontier_and_its_trials(plane):
    [axes] = plane.plot().axes
    drawn = {line.get_label(): list(zip(*line.get_data(), strict=True)) for line in axes.lines}
    run = plane.series[0]
    assert drawn["predicted frontier: what fits is below"] == list(run.frontier.items())
    assert drawn["run: it fits"] == [(second, first) for (first, second), o in run.tried if o.ok]
    assert drawn["run: it did not fit, or failed"] == [
        (second, first) for (first, second), o in run.tried if not o.ok
    ]


def test_a_map_can_be_stopped_while_it_is_predicted():
    lab = BatchSizeLab(product, memory_limit="24 MiB", **PLANE)
    say, said = lab._say, []
    lab._say = lambda text: (said.append(text), lab.stop(), say(text))[-1]
    lab.run()
    assert said == ["predicting what fits at width 64, 1 of 2"] and lab.series == []
    assert lab.plot() is None and lab._detail.value == ""


class MapEstimate(Estimate):
    """Of a batch_size and a width: each of a batch takes a MiB."""

    def frontier(self, limit, seconds):
        return dict.fromkeys(seconds, limit // 2**20)

    def largest_by_peak(self, limit, least, **others):
        return least


def test_a_map_without_trials_says_so_once_its_run_has_ended(faked):
    def trial(show, value, options):
        drawn.append(lab._chart.data["runs"][0]["result"])
        return Outcome("stopped")

    faked(trial)
    lab, drawn = BatchSizeLab(train, memory_limit="32 MiB", **PLANE), []
    MapEstimate(lab)
    lab.run()
    assert drawn == ["running"] and lab._chart.data["runs"][0]["result"] == "no trial was run"
    assert lab.plot().get_suptitle() == "predicted peaks, and what fits 32.0 MiB"


@pytest.mark.parametrize(
    ("below", "above", "right"),
    [("ok", "oom", 2), ("oom", "ok", 0), ("ok", "error", 1), ("timeout", "oom", 1), ("crashed", "killed", 0)],
)
def test_only_what_fits_or_runs_out_of_memory_can_be_as_predicted(below, above, right):
    tried = [((8, 64), Outcome(below)), ((9, 64), Outcome(above))]
    predicted, sweep = {(8, 64): 2**20, (9, 64): 2**22}, SimpleNamespace(tried=tried)
    run = runs.MapRun({}, sweep, 2**21, predicted, {64: 8}, [[8], [64]], [(8, 64), (9, 64)])
    assert run.result == f"{right} of 2 trials as predicted"


@pytest.mark.parametrize(
    ("ends", "limit", "points"),
    [
        ((1, 8), 0, [(2, 64)]),  # nothing fits: the smallest, which is divided by 2
        ((5, 9), 0, [(6, 64)]),
        ((5, 9), 100, [(8, 128)]),  # all fit: the largest
        ((1, 32), 13, [(12, 64), (14, 64), (12, 128), (14, 128)]),
    ],
)
def test_batches_that_are_divided_can_be(ends, limit, points):
    plane = swept.swept(("batch_size", "width"), *zip(ends, (64, 128), strict=True))
    run = plane.run({}, 2**30)
    estimate = SimpleNamespace(
        rows=None,
        frontier=lambda _, seconds: dict.fromkeys(seconds, limit),
        largest_by_peak=lambda _, least, **others: least,
        peak_bytes=lambda **others: 1,
    )
    plane.predict(run, estimate, 2, lambda text: False)
    assert run.points == points
    assert swept._small(ends[0], 2)[0] % 2 == 0


def test_a_map_without_a_limit_is_refused():
    lab = BatchSizeLab(train, **PLANE).run()
    assert "Choose a memory limit" in lab._detail.value and lab.series == []


def test_a_map_of_code_that_fails_says_why_it_fails():
    lab = BatchSizeLab("no_such_name", memory_limit="24 MiB", **PLANE).run()
    assert "no_such_name" in lab._detail.value and lab.series == []


def test_a_lab_without_a_folder_or_with_a_fault_of_its_own_says_so(monkeypatch):
    lab = BatchSizeLab(train, memory_limit="24 MiB", smallest=8, largest=16)
    with monkeypatch.context() as patch:
        patch.setattr(tempfile, "tempdir", None)
        patch.setattr(tempfile, "_candidate_tempdir_list", lambda: ["/nonexistent"])
        assert "set TMPDIR to another folder" in lab.run()._detail.value
    monkeypatch.setattr(lab, "_run", lambda folder: 1 / 0)
    assert "ZeroDivisionError" in lab.run()._detail.value and not lab.running


def test_above_the_frontier_no_order_of_ops_fits(plane):
    """What may fit lies between the two points of a length: its peak fits, gaps and orders may not."""
    [run] = plane.series
    for second, largest in run.frontier.items():
        above = max(first for first, other in run.points if other == second)
        assert run.expected((largest, second)) == "it fits"
        assert run.expected((above, second)) == "it does not fit"
        run.predicted[largest + 1, second] = run.limit
        assert run.expected((largest + 1, second)).startswith("it may fit")


def test_precision_is_set_before_train_runs():
    lab = BatchSizeLab(policy, smallest=1, largest=2)
    lab._precision.value = "mixed_float16"
    assert lab.run(estimate=False).series[0].sweep[0].result == "mixed_float16"
    assert lab.series[0].settings["precision"] == "mixed_float16"


def fitted(batch_size=32, depth=1):
    import keras
    import numpy as np

    X, y = np.zeros((16384, 512), "float32"), np.zeros((16384, 1), "float32")
    hidden = [keras.layers.Dense(256, activation="relu") for _ in range(depth)]
    model = keras.Sequential([*hidden, keras.layers.Dense(1)])
    model.compile("adam", "mse")
    model.fit(X, y, batch_size=batch_size, verbose=0)


def test_fixes_are_swept_and_told_apart():
    lab = BatchSizeLab(fitted, memory_limit="64 MiB", smallest=63, largest=126)
    lab.run(estimate=False)
    fixes = {"input_pipeline": "batches from a PyDataset", "accumulation": "2 smaller batches, accumulated"}
    lab.run(estimate=True, **fixes)
    plain, streamed = lab.series
    staged = 16384 * 512 * 4
    peak = {value: outcome.peak_bytes for value, outcome in plain.tried}
    [(value, outcome)] = streamed.tried
    assert value == 126  # 63 cannot be halved
    # without the array; how many batches of its 131 are made ahead depends on the machine
    assert peak[value] - outcome.peak_bytes > 0.75 * staged
    assert outcome.peak_bytes == pytest.approx(streamed.predicted[value], abs=staged / 4)
    told = lab._chart.data["runs"][1]["text"]
    assert "batches from a PyDataset" in told and "accumulated" in told
    assert lab._fixes_title().startswith("Fixes: batches from a PyDataset")


def test_a_fix_that_cannot_be_applied_says_why_and_nothing_is_run():
    lab = BatchSizeLab(train, smallest=8, largest=16).run(input_pipeline="batches from tf.data")
    assert lab.series == [] and "a loop of its own" in lab._detail.value


def test_after_a_fix_was_refused_nothing_is_said_to_be_running(faked):
    def trial(show, value, options):
        show.progress(3.2, steps=3)
        return Outcome("ok")

    faked(trial)
    lab = BatchSizeLab(train, smallest=8, largest=16).run(optimizer="Lion")
    assert "a loop of its own" in lab._detail.value and "Nothing is running." in lab._gauge.value


def test_a_parameter_of_train_takes_the_place_of_the_knob():
    lab = BatchSizeLab(lambda batch_size, optimizer="adam": None, smallest=1, largest=2)
    assert "optimizer" not in lab._fixes and lab.set(optimizer="sgd")._controls["optimizer"].value == "sgd"


def test_what_is_said_of_an_old_copy_stays_while_trials_are_shown():
    lab = BatchSizeLab(policy, smallest=1, largest=2)
    lab._chart.page = "one page"
    assert lab._note.value == ""
    lab._chart.page = "another"
    lab._draw_detail()
    assert "opened again" in lab._note.value


def test_controls_can_be_set_from_code():
    lab = BatchSizeLab(train, memory_limit="24 MiB", smallest=1, largest=2)
    lab.set(memory_limit="37 MiB", precision="mixed_float16", width=7, activation="gelu", repeats=2)
    assert list(lab._settings().values()) == [
        "37.0 MiB",
        "mixed_float16",
        "width 7",
        "activation gelu",
        "steps 2",
    ]
    assert lab.set(memory_limit=None)._settings()["memory limit"] == "no limit"


def test_a_list_that_is_the_parameters_own_default_is_passed_as_it_is():
    def stacked(batch_size, units=[64, 32]):  # noqa: B006
        pass

    assert BatchSizeLab(stacked)._options()["params"] == {"units": [64, 32]}
    assert BatchSizeLab(stacked, units=[[64], [64, 32]])._options()["params"] == {"units": [64]}


def test_choices_may_be_tuples():
    lab = BatchSizeLab(train, smallest=1, largest=2, width=[64, 128], also=[(32,), (32, 64)])
    assert lab.set(also=(32, 64))._controls["also"].value == (32, 64)


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"depth": 3}, "no control 'depth'; the controls are memory_limit, precision"),
        ({"also": 3}, "no control 'also'"),
        ({"activation": "tanh"}, "activation='tanh' is not a valid value; choose from relu, gelu"),
        ({"activation": ("relu", "gelu")}, "is not a valid value; choose from relu, gelu"),
        ({"width": "wide"}, "width='wide' is not a valid value"),
        ({"repeats": 0}, "repeats=0 is not a valid value"),
        ({"memory_limit": "lots"}, "lots"),
    ],
)
def test_what_a_control_cannot_take_is_refused(settings, complaint):
    with pytest.raises(labkit.LabkitError, match=complaint):
        BatchSizeLab(train, smallest=1, largest=2).run(**settings)


def test_a_setting_that_is_refused_leaves_all_controls_as_they_were():
    lab = BatchSizeLab(train, memory_limit="24 MiB", smallest=1, largest=2)
    before = lab._settings()
    for refused in ({"width": 2.7}, {"repeats": 0}, {"depth": 3}):
        with pytest.raises(labkit.LabkitError, match="no control|not a valid value"):
            lab.set(memory_limit="16 MiB", activation="gelu", **refused)
        assert lab._settings() == before and lab._repeats.value == 1


def test_every_control_has_a_label(lab):
    controls = [lab._limit, *lab._swept.controls, lab._precision, lab._repeats, lab._pick]
    for control in [*controls, *lab._controls.values(), lab._run_button, lab._stop_button]:
        assert control.description


@pytest.mark.parametrize(
    ("smallest", "largest", "spacing", "values"),
    [
        (8, 100, "× 2", [8, 16, 32, 64, 100]),
        (1, 4, "× 1.4", [1, 2, 3, 4]),
        (1, 4, "even steps", [1, 2, 3, 4]),
        (100, 800, "even steps", [100, 200, 300, 400, 500, 600, 700, 800]),
    ],
)
def test_spacing(smallest, largest, spacing, values):
    assert spaced(smallest, largest, spacing) == values


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"smallest": 8, "largest": 8}, "smallest first"),
        ({"smallest": 0}, "smallest first"),
        ({"over": ("batch_size", "batch_size")}, "two different ones"),
        ({"over": ("batch_size", "width")}, "one for each of batch_size and width"),
        ({**PLANE, "largest": (64, 8)}, "width: .* smallest first"),
        ({**PLANE, "over": ("batch_size", "size")}, "takes no parameter 'size'"),
        ({"depth": 3}, "takes no parameter 'depth'; it takes batch_size, width"),
        ({"over": "sequence"}, "takes no parameter 'sequence'"),
        ({"batch_size": 4}, "vary 'batch_size', so it cannot be given a fixed value"),
        ({**PLANE, "width": 64}, "vary 'width', so it cannot be given a fixed value"),
        ({"memory_limit": "lots"}, "lots"),
        ({"memory_limit": "900 TiB"}, "900 TiB"),
    ],
)
def test_what_cannot_be_is_refused_at_once(options, complaint):
    with pytest.raises(labkit.LabkitError, match=complaint):
        BatchSizeLab(train, **options)


@pytest.mark.parametrize("over", [5, None, ("batch_size", 3), {"batch_size"}])
def test_what_names_no_parameter_is_refused(over):
    with pytest.raises(labkit.LabkitError, match="give the name of a parameter"):
        BatchSizeLab(train, over=over)


@pytest.mark.parametrize("result", [None, 5, {}])
def test_what_is_no_function_is_refused(result):
    """As of BatchSizeLab(train()), which passes what a training returned."""
    with pytest.raises(labkit.LabkitError, match="pass a function"):
        BatchSizeLab(result)


def decorated(*args, **kwargs):
    return train(*args, **kwargs)


def annotated(batch_size, x: "no.such.module" = 3, rate: float = 1, rows=5_000_000_000):  # noqa: F821
    pass


annotated.__annotations__["x"] = "int.nothing"  # an AttributeError, as np.typing without its import


def outside(batch_size, activation: Literal["relu", "gelu"] = "tanh"):
    pass


def test_a_lab_takes_what_run_takes():
    assert BatchSizeLab(decorated, width=3)._controls["width"].value == 3
    lab = BatchSizeLab(annotated, smallest=np.int64(8), largest=np.int64(16))
    assert lab.set(rate=0.5)._options()["params"] == {"x": 3, "rate": 0.5, "rows": 5_000_000_000}
    lab = BatchSizeLab(outside)
    assert lab._options()["params"] == {"activation": "tanh"} and lab.set(activation="gelu")


def test_a_cell_that_is_run_again_closes_all_labs_of_its_earlier_run(monkeypatch):
    run = "1"
    monkeypatch.setattr(saved, "_running_cell", lambda: ("cell", run))
    labs = [LogDoctor() for _ in range(3)]
    closed = []
    for lab in labs:
        monkeypatch.setattr(lab.widget, "close", lambda lab=lab: closed.append(lab))
    for lab in labs[:2]:
        saved.replace_earlier(lab)
    assert closed == []
    run = "2"
    saved.replace_earlier(labs[1])  # the same one again
    assert closed == labs[:1]
    saved.replace_earlier(labs[2])
    assert closed == labs[:1]


def test_a_parameter_without_a_value_is_asked_for():
    with pytest.raises(labkit.LabkitError, match=r"BatchSizeLab\(train, width=...\)"):
        BatchSizeLab(lambda batch_size, width: None)


@pytest.fixture(scope="module")
def view():
    small, large = (labkit.run(train, batch_size=size, profile=True).timeline for size in (256, 1024))
    return TimelineView({"small <batch>": small, "large": large})


def unpacked(view):
    return json.loads(zlib.decompress(base64.b64decode(view._chart.data)))


def test_the_page_gets_every_block_of_each_timeline(view):
    for drawn, (label, timeline) in zip(unpacked(view)["timelines"], view.timelines.items(), strict=True):
        assert drawn["label"] == label and drawn["events"] == timeline.events
        for place in (0, timeline.peak_at, timeline.events - 1):
            blocks = zip(
                drawn["begin"], drawn["end"], drawn["bytes"], drawn["op"], drawn["layer"], strict=True
            )
            alive = [
                (size, drawn["ops"][op], drawn["layers"][layer] if layer >= 0 else None)
                for begin, end, size, op, layer in blocks
                if begin <= place < end
            ]
            assert sorted(map(str, alive)) == sorted(
                str((row.bytes, row.op, row.layer)) for row in timeline.alive(place)
            )


def test_the_saved_table_has_what_is_in_use_at_the_peaks(view):
    for timeline in view.timelines.values():
        assert f"<b>{labkit.format_size(timeline.peak_bytes)}</b> in use at the peak" in view.table()
    assert "small &lt;batch&gt;" in view.table() and "<batch>" not in view.table()


def test_layers_come_in_the_models_order_with_one_colour_each(view):
    assert unpacked(view)["timelines"][0]["layers"][:2] == ["dense", "dense_1"]
    drawn = [axes.collections for axes in view.timelines["large"].plot(by="layer").axes]
    colours = [tuple(area.get_facecolor()[0]) for area in drawn[0]]
    assert len(set(colours)) == len(colours)
    view._chart.by = "layer"
    assert [axes.get_title(loc="left")[:5] for axes in view.plot().axes] == ["small", "large"]
    with pytest.raises(labkit.LabkitError, match="'category' or 'layer'"):
        TimelineView(view.timelines, by="op")


@pytest.mark.parametrize(
    ("given", "said"),
    [(None, "profile=True"), ({"a": 3}, "'a' is not a timeline"), ({}, "no timeline to show")],
)
def test_what_is_no_timeline_is_refused(given, said):
    with pytest.raises(labkit.LabkitError, match=said):
        TimelineView(given)


def test_gauge_sees_what_the_notebook_takes():
    def shown():
        return labkit.parse_size(re.search(r"and its trials: ([\d.]+ \w+)", gauge._shown.value)[1])

    gauge = MemoryGauge(0.2)
    before = _held()
    held = bytearray(b"x") * 2**28
    assert 0.9 * 2**28 < _held() - before < 1.2 * 2**28
    wait_for(lambda: shown() - before > 0.9 * 2**28)
    assert len(held)
    gauge.close()


def test_gauge_goes_on_after_it_could_not_look(monkeypatch):
    def fails():
        raise OSError("too many open <files>")

    gauge = MemoryGauge(0.2)
    with monkeypatch.context() as patch:
        patch.setattr(memory_gauge.machine, "host_memory", fails)
        wait_for(lambda: "Not known just now: too many open &lt;files&gt;" in gauge._shown.value)
    wait_for(lambda: "and its trials: " in gauge._shown.value)
    gauge.close()


@pytest.mark.parametrize("seconds", [0, float("nan"), float("inf"), 1e300, "1", None])
def test_gauge_refuses_to_look_too_often_or_never(seconds):
    with pytest.raises(labkit.LabkitError, match=r"at least 0\.2"):
        MemoryGauge(seconds)


@pytest.mark.parametrize(
    ("context", "asked"),
    [
        (SimpleNamespace(), []),  # partly imported
        (SimpleNamespace(_context=None), []),
        (SimpleNamespace(_context=SimpleNamespace(_initialized=False)), []),
        (SimpleNamespace(_context=SimpleNamespace(_initialized=True)), ["GPU"]),
    ],
)
def test_gauge_leaves_tensorflow_to_be_configured(monkeypatch, context, asked):
    """To list its devices would initialize them: then set_memory_growth(), say, is refused."""
    calls = []
    config = SimpleNamespace(list_logical_devices=calls.append)
    monkeypatch.setitem(sys.modules, "tensorflow", SimpleNamespace(config=config))
    monkeypatch.setitem(sys.modules, "tensorflow.python.eager.context", context)
    assert _own_tensorflow() is None and calls == asked


LOG = Path(__file__).parent / "corpus" / "real" / "activations_a.txt"


def press_explain(doctor, text):
    doctor._text.value = text
    doctor._explain.click()
    wait_for(lambda: doctor.diagnosis is not None)
    return doctor.diagnosis.cause


def upload(control, path):
    """Set the control as a page does that has uploaded a file, in ipywidgets 7 or 8."""
    content = memoryview(path.read_bytes())
    if control.has_trait("metadata"):  # ipywidgets 7
        control.set_state({"metadata": [{"name": path.name}], "data": [content], "_counter": 1})
    else:
        file = {"name": path.name, "type": "", "size": len(content), "content": content, "last_modified": 0}
        control.set_state({"value": [file]})


def test_doctor_explains_what_is_pasted_uploaded_or_named():
    doctor = LogDoctor()
    assert press_explain(doctor, LOG.read_text()) == "activations"
    assert "too large" in doctor._explanation.value and "<img" in doctor._explanation.value
    doctor.clear()
    assert doctor.diagnosis is None and doctor._text.value == "" and "<img" not in doctor._explanation.value
    upload(doctor._file, LOG)
    wait_for(lambda: doctor.diagnosis is not None)
    doctor.clear()
    doctor._path.value = str(LOG)
    wait_for(lambda: doctor.diagnosis is not None)
    assert doctor.diagnosis.cause == "activations"


def test_doctor_explains_what_was_given_last():
    def explained(cause):
        wait_for(lambda: doctor.diagnosis is not None and doctor.diagnosis.cause == cause)
        doctor.diagnosis = None

    doctor = LogDoctor()
    assert press_explain(doctor, "all is well\n") == "not_oom"
    doctor._path.value = f' "{LOG}" '  # as a file manager copies it
    doctor._explain.click()  # at once, as by a reader who has just typed the path
    explained("activations")
    doctor._text.value = "all is well, still\n"
    doctor._explain.click()
    explained("not_oom")
    doctor._text.value = ""
    doctor._explain.click()
    explained("activations")
    for _ in range(2):
        doctor.clear()
        upload(doctor._file, LOG)
        explained("activations")
    doctor._explain.click()
    explained("activations")
    doctor.explain(LOG)
    doctor.diagnosis = None
    doctor._explain.click()
    explained("activations")


def test_doctor_shows_the_latest_answer(monkeypatch):
    """A long log that is still being read does not replace what was asked for after it."""
    read, before = threading.Event(), set(threading.enumerate())

    def slowly(source):
        if source == LOG:
            read.wait()
        return labkit.diagnose(source)

    monkeypatch.setattr(log_doctor, "diagnose", slowly)
    doctor = LogDoctor()
    doctor._path.value = str(LOG)
    [reading] = set(threading.enumerate()) - before
    doctor.explain("all is well")
    read.set()
    reading.join()
    assert doctor.diagnosis.cause == "not_oom"


def test_doctor_brings_its_explanation_into_view_and_says_when_its_copy_grows_old():
    doctor = LogDoctor()
    press_explain(doctor, LOG.read_text())
    wait_for(lambda: doctor._page.revealed == 1)
    doctor._page.page = "one page"
    assert doctor._note.value == ""
    doctor._page.page = "another"
    assert "opened again" in doctor._note.value


def test_doctor_keeps_a_picture_and_a_table():
    doctor = LogDoctor(LOG)
    assert doctor.plot() is not None and "too large" in doctor.table() and "<img" not in doctor.table()
    assert "too large" in repr(doctor)
    assert LogDoctor().plot() is None and "Paste an error" in repr(LogDoctor())


def test_doctor_says_what_it_cannot_read_and_what_means_nothing():
    doctor = LogDoctor()
    doctor._path.value = "no/such.log"
    wait_for(lambda: 'role="alert"' in doctor._explanation.value)
    assert "no/such.log" in doctor._explanation.value
    assert press_explain(doctor, "all is well\n") == "not_oom"


def test_doctor_escapes_what_it_quotes():
    doctor = LogDoctor("<script>alert(1)</script> OOM when allocating tensor with shape[8,9] and type float")
    assert "<script>" not in doctor._explanation.value


def test_threads_end():
    ours = ("BatchSizeLab", "LogDoctor", "MemoryGauge")
    wait_for(lambda: not [thread for thread in threading.enumerate() if thread.name in ours])
