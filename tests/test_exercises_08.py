"""Lesson 08: the solutions pass; wrong answers are told what is wrong; a blank is not a failure."""

import pytest
from answers import answer

from labkit.exercises import ____
from labkit.exercises.lesson08 import q1, q2

pytestmark = pytest.mark.usefixtures("each_trial_once")


def model(old="", new=""):
    assert old in q2.solution()
    return answer(q2.solution().replace(old, new), "mixed_model")


@pytest.mark.parametrize(("exercise", "name"), [(q1, "smaller"), (q2, "mixed_model")])
def test_the_solution_passes(exercise, name):
    verdict = exercise.check(answer(exercise.solution(), name))
    assert verdict.right, verdict


@pytest.mark.parametrize("given", ["A, C", "ca"])
def test_letters_may_be_given_in_other_ways(given):
    verdict = q1.check(given)
    assert verdict.right, verdict


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ("C", "A: you say it does not. In a trial"),
        ("ABC", "B: you say it does. In a trial"),
        ("ACD", "D: you say it does. In a trial"),
        ("AE", "give the letters"),
        (["A", "C"], "give the letters"),
    ],
)
def test_wrong_letters(given, complaint):
    verdict = q1.check(given)
    assert verdict.right is False
    assert complaint in str(verdict)


INNER = 'keras.Sequential([layers.Conv2D(4, 3, name="inner", dtype="float32"), layers.Flatten()])'


@pytest.mark.parametrize(
    ("build", "complaint"),
    [
        (model(', dtype="float32"'), "The output is float16"),
        (model('"mixed_float16"', '"float32"'), "computes in float32"),
        (model('8, 3, activation="relu"', '8, 3, name="first", dtype="float32"'), "first computes"),
        (model('"softmax", dtype="float32"', 'lambda y: np.nan * y, dtype="float32"'), "is not a softmax"),
        (model('"mixed_float16"', '"float16"'), "keeps its weights in float16"),
        (model('activation="softmax", '), "that is not a softmax"),
        (model('entropy")', 'entropy", auto_scale_loss=False)'), "a plain Adam"),
        (model("Dense(10", "Dense(2"), "yours has the shapes"),
        (model("layers.Dense", "layers.Dens"), "'error'"),
        (model("return model", "return"), "should return the model; it returned NoneType"),
        (model("layers.Flatten()", INNER), "inner computes in float32"),
        ("mixed_model", "Pass the function itself"),
    ],
    ids=lambda given: given if isinstance(given, str) else "",
)  # fmt: skip
def test_wrong_models(build, complaint):
    verdict = q2.check(build)
    assert verdict.right is False
    assert complaint in str(verdict)
    assert str(q2.solution()) not in str(verdict)


def test_blanks_are_not_attempted():
    untouched = "def mixed_model():\n    return keras.Sequential([____])"
    for verdict in (q1.check(____), q2.check(answer(untouched, "mixed_model"))):
        assert verdict.right is None
        assert "Not attempted yet" in str(verdict)
