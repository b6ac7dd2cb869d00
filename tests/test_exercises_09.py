"""Lesson 09: the solutions pass; wrong answers are told what is wrong; a blank is not a failure."""

import numpy as np
import pytest
from answers import answer

from labkit.exercises import ____
from labkit.exercises.lesson09 import SETTINGS, q1, q2

pytestmark = pytest.mark.usefixtures("each_trial_once")


@pytest.mark.parametrize(("exercise", "name"), [(q1, "order"), (q2, "settings")])
def test_the_solution_passes(exercise, name):
    verdict = exercise.check(answer(exercise.solution(), name))
    assert verdict.right, verdict


def test_an_order_may_have_commas():
    verdict = q1.check("d, c, a, b")
    assert verdict.right, verdict


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ("ABCD", "You put B before C. In the trials just now B peaked at"),
        ("DCBA", "You put B before A."),
        ("CDAB", "You put C before D."),
        ("BCA", "is not an order of A, B, C and D"),
        (["B", "C"], "is not an order of A, B, C and D"),
    ],
)
def test_wrong_orders(given, complaint):
    verdict = q1.check(given)
    assert verdict.right is False
    assert complaint in str(verdict)


def settings(micro_batches, accumulate, recompute):
    return dict(zip(SETTINGS, (micro_batches, accumulate, recompute), strict=True))


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        (settings(4, None, False), "have not led to the same updates"),
        (settings(2, 2, False), "more than a quarter"),
        (settings(8, 1, True), "'error'"),
        (settings(3, 3, True), "does not divide 2,048 rows into equal micro-batches"),
        (settings(True, None, True), "does not divide 2,048 rows into equal micro-batches"),
        (settings(8, 8, "yes"), "neither True nor False"),
        (settings(np.int64(8), np.int64(8), "yes"), "neither True nor False"),
        ({"micro_batches": 8}, "Keep the dictionary"),
    ],
)
def test_wrong_settings(given, complaint):
    verdict = q2.check(given)
    assert verdict.right is False
    assert complaint in str(verdict)
    assert str(q2.solution()) not in str(verdict)


def test_blanks_are_not_attempted():
    for verdict in (q1.check(____), q2.check(settings(8, ____, True))):
        assert verdict.right is None
        assert "Not attempted yet" in str(verdict)
