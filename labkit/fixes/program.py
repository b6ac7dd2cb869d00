"""What a trial saw of the reader's program: its calls of Keras, and the loss after each batch."""

import copy
import itertools
import json
import math
from pathlib import Path


class Program:
    """The program as a trial saw it.

    over, value   the parameter that is the batch size, and its value
    .fit, .compile   facts of its first call of fit and of the call of compile before it, for the same model
                     (labkit.fixes.facts.facts_of), or None
    .losses          {number of batches: mean loss over them} in the first epoch
    """

    def __init__(self, path, over, value):
        self.over, self.value = over, value
        path = Path(path)
        lines = path.read_text().splitlines() if path.exists() else []
        self._seen = [json.loads(line) for line in lines if line.endswith("}")]
        self.fit = next(iter(self._of("fit")), None)
        self.compile = self._compiled_for(self.fit)
        self.losses = {}
        for fact in self._of("loss"):
            self.losses.setdefault(fact["batch"], fact["loss"])

    def _of(self, kind):
        return [fact for fact in self._seen if fact["kind"] == kind]

    def _compiled_for(self, fit):
        before = itertools.takewhile(lambda facts: facts is not fit, self._seen)
        calls = [facts for facts in before if facts["kind"] == "compile"]
        same = [facts for facts in calls if not fit or facts.get("model") == fit.get("model")]
        return same[-1] if same else None

    @property
    def trainings(self):
        """The program with the facts of each call of fit in turn; itself alone if there is none."""
        return [self._with(fit) for fit in self._of("fit")] or [self]

    def _with(self, fit):
        training = copy.copy(self)
        training.fit, training.compile = fit, self._compiled_for(fit)
        return training

    def why_not(self, fix):
        """Why a fix can be applied to none of its trainings; "" if to any."""
        reasons = [fix.why_not(training) for training in self.trainings]
        return reasons[0] if all(reasons) else ""

    @property
    def evaluations(self):
        """Facts of the calls of evaluate and predict; of calls written alike, those of the largest batch."""
        found = {}
        for facts in [*self._of("evaluate"), *self._of("predict")]:
            key = facts["kind"], facts["call"]
            if _size(facts) > _size(found.get(key)):
                found[key] = facts
        return list(found.values())

    @property
    def training_size(self):
        """Samples in a batch of fit; a stream does not tell, and is taken to have as many as `value`."""
        if self.fit is None:
            return None
        return self.value if _is_stream(self.fit["x"]) else _size(self.fit)

    @property
    def evaluated_in_larger_batches(self):
        """Facts of those evaluations that are given larger batches than fit."""
        size = self.training_size or math.inf
        return [facts for facts in self.evaluations if not _is_stream(facts["x"]) and _size(facts) > size]

    @property
    def evaluates_streams(self):
        """Whether validation, evaluate or predict is given data whose batches fit and labkit do not make."""
        given = [self.fit["validation"], *(facts["x"] for facts in self.evaluations)] if self.fit else []
        return any(each["kind"] != "nothing" and _is_stream(each) for each in given)

    @property
    def note(self):
        """A mistake that the program makes; "" if none was seen."""
        for fit in self._of("fit"):
            if fit["policy"] != "float32" and fit["compute_dtypes"] == ["float32"]:
                return (
                    f"The policy {fit['policy']!r} is set after the model is built, and so changes nothing: "
                    "set it before."
                )
        return ""


def _size(facts):
    """Samples in a batch of a call that is given arrays."""
    return (facts["batch_size"] or 32) if facts else 0


def _is_stream(x):
    return x["kind"] not in ("arrays", "tensors") and x.get("stream", True)
