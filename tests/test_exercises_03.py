"""Lesson 03: the solutions pass; wrong answers are told what is wrong; a blank is not a failure."""

import numpy as np
import pytest
from answers import answer

from labkit.exercises import ____
from labkit.exercises.lesson03 import q1, q2

pytestmark = pytest.mark.usefixtures("each_trial_once")

RESET = "    model.layers[0].reset_state()\n"


def chunks(old="", new=""):
    assert old in q2.solution()
    return answer(q2.solution().replace(old, new), "train_in_chunks")


@pytest.mark.parametrize(("exercise", "name"), [(q1, "largest_batch"), (q2, "train_in_chunks")])
def test_the_solution_passes(exercise, name):
    verdict = exercise.check(answer(exercise.solution(), name))
    assert verdict.right, verdict


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        (64, "64 fits, but so does 71"),
        (1000, "far too large"),
        (np.int64(1000), "1000 is far too large"),
        (0, "0 is not a batch size"),
        ("145", "'145' is not a batch size"),
        (True, "True is not a batch size"),
    ],
)
def test_wrong_batches(given, complaint):
    verdict = q1.check(given)
    assert verdict.right is False
    assert complaint in str(verdict)


def test_a_batch_too_large():
    verdict = q1.check(170)
    assert verdict.right is False
    assert "A batch of 170 ended with status 'oom'" in str(verdict)


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        (chunks(RESET), "still held the state"),
        (chunks("        model", f"    {RESET}        model"), "the state was lost"),
        (chunks("X[:, t : t + chunk], y[:, t : t + chunk]", "X, y"), "a call got 24 time steps"),
        (chunks("X.shape[1], chunk", "X.shape[1], 2 * chunk"), "it trained on 0, 1, 2, 3, 4, 5, 12"),
        (chunks("y[:, t : t + chunk]", "y[:, :chunk]"), "do not belong to the same time steps"),
        (chunks("X[:, t : t + chunk]", "X[t : t + chunk]"), "'error'"),
        (lambda model, X, y, chunk: None, "never called"),
        ("train_in_chunks", "Pass the function itself"),
    ],
    ids=lambda given: given if isinstance(given, str) else "",
)  # fmt: skip
def test_wrong_chunks(given, complaint):
    verdict = q2.check(given)
    assert verdict.right is False
    assert complaint in str(verdict)
    assert str(q2.solution()) not in str(verdict)


def test_blanks_are_not_attempted():
    untouched = "def train_in_chunks(model, X, y, chunk):\n    for t in range(0, 8, ____):\n        pass"
    for verdict in (q1.check(____), q2.check(answer(untouched, "train_in_chunks"))):
        assert verdict.right is None
        assert "Not attempted yet" in str(verdict)
