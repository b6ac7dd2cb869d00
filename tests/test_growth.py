"""How sizes go on, and which allocation is the counterpart of which: small cases, worked out by hand."""

import itertools
import math
from collections import Counter

import numpy as np
import pytest

from labkit.predict import matching
from labkit.predict.growth import Formulas, Growth, Plan, Shards, TriedOut, Workspace, borrow
from labkit.predict.matching import Results, match_results
from labkit.record.record import Program

BATCHES = [{"b": 4}, {"b": 8}]
THREE = [{"b": 4}, {"b": 8}, {"b": 16}]
ODD = [{"b": 4}, {"b": 8}, {"b": 20}]
BOTH = [{"b": 4, "n": 16}, {"b": 8, "n": 16}, {"b": 4, "n": 32}, {"b": 8, "n": 32}]
TOGETHER = [{"b": 4, "n": 4}, {"b": 8, "n": 8}]
GRID = [{"b": b, "n": n} for b in (10, 20, 40) for n in (10, 20, 40)]


def growth(*seen, points=BATCHES, number=-1):
    return Growth(list(seen), number % len(seen), Formulas(points))


def over_grid(size):
    return tuple(size(**point) for point in GRID)


@pytest.mark.parametrize(
    ("points", "seen", "terms", "confirmed"),
    [
        (BATCHES, (7, 7), [(0,)], True),
        (BATCHES, (None, 7), [(0,)], False),
        (BATCHES, (12, 24), [(1,)], True),
        (BATCHES, (12, 20), [(0,), (1,)], False),
        (BATCHES, (16, 64), [(2,)], True),
        (THREE, (12, 20, 36), [(0,), (1,)], True),
        (THREE, (12, None, 36), [(0,), (1,)], False),
        (THREE, (12, None, 48), [(1,)], True),
        (THREE, (2, 5, 10), [(0,), (1,)], True),  # rounded, as (n + 1) // 2 is
        (ODD, (14, 18, 33), [(0,), (1,)], True),  # 0.46 off the line, as rounding may be
        (ODD, (14, 18, 34), [(0,), (1,), (2,)], False),  # 0.61 off
        (ODD, (60_000, 69_999, 99_999), [(0,), (1,)], True),
        (ODD, (60_001, 70_000, 100_000), [(0,), (1,), (2,)], False),  # too large to be rounded
        (BATCHES, (16, 256), [(0,), (1,)], False),  # of two points no square with a rest is made
        (THREE, (17, 65, 257), [(0,), (2,)], True),
        (BOTH, (12, 24, 12, 24), [(1, 0)], True),
        (BOTH, (64, 128, 128, 256), [(1, 1)], True),
        (BOTH, (16, 16, 32, 32), [(0, 1)], True),
        (BOTH, (256, 256, 1024, 1024), [(0, 2)], True),
        (BOTH, (5, 9, 7, 100), [(0, 0), (1, 0), (0, 1), (1, 1)], False),
        (BOTH, (12, 13, None, None), [(0, 0), (1, 0)], False),
        (BOTH, (260, 264, 1028, 1032), [(0, 0), (1, 0), (0, 1)], True),  # of two values no square with a rest
        (BOTH, (32, 48, 48, None), [(0, 0), (1, 1)], True),  # as well of (1, 0) and (0, 1)
        (TOGETHER, (12, 24), [(0, 1)], True),
        (TOGETHER, (16, 64), [(1, 1)], True),  # of a product rather than of a square
        (GRID, over_grid(lambda b, n: 9 + b * b + b * n + n * n), [(0, 0), (1, 1), (0, 2), (2, 0)], True),
        (GRID, over_grid(lambda b, n: 9 + 70 * b + b * b + b * n + n * n), [(0, 0)], False),  # of five terms
    ],
)
def test_formula(points, seen, terms, confirmed):
    found = Formulas(points).of(seen)
    assert (sorted(found[0]), found[2]) == (sorted(terms), confirmed)


@pytest.mark.parametrize("seen", [(1, 100, 2, 50), (64, 512, 4096, 32_768)])  # the second grows as a cube
def test_what_nothing_explains_stays_as_it_was_seen_last(seen):
    four = Formulas([{"b": 4}, {"b": 8}, {"b": 16}, {"b": 32}])
    terms, coefficients, confirmed = four.of(seen)
    assert (terms, coefficients.tolist(), confirmed) == (((0,),), [seen[-1]], False)
    assert four.values(seen, {"b": 100}) == seen[-1]
    assert four.of((16, 64, 256, 1024)) == (((2,),), pytest.approx([1]), True)


def test_values_at_other_points():
    two = Formulas([{"b": 4}, {"b": 8}])
    assert two.values((12, 20), {"b": 100}) == pytest.approx(204)
    assert two.values((16, 64), {"b": 100}) == pytest.approx(10_000)
    assert Formulas(THREE).values((7, 7, None), {"b": 100}) == 7


def test_pairs_that_grow():
    assert Formulas(BATCHES).upward == [(0, 1)]
    assert Formulas(BOTH).upward == [(0, 1), (0, 2), (0, 3), (1, 3), (2, 3)]


# The bytes of allocations that were seen alike


@pytest.mark.parametrize(
    ("seen", "sort", "shaped", "at_100", "grows"),
    [
        ([((4, 9), 144), ((8, 9), 288)], "known", True, 3600, True),
        ([((4, 9), 72), ((8, 9), 144)], "known", True, 1800, True),
        ([((9, 9), 324), ((9, 9), 324)], "known", True, 324, False),
        ([((4, 9), 144), None], "unknown", True, 144, False),
        ([None, ((8, 9), 288)], "unknown", True, 288, False),
        ([((4, 5), 80), ((8, 9), 288)], "guessed", True, 40400, True),  # 100 by 101
        ([((4, 9), 144), ((8, 7), 224)], "unknown", True, 224, False),  # one grows, one shrinks
        ([((9, 4), 144), ((9, 3), 108)], "guessed", True, 0, True),
        ([(None, 400), (None, 800)], "known", False, 10_000, True),
        ([(None, 400), (None, 700)], "guessed", False, 7600, True),
        ([((), 4), ((), 4)], "known", False, 4, False),
        ([((0, 4), 256), ((0, 8), 256)], "known", False, 256, False),
        ([((4, 9), 144), ((8, 9, 1), 288)], "known", False, 3600, True),
        ([((4, 9), 144), ((8, 9), 289)], "guessed", False, 3624, True),
    ],
)
def test_growth(seen, sort, shaped, at_100, grows):
    own = 0 if seen[-1] is None else 1
    found = growth(*seen, number=own)
    assert (found.sort, found.is_shaped) == (sort, shaped)
    assert found.bytes({"b": 100}) == pytest.approx(at_100, abs=1)
    assert found.depends_on("b") == grows


def test_what_one_of_three_trials_lacks_is_told_by_the_others():
    found = growth(((4, 9), 144), None, ((16, 9), 576), points=THREE)
    assert (found.sort, found.bytes({"b": 100})) == ("known", pytest.approx(3600))
    found = growth(((4, 9), 144), None, ((16, 7), 448), points=THREE)
    assert found.sort == "unknown"


def test_what_was_tried_out_stays_as_it_was_seen():
    found = TriedOut(7)
    assert (found.bytes({"b": 100}), found.depends_on("b"), found.sort) == (7, False, "tried")


def workspace(*sizes, points=BATCHES):
    seen = [size and ((size,), size) for size in sizes]
    return Workspace(seen, len(seen) - 1, Formulas(points))


@pytest.mark.parametrize(
    ("sizes", "points", "sort", "at_64"),
    [
        ((100, 100), BATCHES, "known", 100),
        ((100, 200), BATCHES, "known", 1600),
        ((100, 150), BATCHES, "guessed", 850),  # 50 and 12.5 times the batch
        ((100, 201), BATCHES, "unknown", 201),  # more than twice as much is of another algorithm
        ((655_376, 16_777_216), BATCHES, "unknown", 16_777_216),  # a ResNet-50 on an H200
        ((200, 100), BATCHES, "unknown", 100),
        ((100, 150, 250), THREE, "known", 850),
        ((100, 150, 140), THREE, "unknown", 140),
        ((None, 100), BATCHES, "unknown", 100),
    ],
)
def test_the_scratch_memory_of_one_algorithm_never_shrinks_nor_outgrows_the_batch(sizes, points, sort, at_64):
    found = workspace(*sizes, points=points)
    assert (found.sort, round(found.bytes({"b": 64}))) == (sort, at_64)


@pytest.mark.parametrize(
    ("other", "sort", "at_64"), [((100, 200), "known", 1600), ((20, 200), "unknown", 200)]
)
def test_scratch_memory_without_a_counterpart_borrows_from_one_algorithm_only(other, sort, at_64):
    alone = workspace(None, 200)
    borrow([alone, workspace(*other)])
    assert (alone.sort, round(alone.bytes({"b": 64}))) == (sort, at_64)


def test_nothing_is_smaller_than_nothing():
    assert growth(((4, 18), 288), ((8, 10), 320)).bytes({"b": 100}) >= 0
    shrinks = growth((None, 800), (None, 400))
    assert shrinks.bytes({"b": 100}) == 0


def test_what_has_no_counterpart_borrows():
    alone = ((8, 9), 288)

    def borrowed(*others, own=alone):
        first = growth(None, own)
        borrow([first, *others])
        return first.sort, first.bytes({"b": 100})

    grows, stays = growth(((4, 9), 144), alone), growth(((8, 9), 288), alone)
    assert borrowed() == ("unknown", 288)
    assert borrowed(grows) == ("known", 3600)
    assert borrowed(grows, stays, stays) == ("guessed", 3600)  # of several that which grows
    second = growth(((8, 8), 256), alone)  # its second side grows, to 32 at b = 100
    assert borrowed(grows, second, second) == ("guessed", pytest.approx(1024))
    assert borrowed(grows, second, grows) == ("guessed", 3600)
    assert borrowed(stays) == ("known", 288)
    of_sides = growth(((4, 3), 48), ((8, 3), 96)), growth(((7, 9), 252), ((7, 9), 252))
    assert borrowed(*of_sides) == ("known", 3600)
    assert borrowed(of_sides[0]) == ("unknown", 288)
    assert borrowed(*of_sides, of_sides[0], growth(((8, 5), 160), ((8, 5), 160))) == ("known", 3600)
    flat = growth((None, 400), (None, 800))
    assert borrowed(flat, own=(None, 800)) == ("known", 10_000)
    assert borrowed(flat, own=(None, 801)) == ("unknown", 801)
    assert borrowed(TriedOut(800), own=(None, 800)) == ("unknown", 800)
    assert borrowed(flat, growth((None, 800), (None, 800)), own=(None, 800)) == ("unknown", 800)


def test_of_several_that_grow_as_most_do():
    numbers = {((4, 8),): 2, ((2, 8),): 3, ((8, 8),): 9}
    one = growth(None, ((8,), 32))
    one.take_over(Counter(numbers))
    assert (one.numbers, one.sort) == (((2, 8),), "guessed")
    one.take_over(Counter({((None, 8, 8),): 4, ((2, 4, 8),): 1}))  # not seen is not small
    assert one.numbers == ((2, 4, 8),)
    one.take_over(Counter({((9, 9), (4, 8)): 1, ((9, 9), (8, 8)): 4}))
    assert one.numbers == ((9, 9), (4, 8))


# The scratch memory of a convolution's gradient


def patches(places, weights, filters):
    unit = places * weights + (places + weights) * filters
    return -(-Shards.BUDGET // 4 // unit)


@pytest.mark.parametrize(("places", "weights", "filters"), [(1024, 288, 64), (256, 576, 128), (4096, 27, 32)])
def test_shards(places, weights, filters):
    def seen(times):
        shape = (patches(times * places, weights, filters), times * places, weights)
        return shape, 4 * int(np.prod(shape))

    found = growth(seen(1), seen(2))
    assert (found.sort, found.is_shaped) == ("known", True)
    assert found._shards._filters == pytest.approx(filters, rel=0.2)
    at = found.bytes({"b": 16})
    assert at == pytest.approx(seen(4)[1], rel=0.05)


@pytest.mark.parametrize(
    "shapes",
    [
        [(21, 1024, 288), (21, 1030, 288)],  # as many of them: no need of any
        [(5, 10), (4, 20)],
        [(1, 10, 10), (1, 20, 10)],
        [(21, 1024, 288), (1, 0, 288)],
        [(2, 10, 10), (900, 20, 10)],  # no number of filters explains both
        [(21, 1024, 288), (13, 2048, 288)],  # 61 to 74 filters, and 7 to 28
    ],
)
def test_no_shards(shapes):
    assert Shards.found([(shape, 4) for shape in shapes], 4.0) is None


@pytest.mark.parametrize("sides", [((3, 8), (4, 4)), ((8, 8), (3, 8)), ((16, 8), (9, 4)), ((8, 8), (16, 8))])
def test_shards_are_found_where_a_number_of_filters_explains_all_that_was_seen(sides):
    budget = 1024

    def counted(filters):
        units = (places * weights + (places + weights) * filters for places, weights in sides)
        return tuple(-(-budget // unit) for unit in units)

    possible = [counts for counts in map(counted, range(1, budget // 8)) if counts[0] != counts[1]]
    for counts in [*itertools.permutations(range(2, 12), 2), *possible]:
        seen = [(count, *side) for count, side in zip(counts, sides, strict=True)]
        found = Shards.found([(shape, None) for shape in seen], Shards.BUDGET / budget)
        assert (found is not None) == (counts in possible)
        assert not found or [found.elements(*side) for side in sides] == list(map(math.prod, seen))


def test_from_where_a_patch_was_taken_alone_it_is_again():
    several = (patches(1024, 288, 64), 1024, 288)
    shards = Shards.found([(several, 4), ((1, 4096, 288), 4), ((1, 8192, 288), 4)], 4.0)
    assert shards.elements(4096, 288) == 4096 * 288
    assert shards.elements(4095, 288) > 4096 * 288


def test_where_no_patch_was_taken_alone_none_is():
    seen = [(patches(places, 64, 512), places, 64) for places in (64, 128)]
    shards = Shards.found([(shape, 4) for shape in seen], 4.0)
    assert shards.elements(8192, 64) == 2 * 8192 * 64 > math.prod(seen[0])


def test_a_patch_that_is_work_enough_for_all_is_taken_alone():
    shards = Shards(1000, 2, 500)
    assert shards.elements(50, 10) == 500
    assert shards.elements(49, 10) == 490 * 2  # 1000 / (490 + 118)


# Counterparts


def program(rows, name="step"):
    """A Program of results (op, shape, bytes, begin, end), one after the other in the block."""
    op, shape, size, begin, end = zip(*rows, strict=True)
    offsets = np.cumsum([0, *size])
    count = len(rows)
    results = {
        "op": list(op), "shape": list(shape), "bytes": np.array(size),
        "begin": np.array(begin), "end": np.array(end),
        "offset": offsets[:-1], "own": [False] * count, "dtype": ["float32"] * count, "users": [()] * count,
    }  # fmt: skip
    return Program(name, int(offsets[-1]), results)


def results(point, *ops):
    rows = [(op, shape, size, n, n + 1) for n, (op, shape, size) in enumerate(ops)]
    return Results(program(rows), {"b": point})


def counterparts(one, other):
    return match_results(results(4, *one), results(8, *other)).tolist()


def t(op, *sides):
    return op, f"[{','.join(map(str, sides))}]", 4 * int(np.prod(sides))


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ([t("a", 4, 9), t("b", 4, 9)], [t("a", 8, 9), t("b", 8, 9)], [0, 1]),
        ([t("a", 4, 9), t("b", 4, 9)], [t("b", 8, 9), t("a", 8, 9)], [1, 0]),
        ([t("a", 4, 9)], [t("b", 8, 9)], [-1]),
        ([t("a", 4, 9)], [t("a", 8, 9, 1)], [-1]),
        ([t("a_1", 4, 9)], [t("a_2", 8, 9)], [0]),
        ([t("x/a", 4, 9)], [t("x/b", 8, 9)], [0]),
        ([t("x/a", 4, 9)], [t("y/b", 8, 9)], [-1]),
        ([t("a", 4, 9), t("a", 4, 7)], [t("a", 8, 7)], [-1, 0]),
        ([t("a", 4, 9), t("a", 4, 7)], [t("a", 8, 9)], [0, -1]),
        ([t("a", 4, 7)], [t("a", 8, 9), t("a", 8, 7)], [1]),
        ([t("a", 9, 9)], [t("a", 9, 9)], [0]),
        ([t("a", 4, 9)], [t("a", 4, 8)], [-1]),  # it shrinks
        ([t("a", 4, 9)], [t("a", 8, 20)], [0]),
        ([t("a", 1, 1)], [t("a", 18, 1)], [-1]),  # it grows faster than the fourth power
        ([t("a", 1, 1)], [t("a", 17, 1)], [0]),
        ([t("a", 4, 3), t("a", 4, 5), t("a", 4, 7)], [t("a", 8, 3), t("a", 8, 7)], [0, -1, 1]),
        ([t("a")], [t("a")], [0]),
        ([t("a")], [t("a", 8)], [-1]),
        ([t("a", 4)], [t("a")], [-1]),
    ],
)
def test_counterparts(one, other, expected):
    assert counterparts(one, other) == expected
    back = match_results(results(8, *other), results(4, *one)).tolist()
    assert [back[j] for j in expected if j >= 0] == [i for i, j in enumerate(expected) if j >= 0]


def test_small_ones_of_very_many_are_left_out(monkeypatch):
    monkeypatch.setattr(matching, "MOST", 3)
    large = [t("a", 4, 64), t("a", 4, 65)], [t("a", 8, 64), t("a", 8, 65)]
    assert counterparts(*large) == [0, 1]
    assert counterparts([t("a", 4, 63), *large[0]], [t("a", 8, 31), *large[1]]) == [-1, 1, 2]
    assert counterparts([t("a", 4, 9)] * 2, [t("a", 8, 9)] * 2) == [-1, -1]


# The block of a compiled step


def plan(rows, of_other, number=1):
    own, other = program(rows), program(of_other)
    tokens = [Results(other, {"b": 4}), Results(own, {"b": 8})]
    seen = [(tokens[0].seen(i), tokens[1].seen(i)) for i in range(len(rows))]
    return Plan(seen, [other, own], number, Formulas(BATCHES))


def test_a_block_is_as_large_as_its_fullest_moment():
    def rows(batch):
        return [("a", f"[{batch},100]", 400 * batch, 0, 2), ("b", f"[{batch},100]", 400 * batch, 1, 3),
                ("c", "[1000]", 4000, 2, 4)]  # fmt: skip

    found = plan(rows(8), rows(4))
    # 3200 + 4000 are there at once, in a block of 10,400: at b = 80, 64,000
    assert found.bytes({"b": 8}) == pytest.approx(10_400)
    assert found.bytes({"b": 80}) == pytest.approx(64_000 * 10_400 / 7200)
    assert (found.sort, found.depends_on("b")) == ("known", True)
    assert not plan([("c", "[1000]", 4000, 0, 1)], [("c", "[1000]", 4000, 0, 1)]).depends_on("b")


def test_a_result_that_only_one_trial_has_grows_as_what_has_its_shape():
    def rows(batch, *ops):
        return [(op, f"[{batch},100]", 400 * batch, n, n + 1) for n, op in enumerate(ops)]

    own, other = Results(program(rows(8, "a", "b")), {"b": 8}), Results(program(rows(4, "a")), {"b": 4})
    seen = [(other.seen(0), own.seen(0)), (None, own.seen(1))]
    found = Plan(seen, [other.program, own.program], 1, Formulas(BATCHES))
    assert (found.sort, found.bytes({"b": 80})) == ("known", pytest.approx(64_000))


@pytest.mark.parametrize(("doubted", "sort"), [(1000, "known"), (1001, "guessed")])
def test_of_a_block_only_what_matters_is_in_doubt(doubted, sort):
    def rows(batch, odd):
        return [("a", f"[{batch},500]", 2000 * batch, 0, 2), ("b", f"[{odd}]", 4 * odd, 0, 2)]

    assert plan(rows(38, doubted), rows(19, doubted - 9)).sort == sort  # a twentieth of 80,000 bytes is 4000
