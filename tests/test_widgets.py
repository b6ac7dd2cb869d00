"""The labs from code: real trials, the chart that they make, and everything one can do wrong."""

import re
import threading
import time
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Literal

import psutil
import pytest

import labkit
from labkit.widgets import BatchSizeLab, LogDoctor, MemoryGauge, TimelineView
from labkit.widgets.memory_gauge import _held
from labkit.widgets.parts.controls import spaced


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

    return keras.config.dtype_policy().name


def wait_for(true, seconds=180):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def lab():
    """Two runs: one that ends out of memory, one under another activation."""
    lab = BatchSizeLab(train, memory_limit="24 MiB", smallest=256, largest=8192)
    lab.run()
    lab._range.value = (256, 512)
    return lab.run(activation="gelu")


def test_run_measures_what_the_controls_say(lab):
    first, second = lab.series
    assert [value for value, _ in second.tried] == [256, 512]
    assert second.tried[0][1].params["activation"] == "gelu"
    assert first.sweep[-1].status == "oom" and first.sweep.frontier in (2048, 4096)
    assert "activation gelu" in second.label and "24.0 MiB" in second.label


def test_chart_is_drawn_from_the_outcomes(lab):
    svg = ET.fromstring(lab._chart.value)
    texts = ["".join(text.itertext()) for text in svg.iter("{http://www.w3.org/2000/svg}text")] or [
        "".join(text.itertext()) for text in svg.iter("text")
    ]
    assert any("out of memory" in text for text in texts)
    assert "limit 24.0 MiB" in texts and "batch_size" in texts
    assert svg.get("role") == "img" and f"batch_size {lab.series[0].sweep.frontier} fits" in svg.get(
        "aria-label"
    )
    assert len([c for c in svg.iter() if c.tag.endswith("circle")]) >= 2 * len(lab.series[0].tried) - 2


def test_table_has_every_trial(lab):
    trials = sum(len(one.tried) for one in lab.series)
    assert lab._table.value.count("<tr>") == trials + 1
    assert len(repr(lab).splitlines()) == trials + 1
    assert labkit.format_size(lab.series[1].sweep[0].peak_bytes) in repr(lab)


def test_explain_shows_the_failure_with_its_map(lab):
    lab.explain()
    assert "out of memory" in lab._detail.value and 'alt="memory map at the failure"' in lab._detail.value
    assert lab._pick.value == (0, len(lab.series[0].tried) - 1)


def test_measured_points_land_on_the_estimate(lab):
    first = lab.series[0]
    assert set(first.predicted) == {256, 512, 1024, 2048, 4096, 8192}
    for value, outcome in first.tried:
        assert not outcome.ok or outcome.peak_bytes == pytest.approx(first.predicted[value], rel=0.15)
    assert first.predicted[8192] > first.limit
    assert lab._chart.value.count('stroke-dasharray="1 5"') == 2 and '<th scope="col">estimate' in lab.table()


def test_a_click_on_a_mark_has_the_place_of_its_trial_in_the_list(lab):
    places = set(re.findall(r'data-trial="(\d+)"', lab._chart.value))
    assert places == {str(place) for place in range(1, len(lab._pick.options))}


def test_what_does_not_train_has_no_estimate_and_is_swept_all_the_same():
    lab = BatchSizeLab(policy, smallest=1, largest=2).run()
    assert "No estimate." in lab._detail.value
    assert len(lab.series[0].tried) == 2 and not lab.series[0].predicted


def test_stop_ends_an_estimate_and_nothing_else_is_run():
    lab = BatchSizeLab(train, smallest=8, largest=64, steps=10**9)
    lab.start()
    wait_for(lambda: "estimating" in lab._gauge.value)
    wait_for(lambda: re.search(r"[\d.]+ MiB of host memory", lab._gauge.value))
    lab.stop()
    wait_for(lambda: not lab.running)
    assert lab.series == [] and lab._detail.value == ""


def test_static_picture_holds_both_runs(lab):
    memory, speed = lab.plot().axes
    assert sum(line.get_marker() in ("o", "s") for line in memory.lines) == 2
    assert len(speed.lines) == 2


def test_output_of_trials_goes_to_its_place_and_no_other(lab, capsys):
    lab.run()
    assert "step 1" in lab._printed.value
    assert capsys.readouterr().out == ""


def test_stop_ends_a_trial_at_once_and_leaves_no_process():
    lab = BatchSizeLab(train, smallest=1, largest=2, steps=10**9)
    lab.start()
    lab.start()  # a second press does nothing
    wait_for(lambda: "step" in lab._gauge.value)
    trial = [p for p in psutil.Process().children(recursive=True)]
    began = time.monotonic()
    lab.stop()
    wait_for(lambda: not lab.running)
    assert time.monotonic() - began < 5
    assert lab.series == [] and not lab._run_button.disabled
    alive = [p for p in trial if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
    assert len(alive) <= 2  # the launcher, and Python's own resource tracker


def test_closing_the_widget_stops_the_sweep():
    lab = BatchSizeLab(train, smallest=1, largest=2, steps=10**9)
    lab.start()
    wait_for(lambda: "step" in lab._gauge.value)
    lab.widget.close()
    wait_for(lambda: not lab.running, 5)


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
    lab.start()
    wait_for(lambda: "step" in lab._gauge.value and "estimating" not in lab._gauge.value)
    seen.clear()
    start = time.monotonic()
    time.sleep(2)
    count, seconds = len(seen), time.monotonic() - start  # a busy machine sleeps longer
    lab.stop()
    wait_for(lambda: not lab.running)
    assert 2 <= count <= 5 * seconds + 1


def test_precision_is_set_before_train_runs():
    lab = BatchSizeLab(policy, smallest=1, largest=2)
    lab._precision.value = "mixed_float16"
    assert lab.run().series[0].sweep[0].result == "mixed_float16"
    assert "mixed_float16" in lab.series[0].label


def test_controls_can_be_set_from_code():
    lab = BatchSizeLab(train, memory_limit="24 MiB", smallest=1, largest=2)
    lab.set(memory_limit="37 MiB", precision="mixed_float16", width=7, activation="gelu", repeats=2)
    assert lab._label() == "37.0 MiB, mixed_float16, width 7, activation gelu, steps 2"
    assert lab.set(memory_limit=None)._label().startswith("no limit")


def test_choices_may_be_tuples():
    lab = BatchSizeLab(train, smallest=1, largest=2, width=[64, 128], also=[(32,), (32, 64)])
    assert lab.set(also=(32, 64))._controls["also"].value == (32, 64)


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"depth": 3}, "no control 'depth'; the controls are memory_limit, precision"),
        ({"also": 3}, "no control 'also'"),
        ({"activation": "tanh"}, "activation='tanh' is not a valid value; choose from relu, gelu"),
        ({"width": "wide"}, "width='wide' is not a valid value"),
        ({"repeats": 0}, "repeats=0 is not a valid value"),
        ({"memory_limit": "lots"}, "lots"),
    ],
)
def test_what_a_control_cannot_take_is_refused(settings, complaint):
    with pytest.raises(labkit.LabkitError, match=complaint):
        BatchSizeLab(train, smallest=1, largest=2).run(**settings)


def test_clear_takes_everything_off():
    lab = BatchSizeLab(policy, smallest=1, largest=2).run()
    lab.clear()
    assert lab.series == [] and "No trial" in repr(lab) and lab._pick.label == "no trial"


def test_every_control_has_a_label(lab):
    controls = [lab._limit, lab._range, lab._spacing, lab._precision, lab._repeats, lab._pick]
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
        ({"depth": 3}, "takes no parameter 'depth'; it takes batch_size, width"),
        ({"over": "sequence"}, "takes no parameter 'sequence'"),
        ({"memory_limit": "lots"}, "lots"),
        ({"memory_limit": "900 TiB"}, "900 TiB"),
    ],
)
def test_what_cannot_be_is_refused_at_once(options, complaint):
    with pytest.raises(labkit.LabkitError, match=complaint):
        BatchSizeLab(train, **options)


def test_a_parameter_without_a_value_is_asked_for():
    with pytest.raises(labkit.LabkitError, match=r"BatchSizeLab\(train, width=...\)"):
        BatchSizeLab(lambda batch_size, width: None)


@pytest.fixture(scope="module")
def view():
    small, large = (labkit.run(train, batch_size=size, profile=True).timeline for size in (256, 1024))
    return TimelineView({"small <batch>": small, "large": large})


def test_timelines_begin_at_their_peaks_on_one_scale(view):
    for pane, timeline in zip(view._panes, view.timelines.values(), strict=True):
        assert timeline.total()[pane.place] == timeline.peak_bytes
        assert labkit.format_size(timeline.peak_bytes) in pane._picture.value
        assert labkit.format_size(sum(row.bytes for row in timeline.at_peak())) in pane.table()
    assert view._panes[0]._top == view._panes[1]._top


def test_slider_moves_the_table_and_peak_brings_it_back(view):
    pane, timeline = view._panes[1], view.timelines["large"]
    pane._slider.value = pane._slider.max
    end = timeline.total()[pane.place]
    assert end < timeline.peak_bytes and labkit.format_size(end) in pane._in_use.value
    pane.widget.children[2].children[1].click()
    assert timeline.total()[pane.place] == timeline.peak_bytes


def test_timelines_by_layer(view):
    view._by.value = "layer"
    assert "<title>dense</title>" in view._panes[1]._picture.value
    ET.fromstring(view._panes[1]._picture.value.partition("<div>")[0])
    assert "&lt;batch&gt;" in view._panes[0]._picture.value
    view._by.value = "category"
    assert "<title>activations</title>" in view._panes[1]._picture.value


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
    wait_for(lambda: shown() - before > 0.9 * 2**28, 5)
    assert len(held)
    gauge.close()


def test_gauge_refuses_to_look_too_often():
    with pytest.raises(labkit.LabkitError, match=r"at least 0\.2"):
        MemoryGauge(0)


LOG = Path(__file__).parent / "corpus" / "real" / "activations_a.txt"


def press_explain(doctor, text):
    doctor._text.value = text
    doctor._explain.click()
    wait_for(lambda: doctor.diagnosis is not None, 20)
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
    wait_for(lambda: doctor.diagnosis is not None, 20)
    doctor.clear()
    doctor._path.value = str(LOG)
    wait_for(lambda: doctor.diagnosis is not None, 20)
    assert doctor.diagnosis.cause == "activations"


def test_doctor_keeps_a_picture_and_a_table():
    doctor = LogDoctor(LOG)
    assert doctor.plot() is not None and "too large" in doctor.table() and "<img" not in doctor.table()
    assert "too large" in repr(doctor)
    assert LogDoctor().plot() is None and "Paste an error" in repr(LogDoctor())


def test_doctor_says_what_it_cannot_read_and_what_means_nothing():
    doctor = LogDoctor()
    doctor._path.value = "no/such.log"
    wait_for(lambda: 'role="alert"' in doctor._explanation.value, 20)
    assert "no/such.log" in doctor._explanation.value
    assert press_explain(doctor, "all is well\n") == "not_oom"


def test_doctor_escapes_what_it_quotes():
    doctor = LogDoctor("<script>alert(1)</script> OOM when allocating tensor with shape[8,9] and type float")
    assert "<script>" not in doctor._explanation.value


def test_threads_end():
    ours = ("BatchSizeLab", "LogDoctor", "MemoryGauge")
    wait_for(lambda: not [thread for thread in threading.enumerate() if thread.name in ours], 5)
