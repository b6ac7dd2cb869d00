"""What a trial saw of the reader's program: its calls of Keras, and the loss after each batch."""

import copy
import itertools
import json
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

    def facts_of(self, method):
        """Facts of a call of "compile", "fit", "evaluate" or "predict"; None if there was none."""
        own = {"fit": self.fit, "compile": self.compile}
        return own[method] if method in own else next(iter(self._of(method)), None)

    @property
    def training_size(self):
        """Samples in a batch of fit."""
        return self.fit and (self.fit["batch_size"] or 32)

    @property
    def evaluated_in_larger_batches(self):
        """Which of evaluate and predict are given a larger batch than fit."""
        size = self.training_size or 0
        return [
            method
            for method in ("evaluate", "predict")
            if any((facts["batch_size"] or 32) > size for facts in self._of(method))
        ]

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
