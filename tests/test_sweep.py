"""Sweeps of real trials."""

import csv
import io
import json

import pytest

import labkit
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
