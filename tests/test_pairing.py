"""Pairing the allocations of small trials: over families of rows, batch sizes and pipelines.

`trial` models what TensorFlow allocates in `fit`: the data's arrays, a batch at a time from threads of
tf.data, tensors that are kept and tensors that are not, weights, and the small things whose number varies.
"""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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
@settings(max_examples=120, deadline=None)
def test_no_pair_is_wrong_whatever_the_rows_and_batch_sizes(small, rows, width, kept, named, seed):
    probes = [small, 2 * small]
    far = min(16 * small, rows)
    timelines = [trial(batch, rows, width, kept, named, seed) for batch in probes]
    schedule = schedules([{"batch_size": batch} for batch in probes], timelines)[-1]
    sizes = schedule.sizes({"batch_size": far})
    record = schedule.timeline.record
    own = record.allocations["requested"]
    fixed = {4 * rows * width, 8 * rows, 4 * width * 32}
    per_row = {4 * probes[1] * n: 4 * n for n in (width, 1, *kept)}
    for size, requested in zip(sizes.tolist(), own.tolist(), strict=True):
        if requested in fixed and requested not in per_row:
            assert size == requested
        elif requested in per_row and requested not in fixed and requested > 4 * rows:
            assert size <= per_row[requested] * far
            assert size >= min(per_row[requested] * far, per_row[requested] * rows / 4)


@given(small=st.integers(2, 9), **FAMILY)
@settings(max_examples=60, deadline=None)
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
@settings(max_examples=60, deadline=None)
def test_products_of_two_parameters_are_followed(factors, times, fixed):
    def number(batch, length):
        return times * np.prod([{"b": batch, "l": length}[name] for name in factors]) + (
            fixed if factors else 0
        )

    corners = [(4, 16), (4, 32), (8, 16), (8, 32), (4, 64)]
    formulas = Formulas([{"b": batch, "l": length} for batch, length in corners])
    seen = tuple(int(number(*corner)) for corner in corners)
    assert formulas.values(seen, {"b": 50, "l": 300}) == pytest.approx(number(50, 300), rel=1e-3, abs=1)
