"""Lesson 10: the solutions pass; wrong answers are told what is wrong; a blank is not a failure."""

import pytest
from answers import answer

from labkit.exercises import ____
from labkit.exercises.lesson10 import as_it_was, q1, q2

pytestmark = pytest.mark.usefixtures("each_trial_once")


def rates(old="", new=""):
    assert old in q2.solution()
    return answer(q2.solution().replace(old, new), "compare_rates")


def clearing(build_sgd, rates, X, y):
    import keras

    losses = []
    for rate in rates:
        keras.backend.clear_session()
        losses += as_it_was(build_sgd, [rate], X, y)
    return losses


@pytest.mark.parametrize(("exercise", "name"), [(q1, "grow"), (q2, "compare_rates")])
def test_the_solution_passes(exercise, name):
    verdict = exercise.check(answer(exercise.solution(), name))
    assert verdict.right, verdict


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ("ABD", "A: you say that it grows"),
        ("D", "B: you say that it does not grow"),
        ("BCD", "C: you say that it grows"),
        ("BDE", "E: you say that it grows"),
        (["B", "D"], "is not an answer"),
    ],
)
def test_wrong_letters(given, complaint):
    verdict = q1.check(given)
    assert verdict.right is False
    assert complaint in str(verdict)


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        (clearing, "it still grows"),
        (rates("        model.set_weights(initial)\n", ""), "Does each rate start from the initial weights?"),
        (rates("range(5)", "range(1)"), "Does each rate train for five steps?"),
        (rates("return losses", "return losses[-1]"), "the result has the shape ()"),
        (rates("set_weights", "set_weight"), "'error'"),
        ("compare_rates", "Pass the function itself"),
    ],
    ids=lambda given: given if isinstance(given, str) else "",
)
def test_wrong_comparisons(given, complaint):
    verdict = q2.check(given)
    assert verdict.right is False
    assert complaint in str(verdict)
    assert str(q2.solution()) not in str(verdict)


def test_blanks_are_not_attempted():
    untouched = "def compare_rates(build_sgd, rates, X, y):\n    initial, losses = ____, []"
    for verdict in (q1.check(____), q2.check(answer(untouched, "compare_rates"))):
        assert verdict.right is None
        assert "Not attempted yet" in str(verdict)
