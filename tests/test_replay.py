"""The sequence of allocations of a small trial at other values: records made by hand, replayed."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from test_pairing import COMPUTE, PYTHON, TF_DATA, Tape

from labkit.predict import replay
from labkit.predict.growth import Formulas
from labkit.predict.replay import schedules
from labkit.record.record import Program
from labkit.record.timeline import Timeline

MIB = 2**20


def of(build, at=(4, 8), **facts):
    """The Schedule of the larger of two trials, which `build` makes; at: their points."""
    points = [one if isinstance(one, dict) else {"b": one} for one in at]
    timelines = []
    for point in points:
        tape = Tape()
        build(tape, **point)
        own = {name: fact(**point) if callable(fact) else fact for name, fact in facts.items()}
        timelines.append(Timeline(replace(tape.record(None), **{"batches": [], **own})))
    return schedules(points, timelines)[-1]


def step(tape, b):
    """Weights, two activations, their gradient, and the end of the step."""
    if not tape.rows:
        tape.allocate(PYTHON, 40_960, "w/Initializer/zeros", (10_240,))
    one = tape.allocate(COMPUTE, 4096 * b, "a/Relu", (b, 1024))
    two = tape.allocate(COMPUTE, 8192 * b, "c/Relu", (b, 2048))
    gradient = tape.allocate(COMPUTE, 40_960, "gradient_tape/w/MatMul", (10_240,))
    for row in (one, gradient, two):
        tape.free(row)
    tape.steps.append(tape.place)


def steps(tape, b):
    for _ in range(3):
        step(tape, b)


def peak(b):
    return 2 * 40_960 + 12_288 * b


def test_the_peak_at_other_values():
    schedule = of(steps)
    for b in (8, 64, 100):
        found = schedule.replay({"b": b})
        assert (found.fits, found.peak) == (True, peak(b))
        assert schedule.sizes({"b": b}).tolist()[:4] == [40_960, 4096 * b, 8192 * b, 40_960]
    for b in (2**20, 10**9, 10**12):
        assert schedule.replay({"b": b})[:2] == (True, peak(b))
    assert schedule.replay({"b": 10**30}).peak > 10**17
    assert schedule.point == {"b": 8} and schedule.grows_with("b") and schedule.rows == {}
    assert (schedule.unknown_bytes(), schedule.unknown_share()) == (0, 0)


def test_what_is_smaller_than_the_least_block_is_no_waste():
    assert (
        of(lambda tape, b: [tape.allocate(PYTHON, size) for size in (4, 256)]).bytes_not_requested({"b": 8})
        == 0
    )


def test_the_share_that_was_paired_in_doubt():
    def build(tape, b):
        for size in (400, 800) if b == 4 else (800,):
            tape.allocate(TF_DATA, 1024 * size)
        tape.allocate(PYTHON, 100 * 1024 * b)
        tape.steps.append(tape.place)

    schedule = of(build)
    assert schedule.share_at_peak({"b": 8}, ["unknown"]) == 0
    assert schedule.share_at_peak({"b": 8}, ["unknown"], doubtful=True) > 0.3


def test_what_is_in_use_at_the_peak():
    schedule = of(steps)
    held = schedule.at_peak({"b": 64})
    assert sorted(size for _, size in held) == [40_960, 40_960, 4096 * 64, 8192 * 64]
    assert sorted(i for i, _ in held) == [0, 1, 2, 3]
    rows = [(row.op, size, grows) for row, size, grows in schedule.held_at_peak({"b": 64})]
    assert sorted(rows) == [
        ("a/Relu", 4096 * 64, True), ("c/Relu", 8192 * 64, True),
        ("gradient_tape/w/MatMul", 40_960, False), ("w/Initializer/zeros", 40_960, False),
    ]  # fmt: skip
    assert schedule.largest_fixed_gradient({"b": 64}) == 40_960
    assert schedule.share_at_peak({"b": 64}, ["known"]) == 1
    assert schedule.share_at_peak({"b": 64}, ["guessed", "unknown"]) == 0
    assert schedule.bytes_not_requested({"b": 64}) == 0
    assert schedule.bytes_in_full_queue({"b": 64}) == 0


def test_under_a_limit():
    schedule = of(steps)
    assert schedule.replay({"b": 64}, 2 * MIB).fits
    refused = schedule.replay({"b": 64}, peak(64) - 1)
    assert not refused.fits and refused.peak < peak(64)
    assert sum(size for _, size in schedule.at_peak({"b": 64}, peak(64) - 1)) == peak(64)


def test_of_equal_peaks_the_first_counts():
    schedule = of(steps)
    assert schedule.replay({"b": 8}).place == 3


def test_bytes_by_which_blocks_are_larger():
    def build(tape, b):
        tape.free(tape.allocate(COMPUTE, 1000 * b, "a/Relu", (b, 250)))
        tape.steps.append(tape.place)

    assert of(build).bytes_not_requested({"b": 9}) == 9216 - 9000


def test_unknown_bytes_are_those_at_the_trials_peak():
    def build(tape, b):
        steps(tape, b)
        if b == 8:
            tape.allocate(COMPUTE, 9 * MIB, "once/Relu", (9, 2**18))
            tape.free(tape.allocate(COMPUTE, 2 * MIB, "other", (2, 2**18)))

    schedule = of(build)
    assert schedule.unknown_bytes() == 11 * MIB
    assert schedule.unknown_share() == pytest.approx(11 * MIB / schedule.timeline.peak_bytes)
    assert 0.9 < schedule.share_at_peak({"b": 8}, ["unknown"]) < 1


# Steps that are repeated, and moments


def test_the_last_step_is_repeated_and_all_is_freed_as_before():
    schedule = of(steps)
    [order] = schedule.orders
    assert len(order) == 1 + 6 * (3 + replay.REPEATS)
    count = len(schedule._kind_of)
    held = set()
    for event in order:
        if event >= 0:
            assert event not in held
            held.add(event)
        else:
            held.remove(~event)
    assert held == {0} and max(order) // count == replay.REPEATS


def test_what_a_step_leaves_behind_takes_the_place_of_what_the_one_before_left():
    def build(tape, b):
        left = None
        for _ in range(3):
            now = tape.allocate(COMPUTE, 4096 * b, "a/slot", (b, 1024))
            if left:
                tape.free(left)
            left = now
            tape.steps.append(tape.place)

    schedule = of(build)
    assert schedule.replay({"b": 100}).peak == 2 * 409_600
    assert [size for _, size in schedule.at_peak({"b": 100})] == [409_600, 409_600]


def test_several_steps_are_repeated_where_the_optimizer_takes_several():
    [never] = of(lambda tape, b: [step(tape, b) for _ in range(2)], round=2).orders
    assert len(never) == 1 + 6 * 2
    [once] = of(lambda tape, b: [step(tape, b) for _ in range(4)], round=2).orders
    assert len(once) == 1 + 6 * 4 + 12 * replay.REPEATS


def test_peaks_by_moment():
    def build(tape, b):
        steps(tape, b)
        tape.at = tape.place
        tape.free(tape.allocate(COMPUTE, 100_000 * b, "a/Softmax", (b, 25_000)))

    places = {}

    def marked(tape, b):
        build(tape, b)
        places[b] = tape.at

    of(marked)
    schedule = of(build, moments=lambda b: [[1, "training"], [places[b], "evaluation"]])
    found = schedule.peaks_by_moment({"b": 64})
    assert found["training"] == peak(64)
    assert found["evaluation"] >= 40_960 + 100_000 * 64
    assert set(found) == {"training", "evaluation"}
    again = of(build, moments=lambda b: [[1, "training"], [places[b], "evaluation"], [places[b] + 1, "part"]])
    assert again.peaks_by_moment({"b": 64}) == found
    later = of(build, moments=lambda b: [[1, "training"], [places[b], "other"]])
    assert set(later.peaks_by_moment({"b": 64})) == {"training", "other"}
    never = of(build)
    assert set(never.peaks_by_moment({"b": 64})) == {"training", "other"}
    assert never.peaks_by_moment({"b": 64})["training"] == peak(64)


# Batches in a queue, and rows


def queue(tape, b, waiting=4, rows=100):
    held = [tape.allocate(TF_DATA, 4096 * b, "GatherV2", (b, 1024)) for _ in range(waiting)]
    for _ in range(3):
        tape.free(held.pop(0))
        held.append(tape.allocate(TF_DATA, 4096 * b, "GatherV2", (b, 1024)))
        tape.steps.append(tape.place)


@pytest.mark.parametrize(
    ("batches", "rows"),
    [
        ([lambda b: -(-100 // b)], {"b": 100}), ([lambda b: -(-97 // b)], {"b": 100}), ([lambda b: 13], {}),
        ([lambda b: None], {}), ([lambda b: -(-100 // b), lambda b: -(-40 // b)], {"b": 100}),
        ([lambda b: -(-100 // b), lambda b: 9], {}), ([lambda b: 100 * b], {}),
        ([lambda b: {4: 9, 8: 4}[b]], {}), ([lambda b: {4: 9, 8: 5}[b]], {"b": 36}),  # of 33 to 36
    ],
)  # fmt: skip
def test_rows_are_told_by_the_batches_of_two_trials(batches, rows):
    found = of(steps, batches=lambda b: [one(b) for one in batches]).rows
    assert found == rows


def test_with_fewer_rows_than_the_batch_a_queue_holds_no_more():
    schedule = of(queue, batches=lambda b: [-(-100 // b)])
    assert schedule.sizes({"b": 8})[0] == 4096 * 8
    at_25, at_50, at_100, at_200 = (int(schedule.sizes({"b": b})[0]) for b in (25, 50, 100, 200))
    rows = schedule.rows["b"]
    assert (at_50, at_100, at_200) == (4096 * rows // 4, 4096 * rows // 4, 4096 * rows // 4)
    assert at_25 == 4096 * min(25, rows / 4)
    assert schedule.bytes_in_full_queue({"b": 200}) == 4 * 4096 * rows // 4
    kept = of(
        lambda tape, b: [tape.allocate(PYTHON, 2**20), queue(tape, b)], batches=lambda b: [-(-100 // b)]
    )
    assert kept.bytes_in_full_queue({"b": 200}) == schedule.bytes_in_full_queue({"b": 200})
    assert schedule.bytes_in_full_queue({"b": 8}) == 0
    assert len(schedule.orders) == 1 + replay.SHIFTS
    assert all(schedule.replay({"b": 8}, order=n).fits for n in range(len(schedule.orders)))


@pytest.mark.parametrize("tensors", [1, 2, 3])
def test_a_batch_of_several_alike_tensors_counts_once(tensors):
    """Each batch is made right after a step has ended: with the first event of the next one."""

    def make(tape, b):
        return [tape.allocate(TF_DATA, 4096 * b, "GatherV2", (b, 1024)) for _ in range(tensors)]

    def build(tape, b):
        held = [make(tape, b) for _ in range(3)]
        for _ in range(3):
            held.append(make(tape, b))
            for row in held.pop(0):
                tape.free(row)
            tape.steps.append(tape.place)

    schedule = of(build, batches=lambda b: [-(-100 // b)])
    assert set(schedule.sizes({"b": 200})) == {4096 * schedule.rows["b"] // 4}


def test_with_fewer_rows_than_the_batch_a_batch_is_no_larger():
    schedule = of(steps, batches=lambda b: [-(-100 // b)])
    assert schedule.replay({"b": 200}).peak == peak(schedule.rows["b"])


@pytest.mark.parametrize("steps", [1, 2])
def test_of_few_steps_a_queue_is_told_too(steps):
    def build(tape, b):
        held = [tape.allocate(TF_DATA, 4096 * b, "GatherV2", (b, 1024)) for _ in range(4)]
        for _ in range(steps):
            held += [tape.allocate(TF_DATA, 4096 * b, "GatherV2", (b, 1024)) for _ in range(2)]
            for _ in range(2):
                tape.free(held.pop(0))
            tape.steps.append(tape.place)

    schedule = of(build, batches=lambda b: [-(-100 // b)])
    waiting = 6 if steps == 1 else 3  # a single step does not tell that a batch has two of them
    assert set(schedule.sizes({"b": 200})) == {round(4096 * schedule.rows["b"] / waiting)}


@pytest.mark.parametrize("kind", ["evaluation", "prediction"])
@pytest.mark.parametrize("parts", [[], [[0, "part"]]])
def test_evaluation_has_rows_of_its_own(kind, parts):
    free = of(queue, batches=lambda b: [-(-100 // b)], moments=[[0, kind], *parts])
    assert free.sizes({"b": 50})[0] == 4096 * 50


@pytest.mark.parametrize("kind", replay.EVALUATED)
@pytest.mark.parametrize("held_out", [20, 1000])
def test_what_is_evaluated_is_no_more_than_there_is(kind, held_out):
    """Fewer rows than a batch, or more than there are in training; in small trials the ops look alike."""

    def build(tape, b):
        steps(tape, b)
        begun[b] = tape.place
        step(tape, b)
        tape.steps.pop()

    begun = {}
    schedule = of(
        build,
        batches=lambda b: [-(-100 // b)],
        evaluated=lambda b: {kind: [-(-held_out // b)] * 2},
        moments=lambda b: [[0, "training"], [begun[b], kind]],
    )
    sizes = schedule.sizes({"b": 200}).tolist()
    rows = schedule.rows["b"]
    least, most = 4096 * min(200, held_out), 4096 * min(200, held_out + 8)
    assert sizes[1] == 4096 * rows and rows < 108 and least <= sizes[-3] <= most
    unknown = of(
        build,
        batches=lambda b: [-(-100 // b)],
        evaluated=lambda b: {kind: [-(-held_out // b), None]},
        moments=lambda b: [[0, "training"], [begun[b], kind]],
    )
    assert unknown.sizes({"b": 200})[-3] == 4096 * 200


# What a loop leaves behind


def test_over_the_length_of_a_loop_the_number_of_its_tensors_grows():
    def build(tape, b):
        left = [tape.allocate(COMPUTE, 4096, "while/body/Tanh", (1024,)) for _ in range(b)]
        for row in left:
            tape.free(row)
        tape.steps.append(tape.place)

    assert of(build, at=(4, 8)).replay({"b": 80}).peak == 80 * 4096
    assert of(build, at=(3, 6)).replay({"b": 60}).peak == 6 * 4096  # three at once tell nothing


def test_a_number_of_tensors_that_does_not_grow_changes_no_size():
    def build(tape, b):
        for row in [tape.allocate(COMPUTE, 1000, "while/body/Tanh", (250,)) for _ in range(5)]:
            tape.free(row)
        tape.steps.append(tape.place)

    assert of(build).sizes({"b": 80}).tolist() == [1000] * 5


def test_a_number_of_tensors_that_no_formula_explains_stays_as_it_was():
    def build(tape, b):
        for row in [tape.allocate(COMPUTE, 4096, "while/body/Tanh", (1024,)) for _ in range(b + 1)]:
            tape.free(row)
        tape.steps.append(tape.place)

    assert of(build).sizes({"b": 80}).tolist() == [4096] * 9


def test_at_once():
    tokens = SimpleNamespace(record=SimpleNamespace(allocations={
        "begin": np.array([0, 1, 3, 5]), "end": np.array([2, 4, -1, 6]),
    }))  # fmt: skip
    assert replay._at_once(tokens, [0, 1, 2, 3]) == 2
    assert replay._at_once(tokens, [0, 3]) == 1
    assert replay._at_once(tokens, [2, 3]) == 2


# Scratch memory of a convolution's gradient

CONV = "gradient_tape/conv/Conv3DBackpropInputV2"


@pytest.mark.parametrize(("size", "taken"), [(60_000, True), (26 * 2048 * 8, False)])
def test_scratch_memory_that_only_larger_sizes_take(size, taken):
    def build(tape, b):
        tape.free(tape.allocate(COMPUTE, 8192 * b, CONV, (b, 2048)))
        tape.steps.append(tape.place)

    scratch = [[CONV, size, 2048, 0]]
    assert of(build, scratch=scratch).replay({"b": 8}).peak == 8192 * 8 + (taken and -(-size // 256) * 256)


# The block of a compiled step


def test_a_block_grows_as_what_is_in_it():
    def program(b):
        results = {
            "op": ["a/Relu", "c/Relu"], "shape": [f"[{b},1024]", "[1024]"], "dtype": ["float32"] * 2,
            "users": [[], []], "own": [False] * 2, "bytes": np.array([4096 * b, 4096]),
            "offset": np.array([0, 4096 * b]), "begin": np.array([0, 1]), "end": np.array([2, 2]),
        }  # fmt: skip
        return [Program("step", 4096 * b + 4096, results)]

    def build(tape, b):
        kept = tape.allocate(PYTHON, 4096, "w", (1024,))
        tape.free(tape.allocate(COMPUTE, 4096 * b + 4096))
        tape.steps.append(tape.place)
        assert kept

    schedule = of(build, programs=program)
    assert schedule.replay({"b": 100}).peak == 4096 + 4096 * 100 + 4096
    parts = [(row.op, size, grows) for row, size, grows in schedule.held_at_peak({"b": 8})]
    assert sum(size for _, size, _ in parts) == 4096 * 10
    assert any(op == "a/Relu" for op, _, _ in parts)


# Two parameters


def test_two_parameters():
    def build(tape, b, n):
        tape.free(tape.allocate(COMPUTE, 4096 * b * n, "a/Relu", (b, n, 1024)))
        tape.steps.append(tape.place)

    corners = [{"b": b, "n": n} for b in (4, 8) for n in (16, 32)]
    schedule = of(build, at=corners)
    assert schedule.sizes({"b": 10, "n": 100}).tolist() == [4096 * 1000]
    assert schedule.grows_with("b") and schedule.grows_with("n")
    rows = of(build, at=corners, batches=lambda b, n: [-(-100 // b)]).rows
    assert set(rows) == {"b"}


def test_last_steps():
    def found(steps, round=1, moments=()):
        return replay._last_steps(SimpleNamespace(steps=steps, round=round, moments=list(moments)))

    assert found([3, 6, 9]) == [(6, 9)]
    assert found([9]) == [] and found([]) == []
    assert found([3, 6, 9], round=2) == [(3, 9)]
    assert found([3, 6, 9, 12], moments=[[7, "evaluation"], [8, "part"]]) == [(3, 6), (9, 12)]
    assert Formulas([{"b": 4}]).names == ["b"]


# Records in which something is missing, odd, or stands at the edge


def test_the_schedules_are_those_of_the_two_largest_peaks():
    timelines = []
    for b in (8, 16, 4):
        tape = Tape()
        steps(tape, b)
        timelines.append(Timeline(tape.record(None)))
    found = schedules([{"b": 8}, {"b": 16}, {"b": 4}], timelines)
    assert [one.point for one in found] == [{"b": 8}, {"b": 16}]


def test_a_gpus_record_is_replayed_as_it_was():
    def pooled(rows, held):
        names = ("begin", "end", "bytes", "requested", "address")
        columns = dict(zip(names, np.array(rows).T, strict=True))
        return SimpleNamespace(allocations=columns, pool_bytes=2**20, held_bytes=held, events=9)

    rows = [
        (0, 2, 1024, 1000, 8192), (1, -1, 5120, 5000, 9216), (3, -1, 1024, 900, 8192),
        (4, 5, 2048, 2000, 14_336), (6, -1, 2048, 1800, 14_336), (-1, 7, 4096, 4096, 0),
    ]  # fmt: skip
    pairs = replay.retrace(pooled(rows, 4096))
    assert [recorded for recorded, _ in pairs] == [row[2:5:2] for row in rows[:5]]
    assert all(recorded == replayed for recorded, replayed in pairs)
    moved = [(*row[:4], row[4] + 512 * (n == 2)) for n, row in enumerate(rows)]
    assert [n for n, (one, other) in enumerate(replay.retrace(pooled(moved, 4096))) if one != other] == [2]


@pytest.mark.parametrize(("each", "grows"), [(1, False), (2, False), (3, True)])
def test_what_the_allocator_rounds_away_does_not_grow(each, grows):
    """At 16 times the batch it takes 15 * 8 * each bytes more: the allocator rounds to 256."""

    def build(tape, b):
        tape.free(tape.allocate(COMPUTE, each * b, "a/Relu", (b, each)))
        tape.free(tape.allocate(COMPUTE, 2**20, "c/Relu", (2**20,)))
        tape.steps.append(tape.place)

    assert of(build).grows_with("b") is grows


@pytest.mark.parametrize(
    ("shape", "at_64"),
    [
        (lambda b: [b, 10], "(64, 10)"), (lambda b: [None, 3 * b], "(None, 192)"), (lambda b: [10], "(10)"),
        (lambda b: None, ""), (lambda b: [b] if b == 8 else None, "(8)"),
        (lambda b: [b] if b == 8 else [b, 1], "(8)"), (lambda b: [2 * b + 1], "(129)"),
    ],
)  # fmt: skip
def test_shapes_of_layers_at_other_values(shape, at_64):
    schedule = of(steps, layers=lambda b: [["m/a", "Dense", shape(b)], ["m/c", "ReLU", [b]]])
    assert list(schedule.layers_at({"b": 64})) == [("m/a", "Dense", at_64), ("m/c", "ReLU", "(64)")]


def test_the_largest_of_several_fixed_gradients():
    def build(tape, b):
        for size, op in [
            (80, "w/Initializer/zeros"),
            (20, "gradient_tape/w/MatMul"),
            (40, "gradient_tape/u/MatMul"),
        ]:
            tape.allocate(COMPUTE, 1024 * size, op, (256 * size,))
        tape.allocate(COMPUTE, 8192 * b, "gradient_tape/a/ReluGrad", (b, 2048))

    assert of(build).largest_fixed_gradient({"b": 8}) == 40 * 1024


def test_without_gradients_none_is_the_largest():
    assert of(lambda tape, b: tape.allocate(PYTHON, 4096 * b)).largest_fixed_gradient({"b": 8}) == 0


@pytest.mark.parametrize("name", ["gradient_tape/lstm/while/body/MatMul", "lstm/while/body/MatMul", "a/Relu"])
def test_a_gradient_in_a_loop_is_that_of_a_recurrent_layer(name):
    def build(tape, b):
        tape.free(tape.allocate(COMPUTE, 4096 * b, name, (b, 1024)))
        tape.steps.append(tape.place)

    assert of(build).is_recurrent == name.startswith("gradient_tape/lstm/while")


def test_what_every_step_leaves_behind_does_not_pile_up_as_the_last_is_repeated():
    def build(tape, b):
        for _ in range(3):
            tape.allocate(COMPUTE, 4096 * b, "a/Kept", (b, 1024))
            tape.steps.append(tape.place)

    assert of(build).replay({"b": 100}).peak == 3 * 409_600


def fed(tape, b):
    """Steps whose batch is made by tf.data from the first event on, and freed late, at once, or never."""
    for _ in range(3):
        batch = tape.allocate(TF_DATA, 4096 * b, "GatherV2", (b, 1024))
        tape.free(tape.allocate(TF_DATA, 2048 * b, "Decode", (b, 512)))
        tape.allocate(TF_DATA, 2048, "Labels", (512,))
        step(tape, b)
        tape.free(batch)


def test_in_every_order_each_allocation_comes_before_its_end_and_only_those_of_tf_data_move():
    schedule = of(fed)
    count = len(schedule._kind_of)
    threads = schedule.timeline.record.allocations["thread"]

    def others(order):
        return [e for e in order if threads[(e if e >= 0 else ~e) % count] != TF_DATA]

    for order in schedule.orders:
        held = set()
        for event in order:
            (held.add if event >= 0 else held.remove)(event if event >= 0 else ~event)
        assert set(range(count)) <= set(order) and others(order) == others(schedule.orders[0])
    assert len({tuple(order) for order in schedule.orders}) == 1 + replay.SHIFTS
    assert len({order[0] for order in schedule.orders}) > 1  # what is first can move, too


def test_evaluation_begins_where_the_last_step_ended_and_training_goes_on_after_it():
    places = {}

    def build(tape, b):
        steps(tape, b)
        places[b] = [tape.place]
        tape.free(tape.allocate(COMPUTE, 100_000 * b, "a/Softmax", (b, 25_000)))
        places[b].append(tape.place)
        step(tape, b)

    of(build)
    once = of(build, moments=lambda b: [[places[b][0], "evaluation"]])
    assert once.peaks_by_moment({"b": 64})["training"] == peak(64)
    again = of(build, moments=lambda b: [[places[b][0], "evaluation"], [places[b][1], "training"]])
    found = again.peaks_by_moment({"b": 64})
    evaluated = found.pop("evaluation")
    assert found == {"training": peak(64)} and evaluated > peak(64)


def test_what_lies_between_training_and_evaluation_is_neither():
    places = {}

    def build(tape, b):
        steps(tape, b)
        tape.free(tape.allocate(COMPUTE, 100_000 * b, "a/Softmax", (b, 25_000)))
        places[b] = tape.place
        tape.free(tape.allocate(COMPUTE, 4096, "a/Softmax", (1024,)))

    of(build)
    found = of(build, moments=lambda b: [[places[b], "evaluation"]]).peaks_by_moment({"b": 64})
    assert found["training"] == peak(64) and found["other"] > peak(64) > found["evaluation"]


def test_what_came_first_counts_where_it_was():
    places = {}

    def build(tape, b):
        tape.free(tape.allocate(PYTHON, 10 * MIB))
        steps(tape, b)
        places[b] = tape.place
        tape.free(tape.allocate(COMPUTE, 4096, "a/Softmax", (1024,)))

    of(build)
    found = of(build, moments=lambda b: [[1, "training"], [places[b], "evaluation"]]).peaks_by_moment(
        {"b": 8}
    )
    assert found["training"] >= 10 * MIB and found["evaluation"] < MIB


def test_rows_are_not_told_by_a_trial_whose_batches_are_unknown():
    assert of(steps, batches=lambda b: [None if b == 4 else 13]).rows == {}
    assert of(steps, batches=lambda b: [-(-100 // b), None]).rows == {}
    assert of(steps, batches=lambda b: []).rows == {}


@pytest.mark.parametrize(("thread", "op"), [(COMPUTE, ""), (PYTHON, ""), (TF_DATA, "while/body/Tanh")])
def test_only_what_a_named_op_leaves_behind_in_a_step_piles_up(thread, op):
    def build(tape, b):
        left = [tape.allocate(thread, 4096, op, (1024,)) for _ in range(b)]
        for row in left:
            tape.free(row)
        tape.steps.append(tape.place)

    assert of(build, at=(4, 8)).sizes({"b": 80}).tolist() == [4096] * 8


@pytest.mark.parametrize(("begin", "end", "most"), [([-1], [-1], 0), ([-1, 0], [5, 2], 1), ([0], [-1], 1)])
def test_what_was_there_before_is_not_counted_at_once(begin, end, most):
    columns = {"begin": np.array(begin), "end": np.array(end)}
    tokens = SimpleNamespace(record=SimpleNamespace(allocations=columns))
    assert replay._at_once(tokens, list(range(len(begin)))) == most


# Scratch memory, and blocks, that only one of the trials shows


def convolution(tape, b, seen=False, steps=3):
    tape.allocate(PYTHON, 1024, "w/Initializer/zeros", (256,))
    for _ in range(steps):
        row = tape.allocate(COMPUTE, 8192 * b, CONV, (b, 2048))
        if seen:
            scratch = tape.allocate(COMPUTE, 60_000, CONV, (15_000,))
            scratch[-1] = 1
            tape.free(scratch)
        tape.free(row)
        tape.steps.append(tape.place)


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize(("op", "seen", "taken"), [(CONV, False, 1), (CONV, True, 1), ("other", False, 0)])
def test_scratch_memory_is_taken_once(op, seen, taken, steps):
    facts = {"scratch": [[op, 60_000, 2048, 0]]}
    schedule = of(lambda tape, b: convolution(tape, b, seen, steps), **facts)
    assert schedule.replay({"b": 8}).peak == 1024 + 8192 * 8 + taken * 60_160
    assert len(schedule._scratch) == steps * (taken - seen)


def test_scratch_memory_grows_less_than_the_samples():
    """At 25 times its tensors or less it is taken: 2048 elements for each sample, and 512 others."""
    size = replay.MOST_OVERHEAD * (2048 * 8 + 512)
    schedule = of(convolution, scratch=[[CONV, size, 2048, 512]])
    taken = dict.fromkeys([1, 2, 3], size)
    assert schedule._scratch_at({"b": 8}) == taken and schedule._scratch_at({"b": 9}) == taken
    assert schedule._scratch_at({"b": 7}) == {}


def test_scratch_memory_is_in_the_predicted_peak_and_its_parts():
    schedule = of(convolution, scratch=[[CONV, 60_000, 2048, 0]])
    held = [(row.op, row.category, size, grows) for row, size, grows in schedule.held_at_peak({"b": 8})]
    assert held[0][0] == "w/Initializer/zeros"
    assert held[1:] == [(CONV, "gradients", 8192 * 8, True), (CONV, "workspace", 60_160, True)]
    assert schedule.replay({"b": 8}).peak == 1024 + 8192 * 8 + 60_160
    assert [size for _, size in schedule.at_peak({"b": 8})] == [1024, 8192 * 8]
    assert schedule.bytes_not_requested({"b": 8}) == 0


def results(*rows):
    op, shape, size = zip(*rows, strict=True)
    count, begin = len(rows), np.zeros(len(rows), dtype=int)
    return {
        "op": list(op), "shape": list(shape), "dtype": ["float32"] * count, "users": [[]] * count,
        "own": [False] * count, "bytes": np.array(size), "offset": np.cumsum([0, *size[:-1]]),
        "begin": begin, "end": begin + 1,
    }  # fmt: skip


def block(b, *more):
    rows = [("a/Relu", f"[{b},1024]", 4096 * b), *more]
    return Program("step", sum(size for *_, size in rows), results(*rows))


def compiled(programs):
    def build(tape, b):
        for program in programs(b):
            tape.free(tape.allocate(COMPUTE, program.bytes))
        tape.steps.append(tape.place)

    return of(build, programs=programs)


def test_the_parts_of_a_block_add_up_to_it():
    widths = {"c": 300, "d": 501, "e": 707, "f": 111}
    schedule = compiled(
        lambda b: [block(b, *[(f"{n}/Mul", f"[{b},{w}]", 4 * w * b) for n, w in widths.items()])]
    )
    for b in range(8, 40):
        parts = [size for _, size, _ in schedule.held_at_peak({"b": b})]
        assert len(parts) > 4 and sum(parts) == sum(size for _, size in schedule.at_peak({"b": b}))


def test_a_result_that_only_one_block_holds_keeps_its_size():
    odd = [("odd/Mul", "[3,3,3]", 108_000)]
    schedule = compiled(lambda b: [block(b, *(odd if b == 8 else []))])
    assert schedule.sizes({"b": 80}).tolist() == [4096 * 80 + 108_000]
    assert schedule._growths[0].sort == "unknown"


def test_a_block_that_only_one_trial_has_keeps_its_size():
    def build(tape, b):
        tape.free(tape.allocate(COMPUTE, 4096 * b))
        tape.steps.append(tape.place)

    schedule = of(build, programs=lambda b: [block(b)] if b == 8 else [])
    assert schedule.sizes({"b": 80}).tolist() == [4096 * 8]
    assert schedule.unknown_bytes() == 4096 * 8


def test_an_op_whose_memory_is_as_large_as_a_block_in_one_trial_only_is_unknown():
    def build(tape, b):
        tape.free(tape.allocate(COMPUTE, 4096 * b, "a/Conv"))
        tape.steps.append(tape.place)

    schedule = of(build, programs=lambda b: [block(8)])
    assert schedule.sizes({"b": 80}).tolist() == [4096 * 8]
    assert of(build, programs=[]).sizes({"b": 80}).tolist() == [4096 * 80]
