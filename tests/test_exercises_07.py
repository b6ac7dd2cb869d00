"""Lesson 07: the solutions pass; wrong answers are told what is wrong; a blank is not a failure."""

import numpy as np
import pytest
from answers import answer

from labkit.exercises import ____
from labkit.exercises.lesson07 import QUESTIONS, q1, q2

pytestmark = pytest.mark.usefixtures("each_trial_once")

RIGHT = dict(zip(QUESTIONS, (448, 436, 384), strict=True))


def shuffled(old, new):
    assert old in q2.solution()
    return answer(q2.solution().replace(old, new), "shuffled")


@pytest.mark.parametrize(("exercise", "name"), [(q1, "answer"), (q2, "shuffled")])
def test_the_solution_passes(exercise, name):
    verdict = exercise.check(answer(exercise.solution(), name))
    assert verdict.right, verdict


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        (
            {**RIGHT, QUESTIONS[0]: 0},
            "epoch 2 begins with row: you say 0. In the training just now it was more",
        ),
        ({**RIGHT, QUESTIONS[1]: 448}, "rows in epoch 2: you say 448. In the training just now it was less"),
        (
            {**RIGHT, QUESTIONS[2]: 396},
            "epoch 3 begins with row: you say 396. In the training just now it was",
        ),
        ({**RIGHT, QUESTIONS[1]: "436"}, "'436' is not an integer"),
        (
            {**RIGHT, QUESTIONS[0]: np.int64(448), QUESTIONS[1]: True},
            "rows in epoch 2: True is not an integer",
        ),
        ({"rows": 1}, "Keep the dictionary"),
    ],
)
def test_wrong_epochs(given, complaint):
    verdict = q1.check(given)
    assert verdict.right is False
    assert complaint in str(verdict)


@pytest.mark.parametrize(
    ("generator", "complaint"),
    [
        (shuffled("    while True:", "    for _ in range(1):"), "Epoch 2 trained on 0 rows"),
        (shuffled("random.permutation(len(X))", "np.arange(len(X))"), "nothing is shuffled"),
        (shuffled("random.permutation", "np.random.default_rng(0).permutation"), "the same order in every"),
        (shuffled("random.permutation(len(X))", "random.integers(len(X), size=len(X))"), "were repeats"),
        (shuffled("start in range(0, len(X), batch_size)", "start in range(0, 960, 96)"), "were repeats"),
        (
            shuffled("yield X[picked], y[picked]", "yield X[picked], y[np.sort(picked)]"),
            "the y of other rows",
        ),
        (shuffled("yield X[picked]", "yield np.asarray(X)[picked]"), "1,000 of them were read from X"),
        (shuffled("yield X[picked]", "yield Y[picked]"), "NameError"),
        ("shuffled", "Pass the function itself"),
    ],
    ids=lambda given: given if isinstance(given, str) else "",
)
def test_wrong_generators(generator, complaint):
    verdict = q2.check(generator)
    assert verdict.right is False
    assert complaint in str(verdict)
    assert str(q2.solution()) not in str(verdict)


def test_blanks_are_not_attempted():
    untouched = (
        "def shuffled(X, y, batch_size):\n    while True:\n        order = ____\n        yield X[order], y"
    )
    for verdict in (q1.check({**RIGHT, QUESTIONS[0]: ____}), q2.check(answer(untouched, "shuffled"))):
        assert verdict.right is None
        assert "Not attempted yet" in str(verdict)
