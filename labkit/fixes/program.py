"""What a trial saw of the reader's program: its calls of Keras, and the loss after each batch."""

import json
from pathlib import Path


class Program:
    """The program as a trial saw it.

    over, value   the parameter that is the batch size, and its value
    .compile, .fit   facts of the first call of each (labkit.fixes.facts.facts_of), or None
    .losses          {number of batches: mean loss over them} in the first epoch
    """

    def __init__(self, path, over, value):
        self.over, self.value = over, value
        path = Path(path)
        lines = path.read_text().splitlines() if path.exists() else []
        self._seen = [json.loads(line) for line in lines if line.endswith("}")]
        self.compile, self.fit = self.first("compile"), self.first("fit")
        self.losses = {}
        for fact in self._of("loss"):
            self.losses.setdefault(fact["batch"], fact["loss"])

    def _of(self, kind):
        return [fact for fact in self._seen if fact["kind"] == kind]

    def first(self, kind):
        """Facts of the first call of "compile", "fit", "evaluate" or "predict"; None if there was none."""
        return next(iter(self._of(kind)), None)

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
        if self.fit and self.fit["policy"] != "float32" and self.fit["compute_dtypes"] == ["float32"]:
            return (
                f"The policy {self.fit['policy']!r} is set after the model is built, and so changes nothing: "
                "set it before."
            )
        return ""
