"""Categories, layers, names and figures of a record made by hand, in which every number is known."""

from dataclasses import replace

import numpy as np
import pytest
from records import timeline as timeline_of

import labkit
from labkit.categories import BEFORE, UNUSED
from labkit.record.labels import form_of
from labkit.record.opnames import updates_weights
from labkit.record.record import Input, Program, Record, Variable
from labkit.record.timeline import HELD
from labkit.record.xla_blocks import IDLE

THREADS = ["", "python", "tf_data_private", "tf_Compute"]
NONE, PYTHON, TF_DATA, COMPUTE = range(4)
SCOPES = {"model/dense": "dense", "model/att": "att"}
SUM, ZEROS = "AddN_3/tmp_var", "AddN_3/tmp_var_zeros"
GRADIENT = "gradient_tape/model/dense/"


def record(rows, events, **facts):
    """A Record of rows (begin, end, op, thread, temp, bytes, shape); the last three may be missing."""
    rows = [(*row, *(0, 4096, "")[len(row) - 4 :]) for row in rows]
    begin, end, op, thread, temp, size, shape = (list(column) for column in zip(*rows, strict=True))
    ops, shapes = list(dict.fromkeys(["", *op])), list(dict.fromkeys(["", *shape]))
    columns = {
        "begin": begin, "end": end, "bytes": size, "requested": size, "thread": thread, "temp": temp,
        "address": [4096 * n for n in range(len(rows))], "dtype": [0] * len(rows),
        "op": list(map(ops.index, op)), "shape": list(map(shapes.index, shape)),
    }  # fmt: skip
    columns = {name: np.array(column) for name, column in columns.items()}
    facts = {"held_bytes": 0, "seconds": np.arange(events) / 10, "optimizers": ["adam"], **facts}
    return Record(columns, ops, shapes, THREADS, ["float32"], events, scopes=SCOPES, **facts)


STEP = [
    # begin, end, op, thread, temp: category, layer
    ((-1, -1, "", PYTHON), "other", None),
    ((0, -1, "adam/dense/momentum/Initializer/zeros", COMPUTE), "optimizer", None),
    ((1, -1, "dense/VarHandleOp", COMPUTE), "other", None),
    ((2, -1, "", PYTHON), "inputs", None),
    ((3, 20, "IteratorGetNext", COMPUTE), "inputs", None),
    ((4, 20, "model/x/Cast", TF_DATA), "inputs", None),
    ((5, 13, "model/dense/Relu", COMPUTE), "activations", "dense"),
    ((5, 12, "model/dense/Relu", COMPUTE), "workspace", "dense"),  # freed as the backward pass begins
    ((6, 10, "model/dense/MatMul", COMPUTE), "workspace", "dense"),
    ((7, 9, "model/dense/Conv2D", COMPUTE, 1), "workspace", "dense"),  # scratch memory of the op
    ((9, 22, "model/att/Einsum", COMPUTE, 1), "activations", "att"),  # which outlives its op
    ((9, 11, "model/att/Einsum", COMPUTE, 1), "workspace", "att"),
    ((11, 19, "Tile", COMPUTE), "activations", None),
    ((12, 15, f"{GRADIENT}MatMul", COMPUTE), "gradients", "dense"),
    ((13, 14, f"{GRADIENT}Conv2DBackpropFilter", COMPUTE, 1), "workspace", "dense"),
    ((14, 15, SUM, COMPUTE, 1), "gradients", None),  # which does not outlive its op
    ((15, 19, ZEROS, COMPUTE), "gradients", None),
    ((16, 17, "model/dense/AddN/tmp_var_zeros", COMPUTE), "workspace", "dense"),
    ((17, 19, "adam/mul_1", COMPUTE), "workspace", None),
    ((18, 19, "Sum", COMPUTE), "gradients", None),
    ((18, 19, "model/x/Mul", COMPUTE), "activations", None),
    ((18, 19, "Mul", PYTHON), "activations", None),
    ((18, 19, "", COMPUTE), "workspace", None),
    ((21, 23, "__inference_step_1", COMPUTE), "workspace", None),
    ((31, 33, "Sum", COMPUTE), "activations", None),  # the second step has no backward pass
]


@pytest.mark.parametrize(("number", "row"), list(enumerate(STEP)))
def test_category_and_layer(number, row):
    timeline = labkit.Timeline(record([row for row, _, _ in STEP], 40, steps=[30, 40]))
    found = timeline.row(number)
    assert (found.category, found.layer) == row[1:], row


BEFORE_STEPS, ONE_STEP = (0, 25), (12, 25)
LASTING = [
    ((*BEFORE_STEPS, "AddV2", PYTHON, 0, 4096), "weights"),  # as large as a slot
    ((*BEFORE_STEPS, "AddV2", PYTHON, 0, 640), "activations"),
    ((*BEFORE_STEPS, "Fill", PYTHON, 0, 4096, "[32,32]"), "weights"),  # as a slot, in shape as well
    ((*BEFORE_STEPS, "zeros_2", PYTHON, 0, 4096, "[8,1,128]"), "activations"),
    ((*BEFORE_STEPS, "dense/kernel/Initializer/random_uniform", PYTHON, 0, 2048), "weights"),
    ((*BEFORE_STEPS, "", PYTHON, 0, 4096), "inputs"),
    ((1, -1, "adam/dense/momentum/Initializer/zeros", PYTHON, 0, 4096, "[32,32]"), "optimizer"),
    ((*ONE_STEP, "adam/AssignSubVariableOp_2", COMPUTE, 0, 8192), "weights"),
    (
        (*ONE_STEP, "StatefulPartitionedCall/adam/cond/then/_48/adam/cond/AssignSubVariableOp", COMPUTE),
        "weights",
    ),
    ((*ONE_STEP, "adam/AssignAddVariableOp_3", COMPUTE, 0, 8192), "optimizer"),
    ((*ONE_STEP, "adam/Mul_3", COMPUTE, 0, 1024), "optimizer"),
    ((12, 15, "adam/AssignSubVariableOp_9", COMPUTE), "workspace"),  # it ends with its step
    ((*ONE_STEP, "AddV2_1", COMPUTE, 0, 4096), "activations"),  # made in a step
    ((*ONE_STEP, "__inference_step_1", COMPUTE, 0, 4096), "optimizer"),
    ((*ONE_STEP, "__inference_step_1", COMPUTE, 0, 512), "workspace"),
    ((*ONE_STEP, "model/dense/Relu", COMPUTE), "activations"),
]


@pytest.mark.parametrize("number", range(len(LASTING)))
def test_without_snapshots_what_outlives_its_step_is_a_variable(number):
    timeline = labkit.Timeline(record([row for row, _ in LASTING], 30, steps=[10, 20, 30]))
    assert timeline.row(number).category == LASTING[number][1], LASTING[number]


@pytest.mark.parametrize(
    ("op", "weights"),
    [
        ("sgd/AssignAddVariableOp_1", True),  # with momentum
        ("sgd/AssignSubVariableOp", True),
        ("sgd/Mul_2", False),
        ("adadelta/AssignAddVariableOp_6", True),
        ("ftrl/clip_by_value_2/Minimum", True),
        ("ftrl/AssignAddVariableOp_2", False),
        ("adam/clip_by_value/Minimum", False),
        ("lion/AssignSubVariableOp_4", True),
    ],
)
def test_which_op_of_an_optimizer_makes_weights(op, weights):
    assert updates_weights(op) is updates_weights(f"StatefulPartitionedCall/{op}") is weights


def test_scratch_memory_that_another_thread_outlasts_stays_scratch():
    rows = [
        (0, 9, "model/att/Einsum", COMPUTE, 1),
        (1, 2, "model/x/Mul", PYTHON),
        (10, 11, f"{GRADIENT}x", 3),
    ]
    assert labkit.Timeline(record(rows, 12)).row(0).category == "workspace"
    rows[1] = (1, 2, "model/x/Mul", COMPUTE)
    assert labkit.Timeline(record(rows, 12)).row(0).category == "workspace"  # freed before the backward pass
    rows[0] = (0, 11, "model/att/Einsum", COMPUTE, 1)
    assert labkit.Timeline(record(rows, 12)).row(0).category == "activations"


def test_a_step_begins_where_the_one_before_it_ends():
    rows = [(1, 2, f"{GRADIENT}x", COMPUTE), (3, 5, "Sum", COMPUTE), (4, 6, f"{GRADIENT}x", COMPUTE)]
    assert labkit.Timeline(record(rows, 8, steps=[3, 8])).row(1).category == "activations"
    assert labkit.Timeline(record(rows, 8, steps=[4, 8])).row(1).category == "gradients"
    rows = [(0, 2, f"{GRADIENT}x", COMPUTE), (1, 5, "Sum", COMPUTE)]
    assert labkit.Timeline(record(rows, 8)).row(1).category == "gradients"


def compiled_step():
    """A block of 4096 bytes from place 0 to 4, in which XLA places five results one after the other."""
    results = {
        "op": ["model/dense/Relu", "model/dense/Tile", f"{GRADIENT}MatMul", f"{GRADIENT}MatMul", "model/x/y"],
        "users": [[f"{GRADIENT}MatMul"], ["model/x/y"], ["adam/mul"], ["adam/mul"], ["adam/mul"]],
        "own": [False, False, False, True, True],
        "shape": ["[8]", "", "", "", ""], "dtype": ["float32", "", "", "", ""],
        "bytes": [1024, 512, 256, 256, 1024], "offset": [0, 1024, 1536, 1792, 2048],
        "begin": [0, 1, 2, 3, 4], "end": [5, 3, 5, 5, 5],
    }  # fmt: skip
    results = {name: column if name in ("op", "users", "shape", "dtype") else np.array(column)
               for name, column in results.items()}  # fmt: skip
    rows = [(0, 4, "model/dense/run", COMPUTE), (2, -1, "w", COMPUTE), (3, 5, "out", COMPUTE, 0, 4096, "[9]")]
    programs = [Program("step", 4096, results)]
    return labkit.Timeline(record(rows, 6, steps=[5], programs=programs))


def test_what_a_compiled_step_holds():
    timeline = compiled_step()
    inside = [timeline.row(n) for n in range(3, 8)]
    assert [row.category for row in inside] == [
        "activations", "workspace", "gradients", "workspace", "activations",
    ]  # fmt: skip
    assert [(row.layer, row.bytes) for row in inside[:3]] == [("dense", 1024), ("dense", 512), ("dense", 256)]
    assert (inside[0].shape, inside[0].dtype) == ("[8]", "float32")
    assert timeline.blocks == [0] and timeline.row(0).layer is None
    assert timeline.peak_bytes == 3 * 4096 and timeline.filled().max() == 2 * 4096 + 1024 + 256 + 256 + 1024
    held = timeline.by_category()
    assert (held["activations"], held["gradients"]) == (2 * 4096 + 2048, 256)
    assert timeline.held_at_peak().tolist() == [True, True, True]
    parts = timeline.parts(0)
    assert sum(share for _, share in parts) == pytest.approx(1)
    assert [row.bytes for row, _ in parts if row.op != IDLE] == [1024, 256, 256, 1024]
    assert timeline.curves()[UNUSED].max() == 4096
    assert timeline.parts(1) == [(timeline.row(1), 1.0)]


def test_the_peak_is_where_most_is_taken_even_if_it_is_idle():
    columns = {"bytes": [1024], "offset": [0], "begin": [0], "end": [1], "own": [False]}
    texts = {"op": ["a"], "users": [[]], "shape": [""], "dtype": [""]}
    program = Program("run", 4096, {**texts, **{name: np.array(column) for name, column in columns.items()}})
    rows = [(0, 2, "run", COMPUTE, 0, 4096), (3, -1, "w", COMPUTE, 0, 3500)]
    timeline = labkit.Timeline(record(rows, 5, steps=[5], programs=[program]))
    assert timeline.total().tolist() == [4096, 4096, 4096, 0, 3500, 3500]
    assert (timeline.peak_at, timeline.filled()[timeline.peak_at], timeline.filled().max()) == (2, 1024, 3500)


def test_a_part_has_the_blocks_and_their_contents_that_are_in_it():
    timeline = compiled_step()
    assert timeline.events == 6 + 5
    assert timeline._part(10, 11).blocks == []
    first = timeline._part(0, 6)  # of five results, two are there
    assert first.blocks == [0]
    assert [row.bytes for row, _ in first.parts(0)] == [1024, 512, 4096 - 1536]


@pytest.mark.parametrize(
    ("refused", "found"),
    [(4096, True), (4116, True), (4117, False), (4076, True), (4075, False), (None, False)],
)
def test_a_refused_block_is_that_of_the_program_of_its_size(refused, found):
    record = compiled_step().record
    block = labkit.Timeline(record, None, refused).refused_block()
    assert (block is not None) == found
    if found:
        assert block.peak_bytes == 4096 and block.by_layer()["dense"] == 1024 + 256 + 256
    larger = replace(record, programs=[*record.programs, Program("other", 8192, record.programs[0].results)])
    other = labkit.Timeline(larger, None, 8192).refused_block()
    assert other.peak_bytes == 8192


def test_variables_are_what_lies_at_their_addresses_when_a_snapshot_is_taken():
    kernel = Variable(0, "weights", "dense/kernel", "dense", "[9,9]", "float32")
    slot = Variable(4096, "optimizer", "adam/slot", "dense", "[7]")
    others = [Variable(n * 4096, "weights", "gone", None) for n in (2, 3, 4)]
    rows = [(0, -1, "x", COMPUTE), (1, 5, "x", COMPUTE)]
    rows += [(5, 9, "x", COMPUTE), (2, 4, "x", COMPUTE), (-1, 0, "x", COMPUTE)]
    found = labkit.Timeline(record(rows, 10, snapshots_at=[5], snapshots=[[kernel, slot, *others]]))
    described = [(row.layer, row.op, row.category, row.shape) for row in map(found.row, range(5))]
    assert described[:2] == [
        ("dense", "dense/kernel", "weights", "[9,9]"),
        ("dense", "adam/slot", "optimizer", "[7]"),
    ]
    assert [row[1] for row in described[2:]] == ["x", "x", HELD]
    assert found.weight_shapes() == {"[9,9]"}
    assert found.layers == ["dense", "att"]


def test_slots_that_were_replaced_have_the_form_of_their_variable():
    slot = Variable(9, "optimizer", "dense/momentum", None, "[9,9]", "float32")
    rows = [(0, 1, "dense/momentum/Initializer/zeros", COMPUTE), (2, 3, "dense/momentum", COMPUTE)]
    timeline = labkit.Timeline(record(rows, 10, snapshots_at=[5], snapshots=[[slot]]))
    assert [(row.op, row.shape) for row in map(timeline.row, range(2))] == [
        ("dense/momentum", "[9,9]"),
        ("dense/momentum", ""),
    ]


def test_zeros_and_sums_are_named():
    rows = [
        (0, 1, SUM, COMPUTE, 1, 64, "[4,4]"),
        (2, 3, ZEROS, COMPUTE),
        (4, 5, "m/AddN/tmp_var_zeros", COMPUTE),
        (6, 7, "m/AddN/tmp_var", COMPUTE, 0, 64, "[2,2]"),
        (8, 9, "m/AddN", COMPUTE),
    ]
    timeline = labkit.Timeline(record(rows, 10))
    assert [(row.op, row.shape) for row in map(timeline.row, range(5))] == [
        (f"{SUM} (a sum of gradients)", "[4,4]"),
        (f"{ZEROS} (zeros that a sum of gradients begins from)", "[4,4]"),
        ("m/AddN/tmp_var_zeros (zeros that a sum begins from)", "[2,2]"),
        ("m/AddN/tmp_var", "[2,2]"),
        ("m/AddN", ""),
    ]


def made(name, shape, source="python", item=4):
    return Input(source, name, "float32", shape, item)


IMAGES, LABELS, ROWS = made("images", [100, 8, 8]), made("labels", [100]), made("rows", [None, 8, 8])


@pytest.mark.parametrize(
    ("size", "inputs", "form"),
    [
        (25_600, [IMAGES, LABELS], ("images", "[100,8,8]", "float32")),
        (400, [IMAGES, LABELS], ("labels", "[100]", "float32")),
        (25_599, [IMAGES, LABELS], None),
        (2560, [ROWS], ("rows", "[10,8,8]", "float32")),
        (2561, [ROWS], None),
        (2560, [ROWS, made("longer", [None, 16, 8])], ("longer", "[5,16,8]", "float32")),
        (2560, [ROWS, made("other", [None, 64])], None),  # as likely, with another shape
        (2560, [ROWS, made("also", [None, 8, 8])], ("also", "[10,8,8]", "float32")),
        (2560, [made("ragged", [None, None, 8])], None),
        (2560, [made("empty", [None, 0])], None),
        (100, [made("bytes", [None], item=1)], ("bytes", "[100]", "float32")),
        (4, [made("one", [])], ("one", "[]", "float32")),
        (8, [made("wide", [1], item=8)], ("wide", "[1]", "float32")),
        (2560, [], None),
    ],
)
def test_form_of_an_input_by_its_size(size, inputs, form):
    assert form_of(size, inputs) == form


@pytest.mark.parametrize(
    ("size", "op", "thread", "name", "shape"),
    [
        (25_600, "", PYTHON, "images", "[100,8,8]"),
        (2560, "", TF_DATA, "a batch", "[10,8,8]"),
        (2560, "", PYTHON, "", ""),
        (77, "", PYTHON, "", ""),
        (77, "", TF_DATA, "from tf.data", ""),
        (8, "", PYTHON, "a number", "[]"),
        (9, "", PYTHON, "", ""),
        (25_600, "TensorSliceDataset", PYTHON, "the copy that tf.data makes of an array", "[100,8,8]"),
        (25_600, "model/x", TF_DATA, "model/x", ""),
        (25_600, "", COMPUTE, "", ""),
    ],
)
def test_inputs_are_named_by_size_and_thread(size, op, thread, name, shape):
    batch = made("a batch", [None, 8, 8], "tf_data")
    found = labkit.Timeline(record([(0, 9, op, thread, 0, size)], 10, inputs=[IMAGES, batch])).row(0)
    assert (found.op, found.shape) == (name, shape)


def test_in_a_profile_the_backward_pass_is_where_it_was_seen():
    rows = [(1, 9, "model/x/Relu", COMPUTE), (2, 3, f"{GRADIENT}a", COMPUTE), (5, 6, f"{GRADIENT}b", COMPUTE)]
    facts = {"source": "x.pb", "held_bytes": 4096}

    def category(end, began):
        rows[0] = (1, end, "model/x/Relu", COMPUTE)
        timeline = labkit.Timeline(record(rows, 10, **facts, backward_at=[began], backward_to=[6]))
        shares = timeline.shares()
        assert (shares[BEFORE], shares["other"], sum(shares.values())) == (4096, 0, timeline.peak_bytes)
        return timeline.row(0).category

    assert [category(end, 5) for end in (9, 4)] == ["activations", "workspace"]
    assert category(4, 2) == "activations"


def test_the_backward_pass_of_a_profile_includes_its_last_place():
    def category(*places):
        rows = [(0, 9, "model/x/Relu", COMPUTE), *((at, at + 1, f"{GRADIENT}a", COMPUTE) for at in places)]
        seen = {"backward_at": [3, 11], "backward_to": [5, 13]}
        return labkit.Timeline(record(rows, 16, source="x.pb", **seen)).row(0).category

    assert category(1, 12) == "workspace"
    assert [category(at, 12) for at in (2, 3, 5, 6)] == [
        "workspace",
        "activations",
        "activations",
        "workspace",
    ]


def test_what_was_held_before_a_profile_is_a_curve_of_its_own():
    rows = [(-1, 3, "", PYTHON), (0, 2, "dense/VarHandleOp", COMPUTE), (4, 5, "model/x/Relu", COMPUTE)]
    facts = {"held_bytes": 3 * 4096}
    seen = labkit.Timeline(record(rows, 6, **facts, source="x.pb")).curves()
    assert seen[BEFORE].tolist() == [12_288, 12_288, 12_288, 8192, 8192, 8192]
    assert seen["other"].tolist() == [4096, 4096, 0, 0, 0, 0]
    own = labkit.Timeline(record(rows, 6, **facts)).curves()
    assert own["other"].tolist() == [16_384, 16_384, 12_288, 8192, 8192, 8192] and BEFORE not in own


def test_a_part_of_a_profile_has_the_steps_that_ended_in_it():
    rows = [(n, n + 1, "model/x/Relu", COMPUTE) for n in range(0, 30, 2)]
    whole = labkit.Timeline(record(rows, 30, source="x.pb", starts=[0, 10, 20], steps=[10, 20, 30]))
    assert [whole.during(step).events for step in (1, 2, 3)] == [10, 10, 10]
    part = whole.until(1.5)
    assert part.during(1).events == 10
    with pytest.raises(ValueError, match="steps 1 to 1"):
        part.during(2)


def test_replicas_on_one_pool_are_told_apart():
    rows = [
        (0, 5, "net/a/MatMul", COMPUTE, 0, 100), (1, 6, "replica_1/net/a/MatMul", COMPUTE, 0, 200),
        (2, 7, "shared", COMPUTE, 0, 400), (3, 8, "replica_1/net/a/Relu", COMPUTE, 0, 800),
        (3, 8, "replica_1/w", COMPUTE, 0, 1600), (3, 8, "w", COMPUTE, 0, 3200),
        (3, 8, "Adam/add", COMPUTE, 0, 6400),
    ]  # fmt: skip
    paths = {2: "shared/kernel", 4: "net/kernel", 5: "net/kernel/replica_1"}
    snapshot = [Variable(n * 4096, "weights", path, None) for n, path in paths.items()]
    facts = {"device": "CPU:0", "held_bytes": 50}
    found = labkit.Timeline(record(rows, 10, **facts, snapshots_at=[4], snapshots=[snapshot]))
    devices = found.devices
    assert found.row(2).category == "weights"
    assert {name: part.peak_bytes for name, part in devices.items()} == {
        "CPU:0": 12_750, "CPU:0 replica 0": 1700, "CPU:0 replica 1": 4200,
    }  # fmt: skip
    assert list(found.on("CPU:0 replica 1").devices) == ["CPU:0", "CPU:0 replica 0", "CPU:0 replica 1"]
    alone = labkit.Timeline(record(rows[:1], 10, device="CPU:0"))
    assert list(alone.devices) == ["CPU:0"]
    others = {"CPU:1": record(rows[:1], 10, device="CPU:1")}
    of_several = labkit.Timeline(record(rows, 10, device="CPU:0", others=others))
    assert list(of_several.devices) == ["CPU:0", "CPU:1"]  # each replica has a device of its own
    assert list(of_several.on("CPU:1").devices) == ["CPU:0", "CPU:1"]


# Figures of a timeline


def blocks():
    """Two steps: building to 4, the first to 8, the second to 12; then 2 more events."""
    rows = [(0, -1, 100, "a", "W"), (4, 8, 10, "b", "X"), (5, 7, 20, "a", "Y"), (8, 11, 40, None, "Z"),
            (9, 10, 5, "b", "V"), (12, -1, 1000, "b", "U")]  # fmt: skip
    return timeline_of(rows, limit=5000, refused=77, steps=[8, 12], events=14)


def test_figures():
    timeline = blocks()
    assert timeline.total().tolist() == [100] * 4 + [110, 130, 130, 110, 140, 145, 140, 100, 1100, 1100]
    assert (timeline.peak_bytes, timeline.peak_at, timeline.events) == (1100, 12, 14)
    assert [row.bytes for row in timeline.at_peak()] == [1000, 100]
    assert [row.bytes for row in timeline.alive(5)] == [100, 20, 10]
    assert [row.bytes for row in timeline.alive(7)] == [100, 10]
    assert timeline.by_layer(9) == {"a": 100, None: 40, "b": 5}
    assert timeline.by_layer() == {"b": 1000, "a": 100}
    assert sum(timeline.by_category(9).values()) == 145
    assert timeline.held_at_peak().tolist() == [True, False, False, False, False, True]


def test_phases():
    timeline = blocks()
    assert timeline.phases == [("step 1", 0, 8), ("step 2", 8, 12), ("after step 2", 12, 14)]
    second = timeline.during(2)
    assert (second.events, second.peak_bytes, second.steps) == (4, 145, [4])
    assert second.total().tolist() == [140, 145, 140, 100]
    assert [row.bytes for row in second.alive(0)] == [100, 40]
    assert second.phases == [("step 2", 0, 4)]
    assert timeline.during(1).events == 8 and timeline.during("building").events == 1
    assert (timeline.covers, second.covers) == ("whole steps 1 to 2", "whole step 2")
    assert (
        timeline._part(8, 14).covers == "whole step 2" and timeline._part(12, 14).covers == "no training step"
    )
    for phase in (3, -1, True, "x", None, 1.0):
        with pytest.raises(ValueError, match=r"'building' or one of the steps 1 to 2"):
            timeline.during(phase)


def test_a_refusal_is_in_the_phase_that_it_ended_and_in_no_other():
    timeline = blocks()
    assert timeline.refused_bytes and timeline.during("building").refused_bytes is None
    assert [timeline.during(step).refused_bytes for step in (1, 2)] == [None, None]
    assert timeline.until(1.0).refused_bytes == timeline.refused_bytes
    at_the_end = timeline_of([(0, -1, 9, "a", "X")], refused=77, steps=[1])
    assert at_the_end.during(1).refused_bytes == 77


def test_building_ends_where_the_call_of_the_first_step_begins():
    rows = [(n, -1, "x", COMPUTE) for n in range(10)]

    def phases(snapshots_at, **facts):
        snapshots = [[] for _ in snapshots_at]
        return labkit.Timeline(
            record(rows, 10, snapshots_at=snapshots_at, snapshots=snapshots, **facts)
        ).phases

    assert phases([2, 4, 6, 9], steps=[6, 9]) == [("building", 0, 4), ("step 1", 4, 6), ("step 2", 6, 9)]
    facts = {"snapshots_at": [2, 4, 6, 9], "snapshots": [[]] * 4, "steps": [6, 9]}
    timeline = labkit.Timeline(record(rows, 10, **facts))
    assert [timeline.during(phase).events for phase in ("building", 1, 2)] == [4, 2, 3]
    assert phases([6, 9], steps=[6, 9])[0] == ("step 1", 0, 6)
    assert phases([4, 6], steps=[6]) == [("building", 0, 4), ("step 1", 4, 6)]
    assert phases([2, 4], steps=[]) == [] and blocks()._part(12, 14).phases == []
    refused = timeline_of([(0, -1, 9, "a", "X")], refused=77)
    assert (refused.phases, refused.covers) == ([], "no training step")


def test_steps_of_a_profile_are_whole_ones_only():
    rows = [(n, -1, "x", COMPUTE) for n in range(10)]
    timeline = labkit.Timeline(record(rows, 10, source="x.pb", starts=[2, 5], steps=[4, 8], covers="all"))
    assert [timeline.during(step).events for step in (1, 2)] == [2, 3]
    assert timeline.covers == "whole steps 1 to 2"
    assert timeline.during(2).during(1).events == 3
    assert (timeline.during(1).covers, timeline.during(2).covers) == ("whole step 1", "whole step 2")
    with pytest.raises(ValueError, match="give one of the steps 1 to 2"):
        timeline.during("building")
    part = labkit.Timeline(record(rows, 10, source="x.pb", covers="part of a step"))
    assert (part.covers, part.during(1).events) == ("part of a step", 10)


@pytest.mark.parametrize(
    ("seconds", "began", "events"),
    [
        (0.05, None, 1),
        (0.45, None, 5),
        (0.5, None, 5),
        (99, None, 10),
        (0, None, 1),
        (10**9 + 2.45, 10**9, 5),
    ],
)
def test_until(seconds, began, events):
    rows = [(n, -1, "x", COMPUTE) for n in range(10)]
    timeline = labkit.Timeline(record(rows, 10, began=began, first_event=2.0))
    assert timeline.until(seconds).events == events
    if began is None:
        with pytest.raises(labkit.LabkitError, match=r"up to 0.9\."):
            timeline.until(10**9)
    assert timeline._part(3, 9).until(0.55).events == 3


def test_curves_add_up_and_only_the_largest_layers_have_one():
    timeline = blocks()
    for by in ("category", "layer"):
        curves = timeline.curves(by)
        assert np.array_equal(sum(curves.values()), timeline.total())
    assert list(timeline.curves("layer")) == ["a", "b", "all others"]
    assert list(timeline.curves("layer", layers=["b"])) == ["b", "all others"]
    assert timeline.curves("layer", layers=["b"])["all others"].max() == 140
    with pytest.raises(ValueError, match="give 'category' or 'layer'"):
        timeline.curves("shape")
    many = timeline_of([(n, -1, 100 - n, f"l{n}", "X") for n in range(10)])
    assert len(many.curves("layer")) == 9 and "l8" not in many.curves("layer")
    without = timeline_of([(10, -1, 9999, None, "X"), *((n, -1, 100 - n, f"l{n}", "X") for n in range(8))])
    assert len(without.curves("layer")) == 9
    assert list(timeline_of([(0, -1, 9, "a", "X")]).curves("layer")) == ["a", "all others"]
    like_others = timeline_of([(0, -1, 9, "all others", "X"), (1, -1, 5, "a", "X"), (2, -1, 3, None, "X")])
    assert {name: curve[-1] for name, curve in like_others.curves("layer").items()} == {
        "a": 5,
        "all others": 12,
    }


def test_what_was_held_before_is_other_of_no_layer():
    held = timeline_of([(0, -1, 100, "a", "X")], held=50)
    assert (held.peak_bytes, held.by_category()["other"], held.by_layer()[None]) == (150, 50, 50)
    assert (held.at_peak()[-1].bytes, held.held_bytes) == (50, 50)
    columns = held.allocations()
    assert [columns[name].tolist() for name in ("begin", "end", "layer")] == [[0, -1], [1, 1], [0, -1]]
    assert repr(held) == "Timeline: 1 event, peak 150 bytes: activations 67 %, other 33 %"
    assert held.curves()["other"].tolist() == [50]
    rows = [(-1, -1, "x", COMPUTE, 0, 30), (0, -1, "y", COMPUTE, 0, 7)]
    known = labkit.Timeline(record(rows, 1, held_bytes=50))
    assert (known.peak_bytes, [row.bytes for row in known.at_peak()]) == (57, [30, 7, 20])


def test_allocations_are_those_of_the_part():
    columns = blocks().during(2).allocations()
    assert columns["begin"].tolist() == [-1, 0, 1]
    assert columns["end"].tolist() == [4, 3, 2]
    assert columns["bytes"].tolist() == [100, 40, 5]
    assert columns["layer"].tolist() == [0, -1, 1] and columns["layers"] == ["a", "b"]
    assert [columns["ops"][n] for n in columns["op"]] == ["scope0/W", "Z", "scope1/V"]
    whole = blocks().allocations()
    assert whole["end"].tolist() == [14, 8, 7, 11, 10, 14]


def test_parts_of_what_is_not_divided_is_itself():
    [(row, share)] = blocks().parts(0)
    assert (row.bytes, share) == (100, 1.0)
    assert blocks().blocks == []


def test_devices_by_number_name_and_allocator():
    rows = [(0, -1, "x", COMPUTE)]

    def one(device, allocator, events=1, others=None):
        return record(rows, events, device=device, allocator=allocator, others=others or {}, source="x.pb",
                      pool_bytes=events)  # fmt: skip

    others = {"GPU:10": one("GPU:10", "GPU_10_bfc", 3)}
    others |= {
        f"host{n} GPU:1": one(f"host{n} GPU:1", f"GPU_1_bfc{n}", events) for n, events in ((1, 4), (2, 2))
    }
    timeline = labkit.Timeline(one("GPU:2", "GPU_2_bfc", 2, others))
    assert list(timeline.devices) == ["GPU:2", "GPU:10", "host1 GPU:1", "host2 GPU:1"]
    assert (timeline.allocator, timeline.on("gpu_1_bfc2").device) == ("GPU_2_bfc", "host2 GPU:1")
    assert timeline.on("GPU:2") is timeline and timeline.on(2) is timeline
    for wanted in (10, "10", "gpu:10", " GPU_10_bfc", "/device:GPU:10"):
        assert (timeline.on(wanted).device, timeline.on(wanted).limit_bytes) == ("GPU:10", 3)
    assert timeline.on(1).device == "host1 GPU:1"  # it has more to tell
    assert list(timeline.on(10).devices) == list(timeline.devices)
    with pytest.raises(labkit.LabkitError, match=r"no device 7 in it. It has GPU:2 \(2 events\)"):
        timeline.on(7)


def test_without_what_a_gpu_tried_out_the_peak_is_that_of_later_steps():
    rows = [(0, 1, "c", COMPUTE, 1, 8192), (2, 3, "c", COMPUTE, 1, 4096), (5, 6, "c", COMPUTE, 1, 4096)]
    timeline = labkit.Timeline(record(rows, 8, steps=[4, 8], device="GPU:0", held_bytes=4096))
    [note] = timeline.notes
    assert note.endswith("without that the peak is 8.00 KiB instead of 12.0 KiB.")
    rows[0] = (0, 1, "c", COMPUTE, 1, 4096)
    assert labkit.Timeline(record(rows, 8, steps=[4, 8], device="GPU:0")).notes == []


def test_a_saved_timeline_keeps_its_limit_its_refusal_and_its_part(tmp_path):
    for part, kept in (
        (blocks().during(2), (5000, None, 4, 145)),
        (blocks()._part(8, 14), (5000, 77, 6, 1100)),
    ):
        part.save(tmp_path / "x")
        again = labkit.Timeline.load(tmp_path / "x")
        assert (again.limit_bytes, again.refused_bytes, again.events, again.peak_bytes) == kept
    blocks().record.save(tmp_path / "x")
    again = labkit.Timeline.load(tmp_path / "x")
    assert (again.limit_bytes, again.refused_bytes, again.events) == (None, None, 14)


@pytest.mark.parametrize("view", [{"limit": 1}, {"limit": 1, "refused": 1, "part": 7}, [1]])
def test_a_saved_record_whose_view_makes_no_sense_is_refused(tmp_path, view):
    blocks().record.save(tmp_path / "x", view)
    with pytest.raises(labkit.LabkitError, match="cannot be read as a labkit record"):
        labkit.Timeline.load(tmp_path / "x")


def test_notes_of_a_profile_tell_what_was_held():
    rows = [(0, -1, "x", COMPUTE)]
    facts = {"held_bytes": 2**20, "notes": ["n"]}
    assert labkit.Timeline(record(rows, 1, **facts)).notes == ["n"]
    told = labkit.Timeline(record(rows, 1, **facts, source="x.pb")).notes
    assert told[0].startswith("1.00 MiB were held before") and told[1:] == ["n"]
    assert "weights, optimizer state and whatever else" in told[0]
    pinned = labkit.Timeline(record(rows, 1, **facts, source="x.pb", allocator="gpu_host_bfc")).notes
    assert pinned[0] == "1.00 MiB were held before the record began."  # no weights are kept there
    assert labkit.Timeline(record(rows, 1, source="x.pb")).notes == []
