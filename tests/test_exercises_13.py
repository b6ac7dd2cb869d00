"""Lesson 13: three routes fit, two pass in full; wrong ones are told why; a blank is not a failure."""

from pathlib import Path

import nbformat
import numpy as np
import pytest
from answers import answer

import labkit
from labkit.exercises import ____
from labkit.exercises.lesson13 import LIMIT, q1, q2, score
from labkit.trials.trial import Trial

pytestmark = pytest.mark.usefixtures("each_trial_once")

LESSON = Path(__file__).parent.parent / "notebooks" / "13-capstone.ipynb"


@pytest.fixture(scope="module")
def lesson():
    """The cells of the lesson that define functions, as one source."""
    cells = nbformat.read(LESSON, as_version=4).cells
    return "\n\n".join(c.source for c in cells if c.source.startswith("def ") and "____" not in c.source)


@pytest.fixture(scope="module")
def base(lesson):
    return labkit.run(score, timeout=600, route=answer(lesson, "train"))  # a busy machine may be slow


def route(lesson, code):
    return answer(f"{lesson}\n\n{code}", "fixed")


def test_the_original_does_not_fit_and_learns(base):
    assert base.ok, base
    assert base.peak_bytes > 1.5 * labkit.parse_size("256 MiB")
    assert base.result["updates"] == 24
    assert base.result["accuracy"] > 0.7


@pytest.mark.parametrize(
    "call",
    [
        "train(batch_size=8, accumulate=4)",
        "train(batch_size=128, parts=4, wrap=again)",
    ],
)
def test_two_routes_pass(lesson, base, call):
    verdict = q2.check(route(lesson, f"def fixed():\n    return {call}"), base)
    assert verdict.right, verdict
    assert "It fits 256 MiB" in str(verdict)


def test_a_third_route_fits(lesson):
    """It learns by the accumulation of the first and the recomputation of the second.

    Three steps peaked at 159 MiB where a whole training peaked at 172 MiB, so room is left for more.
    """
    third = route(lesson, "def fixed():\n    return train(batch_size=16, accumulate=2, wrap=again)")
    tried = Trial(score, params={"route": third}, memory_limit=LIMIT, timeout=600, shorten_to=3).run()
    assert tried.ok, tried
    assert tried.peak_bytes < 0.8 * labkit.parse_size(LIMIT)
    assert tried.result["policy"] == "float32"


LATE = """\
def fixed():
    import keras

    X, y = load_pages(32)
    model = keras.Sequential([keras.Input((256, 64)), keras.layers.Dense(9000), keras.layers.Dense(10)])
    keras.mixed_precision.set_global_policy("mixed_float16")
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(X, y, verbose=0)
    return model"""
CUT = """\
def fixed():
    import keras

    X, y = load_pages()
    model = keras.Sequential([keras.Input((256, 64)), keras.layers.Cropping1D((0, 192))])
    model.add(keras.layers.Dense(10))
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(X, y[:, :64], epochs=2, verbose=0)
    return model"""
UNTAUGHT = CUT.replace("(0, 192)", "0").replace("y[:, :64]", "y")
HALF_OF_THEM = UNTAUGHT.replace("epochs=2", "batch_size=8, epochs=2").replace(
    '"adam"', "keras.optimizers.Adam(gradient_accumulation_steps=2)"
)


@pytest.mark.parametrize(
    ("code", "complaint"),
    [
        (LATE, "The policy was set after the model was built"),
        (HALF_OF_THEM, "each came from 16 pages"),
        (CUT, "does not transcribe a whole page"),
        (UNTAUGHT, "more than one percentage point less"),
        ("def fixed():\n    load_pages(1)", "yours returned a NoneType"),
        ("def fixed():\n    return 1 / 0", "ZeroDivisionError"),
    ],
)
def test_wrong_routes(lesson, base, code, complaint):
    verdict = q2.check(route(lesson, code), base)
    assert verdict.right is False
    assert complaint in str(verdict)


def test_the_solution_of_the_scores_passes():
    verdict = q1.check(answer(q1.solution(), "scores"))
    assert verdict.right, verdict


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({256: 4, 512: 8}, "512 digits: you say 8 MiB."),
        ({256: np.int64(4), 512: 8}, "512 digits: you say 8 MiB."),
        ({256: 1, 512: 16}, "256 digits: you say 1 MiB."),
        ({256: float("nan"), 512: 16}, "nan is not a number of MiB"),
        ({256: "4 MiB", 512: 16}, "'4 MiB' is not a number of MiB"),
        ({256: 4}, "Keep the"),
        ({64: 0.25, 512: 16}, "Keep the"),
        ({}, "Keep the"),
        (4, "Keep the"),
    ],
)
def test_wrong_scores(given, complaint):
    verdict = q1.check(given)
    assert verdict.right is False
    assert complaint in str(verdict)


def test_blanks_are_not_attempted():
    def fixed():
        return ____

    for verdict in (q1.check({256: ____, 512: 16}), q2.check(fixed, None)):
        assert verdict.right is None
        assert "Not attempted yet" in str(verdict)
