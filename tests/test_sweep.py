"""Sweeps of real trials."""

import csv
import io
import json
from types import SimpleNamespace

import numpy as np
import pytest

import labkit
from labkit.errors import Stopped
from labkit.outcome import Outcome
from labkit.predict.estimation import Estimating
from labkit.sizes import MIB
from labkit.trials.console import Progress
from labkit.trials.sweeps import Sweep


def fill(batch_size, extra=0):
    import tensorflow as tf

    return float(tf.reduce_sum(tf.zeros((batch_size + extra, 2**18))))


@pytest.fixture(scope="module")
def swept():
    return labkit.sweep(fill, memory_limit="64 MiB", values=[8, 16, 100, 200])


def test_a_sweep_stops_at_the_first_that_does_not_fit(swept):
    assert [outcome.status for outcome in swept] == ["ok", "ok", "oom"]
    assert swept.frontier == 16 and swept.finished
    assert swept[1].peak_bytes > swept[0].peak_bytes
    assert swept.plot("zeros")._repr_png_().startswith(b"\x89PNG")
    assert "batch_size=100: ✗ out of memory" in repr(swept)


def test_a_sweep_can_be_exported(swept, tmp_path):
    facts = json.loads(json.dumps(swept.to_dict()))
    assert [trial["batch_size"] for trial in facts["trials"]] == [8, 16, 100]
    rows = list(csv.DictReader(io.StringIO(swept.to_csv(tmp_path / "sweep.csv"))))
    assert int(rows[0]["peak_bytes"]) == swept[0].peak_bytes
    assert (tmp_path / "sweep.csv").read_text().splitlines()[0].startswith("batch_size,status")


def test_repeats_and_values_that_are_no_numbers():
    def train(name):
        import keras

        return keras.optimizers.get(name).name

    swept = labkit.sweep(train, over="name", values=["adam", "sgd"], repeats=2)
    assert [outcome.result.lower() for outcome in swept] == ["adam", "adam", "sgd", "sgd"]
    assert swept.plot()._repr_png_().startswith(b"\x89PNG")


def test_a_stopped_sweep_goes_on_where_it_was():
    class StoppingOnce:
        stopped = False

        def output(self, text):
            if text == "2" and not self.stopped:
                self.stopped = True
                swept.stop()

        def __getattr__(self, name):
            return lambda *args, **kwargs: None

    code = "import time; print(x, end=''); time.sleep(1)"
    swept = Sweep(code, "x", [1, 2, 3], show=StoppingOnce(), params={})
    swept.resume()
    assert not swept.finished and 0 < len(swept) < 3
    assert "resume() continues" in repr(swept)
    swept.resume()
    assert [value for value, _ in swept.tried] == [1, 2, 3]


def test_without_stopping_all_are_tried():
    swept = labkit.sweep("assert x != 2", over="x", values=[1, 2, 3], stop_at_oom=False)
    assert [outcome.status for outcome in swept] == ["ok", "error", "ok"]
    assert swept.frontier == 3


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"values": []}, "empty"),
        ({"values": [1], "over": "nothing"}, "batch_size"),
        ({"values": [1], "batch_size": 2}, "cannot be given a fixed value"),
        ({"values": [1], "repeats": 0}, "at least 1"),
        ({"values": [1], "memory_limit": "much"}, "Forms that work"),
    ],
)
def test_what_cannot_be_swept_is_refused(options, said):
    with pytest.raises(labkit.LabkitError) as raised:
        labkit.sweep(fill, **options)
    assert said in str(raised.value)


# Outcomes made by hand


def tried(*trials):
    """A Sweep of trials (value, status, MiB at the peak, MiB of the limit); the last two may be missing."""
    found = Sweep("x", "x", [1, 2, 3], params={})
    for value, status, *sizes in trials:
        peak, limit = (size and size * MIB for size in (*sizes, None, None)[:2])
        found.tried.append((value, Outcome(status, peak_bytes=peak, limit_bytes=limit)))
    return found


@pytest.mark.parametrize(
    ("trials", "frontier", "summary"),
    [
        ([], None, "no value of x ran to its end"),
        ([(1, "error")], None, "no value of x ran to its end"),
        ([(1, "oom")], None, "nothing fits"),
        ([(1, "error", 9, 20)], None, "no value of x ran to its end"),
        ([(1, "timeout", 9, 20), (2, "killed", 9, 20)], None, "no value of x ran to its end"),
        ([(1, "ok", 9, 20), (1, "error", 9, 20)], None, "x 1: peak up to 9.00 MiB"),
        ([(1, "oom", 9, 20), (2, "error", 9, 20)], None, "nothing fits"),
        ([(1, "ok", 9, 20), (2, "ok", 11, 20)], 2, "x 2 fits"),
        ([(2, "ok", 9, 20), (1, "ok", 11, 20)], 2, "x 2 fits"),
        ([(1, "ok", 9), (2, "oom", 11)], 1, "x 1 fits"),
        ([(1, "ok", 9), (2, "error", 11)], 1, "x 1: peak up to 9.00 MiB"),
        ([(1, "ok", 9), (2, "ok", 11)], 2, "x 1 to 2: peak up to 11.0 MiB"),
        ([(1, "ok", 11), (2, "ok", 9)], 2, "x 1 to 2: peak up to 11.0 MiB"),
        ([(1, "ok"), (2, "ok")], 2, "x 1 to 2 ran to the end"),
        ([(1, "ok", 9, 20), (2, "ok", 9, 20), (2, "oom", 9, 20), (2, "ok", 9, 20)], 1, "x 1 fits"),
        ([("a", "ok", 9, 20), ("c", "ok", 9, 20), ("b", "ok", 9, 20)], "b", "x b fits"),
        ([("a", "ok", 9, 20), ("b", "oom", 9, 20)], "a", "x a fits"),
        ([(0.5, "ok", 9, 20), (2, "ok", 9, 20), (True, "ok", 9, 20)], 2, "x 2 fits"),
        ([(1, "ok", 9, 20), ("a", "ok", 9, 20)], "a", "x a fits"),
        ([([64], "ok", 9, 20), ([64, 64], "oom", 9, 20)], [64], "x [64] fits"),
        ([([1], "ok", 9), ([2], "ok", 11)], [2], "x [1] to [2]: peak up to 11.0 MiB"),
    ],
)
def test_the_frontier_is_what_fitted_every_time(trials, frontier, summary):
    found = tried(*trials)
    assert (found.frontier, found.summary) == (frontier, summary)
    assert not trials or str(trials[0][0]) in [t.get_text() for t in found.plot().axes[0].get_xticklabels()]


@pytest.mark.parametrize("over", [5, None, ("a", 5)])
def test_what_is_varied_has_a_name(over):
    with pytest.raises(labkit.LabkitError, match="give the name"):
        Sweep("x", over, [1, 2], params={})


def test_numbers_of_numpy_are_numbers():
    found = Sweep("x", "x", np.array([64, 32, 16]), np.int64(1), params={})
    assert json.dumps(found.values) == "[64, 32, 16]" and type(found._left[0]) is int
    assert json.dumps(Estimating("x", np.array([8, 4]), "x", params={}).at) == "[4, 8]"


@pytest.mark.parametrize(
    ("statuses", "stop_at_oom", "tried"),
    [
        (["ok", "ok", "ok"], True, [[1, 2, 3]]),
        (["ok", "oom", "ok"], True, [[1, 2]]),
        (["ok", "oom", "ok"], False, [[1, 2, 3]]),
        (["error", "crashed", "ok"], True, [[1, 2, 3]]),
        (["ok", "stopped", "ok", "ok"], True, [[1], [1, 2, 3]]),
        (["stopped", "ok", "last", "oom"], True, [[], [1, 2], [1, 2, 3]]),
        (["ok", "interrupted", "ok", "ok"], True, [[1], [1, 2, 3]]),
    ],
)
def test_a_sweep_goes_on_until_it_is_finished(statuses, stop_at_oom, tried):
    """ "last": it is stopped as this trial returns."""
    found = Sweep("x", "x", [1, 2, 3], stop_at_oom=stop_at_oom, params={})
    asked, ended, statuses = [], [], iter(statuses)

    def run(value, done, total):
        asked.append((value, done, total))
        status = next(statuses)
        if status == "stopped":
            raise Stopped
        if status == "interrupted":
            raise KeyboardInterrupt
        if status == "last":
            found.stop()
        return Outcome(status if status != "last" else "ok")

    found._series.run, found._series.show = run, SimpleNamespace(end=lambda: ended.append(True))
    for count, values in enumerate(tried, 1):
        assert found.resume() is found and len(ended) == count
        assert [value for value, _ in found.tried] == values
        assert found.finished == (count == len(tried))
        assert ("not tried yet" in repr(found)) == (not found.finished)
    assert asked[-1] == (values[-1], len(found) - 1, 3) and found[-1] is found.tried[-1][1]


def test_facts_of_a_trial_can_be_written_down(tmp_path):
    found = tried((None, "ok", 9, 20))
    outcome = Outcome(
        "oom",
        wall_seconds=4,
        host_peak_bytes=5,
        samples_per_second=6,
        step_seconds=[9.0, 1.0, 3.0],
        diagnosis=labkit.diagnose("Killed\n"),
    )
    found.tried.append((2, outcome))
    first, second = found.to_dict()["trials"]
    assert (first["x"], first["status"], first["peak_bytes"], first["limit_bytes"]) == (
        "None", "ok", 9 * MIB, 20 * MIB,
    )  # fmt: skip
    assert list(second.items()) == [
        ("x", 2), ("status", "oom"), ("peak_bytes", None), ("limit_bytes", None), ("samples_per_second", 6),
        ("step_seconds", 2.0), ("wall_seconds", 4), ("host_peak_bytes", 5), ("failed_layer", None),
    ]  # fmt: skip
    [row, _] = csv.DictReader(io.StringIO(found.to_csv()))
    assert (row["x"], row["status"], row["peak_bytes"]) == ("None", "ok", str(9 * MIB))
    assert found.to_csv(tmp_path / "x.csv") == (tmp_path / "x.csv").read_bytes().decode()


@pytest.mark.parametrize(
    "options",
    [
        {"values": 3},
        {"values": [1], "repeats": 1.0},
        {"values": [1], "repeats": 0},
        {"values": [1], "memory_limit": "much"},
    ],
)
def test_a_grid_is_several_values_and_repeats_are_whole(options):
    with pytest.raises(labkit.LabkitError, match="give|Forms that work"):
        Sweep("x", "x", params={}, **options)
    assert Sweep("x", "x", [1, 2], repeats=2, params={})._left == [1, 1, 2, 2]


def test_each_trial_has_the_options_of_the_sweep(monkeypatch):
    monkeypatch.setattr(Sweep, "resume", lambda self: self)

    def options(**given):
        trial = labkit.sweep("x", over="x", values=[1], **given)._series._trial(1, {})
        return trial.params, trial.limit, trial.profile, trial.timeout, trial.seed

    assert options() == ({"x": 1}, None, False, 120, 0)
    given = {"memory_limit": "64 MiB", "profile": 2, "timeout": 7, "seed": 3, "y": 4}
    assert options(**given) == ({"x": 1, "y": 4}, 64 * MIB, 2, 7, 3)
    swept = labkit.sweep("x", over="x", values=[1, 2], stop_at_oom=False, repeats=2)
    assert (swept._left, swept._stop_at_oom) == ([1, 1, 2, 2], False)
    swept = labkit.sweep("x", over="x", values=[1, 2])
    assert (swept._left, swept._stop_at_oom) == ([1, 2], True)
    show = Progress("x")
    assert Sweep("x", "x", [1], show=show, params={})._series.show is show
    assert isinstance(swept._series.show, Progress)
