"""What decides inside a trial when it ends and what is counted, apart from any trial.

Real trials that are cut short, wait for memory or are timed are in test_run.py and test_estimate.py.
"""

import json
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.errors import LabkitError
from labkit.inside import child
from labkit.inside.folder import OWNER, TrialFolder, own_folder, to_json

# Events


class Pipe:
    """Takes no more than a few bytes at a time, as a full pipe does."""

    def __init__(self, most):
        self.most, self.got = most, b""

    def write(self, fd, data):
        part = bytes(data[: self.most])
        self.got += part
        return len(part)


@pytest.mark.parametrize("most", [1, 7, 1000])
def test_a_line_arrives_whole_through_a_full_pipe(most, monkeypatch):
    pipe = Pipe(most)
    monkeypatch.setattr(child, "os", SimpleNamespace(write=pipe.write))
    events = child.Events(5)
    events.send("sample", steps=3)
    events.send("done", status="ok")
    lines = [json.loads(line) for line in pipe.got.decode().splitlines()]
    assert lines == [{"event": "sample", "steps": 3}, {"event": "done", "status": "ok"}]


# When TensorFlow waits for memory in vain

PATIENCE = 25
THREAD = threading.get_ident()


class Waiting:
    """A clock, a number of dumps, the processor time used and the frame that runs, all set by hand."""

    def __init__(self, monkeypatch):
        self.now = self.cpu = 0.0
        self.count, self.frame = 0, SimpleNamespace()
        clock = SimpleNamespace(monotonic=lambda: self.now, process_time=lambda: self.cpu)
        monkeypatch.setattr(child, "time", clock)
        frames = SimpleNamespace(_current_frames=lambda: {THREAD: self.frame, THREAD + 1: SimpleNamespace()})
        monkeypatch.setattr(child, "sys", frames)
        folder = SimpleNamespace(dumps=lambda: [None] * self.count)
        self.refusals = child.Refusals(folder, THREAD, PATIENCE)

    def at(self, now, count=None, cpu=0.0, frame=None):
        """Whether it is given up at that time, with so many dumps."""
        self.now, self.cpu, self.frame = now, cpu, frame or self.frame
        self.count = self.count if count is None else count
        return self.refusals.hopeless()


@pytest.fixture
def waiting(monkeypatch):
    return Waiting(monkeypatch)


def test_who_was_refused_nothing_is_waited_for(waiting):
    assert not any(waiting.at(now) for now in range(0, 300, 5))


def test_one_call_that_is_refused_again_and_again_is_given_up(waiting):
    told = [waiting.at(1000.0 + now, count=2 * (1 + now // 10)) for now in range(40)]
    assert told == [now > PATIENCE for now in range(40)]


def test_a_call_that_computes_meanwhile_is_not_given_up(waiting):
    assert not waiting.at(100, count=2, cpu=50.0)
    assert not waiting.at(110, count=4, cpu=50.0)
    assert not waiting.at(120, count=6, cpu=50.0)
    assert not waiting.at(130, count=8, cpu=50.0 + 0.2 * 30)  # a fifth of the time
    assert waiting.at(130, cpu=50.0 + 0.19 * 30)


def test_another_call_is_another_wait(waiting):
    waiting.at(100, count=2)
    waiting.at(120, count=4)
    assert not waiting.at(130, count=6, frame=SimpleNamespace())  # the first call has returned
    assert not waiting.at(154, count=8)
    assert waiting.at(156, count=10)


def test_a_call_that_is_refused_no_more_is_not_given_up(waiting):
    waiting.at(100, count=2)
    assert waiting.at(100 + 15) is False
    assert not waiting.at(100 + 15.5)  # from here on it runs again
    assert not waiting.at(126, count=4)
    assert not waiting.at(126 + PATIENCE, count=6)
    assert waiting.at(126.5 + PATIENCE)


def test_a_call_between_two_refusals_that_are_not_long_apart_is_still_waiting(waiting):
    waiting.at(100, count=2)
    waiting.at(114, count=4)
    assert waiting.at(114 + 15)


def test_what_is_said_of_a_call_that_is_given_up(waiting, tmp_path):
    waiting.refusals = child.Refusals(TrialFolder(tmp_path), THREAD, PATIENCE)
    (tmp_path / "dump1").touch()
    waiting.frame = sys._getframe()
    waiting.at(100)
    waiting.now = 131
    report = waiting.refusals.report()
    assert (report["status"], report["error"]["type"]) == ("oom", "OutOfMemory")
    assert "ended after 31 s" in report["error"]["message"]
    assert report["error"]["frames"][-1][2] == "test_what_is_said_of_a_call_that_is_given_up"


# Steps: how many, how long, of which batch


@pytest.fixture
def clock(monkeypatch):
    """A StepClock under a clock that is set by hand: clock.now."""
    from labkit.inside import steps

    done = []
    made = steps.StepClock(lambda: done.append(1), None)
    made.now, made.done = 0.0, done
    monkeypatch.setattr(steps, "time", SimpleNamespace(perf_counter=lambda: made.now, monotonic=lambda: 0.0))
    return made


def test_the_speed_counts_the_input_between_steps_but_not_the_start(clock):
    clock.batch_size = 32
    for start, end in [(100, 150), (152, 154), (157, 159), (160, 163), (170, 171)]:
        clock.now = end
        clock._record(start, 1)
    assert clock.seconds == [50, 2, 2, 3, 1] and len(clock.done) == 5
    assert clock.samples_per_second() == 32 / 4.5  # the median of 4, 5, 4 and 8 seconds
    assert clock.samples_per_second(64) == 32 / 4.5  # it was seen


def test_the_speed_counts_each_batch_as_large_as_it_is(clock):
    for size in (300, 300, 300, 1, None, 4, 300, 300, 300):  # rows that are left over, another training
        clock.now += (size or 64) / 100
        clock.batch_size = size
        clock._record(clock.now, 1)
    assert clock.samples_per_second() == pytest.approx(100)
    assert clock.samples_per_second(64) == pytest.approx(100)


def test_the_batch_is_that_of_the_call_that_runs_or_has_failed(clock):
    model, X, seen = SimpleNamespace(steps_per_execution=1), np.ones((100, 2)), []

    def call(*args, **kwargs):
        seen.append((clock.batch_size, clock.evaluating))

    def fit(*args, **kwargs):  # as Keras validates
        clock._around_evaluate(call, model, x=X, y=X, batch_size=50)
        call()
        clock._around_predict(call, model, X)
        clock._around_evaluate(call, model, "a stream")

    clock._around_fit(fit, model, X, X, 8)
    assert seen == [(50, True), (8, False), (32, True), (None, True)]
    assert (clock.batch_size, clock.evaluating) == (8, False)
    with pytest.raises(ZeroDivisionError):
        clock._around_predict(lambda *args: 1 / 0, model, X, 64)
    assert (clock.batch_size, clock.evaluating) == (64, True)
    clock._around_train_on_batch(call, model, X[:7])
    assert (clock.batch_size, clock.evaluating) == (7, False)


def test_several_steps_in_one_call_share_its_time(clock):
    clock.now = 10
    clock._record(4, 3)
    assert clock.seconds == [2, 2, 2] and clock._intervals == [(2, None)]
    clock.now = 18
    clock._record(12, 4)
    assert clock.seconds[3:] == [1.5] * 4
    assert clock.samples_per_second(8) == 8 / 2
    clock.now = 20
    clock._record(19, 0)  # a call of the training function that updated nothing
    assert len(clock.seconds) == 7 and len(clock.done) == 3


def test_without_a_batch_size_or_a_second_step_there_is_no_speed(clock):
    for now in (1, 2, 3):
        assert clock.samples_per_second(8 if now < 3 else None) is None
        clock.now = now
        clock._record(now - 0.5, 1)


# Loops that are cut short


class Remembered:
    """A function, or an optimizer, that is remembered as long as there is it."""


def shortening(steps, **facts):
    from labkit.inside.steps import Shortening

    made = Shortening(steps, None, lambda reason: made.ended.append(reason))
    made.ended = []
    vars(made).update(facts)
    return made


@pytest.mark.parametrize(
    ("steps", "round", "wanted"),
    [(3, 1, 3), (1, 1, 2), (4, 2, 4), (4, 3, 6), (4, 4, 8), (4, 5, 6), (3, 16, 17)],
)
def test_a_loop_makes_two_rounds_of_the_optimizer_or_one_that_is_long(steps, round, wanted):
    assert shortening(steps, round=round).wanted == wanted


def test_a_loop_of_ones_own_is_given_the_last_result_again(monkeypatch):
    from labkit.inside import steps

    made, function = shortening(2), Remembered()
    for result in (10, 20):
        assert not made.repeats(function)
        made.keep(function, result)
    assert made.repeats(function) and not made.repeats(Remembered())
    monkeypatch.setattr(steps, "MOST_REPEATED", 3)
    assert [made.result_of(function) for _ in range(3)] == [20] * 3 and made.ended == []
    made.result_of(function)
    assert made.ended == ["time"]
    made._loops.append(None)  # in fit, it is fit that is cut short
    assert not made.repeats(function)


def test_what_goes_on_long_after_its_last_step_is_ended(monkeypatch):
    from labkit.inside import steps

    now = [100.0]
    monkeypatch.setattr(steps, "time", SimpleNamespace(monotonic=lambda: now[0]))
    made, function = shortening(2), Remembered()
    now[0] += 10 * steps.IDLE_SECONDS
    assert not made.is_overdue()  # it may load data for as long as it likes
    made.keep(function, 1)
    now[0] += steps.IDLE_SECONDS
    assert not made.is_overdue()
    now[0] += 1
    assert made.is_overdue()
    with made.tracing():
        now[0] += 10 * steps.IDLE_SECONDS
        assert not made.is_overdue()
    assert not made.is_overdue()
    now[0] += steps.IDLE_SECONDS + 1
    assert made.is_overdue()
    made._loops.append(SimpleNamespace(taken=0))  # a further training waits for its first batch
    assert not made.is_overdue()
    made._loops[0].taken = 1
    assert made.is_overdue()


def test_a_loop_that_updates_eagerly_is_ended_after_its_steps():
    made, one, other = shortening(2), Remembered(), Remembered()
    for _ in range(2):
        made.eager_update(one)
        made.eager_update(other)
    made.eager_update(one)
    assert made.ended == []
    made.eager_update(other)
    assert made.ended == [""]


class Batches:
    """Stands for an iterator of tf.data that has so many batches."""

    def __init__(self, count):
        self._dataset = SimpleNamespace(cardinality=lambda: count)


def test_a_source_gives_one_batch_again_once_nothing_trains_on_it():
    from labkit.inside.steps import _Source

    source, made = _Source(Batches(5)), iter("abcdefgh")
    assert source.counted() == 5 and source.is_counted
    taken = [source.next(lambda: next(made)) for _ in range(2)]
    source.is_idle = True
    taken += [source.next(lambda: next(made)) for _ in range(3)]
    assert "".join(taken) == "abccc"
    with pytest.raises(StopIteration):
        source.next(lambda: next(made))
    unknown = _Source(Batches(-2))
    unknown.is_idle = True
    assert unknown.counted() is None
    assert [unknown.next(lambda: next(made)) for _ in range(2)] == ["d", "e"]


@given(size=st.integers(1, 9), taken=st.integers(1, 5), more=st.integers(0, 40))
def test_a_prediction_cut_short_has_as_many_rows_as_the_whole(size, taken, more):
    import tensorflow as tf

    from labkit.inside.steps import _Loop

    rows = size * taken + more
    loop = _Loop("prediction", None, rows=rows)
    loop.taken = taken
    last = loop.completed({"a": tf.ones((size, 2)), "b": tf.ones((size,), tf.float16)})
    earlier = size * (taken - 1)  # Keras has those already
    assert earlier + len(last["a"]) == earlier + len(last["b"]) == rows
    assert last["a"].shape[1:] == (2,) and last["b"].dtype == tf.float16


def test_a_prediction_of_batches_is_as_long_as_they_are():
    import tensorflow as tf

    from labkit.inside.steps import _Loop

    loop = _Loop("prediction", None, batches=7)
    loop.taken = 3
    assert len(loop.completed(tf.ones((4, 2)))) == 4 * 5
    unknown = _Loop("prediction", None)
    unknown.taken = 3
    assert len(unknown.completed(tf.ones((4, 2)))) == 4
    assert loop.completed("no rows") == "no rows"


@pytest.mark.parametrize(
    ("given", "rows", "batches"),
    [
        ({"x": np.ones((100, 2)), "batch_size": 8}, 100, 13),
        ({"x": np.ones((100, 2))}, 100, 4),
        ({"x": [np.ones((64, 2)), np.ones((64, 3))], "batch_size": 16}, 64, 4),
        ({"x": np.ones((100, 2)), "batch_size": 10, "validation_split": 0.25}, 75, 8),
        ({"x": np.ones((100, 2)), "batch_size": 10, "steps_per_epoch": 3}, None, 3),
        ({"x": np.ones((100, 2)), "batch_size": 10, "steps": 30}, None, 10),
        ({"x": SimpleNamespace(num_batches=6)}, None, 6),
        ({"x": np.ones((100, 2)), "batch_size": np.int64(8), "steps_per_epoch": np.int64(3)}, None, 3),
        ({"x": SimpleNamespace(shape=(100, 2)), "batch_size": 8}, 100, 13),  # sparse: it has no len()
        ({"x": SimpleNamespace(shape=(None, 2))}, None, None),
        ({"x": SimpleNamespace()}, None, None),
        ({"x": None}, None, None),
    ],
)
def test_how_much_a_loop_goes_through(given, rows, batches):
    from labkit.inside.steps import _amount

    assert _amount(**given) == (rows, batches)


@pytest.mark.parametrize(
    ("x", "given", "batch_size"),
    [
        (np.ones((100, 2)), {"batch_size": np.int64(8)}, 8),
        (np.ones((6, 2)), {"batch_size": np.int64(8)}, 6),
        (np.ones((100, 2)), {}, 32),
        (SimpleNamespace(shape=(100, 2)), {"batch_size": 8}, 8),
        (SimpleNamespace(shape=()), {"batch_size": 8}, None),
        ("no array", {"batch_size": 8}, None),
    ],
)
def test_the_batch_size_is_a_plain_number_whatever_is_given(clock, x, given, batch_size):
    model = SimpleNamespace(steps_per_execution=1)
    clock._around_fit(lambda *args, **kwargs: None, model, x, **given)
    assert clock.batch_size == batch_size and type(clock.batch_size) in (int, type(None))
    clock._around_train_on_batch(lambda *args, **kwargs: None, model, np.ones((1, 2)))  # such as to build it
    clock._around_fit(lambda *args, **kwargs: None, model, x, **given)
    assert clock.batch_size == batch_size
    clock._around_train_on_batch(lambda *args, **kwargs: None, model, x)
    assert type(clock.batch_size) in (int, type(None))


def test_what_json_does_not_know_does_not_end_the_trial():
    facts = {"a": np.int64(3), "b": np.float32(0.5), "c": {1, 2}, "d": [np.bool_(True)], "e": np.ones(2)}
    sent = json.loads(to_json(facts))
    assert sent == {"a": 3, "b": 0.5, "c": "{1, 2}", "d": [True], "e": [1, 1]}


def test_how_much_a_loop_over_tf_data_goes_through():
    import tensorflow as tf

    from labkit.inside.steps import _amount

    batches = tf.data.Dataset.range(100).batch(8)
    assert _amount(batches) == (None, 13)
    assert _amount(batches, steps_per_epoch=5) == (None, 5)
    assert _amount(batches.repeat()) == (None, None)
    assert _amount(batches.repeat(), steps=7) == (None, 7)
    assert _amount(batches.filter(lambda x: True)) == (None, None)


def test_batches_are_kept_for_loops_of_ones_own_only():
    import tensorflow as tf

    made, iterator = shortening(2), iter(tf.data.Dataset.range(3))
    assert made._around_next(lambda _: "batch", iterator) == "batch" and len(made._taken_from) == 1
    made.keep(Remembered(), 1)
    assert made.batches == [3] and len(made._taken_from) == 0
    made._loops.append(None)  # in fit
    assert made._around_next(lambda _: "batch", iterator) == "batch" and len(made._taken_from) == 0


def test_a_step_in_the_graph_of_a_loop_is_no_step_of_its_own():
    import tensorflow as tf

    from labkit.inside.steps import _inside_a_graph_loop

    seen = {}

    def note(name, value):
        seen[name] = _inside_a_graph_loop()
        return value

    tf.function(lambda: note("function", 0))()
    tf.function(lambda: tf.while_loop(lambda i: i < 2, lambda i: note("while", i + 1), [0]))()
    list(tf.data.Dataset.range(2).map(lambda i: note("map", i)))
    assert seen == {"function": False, "while": True, "map": True}


# Whose variable it is


@pytest.mark.parametrize(
    ("path", "layer"),
    [
        ("sequential/dense_1/kernel", "dense_1"),
        ("sequential/dense/kernel", "dense"),
        ("adam/sequential_dense_1_kernel_momentum", "dense_1"),
        ("adam/dense_kernel_velocity", "dense"),
        ("adam/learning_rate", None),
        ("replica_1/dense/kernel", "dense"),
        ("dense_10/kernel", None),
    ],
)
def test_a_variable_belongs_to_the_layer_in_its_path(path, layer):
    from labkit.inside.objects import owner

    assert owner(path, {"dense", "dense_1"}) == layer


# The folder of a trial


def test_folders_of_the_readers_own_are_left_alone_and_those_of_the_dead_are_not(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for name in ("labkit-2026112-notes", "labkit-20261127153000-x", f"labkit-{2**22 - 1}-abcdefgh"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "thesis.txt").write_text("years")
    (tmp_path / "labkit-2026112-notes" / OWNER).touch()
    hold = (
        "from labkit.inside.folder import own_folder\nwith own_folder() as f: print(f, flush=True); input()"
    )
    env, PIPE = {**os.environ, "TMPDIR": str(tmp_path)}, subprocess.PIPE
    others = [
        subprocess.Popen([sys.executable, "-c", hold], text=True, env=env, stdin=PIPE, stdout=PIPE)
        for _ in range(2)
    ]
    dies, lives = (Path(other.stdout.readline().strip()) for other in others)
    others[0].kill()
    others[0].wait()
    assert dies.exists() and lives.exists()
    with own_folder() as own:
        assert not dies.exists() and lives.exists()
        assert len(list(tmp_path.glob("*/thesis.txt"))) == 3
        with own_folder() as second:
            assert own.exists() and second != own
    others[1].communicate("\n")
    assert not lives.exists() and not own.exists()
    assert len(list(tmp_path.iterdir())) == 3


def test_without_a_temporary_folder_it_says_so(monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: ["/nonexistent"])
    with pytest.raises(LabkitError, match="set TMPDIR to another folder"), own_folder():
        pass
