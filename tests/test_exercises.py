"""Every solution passes its own check; wrong answers are told what is wrong; a blank is not a failure."""

import types

import numpy as np
import pytest
from answers import answer

from labkit.exercises import Exercise, ____, lesson00, lesson01

pytestmark = pytest.mark.usefixtures("each_trial_once")


def pieces(inner):
    return lesson01.q2.solution().replace("model.predict_on_batch(X[start : start + rows])", inner)


SOLVED = [(lesson00.q1, "batch_size"), (lesson01.q1, "fits"), (lesson01.q2, "predict_in_pieces")]
WRONG = [
    (lesson00.q1, 64, "does not fit"),
    (lesson00.q1, 8, "a larger batch fits"),
    (lesson00.q1, 12, "not a power of two"),
    (lesson00.q1, "8", "integer of at least 1"),
    (lesson00.q1, True, "integer of at least 1"),
    (lesson00.q1, np.int64(24), "24 is not a power of two"),
    (lesson00.q1, 128, "more than the whole data set"),
    (lesson01.q1, "ABCE", "B: you say that it fits"),
    (lesson01.q1, "AE", "C: you say that it does not fit"),
    (lesson01.q1, 5, "letters of those that fit"),
    (lesson01.q2, pieces("model.predict(X)"), "the result has the shape"),
    (lesson01.q2, pieces("X[start : start + rows]"), "off by up to"),
    (lesson01.q2, pieces("model(X[start : start + rows])"), "stay on the device"),
    (lesson01.q2, pieces("model.predict(X)[start : start + rows]"), "in one allocation"),
    (lesson01.q2, pieces("model.predict_on_batch(X[start])"), "'error'"),
]


@pytest.mark.parametrize(("exercise", "name"), SOLVED, ids=lambda v: v if isinstance(v, str) else "")
def test_the_solution_passes(exercise, name):
    same_trials = types.SimpleNamespace(run=lesson00.run)
    verdict = exercise.check(answer(exercise.solution(), name, train=lesson00.train, labkit=same_trials))
    assert verdict.right, verdict


@pytest.mark.parametrize(("exercise", "given", "complaint"), WRONG, ids=[said for _, _, said in WRONG])
def test_a_wrong_answer_is_told_what_is_wrong(exercise, given, complaint):
    if isinstance(given, str) and "def " in given:
        given = answer(given, "predict_in_pieces")
    verdict = exercise.check(given)
    assert verdict.right is False
    assert complaint in str(verdict)
    assert str(exercise.solution()) not in str(verdict)


@pytest.mark.parametrize(
    "untouched",
    [
        ____,
        [1, ____],
        {"a": ____},
        answer("def predict_in_pieces(model, X):\n    return [____ for x in X]", "predict_in_pieces"),
        answer("def f():\n    def inner():\n        return ____\n    return inner", "f"),
    ],
)
def test_a_blank_is_not_attempted(untouched):
    exercise = Exercise(lambda _: pytest.fail("judged"), "", "")
    verdict = exercise.check(untouched)
    assert verdict.right is None
    assert "Not attempted yet" in str(verdict)


def test_a_finished_function_is_not_a_blank():
    verdict = Exercise(lambda _: None, "", "", "Good.").check(types.SimpleNamespace)
    assert str(verdict) == "✓ Right. Good."


def test_a_verdict_shows_text_not_markup():
    verdict = Exercise(lambda given: f"{given} is\nwrong", "", "").check("<b>")
    assert "&lt;b&gt; is<br>wrong" in verdict._repr_html_()


def test_hint_and_solution_show_as_they_are():
    exercise = Exercise(lambda _: None, "a clue\nin two lines", "x = 1")
    assert repr(exercise.hint()) == "a clue\nin two lines"
    assert repr(exercise.solution()) == "x = 1"
