"""Lesson 05: the solutions pass; wrong answers are told what is wrong; a blank is not a failure."""

import pytest
from answers import answer

from labkit.exercises import ____
from labkit.exercises.lesson05 import q1, q2

pytestmark = pytest.mark.usefixtures("each_trial_once")


def feed(rows):
    return answer(f"def feed(names, read_small):\n    return ({rows}).shuffle(256).batch(32)", "feed")


def solved(old, new):
    assert old in q2.solution()
    return answer(q2.solution().replace(old, new), "feed")


@pytest.mark.parametrize(("exercise", "name"), [(q1, "buffer"), (q2, "feed")])
def test_the_solution_passes(exercise, name):
    verdict = exercise.check(answer(exercise.solution(), name))
    assert verdict.right, verdict


@pytest.mark.parametrize(
    ("buffer", "complaint"),
    [
        (8192, "more than 80 MiB"),
        (2048, "more rows mix better"),
        ("2048", "not a number of rows"),
        (0, "not a number of rows"),
    ],
)
def test_wrong_buffers(buffer, complaint):
    verdict = q1.check(buffer)
    assert verdict.right is False
    assert complaint in str(verdict)


@pytest.mark.parametrize(
    ("rows", "complaint"),
    [
        (feed("names.map(read_small).unbatch()"), "files on average, fewer than 6"),
        (feed("names.map(read_small).unbatch().shuffle(8192)"), "more than 28 MiB"),
        (feed("names.shuffle(16).map(read_small).unbatch()"), "files on average, fewer than 6"),
        (feed("names.map(read_small)"), "A batch should have the shape"),
        (feed("names.take(8).map(read_small).unbatch().shuffle(4096)"), "The files hold 8,192 rows"),
        (
            solved(".map(read_small).unbatch()", ".map(read_small).unbatch().repeat(2)"),
            "8,192 of them distinct",
        ),
        (solved("unbatch()", "unbatched()"), "'error'"),
        (solved("cycle_length=8", "cycle_length=16"), "more than 28 MiB"),
        ("feed", "Pass the function itself"),
    ],
)
def test_wrong_feeds(rows, complaint):
    verdict = q2.check(rows)
    assert verdict.right is False
    assert complaint in str(verdict)
    assert "interleave" not in str(verdict)


def test_blanks_are_not_attempted():
    for verdict in (q1.check(____), q2.check(feed("____"))):
        assert verdict.right is None
        assert "Not attempted yet" in str(verdict)
