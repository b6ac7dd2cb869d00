"""Lesson 09: the solutions pass; wrong answers are told what is wrong; a blank is not a failure."""

import numpy as np
import pytest
from answers import answer

import labkit
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


def difference(norm):
    """The largest difference that a step with blocks recomputed makes to any trained weight."""
    import keras
    import numpy as np

    from labkit.exercises.lesson09 import recomputed

    def trained(wrap):
        keras.utils.set_random_seed(1)
        layers = [keras.layers.Dense(8), *([keras.layers.BatchNormalization()] * norm)]
        block = keras.Sequential([*layers, keras.layers.Activation("relu")])
        model = keras.Sequential([keras.Input((4,)), wrap(block), keras.layers.Dense(1)])
        model.compile("sgd", "mse")
        X = np.random.default_rng(0).normal(3, 2, (32, 4))
        model.fit(X, np.ones(32), batch_size=32, verbose=0)
        return [np.array(weight) for weight in model.trainable_weights]

    pairs = zip(trained(lambda block: block), trained(recomputed), strict=True)
    return max(float(abs(one - other).max()) for one, other in pairs)


@pytest.mark.parametrize("norm", [False, True])
def test_what_is_recomputed_has_the_same_gradients(norm):
    assert labkit.run(difference, norm=norm).result < 1e-6
