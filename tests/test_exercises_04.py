"""Lesson 04: the solutions pass; wrong answers are told what is wrong; a blank is not a failure."""

import pytest
from answers import answer

from labkit.exercises import ____
from labkit.exercises.lesson04 import q1, q2

pytestmark = pytest.mark.usefixtures("each_trial_once")


def deeper(old="", new=""):
    assert old in q2.solution()
    return answer(q2.solution().replace(old, new), "deeper")


@pytest.mark.parametrize(("exercise", "name"), [(q1, "helps"), (q2, "deeper")])
def test_the_solution_passes(exercise, name):
    verdict = exercise.check(answer(exercise.solution(), name))
    assert verdict.right, verdict


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ("D", "A: you say that it does not help that much. It just brought the peak to"),
        ("ABD", "B: you say that it helps that much"),
        ("A", "D: you say that it does not"),
        (["A", "D"], "is not an answer"),
        ("AX", "is not an answer"),
    ],
)
def test_wrong_letters(given, complaint):
    verdict = q1.check(given)
    assert verdict.right is False
    assert complaint in str(verdict)


@pytest.mark.parametrize(
    ("build", "complaint"),
    [
        (deeper("strides=2, "), "more than a third. The layer that holds the most at the peak is"),
        (deeper("Conv2D(128", "Conv2D(16"), "yours have [32, 64, 16]"),
        (deeper("(128, 128, 3)", "(64, 64, 3)"), "yours takes (64, 64, 3)"),
        (deeper("Dense(10", "Dense(2"), "yours has the output shape (None, 2)"),
        (deeper("layers.Dense", "layers.Dens"), "'error'"),
        (deeper("return model", "return None"), "should return the model; it returned NoneType"),
        (deeper("layers.Conv2D(128", "layers.SeparableConv2D(16"), "yours have [32, 64, 16]"),
        ("deeper", "Pass the function itself"),
    ],
    ids=lambda given: given if isinstance(given, str) else "",
)
def test_wrong_networks(build, complaint):
    verdict = q2.check(build)
    assert verdict.right is False
    assert complaint in str(verdict)
    assert str(q2.solution()) not in str(verdict)


def test_blanks_are_not_attempted():
    untouched = "def deeper():\n    model = Sequential()\n    model.add(____)\n    return model"
    for verdict in (q1.check(____), q2.check(answer(untouched, "deeper"))):
        assert verdict.right is None
        assert "Not attempted yet" in str(verdict)
