"""Lesson 12: the solutions pass; wrong verdicts are counted, the wrong size is told what it peaks at."""

import json
from pathlib import Path

import numpy as np
import pytest
from answers import answer

from labkit.exercises import ____
from labkit.exercises.lesson12 import VERDICTS, q1, q2

pytestmark = pytest.mark.usefixtures("each_trial_once")

CLAIMS = json.loads((Path(__file__).parent.parent / "notebooks" / "claims.json").read_text())


@pytest.mark.parametrize(("exercise", "name"), [(q1, "verdicts"), (q2, "batch_size")])
def test_the_solution_passes(exercise, name):
    verdict = exercise.check(answer(exercise.solution(), name))
    assert verdict.right, verdict


def test_the_verdicts_are_those_of_the_claims():
    assert {name: CLAIMS[name]["verdict"] for name in VERDICTS} == VERDICTS


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        (VERDICTS | {"A2": "true", "M5": "partly"}, "8 of your 10 verdicts agree"),
        (VERDICTS | {"A2": "true"}, "Not these: A2 (you say true)."),
        (VERDICTS | {"A2": "maybe"}, "'maybe' is not a verdict"),
        ({"A2": "false"}, "Give a verdict on each of A2, B1,"),
        (VERDICTS | {"E1": "true"}, "and on no other claim"),
    ],
)
def test_wrong_verdicts(given, complaint):
    verdict = q1.check(given)
    assert verdict.right is False
    assert complaint in str(verdict)


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        (1024, "With batch size 1,024 it just peaked at"),
        (2**18, "but so does half of it: with batch size 131,072"),
        (1000, "is not a power of two"),
        ("1024", "is not a power of two"),
        (2**30, "too many to try here"),
        (np.int64(2**30), "too many to try here"),
        (True, "is not a power of two"),
    ],
)
def test_wrong_sizes(given, complaint):
    verdict = q2.check(given)
    assert verdict.right is False
    assert complaint in str(verdict)


def test_blanks_are_not_failures():
    assert q1.check(dict.fromkeys(VERDICTS, ____)).right is None
    assert q2.check(____).right is None
