"""Every solution passes its own check; wrong answers are told what is wrong; a blank is not a failure."""

import importlib
import types

import numpy as np
import pytest
from answers import answer

from labkit.exercises import (
    Exercise,
    ____,
    core,
    lesson00,
    lesson01,
    lesson03,
    lesson07,
    lesson09,
    lesson11,
    lesson13,
)
from labkit.explain.diagnosis import explain
from labkit.logs.failure import Failure
from labkit.outcome import Outcome, TrialError
from labkit.sizes import MIB

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
    (lesson01.q2, pieces("np.nan * X[start : start + rows]"), "off by up to nan"),
    (lesson01.q2, pieces("model(X[start : start + rows])"), "stay on the device"),
    (lesson01.q2, pieces("model.predict(X)[start : start + rows]"), "in one allocation"),
    (lesson01.q2, pieces("model.predict_on_batch(X[start])"), "'error'"),
    (lesson01.q2, pieces("0").replace("np.concatenate(pieces)", "[*X]"), "join the blocks"),
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


BY_OWN_TRIALS = [
    ("00", "q1", 16),
    ("01", "q1", "ACE"),
    ("02", "q1", {"rmsprop": 1, "adamw": 2, "lion": 1, "adadelta": 2}),
    ("02", "q2", lambda: None),
    ("03", "q1", 145),
    ("04", "q1", "AD"),
    ("04", "q2", lambda: None),
    ("05", "q1", 3400),
    ("07", "q1", dict.fromkeys(lesson07.QUESTIONS, 1)),
    ("08", "q1", "AC"),
    ("09", "q1", "DCAB"),
    ("09", "q2", dict(zip(lesson09.SETTINGS, (8, 8, True), strict=True))),
    ("10", "q1", "BD"),
    ("10", "q2", lambda build, rates, X, y: []),
    ("11", "q1", (24, 72)),
    ("12", "q2", 131072),
    ("13", "q1", {256: 4, 512: 16}),
]


@pytest.mark.parametrize(("lesson", "name", "given"), BY_OWN_TRIALS)
@pytest.mark.parametrize("peak", [None, 1])
def test_an_answer_is_not_judged_by_a_trial_of_the_check_that_failed(lesson, name, given, peak, monkeypatch):
    module = importlib.import_module(f"labkit.exercises.lesson{lesson}")
    failed = Outcome("killed", peak_bytes=peak, error=TrialError("Killed", "by the kernel"))
    monkeypatch.setattr(module, "run", lambda *args, **options: failed)
    verdict = getattr(module, name).check(given)
    assert verdict.right is None
    assert "ended with status 'killed'" in str(verdict) and "by the kernel" in str(verdict)


@pytest.mark.parametrize("status", ["killed", "timeout"])
def test_that_a_larger_batch_does_not_fit_is_no_guess(status, monkeypatch):
    for module, given in ((lesson00, 16), (lesson03, 145)):
        outcomes = iter([Outcome("ok", limit_bytes=2**30), Outcome(status)])
        monkeypatch.setattr(module, "run", lambda *args, outcomes=outcomes, **options: next(outcomes))
        assert module.q1.check(given).right is None


def test_a_check_without_an_answer_asks_for_one():
    for exercise in (lesson00.q1, lesson01.q2):
        verdict = exercise.check()
        assert verdict.right is None and "Pass your answer" in str(verdict)
    assert "Pass base as well" in str(lesson13.q2.check(lambda: None))


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


def test_an_answer_is_not_judged_where_others_hold_the_gpu(monkeypatch):
    """A reader's answer cannot be wrong for what another notebook's kernel holds."""
    failure = Failure(limit_bytes=MIB, device_bytes=4 * MIB, others_bytes=3 * MIB, holders=["Process 7."])
    full = Outcome("oom", {}, "gpu", diagnosis=explain(failure))
    monkeypatch.setattr(core.trial, "run", lambda train, **options: full)
    for exercise, given in [
        (lesson00.q1, 2),  # no other test gives it, and no trial of it is kept
        (lesson01.q2, answer(pieces("model(X)"), "predict_in_pieces")),
    ]:
        verdict = exercise.check(given)
        assert verdict.right is None
        assert "not judged" in verdict.said and verdict.said.endswith("\nProcess 7.")


@pytest.mark.parametrize(("kind", "told"), [("gpu", True), ("cpu", False)])
def test_a_solution_of_the_stand_in_says_so_on_a_gpu(monkeypatch, kind, told):
    monkeypatch.setattr(core.machine, "device", lambda: types.SimpleNamespace(kind=kind))
    solution = lesson01.q1.solution()
    assert answer(solution, "fits") == "ACE"
    assert ("CUDA_VISIBLE_DEVICES" in solution) == told
    assert "CUDA" not in lesson01.q2.solution()


def test_an_answer_is_not_judged_if_its_check_is_stopped(monkeypatch):
    monkeypatch.setattr(core.trial, "run", lambda train, **options: Outcome("stopped", {}, "cpu"))
    verdict = lesson01.q2.check(answer(pieces("model.predict(X)[:0]"), "predict_in_pieces"))
    assert verdict.right is None and "the check was stopped" in verdict.said


def test_more_answers_than_are_asked_for_are_told():
    verdict = lesson11.q1.check(24, 72)
    assert verdict.right is False and "Pass one answer" in verdict.said
