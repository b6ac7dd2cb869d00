"""Which allocation of one trial is the counterpart of which in another: cases made by hand."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labkit.predict import matching
from labkit.predict.matching import AFFINE, LEFT_OUT, ODD, SAME, SCRATCH, Results, Tokens, match
from labkit.record.record import Program, Record

PYTHON, TF_DATA, COMPUTE = 1, 2, 3
THREADS = ["", "python", "tf_data_private", "tf_Compute"]


def made(op="a/Relu", size=4096, shape="", thread=COMPUTE, kept=False, temp=False, dtype="float32"):
    return {"op": op, "requested": size, "shape": shape, "thread": thread, "kept": kept, "temp": temp,
            "dtype": dtype}  # fmt: skip


def tokens(*steps, programs=(), **point):
    """The Tokens of a trial that makes these allocations in each of its steps, one after the other."""
    rows = [row for step in steps for row in step]
    tables = {name: [""] for name in ("op", "shape", "dtype")}
    for row in rows:
        for name, table in tables.items():
            if row[name] not in table:
                table.append(row[name])
    columns = {name: np.array([table.index(row[name]) for row in rows]) for name, table in tables.items()}
    columns |= {name: np.array([row[name] for row in rows]) for name in ("requested", "thread")}
    columns["temp"] = np.array([int(row["temp"]) for row in rows])
    columns["begin"] = 2 * np.arange(len(rows))
    columns["end"] = np.where([row["kept"] for row in rows], -1, columns["begin"] + 1)
    record = Record(
        columns, tables["op"], tables["shape"], THREADS, tables["dtype"], 2 * len(rows), 0,
        np.arange(2 * len(rows)), programs=list(programs),
        steps=(2 * np.cumsum([len(step) for step in steps])).tolist(),
    )  # fmt: skip
    in_pipeline = columns["thread"] == TF_DATA
    return Tokens(SimpleNamespace(record=record, in_pipeline=in_pipeline), point or {"b": 4})


def pairs(one, other):
    """The counterparts of what the first of two trials makes in a step, where the parameter is doubled."""
    return match(tokens(one, b=4), tokens(other, b=8))[0].tolist()


# What a pair costs


@pytest.mark.parametrize(
    ("one", "other", "factors", "cost"),
    [
        (7, 7, {2.0}, SAME), (4, 8, {2.0}, SAME), (8, 4, {0.5}, SAME), (7, 4, {0.6}, SAME),
        (3, 7, {2.0}, AFFINE), (100, 101, {2.0}, AFFINE), (7, 3, {0.5}, AFFINE),
        (1, 17, {2.0}, AFFINE), (1, 18, {2.0}, ODD), (18, 1, {0.5}, ODD), (17, 1, {0.5}, AFFINE),
        (8, 4, {2.0}, ODD), (4, 8, {0.5}, ODD),  # one grows as the other shrinks
        (2, 12, {2.0, 3.0, 6.0}, SAME), (1, 1297, {2.0, 3.0, 6.0}, AFFINE), (1, 1298, {2.0, 6.0}, ODD),
        (3, 7, {2.0, 0.5, 1.0}, AFFINE),
    ],
)  # fmt: skip
def test_what_a_dimension_or_size_costs(one, other, factors, cost):
    assert matching._cost_of_pair(one, other, factors) == cost


@pytest.mark.parametrize(
    ("one", "other", "cost"),
    [
        (((4, 10), 160), ((8, 10), 320), SAME), (((4, 10), 160), ((8, 11), 352), AFFINE),
        (((4, 10), 160), ((8, 5), 160), ODD), (((), 4), ((), 4), SAME),
        ((None, 4), (None, 8), SAME), ((None, 4), ((2,), 9), AFFINE), (((2,), 8), (None, 4), ODD),
    ],
)  # fmt: skip
def test_a_tensor_costs_as_much_as_its_worst_dimension(one, other, cost):
    assert matching._cost(one, other, {2.0}) == cost


@pytest.mark.parametrize(
    ("one", "other", "factors"),
    [
        ({"b": 4}, {"b": 8}, {2}), ({"b": 8}, {"b": 4}, {0.5}), ({"b": 4, "n": 2}, {"b": 4, "n": 6}, {1, 3}),
        ({"b": 4, "n": 2}, {"b": 8, "n": 6}, {2, 3, 6}), ({"b": 4, "n": 2}, {"b": 8, "n": 1}, {2, 0.5, 1}),
        ({"b": 4, "n": 16}, {"b": 8, "n": 32}, {2, 4}),
        ({"b": 1, "n": 1, "m": 1}, {"b": 2, "n": 3, "m": 5}, {2, 3, 5, 6, 10, 15, 30}),
    ],
)  # fmt: skip
def test_what_is_proportional_to_parameters_differs_by_their_ratios(one, other, factors):
    found = matching.ratios(SimpleNamespace(point=one), SimpleNamespace(point=other))
    assert found | {1} == factors | {1}


# The cheapest alignment


@pytest.mark.parametrize(
    ("costs", "expected"),
    [
        ([[SAME]], [(0, 0)]), ([[ODD]], []), ([[SCRATCH]], [(0, 0)]),
        ([[ODD, SAME]], [(0, 1)]), ([[ODD], [SAME]], [(1, 0)]), ([[AFFINE, SAME]], [(0, 1)]),
        ([[SAME, ODD], [ODD, SAME]], [(0, 0), (1, 1)]), ([[SAME], [ODD], [AFFINE]], [(0, 0)]),
        ([[SAME, ODD, ODD], [ODD, ODD, SAME]], [(0, 0), (1, 2)]),
    ],
)  # fmt: skip
def test_the_cheapest_pairs(costs, expected):
    assert matching._cheapest(np.array(costs)) == expected


COSTS = st.sampled_from([SAME, 2, AFFINE, SCRATCH, ODD])
TABLES = st.tuples(st.integers(1, 4), st.integers(1, 4)).flatmap(
    lambda size: st.tuples(*[st.tuples(*[COSTS] * size[1])] * size[0])
)


def least(costs, i=0, j=0):
    """The lowest cost of all alignments, tried one by one."""
    if i == len(costs) or j == len(costs[0]):
        return LEFT_OUT * (len(costs) - i + len(costs[0]) - j)
    without = LEFT_OUT + min(least(costs, i + 1, j), least(costs, i, j + 1))
    return min(without, costs[i][j] + least(costs, i + 1, j + 1))


@given(TABLES)
@settings(max_examples=200)
def test_no_alignment_in_order_is_cheaper(costs):
    found = matching._cheapest(np.array(costs))
    left = len(costs) + len(costs[0]) - 2 * len(found)
    assert sum(costs[i][j] for i, j in found) + LEFT_OUT * left == least(costs)
    assert all(i < k and j < m for (i, j), (k, m) in zip(found, found[1:], strict=False))


# What is compared with what


@pytest.mark.parametrize(
    ("allocation", "key"),
    [
        (made("a/Relu", shape="[4,10]"), ("a/Relu", 2, "float32", 0, 0)),
        (made("a/Relu", shape="[]", dtype="int64"), ("a/Relu", 0, "int64", 0, 0)),
        (made("a/Relu", temp=True), ("a/Relu", -1, "float32", 1, 0)),
        (made("", thread=PYTHON), ("", -1, "float32", 0, 0)),
        (made("GatherV2", shape="[4]", thread=TF_DATA), ("GatherV2", 1, "float32", 0, -1)),
        (made("", thread=TF_DATA), None),
        (made("", size=5120), ("XLA", "step", 0)),
        (made("a/Relu", size=5120), ("a/Relu", -1, "float32", 0, 0)),
        (made("", size=5120, kept=True), ("", -1, "float32", 0, 0)),
    ],
)
def test_the_group_of_an_allocation(allocation, key):
    found = tokens([made("b"), allocation], programs=[Program("step", 5120, {})])
    assert found.pipeline == ({} if key else {4096: [1]})
    assert [k for k, places in found.groups.items() if 1 in places] == ([key] if key else [])
    assert found.kept.tolist() == [False, allocation["kept"]]
    assert found.temp.tolist() == [False, allocation["temp"]]


def test_what_was_freed_as_the_record_began_was_not_kept():
    found = tokens([made()])
    columns = found.record.allocations
    columns["begin"], columns["end"] = np.array([-1]), np.array([0])
    assert not Tokens(found.timeline, {"b": 4}).kept.any()


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("a/Relu", "a/Relu", True), ("a/Relu", "a/Relu_1", True), ("a_2/Relu", "a_3/Relu", True),
        ("a/Relu", "a/mul", True), ("a/Relu", "b/Relu", False), ("Relu", "mul", False),
        ("__inference_one_5", "__inference_two_17", True), ("__forward_one_5", "__forward_two_17", True),
        ("__backward_one_5", "__backward_two_17", True), ("__inference_one", "__inference_two", False),
        ("a/_5/x", "a/_17/x", True), ("a__cf__5", "a__cf__17", True),
    ],
)  # fmt: skip
def test_names_that_can_be_of_counterparts(one, other, same):
    assert pairs([made(one)], [made(other)]) == ([0] if same else [-1])


@pytest.mark.parametrize(
    ("facts", "others"),
    [
        ({"shape": "[4,10]"}, {"shape": "[10]"}), ({"shape": "[4]"}, {}), ({}, {"temp": True}),
        ({}, {"dtype": "int64"}), ({}, {"size": 2048}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("other", ["a/Relu", "a/Relu_1", "a/mul"])
def test_no_counterpart_differs_in_rank_type_or_purpose(facts, others, other):
    assert pairs([made(**facts)], [made(other, **others)]) == [-1]


def test_its_own_name_comes_first_then_that_without_numbers_then_its_layer():
    one = [made("a/Relu_1"), made("a/Relu_2"), made("a/add")]
    other = [made("a/mul"), made("a/Relu_7"), made("a/Relu_1")]
    assert pairs(one, other) == [2, 1, 0]


def test_counterparts_are_of_the_same_step():
    found, _ = match(tokens([made()], [made("b/Relu")]), tokens([made("b/Relu")], [made()], b=8))
    assert found.tolist() == [-1, -1]
    assert pairs([made("b/Relu"), made()], [made(), made("b/Relu")]) == [1, 0]


@pytest.mark.parametrize("kept", [[True, False], [False, True]])
def test_of_two_as_good_the_one_that_lives_as_long_is_the_counterpart(kept):
    assert pairs([made()], [made(kept=one) for one in kept]) == [kept.index(False)]
    assert pairs([made(kept=True)], [made(kept=one) for one in kept]) == [kept.index(True)]


@pytest.mark.parametrize(("temp", "found"), [(True, [0]), (False, [-1])])
def test_only_scratch_memory_may_shrink(temp, found):
    assert pairs([made(size=4096, temp=temp)], [made(size=2048, temp=temp)]) == found


def test_what_only_one_of_the_trials_makes_shifts_no_other():
    sizes = [1000 + 200 * i for i in range(9)]
    one, other = [made(size=s) for s in sizes[1:]], [made(size=2 * s) for s in sizes[:-1]]
    assert pairs(one, other) == [1, 2, 3, 4, 5, 6, 7, -1]
    assert pairs([made(size=s) for s in sizes], other) == [0, 1, 2, 3, 4, 5, 6, 7, -1]


@pytest.mark.parametrize(
    ("sizes", "others", "most", "found"),
    [
        ([8, 1024, 8], [2048, 8, 2048], 3, [-1, 2, -1]), ([8, 8], [8, 8], 3, [-1, -1]),
        ([8, 8], [8, 8], 4, [0, 1]), ([1024, 1024], [8, 8], 3, [-1, -1]), ([8, 8], [1024, 1024], 3, [-1, -1]),
        ([1024, 1024], [1024, 1024], 3, [0, 1]),
    ],
)  # fmt: skip
def test_in_a_large_group_small_allocations_have_no_counterparts(monkeypatch, sizes, others, most, found):
    monkeypatch.setattr(matching, "MOST", most)
    one, other = ([made(size=s, temp=True) for s in chosen] for chosen in (sizes, others))
    assert pairs(one, other) == found


# What tf.data allocates without a name


@pytest.mark.parametrize(
    ("sizes", "others", "found", "doubtful"),
    [
        ([40], [80], [0], [False]), ([40], [40], [0], [False]), ([40], [60], [-1], [False]),
        ([40], [40, 80], [1], [True]), ([40, 40], [40, 40, 80], [0, 0], [True, True]),
        ([40, 40], [40, 80, 80], [1, 1], [True, True]),
        ([40, 40], [40, 80, 80, 80], [1, 1], [True, True]),  # as near: what grows
    ],
)  # fmt: skip
def test_batches_are_paired_by_size(sizes, others, found, doubtful):
    one, other = ([made("", size=s, thread=TF_DATA) for s in chosen] for chosen in (sizes, others))
    counterpart, doubts = match(tokens(one, b=4), tokens(other, b=8))
    assert (counterpart.tolist(), doubts.tolist()) == (found, doubtful)


def test_a_batch_over_two_parameters_grows_by_both():
    one, other = [made("", size=256, thread=TF_DATA)], [made("", size=1024, thread=TF_DATA)]
    assert match(tokens(one, b=4, n=16), tokens(other, b=8, n=32))[0].tolist() == [0]


# Results of a compiled program


def results(*rows, **point):
    names = ("op", "shape", "bytes", "begin", "own", "dtype")
    columns = dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))
    return Results(Program("step", 1, columns), point)


def test_results_are_compared_within_their_op_and_in_order():
    one = results(
        ("a/Relu", "[4,9]", 144, 5, False, "f"), ("a/Relu", "[4,2]", 32, 1, False, "f"),
        ("b/Relu", "[4]", 16, 2, True, "f"), ("c/Relu", "[4]", 16, 3, False, "f"), 
        ("d", "[4]", 16, 4, False, "f"), b=4,
    )  # fmt: skip
    other = results(
        ("a/Relu", "[8,2]", 64, 1, False, "f"), ("a/Relu", "[8,9]", 288, 6, False, "f"),
        ("b/Relu", "[8]", 32, 2, False, "f"), ("c/Relu", "[8]", 32, 3, False, "g"),
        ("d", "[8,1]", 32, 4, False, "f"), b=8,
    )  # fmt: skip
    assert matching.match_results(one, other).tolist() == [1, 0, -1, -1, -1]
    assert one.seen(0) == ((4, 9), 144) and one.dimensions(2) == (4,)


# How a record is read


def test_the_parts_of_a_trial_end_with_its_steps_and_moments():
    """A mark stands at the place of the first event after it."""
    record = SimpleNamespace(steps=[10, 20], moments=[[15, "evaluation"]])
    begin = np.array([0, 9, 10, 14, 15, 19, 20])
    assert matching._segments(record, begin).tolist() == [0, 0, 1, 1, 2, 2, 3]


@pytest.mark.parametrize(
    ("shape", "dimensions"),
    [("", None), (None, None), ("[]", ()), ("[7]", (7,)), ("[32,10]", (32, 10)), ("[?,10]", None)],
)
def test_dimensions(shape, dimensions):
    assert matching._dimensions(shape) == dimensions


def test_what_was_seen_of_an_allocation():
    program = Program("step", 5120, {})
    found = tokens([made(shape="[4,10]", size=160), made(size=7), made("", size=5120)], programs=[program])
    assert [found.seen(i) for i in range(3)] == [((4, 10), 160), (None, 7), (program, 5120)]
