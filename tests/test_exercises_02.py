"""Lesson 02: the solutions pass; wrong answers are told what is wrong; a blank is not a failure."""

import numpy as np
import pytest
from answers import answer

from labkit.exercises import ____
from labkit.exercises.lesson02 import q1, q2

pytestmark = pytest.mark.usefixtures("each_trial_once")

COPIES = {"rmsprop": 1, "adamw": 2, "lion": 1, "adadelta": 2}


def lighter(old="", new=""):
    assert old in q2.solution()
    return answer(q2.solution().replace(old, new), "lighter")


@pytest.mark.parametrize(("exercise", "name"), [(q1, "copies"), (q2, "lighter")])
def test_the_solution_passes(exercise, name):
    verdict = exercise.check(answer(exercise.solution(), name))
    assert verdict.right, verdict


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({**COPIES, "adamw": 3}, "adamw: you say 3. Its slots took less than 3"),
        ({**COPIES, "lion": 0}, "lion: you say 0. Its slots took more than 0"),
        ({**COPIES, "rmsprop": "1"}, "rmsprop: '1' is not a number of copies"),
        ({**COPIES, "rmsprop": np.int64(1), "adamw": True}, "adamw: True is not a number of copies"),
        ({"adam": 2}, "Keep the dictionary"),
        ([1, 2, 1, 2], "Keep the dictionary"),
    ],
)
def test_wrong_numbers_of_copies(given, complaint):
    verdict = q1.check(given)
    assert verdict.right is False
    assert complaint in str(verdict)


@pytest.mark.parametrize(
    ("build", "complaint"),
    [
        (lighter("strides=2, "), "more than half. The layer that holds the most at the peak is now"),
        (lighter("Conv2D(64", "Conv2D(16"), "fewer than the original's"),
        (lighter("(64, 64, 3)", "(32, 32, 3)"), "yours takes (32, 32, 3)"),
        (lighter("Dense(10", "Dense(2"), "yours has the output shape (None, 2)"),
        (lighter("layers.Dense", "layers.Dens"), "'error'"),
        ("lighter", "Pass the function itself"),
    ],
    ids=lambda given: given if isinstance(given, str) else "",
)
def test_wrong_networks(build, complaint):
    verdict = q2.check(build)
    assert verdict.right is False
    assert complaint in str(verdict)
    assert str(q2.solution()) not in str(verdict)


def test_blanks_are_not_attempted():
    untouched = "def lighter():\n    model = Sequential()\n    model.add(____)\n    return model"
    for verdict in (q1.check({**COPIES, "lion": ____}), q2.check(answer(untouched, "lighter"))):
        assert verdict.right is None
        assert "Not attempted yet" in str(verdict)
