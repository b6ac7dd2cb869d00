"""What every exercise has: check, hint, solution."""

import html
import inspect
import re
import types
from dataclasses import dataclass
from numbers import Integral

from .. import machine
from ..trials import trial


class Blank:
    """What `____` is until the reader replaces it."""

    def __repr__(self):
        return "____"


____ = Blank()


@dataclass(frozen=True)
class Verdict:
    """The result of a check. right: True, False, or None if nothing was judged."""

    right: bool | None
    said: str

    @property
    def headline(self):
        return {True: "✓ Right.", False: "✗ Not yet.", None: ""}[self.right]

    def __str__(self):
        return f"{self.headline} {self.said}".strip()

    __repr__ = __str__

    def _repr_html_(self):
        said = html.escape(self.said).replace("\n", "<br>")
        return f'<div role="status"><b>{self.headline}</b> {said}</div>'


class Text(str):
    """Text that a notebook displays as is, without quotes and escapes."""

    def __repr__(self):
        return str(self)


_STAND_IN = (
    "# This is right on the CPU stand-in. On a GPU something else may be, or nothing within these limits:\n"
    "# see docs/on-colab-and-kaggle.md. To solve it on the stand-in, restart the kernel and run first:\n"
    '# import os; os.environ["CUDA_VISIBLE_DEVICES"] = "-1"'
)


class NotMeasured(Exception):
    """A trial that a check compares the answer with has failed: nothing can be said of the answer."""


def measured(outcome, *others):
    """The Outcome of a trial that is the check's own; raises NotMeasured if it failed.

    others   what its status may be beside "ok", where that tells something of the answer
    """
    if outcome.ok or outcome.status in others:
        return outcome
    raise NotMeasured(
        f"Your answer was not judged: a trial of the check itself ended with status {outcome.status!r}. "
        "Shut down what else runs on this machine, such as other notebooks, then run the cell again."
        + (f"\n{outcome.error}" if outcome.error else "")
    )


def run(train, **options):
    """labkit.run(); raises NotMeasured if it was stopped, or if others hold the GPU's memory."""
    outcome = trial.run(train, **options)
    if outcome.status == "stopped":
        raise NotMeasured("Your answer was not judged: the check was stopped. Run the cell again.")
    if outcome.diagnosis and outcome.diagnosis.cause == "memory_taken_before_start":
        said = "\n".join(outcome.diagnosis.evidence)
        raise NotMeasured(f"Your answer was not judged: the GPU had no room for a trial.\n{said}")
    return outcome


def built(build, **options):
    """In a trial: the model that the reader's function builds; raises TypeError if it returns none."""
    model = build(**options)
    if not hasattr(model, "train_on_batch"):
        raise TypeError(f"{build.__name__}() should return the model; it returned {type(model).__name__}")
    return model


class Exercise:
    """One exercise.

    judge     called with the reader's answers; returns what is wrong with them, None if they are right, or a
              Verdict of its own
    praise    shown after a right answer
    clue, code   what hint() and solution() show
    of_stand_in  whether the check goes by numbers that a GPU does not have: solution() says so on one

    >>> Exercise(lambda n: None if n == 4 else f"{n} is not it.", "It is even.", "n = 4").check(5)
    ✗ Not yet. 5 is not it.
    """

    def __init__(self, judge, clue, code, praise="", of_stand_in=False):
        self._judge, self.praise = judge, praise
        self._clue, self._code, self._of_stand_in = clue, code, of_stand_in

    def check(self, *answers):
        """The Verdict on the reader's answers."""
        if not answers:
            return Verdict(None, "Pass your answer to check().")
        if any(map(is_blank, answers)):
            return Verdict(None, "Not attempted yet: replace ____ with your answer and run the cell again.")
        try:
            inspect.signature(self._judge).bind(*answers)
        except TypeError:
            return Verdict(False, "Pass one answer to check(), as the cell had it.")
        asked = re.match(r"def (\w+)\(", self._code)
        if asked and not callable(answers[0]):
            return Verdict(False, f"Pass the function itself, {asked[1]}, not {answers[0]!r}.")
        try:
            wrong = self._judge(*answers)
        except NotMeasured as e:
            return Verdict(None, str(e))
        if isinstance(wrong, Verdict):
            return wrong
        return Verdict(False, wrong) if wrong else Verdict(True, self.praise)

    def hint(self):
        return Text(self._clue)

    def solution(self):
        on_gpu = self._of_stand_in and machine.device().kind == "gpu"
        return Text(f"{self._code}\n{_STAND_IN}" if on_gpu else self._code)


def is_integer(answer):
    """Whether an answer is an integer, one of NumPy's too; True and False are none."""
    return isinstance(answer, Integral) and not isinstance(answer, bool)


def is_blank(answer):
    """Whether an answer is `____`, contains it, or is a function that still mentions it."""
    if isinstance(answer, Blank):
        return True
    if isinstance(answer, dict):
        return any(map(is_blank, answer.values()))
    if isinstance(answer, list | tuple | set):
        return any(map(is_blank, answer))
    code = getattr(answer, "__code__", None)
    return isinstance(code, types.CodeType) and _mentions_blank(code)


def _mentions_blank(code):
    inner = (constant for constant in code.co_consts if isinstance(constant, types.CodeType))
    return "____" in code.co_names or any(map(_mentions_blank, inner))
