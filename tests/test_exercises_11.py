"""Lesson 11: the solutions pass; wrong answers are told what is wrong; a blank is not a failure."""

import numpy as np
import pytest
from answers import answer

from labkit.exercises import ____
from labkit.exercises.lesson11 import q1, q2

pytestmark = pytest.mark.usefixtures("each_trial_once")


def stack(old="", new=""):
    assert old in q2.solution()
    return answer(q2.solution().replace(old, new), "best_half")


@pytest.mark.parametrize(("exercise", "name"), [(q1, "limits"), (q2, "best_half")])
def test_the_solution_passes(exercise, name):
    verdict = exercise.check(answer(exercise.solution(), name))
    assert verdict.right, verdict


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ((48, 48), "The large job does not train under 48 MiB: 'oom'"),
        ((8, 88), "The small job does not train under 8 MiB: 'oom'"),
        ((32, 80), "Together the jobs may take 112 MiB, and the device has 96."),
        ((np.int64(32), np.int64(80)), "Together the jobs may take 112 MiB, and the device has 96."),
        ("24, 72", "is not an answer"),
        ((True, 72), "is not an answer"),
        ((24, 72.0), "is not an answer"),
        ((24,), "is not an answer"),
    ],
)
def test_wrong_limits(given, complaint):
    verdict = q1.check(given)
    assert verdict.right is False
    assert complaint in str(verdict)


def recomputed(make_block, count):
    """Another way that is right: keep nothing, and make the best blocks again."""
    import tensorflow as tf

    means = [float(tf.reduce_mean(make_block(n))) for n in range(count)]
    best = sorted(range(count), key=lambda n: means[n])[count // 2 :]
    return tf.stack([make_block(n) for n in best])


def test_another_way_is_right():
    verdict = q2.check(recomputed)
    assert verdict.right, verdict


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        (stack(".numpy()", ""), "It does not fit"),
        (stack("blocks[n].numpy()", "tf.identity(blocks[n])"), "It does not fit"),
        (stack("[count // 2 :]", "[: count // 2]"), "the result differs"),
        (stack("tf.stack(kept)", "tf.stack(kept[1:])"), "the result differs"),
        (stack(".numpy()", ".nump()"), "'error'"),
        ("best_half", "Pass the function itself"),
    ],
    ids=lambda given: given if isinstance(given, str) else "",
)
def test_wrong_stacks(given, complaint):
    verdict = q2.check(given)
    assert verdict.right is False
    assert complaint in str(verdict)
    assert str(q2.solution()) not in str(verdict)


def test_blanks_are_not_attempted():
    untouched = q2.solution().replace("blocks[n].numpy()", "____")
    for verdict in (q1.check((____, ____)), q2.check(answer(untouched, "best_half"))):
        assert verdict.right is None
        assert "Not attempted yet" in str(verdict)
