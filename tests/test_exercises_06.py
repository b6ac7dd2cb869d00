"""Lesson 06: the solutions pass; wrong answers are told what is wrong; a blank is not a failure."""

import pytest
from answers import answer

from labkit.exercises.lesson06 import q1, q2

pytestmark = pytest.mark.usefixtures("each_trial_once")

REORDER = "np.random.permutation(len(X))[: len(X) // 2]"


def complete(old, new):
    assert old in q1.solution()
    return answer(q1.solution().replace(old, new), "complete")


def order(code):
    return answer(f"def new_order(rows, block):\n    return {code}", "new_order")


@pytest.mark.parametrize(("exercise", "name"), [(q1, "complete"), (q2, "new_order")])
def test_the_solution_passes(exercise, name):
    verdict = exercise.check(answer(exercise.solution(), name))
    assert verdict.right, verdict


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        (complete("-(-len(self.order) // batch_size)", "len(X) // 2 // batch_size"), "yields 96 rows"),
        (complete("-(-len(self.order) // batch_size)", "len(X) // batch_size"), "of an epoch is empty"),
        (complete("-(-len(self.order) // batch_size)", "len(self.order)"), "of an epoch is empty"),
        (complete("-(-len(self.order) // batch_size)", "len(self.order) / batch_size"), "'error'"),
        (complete("X[rows], y[rows]", "X[rows], y[np.sort(rows)]"), "not from the same rows"),
        (complete("[: len(X) // 2]", ""), "an epoch yields 201 rows"),
        (complete(REORDER, "np.random.permutation(len(X) // 2)"), "the same half as the first"),
        (complete(REORDER, "np.random.default_rng(0).permutation(len(X))[: len(X) // 2]"), "the same half"),
        (complete(REORDER, "np.random.randint(len(X), size=len(X) // 2)"), "comes twice"),
        (complete("(index + 1) * batch_size", "(index + 1) * batch_size - 1"), "an epoch yields"),
        (complete("**options):\n    import", "other=None):\n    import"), "'error'"),
        ("complete", "Pass the function itself"),
    ],
)  # fmt: skip
def test_wrong_classes(given, complaint):
    verdict = q1.check(given)
    assert verdict.right is False
    assert complaint in str(verdict)
    assert "permutation" not in str(verdict)


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        (order("np.random.permutation(rows)"), "does not stay together"),
        (order("np.arange(rows)"), "All three calls returned the same order"),
        (order("np.arange(rows - rows % block)"), "960 of the 1000 rows"),
        (
            order("np.concatenate([np.arange(s, s + block) for s in range(0, rows, block)])"),
            "1,024 numbers returned",
        ),
        (order("np.nothing(rows)"), "'error'"),
        (order("np.append(np.array([]), np.arange(rows))"), "array or list of integers"),
        (order("np.arange(rows)[None]"), "array or list of integers"),
        (order("(row for row in range(rows))"), "array or list of integers"),
        (order("None"), "array or list of integers"),
        ([0, 1, 2], "Pass the function itself"),
    ],
)
def test_wrong_orders(given, complaint):
    verdict = q2.check(given)
    assert verdict.right is False
    assert complaint in str(verdict)


def test_blanks_are_not_attempted():
    for verdict in (q1.check(complete("-(-len(self.order) // batch_size)", "____")), q2.check(order("____"))):
        assert verdict.right is None
        assert "Not attempted yet" in str(verdict)
