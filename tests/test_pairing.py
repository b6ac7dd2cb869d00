"""Pairing the allocations of small trials: over families of rows, batch sizes and pipelines.

`trial` models what TensorFlow allocates in `fit`: the data's arrays, a batch at a time from threads of
tf.data, tensors that are kept and tensors that are not, weights, and the small things whose number varies.
"""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import labkit
from labkit.outcome import Outcome
from labkit.predict.estimation import Estimate
from labkit.predict.growth import Formulas
from labkit.predict.replay import schedules
from labkit.record.record import Record
from labkit.record.timeline import Timeline

THREADS = ["", "python", "tf_data_private", "tf_Compute"]
PYTHON, TF_DATA, COMPUTE = 1, 2, 3


class Tape:
    """Allocations and deallocations in order, which become a Record."""

    def __init__(self):
        self.rows, self.place, self.steps = [], 0, []
        self.tables = {"ops": [""], "shapes": [""]}

    def index(self, table, text):
        known = self.tables[table]
        if text not in known:
            known.append(text)
        return known.index(text)

    def allocate(self, thread, size, op="", shape=None):
        text = "" if shape is None else f"[{','.join(map(str, shape))}]"
        rounded = max(256, -(-size // 256) * 256)
        row = [self.place, -1, rounded, size, 4096 * len(self.rows), self.index("ops", op), thread,
               self.index("shapes", text), 0, 0]  # fmt: skip
        self.place += 1
        self.rows.append(row)
        return row

    def free(self, row):
        row[1] = self.place
        self.place += 1

    def record(self, batches):
        names = ("begin", "end", "bytes", "requested", "address", "op", "thread", "shape", "dtype", "temp")
        columns = dict(zip(names, np.array(self.rows).T, strict=True))
        return Record(
            columns, self.tables["ops"], self.tables["shapes"], THREADS, [""], self.place, 0,
            np.arange(self.place) * 1e-3, steps=self.steps, batches=[batches], trainings=1,
        )  # fmt: skip


def trial(batch, rows, width, kept, named, seed):
    """The Timeline of three steps of training on `rows` rows of `width` numbers."""
    rng, tape = random.Random(seed * batch), Tape()
    for _ in range(rng.randrange(4)):
        tape.allocate(PYTHON, 4)
    tape.allocate(PYTHON, 4 * rows * width)  # the arrays, copied once
    tape.allocate(PYTHON, 4 * rows)
    if rows % batch:  # Keras treats the last, smaller batch separately
        for size in (8 * (rows % batch), 8 * (rows - rows % batch), 4, 4):
            tape.free(tape.allocate(PYTHON, size))
    tape.allocate(TF_DATA, 8 * rows)  # the order of the rows
    waiting = []
    weights = [tape.allocate(PYTHON, 4 * width * 32, "w/Initializer/zeros") for _ in range(2)]

    def make_batch():
        x = ("GatherV2", (batch, width)) if named else ("", None)
        y = ("GatherV2_1", (batch,)) if named else ("", None)
        return [tape.allocate(TF_DATA, 4 * batch * width, *x), tape.allocate(TF_DATA, 4 * batch, *y)]

    for _ in range(3):
        for _ in range(rng.randrange(1, 3)):
            waiting.append(make_batch())
        taken = waiting.pop(0)
        held = [
            tape.allocate(
                COMPUTE, 4 * batch * units, f"layer_{i}/{rng.choice(['Relu', 'Relu'])}", (batch, units)
            )
            for i, units in enumerate(kept)
        ]
        if rng.random() < 0.5:  # which of two ops overwrites its input can vary
            held.append(tape.allocate(COMPUTE, 4 * batch * kept[0], "layer_0/mul", (batch, kept[0])))
        gradient = tape.allocate(COMPUTE, 4 * width * 32, "gradient_tape/w/MatMul", (width, 32))
        for row in [*reversed(held), gradient, *taken]:
            tape.free(row)
        tape.steps.append(tape.place)
    assert weights
    return Timeline(tape.record(-(-rows // batch)))


FAMILY = {
    "rows": st.integers(40, 5000),
    "width": st.integers(3, 900),
    "kept": st.lists(st.integers(1, 3000), min_size=1, max_size=5),
    "named": st.booleans(),
    "seed": st.integers(0, 50),
}


@given(small=st.integers(2, 9), **FAMILY)
@settings(max_examples=120)
def test_no_pair_is_wrong_whatever_the_rows_and_batch_sizes(small, rows, width, kept, named, seed):
    probes = [small, 2 * small]
    far = min(16 * small, rows)
    timelines = [trial(batch, rows, width, kept, named, seed) for batch in probes]
    schedule = schedules([{"batch_size": batch} for batch in probes], timelines)[-1]
    sizes, record = schedule.sizes({"batch_size": far}), schedule.timeline.record
    columns = record.allocations
    for place, requested in enumerate(columns["requested"].tolist()):
        op, thread = record.ops[columns["op"][place]], columns["thread"][place]
        if thread == PYTHON or op.startswith("gradient_tape"):
            if requested == 4 * rows * width or "w/" in op:
                assert sizes[place] == requested
        elif requested != 8 * rows and requested > 4096:  # a queue holds no more than all rows
            per_row = requested / schedule.point["batch_size"]
            assert min(per_row * far, per_row * rows / 4) <= sizes[place] + 1 <= per_row * far + 2


@given(small=st.integers(2, 9), **FAMILY)
@settings(max_examples=60)
def test_what_is_in_doubt_is_not_called_known(small, rows, width, kept, named, seed):
    """Sizes that have nothing to do with the batch size are not taken to be proportional to it."""
    timelines = [trial(batch, rows, width, kept, named, seed) for batch in (small, 2 * small)]
    odd = [7001, 9013]
    for timeline, size in zip(timelines, odd, strict=True):
        chosen = timeline.record.allocations["op"] == timeline.record.ops.index("gradient_tape/w/MatMul")
        timeline.record.allocations["requested"][chosen] = size * width
        timeline.record.allocations["bytes"][chosen] = size * width
    schedule = schedules([{"batch_size": small}, {"batch_size": 2 * small}], timelines)[-1]
    growth = [g for g in schedule._growths if g.own[1] == odd[1] * width]
    assert all(one.sort == "guessed" for one in growth if one.is_matched)


@pytest.mark.parametrize(
    ("seen", "at", "expected"),
    [
        ((32, 32, 32), 500, 32),
        ((16, 32, 64), 500, 500),
        ((14, 30, 62), 500, 498),
        ((8, 16, 32), 500, 250),
        ((7, 15, 31), 501, 249.5),
        ((256, 1024, 4096), 160, 25600),
        ((196, 900, 3844), 160, 158**2),
    ],
)
def test_the_simplest_formula_that_explains_all_sizes_is_taken(seen, at, expected):
    formulas = Formulas([{"side": 16}, {"side": 32}, {"side": 64}])
    assert formulas.values(seen, {"side": at}) == pytest.approx(expected, abs=0.6)


@given(
    st.sampled_from([(), ("b",), ("l",), ("b", "l"), ("l", "l")]),
    st.integers(1, 500),
    st.integers(0, 300),
)
@settings(max_examples=60)
def test_products_of_two_parameters_are_followed(factors, times, fixed):
    def number(batch, length):
        return times * np.prod([{"b": batch, "l": length}[name] for name in factors]) + (
            fixed if factors else 0
        )

    corners = [(4, 16), (4, 32), (8, 16), (8, 32), (4, 64)]
    formulas = Formulas([{"b": batch, "l": length} for batch, length in corners])
    seen = tuple(int(number(*corner)) for corner in corners)
    assert formulas.values(seen, {"b": 50, "l": 300}) == pytest.approx(number(50, 300), rel=1e-3, abs=1)


MIB = 2**20


@pytest.fixture(scope="module")
def over_two():
    """An Estimate over the batch size and the width."""
    probes = []
    for batch, width in [(4, 64), (4, 128), (8, 64), (8, 128)]:
        timeline = trial(batch, 4000, width, (7 * width, 11 * width), True, 1)
        point = {"batch_size": batch, "width": width}
        facts = {"peak_bytes": timeline.peak_bytes, "wall_seconds": 1.0, "timeline": timeline}
        probes.append((point, Outcome("ok", point, "cpu", **facts)))
    return Estimate(("batch_size", "width"), {"batch_size": (4, 8), "width": (64, 128)}, probes)


def test_an_estimate_over_two_parameters_answers_by_name(over_two):
    assert all("tf.data makes its batches" in note for note in over_two.notes)
    assert over_two.peak_bytes(batch_size=8, width=128) == pytest.approx(over_two.measured[8, 128], rel=0.05)
    far = trial(64, 4000, 1024, (7 * 1024, 11 * 1024), True, 1).peak_bytes
    assert over_two.peak_bytes(batch_size=64, width=1024) == pytest.approx(far, rel=0.05)
    for arguments, said in [
        ({"batch_size": 8}, "batch_size=..., width=..."),
        ({"value": 8}, "by name"),
        ({"batch_size": 8, "width": -1}, "positive"),
        ({"batch_size": 8, "width": 64, "depth": 2}, "over batch_size and width"),
    ]:
        with pytest.raises(labkit.LabkitError, match=said):
            over_two.peak_bytes(**arguments)


def test_the_frontier_is_what_fits_over_both(over_two):
    frontier = over_two.frontier("128 MiB", values=[256, 512, 1024])
    for width, batch in frontier.items():
        assert over_two.peak_bytes(batch_size=batch, width=width) <= 128 * MIB
        assert over_two.peak_bytes(batch_size=round(1.3 * batch) + 1, width=width) > 128 * MIB
    assert list(frontier.values()) == sorted(frontier.values(), reverse=True)
    figure = over_two.plot("128 MiB")
    drawn = figure.axes[0].lines[0].get_xydata()
    assert drawn[:, 1].tolist() == [v for v in over_two.frontier("128 MiB").values() if v]
    with pytest.raises(labkit.LabkitError, match="memory_limit"):
        over_two.plot()
    with pytest.raises(labkit.LabkitError, match="give width=64"):
        over_two.largest("128 MiB")


def test_an_interval_is_wide_where_growth_is_unknown_and_narrow_where_it_is_not(over_two):
    def width(estimate, **point):
        low, high = estimate.interval(**point)
        return (high - low) / estimate.peak_bytes(**point)

    point = {"batch_size": 64, "width": 512}
    assert 0.04 <= width(over_two, **point) < 0.2
    doubted = Estimate(over_two.over, over_two.at, over_two._probes)
    for schedule in doubted._schedules:
        for growth in schedule._growths:
            growth.sort = "unknown"
    assert next(doubted._doubts()).endswith("up to the upper end of the interval.")
    assert width(doubted, **point) > 1
    assert doubted.interval(**point)[1] > over_two.peak_bytes(**point)
